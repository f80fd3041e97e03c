"""Modules with soft assignments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from deepcluster_sk.losses import student_t_assignment
from deepcluster_sk.losses._common import rows_to_reseed_from
from deepcluster_sk.modules._autoencoders import build_autoencoder, with_precision
from deepcluster_sk.modules._blocks import (
    BlockConvAutoencoder,
    NormalizedMLPAutoencoder,
)
from deepcluster_sk.modules._centroids import (
    CentroidAutoencoder,
    StandardizedAutoencoder,
    reorder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StudentTAutoencoder(CentroidAutoencoder):
    """An autoencoder with centres and a Student t kernel around each.

    Parameters
    ----------
    n_clusters : int
        Number k of centres.
    trainable : bool, default=True
        Whether the optimizer moves the centres, or the method does.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import StudentTAutoencoder
    >>> module = StudentTAutoencoder(4, n_features=4, latent_dim=2)
    >>> module(torch.zeros(1, 4)).assignment  # all centres are at the origin
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]], grad_fn=<...>)
    """

    def __init__(
        self, n_clusters: int, trainable: bool = True, **autoencoder: Any
    ) -> None:
        super().__init__(n_clusters, trainable, **autoencoder)

    def assign(self, embedding: torch.Tensor) -> torch.Tensor:
        """Soft assignment of each embedded row, ``(n, k)``."""
        return student_t_assignment(embedding, self.centers)

    def log_assign(self, embedding: torch.Tensor) -> torch.Tensor:
        """Logarithm of the soft assignment, ``(n, k)``."""
        return student_t_assignment(embedding, self.centers, log=True)

    @torch.no_grad()
    def reseed_clusters(
        self, empty: torch.Tensor, embedding: torch.Tensor, assignment: torch.Tensor
    ) -> None:
        """Move the centres of empty clusters to the rows of least certain labels.

        Parameters
        ----------
        empty : Tensor of shape (m,), int64
            The clusters without rows.
        embedding, assignment : Tensors of shape (n, h) and (n, k)
            Of all rows.
        """
        rows = rows_to_reseed_from(-assignment.max(1).values, len(empty))
        self.centers[empty] = embedding[rows]


class SoftKMeansAutoencoder(CentroidAutoencoder):
    """An autoencoder with trainable centres and a softmax of the distances to them.

    Parameters
    ----------
    n_clusters : int
        Number k of centres.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Attributes
    ----------
    alpha : Tensor of shape ()
        Inverse temperature of the softmax, 1 at first; a method changes it in place.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import SoftKMeansAutoencoder
    >>> module = SoftKMeansAutoencoder(4, n_features=4, latent_dim=2)
    >>> module(torch.zeros(1, 4)).assignment  # all centres are at the origin
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]], grad_fn=<...>)
    """

    def __init__(self, n_clusters: int, **autoencoder: Any) -> None:
        super().__init__(n_clusters, trainable=True, **autoencoder)
        self.register_buffer("alpha", torch.ones(()))

    def assign(self, embedding: torch.Tensor) -> torch.Tensor:
        """Soft assignment of each embedded row, ``(n, k)``."""
        return torch.softmax(-self.alpha * self.distances(embedding), dim=1)


class _SoftmaxHead:
    """What networks share whose assignment is a softmax of a linear layer, output."""

    def assign(self, embedding: torch.Tensor) -> torch.Tensor:
        """Soft assignment of each embedded row, ``(n, k)``."""
        return torch.softmax(self.output(embedding), dim=1)

    def log_assign(self, embedding: torch.Tensor) -> torch.Tensor:
        """Logarithm of the soft assignment, ``(n, k)``."""
        return torch.log_softmax(self.output(embedding), dim=1)

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        reorder(order, self.output.weight, self.output.bias)

    @torch.no_grad()
    def reseed_clusters(
        self, empty: torch.Tensor, embedding: torch.Tensor, assignment: torch.Tensor
    ) -> None:
        """Give each empty cluster half of the one that is then the largest.

        Parameters
        ----------
        empty : Tensor of shape (m,), int64
            The clusters without rows.
        embedding, assignment : Tensors of shape (n, h) and (n, k)
            Of all rows.
        """
        for cluster in empty:
            labels = assignment.argmax(1)
            largest = labels.bincount().argmax()
            self.split_cluster(cluster, embedding[labels == largest])
            assignment = self.assign(embedding)

    @torch.no_grad()
    def split_cluster(self, empty: int, embedding: torch.Tensor) -> None:
        """Give an empty cluster half of another one.

        Its logit becomes that of the other plus ``(z - m) v``, with m the mean and
        v the principal direction of the other's rows in the embedding, scaled to unit
        variance: the new boundary halves them and all else stays.

        Parameters
        ----------
        empty : int
            The cluster without rows.
        embedding : Tensor of shape (m, h)
            The rows of the cluster to split, all assigned to it.
        """
        mean = embedding.mean(0)
        if not mean.isfinite().all():
            return  # training has diverged, as its loss will say
        _, spread, directions = torch.linalg.svd(embedding - mean, full_matrices=False)
        scale = (spread[0] / len(embedding) ** 0.5).clamp_min(1e-6)
        weight = directions[0] / scale
        source = self.output(mean[None]).argmax()
        self.output.weight[empty] = self.output.weight[source] + weight
        self.output.bias[empty] = self.output.bias[source] - weight @ mean


class SoftmaxAutoencoder(_SoftmaxHead, CentroidAutoencoder):
    """An autoencoder with a softmax over k clusters on its code.

    Parameters
    ----------
    n_clusters : int
        Number k of clusters.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import SoftmaxAutoencoder
    >>> module = SoftmaxAutoencoder(3, n_features=4, latent_dim=2)
    >>> codes = torch.tensor([[0.0, 0.0], [0.0, 1.0], [5.0, 0.0], [0.0, 5.0]])
    >>> labels = torch.tensor([0, 0, 1, 2])
    >>> module.place_clusters(codes[1:], codes, labels)
    >>> module.assign(codes).argmax(1)
    tensor([0, 0, 1, 2])
    """

    def __init__(self, n_clusters: int, **autoencoder: Any) -> None:
        super().__init__(n_clusters, trainable=False, **autoencoder)
        self.output = nn.Linear(autoencoder["latent_dim"], n_clusters)

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        super().reorder_clusters(order)
        reorder(order, self.centers)

    @torch.no_grad()
    def place_clusters(
        self, centers: torch.Tensor, embedding: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """Assign as equally likely Gaussians with one spherical covariance do.

        Parameters
        ----------
        centers : Tensor of shape (k, h)
            Their means.
        embedding, labels : Tensors of shape (n, h) and (n,)
            Codes and their clusters, which say the variance.
        """
        within = (embedding - centers[labels]).square().mean()
        total = (embedding - embedding.mean(0)).square().mean()
        # Clusters of equal rows have none, and equal rows have none at all.
        variance = torch.maximum(within, 0.01 * total)
        variance = torch.where(variance > 0, variance, 1)
        self.centers.copy_(centers)
        self.output.weight.copy_(centers / variance)
        self.output.bias.copy_(-centers.square().sum(1) / (2 * variance))


class DivergenceModule(_SoftmaxHead, StandardizedAutoencoder):
    """An encoder, the hidden layer of DDC, and a softmax over k clusters.

    The decoder starts from the code of the encoder, not from the hidden layer. Rows are
    in the units of the data, which are those of the encoder until
    ``set_origin_and_scale`` tells others.

    Parameters
    ----------
    n_clusters : int
        Number k of clusters.
    n_features, latent_dim : int
        Widths of a row and of the hidden layer.
    **autoencoder : dict
        Other arguments of :func:`build_block_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import DivergenceModule
    >>> sizes = {"latent_dim": 8, "hidden_layer_sizes": (16,)}
    >>> module = DivergenceModule(3, n_features=4, **sizes)
    >>> output = module(torch.randn(5, 4))
    >>> output.embedding.shape, output.assignment.shape
    (torch.Size([5, 8]), torch.Size([5, 3]))
    """

    def __init__(
        self, n_clusters: int, n_features: int, latent_dim: int, **autoencoder: Any
    ) -> None:
        super().__init__(
            build_block_autoencoder,
            n_features=n_features,
            latent_dim=latent_dim,
            **autoencoder,
        )
        with torch.no_grad():
            self.autoencoder.eval()
            width = self.autoencoder.encode(torch.zeros(2, n_features)).shape[1]
            self.autoencoder.train()
        self.hidden = nn.Sequential(
            nn.Linear(width, latent_dim), nn.ReLU(), nn.BatchNorm1d(latent_dim)
        )
        self.output = nn.Linear(latent_dim, n_clusters)

    def embed(self, code: torch.Tensor) -> torch.Tensor:
        """Hidden vector of each code, ``(n, latent_dim)``."""
        return self.hidden(code)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden vector of each row, ``(n, latent_dim)``."""
        return self.embed(super().encode(x))


def build_block_autoencoder(
    n_features: int,
    latent_dim: int,
    architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
    hidden_layer_sizes: Sequence[int] | None = None,
    image_shape: Sequence[int] | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> torch.nn.Module:
    """Make the encoder of DDC and the decoder that mirrors it.

    Parameters
    ----------
    n_features, latent_dim : int
        Width of a row, and of the code that a callable is asked for.
    architecture : {"mlp", "conv"} or callable, default="mlp"
        As for :func:`build_autoencoder`.
    hidden_layer_sizes : sequence of int or None, default=None
        Widths of the layers ("mlp", default (512, 512, 256)) or channels of the
        blocks ("conv", default (32, 32)), at least one.
    image_shape : tuple (C, H, W) or None, default=None
        Needed by "conv".
    precision : {"float32", "bfloat16"}, default="float32"
        See :class:`MixedPrecision`.

    Returns
    -------
    network : torch.nn.Module
        It has ``encode``, ``encode_with_blocks`` and ``decode``.

    Examples
    --------
    >>> from deepcluster_sk.modules import build_block_autoencoder
    >>> network = build_block_autoencoder(4, 2, hidden_layer_sizes=(16, 8))
    >>> len(network.stages)
    2
    """
    if callable(architecture):
        return build_autoencoder(
            n_features, latent_dim, architecture, precision=precision
        )
    build, default = {
        "mlp": (NormalizedMLPAutoencoder, (512, 512, 256)),
        "conv": (BlockConvAutoencoder, (32, 32)),
    }[architecture]
    sizes = default if hidden_layer_sizes is None else tuple(hidden_layer_sizes)
    shape = (image_shape,) if architecture == "conv" else ()
    return with_precision(build(n_features, sizes, *shape), precision)
