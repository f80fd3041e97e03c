"""Networks: they know torch only."""

from deepcluster_sk.modules._autoencoders import (
    ARCHITECTURES,
    Autoencoder,
    AutoencoderOutput,
    ConvAutoencoder,
    MixedPrecision,
    MLPAutoencoder,
    build_autoencoder,
    perceptron,
)
from deepcluster_sk.modules._blocks import (
    BlockConvAutoencoder,
    BottleneckConvAutoencoder,
    NormalizedMLPAutoencoder,
)
from deepcluster_sk.modules._centroids import (
    CentroidAutoencoder,
    SphericalAutoencoder,
    StandardizedAutoencoder,
    build_spherical_autoencoder,
)
from deepcluster_sk.modules._exemplars import ExemplarAutoencoder, ExemplarOutput
from deepcluster_sk.modules._output import LazyOutput
from deepcluster_sk.modules._pooled import (
    FullyConvAutoencoder,
    PooledConvAutoencoder,
)
from deepcluster_sk.modules._published import (
    FeatureMapAutoencoder,
    RectifiedMLPAutoencoder,
    n_map_values,
)
from deepcluster_sk.modules._soft import (
    DivergenceModule,
    SoftKMeansAutoencoder,
    SoftmaxAutoencoder,
    StudentTAutoencoder,
    build_block_autoencoder,
)
from deepcluster_sk.modules._subspaces import SubspaceAutoencoder
from deepcluster_sk.modules._tensorized import (
    StackedMLP,
    StackedModule,
    StackedProjection,
    StackedShallow,
    TensorizedModule,
    TensorizedOutput,
    build_tensorized_autoencoder,
)
from deepcluster_sk.modules._unpooled import UnpooledConvAutoencoder
from deepcluster_sk.modules._variational import (
    VariationalAutoencoder,
    VariationalOutput,
)

__all__ = [
    "ARCHITECTURES",
    "Autoencoder",
    "AutoencoderOutput",
    "BlockConvAutoencoder",
    "BottleneckConvAutoencoder",
    "CentroidAutoencoder",
    "ConvAutoencoder",
    "DivergenceModule",
    "ExemplarAutoencoder",
    "ExemplarOutput",
    "FeatureMapAutoencoder",
    "FullyConvAutoencoder",
    "LazyOutput",
    "MLPAutoencoder",
    "MixedPrecision",
    "NormalizedMLPAutoencoder",
    "PooledConvAutoencoder",
    "RectifiedMLPAutoencoder",
    "SoftKMeansAutoencoder",
    "SoftmaxAutoencoder",
    "SphericalAutoencoder",
    "StackedMLP",
    "StackedModule",
    "StackedProjection",
    "StackedShallow",
    "StandardizedAutoencoder",
    "StudentTAutoencoder",
    "SubspaceAutoencoder",
    "TensorizedModule",
    "TensorizedOutput",
    "UnpooledConvAutoencoder",
    "VariationalAutoencoder",
    "VariationalOutput",
    "build_autoencoder",
    "build_block_autoencoder",
    "build_spherical_autoencoder",
    "build_tensorized_autoencoder",
    "n_map_values",
    "perceptron",
]
