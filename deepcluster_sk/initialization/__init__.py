"""Where training starts: pretraining, units of data and code, first centres."""

from deepcluster_sk.initialization._centers import (
    kmeans_start,
    mixture_start,
    place_centers,
    pooled_covariance,
    reseed_farthest,
)
from deepcluster_sk.initialization._first_clusters import (
    CLUSTERING_RATE,
    FIRST_CLUSTERS_CONSTRAINTS,
    FirstClusters,
    first_clusters,
    init_name,
    random_start,
)
from deepcluster_sk.initialization._neighbors import (
    NeighborCode,
    embed_neighbors,
    neighbor_label_pretraining,
    neighbor_pretraining,
    present_code,
)
from deepcluster_sk.initialization._number_of_clusters import count_clusters
from deepcluster_sk.initialization._pretraining import (
    check_stages,
    masking_noise,
    pretraining,
)
from deepcluster_sk.initialization._standardization import (
    START_ROWS,
    scale_code,
    standardize_data,
    whiten_code,
)

__all__ = [
    "CLUSTERING_RATE",
    "FIRST_CLUSTERS_CONSTRAINTS",
    "START_ROWS",
    "FirstClusters",
    "NeighborCode",
    "check_stages",
    "count_clusters",
    "embed_neighbors",
    "first_clusters",
    "init_name",
    "kmeans_start",
    "masking_noise",
    "mixture_start",
    "neighbor_label_pretraining",
    "neighbor_pretraining",
    "place_centers",
    "pooled_covariance",
    "present_code",
    "pretraining",
    "random_start",
    "reseed_farthest",
    "scale_code",
    "standardize_data",
    "whiten_code",
]
