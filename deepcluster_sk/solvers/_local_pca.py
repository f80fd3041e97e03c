"""The linear tensorized autoencoder without gradients: local principal components.

By Theorem 2.2 of Esser et al. (2023) the optimum of the linear case for a given
assignment is known: centres are means, encoders the leading eigenvectors of each
cluster's covariance. Alternating that with the best assignment is a Lloyd
iteration; for ``code_penalty <= 0`` neither half-step raises the objective.

With ``code_penalty="auto"`` the penalties are found too, as those of the Gaussian
mixture that section 4 of the paper compares the method with.
"""

from itertools import takewhile
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh

from deepcluster_sk.solvers._arrays import like, namespace, on_host
from deepcluster_sk.solvers._cluster_means import cluster_sizes
from deepcluster_sk.solvers._progress import PhaseBar

# Below this size a dense factorisation is faster than Lanczos iterations.
DENSE_SIZE = 400
# Penalties are not found nearer to zero than this, the paper's choice: a direction
# counts as at most ten times as variable as the rest. Without a bound on the ratio
# of variances the likelihood prefers clusters that cross to clusters that are apart.
WEAKEST_PENALTY = -0.1
# Noise is not found below this share of the variance of X: what float32 can tell.
SMALLEST_NOISE = 1e-14
# Widths of the code that are compared, each with those next to it.
WIDTHS = [0, 1, 2, 3, 4, *(w << i for i in range(1, 32) for w in (3, 4))]
# Samples a cluster and feature below which directions fit noise. The covariance of pure
# noise then has eigenvalues more than ten times apart, the bound of the penalties:
# ((1 + r) / (1 - r))² with r² the features a sample.
FEWEST_SAMPLES = 3.7


class LocalPCA(NamedTuple):
    """Clusters, each with a centre and directions of its own.

    The cost of a row under a cluster is
    ``||r||² - sum_l (1 + code_penalty_l) (u_l r)²`` over ``noise_variance``, plus
    ``-sum_l log -code_penalty_l`` where penalties were found.
    """

    centers: np.ndarray  # (k, d)
    bases: np.ndarray  # (k, h, d)
    history: list
    code_penalty: np.ndarray  # (k, h)
    noise_variance: float  # 1 where clusters are no densities
    criterion: float  # to compare fits of the same data by: less is better
    n_components: int  # as asked for: with 0 there is a direction of penalty -1
    stop_reason: str = "max_epochs"  # why the sweeps ended
    variances: np.ndarray | None = None  # (k, h), of the rows along the directions
    shares: np.ndarray | None = None  # (k,), of a mixture
    assignment: np.ndarray | None = None  # (n, k), of a mixture

    def density(self):
        """Penalties, noise, and what to add to minus twice a log-density of a cluster.

        That is what makes its mean the criterion, and the weights of a mixture.
        """
        constant = self.criterion - self.history[-1]["loss"]
        if self.shares is not None:
            constant = constant - 2 * np.log(self.shares.clip(np.finfo(float).tiny))
        return self.code_penalty, self.noise_variance, constant

    def history_rows(self, phase):
        """Rows of ``history_``, one a sweep."""
        sweeps = enumerate(self.history, start=1)
        return [{"phase": phase, "epoch": i, **row} for i, row in sweeps]


def leading_directions(R, n_components, random_state):
    """Orthonormal rows spanning the leading right singular vectors of R.

    Parameters
    ----------
    R : ndarray or Tensor of shape (n, d)
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
    if isinstance(R, torch.Tensor):
        scatter = R.T @ R
        if d <= DENSE_SIZE:
            V = eigh(on_host(scatter), subset_by_index=(d - h, d - 1))[1]
        else:
            V = on_host(torch.linalg.eigh(scatter).eigenvectors[:, d - h :])
        return np.ascontiguousarray(V[:, ::-1].T)
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

    With ``U Uᵀ = I`` the bracket of Eq. 3 is ``||r||² - ||U r||²``, the residual, plus
    ``-code_penalty ||U r||²``, the code, ``r = x - C_j``.

    Parameters
    ----------
    X : ndarray or Tensor of shape (n, d)
    centers : ndarray of shape (k, d)
    bases : ndarray of shape (k, h, d)
    code_penalty : ndarray of shape (k, h)
        λ of each direction.

    Returns
    -------
    residual, code : ndarrays or Tensors of shape (n, k)
        The cost is their sum.
    """
    xp = namespace(X)
    residual = xp.empty((len(X), len(centers)), dtype=X.dtype, device=X.device)
    code = xp.empty_like(residual)
    for j, costs in enumerate(_costs_by_cluster(X, centers, bases, code_penalty)):
        residual[:, j], code[:, j] = costs
    return residual, code


