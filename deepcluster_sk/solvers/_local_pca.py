"""The linear tensorized autoencoder without gradients: local principal components.

By Theorem 2.2 of Esser et al. (2023) the optimum of the linear case for a given
assignment is known: centres are means, encoders the leading eigenvectors of each
cluster's covariance. Alternating that with the best assignment is a Lloyd
iteration; for ``code_penalty <= 0`` neither half-step raises the objective.
"""

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh

from deepcluster_sk.solvers._progress import PhaseBar

# Below this size a dense factorisation is faster than Lanczos iterations.
DENSE_SIZE = 400


def leading_directions(R, n_components, random_state):
    """Orthonormal rows spanning the leading right singular vectors of R.

    Parameters
    ----------
    R : ndarray of shape (n, d)
        Centred rows of one cluster.
    n_components : int
        Number h of directions, at most d.
    random_state : RandomState
        Start of the Lanczos iteration, where one is used.

    Returns
    -------
    U : ndarray of shape (h, d)
        By decreasing variance. Where R has too low a rank, the rest is completed to
        orthonormal rows.
    """
    n, d = R.shape
    h = n_components
    if d <= DENSE_SIZE:
        V = eigh(R.T @ R, subset_by_index=(d - h, d - 1))[1]
        return np.ascontiguousarray(V[:, ::-1].T)
    if n <= DENSE_SIZE:
        Vt = np.linalg.svd(R, full_matrices=False)[2][:h]
        # The orthogonal factor is orthonormal even where columns are dependent.
        return np.linalg.qr(np.hstack([Vt.T, np.eye(d, h)]))[0][:, :h].T
    if not R.any():  # ARPACK would not start
        return np.eye(h, d)
    scatter = LinearOperator((d, d), matvec=lambda v: R.T @ (R @ v), dtype=R.dtype)
    values, V = eigsh(scatter, k=h, v0=random_state.uniform(-1, 1, d))
    return np.ascontiguousarray(V[:, np.argsort(values)[::-1]].T)


def projection_cost(X, centers, bases, code_penalty):
    """Cost of every row under every cluster, for orthonormal encoders.

    With ``U Uᵀ = I`` the bracket of Eq. 3 is ``||r||² - (1 + code_penalty) ||U r||²``,
    ``r = x - C_j``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    centers : ndarray of shape (k, d)
    bases : ndarray of shape (k, h, d)
    code_penalty : float

    Returns
    -------
    distance, energy : ndarrays of shape (n, k)
        ``||r||²`` and ``||U r||²``; the cost is their combination.
    """
    distance = np.empty((len(X), len(centers)))
    energy = np.empty_like(distance)
    for j, (center, basis) in enumerate(zip(centers, bases, strict=True)):
        R = X - center
        distance[:, j] = np.einsum("nd,nd->n", R, R)
        energy[:, j] = np.square(R @ basis.T).sum(1)
    return distance, energy


def reseed_empty(labels, cost, n_clusters):
    """Give each empty cluster the worst-fitted row of a cluster that has others.

    A row alone is its own mean and costs nothing, so this cannot raise the
    objective. Rows that cost nothing stay: there is nothing to gain.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Changed in place.
    cost : ndarray of shape (n,)
        Present cost of each row.
    n_clusters : int

    Returns
    -------
    n_reseeded : int
    """
    counts = np.bincount(labels, minlength=n_clusters)
    n_reseeded = 0
    worst_first = iter(np.argsort(-cost, kind="stable"))
    for empty in np.flatnonzero(counts == 0):
        for row in worst_first:
            if cost[row] <= 1e-12 * cost.max() or cost[row] <= 0:
                return n_reseeded
            if counts[labels[row]] > 1:
                counts[labels[row]] -= 1
                labels[row] = empty
                n_reseeded += 1
                break
    return n_reseeded


def local_pca(
    X,
    labels,
    n_clusters,
    n_components,
    code_penalty,
    max_iter,
    random_state,
    verbose=0,
):
    """Alternate means and principal directions with the best assignment.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
    labels : ndarray of shape (n,)
        The assignment to start from.
    n_clusters, n_components : int
        Numbers k of clusters and h of directions.
    code_penalty : float
        λ in [-1, 1].
    max_iter : int
        Largest number of sweeps.
    random_state : RandomState
    verbose : int, default=0
        Above 0, show a progress bar.

    Returns
    -------
    centers : ndarray of shape (k, d)
    bases : ndarray of shape (k, h, d)
    history : list of dict
        Objective per row, its terms and the number of changed labels, a sweep.
    """
    n, d = X.shape
    offset = X.mean(0)
    X = X - offset
    labels = labels.copy()
    centers = np.zeros((n_clusters, d))
    bases = np.zeros((n_clusters, n_components, d))
    bases[:] = np.eye(n_components, d)
    history = []
    bar = PhaseBar(total=max_iter, desc="sweep", disable=not verbose)
    rows = np.arange(n)
    cost = np.square(X).sum(1)
    tie = 1e-12 * cost.mean()
    for _ in range(max_iter):
        reseed_empty(labels, cost, n_clusters)
        for j in range(n_clusters):
            members = X[labels == j]
            if len(members):
                centers[j] = members.mean(0)
                bases[j] = leading_directions(
                    members - centers[j], n_components, random_state
                )
        distance, energy = projection_cost(X, centers, bases, code_penalty)
        costs = distance - (1 + code_penalty) * energy
        new = costs.argmin(1)
        # A tie, up to rounding, goes to the cluster the row is in, or duplicates
        # swap for ever.
        stay = costs[rows, labels] <= costs[rows, new] + tie
        new[stay] = labels[stay]
        n_changed = int((new != labels).sum())
        labels, cost = new, costs[rows, new]
        history.append(
            {
                "loss": cost.mean(),
                "reconstruction": (distance - energy)[rows, labels].mean(),
                "code": -code_penalty * energy[rows, labels].mean(),
                "n_changed": n_changed,
            }
        )
        bar.update()
        bar.show(history[-1]["loss"])
        if n_changed == 0:
            break
    bar.show(history[-1]["loss"], stop_reason(history))
    bar.close()
    return centers + offset, bases, history


def stop_reason(history):
    """Why the sweeps that made a history ended."""
    return "unchanged" if history[-1]["n_changed"] == 0 else "max_epochs"
