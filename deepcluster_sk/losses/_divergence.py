"""Divergence-based clustering: soft assignments and a kernel."""

from __future__ import annotations

import torch

from deepcluster_sk.losses._common import n_pairs, squared_distances

# Floor of the kernel sums of the Cauchy-Schwarz divergence, as in its authors' code.
_KERNEL_SUM_FLOOR = 1e-9


def cauchy_schwarz_loss(assignment: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    r"""Overlap of the clusters' kernel density estimates.

    Minimising it maximises the Cauchy-Schwarz divergence between clusters: they become
    compact and separate in the space of the kernel.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment A, entries at least 0.
    kernel : torch.Tensor of shape (n, n)
        Symmetric positive semi-definite kernel K.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 for a single cluster. An empty cluster counts as overlapping.

    Notes
    -----
    Eq. 2 and 6 of [1]_, what stands in the logarithm of Eq. 1: with
    :math:`N = A^T K A`,
    :math:`\frac{2}{k(k-1)} \sum_{i<j} N_{ij} / \sqrt{N_{ii} N_{jj}}`. As in the
    authors' code, :math:`N_{ij}` is at least 1e-9 and the product under the root at
    least 1e-18.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import cauchy_schwarz_loss
    >>> kernel = torch.tensor([[1.0, 0.1], [0.1, 1.0]])
    >>> cauchy_schwarz_loss(torch.eye(2), kernel)
    tensor(0.1000)
    >>> cauchy_schwarz_loss(torch.full((2, 2), 0.5), kernel)
    tensor(1.)
    """
    overlap = assignment.T @ kernel @ assignment  # N, (k, k)
    within = overlap.diagonal()
    product = (within[:, None] * within).clamp_min(_KERNEL_SUM_FLOOR**2)
    cosine = overlap.clamp_min(_KERNEL_SUM_FLOOR) / product.sqrt()
    return cosine.triu(1).sum() / n_pairs(len(overlap))


def assignment_orthogonality(assignment: torch.Tensor) -> torch.Tensor:
    r"""Mean inner product between the assignments of different samples.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment A, entries at least 0.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 for a single sample.

    Notes
    -----
    Eq. 7 of [1]_ (DDC's second term), as a mean over the pairs i < j instead of the
    printed sum, as in the authors' code. It needs no (n, n) matrix:
    :math:`\sum_{i<j} a_i^T a_j = (\|\sum_i a_i\|^2 - \sum_i \|a_i\|^2) / 2`.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import assignment_orthogonality
    >>> assignment_orthogonality(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    tensor(0.3333)
    """
    twice = assignment.sum(0).square().sum() - assignment.square().sum()
    return twice / 2 / n_pairs(len(assignment))


def simplex_corner_loss(assignment: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    r"""Cauchy-Schwarz overlap of the assignments' closeness to the simplex corners.

    It pushes soft assignments towards hard ones.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment A, rows on the simplex.
    kernel : torch.Tensor of shape (n, n)
        Symmetric positive semi-definite kernel K.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 for a single cluster.

    Notes
    -----
    Eq. 8 of [1]_ (DDC's third term): :func:`cauchy_schwarz_loss` of
    :math:`\eta_{ij} = \exp(-\|a_i - e_j\|^2)`, :math:`e_j` the j-th corner.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import simplex_corner_loss
    >>> simplex_corner_loss(torch.eye(2), torch.eye(2))
    tensor(0.2658)
    >>> simplex_corner_loss(torch.full((2, 2), 0.5), torch.eye(2))
    tensor(1.)
    """
    corners = torch.eye(
        assignment.shape[1], dtype=assignment.dtype, device=assignment.device
    )
    closeness = torch.exp(-squared_distances(assignment, corners))
    return cauchy_schwarz_loss(closeness, kernel)
