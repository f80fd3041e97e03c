r"""The transform update of transform learning, for any shape of transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk.exceptions import warn

from ._arrays import like, on_host
from ._validation import check_matrix, check_scalar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Relative gradient at which the iteration for wide transforms stops; the
# promise is 1e-6, and the last Newton step usually overshoots by far.
_GRADIENT_TOL = 1e-9


def transform_objective(
    X: ArrayLike, Z: ArrayLike, T: ArrayLike, alpha: float
) -> float:
    r"""Evaluate the transform-learning objective of one layer.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Input, one sample a row.
    Z : array-like of shape (n, h)
        Code, one sample a row.
    T : array-like of shape (h, d)
        Transform.
    alpha : float
        Weight :math:`\lambda > 0` of the terms on T.

    Returns
    -------
    float
        :math:`\|X T^\top - Z\|_F^2 + \lambda (\|T\|_F^2 - \log\det T)`, where
        the log-determinant is the sum of the logarithms of the singular
        values of T. It is infinite where T has not full rank.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import transform_objective
    >>> transform_objective(np.eye(2), np.eye(2), np.eye(2), alpha=0.5)
    1.0
    """
    X, Z, alpha = _check_layer(X, Z, alpha)
    T = check_matrix(
        "T",
        on_host(T),
        rows=(Z.shape[1], "as Z has columns"),
        columns=(X.shape[1], "as X has columns"),
    )
    singular = np.linalg.svd(T, compute_uv=False)
    if singular[-1] == 0.0:
        return float("inf")
    fit = float(((X @ like(T, X).T - Z) ** 2).sum())
    return float(fit + alpha * (np.sum(T**2) - np.sum(np.log(singular))))


def transform_update(X: ArrayLike, Z: ArrayLike, alpha: float) -> NDArray[Any]:
    r"""Return the transform that best maps X to Z.

    Minimises over T of shape (h, d)

    .. math:: \|X T^\top - Z\|_F^2 + \lambda (\|T\|_F^2 - \log\det T),

    the log-determinant being the sum of the logarithms of the min(h, d)
    singular values of T, as for square T up to the sign of the determinant.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Input, one sample a row. Any rank, n < d included.
    Z : array-like of shape (n, h)
        Code, one sample a row.
    alpha : float
        Weight :math:`\lambda > 0` of the terms on T. In units of squared data
        times n: the same transform is found for n repeated samples when the
        alpha grows with n.

    Returns
    -------
    T : ndarray of shape (h, d)
        A global minimum for h >= d. A point of vanishing gradient for h < d,
        reached by descent from the best of a few closed-form starts.

    Notes
    -----
    With :math:`X^\top X + \lambda I = L L^\top` and W = TL, the objective is
    :math:`\|W\|^2 - 2\langle W, B\rangle - \lambda\log\det W` plus a constant,
    :math:`B = Z^\top X L^{-\top} = R \Sigma Q^\top`, as long as h >= d (then
    log det T = log det W - log det L). Hence
    :math:`T = \tfrac12 R (\Sigma + (\Sigma^2 + 2 \lambda I)^{1/2}) Q^\top L^{-1}`
    [1]_. Any factor L serves; the symmetric root is taken here, because it
    bears any rank of X.

    For h < d the log-determinant no longer splits: which h directions of the
    input T looks at matters too. On a fixed subspace the problem is square and
    solved as above; from there a trust-region Newton method, in the variable W
    that makes the quadratic part isotropic, runs to a relative gradient of
    1e-6 or less.

    References
    ----------
    .. [1] S. Ravishankar and Y. Bresler, "Closed-form solutions within
       sparsifying transform learning", ICASSP, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import transform_update
    >>> X = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> T = transform_update(X, X, alpha=1e-6)
    >>> np.allclose(T, np.eye(2), atol=1e-6)
    True
    """
    X, Z, alpha = _check_layer(X, Z, alpha)
    eigenvalues, V = np.linalg.eigh(on_host(X.T @ X))  # ascending
    root = np.sqrt(np.maximum(eigenvalues, 0.0) + alpha)  # L = V diag(root) V'
    B = on_host(Z.T @ X) @ V / root  # (h, d), in the eigenbasis of X'X
    if Z.shape[1] >= X.shape[1]:
        return _shrunk(B, alpha) / root @ V.T
    W = _best_start(B, root, alpha)
    W, residual = _newton(W, B, root, alpha)
    if residual > 1e-6:
        warn(
            f"transform_update stopped at a relative gradient of {residual:.1e}; "
            "rescale X and Z, or raise alpha.",
            ConvergenceWarning,
        )
    return W / root @ V.T


def _check_layer(X, Z, alpha):
    X = check_matrix("X", X)
    Z = check_matrix("Z", Z, rows=(X.shape[0], "as X has"))
    return X, Z, check_scalar("alpha", alpha, low_open=True)


def _shrunk(B, alpha):
    """Minimise ||W||² - 2<W, B> - alpha · Σ log s(W) where W is at least as tall."""
    R, sigma, Qt = np.linalg.svd(B, full_matrices=False)
    return 0.5 * (R * (sigma + np.sqrt(sigma**2 + 2.0 * alpha))) @ Qt


def _objective(W, B, root, alpha):
    log_det = np.sum(np.log(np.linalg.svd(W / root, compute_uv=False)))
    return np.sum(W * W) - 2.0 * np.sum(W * B) - alpha * log_det


def _best_start(B, root, alpha):
    """Solve on a few subspaces of the input in closed form; return the best W.

    Two pulls compete: the rows of B (fit the codes) and the flattest directions
    of the data (where a row of T costs least). The candidates take the first r
    right singular vectors of B and fill up with flat directions.
    """
    h, d = B.shape
    _, sigma, Qt = np.linalg.svd(B, full_matrices=False)
    rank = int(np.sum(sigma > sigma[0] * 1e-12)) if sigma[0] > 0 else 0
    best, lowest = None, np.inf
    for r in np.unique(np.linspace(0, rank, 5).astype(int)):
        # Candidate rows for T: Q_r' L^-1, then unit vectors of flat directions.
        rows = np.vstack([Qt[:r] / root, np.eye(h, d)])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        W = _on_subspace(_leading_independent(rows, h), B, root, alpha)
        value = _objective(W, B, root, alpha)
        if value < lowest:
            best, lowest = W, value
    return best


def _on_subspace(basis, B, root, alpha):
    """Minimise over all T = S basis (basis orthonormal): a square problem for S."""
    values, U = np.linalg.eigh((basis * root**2) @ basis.T)
    half = np.sqrt(values)
    S = _shrunk((B * root) @ basis.T @ U / half, alpha) / half @ U.T
    return S @ basis * root


def _leading_independent(rows, count):
    """Orthonormalise `rows` in order, skip what depends on earlier ones."""
    basis = np.zeros((0, rows.shape[1]))
    for row in rows:
        for _ in range(2):  # once is not enough in floating point
            row = row - (row @ basis.T) @ basis
        norm = np.linalg.norm(row)
        if norm > 1e-8:
            basis = np.vstack([basis, row / norm])
            if len(basis) == count:
                break
    return basis


def _newton(W, B, root, alpha, max_iter=500):
    """Trust-region Newton on W; return W and the relative gradient in T."""
    # The closed-form start lies in a symmetric subspace, often on a saddle: tilt
    # it a little, so that negative curvature can be found.
    noise = np.random.default_rng(0).standard_normal(W.shape)
    W = W + noise * (1e-3 * np.linalg.norm(W) / np.linalg.norm(noise))
    value = _objective(W, B, root, alpha)
    radius = np.linalg.norm(W)
    gradient, hessian, residual = _derivatives(W, B, root, alpha)
    for _ in range(max_iter):
        if residual <= _GRADIENT_TOL:
            break
        step, model = _steihaug(gradient, hessian, radius, min(0.01, residual))
        # Re-solving in the new subspace follows the curved valley of nearly
        # equivalent rotations that flat data make; plain steps crawl there.
        basis = np.linalg.qr(((W + step) / root).T)[0].T
        trial = _on_subspace(basis, B, root, alpha)
        trial_value = _objective(trial, B, root, alpha)
        new = _derivatives(trial, B, root, alpha)
        drop = value - trial_value
        # Below the resolution of the objective, the gradient decides.
        if abs(model) <= 1e-13 * (abs(value) + np.sum(W * W)):
            accept, ratio = new[2] < residual, 1.0
        else:
            ratio = drop / model
            accept = ratio > 1e-4
        length = np.linalg.norm(step)
        if not accept:
            radius = 0.25 * length
            if radius <= 1e-15 * np.linalg.norm(W):
                break
            continue
        if ratio > 0.75 and length > 0.99 * radius:
            radius *= 2.0
        elif ratio < 0.25:
            radius = 0.25 * length
        W, value = trial, trial_value
        gradient, hessian, residual = new
    return W, residual


def _derivatives(W, B, root, alpha):
    """Gradient in W, Hessian product in W, relative gradient in T."""
    T = W / root
    K = np.linalg.inv(T @ T.T)
    pinv_t = K @ T  # transposed pseudo-inverse of T: gradient of Σ log s
    gradient = 2.0 * (W - B) - alpha * pinv_t / root

    def hessian(E):
        e = E / root
        inner = e - (e @ T.T + T @ e.T) @ pinv_t
        return 2.0 * E - alpha * (K @ inner) / root

    scale = 2.0 * np.linalg.norm(W * root) + 2.0 * np.linalg.norm(B * root)
    scale += alpha * np.linalg.norm(pinv_t)
    return gradient, hessian, np.linalg.norm(gradient * root) / scale


def _steihaug(gradient, hessian, radius, forcing, max_iter=250):
    """Run truncated conjugate gradients; return the step and the model's decrease."""
    step, step_h = np.zeros_like(gradient), np.zeros_like(gradient)
    r, p = gradient, -gradient
    rr = np.sum(r * r)
    stop = rr * forcing**2
    for _ in range(max_iter):
        hp = hessian(p)
        curvature = np.sum(p * hp)
        alpha = rr / curvature if curvature > 0 else np.inf
        pp, sp, ss = np.sum(p * p), np.sum(step * p), np.sum(step * step)
        limit = (-sp + np.sqrt(max(sp * sp + pp * (radius**2 - ss), 0.0))) / pp
        if alpha >= limit:  # negative curvature, or out of the region: its edge
            step, step_h = step + limit * p, step_h + limit * hp
            break
        step, step_h = step + alpha * p, step_h + alpha * hp
        r = r + alpha * hp
        new = np.sum(r * r)
        if new <= stop:
            break
        p = -r + (new / rr) * p
        rr = new
    return step, -np.sum(step * gradient) - 0.5 * np.sum(step * step_h)
