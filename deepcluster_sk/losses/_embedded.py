"""Deep embedded clustering and PC-X: assignments, targets and distances to centres."""

from __future__ import annotations

import torch

from deepcluster_sk.losses._common import check_positive, squared_distances


def student_t_assignment(
    embedding: torch.Tensor,
    centers: torch.Tensor,
    alpha: float = 1.0,
    log: bool = False,
) -> torch.Tensor:
    r"""Soft assignment by a Student t kernel around each centroid.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples.
    centers : torch.Tensor of shape (k, d)
        Centroids.
    alpha : float, default=1.0
        Degrees of freedom, above 0.
    log : bool, default=False
        Whether to return logarithms, which stay finite where assignments underflow.

    Returns
    -------
    assignment : torch.Tensor of shape (n, k)
        Rows sum to 1; or its logarithm.

    Raises
    ------
    ValueError
        If `alpha` is not positive.

    Notes
    -----
    Eq. 1 of [1]_:
    :math:`q_{ij} \propto (1 + \|z_i - \mu_j\|^2 / \alpha)^{-(\alpha + 1) / 2}`.

    References
    ----------
    .. [1] Xie, Girshick and Farhadi, "Unsupervised deep embedding for clustering
       analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import student_t_assignment
    >>> centers = torch.tensor([[0.0], [3.0]])
    >>> student_t_assignment(torch.tensor([[1.0], [1.5]]), centers)
    tensor([[0.7143, 0.2857],
            [0.5000, 0.5000]])
    """
    check_positive(alpha=alpha)
    distance = squared_distances(embedding, centers)
    if alpha == 1 and not log:
        # Relative to the nearest centroid, as far from all of them the kernel itself
        # underflows. It takes a quarter of the time of logarithms.
        inverse = 1 + distance
        kernel = inverse.detach().amin(1, keepdim=True) / inverse
        return kernel / kernel.sum(1, keepdim=True)
    logits = -(alpha + 1) / 2 * torch.log1p(distance / alpha)
    return logits.log_softmax(1) if log else logits.softmax(1)


