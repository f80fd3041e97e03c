"""The methods, one file a method or a family of siblings."""

from deepcluster_sk.cluster.autoencoder import Autoencoder
from deepcluster_sk.cluster.conv_transform import ConvTransformClustering
from deepcluster_sk.cluster.dcn import DCN
from deepcluster_sk.cluster.ddc import DDC
from deepcluster_sk.cluster.dec import DEC, IDEC
from deepcluster_sk.cluster.deep_subspace import DeepSubspaceClustering
from deepcluster_sk.cluster.dictionary import DeepDictionaryClustering
from deepcluster_sk.cluster.discriminative import DiscriminativeClustering
from deepcluster_sk.cluster.pcx import PCX
from deepcluster_sk.cluster.sparse_subspace import SparseSubspaceClustering
from deepcluster_sk.cluster.tensorized import TensorizedAutoencoder
from deepcluster_sk.cluster.transform import DeepTransformClustering

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
]
