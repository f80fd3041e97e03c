r"""Dictionary updates on the unit sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.extmath import row_norms

from ._arrays import like, on_host
from ._validation import check_matrix, check_scalar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def normalize_atoms(D: ArrayLike, Z: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Move the scale of the atoms into the codes.

    Parameters
    ----------
    D : array-like of shape (h, d)
        Dictionary, one atom a row.
    Z : array-like of shape (n, h)
        Codes.

    Returns
    -------
    D : ndarray of shape (h, d)
        The atoms at unit norm. A zero atom becomes a constant one.
    Z : ndarray of shape (n, h)
        The codes times the norms: the product Z D is unchanged, signs are kept,
        and the code of a zero atom is zero.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import normalize_atoms
    >>> D, Z = normalize_atoms([[3.0, 4.0]], [[1.0], [2.0]])
    >>> D
    array([[0.6, 0.8]])
    >>> Z.ravel()
    array([ 5., 10.])
    """
    D = check_matrix("D", D)
    Z = check_matrix("Z", Z, columns=(D.shape[0], "one for each atom (row) of D"))
    peak = np.abs(D).max(axis=1)  # first, so that squares do not underflow
    zero = peak == 0.0
    D = D / np.where(zero, 1.0, peak)[:, np.newaxis]
    D[zero] = 1.0
    norms = row_norms(D)
    return D / norms[:, np.newaxis], Z * np.where(zero, 0.0, norms * peak)


def dictionary_update(
    X: ArrayLike,
    Z: ArrayLike,
    D: ArrayLike,
    *,
    right: ArrayLike | None = None,
    max_iter: int = 1,
    tol: float = 1e-10,
) -> NDArray[Any]:
    r"""Lower the reconstruction error over dictionaries of unit-norm atoms.

    Sweeps of exact block coordinate descent over the atoms on

    .. math:: \|X - Z D R\|_F^2 \quad\text{s.t. } \|d_j\| = 1,

    where R is the identity unless `right` is given (the product of the layers
    between this one and the data in a deep dictionary).

    Parameters
    ----------
    X : array-like of shape (n, d)
        Data, one sample a row.
    Z : array-like of shape (n, h)
        Codes.
    D : array-like of shape (h, d), or (h, m) with `right`
        Dictionary to start from, atoms of unit norm (see `normalize_atoms`).
    right : array-like of shape (m, d), default=None
        Fixed right factor R.
    max_iter : int, default=1
        Sweeps over the atoms, at least 1.
    tol : float, default=1e-10
        Stop when a sweep moves the dictionary by less than `tol` times its
        Frobenius norm, in [0, inf).

    Returns
    -------
    D : ndarray of shape (h, d) or (h, m)
        Atoms of unit norm, with an objective no higher than that of the input.

    Notes
    -----
    In one atom, :math:`a = \|z_j\|^2`, :math:`u = R E_j^\top z_j` with
    :math:`E_j` the residual without the atom, the objective is
    :math:`a\, d^\top R R^\top d - 2 u^\top d` plus a constant. With
    :math:`\ell` the largest eigenvalue of :math:`R R^\top`, it is majorised on
    the sphere, with equality at the current atom, by a linear function whose
    minimiser is the normalised :math:`u + a (\ell I - R R^\top) d_j`: no update
    can raise the objective. Without `right` that is :math:`u / \|u\|`, the exact
    minimiser: the update of [1]_ with the sphere in place of the ball, which a
    scale shared with free codes makes the natural choice.

    An atom whose codes are all zero leaves the objective as it is. It is
    re-seeded with the direction of the sample that is currently represented
    worst (a different sample for each such atom; not when `right` is given).

    References
    ----------
    .. [1] J. Mairal, F. Bach, J. Ponce and G. Sapiro, "Online dictionary learning
       for sparse coding", ICML, 2009, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.solvers import dictionary_update
    >>> D = dictionary_update([[0.0, 2.0], [0.0, 1.0]], [[2.0], [1.0]], [[1.0, 0.0]])
    >>> D
    array([[0., 1.]])
    """
    X = check_matrix("X", X)
    Z = check_matrix("Z", Z, rows=(X.shape[0], "as X has"))
    if right is None:
        width = (X.shape[1], "as X has columns")
    else:
        columns = (X.shape[1], "as X has")
        right = check_matrix("right", on_host(right), columns=columns)
        width = (right.shape[0], "as `right` has rows")
    rows = (Z.shape[1], "as Z has columns")
    D = check_matrix("D", on_host(D), rows=rows, columns=width)
    tol = check_scalar("tol", tol)
    if not isinstance(max_iter, int | np.integer) or max_iter < 1:
        raise ValueError(f"max_iter must be an integer >= 1; got {max_iter!r}.")
    norms = row_norms(D)
    if np.any(np.abs(norms - 1.0) > 1e-6):
        raise ValueError(
            "The atoms (rows) of D must have unit norm; got norms from "
            f"{norms.min():.3g} to {norms.max():.3g}. normalize_atoms(D, Z) moves "
            "the scale into the codes."
        )
    D = D / norms[:, np.newaxis]
    unused = ~on_host((Z != 0.0).any(axis=0))
    if right is None and unused.any():
        _reseed(D, X, Z, unused)
    metric = np.eye(D.shape[1]) if right is None else right @ right.T
    lipschitz = np.linalg.eigvalsh(metric)[-1] if right is not None else 1.0
    gram, target = on_host(Z.T @ Z), on_host(Z.T @ X)
    if right is not None:
        target = target @ right.T
    for _ in range(max_iter):
        before = D.copy()
        for j in np.flatnonzero(~unused):
            # -½ gradient + a ℓ d, with the atom's own term inside gram @ D.
            others = gram[j] @ D
            if right is not None:
                others = others @ metric
            pull = target[j] - others + gram[j, j] * lipschitz * D[j]
            norm = np.linalg.norm(pull)
            if norm > 0.0:  # else every unit atom is as good
                D[j] = pull / norm
        if np.linalg.norm(D - before) <= tol * np.sqrt(D.shape[0]):
            break
    return D


def _reseed(D, X, Z, unused):
    """Point unused atoms, in place, at the worst represented samples."""
    residual = on_host(X - Z @ like(D, Z))
    errors = row_norms(residual, squared=True)
    worst = np.argsort(-errors, kind="stable")
    for j, i in zip(np.flatnonzero(unused), worst, strict=False):
        if errors[i] > 0.0:
            D[j] = residual[i] / np.sqrt(errors[i])
