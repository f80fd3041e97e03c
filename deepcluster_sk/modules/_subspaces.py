"""An autoencoder whose clusters are subspaces of its code."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from deepcluster_sk.modules._centroids import CentroidAutoencoder, reorder


def unit_norm(z):
    """Rows at unit norm; zero rows stay zero."""
    return nn.functional.normalize(z, dim=-1, eps=1e-12)


class SubspaceAutoencoder(CentroidAutoencoder):
    """An autoencoder and the clusters' subspaces of its codes.

    Its centres are the clusters' mean codes, which decide nothing.

    Parameters
    ----------
    n_clusters : int
        Number k of clusters.
    normalize : bool, default=True
        Whether codes are taken at unit norm.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import SubspaceAutoencoder
    >>> module = SubspaceAutoencoder(3, n_features=4, latent_dim=2)
    >>> module.residuals(torch.tensor([[3.0, 4.0]]))  # no subspaces yet
    tensor([[1., 1., 1.]])
    """

    def __init__(
        self, n_clusters: int, normalize: bool = True, **autoencoder: Any
    ) -> None:
        super().__init__(n_clusters, trainable=False, **autoencoder)
        self.normalize = normalize
        h = autoencoder["latent_dim"]
        # A projection has one shape, whatever the dimension of its subspace.
        self.register_buffer("projections", torch.zeros(n_clusters, h, h))

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        reorder(order, self.projections)

    def expressed_codes(self, embedding: torch.Tensor) -> Any:
        """Codes as they express one another, (n, h)."""
        return unit_norm(embedding) if self.normalize else embedding

    def codes_of_expressed(self, expressed: Any, embedding: torch.Tensor) -> Any:
        """Codes in the direction of expressed ones, as long as they were, (n, h)."""
        if not self.normalize:
            return expressed
        return embedding.norm(dim=-1, keepdim=True) * expressed

    def residuals(self, embedding: torch.Tensor) -> torch.Tensor:
        """Squared distance of each expressed code to each subspace, (n, k)."""
        z = self.expressed_codes(embedding)
        inside = torch.einsum("nh,khg->nkg", z, self.projections)
        return (z[:, None] - inside).square().sum(-1)
