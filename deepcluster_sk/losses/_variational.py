"""Variational autoencoders whose prior is a mixture of Gaussians: VaDE."""

from __future__ import annotations

import torch


def gaussian_divergence(
    mean: torch.Tensor,
    log_variance: torch.Tensor,
    centers: torch.Tensor,
    center_log_variances: torch.Tensor,
) -> torch.Tensor:
    r"""Kullback-Leibler divergence of each row's Gaussian from each cluster's.

    All covariances are diagonal.

    Parameters
    ----------
    mean, log_variance : torch.Tensor of shape (n, h)
        Those of the rows.
    centers, center_log_variances : torch.Tensor of shape (k, h)
        Those of the clusters.

    Returns
    -------
    divergence : torch.Tensor of shape (n, k)
        In nats, at least 0.

    Notes
    -----
    With row i's mean m and variances v, and cluster j's mean :math:`\mu` and variances
    :math:`\sigma^2`, the closed form
    :math:`\frac12 \sum_l (\log(\sigma_l^2 / v_l) + v_l / \sigma_l^2 +
    (m_l - \mu_l)^2 / \sigma_l^2 - 1)`. Weighted by the assignments it makes the second
    and the last term of Eq. 12 of [1]_.

    References
    ----------
    .. [1] Jiang, Zheng, Tan, Tang and Zhou, "Variational deep embedding: an
       unsupervised and generative approach to clustering", IJCAI 2017.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import gaussian_divergence
    >>> zero, centers = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> gaussian_divergence(zero, zero, centers, torch.zeros(2, 2))
    tensor([[ 0.0000, 12.5000]])
    """
    precision = (-center_log_variances).exp()  # (k, h)
    ratio = log_variance[:, None] - center_log_variances  # (n, k, h)
    shift = (mean[:, None] - centers).square() * precision
    return (ratio.exp() - ratio + shift - 1).sum(2) / 2


def mixture_assignment(
    divergence: torch.Tensor, log_weights: torch.Tensor, log: bool = False
) -> torch.Tensor:
    r"""Probability of each cluster, given the Gaussians of rows.

    Parameters
    ----------
    divergence : torch.Tensor of shape (n, k)
        Divergence of each row's Gaussian from each cluster's, see
        :func:`gaussian_divergence`.
    log_weights : torch.Tensor of shape (k,)
        Logarithm of the share :math:`\pi` of each cluster, up to a constant.
    log : bool, default=False
        Whether to return logarithms.

    Returns
    -------
    assignment : torch.Tensor of shape (n, k)
        Rows sum to 1; or its logarithm.

    Notes
    -----
    :math:`\gamma_{ij} \propto \pi_j \exp(-D_{ij})`: of all assignments the one under
    which :func:`mixture_divergence` is the smallest, and the bound on the evidence the
    largest. Eq. 16 of [1]_ is the same with a draw from the row's Gaussian in place of
    the Gaussian.

    References
    ----------
    .. [1] Jiang, Zheng, Tan, Tang and Zhou, "Variational deep embedding: an
       unsupervised and generative approach to clustering", IJCAI 2017.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import mixture_assignment
    >>> mixture_assignment(torch.tensor([[0.0, 1.0]]), torch.zeros(2))
    tensor([[0.7311, 0.2689]])
    """
    logits = log_weights - divergence
    return logits.log_softmax(1) if log else logits.softmax(1)


def mixture_divergence(
    divergence: torch.Tensor,
    log_weights: torch.Tensor,
    assignment: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Divergence of code and cluster of each row from the mixture, its average.

    It is the price that the evidence bound asks for a code, in nats.

    Parameters
    ----------
    divergence : torch.Tensor of shape (n, k)
        Divergence of each row's Gaussian from each cluster's, see
        :func:`gaussian_divergence`.
    log_weights : torch.Tensor of shape (k,)
        Logarithm of the share :math:`\pi` of each cluster, up to a constant.
    assignment : torch.Tensor of shape (n, k), default=None
        Probability :math:`\gamma` of each cluster; None takes the best one,
        :func:`mixture_assignment`.

    Returns
    -------
    loss : torch.Tensor, scalar
        At least 0.

    Notes
    -----
    All of Eq. 12 of [1]_ but its first term, the reconstruction:
    :math:`\frac1n \sum_i \sum_j \gamma_{ij} (D_{ij} + \log(\gamma_{ij} / \pi_j))`.
    For the best assignment that is
    :math:`-\frac1n \sum_i \log \sum_j \pi_j \exp(-D_{ij})`.

    References
    ----------
    .. [1] Jiang, Zheng, Tan, Tang and Zhou, "Variational deep embedding: an
       unsupervised and generative approach to clustering", IJCAI 2017.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import mixture_divergence
    >>> divergence, log_weights = torch.tensor([[0.0, 1.0]]), torch.zeros(2)
    >>> mixture_divergence(divergence, log_weights)
    tensor(0.3799)
    >>> mixture_divergence(divergence, log_weights, torch.tensor([[0.5, 0.5]]))
    tensor(0.5000)
    """
    log_weights = log_weights.log_softmax(0)
    if assignment is None:
        return -(log_weights - divergence).logsumexp(1).mean()
    tiny = torch.finfo(assignment.dtype).tiny
    log_ratio = assignment.clamp_min(tiny).log() - log_weights
    return (assignment * (divergence + log_ratio)).sum(1).mean()
