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
import torch
from scipy import sparse

from ._arrays import (
    copy_of,
    indices,
    largest_of_rows,
    namespace,
    zeros,
)
from ._progress import part_bar
from ._sparse_matrix import SparseMatrix

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
    xp = namespace(Z)
    peak = float(xp.einsum("ij,ij->i", Z, Z).max())
    # Rounding of the gradient sets a floor for what can be asked.
    floor = 1.0 if Z.dtype == torch.float32 else 1e-10
    slack = tol * max(l1, floor * peak)
    width = min(n - 1, _CANDIDATES)
    # A device wants many rows at once.
    budget, most = (_BLOCK_BYTES, 1024) if xp is np else (20 * _BLOCK_BYTES, 2**14)
    size = int(budget / 8 / max(n, 2 * width * h))
    size = min(max(size, 16), most)
    blocks, unsolved = [], 0
    with part_bar(verbose, "self-expression of rows", total=n, unit="row") as bar:
        for start in range(0, n, size):
            own = indices(n, Z)[start : start + size]
            block, left = _solve_block(Z, own, l1, ridge, slack, width, peak)
            blocks.append(block)
            unsolved += left
            bar.update(len(own))
    if xp is np:
        return sparse.vstack(blocks, format="csr"), unsolved
    rows, index, coef = (xp.concat(parts) for parts in zip(*blocks, strict=True))
    return SparseMatrix(rows, index, coef, (n, n)), unsolved


def _solve_block(Z, own, l1, ridge, slack, width, peak, max_rounds=200):
    """Solve the rows `own`; return them and the number left unsolved.

    They come as csr_array of shape (m, n), and of tensors as entries of the whole.
    """
    xp, n = namespace(Z), Z.shape[0]
    m = len(own)
    todo = indices(m, Z)
    index = todo[:, np.newaxis][:, :0]  # (rows to do, support)
    coef = zeros((m, 0), Z)
    level = xp.full((m,), np.inf, dtype=Z.dtype, device=Z.device)
    done_rows, done_index, done_coef = [], [], []

    def store(keep, index, coef):
        coef = coef[keep]
        i, j = xp.where(coef != 0.0)
        done_rows.append(todo[keep][i])
        done_index.append(index[keep][i, j])
        done_coef.append(coef[i, j])

    for _ in range(max_rounds):
        rows = indices(len(todo), Z)[:, np.newaxis]
        residual = Z[own[todo]]
        if index.shape[1]:
            residual = residual - _combined(coef, Z[index])
        violation = abs(2.0 * (residual @ Z.T))  # (rows, n)
        violation[rows, index] = 0.0  # already solved for
        violation[rows[:, 0], own[todo]] = 0.0  # a sample never explains itself
        worst = xp.amax(violation, axis=1)
        # Solved at the final penalty, or zero (not begun) and right to be so.
        solved = ((level <= l1) | xp.isinf(level)) & (worst <= l1 + slack)
        # Numbers of rows, and no masks: for each mask the host waits for a device.
        (keep,) = xp.where(solved)
        if len(keep):
            store(keep, index, coef)
            (live,) = xp.where(~solved)
            todo, index, coef = todo[live], index[live], coef[live]
            if len(todo) == 0:
                break
            violation, worst, level = violation[live], worst[live], level[live]
            rows = rows[: len(todo)]
        level = xp.where(xp.isinf(level), worst, level)
        level = xp.clip(_DECAY * level, min=l1)
        if width < n - 1:
            fresh = largest_of_rows(violation, width)
        else:
            fresh = xp.broadcast_to(indices(n, Z), (len(todo), n))
        allowed = violation[rows, fresh] > 0.0
        index = xp.concat([index, fresh], axis=1)
        allowed = xp.concat([coef != 0.0, allowed], axis=1)
        coef = xp.concat([coef, zeros(fresh.shape, Z)], axis=1)
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
    left = len(todo)
    if left:
        store(indices(left, Z), index, coef)
    entries = (xp.concat(done_rows), xp.concat(done_index))
    coef = xp.concat(done_coef)
    if xp is torch:
        return (own[entries[0]], entries[1], coef), left
    block = sparse.csr_array((coef, entries), shape=(m, n))
    block.sort_indices()
    return block, left


def _combined(coef, A):
    """Each row's combination of its candidates: (m, w) and (m, w, h) to (m, h)."""
    return (coef[:, np.newaxis, :] @ A)[:, 0]


