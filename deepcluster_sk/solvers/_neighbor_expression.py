r"""Self-expression of a sample by its nearest neighbours, as in locally linear maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from ._arrays import indices, like, namespace
from ._sparse_matrix import SparseMatrix
from ._validation import check_matrix, check_scalar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Differences that are held at once, in numbers.
BLOCK_NUMBERS = 2**22


def neighbor_expression(Z: ArrayLike, neighbors: ArrayLike, alpha: float) -> Any:
    r"""Express every sample by its neighbours, with coefficients that add up to 1.

    Minimises over C of shape (n, n), row i being zero but for the neighbours of i,

    .. math:: \|Z - C Z\|_F^2 + \lambda \|C\|_F^2
       \quad \text{with} \quad C \mathbf{1} = \mathbf{1}.

    These are the weights of locally linear embedding [1]_, and the self-expression
    of locally linear manifold clustering [2]_.

    Parameters
    ----------
    Z : array-like of shape (n, h)
        Samples (or their codes), one a row.
    neighbors : array-like of shape (n, m), int
        Who may express each sample; m >= 1, and no sample twice or by itself.
    alpha : float
        :math:`\lambda > 0`, in units of squared data. As it grows, all neighbours
        get the same coefficient.

    Returns
    -------
    C : csr_array of shape (n, n)
        Coefficients; row i adds up to 1.

    Notes
    -----
    As coefficients add up to 1, :math:`z_i - \sum_j c_{ij} z_j = -\sum_j c_{ij}
    (z_j - z_i)`. With G the products of these differences, the minimum is at a
    multiple of :math:`(G + \lambda I)^{-1} \mathbf{1}`.

    References
    ----------
    .. [1] S. Roweis and L. Saul, "Nonlinear dimensionality reduction by locally
       linear embedding", Science 290, 2000.
    .. [2] A. Goh and R. Vidal, "Segmenting motions of different types by
       unsupervised manifold clustering", CVPR, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import neighbor_expression
    >>> Z = np.array([[0.0], [1.0], [3.0]])
    >>> neighbor_expression(Z, [[1, 2], [0, 2], [0, 1]], alpha=1e-9).toarray().round(3)
    array([[ 0.   ,  1.5  , -0.5  ],
           [ 0.667,  0.   ,  0.333],
           [-2.   ,  3.   ,  0.   ]])
    """
    Z = check_matrix("Z", Z)
    alpha = check_scalar("alpha", alpha, low_open=True)
    xp = namespace(Z)
    neighbors = xp.asarray(neighbors)
    n, m = neighbors.shape
    weights = xp.empty((n, m), dtype=Z.dtype, device=Z.device)
    ridge, ones = like(alpha * np.eye(m), Z), like(np.ones((m, 1)), Z)
    step = max(1, BLOCK_NUMBERS // (m * Z.shape[1]))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        apart = Z[neighbors[rows]] - Z[rows, np.newaxis]  # (b, m, h)
        gram = apart @ apart.mT + ridge
        right = xp.broadcast_to(ones, (len(gram), m, 1))
        if xp is np:
            found = np.linalg.solve(gram, right)[..., 0]
        else:  # without waiting to learn whether that went well
            found = torch.linalg.solve_ex(gram, right).result[..., 0]
        weights[rows] = found / found.sum(axis=1, keepdims=True)
    if xp is torch:
        rows = indices(n, Z).repeat_interleave(m)
        return SparseMatrix(rows, neighbors.ravel(), weights.ravel(), (n, n))
    indptr = np.arange(0, n * m + 1, m)
    C = sparse.csr_array((weights.ravel(), neighbors.ravel(), indptr), shape=(n, n))
    C.sort_indices()
    return C