def target_distribution(
    assignment: torch.Tensor, sizes: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Sharpened assignment that the soft one is pulled towards.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment q of the **whole** data set, entries in [0, 1]; of a part of it
        where ``sizes`` are given.
    sizes : torch.Tensor of shape (k,) or None, default=None
        Sums over the whole data set. None takes those of ``assignment``.

    Returns
    -------
    target : torch.Tensor of shape (n, k)
        Rows sum to 1. An empty cluster (a column of zeros) stays empty.

    Notes
    -----
    Eq. 3 of [1]_: :math:`p_{ij} \propto q_{ij}^2 / \sum_i q_{ij}`. The target is a
    constant of the optimisation: compute it without gradients.

    References
    ----------
    .. [1] Xie, Girshick and Farhadi, "Unsupervised deep embedding for clustering
       analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import target_distribution
    >>> target_distribution(torch.tensor([[0.8, 0.2], [0.2, 0.8]]))
    tensor([[0.9412, 0.0588],
            [0.0588, 0.9412]])
    """
    tiny = torch.finfo(assignment.dtype).tiny
    sizes = assignment.sum(0) if sizes is None else sizes
    # q (q / f) rather than q² / f: the square of a small q underflows.
    weight = assignment * (assignment / sizes.clamp_min(tiny))
    return weight / weight.sum(1, keepdim=True).clamp_min(tiny)


def balanced_target(
    assignment: torch.Tensor, sizes: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Assignment near the soft one, whose clusters are more equal in size.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment p of the **whole** data set, entries in [0, 1]; of a part of it
        where ``sizes`` are given.
    sizes : torch.Tensor of shape (k,) or None, default=None
        Sums over the whole data set. None takes those of ``assignment``.

    Returns
    -------
    target : torch.Tensor of shape (n, k)
        Rows sum to 1. An empty cluster (a column of zeros) stays empty.

    Notes
    -----
    Eq. 6 of [1]_: :math:`q_{ij} \propto p_{ij} / (\sum_i p_{ij})^{1/2}`. It minimises,
    but for terms that vanish as n grows,

    .. math::

       \frac1n \sum_{ij} q_{ij} \log \frac{q_{ij}}{p_{ij}}
       + \sum_j f_j \log \frac{f_j}{1 / k}, \qquad f_j = \frac1n \sum_i q_{ij}:

    the target should be near p, and the shares f of the clusters near equality. Where
    the derivative vanishes :math:`q_{ij} f_j / p_{ij}` is the same for all clusters of
    a row, so :math:`q_{ij} \propto p_{ij} / f_j`. With the normalisation of the rows
    taken as constant the sum over them says
    :math:`f_j^2 \propto \sum_i p_{ij}`, which gives the root. It is exact where all
    rows have the same p. The target is a constant of the optimisation: compute it
    without gradients.

    References
    ----------
    .. [1] K. Ghasedi Dizaji, A. Herandi, C. Deng, W. Cai and H. Huang, "Deep clustering
       via joint convolutional autoencoder embedding and relative entropy minimization",
       ICCV 2017.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import balanced_target
    >>> balanced_target(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.7, 0.3]]))
    tensor([[0.8010, 0.1990],
            [0.8010, 0.1990],
            [0.5106, 0.4894]])
    """
    tiny = torch.finfo(assignment.dtype).tiny
    sizes = assignment.sum(0) if sizes is None else sizes
    weight = assignment / sizes.clamp_min(tiny).sqrt()
    return weight / weight.sum(1, keepdim=True).clamp_min(tiny)


def kl_divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    r"""Kullback-Leibler divergence of assignments, averaged over samples.

    Parameters
    ----------
    p : torch.Tensor of shape (n, k)
        Target distribution, rows summing to 1.
    q : torch.Tensor of shape (n, k)
        Soft assignment, rows summing to 1.

    Returns
    -------
    loss : torch.Tensor, scalar
        At least 0, and 0 where `p` equals `q`.

    Notes
    -----
    Eq. 2 of [1]_ divided by n, so that its weight does not depend on the batch size:
    :math:`\frac1n \sum_i \sum_j p_{ij} \log(p_{ij} / q_{ij})`, with
    :math:`0 \log 0 = 0` and logarithms taken of nothing below the smallest normal
    number.

    References
    ----------
    .. [1] Xie, Girshick and Farhadi, "Unsupervised deep embedding for clustering
       analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import kl_divergence
    >>> kl_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    tensor(0.6931)
    """
    tiny = torch.finfo(q.dtype).tiny
    return (p * (p.clamp_min(tiny).log() - q.clamp_min(tiny).log())).sum(1).mean()


def softmax_assignment(
    embedding: torch.Tensor, centers: torch.Tensor, temperature: float = 5.0
) -> torch.Tensor:
    r"""Soft k-means assignment, a softmax of the negative squared distances.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples.
    centers : torch.Tensor of shape (k, d)
        Centroids.
    temperature : float, default=5.0
        The paper's τ, above 0. It multiplies the distances: larger is harder.

    Returns
    -------
    assignment : torch.Tensor of shape (n, k)
        Rows sum to 1; the largest entry is at the nearest centroid.

    Raises
    ------
    ValueError
        If `temperature` is not positive.

    Notes
    -----
    Eq. 2 of [1]_: :math:`\lambda_{nk} \propto \exp(-\tau \|z_n - \mu_k\|^2)`.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import softmax_assignment
    >>> centers = torch.tensor([[0.0], [1.0]])
    >>> softmax_assignment(torch.tensor([[0.0], [0.5]]), centers)
    tensor([[0.9933, 0.0067],
            [0.5000, 0.5000]])
    """
    check_positive(temperature=temperature)
    return torch.softmax(-temperature * squared_distances(embedding, centers), dim=1)


def assignment_entropy(assignment: torch.Tensor) -> torch.Tensor:
    r"""Mean entropy of the samples' soft assignments, in nats.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment, rows summing to 1.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, log k]; 0 for hard assignments.

    Notes
    -----
    Eq. 8 of [1]_, :math:`-\frac1N \sum_n \sum_k \lambda_{nk} \log \lambda_{nk}`, with
    :math:`0 \log 0 = 0`. PC-X minimises it over the network only: detach the centroids
    when computing the assignment.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import assignment_entropy
    >>> assignment_entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor(0.3466)
    """
    tiny = torch.finfo(assignment.dtype).tiny
    return -(assignment * assignment.clamp_min(tiny).log()).sum(1).mean()


def kmeans_loss(
    embedding: torch.Tensor,
    centers: torch.Tensor,
    labels: torch.Tensor | None = None,
    cluster_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Mean squared distance to the assigned centroid.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples.
    centers : torch.Tensor of shape (k, d)
        Centroids.
    labels : torch.Tensor of shape (n,), default=None
        Integer labels in [0, k). None takes the nearest centroid.
    cluster_weights : torch.Tensor of shape (k,), default=None
        Weight of each cluster's samples, see :func:`inverse_size_weights`. None
        weights all samples alike.

    Returns
    -------
    loss : torch.Tensor, scalar
        At least 0.

    Notes
    -----
    The clustering term of Eq. 1 and 9 of [1]_,
    :math:`\frac1N \sum_n \|z_n - \mu_{c(n)}\|^2`, squared distances summed over the
    embedding. With `cluster_weights` :math:`1 / \omega_k` it is the re-weighted loss of
    Eq. 12.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import kmeans_loss
    >>> embedding = torch.tensor([[0.0], [1.0], [5.0]])
    >>> kmeans_loss(embedding, torch.tensor([[0.0], [4.0]]))
    tensor(0.6667)
    """
    if labels is None:
        labels = squared_distances(embedding.detach(), centers.detach()).argmin(1)
    distance = (embedding - centers[labels]).square().sum(1)
    if cluster_weights is not None:
        distance = distance * cluster_weights[labels]
    return distance.mean()


def soft_kmeans_loss(
    embedding: torch.Tensor, centers: torch.Tensor, alpha: float | torch.Tensor = 1.0
) -> torch.Tensor:
    r"""Mean squared distance to all centroids, weighted by a softmax of the distances.

    Where :func:`kmeans_loss` takes the nearest centroid, this takes an average whose
    weights go over into that choice as `alpha` grows: it is differentiable in the
    centroids and in the embedding alike.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples.
    centers : torch.Tensor of shape (k, d)
        Centroids.
    alpha : float or torch.Tensor of shape (), default=1.0
        Inverse temperature, above 0: 0 would weight all centroids alike, infinity
        takes the nearest one.

    Returns
    -------
    loss : torch.Tensor, scalar
        At least that of :func:`kmeans_loss`.

    Raises
    ------
    ValueError
        If `alpha` is not positive.

    Notes
    -----
    The second term of Eq. 2 of [1]_ divided by n,
    :math:`\frac1n \sum_n \sum_k \|z_n - r_k\|^2 G_{nk}`, with
    :math:`G_{nk} \propto \exp(-\alpha \|z_n - r_k\|^2)` (Eq. 3). The gradient is that
    of the weights G, too.

    References
    ----------
    .. [1] Moradi Fard, Thonet and Gaussier, "Deep k-means: jointly clustering with
       k-means and learning representations", Pattern Recognition Letters 138 (2020).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import soft_kmeans_loss
    >>> embedding, centers = torch.tensor([[1.0]]), torch.tensor([[0.0], [3.0]])
    >>> soft_kmeans_loss(embedding, centers, alpha=0.1)  # of 1 and 4
    tensor(2.2767)
    >>> soft_kmeans_loss(embedding, centers, alpha=10.0)
    tensor(1.)
    """
    check_positive(alpha=alpha)
    distance = squared_distances(embedding, centers)
    weight = torch.softmax(-alpha * distance, dim=1)
    return (weight * distance).sum(1).mean()


def inverse_size_weights(sizes: torch.Tensor, smoothing: float = 1e-5) -> torch.Tensor:
    r"""Weights that give every cluster the same say, whatever its size.

    Parameters
    ----------
    sizes : torch.Tensor of shape (k,)
        Cluster sizes (counts, or running means of them), at least 0.
    smoothing : float, default=1e-5
        Pseudo-count ε added to each cluster, above 0. The paper takes 1e-5 for balanced
        and about 5 for imbalanced data.

    Returns
    -------
    weights : torch.Tensor of shape (k,)
        Ones for clusters of equal size, above 1 for small clusters.

    Raises
    ------
    ValueError
        If `smoothing` is not positive.

    Notes
    -----
    :math:`1 / \omega_k` of Eq. 10 to 12 of [1]_, :math:`\omega_k = \alpha_k /
    \bar\alpha`, after the Laplace smoothing of Eq. 14. Smoothing keeps the total, which
    cancels:
    :math:`\omega_k = K(\alpha_k + \varepsilon) / (\sum_j \alpha_j + \varepsilon K)`.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import inverse_size_weights
    >>> inverse_size_weights(torch.tensor([30.0, 10.0]))
    tensor([0.6667, 2.0000])
    """
    check_positive(smoothing=smoothing)
    smoothed = sizes + smoothing
    return smoothed.mean() / smoothed
