"""The loss of an embedding that should keep neighbours together."""

from __future__ import annotations

import torch

from deepcluster_sk.losses._common import check_positive, squared_distances

# Rows at the same place repel one another by no more than -log of this.
_MIN_APART = 1e-4


def neighbor_loss(
    embedding: torch.Tensor, weights: torch.Tensor, repulsion: float = 5.0
) -> torch.Tensor:
    r"""Cross-entropy between a graph of neighbours and the distances of codes.

    With :math:`q_{ij} = 1 / (1 + \lVert z_i - z_j \rVert^2)`, the similarity of two
    codes, that is

    .. math::

       \frac{\sum_{i \ne j} w_{ij} (-\log q_{ij})}{\sum_{i \ne j} w_{ij}}
       + \rho \,\frac{\sum_{i \ne j} (1 - w_{ij})(-\log(1 - q_{ij}))}
                    {\sum_{i \ne j} (1 - w_{ij})},

    the loss of UMAP [1]_ and of its parametric version [2]_ for all pairs of a batch:
    neighbours attract, all other pairs repel one another.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, h)
        Codes of a batch.
    weights : torch.Tensor of shape (n, n)
        Weight of each pair as neighbours, symmetric, in [0, 1]; the diagonal does not
        matter.
    repulsion : float, default=5.0
        Weight :math:`\rho` of the repulsion, above 0: the number of pairs that UMAP
        draws for each pair of neighbours.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0. A batch without neighbours, or without other pairs, lacks that
        term.

    Raises
    ------
    ValueError
        If repulsion is not above 0.

    References
    ----------
    .. [1] L. McInnes, J. Healy and J. Melville. UMAP: uniform manifold approximation
       and projection for dimension reduction. arXiv:1802.03426 (2018).
    .. [2] T. Sainburg, L. McInnes and T. Q. Gentner. Parametric UMAP embeddings for
       representation and semisupervised learning. Neural Computation 33 (2021).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import neighbor_loss
    >>> weights = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> together = torch.tensor([[0.0], [0.0], [9.0]])
    >>> apart = torch.tensor([[0.0], [9.0], [9.0]])
    >>> bool(neighbor_loss(together, weights) < neighbor_loss(apart, weights))
    True
    """
    check_positive(repulsion=repulsion)
    distance = squared_distances(embedding, embedding)
    other = ~torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    near = weights.to(embedding) * other
    far = (1 - weights.to(embedding)) * other
    attraction = torch.log1p(distance)  # -log q
    apart = (distance / (1 + distance)).clamp_min(_MIN_APART)  # 1 - q
    terms = (near * attraction).sum() / near.sum().clamp_min(1e-12)
    return terms - repulsion * (far * apart.log()).sum() / far.sum().clamp_min(1e-12)