def _support(index, coef, own):
    """Keep the non-zeros of each row, padded to the longest support.

    Padding carries coefficient 0 on the row's own sample.
    """
    filled = coef != 0.0
    chosen = _first(filled)
    coef, index = coef[chosen], index[chosen]
    return namespace(coef).where(coef != 0.0, index, own[:, np.newaxis]), coef


def _first(chosen):
    """Places of what is chosen in each row, before others: as many as a row has most.

    As indices of rows and of columns.
    """
    longest = int(chosen.sum(axis=1).max())
    order = namespace(chosen).argsort(1 * ~chosen, axis=1, stable=True)
    return indices(len(chosen), chosen)[:, np.newaxis], order[:, :longest]


def _solve_candidates(A, z, coef, allowed, l1, ridge, slack, peak):
    """Primal active set on each row's candidates A (m, w, h).

    An iteration takes rows at the optimum of their face to a larger face, by the
    worst violations, and all others one step along theirs. The objective falls
    with every step that moves, so no face comes twice.
    """
    m, w, _ = A.shape
    xp = namespace(A)
    out = copy_of(coef)
    live = indices(m, A)  # A, z, ... hold the rows `live`
    sign = xp.sign(coef)
    face_tol = 1e-2 * slack
    for _ in range(20 * w):
        residual = z - _combined(coef, A)
        gradient = -2.0 * (A @ residual[:, :, np.newaxis])[:, :, 0]
        gradient += 2.0 * ridge * coef
        active = sign != 0.0
        face = xp.where(active, gradient + l1 * sign, 0.0)
        at_face = xp.amax(abs(face), axis=1) <= face_tol
        excess = xp.where(active | ~allowed, 0.0, abs(gradient) - l1)
        excess = xp.where(at_face[:, np.newaxis], excess, 0.0)
        worst = xp.amax(excess, axis=1)
        finished = at_face & (worst <= 0.5 * slack)
        # All violations at least half as bad as the worst: fewer, larger faces.
        enter = (excess >= 0.5 * worst[:, np.newaxis]) & (excess > 0.5 * slack)
        sign = xp.where(enter, -xp.sign(gradient), sign)
        face = xp.where(enter, gradient + l1 * sign, face)
        (stop,) = xp.where(finished)
        if len(stop):
            out[live[stop]] = coef[stop]
            (go,) = xp.where(~finished)
            live, z, coef, sign = live[go], z[go], coef[go], sign[go]
            if len(live) == 0:
                return out
            A, allowed, face, l1 = A[go], allowed[go], face[go], l1[go]
        coef, sign = _newton_step(A, coef, sign, face, ridge, peak)
    out[live] = coef  # the caller's own check will find these rows
    return out


def _newton_step(A, coef, sign, face, ridge, peak):
    """One step to the optimum of the face, cut where a coefficient meets zero."""
    xp = namespace(A)
    active = sign != 0.0
    first = _first(active)
    s = indices(first[1].shape[1], A)
    real = active[first]
    F = A[first]
    F *= real[:, :, np.newaxis]
    H = 2.0 * (F @ F.mT)  # (m, s, s)
    # Duplicated samples make a face flat. The hair on the diagonal keeps the
    # system solvable; the step stays a descent direction, its length is exact.
    hair = 1e-11 if A.dtype != torch.float32 else 1e-6
    H[:, s, s] += 2.0 * ridge + xp.where(real, hair * peak, peak)
    slope = face[first]
    step = xp.where(real, -_solve(H, slope[:, :, np.newaxis])[:, :, 0], 0.0)
    c, sg = coef[first], sign[first]

    moved = _combined(step, F)
    curvature = 2.0 * (moved**2).sum(axis=1) + 2.0 * ridge * (step**2).sum(axis=1)
    descent = -(slope * step).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = xp.where(curvature > 0.0, descent / curvature, np.inf)
        meets = xp.where(step * sg < 0.0, -c / step, np.inf)
    length = xp.minimum(best, xp.amin(meets, axis=1))
    # A flat face without a descent: nothing to do but to leave it to the caller.
    length = xp.where(xp.isfinite(length), length, 0.0)
    length = length[:, np.newaxis]
    zeroed = meets <= length
    c = xp.where(zeroed, 0.0, c + length * step)
    sg = xp.where(zeroed, 0.0, sg)
    coef, sign = copy_of(coef), copy_of(sign)
    coef[first], sign[first] = c, sg
    return coef, sign


def _solve(H, right):
    """Solutions of many systems; of tensors without waiting to learn how it went."""
    if isinstance(H, torch.Tensor):
        return torch.linalg.solve_ex(H, right).result
    return np.linalg.solve(H, right)
