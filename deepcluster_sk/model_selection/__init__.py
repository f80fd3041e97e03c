"""How many clusters, and which result to trust, without labels."""

from deepcluster_sk.model_selection._scorers import get_scorer
from deepcluster_sk.model_selection._search import NumberOfClustersSearch

__all__ = ["NumberOfClustersSearch", "get_scorer"]
