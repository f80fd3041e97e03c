"""Discriminative clustering: codes as directions on the unit sphere."""

from __future__ import annotations

import torch
from torch.nn.functional import one_hot

# A code shorter than this has no direction.
_MIN_NORM = 1e-8


def anchor_similarity_loss(
    embedding: torch.Tensor, anchors: torch.Tensor, alpha: float = 0.1
) -> torch.Tensor:
    r"""Make all pairs dissimilar but the anchor pairs, which become similar.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    anchors : torch.Tensor of shape (n, n), dtype bool
        True at the ordered pairs trusted to be of one cluster. For pairs without order,
        mark both (i, j) and (j, i).
    alpha : float, default=0.1
        Distrust of the anchors, in [0, 1): their term is weighted by 1 - alpha.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [alpha - 1, 2 - alpha].

    Raises
    ------
    ValueError
        If `alpha` is outside [0, 1) or `anchors` is not a boolean (n, n) tensor.

    Notes
    -----
    Eq. 5 of [1]_, Eq. 3 and 4 for one batch, with :math:`C` the cosine similarities,

    .. math:: \frac{1}{n^2 - |A|} \sum_{(i,j) \notin A} |C_{ij}|
              - \frac{1 - \alpha}{|A|} \sum_{(i,j) \in A} C_{ij}.

    It is minimised in pretraining (Eq. 6); stage I *maximises* Eq. 8, where it enters
    with a minus: as a loss, stage I is :func:`spherical_kmeans_loss` plus
    :math:`\lambda_d` times this. The diagonal counts among the pairs that are no
    anchors, as printed: a constant. A sum over no pairs is 0.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import anchor_similarity_loss
    >>> anchors = torch.tensor([[False, True], [True, False]])
    >>> anchor_similarity_loss(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), anchors)
    tensor(0.1000)
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be in [0, 1); got {alpha!r}.")
    n = len(embedding)
    if anchors.dtype != torch.bool or anchors.shape != (n, n):
        raise ValueError(
            f"anchors must be a boolean tensor of shape {(n, n)}; got "
            f"{anchors.dtype} of shape {tuple(anchors.shape)}."
        )
    cosine = _cosine_similarities(embedding)
    n_anchors = anchors.sum()
    others = cosine.abs().masked_fill(anchors, 0).sum()
    similar = cosine.masked_fill(~anchors, 0).sum()
    return others / (n * n - n_anchors).clamp_min(1) - (
        1 - alpha
    ) * similar / n_anchors.clamp_min(1)


def spherical_kmeans_loss(
    embedding: torch.Tensor, centers: torch.Tensor, labels: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Minus the mean cosine to the assigned centroid.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    centers : torch.Tensor of shape (k, d)
        Centroids; only their directions count (the paper keeps them of unit norm).
    labels : torch.Tensor of shape (n,), default=None
        Integer labels in [0, k). None takes the centroid of largest cosine.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [-1, 1].

    Notes
    -----
    Minus Eq. 7 of [1]_, which is *maximised* (Eq. 8 and 11), divided by the batch size:
    with the printed sum, weights :math:`\lambda_d \in [1, 5]` on the other terms, all
    of them means, would do nothing.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import spherical_kmeans_loss
    >>> embedding = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    >>> spherical_kmeans_loss(embedding, torch.eye(2))
    tensor(-0.9000)
    """
    directions, centers = _unit_rows(embedding), _unit_rows(centers)
    if labels is None:
        labels = (directions.detach() @ centers.detach().T).argmax(1)
    return -(directions * centers[labels]).sum(1).mean()


def between_cluster_loss(
    embedding: torch.Tensor, labels: torch.Tensor, n_clusters: int
) -> torch.Tensor:
    r"""Mean absolute cosine between the two most similar clusters.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    labels : torch.Tensor of shape (n,)
        Integer labels in [0, n_clusters).
    n_clusters : int
        Number of clusters. Those without a sample in the batch are passed over.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 if fewer than two clusters have samples.

    Notes
    -----
    Eq. 9 of [1]_, over pairs of distinct clusters: :math:`\max_{k<l} \frac{1}{|C_k|
    |C_l|} \sum_{i \in C_k, j \in C_l} |\tilde z_i^T \tilde z_j|`. Eq. 11 *maximises*
    minus :math:`\lambda_b` times it: as a loss it enters with a plus.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import between_cluster_loss
    >>> embedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-3.0, 4.0]])
    >>> between_cluster_loss(embedding, torch.tensor([0, 1, 2]), 3)
    tensor(0.8000)
    """
    membership = one_hot(labels, n_clusters).to(embedding)  # (n, k)
    sizes = membership.sum(0).clamp_min(1)
    similarity = membership.T @ _cosine_similarities(embedding).abs() @ membership
    return (similarity / (sizes[:, None] * sizes)).triu(1).amax()


def within_cluster_loss(
    embedding: torch.Tensor, labels: torch.Tensor, n_clusters: int
) -> torch.Tensor:
    r"""Minus the mean cosine within each cluster, summed over clusters.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    labels : torch.Tensor of shape (n,)
        Integer labels in [0, n_clusters).
    n_clusters : int
        Number of clusters. Those without a sample in the batch add nothing.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [-n_clusters, 0].

    Notes
    -----
    Minus Eq. 10 of [1]_, which Eq. 11 *maximises*. The mean cosine over all ordered
    pairs of a cluster is the squared norm of its mean direction, so no (n, n) matrix is
    needed: :math:`\frac{1}{|C|^2} \sum_{i,j \in C} \tilde z_i^T \tilde z_j =
    \|\frac{1}{|C|} \sum_{i \in C} \tilde z_i\|^2`.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import within_cluster_loss
    >>> embedding = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> within_cluster_loss(embedding, torch.tensor([0, 0, 1]), 2)
    tensor(-1.5000)
    """
    membership = one_hot(labels, n_clusters).to(embedding)  # (n, k)
    sizes = membership.sum(0).clamp_min(1)
    mean_direction = membership.T @ _unit_rows(embedding) / sizes[:, None]  # (k, d)
    return -mean_direction.square().sum()


def _unit_rows(x):
    """Rows scaled to unit norm; a row without direction stays, with a bounded gradient.

    Dividing such a row by a small epsilon would blow its gradient up by 1 / epsilon.
    """
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / norm.masked_fill(norm < _MIN_NORM, 1)


def _cosine_similarities(embedding):
    directions = _unit_rows(embedding)
    return directions @ directions.T