def _costs_by_cluster(X, centers, bases, code_penalty):
    """Yield residual and code of all rows, each ``(n,)``, cluster by cluster."""
    code_penalty = like(code_penalty, X)
    centers, bases = like(centers, X), like(bases, X)
    for center, basis, penalty in zip(centers, bases, code_penalty, strict=True):
        R = X - center
        energy = (R @ basis.T) ** 2
        yield namespace(X).einsum("nd,nd->n", R, R) - energy.sum(1), -energy @ penalty


def _reassigned(X, labels, subspaces, offsets, tie):
    """Cluster of lowest cost of each row, with residual and code, each ``(n,)``.

    A tie, up to rounding, goes to the cluster that the row is in, or duplicates swap
    for ever. Costs are compared cluster by cluster: a table of them takes more memory
    than the rows.

    Parameters
    ----------
    X : ndarray or Tensor of shape (n, d)
    labels : ndarray or Tensor of shape (n,)
    subspaces : tuple
        Centres, bases and penalties, as ``projection_cost`` takes them.
    offsets : ndarray of shape (k,)
        Added to the costs of each cluster.
    tie : float
    """
    xp, best, own = namespace(X), None, None
    for j, (residual, code) in enumerate(_costs_by_cluster(X, *subspaces)):
        found = residual + code + float(offsets[j]), residual, code
        if best is None:
            best, own, new = found, found, xp.zeros_like(labels)
            continue
        better, mine = found[0] < best[0], labels == j
        new = xp.where(better, j, new)
        best = [xp.where(better, *pair) for pair in zip(found, best, strict=True)]
        own = [xp.where(mine, *pair) for pair in zip(found, own, strict=True)]
    stay = own[0] <= best[0] + tie
    new = xp.where(stay, labels, new)
    return new, *(xp.where(stay, *pair) for pair in zip(own[1:], best[1:], strict=True))


def rows_of_clusters(X, labels, n_clusters):
    """The rows of each cluster, in their order: a list of arrays or tensors.

    Of tensors, all sizes come to the host at once.
    """
    if namespace(X) is np:
        return [X[labels == j] for j in range(n_clusters)]
    sizes = on_host(cluster_sizes(labels, n_clusters)).tolist()
    return list(X[labels.argsort(stable=True)].split(sizes))


def shared_noise(variances, shares, residual, n_rest):
    """Likeliest noise, where directions vary as much, or up to ten times as much.

    The cost of a noise b is ``n_rest (log b + residual / b)`` plus, for each direction
    of variance s, its share of the rows times ``log a + s / a``, a being s clipped to
    ``[b, -b / WEAKEST_PENALTY]``. Its derivative in log b, ``g(b) / b``, changes its
    sign once.

    Parameters
    ----------
    variances : ndarray of shape (k, h)
        Of the directions.
    shares : ndarray of shape (k,)
        Share of the rows that each cluster has.
    residual : float
        Mean variance of the remaining directions.
    n_rest : int
        Their number, ``d - h``.

    Returns
    -------
    b : float
    """
    s, w = variances.ravel(), np.repeat(shares, variances.shape[1])
    low = -WEAKEST_PENALTY * s
    # g is linear between the values at which a direction meets a bound.
    knots = np.sort(np.concatenate([low, s, [0, residual]]))
    g = n_rest * (knots - residual)
    g += np.minimum(knots[:, None] - low, 0) @ w + np.maximum(knots[:, None] - s, 0) @ w
    right = np.searchsorted(g, 0)
    if right in (0, len(g)):
        return knots[max(right - 1, 0)]
    left = right - 1
    return knots[left] - g[left] * (knots[right] - knots[left]) / (g[right] - g[left])


