"""An autoencoder that decodes a code together with its centroid, for PC-X."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deepcluster_sk.losses import softmax_assignment
from deepcluster_sk.modules._centroids import CentroidAutoencoder, reorder


def draw_glorot(module):
    """Draw matrices and filters from the uniform distribution of Glorot and Bengio."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)


class ExemplarOutput(NamedTuple):
    """What PC-X's network returns for a batch of n rows.

    Parameters
    ----------
    embedding : Tensor of shape (n, h)
        Code z of each row.
    assignment : Tensor of shape (n, k)
        Soft assignment λ.
    module : torch.nn.Module
        The network; its centroids and sizes are buffers, which training moves.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import ExemplarAutoencoder
    >>> module = ExemplarAutoencoder(3, 5.0, n_features=4, latent_dim=2)
    >>> module(torch.zeros(5, 4)).assignment.shape
    torch.Size([5, 3])
    """

    embedding: Tensor  # z, (n, h)
    assignment: Tensor  # λ, (n, k)
    module: nn.Module  # its centroids and sizes are buffers, which training moves

    @property
    def code(self) -> torch.Tensor:
        """What is decoded: the embedding."""
        return self.embedding


class ExemplarAutoencoder(CentroidAutoencoder):
    """An autoencoder with a centroid-integration unit between encoder and decoder.

    The unit concatenates a code with its nearest centroid and mixes the two by one
    linear layer (Eq. 3 of the paper). It starts as a no-op, identity on the code and
    zero on the centroid: a freshly drawn layer would break a decoder that is already
    trained.

    Parameters
    ----------
    n_clusters : int
        Number k of centroids.
    temperature : float
        τ of the soft assignment.
    integrate_centroids : bool, default=True
        Whether there is a unit; without it codes are decoded as they are.
    glorot : bool, default=False
        Whether weights and centroids start from the uniform distribution of Glorot and
        Bengio, those of the unit included, as in the paper.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import ExemplarAutoencoder
    >>> module = ExemplarAutoencoder(3, temperature=5.0, n_features=4, latent_dim=2)
    >>> module.decode(module.centers).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        n_clusters: int,
        temperature: float,
        integrate_centroids: bool = True,
        glorot: bool = False,
        **autoencoder: Any,
    ) -> None:
        super().__init__(n_clusters, trainable=False, **autoencoder)
        self.temperature = temperature
        self.register_buffer("sizes", torch.ones(n_clusters))
        self.register_buffer("code_scale", torch.ones(()))
        self.fusion = None
        if integrate_centroids:
            width = autoencoder["latent_dim"]
            self.fusion = nn.Linear(2 * width, width)
            with torch.no_grad():
                self.fusion.weight.copy_(torch.eye(width, 2 * width))
                self.fusion.bias.zero_()
        if glorot:
            draw_glorot(self)
            nn.init.xavier_uniform_(self.centers)

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        reorder(order, self.centers, self.sizes)

    def freeze_fusion(self, frozen: bool = True) -> None:
        """Train the centroid-integration unit with the rest, or not."""
        if self.fusion is not None:
            self.fusion.requires_grad_(not frozen)

    @torch.no_grad()
    def place_centroids(
        self, centers: torch.Tensor, codes: torch.Tensor, sizes: torch.Tensor
    ) -> None:
        """Put the centroids into the code, and choose its unit.

        Weights and temperature mean something only for codes of a known scale: rows
        start at a mean squared distance of 1 from their centroid.

        Parameters
        ----------
        centers : Tensor of shape (k, h)
            In the present code.
        codes : Tensor of shape (n, h)
            Codes of rows.
        sizes : Tensor of shape (k,)
            Expected number of rows of each cluster in a batch.
        """
        self.centers.copy_(centers)
        distance = self.distances(codes).amin(1).mean()
        self.code_scale.copy_(distance.clamp(min=1e-12).rsqrt())
        self.centers.mul_(self.code_scale)
        self.sizes.copy_(sizes)

    def reseed(self, empty: torch.Tensor, codes: torch.Tensor) -> int:
        """Move empty centroids, ``(m,)``, to codes, ``(l, h)``, while there are any.

        Returns how many were moved.
        """
        empty = empty[: len(codes)]
        self.centers[empty] = codes
        self.sizes[empty] = self.sizes.mean()
        return len(codes)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row, in units of ``code_scale``."""
        return self.code_scale * super().encode(x)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, together with its nearest centroid."""
        return super().decode(self.integrate(embedding))

    def relative_error(
        self,
        x: torch.Tensor,
        embedding: torch.Tensor,
        reduction: str = "none",
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Squared error of each value, in squared units of ``scale``, ``(n, d)``.

        ``labels``, ``(n,)``, are the clusters of the codes, by default the nearest.
        """
        return super().relative_error(x, self.integrate(embedding, labels), reduction)

    def integrate(
        self, embedding: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the decoder sees of each code: h(z, μ) (Eq. 3), ``(n, h)``."""
        if self.fusion is not None:
            labels = self.nearest(embedding) if labels is None else labels
            centers = self.centers[labels]
            embedding = self.fusion(torch.cat([embedding, centers], dim=1))
        return embedding / self.code_scale

    def assignment(self, embedding: torch.Tensor) -> torch.Tensor:
        """Soft assignment λ of each code (Eq. 2), ``(n, k)``."""
        return softmax_assignment(embedding, self.centers, self.temperature)

    def forward(self, x: torch.Tensor) -> ExemplarOutput:
        """Encode rows and assign them softly."""
        embedding = self.encode(x)
        return ExemplarOutput(embedding, self.assignment(embedding), self)
