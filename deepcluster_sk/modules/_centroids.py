"""An autoencoder with cluster centres in its embedding."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

from deepcluster_sk.losses import squared_distances
from deepcluster_sk.modules._autoencoders import Autoencoder, build_autoencoder
from deepcluster_sk.modules._output import LazyOutput
from deepcluster_sk.modules._pooled import (
    FullyConvAutoencoder,
    PooledConvAutoencoder,
)


@torch.no_grad()
def reorder(order, *tensors):
    """Put the first axis of tensors in an order, in place.

    Parameters
    ----------
    order : Tensor of shape (k,), int64
        Position j gets what ``order[j]`` had.
    *tensors : Tensors of shape (k, ...)
        Parameters or buffers.
    """
    for tensor in tensors:
        tensor.copy_(tensor[order.to(tensor.device)])


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StandardizedAutoencoder(Autoencoder):
    """An autoencoder for rows of any origin and scale.

    It takes and returns rows in the units of the data. The autoencoder inside works on
    ``(x - origin) / scale``, so that neither the origin nor the scale of the data
    matters; ``set_origin_and_scale`` tells it both.

    Parameters
    ----------
    build : callable, default=build_autoencoder
        Makes the autoencoder inside.
    **autoencoder : dict
        Its arguments, ``n_features`` among them.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import StandardizedAutoencoder
    >>> module = StandardizedAutoencoder(n_features=4, latent_dim=2)
    >>> module.set_origin_and_scale(torch.full((4,), 100.0), torch.tensor(20.0))
    >>> module.encode(torch.full((5, 4), 110.0)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, build: Callable[..., Any] = build_autoencoder, **autoencoder: Any
    ) -> None:
        super().__init__()
        self.autoencoder = build(**autoencoder)
        self.register_buffer("origin", torch.zeros(autoencoder["n_features"]))
        self.register_buffer("scale", torch.ones(()))

    def set_origin_and_scale(self, origin: torch.Tensor, scale: torch.Tensor) -> None:
        """Tell the origin of the features, ``(d,)``, and their common scale, ``()``."""
        self.origin.copy_(origin)
        self.scale.copy_(scale)

    def standardize(self, x: torch.Tensor) -> torch.Tensor:
        """Rows as the autoencoder sees them."""
        return (x - self.origin) / self.scale

    def forward(self, x: torch.Tensor) -> LazyOutput:
        """Embedding, reconstruction and blocks of a batch, on demand."""
        return LazyOutput(self, x)

    def encode_with_blocks(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Code of each row and the outputs of the encoder's blocks."""
        return self.autoencoder.encode_with_blocks(self.standardize(x))

    def embed(self, code: torch.Tensor) -> torch.Tensor:
        """Return the code: it is the embedding."""
        return code

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.autoencoder.encode(self.standardize(x))

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code."""
        return self.autoencoder.decode(embedding) * self.scale + self.origin

    def relative_error(
        self, x: torch.Tensor, embedding: torch.Tensor, reduction: str = "none"
    ) -> torch.Tensor:
        """Squared error of each value, in squared units of ``scale``, ``(n, d)``.

        With ``reduction="mean"`` the mean of them all.
        """
        decoded = self.autoencoder.decode(embedding)
        return functional.mse_loss(decoded, self.standardize(x), reduction=reduction)


class CentroidAutoencoder(StandardizedAutoencoder):
    """An autoencoder and the k centres that clusters have in its embedding.

    Parameters
    ----------
    n_clusters : int
        Number k of centres.
    trainable : bool
        Whether the optimizer moves the centres (a parameter) or the method does
        (a buffer). They start at zero; a method fills them with ``copy_``.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import CentroidAutoencoder
    >>> module = CentroidAutoencoder(
    ...     3, trainable=False, n_features=4, latent_dim=2, hidden_layer_sizes=(8,)
    ... )
    >>> code = module.encode(torch.zeros(5, 4))
    >>> module.distances(code).shape, module.nearest(code).shape
    (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, n_clusters: int, trainable: bool, **autoencoder: Any) -> None:
        super().__init__(**autoencoder)
        centers = torch.zeros(n_clusters, autoencoder["latent_dim"])
        if trainable:
            self.centers = nn.Parameter(centers)
        else:
            self.register_buffer("centers", centers)

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        reorder(order, self.centers)

    def distances(self, embedding: torch.Tensor) -> torch.Tensor:
        """Squared distance of each code to each centre, ``(n, k)``."""
        return squared_distances(embedding, self.centers)

    def nearest(self, embedding: torch.Tensor) -> torch.Tensor:
        """Index of the nearest centre of each code, ``(n,)``."""
        with torch.no_grad():
            return self.distances(embedding).argmin(1)


# Networks with pooling and the channels of their hidden layers by default.
POOLED = {
    "conv": (PooledConvAutoencoder, (16, 32, 32)),
    "fully-conv": (FullyConvAutoencoder, (6, 8)),
}


class SphericalAutoencoder(CentroidAutoencoder):
    """An autoencoder whose clusters are directions of the embedding.

    Parameters
    ----------
    n_clusters : int
        Number k of centres, which a method keeps at unit norm.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import SphericalAutoencoder
    >>> module = SphericalAutoencoder(3, n_features=4, latent_dim=2)
    >>> module.direct(torch.randn(5, 4)).norm(dim=1).allclose(torch.ones(5))
    True
    """

    def __init__(self, n_clusters: int, **autoencoder: Any) -> None:
        super().__init__(n_clusters, trainable=False, **autoencoder)

    def direct(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row, scaled to unit norm."""
        return functional.normalize(self.encode(x))

    def nearest(self, embedding: torch.Tensor) -> torch.Tensor:
        """Index of the centre of largest cosine, ``(n,)``."""
        return (embedding @ self.centers.T).argmax(1)


def build_spherical_autoencoder(
    n_clusters: int,
    architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
    hidden_layer_sizes: Sequence[int] | None = None,
    image_shape: Sequence[int] | None = None,
    **others: Any,
) -> SphericalAutoencoder:
    """Make an autoencoder whose clusters are directions of its embedding.

    Parameters
    ----------
    n_clusters : int
        Number k of centres.
    architecture : {"mlp", "conv", "fully-conv"} or callable, default="mlp"
        "conv" is a :class:`PooledConvAutoencoder`, "fully-conv" a
        :class:`FullyConvAutoencoder`; the others are as for
        :func:`build_autoencoder`.
    hidden_layer_sizes : sequence of int or None, default=None
        Widths or channels; None means (16, 32, 32) for "conv" and (6, 8) for
        "fully-conv".
    image_shape : tuple (C, H, W) or None, default=None
        Needed by "conv" and "fully-conv".
    **others : dict
        Other arguments of :func:`build_autoencoder`.

    Returns
    -------
    module : SphericalAutoencoder
        With new weights.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import build_spherical_autoencoder
    >>> module = build_spherical_autoencoder(3, n_features=4, latent_dim=6)
    >>> module.direct(torch.randn(5, 4)).shape
    torch.Size([5, 6])
    """
    if isinstance(architecture, str) and architecture in POOLED:
        network, sizes = POOLED[architecture]
        sizes = sizes if hidden_layer_sizes is None else hidden_layer_sizes
        architecture = partial(
            network, hidden_layer_sizes=tuple(sizes), image_shape=image_shape
        )
    return SphericalAutoencoder(
        n_clusters,
        architecture=architecture,
        hidden_layer_sizes=hidden_layer_sizes,
        **others,
    )
