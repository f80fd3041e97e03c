"""Deep clustering as scikit-learn estimators."""

from deepcluster_sk.autoencoder import Autoencoder
from deepcluster_sk.conv_transform import ConvTransformClustering
from deepcluster_sk.dictionary import DeepDictionaryClustering
from deepcluster_sk.subspace import DeepSubspaceClustering, SparseSubspaceClustering
from deepcluster_sk.tensorized import TensorizedAutoencoder
from deepcluster_sk.transform import DeepTransformClustering

__version__ = "0.1.0.dev0"

__all__ = [
    "Autoencoder",
    "ConvTransformClustering",
    "DeepDictionaryClustering",
    "DeepSubspaceClustering",
    "DeepTransformClustering",
    "SparseSubspaceClustering",
    "TensorizedAutoencoder",
    "__version__",
]
