"""A mixture of probabilistic principal components, by expectation and maximisation.

The algorithm of section 4 of Esser et al. (2023) for Gaussians whose covariances have
the form that the tensorized autoencoder gives them: one variance, the noise, across the
directions of a cluster and larger ones along them. Where local principal components
take the best cluster of each row, here a row belongs to all of them, by the posterior.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from deepcluster_sk.solvers._arrays import like, namespace, on_host
from deepcluster_sk.solvers._local_pca import (
    LocalPCA,
    best_width,
    information_penalty,
    leading_directions,
    least_noise,
    likeliest_shape,
    local_pca,
    log_determinants,
    projection_cost,
    reseed_empty,
    widths_near,
)
from deepcluster_sk.solvers._progress import PhaseBar

# A cluster with less of the rows than this keeps its centre and directions.
LEAST_ROWS = 1e-8


def pca_mixture(
    X,
    labels,
    n_clusters,
    n_components,
    code_penalty,
    max_iter,
    random_state,
    verbose=0,
    tol=0.0,
):
    """Alternate the posterior of each row with weights, means and directions.

    Each sweep maximises the expected log-likelihood of section 4 in closed form, so the
    likelihood never falls. A cluster j has the weight p_j and the Gaussian of mean C_j
    and precision ``(I - U_jᵀ U_j - U_jᵀ diag(λ_j) U_j) / b``, with the noise b the same
    for all.

    Parameters
    ----------
    X : ndarray or Tensor of shape (n, d), float64
    labels : ndarray of shape (n,)
        The clusters to start from.
    n_clusters, n_components : int
        Numbers k of clusters and h of directions.
    code_penalty : float or "auto"
        λ, in [-1, 0). "auto" finds that of each direction, between -1 and
        ``WEAKEST_PENALTY``.
    max_iter : int
        Largest number of sweeps.
    random_state : RandomState
    verbose : int, default=0
        Above 0, show a progress bar; above 1, with the terms of the loss.
    tol : float, default=0.0
        Sweeps stop when the log-likelihood of a row rises by less. 0 never stops.

    Returns
    -------
    found : LocalPCA
        ``history`` has minus twice the mean log-likelihood as "loss", its terms and the
        number of changed labels, a sweep. ``criterion`` is the last loss; with "auto"
        it is the Bayesian information criterion per row.
    """
    n, d = X.shape
    h, xp = max(n_components, 1), namespace(X)
    log_sum = logsumexp if xp is np else xp.logsumexp
    offset = X.mean(0)
    X = X - offset
    labels = labels.copy()
    reseed_empty(labels, on_host((X**2).sum(1)), n_clusters)
    S = like(np.eye(n_clusters)[labels], X)  # (n, k)
    labels = like(labels, X)
    centers = np.zeros((n_clusters, d))
    bases = np.zeros((n_clusters, h, d))
    bases[:] = np.eye(h, d)
    variances, total = np.zeros((n_clusters, h)), np.zeros(n_clusters)
    penalties = np.full(
        (n_clusters, h), 0.0 if code_penalty == "auto" else code_penalty
    )
    floor = least_noise(X)
    history, reason = [], "max_epochs"
    bar = PhaseBar(verbose, total=max_iter, desc="sweep")
    for _ in range(max_iter):
        sizes = on_host(S.sum(0))
        shares = sizes / n
        for j in np.flatnonzero(sizes > LEAST_ROWS):
            center = S[:, j] @ X / sizes[j]
            R = (X - center) * xp.sqrt(S[:, j : j + 1])
            centers[j] = on_host(center)
            bases[j] = leading_directions(R, h, random_state)
            total[j] = float((R**2).sum()) / sizes[j]
            along = (R @ like(bases[j], R).T) ** 2
            variances[j] = on_host(along.sum(0)) / sizes[j]
        if code_penalty == "auto":
            noise, penalties = likeliest_shape(
                variances, shares, shares @ total, d, n_components, floor
            )
        else:
            along = shares @ ((1 + penalties) * variances).sum(1)
            noise = max((shares @ total - along) / d, floor)
        determinant = log_determinants(noise, penalties, d)
        log_shares = np.log(shares.clip(np.finfo(float).tiny))
        residual, code = projection_cost(X, centers, bases, penalties)
        determinant, log_shares = like(determinant, X), like(log_shares, X)
        costs = (residual + code) / noise + determinant - 2 * log_shares
        likelihood = log_sum(-costs / 2, axis=1)
        S = xp.exp(-costs / 2 - likelihood[:, None])
        entropy = xp.where(S > 0, S * xp.log(S.clip(np.finfo(float).tiny)), 0)
        terms = {
            "reconstruction": float((S * residual).sum(1).mean()) / noise,
            "code": float((S * code).sum(1).mean()) / noise,
            "log_determinant": float((S @ determinant).mean()),
            "prior": -2 * float((S @ log_shares).mean()),
            "entropy": 2 * float(entropy.sum(1).mean()),
        }
        new = S.argmax(1)
        n_changed, labels = int((new != labels).sum()), new
        loss = -2 * float(likelihood.mean())
        row = {"loss": loss, **terms, "n_changed": n_changed}
        history.append(row)
        bar.update()
        bar.show(row)
        rise = (history[-2]["loss"] - row["loss"]) / 2 if len(history) > 1 else np.inf
        if tol > 0 and rise < tol:
            reason = "tol"
            break
    criterion = row["loss"]
    bar.show(row, reason)
    bar.close()
    if code_penalty == "auto":
        weights = (n_clusters - 1) * np.log(n) / n
        criterion += weights + information_penalty(n, d, n_clusters, n_components)
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
        shares,
        on_host(S),
    )


class PCASearch(NamedTuple):
    """Clusters with directions of their own, for one width of the code or several.

    Parameters
    ----------
    n_clusters : int
        Number k of clusters.
    width : int or "auto"
        Width of the code.
    code_penalty : float or "auto"
        λ of Eq. 2.
    max_iter : int
        Largest number of sweeps of a fit.
    mixture : bool
        Whether rows are assigned by their posterior.
    tol : float
        When a mixture stops.
    verbose : int
    """

    n_clusters: int
    width: int | str
    code_penalty: float | str
    max_iter: int
    mixture: bool
    tol: float
    verbose: int

    def fit(self, X, labels, random_state, width):
        """The clusters that start from labels, with codes of the given width."""
        how = width, self.code_penalty, self.max_iter, random_state, self.verbose
        if self.mixture:
            return pca_mixture(X, labels, self.n_clusters, *how, tol=self.tol)
        return local_pca(X, labels, self.n_clusters, *how)

    def over_widths(self, X, labels, random_state):
        """The best of all widths, from the same labels."""
        return best_width(
            lambda width: self.fit(X, labels, random_state, width),
            self.width,
            X.shape[1],
        )

    def near(self, found, X, labels, random_state):
        """Yield fits from labels, of the width of another one and those next to it."""
        widths = [self.width]
        if self.width == "auto":
            widths = widths_near(found.n_components, X.shape[1])
        for width in widths:
            yield self.fit(X, labels, random_state, width)
