"""Where training starts: pretraining, units of data and code, first centres."""

from deepcluster_sk.initialization._centers import (
    kmeans_start,
    mixture_start,
    place_centers,
    pooled_covariance,
)
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
    "START_ROWS",
    "check_stages",
    "kmeans_start",
    "masking_noise",
    "mixture_start",
    "place_centers",
    "pooled_covariance",
    "pretraining",
    "scale_code",
    "standardize_data",
    "whiten_code",
]
