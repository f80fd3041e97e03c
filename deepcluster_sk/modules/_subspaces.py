"""An autoencoder whose clusters are subspaces of its code."""

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
    affine : bool, default=False
        Whether codes have a constant as an additional last value, so that subspaces
        need not contain the origin.
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

    def __init__(self, n_clusters, normalize=True, affine=False, **autoencoder):
        super().__init__(n_clusters, trainable=False, **autoencoder)
        self.normalize, self.affine = normalize, affine
        h = autoencoder["latent_dim"] + affine
        # A projection has one shape, whatever the dimension of its subspace.
        self.register_buffer("projections", torch.zeros(n_clusters, h, h))
        self.register_buffer("constant", torch.ones(()) if affine else None)

    def reorder_clusters(self, order):
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        reorder(order, self.projections)

    def _with_constant(self, embedding):
        if not self.affine:
            return embedding
        constant = self.constant.to(embedding).expand(len(embedding), 1)
        return torch.cat([embedding, constant], dim=1)

    def expressed_codes(self, embedding):
        """Codes as they express one another: with the constant, at unit norm, (n, h).

        The last axis is one longer than that of a code where subspaces are affine.
        """
        z = self._with_constant(embedding)
        return unit_norm(z) if self.normalize else z

    def codes_of_expressed(self, expressed, embedding):
        """Codes in the direction of expressed ones, as long as they were, (n, h)."""
        if self.normalize:
            lengths = self._with_constant(embedding).norm(dim=-1, keepdim=True)
            expressed = lengths * expressed
        return expressed[:, : embedding.shape[1]]

    def residuals(self, embedding):
        """Squared distance of each expressed code to each subspace, (n, k)."""
        z = self.expressed_codes(embedding)
        inside = torch.einsum("nh,khg->nkg", z, self.projections)
        return (z[:, None] - inside).square().sum(-1)