def likeliest_shape(variances, shares, total, n_features, n_components, floor):
    """Noise and penalties of highest likelihood for given clusters and directions.

    Parameters
    ----------
    variances : ndarray of shape (k, h)
        Of the directions.
    shares : ndarray of shape (k,)
        Share of the rows that each cluster has.
    total : float
        Mean squared distance of a row to its centre.
    n_features, n_components : int
        Number d of features, and of directions as asked for: where it is 0, there is
        one of penalty -1.
    floor : float
        Least noise.

    Returns
    -------
    noise : float
        Variance along all other directions, the same in all clusters.
    penalties : ndarray of shape (k, h)
        Minus the ratio of the noise to the variance along a direction, between -1 and
        ``WEAKEST_PENALTY``.
    """
    if not n_components:
        return max(total / n_features, floor), np.full(variances.shape, -1.0)
    n_rest = n_features - n_components
    rest = max(total - shares @ variances.sum(1), 0.0)
    rest = rest / n_rest if n_rest else 0.0
    noise = max(shared_noise(variances, shares, rest, n_rest), floor)
    return noise, -noise / variances.clip(noise, -noise / WEAKEST_PENALTY)


def log_determinants(noise, penalties, n_features):
    """Logarithm of the determinant of 2π times each covariance, ``(k,)``."""
    return n_features * np.log(2 * np.pi * noise) - np.log(-penalties).sum(1)


def least_noise(X):
    """What noise is not found below, for centred rows."""
    squares = float((X**2).sum(1).mean())
    return SMALLEST_NOISE * squares / X.shape[1] if squares else 1.0


def information_penalty(n_samples, n_features, n_clusters, n_components):
    """What the Bayesian information criterion adds to minus twice a log-likelihood.

    Over the number of rows, for clusters that each have a centre, orthonormal rows and
    variances, and one noise for all.
    """
    d, h = n_features, n_components
    free = n_clusters * (d + h * (d - (h + 1) / 2) + h) + 1
    return free * np.log(n_samples) / n_samples


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


