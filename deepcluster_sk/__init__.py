"""Deep clustering as scikit-learn estimators."""

from deepcluster_sk.cluster.autoencoder import Autoencoder
from deepcluster_sk.cluster.conv_transform import ConvTransformClustering
from deepcluster_sk.cluster.dcn import DCN
from deepcluster_sk.cluster.ddc import DDC
from deepcluster_sk.cluster.dec import DEC, IDEC
from deepcluster_sk.cluster.dictionary import DeepDictionaryClustering
from deepcluster_sk.cluster.discriminative import DiscriminativeClustering
from deepcluster_sk.cluster.pcx import PCX
from deepcluster_sk.cluster.subspace import (
    DeepSubspaceClustering,
    SparseSubspaceClustering,
)
from deepcluster_sk.cluster.tensorized import TensorizedAutoencoder
from deepcluster_sk.cluster.transform import DeepTransformClustering
from deepcluster_sk.persistence import load

__version__ = "0.1.0.dev0"

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
