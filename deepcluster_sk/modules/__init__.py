"""Networks: they know torch only."""

from deepcluster_sk.modules._autoencoders import (
    ARCHITECTURES,
    Autoencoder,
    AutoencoderOutput,
    ConvAutoencoder,
    MLPAutoencoder,
    build_autoencoder,
    perceptron,
)
from deepcluster_sk.modules._centroids import CentroidAutoencoder, SphericalAutoencoder
from deepcluster_sk.modules._exemplars import ExemplarAutoencoder, ExemplarOutput
from deepcluster_sk.modules._pooled import PooledConvAutoencoder
from deepcluster_sk.modules._tensorized import (
    StackedMLP,
    StackedModule,
    StackedProjection,
    TensorizedModule,
)

__all__ = [
    "ARCHITECTURES",
    "Autoencoder",
    "AutoencoderOutput",
    "CentroidAutoencoder",
    "ConvAutoencoder",
    "ExemplarAutoencoder",
    "ExemplarOutput",
    "MLPAutoencoder",
    "PooledConvAutoencoder",
    "SphericalAutoencoder",
    "StackedMLP",
    "StackedModule",
    "StackedProjection",
    "TensorizedModule",
    "build_autoencoder",
    "perceptron",
]