def reseeded(labels, cost, n_clusters):
    """``labels`` after ``reseed_empty``, for arrays and for tensors of a device.

    Parameters
    ----------
    labels : ndarray or Tensor of shape (n,)
        An array is changed in place.
    cost : ndarray or Tensor of shape (n,)
        Present cost of each row.
    n_clusters : int

    Returns
    -------
    labels : ndarray or Tensor of shape (n,)
    """
    if isinstance(labels, torch.Tensor):
        if (cluster_sizes(labels, n_clusters) > 0).all():  # as nearly always
            return labels
        found = on_host(labels).copy()
        reseed_empty(found, on_host(cost), n_clusters)
        return like(found, labels)
    reseed_empty(labels, cost, n_clusters)
    return labels


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
    X : ndarray or Tensor of shape (n, d), float64
    labels : ndarray of shape (n,)
        The assignment to start from.
    n_clusters, n_components : int
        Numbers k of clusters and h of directions.
    code_penalty : float or "auto"
        λ in [-1, 1]. "auto" finds that of each direction together with the clusters:
        minus the ratio of the noise, the variance outside of the directions, to the
        variance along it. The cost then is minus twice the logarithm of the density
        of a Gaussian. With 0 directions there is one of penalty -1, which is k-means.
    max_iter : int
        Largest number of sweeps.
    random_state : RandomState
    verbose : int, default=0
        Above 0, show a progress bar; above 1, with the terms of the loss.

    Returns
    -------
    found : LocalPCA
        ``history`` has the objective per row, its terms and the number of changed
        labels, a sweep. ``criterion`` is the objective; with "auto" it is the Bayesian
        information criterion per row, by which different h can be compared.
    """
    (n, d), h = X.shape, max(n_components, 1)
    offset = X.mean(0)
    X = X - offset
    labels = like(labels.copy(), X)
    centers = np.zeros((n_clusters, d))
    bases = np.zeros((n_clusters, h, d))
    bases[:] = np.eye(h, d)
    find = code_penalty == "auto"
    penalties = np.full((n_clusters, h), -1.0 if find else code_penalty)
    noise, determinant = 1.0, np.zeros(n_clusters)
    variances, total = np.zeros((n_clusters, h)), np.zeros(n_clusters)
    history = []
    bar = PhaseBar(verbose, total=max_iter, desc="sweep")
    cost = (X**2).sum(1)
    tie = 1e-12 * cost.mean()
    floor = least_noise(X)
    for _ in range(max_iter):
        labels = reseeded(labels, cost, n_clusters)
        for j, members in enumerate(rows_of_clusters(X, labels, n_clusters)):
            if len(members):
                center = members.mean(0)
                R = members - center
                centers[j] = on_host(center)
                bases[j] = leading_directions(R, h, random_state)
                total[j] = float((R**2).sum())
                along = (R @ like(bases[j], R).T) ** 2
                variances[j] = on_host(along.mean(0))
        if find:
            shares = on_host(cluster_sizes(labels, n_clusters)) / n
            noise, penalties = likeliest_shape(
                variances, shares, total.sum() / n, d, n_components, floor
            )
            determinant = log_determinants(noise, penalties, d)
        offsets, subspaces = noise * determinant, (centers, bases, penalties)
        new, residual, code = _reassigned(X, labels, subspaces, offsets, tie)
        n_changed, labels, cost = int((new != labels).sum()), new, residual + code
        terms = {
            "reconstruction": float(residual.mean()) / noise,
            "code": float(code.mean()) / noise,
        }
        if find:
            terms["log_determinant"] = float(like(determinant, X)[labels].mean())
        history.append({"loss": sum(terms.values()), **terms, "n_changed": n_changed})
        bar.update()
        bar.show(history[-1])
        if n_changed == 0:
            break
    criterion = history[-1]["loss"]
    reason = "max_epochs" if n_changed else "unchanged"
    bar.show(history[-1], reason)
    bar.close()
    if find:
        criterion += information_penalty(n, d, n_clusters, n_components)
    return LocalPCA(
        centers + on_host(offset),
        bases,
        history,
        penalties,
        noise,
        criterion,
        n_components,
        reason,
        variances,
    )


def best_of(fits):
    """The fit whose criterion is lowest."""
    return min(fits, key=lambda found: found.criterion)


def first_minimum(fits, patience=2):
    """The best of fits, made one by one until ``patience`` in a row were no better."""
    best, since = None, 0
    for found in fits:
        if best is None or found.criterion < best.criterion:
            best, since = found, 0
        else:
            since += 1
        if since == patience:
            break
    return best


def widths_near(width, n_features):
    """Widths next to one, and itself, that leave a direction for the noise."""
    return range(max(width - 1, 0), min(width + 2, n_features))


def best_width(fit, width, n_features):
    """The fit of a width of the code, or that of lowest criterion among widths.

    Parameters
    ----------
    fit : callable
        ``fit(n_components)`` returns a ``LocalPCA``.
    width : int or "auto"
    n_features : int
        Number d of features, above all widths.

    Returns
    -------
    found : LocalPCA
    """
    if width != "auto":
        return fit(width)
    coarse = first_minimum(map(fit, takewhile(lambda w: w < n_features, WIDTHS)))
    around = widths_near(coarse.n_components, n_features)
    return best_of([coarse, *(fit(w) for w in around if w != coarse.n_components)])


def directions_are_certain(n_samples, n_features, n_clusters):
    """Whether there are samples enough for directions that are no noise."""
    return n_samples >= FEWEST_SAMPLES * n_clusters * n_features
