r"""Row-wise lasso and elastic net on all other rows, with no n x n array.

Three levels, each over a block of rows at a time so that NumPy does the work:

1. `_solve_block`: a working set of candidates a row, refilled by the worst
   violations over *all* samples (one GEMM a round);
2. `_solve_candidates`: a primal active-set method on the working set;
3. `_newton_step`: one exact step on the active face, stopped at a sign change.

Coordinate descent would be the usual choice. Codes of samples from a union of
subspaces are collinear by construction, and it crawls there; the active-set
method ends after finitely many exact solves of the size of the support.
"""

import numpy as np
from scipy import sparse

from ._progress import part_bar

_CANDIDATES = 32  # refill of the working set a round; 64 and 128 were no faster
_DECAY = 0.3  # of the penalty a round, on its way from where C is zero
_BLOCK_BYTES = 48e6


def sparse_rows(Z, l1, ridge, tol, verbose=0):
    r"""Solve min ||z_i - c Z||² + l1 ||c||_1 + ridge ||c||², c_i = 0, for every i.

    Parameters
    ----------
    Z : ndarray of shape (n, h)
        Samples.
    l1, ridge : float
        Weights, l1 > 0 and ridge >= 0.
    tol : float
        Violation of the optimality conditions allowed, relative to l1.
    verbose : int, default=0
        Above 0, show a progress bar over the rows.

    Returns
    -------
    C : csr_array of shape (n, n)
        The rows c, diagonal exactly zero.
    unsolved : int
        Number of rows that stopped short of `tol`.
    """
    n, h = Z.shape
    peak = np.max(np.einsum("ij,ij->i", Z, Z))
    # Rounding of the gradient sets a floor for what can be asked.
    slack = tol * max(l1, 1e-10 * peak)
    width = min(n - 1, _CANDIDATES)
    size = int(_BLOCK_BYTES / 8 / max(n, 2 * width * h))
    size = min(max(size, 16), 1024)
    blocks, unsolved = [], 0
    with part_bar(verbose, "self-expression of rows", total=n, unit="row") as bar:
        for start in range(0, n, size):
            own = np.arange(start, min(start + size, n))
            block, left = _solve_block(Z, own, l1, ridge, slack, width, peak)
            blocks.append(block)
            unsolved += left
            bar.update(len(own))
    return sparse.vstack(blocks, format="csr"), unsolved


def _solve_block(Z, own, l1, ridge, slack, width, peak, max_rounds=200):
    """Solve the rows `own`; return them as csr and the number left unsolved."""
    n = Z.shape[0]
    m = own.size
    todo = np.arange(m)
    index = np.zeros((m, 0), dtype=np.intp)  # (rows to do, support)
    coef = np.zeros((m, 0))
    level = np.full(m, np.inf)
    done_rows, done_index, done_coef = [], [], []

    def store(keep, index, coef):
        filled = coef[keep] != 0.0
        done_rows.append(np.broadcast_to(todo[keep][:, None], filled.shape)[filled])
        done_index.append(index[keep][filled])
        done_coef.append(coef[keep][filled])

    for _ in range(max_rounds):
        rows = np.arange(todo.size)[:, np.newaxis]
        residual = Z[own[todo]]
        if index.shape[1]:
            residual = residual - np.einsum("ms,msh->mh", coef, Z[index])
        violation = np.abs(2.0 * (residual @ Z.T))  # (rows, n)
        violation[rows, index] = 0.0  # already solved for
        violation[rows[:, 0], own[todo]] = 0.0  # a sample never explains itself
        worst = violation.max(axis=1)
        # Solved at the final penalty, or zero (not begun) and right to be so.
        solved = ((level <= l1) | np.isinf(level)) & (worst <= l1 + slack)
        if solved.any():
            store(solved, index, coef)
            live = ~solved
            todo, index, coef = todo[live], index[live], coef[live]
            if todo.size == 0:
                break
            violation, worst, level = violation[live], worst[live], level[live]
            rows = rows[: todo.size]
        level = np.maximum(_DECAY * np.where(np.isinf(level), worst, level), l1)
        if width < n - 1:
            fresh = np.argpartition(violation, n - width, axis=1)[:, n - width :]
        else:
            fresh = np.broadcast_to(np.arange(n), (todo.size, n))
        allowed = violation[rows, fresh] > 0.0
        index = np.hstack([index, fresh])
        allowed = np.hstack([coef != 0.0, allowed])
        coef = np.hstack([coef, np.zeros(fresh.shape)])
        coef = _solve_candidates(
            Z[index],
            Z[own[todo]],
            coef,
            allowed,
            level[:, np.newaxis],
            ridge,
            slack,
            peak,
        )
        index, coef = _support(index, coef, own[todo])
    left = todo.size
    if left:
        store(np.ones(left, dtype=bool), index, coef)
    entries = (np.concatenate(done_rows), np.concatenate(done_index))
    block = sparse.csr_array((np.concatenate(done_coef), entries), shape=(m, n))
    block.sort_indices()
    return block, left


