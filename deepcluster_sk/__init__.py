"""Deep clustering as scikit-learn estimators."""

from deepcluster_sk._version import __version__
from deepcluster_sk.cluster import (
    DCN,
    DDC,
    DEC,
    IDEC,
    PCX,
    Autoencoder,
    ConvTransformClustering,
    DeepDictionaryClustering,
    DeepSubspaceClustering,
    DeepTransformClustering,
    DiscriminativeClustering,
    SparseSubspaceClustering,
    TensorizedAutoencoder,
)
from deepcluster_sk.persistence import load

__all__ = [
    "DCN",
    "DDC",
    "DEC",
    "IDEC",
    "PCX",
    "Autoencoder",
    "ConvTransformClustering",
    "DeepDictionaryClustering",
    "DeepSubspaceClustering",
    "DeepTransformClustering",
    "DiscriminativeClustering",
    "SparseSubspaceClustering",
    "TensorizedAutoencoder",
    "__version__",
    "load",
]
