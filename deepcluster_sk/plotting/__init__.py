"""Displays of fitted estimators, in the manner of scikit-learn's.

A display holds data (`__init__`), can be computed from an estimator
(`from_estimator`), and draws itself (`plot`). Matplotlib is imported when something
is drawn, not before.
"""

from deepcluster_sk.plotting._agreement import AgreementDisplay
from deepcluster_sk.plotting._denoising import DenoisingDisplay
from deepcluster_sk.plotting._embedding import EmbeddingDisplay
from deepcluster_sk.plotting._exemplars import ExemplarDisplay
from deepcluster_sk.plotting._losses import LossDisplay
from deepcluster_sk.plotting._mismatch import ObjectiveMismatchDisplay
from deepcluster_sk.plotting._number_of_clusters import NumberOfClustersDisplay

__all__ = [
    "AgreementDisplay",
    "DenoisingDisplay",
    "EmbeddingDisplay",
    "ExemplarDisplay",
    "LossDisplay",
    "NumberOfClustersDisplay",
    "ObjectiveMismatchDisplay",
]