def _support(index, coef, own):
    """Keep the non-zeros of each row, padded to the longest support.

    Padding carries coefficient 0 on the row's own sample.
    """
    filled = coef != 0.0
    longest = filled.sum(axis=1).max()
    order = np.argsort(~filled, axis=1, kind="stable")[:, :longest]
    coef = np.take_along_axis(coef, order, axis=1)
    index = np.take_along_axis(index, order, axis=1)
    return np.where(coef != 0.0, index, own[:, np.newaxis]), coef


def _solve_candidates(A, z, coef, allowed, l1, ridge, slack, peak):
    """Primal active set on each row's candidates A (m, w, h).

    An iteration takes rows at the optimum of their face to a larger face, by the
    worst violations, and all others one step along theirs. The objective falls
    with every step that moves, so no face comes twice.
    """
    m, w, _ = A.shape
    out = coef.copy()
    live = np.arange(m)  # A, z, ... hold the rows `live`
    sign = np.sign(coef)
    face_tol = 1e-2 * slack
    for _ in range(20 * w):
        residual = z - (coef[:, np.newaxis, :] @ A)[:, 0]
        gradient = -2.0 * (A @ residual[:, :, np.newaxis])[:, :, 0]
        gradient += 2.0 * ridge * coef
        active = sign != 0.0
        face = np.where(active, gradient + l1 * sign, 0.0)
        at_face = np.abs(face).max(axis=1) <= face_tol
        excess = np.where(active | ~allowed, 0.0, np.abs(gradient) - l1)
        excess[~at_face] = 0.0
        worst = excess.max(axis=1)
        finished = at_face & (worst <= 0.5 * slack)
        # All violations at least half as bad as the worst: fewer, larger faces.
        enter = (excess >= 0.5 * worst[:, np.newaxis]) & (excess > 0.5 * slack)
        sign = np.where(enter, -np.sign(gradient), sign)
        face = np.where(enter, gradient + l1 * sign, face)
        if finished.any():
            out[live[finished]] = coef[finished]
            go = ~finished
            live, z, coef, sign = live[go], z[go], coef[go], sign[go]
            if live.size == 0:
                return out
            A, allowed, face, l1 = A[go], allowed[go], face[go], l1[go]
        coef, sign = _newton_step(A, coef, sign, face, ridge, peak)
    out[live] = coef  # the caller's own check will find these rows
    return out


def _newton_step(A, coef, sign, face, ridge, peak):
    """One step to the optimum of the face, cut where a coefficient meets zero."""
    active = sign != 0.0
    s = active.sum(axis=1).max()
    order = np.argsort(~active, axis=1, kind="stable")[:, :s]
    real = np.take_along_axis(active, order, axis=1)
    F = np.take_along_axis(A, order[:, :, np.newaxis], axis=1)
    F *= real[:, :, np.newaxis]
    H = 2.0 * (F @ F.transpose(0, 2, 1))  # (m, s, s)
    # Duplicated samples make a face flat. The hair on the diagonal keeps the
    # system solvable; the step stays a descent direction, its length is exact.
    diagonal = 2.0 * ridge + np.where(real, 1e-11 * peak, peak)
    H[:, np.arange(s), np.arange(s)] += diagonal
    slope = np.take_along_axis(face, order, axis=1)
    step = np.where(real, -np.linalg.solve(H, slope[:, :, np.newaxis])[:, :, 0], 0.0)
    c = np.take_along_axis(coef, order, axis=1)
    sg = np.take_along_axis(sign, order, axis=1)

    moved = (step[:, np.newaxis, :] @ F)[:, 0]
    curvature = 2.0 * np.sum(moved**2, axis=1) + 2.0 * ridge * np.sum(step**2, axis=1)
    descent = -np.sum(slope * step, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.where(curvature > 0.0, descent / curvature, np.inf)
        meets = np.where(step * sg < 0.0, -c / step, np.inf)
    length = np.minimum(best, meets.min(axis=1))
    # A flat face without a descent: nothing to do but to leave it to the caller.
    length[~np.isfinite(length)] = 0.0
    length = length[:, np.newaxis]
    zeroed = meets <= length
    c = np.where(zeroed, 0.0, c + length * step)
    sg = np.where(zeroed, 0.0, sg)
    coef, sign = coef.copy(), sign.copy()
    np.put_along_axis(coef, order, c, axis=1)
    np.put_along_axis(sign, order, sg, axis=1)
    return coef, sign
