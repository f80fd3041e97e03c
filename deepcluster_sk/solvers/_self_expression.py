r"""Self-expression of a sample by the others, under four penalties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk.exceptions import warn

from ._arrays import indices, like, namespace, positive_part, resolution
from ._progress import part_bar
from ._sparse_expression import sparse_rows
from ._validation import check_matrix, check_scalar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_PENALTIES = ("l1", "elasticnet", "nuclear", "l2")


def self_expression(
    Z: ArrayLike,
    alpha: float,
    penalty: Literal["l1", "elasticnet", "nuclear", "l2"] = "l1",
    *,
    l1_ratio: float = 0.9,
    tol: float = 1e-4,
    max_dense_gb: float = 4.0,
    verbose: int = 0,
) -> NDArray[Any]:
    r"""Express every sample by the others.

    Minimises over C of shape (n, n) with zero diagonal

    .. math:: \|Z - C Z\|_F^2 + \lambda R(C).

    Parameters
    ----------
    Z : array-like of shape (n, h)
        Samples (or their codes), one a row; n >= 2.
    alpha : float
        :math:`\lambda > 0`. In units of squared data for "l1": row i of C
        vanishes as soon as :math:`\lambda \ge 2 \max_{j \ne i} |z_i^\top z_j|`
        (:math:`\lambda` times `l1_ratio` for "elasticnet"). Unit-norm rows make
        one weight suit all rows.
    penalty : {"l1", "elasticnet", "nuclear", "l2"}, default="l1"
        R, with :math:`\rho` the `l1_ratio`:

        - "l1": :math:`\|C\|_1`, sum of absolute values, sparse subspace
          clustering [1]_;
        - "elasticnet": :math:`\rho \|C\|_1 + \tfrac12 (1 - \rho) \|C\|_F^2`, as
          scikit-learn weighs it; denser within a subspace [2]_;
        - "nuclear": sum of the singular values, low rank;
        - "l2": :math:`\|C\|_F^2`, least squares.
    l1_ratio : float, default=0.9
        :math:`\rho` in (0, 1], for "elasticnet" only.
    tol : float, default=1e-4
        Largest violation of the optimality conditions, in (0, 1), see Notes. The
        closed form of "l2" does not use it.
    max_dense_gb : float, default=4.0
        Memory in GB that the dense solvers ("l2", "nuclear") may take. More is
        refused before it is allocated.
    verbose : int, default=0
        Above 0, show a progress bar: over rows, and for "nuclear" over iterations.

    Returns
    -------
    C : csr_array of shape (n, n) or ndarray of shape (n, n)
        Row i expresses sample i. Sparse for "l1" and "elasticnet". The diagonal
        is exactly zero.

    Raises
    ------
    MemoryError
        If a dense solver would need more than `max_dense_gb`.

    Notes
    -----
    With the gradient of the smooth part
    :math:`G = -2 (Z - C Z) Z^\top` (plus :math:`\lambda (1 - \rho) C` for
    "elasticnet"), off the diagonal:

    - "l1" and "elasticnet" (there :math:`\lambda_1 = \rho \lambda`, else
      :math:`\lambda_1 = \lambda`): :math:`|G_{ij}| \le (1 + tol) \lambda_1`, and
      :math:`|G_{ij} + \lambda_1 \operatorname{sign} C_{ij}| \le tol\,\lambda_1`
      where :math:`C_{ij} \ne 0`. The violation is relative to alpha, not to
      the larger data term; for penalties at the rounding of the data
      (:math:`\lambda_1 < 10^{-10} \max_i \|z_i\|^2`) it is relative to that
      bound. Each row is solved to the end by an active-set method on a working
      set, which grows by the worst violations over all samples until none is
      left (the oracle of [2]_): O(n² h) time a round and O(n h + nnz) memory.
      10,000 x 50 takes minutes on two cores. Supports have at most about h
      entries for "l1"; a small `l1_ratio` makes them, and the time, larger.
    - "l2": the gradient is zero up to rounding. With
      :math:`P = (Z Z^\top + \lambda I)^{-1}`, the row that leaves its own sample
      out is :math:`C_{ij} = -P_{ij} / P_{ii}`; P is had from an h x h system.
      Two dense n x n arrays: for n up to about 15,000.
    - "nuclear": the alternating direction method of multipliers, one n x n
      singular value decomposition an iteration: for n up to about 1,000. It
      stops with a certificate: a matrix Y with :math:`\|Y\|_2 \le \lambda` and
      :math:`\langle Y, C\rangle \ge (1 - tol) \lambda \|C\|_*`, hence a
      subgradient of the penalty up to tol, with
      :math:`|G_{ij} + Y_{ij}| \le tol\,\lambda` off the diagonal. The diagonal
      is exactly zero, so the smallest singular values are small, not zero.

    References
    ----------
    .. [1] E. Elhamifar and R. Vidal, "Sparse subspace clustering: algorithm,
       theory, and applications", IEEE TPAMI 35, 2013.
    .. [2] C. You, C.-G. Li, D. Robinson and R. Vidal, "Oracle based active set
       algorithm for scalable elastic net subspace clustering", CVPR, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import self_expression
    >>> Z = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> self_expression(Z, alpha=0.2).toarray()
    array([[0.  , 0.9 , 0.  , 0.  ],
           [0.9 , 0.  , 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.475],
           [0.  , 0.  , 1.9 , 0.  ]])
    """
    Z = check_matrix("Z", Z)
    alpha = check_scalar("alpha", alpha, low_open=True)
    tol = resolution(check_scalar("tol", tol, high=1.0, low_open=True), Z)
    max_dense_gb = check_scalar("max_dense_gb", max_dense_gb)
    if penalty not in _PENALTIES:
        raise ValueError(f"penalty must be one of {_PENALTIES}; got {penalty!r}.")
    if Z.shape[0] < 2:
        raise ValueError(
            "Z must have at least 2 rows for one to be expressed by another; "
            f"got shape {Z.shape}."
        )
    if penalty == "l2":
        _refuse(Z.shape[0], 2, "l2", max_dense_gb)
        return _ridge(Z, alpha)
    if penalty == "nuclear":
        # C, its copy, dual, P, the SVD's factors and workspace.
        _refuse(Z.shape[0], 14, "nuclear", max_dense_gb)
        return _nuclear(Z, alpha, tol, verbose=verbose)[0]
    if penalty == "elasticnet":
        l1_ratio = check_scalar("l1_ratio", l1_ratio, high=1.0, low_open=True)
    else:
        l1_ratio = 1.0
    C, unsolved = sparse_rows(
        Z, l1_ratio * alpha, 0.5 * (1.0 - l1_ratio) * alpha, tol, verbose
    )
    if unsolved:
        warn(
            f"self_expression left {unsolved} of {Z.shape[0]} rows above the "
            f"tolerance {tol:g}; raise alpha or tol.",
            ConvergenceWarning,
        )
    return C


def _refuse(n, arrays, penalty, limit):
    need = arrays * 8.0 * n**2 / 1e9
    if need > limit:
        raise MemoryError(
            f"penalty={penalty!r} works on dense arrays: n = {n} samples "
            f"need about {need:.1f} GB, more than max_dense_gb = {limit:g}. Use "
            "'l1' or 'elasticnet', whose memory grows with n only, fewer samples, "
            "or raise max_dense_gb."
        )


def _ridge(Z, alpha):
    """Row-wise ridge regression on the other samples, by the inverse Gram trick."""
    xp, diagonal = namespace(Z), indices(len(Z), Z)
    U, s, _ = xp.linalg.svd(Z, full_matrices=False)  # (n, r), (r,)
    # P = (ZZ' + λ)^-1 = [U diag(λ / (s² + λ)) U' + (I - UU')] / λ. The scale of P
    # cancels. Its diagonal is a sum of non-negative terms, not 1 - leverage: no
    # cancellation where alpha is small.
    shrink = alpha / (s**2 + alpha)
    outside = positive_part(1.0 - (U**2).sum(axis=1))
    outside = xp.where(outside < resolution(1e-14, Z), 0.0, outside)
    left = outside + U**2 @ shrink  # (n,)
    # Off the diagonal: (UU' - U diag(shrink) U')_ij = -λ P_ij.
    C = (U * (s**2 / (s**2 + alpha)) / left[:, np.newaxis]) @ U.T
    C[diagonal, diagonal] = 0.0
    return C


def _nuclear(Z, alpha, tol, max_iter=5000, verbose=0):
    """Nuclear norm by ADMM; return C and the certificate Y (see self_expression).

    min ||Z - CZ||² + λ||J||_* over C = J, diag C = 0. The C step is a ridge
    regression with the diagonal removed by its multiplier: with
    P = (2ZZ' + ρI)^-1 and F = (2ZZ' + ρ(J - U)) P, it is F - diag(F_ii / P_ii) P.
    """
    n, xp = Z.shape[0], namespace(Z)
    diagonal = indices(n, Z)
    U, s, _ = xp.linalg.svd(Z, full_matrices=False)
    K = 2.0 * (U * s**2) @ U.T
    # ρ/λ sets the threshold λ/ρ on singular values of C, which lie about [0, 1].
    rho = max(2.0 * alpha, 1e-3 * float(s[0]) ** 2, np.finfo(np.float64).tiny)
    J = xp.zeros_like(K)
    Y = xp.zeros_like(K)  # ρ times the scaled dual; in λ ∂||J||_* after a J step
    identity = like(np.eye(n), Z)
    P = None
    iterations = part_bar(
        verbose, "self-expression by iterations", iterable=range(max_iter)
    )
    for iteration in iterations:
        if P is None:
            P = (identity - (U * (2.0 * s**2 / (2.0 * s**2 + rho))) @ U.T) / rho
            leave_out = P / xp.diag(P)[:, np.newaxis]
        C = (K + rho * J - Y) @ P
        C -= xp.diag(C)[:, np.newaxis] * leave_out
        C[diagonal, diagonal] = 0.0
        L, sigma, Rt = xp.linalg.svd(C + Y / rho, full_matrices=False)
        shrunk = positive_part(sigma - alpha / rho)
        old = J
        J = (L * shrunk) @ Rt
        Y = (L * xp.clip(sigma * rho, max=alpha)) @ Rt
        # Stationarity of C with the new Y misses by ρ (J - old), off the diagonal.
        dual = rho * float(abs(J - old).max()) / alpha
        primal = float(xp.linalg.matrix_norm(C - J))
        if dual <= 0.5 * tol:
            nuclear = xp.linalg.svdvals(C).sum()
            if (Y * C).sum() >= (1.0 - 0.5 * tol) * alpha * nuclear:
                iterations.close()
                return C, Y
        if iteration % 10 == 9 and iteration < 500:  # balance the two residuals
            change = float(xp.linalg.matrix_norm(J - old))
            factor = 2.0 if primal > 5.0 * change else 0.5
            if primal > 5.0 * change or change > 5.0 * primal:
                rho *= factor
                P = None
    warn(
        f"self_expression: the nuclear norm did not reach tol = {tol:g} in {max_iter} "
        "iterations; raise alpha or tol.",
        ConvergenceWarning,
    )
    return C, Y
