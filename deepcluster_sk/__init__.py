"""Deep clustering as scikit-learn estimators."""

from deepcluster_sk.autoencoder import Autoencoder
from deepcluster_sk.conv_transform import ConvTransformClustering
from deepcluster_sk.dcn import DCN
from deepcluster_sk.ddc import DDC
from deepcluster_sk.dec import DEC, IDEC
from deepcluster_sk.dictionary import DeepDictionaryClustering
from deepcluster_sk.discriminative import DiscriminativeClustering
from deepcluster_sk.pcx import PCX
from deepcluster_sk.persistence import load
from deepcluster_sk.subspace import DeepSubspaceClustering, SparseSubspaceClustering
from deepcluster_sk.tensorized import TensorizedAutoencoder
from deepcluster_sk.transform import DeepTransformClustering

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
