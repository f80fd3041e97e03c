r"""Codes given a dictionary: the Z steps of dictionary and transform learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import linalg, sparse
from scipy.optimize import nnls
from sklearn.utils import check_array

from ._arrays import (
    contiguous,
    copy_of,
    indices,
    like,
    namespace,
    on_host,
    positive_part,
    resolution,
    zeros,
)
from ._cluster_means import cluster_sums
from ._sparse_matrix import SparseMatrix, identity_minus, is_sparse
from ._validation import check_matrix, check_scalar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def kmeans_code(
    X: ArrayLike, D: ArrayLike, labels: ArrayLike, weight: float
) -> NDArray[Any]:
    r"""Code samples on a dictionary, drawn to the mean code of their cluster.

    Minimises over Z of shape (n, h)

    .. math:: \|X - Z D\|_F^2 + \mu \|Z - P Z\|_F^2,

    P being the projection onto cluster means, (PZ)_i = mean of the codes in the
    cluster of i.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Data, one sample a row.
    D : array-like of shape (h, d)
        Dictionary, one atom a row. Any rank.
    labels : array-like of int of shape (n,)
        Cluster of every sample. Any integers: a cluster without samples simply
        does not occur.
    weight : float
        :math:`\mu \ge 0`.

    Returns
    -------
    Z : ndarray of shape (n, h)
        The exact minimiser; of least norm where D leaves it open.

    Notes
    -----
    P is an orthogonal projection, so the problem splits (row convention of the
    k-means term :math:`\|Z - Z H^\top (H H^\top)^{-1} H\|^2` of [1]_):

    .. math::
        (P Z) D D^\top = (P X) D^\top, \qquad
        (Z - PZ) (D D^\top + \mu I) = (X - PX) D^\top.

    Nothing of size n x n is formed: O(n d h + d h min(d, h)).

    References
    ----------
    .. [1] B. Yang, X. Fu, N. D. Sidiropoulos and M. Hong, "Towards
       k-means-friendly spaces: simultaneous deep learning and clustering",
       ICML, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import kmeans_code
    >>> X = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> kmeans_code(X, np.eye(1), [0, 0, 1, 1], weight=1.0).ravel()
    array([ 0.5, 1.5, 10.5, 11.5])
    """
    X = check_matrix("X", X)
    D = check_matrix("D", on_host(D), columns=(X.shape[1], "as X has"))
    weight = check_scalar("weight", weight)
    xp = namespace(X)
    labels = xp.asarray(labels)
    kind = on_host(labels[:0]).dtype.kind
    if labels.shape != X.shape[:1] or kind not in "iu":
        raise ValueError(
            f"labels must be integers of shape ({X.shape[0]},), one for each row of "
            f"X; got {labels.dtype} of shape {labels.shape}."
        )
    _, cluster, counts = xp.unique(labels, return_inverse=True, return_counts=True)
    means = cluster_sums(X, cluster, len(counts)) / counts[:, np.newaxis]
    U, s, Vt = (like(factor, X) for factor in _cut_svd(D))
    coded_means = means @ Vt.T / s @ U.T
    spread = (X - means[cluster]) @ Vt.T * (s / (s**2 + weight)) @ U.T
    return coded_means[cluster] + spread


def sylvester_code(
    X: ArrayLike, D: ArrayLike, C: ArrayLike, weight: float
) -> NDArray[Any]:
    r"""Code samples on a dictionary under a given self-expression.

    Minimises over Z of shape (n, h)

    .. math:: \|X - Z D\|_F^2 + \mu \|Z - C Z\|_F^2.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Data, one sample a row.
    D : array-like of shape (h, d)
        Dictionary, one atom a row. Any rank.
    C : array-like or sparse matrix of shape (n, n)
        Row i expresses sample i by the others.
    weight : float
        :math:`\mu \ge 0`.

    Returns
    -------
    Z : ndarray of shape (n, h)
        The minimiser; zero along the null directions of :math:`D D^\top`.

    Notes
    -----
    The gradient vanishes where
    :math:`\mu (I - C)^\top (I - C) Z + Z D D^\top = X D^\top`, a Sylvester
    equation. Both coefficients are symmetric, so it is solved in the eigenbasis
    of :math:`D D^\top`, as one shifted system a column, rather than by the Schur
    forms of `scipy.linalg.solve_sylvester`: with sparse C by conjugate gradients
    on all columns together (no fill-in, O(nnz) memory), with dense C by one
    eigendecomposition, O(n^3).

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import sylvester_code
    >>> C = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> sylvester_code([[0.0], [4.0]], [[1.0]], C, weight=0.5).ravel()
    array([1.33333333, 2.66666667])
    """
    X = check_matrix("X", X)
    D = check_matrix("D", on_host(D), columns=(X.shape[1], "as X has"))
    weight = check_scalar("weight", weight)
    C = _check_expression(C, X.shape[0])
    U, s, Vt = _cut_svd(D)
    rhs = X @ like(Vt, X).T * like(s, X)
    # Null directions of DD' have no right-hand side: zero is optimal there.
    return _shifted_solve(C, weight, s**2, rhs) @ like(U, X).T


def subspace_code(
    X: ArrayLike, T: ArrayLike, C: ArrayLike, weight: float
) -> NDArray[Any]:
    r"""Code samples by a transform under a given self-expression.

    Minimises over Z of shape (n, h)

    .. math:: \|Z - X T^\top\|_F^2 + \gamma \|Z - C Z\|_F^2,

    step P6 of deeply transformed subspace clustering [1]_, a linear system with
    :math:`I + \gamma (I - C)^\top (I - C)` in the row convention.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Input of the layer, one sample a row.
    T : array-like of shape (h, d)
        Transform.
    C : array-like or sparse matrix of shape (n, n)
        Row i expresses sample i by the others.
    weight : float
        :math:`\gamma \ge 0`.

    Returns
    -------
    Z : ndarray of shape (n, h)
        The minimiser.

    References
    ----------
    .. [1] J. Maggu, A. Majumdar, E. Chouzenoux and G. Chierchia, "Deeply
       transformed subspace clustering", Signal Processing 174, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import subspace_code
    >>> C = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> subspace_code([[0.0], [4.0]], [[1.0]], C, weight=0.5).ravel()
    array([1.33333333, 2.66666667])
    """
    X = check_matrix("X", X)
    T = check_matrix("T", on_host(T), columns=(X.shape[1], "as X has"))
    weight = check_scalar("weight", weight)
    C = _check_expression(C, X.shape[0])
    return _shifted_solve(C, weight, np.ones(T.shape[0]), X @ like(T, X).T)


def nonnegative_code(
    X: ArrayLike,
    D: ArrayLike,
    *,
    target: ArrayLike | None = None,
    weight: float = 0.0,
    max_iter: int = 30,
) -> NDArray[Any]:
    r"""Code samples by non-negative least squares, all rows together.

    Minimises over :math:`Z \ge 0` of shape (n, h)

    .. math:: \|X - Z D\|_F^2 + \mu \|Z - Y\|_F^2.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Data, one sample a row.
    D : array-like of shape (h, d)
        Dictionary, one atom a row. Any rank.
    target : array-like of shape (n, h), default=None
        Y, what the codes are drawn to. Zero if None.
    weight : float, default=0.0
        :math:`\mu \ge 0`.
    max_iter : int, default=30
        Pivoting rounds before a row is handed to `scipy.optimize.nnls`; about ten
        are usual. At most 5 where the atoms are dependent (and `weight` is 0),
        since pivoting may then go round in circles.

    Returns
    -------
    Z : ndarray of shape (n, h)
        Where the gradient is G, ``min(Z, G)`` vanishes: with atoms scaled to unit
        norm, and relative to the largest entry of the row of
        :math:`X D^\top + \mu Y`, to 1e-8 or better.

    Notes
    -----
    Block principal pivoting [1]_: guess which entries are positive, solve for
    them exactly, exchange the ones that came out wrong. The small systems of
    many rows are solved as one batch, of which only unsolved rows remain. The
    steps P4 and P5 of deeply transformed subspace clustering have this form, for
    a layer between T and T' the code of Z on the dictionary T'^T with the
    target X T^T and weight 1.

    References
    ----------
    .. [1] J. Kim and H. Park, "Fast nonnegative matrix factorization: an
       active-set-like method and comparisons", SIAM J. Sci. Comput. 33, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import nonnegative_code
    >>> nonnegative_code([[1.0, -1.0], [2.0, 3.0]], np.eye(2))
    array([[1., 0.],
           [2., 3.]])
    """
    X = check_matrix("X", X)
    D = check_matrix("D", on_host(D), columns=(X.shape[1], "as X has"))
    weight = check_scalar("weight", weight)
    n, h = X.shape[0], D.shape[0]
    if not isinstance(max_iter, int | np.integer) or max_iter < 1:
        raise ValueError(f"max_iter must be an integer >= 1; got {max_iter!r}.")
    gram = D @ D.T
    gram[np.diag_indices(h)] += weight
    linear = X @ like(D, X).T
    if target is not None:
        target = check_matrix(
            "target", target, rows=(n, "as X has"), columns=(h, "as D has rows")
        )
        linear += weight * target
    scale = np.sqrt(np.diag(gram))
    Z = zeros((n, h), X)
    used = np.flatnonzero(scale > 0.0)  # a zero atom without ridge codes nothing
    if used.size:
        scale = scale[used]
        gram = gram[np.ix_(used, used)] / np.outer(scale, scale)
        used, scale = like(used, X), like(scale, X)
        Z[:, used] = _nonnegative(gram, linear[:, used] / scale, max_iter) / scale
    return Z


def _cut_svd(D):
    """Thin SVD without the numerically null part."""
    U, s, Vt = np.linalg.svd(D, full_matrices=False)
    keep = s > max(D.shape) * np.finfo(np.float64).eps * s[0]
    return U[:, keep], s[keep], Vt[keep]


def _check_expression(C, n):
    if not isinstance(C, SparseMatrix | torch.Tensor):
        C = check_array(C, accept_sparse="csr", dtype=np.float64, input_name="C")
    if C.shape != (n, n):
        raise ValueError(
            f"C must have shape ({n}, {n}), one row and column for each row of X; "
            f"got {C.shape}."
        )
    return C


def _shifted_solve(C, weight, shifts, rhs):
    """Solve (weight (I-C)'(I-C) + shifts[k] I) z_k = rhs[:, k] for every k."""
    if weight == 0.0 or not rhs.any():
        return rhs / like(shifts, rhs)
    if not is_sparse(C):
        return _dense_solve(C, weight, shifts, rhs)
    M = identity_minus(C)
    if isinstance(C, SparseMatrix):
        Mt = M.T
        squares = M.squared().sum(axis=0)
    else:
        Mt = M.T.tocsr()
        squares = np.asarray(M.multiply(M).sum(axis=0))
    diagonal = weight * squares.reshape(-1, 1) + like(shifts, rhs)
    Z, solved = _conjugate_gradients(
        M, Mt, weight, like(shifts, rhs), rhs, diagonal, resolution(1e-12, rhs)
    )
    if not solved.all():  # a hopeless condition number: factorise after all
        if isinstance(C, SparseMatrix):
            M = M.to_scipy()
            Mt = M.T.tocsr()
        A = weight * (Mt @ M)
        identity = sparse.eye_array(C.shape[0])
        for k in np.flatnonzero(~on_host(solved)):
            found = sparse.linalg.spsolve(
                (A + shifts[k] * identity).tocsc(), on_host(rhs[:, k])
            )
            Z[:, k] = like(found, Z)
    return Z


def _dense_solve(C, weight, shifts, rhs):
    xp, diagonal = namespace(C), indices(len(C), C)
    M = -C
    M[diagonal, diagonal] += 1.0
    if np.all(shifts == shifts[0]):
        A = weight * (M.T @ M)
        A[diagonal, diagonal] += shifts[0]
        if xp is np:
            return linalg.solve(A, rhs, assume_a="pos", overwrite_a=True)
        return torch.cholesky_solve(rhs, torch.linalg.cholesky(A))
    values, V = xp.linalg.eigh(M.T @ M)
    denominator = weight * positive_part(values)[:, np.newaxis] + like(shifts, rhs)
    return V @ (V.T @ rhs / denominator)


def _conjugate_gradients(M, Mt, weight, shifts, rhs, diagonal, tol, max_iter=2000):
    """Jacobi-preconditioned CG, one system a column, all columns in step."""
    xp = namespace(rhs)
    # To see whether it has ended the host waits for a device: not at every step.
    interval = 1 if xp is np else 10
    Z = rhs / diagonal
    R = rhs - (weight * (Mt @ (M @ Z)) + shifts * Z)
    goal = tol * _column_norms(rhs)
    P = Y = R / diagonal
    ry = (R * Y).sum(axis=0)
    for i in range(max_iter):
        solved = _column_norms(R) <= goal
        if i % interval == 0 and solved.all():
            break
        AP = weight * (Mt @ (M @ P)) + shifts * P
        curvature = (P * AP).sum(axis=0)
        go = ~solved & (curvature > 0.0)  # a finished column must not be touched
        step = xp.where(go, ry / xp.where(go, curvature, 1.0), 0.0)
        Z = Z + step * P
        R = R - step * AP
        Y = R / diagonal
        new = (R * Y).sum(axis=0)
        P = Y + xp.where(go, new / xp.where(go, ry, 1.0), 0.0) * P
        ry = new
    return Z, solved


def _column_norms(R):
    return namespace(R).linalg.vector_norm(R, axis=0)


def _nonnegative(gram, linear, max_iter):
    """Minimise ½ y'Gy - b'y, y >= 0 for every row b; G has unit diagonal."""
    n, h = linear.shape
    xp = namespace(linear)
    size = xp.amax(abs(linear), axis=1)
    size = xp.where(size == 0.0, 1.0, size)
    linear = linear / size[:, np.newaxis]
    out = zeros((n, h), linear)
    # 32 MB of small systems at a time, near the cache; a device wants many at once.
    step = max(1, int((4e6 if xp is np else 3e7) / h**2))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        out[rows] = _pivot(gram, linear[rows], max_iter)
    return out * size[:, np.newaxis]


def _kkt(gram, y, b):
    """Largest violation of min(y, gradient) = 0, a row."""
    xp = namespace(y)
    return xp.amax(abs(xp.minimum(y, y @ gram - b)), axis=1)


def _pivot(gram, b, max_iter, tol=1e-9):
    m, h = b.shape
    xp, on_rows = namespace(b), like(gram, b)
    tol, hair = resolution(tol, b), resolution(1e-12, b)
    values, V = np.linalg.eigh(gram)
    keep = values > h * np.finfo(np.float64).eps * values[-1]
    if not keep.all():
        max_iter = min(max_iter, 5)
    y = _descend(on_rows, b)
    positive = y > 0.0
    todo, atoms = indices(m, b), indices(h, b)
    backup = xp.full_like(todo, 3)  # full exchanges granted without progress
    fewest = xp.full_like(todo, h + 1)
    for _ in range(max_iter):
        trial = _solve_supports(on_rows, b[todo], positive[todo], hair)
        gradient = trial @ on_rows - b[todo]
        F = positive[todo]
        wrong = xp.where(F, trial < -hair, gradient < -tol)
        count = wrong.sum(axis=1)
        trial = positive_part(trial)
        y[todo] = trial
        done = (count == 0) & (_kkt(on_rows, trial, b[todo]) <= tol)
        # Exchange all wrong entries while their number falls (or a little longer),
        # then only the last one: Murty's rule, which cannot cycle.
        progress = count < fewest[todo]
        fewest[todo] = xp.minimum(fewest[todo], count)
        backup[todo] = xp.where(progress, 3, backup[todo] - 1)
        last = (wrong * (atoms + 1)).argmax(axis=1)
        single = wrong & (atoms == last[:, np.newaxis])
        positive[todo] = F ^ xp.where((backup[todo] >= 0)[:, np.newaxis], wrong, single)
        todo = todo[~done]
        if len(todo) == 0:
            return y
    # Degenerate rows (dependent atoms): Lawson and Hanson's method, on a root of
    # the Gram matrix: ||root' y - q||² has the same normal equations.
    root = V[:, keep] * np.sqrt(values[keep])
    q = on_host(b[todo]) @ V[:, keep] / np.sqrt(values[keep])
    y[todo] = like(np.array([nnls(root.T, row, maxiter=30 * h)[0] for row in q]), y)
    return y


def _descend(gram, b, sweeps=8):
    """Coordinate descent from zero: a cheap guess at the positive entries."""
    xp, b = namespace(b), contiguous(b.T)
    y = xp.zeros_like(b)
    for _ in range(sweeps):
        for j in range(gram.shape[0]):
            y[j] = positive_part(y[j] + b[j] - gram[j] @ y)
    return copy_of(contiguous(y.T))


def _solve_supports(gram, b, positive, hair):
    """Solve each row's equations on its positive entries; zero elsewhere.

    With 1 on the diagonal for the others, and a hair on it for the positive ones,
    for supports of dependent atoms.
    """
    if namespace(b) is torch:
        # As wide as all atoms: which supports are long is known on the device only.
        both = positive[:, :, None] & positive[:, None, :]
        A = torch.where(both, gram, 0.0)
        A.diagonal(dim1=1, dim2=2).add_(torch.where(positive, hair, 1.0))
        rhs = torch.where(positive, b, 0.0)[:, :, None]
        return torch.linalg.solve_ex(A, rhs).result[:, :, 0]
    out = np.zeros_like(b)
    counts = positive.sum(axis=1)
    order = np.argsort(counts, kind="stable")
    # Padding to the longest support costs s^3: batch rows of similar support.
    for rows in np.array_split(order, max(1, order.size // 128)):
        s = counts[rows].max(initial=0)
        if s == 0:
            continue
        index = np.argsort(~positive[rows], axis=1, kind="stable")[:, :s]
        real = np.take_along_axis(positive[rows], index, axis=1)
        A = gram[index[:, :, np.newaxis], index[:, np.newaxis, :]]
        A *= real[:, :, np.newaxis] & real[:, np.newaxis, :]
        A[:, np.arange(s), np.arange(s)] += np.where(real, hair, 1.0)
        rhs = np.where(real, np.take_along_axis(b[rows], index, axis=1), 0.0)
        solution = np.linalg.solve(A, rhs[:, :, np.newaxis])[:, :, 0]
        out[rows[:, np.newaxis], index] = solution
    return out
