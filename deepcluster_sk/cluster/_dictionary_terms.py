"""The clustering terms of deep dictionary learning, and their exact updates."""

from itertools import pairwise

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk.solvers import kmeans_code, nonnegative_code, sylvester_code
from deepcluster_sk.solvers._arrays import like, on_host, positive_part
from deepcluster_sk.solvers._cluster_means import (
    cluster_means,
    cluster_sizes,
    cluster_sums,
)
from deepcluster_sk.solvers._deep_dictionary import (
    code_near_centers,
    dictionary_product,
)
from deepcluster_sk.solvers._local_pca import reseeded
from deepcluster_sk.solvers._partitions import numbered
from deepcluster_sk.solvers._sparse_matrix import identity_minus
from deepcluster_sk.solvers._subspaces import (
    affinity,
    cut,
    expression_penalty,
    fit_subspaces,
    relative_weight,
    self_expression_of,
    subspace_residuals,
    unit_rows,
)
from deepcluster_sk.solvers._warnings import ignored_warnings


class ClusteringTerm:
    """A term on the codes, its part of every block update, and its start.

    Parameters
    ----------
    n_clusters : int
        Number k of clusters.
    widths : list of int
        Number of atoms of each layer.
    weight : float
        Weight of the term.
    """

    def __init__(self, n_clusters, widths, weight):
        self.n_clusters = n_clusters
        self.widths = widths
        self.weight = weight

    def start(self, X, random_state):
        """First dictionaries, and codes ``(n, h)`` of the rows ``(n, d)``."""
        raise NotImplementedError

    def code(self, X, Z, D):
        """Better codes than Z for the product D of the dictionaries, ``(n, h)``."""
        raise NotImplementedError

    def terms(self, Z):
        """Terms of the loss, over all samples: a dict of float."""
        raise NotImplementedError

    def finish(self, X, solution):
        """Write what predicts into the solution."""
        raise NotImplementedError


class KMeansTerm(ClusteringTerm):
    """``weight * ||Z - means of clusters||²``."""

    def start(self, X, random_state):
        """Start where the loss is at most that of k-means of X, if there are atoms.

        The mean and the centres' differences from it are the first atoms of every
        layer: each centre is the sum of two of them.
        """
        k, widths = self.n_clusters, self.widths
        given, X = X, on_host(X)
        kmeans = KMeans(k, n_init=10, random_state=random_state)
        with ignored_warnings(ConvergenceWarning):  # fewer distinct rows than clusters
            labels = kmeans.fit_predict(X)
        means, labels = numbered(kmeans.cluster_centers_, labels)
        mean = X.mean(0)
        other = _some_rows(X, max(widths), random_state)
        rows = np.vstack([mean, means - mean, X[other] - means[labels[other]]])
        rows = rows[: widths[0]]
        zero = ~rows.any(axis=1)
        rows[zero] = random_state.normal(size=(zero.sum(), X.shape[1]))
        dictionaries = [unit_rows(rows)]
        for below, width in pairwise(widths):
            dictionaries.append(np.eye(below)[np.arange(width) % below])
        D = dictionary_product(dictionaries)
        self.labels = like(labels.astype(np.int64), given)
        self.centers = like(nonnegative_code(means, D), given)
        return dictionaries, self._code(given, D)

    def _update_centers(self, Z):
        counts = cluster_sizes(self.labels, self.n_clusters).clip(min=1)
        sums = cluster_sums(Z, self.labels, self.n_clusters)
        self.centers = sums / counts[:, None]

    def _code(self, X, D):
        """Codes of the present clusters, and their means."""
        Z = kmeans_code(X, D, self.labels, self.weight)
        if Z.min() < 0:  # else codes and centres are the best at once
            target = self.centers[self.labels]
            Z = nonnegative_code(X, D, target=target, weight=self.weight)
        self._update_centers(Z)
        return Z

    def code(self, X, Z, D):
        """Labels and codes together, centres, and codes and centres again."""
        labels, cost, Z = code_near_centers(X, D, self.centers, self.weight)
        self.labels = reseeded(labels, cost, self.n_clusters)
        self._update_centers(Z)
        return self._code(X, D)

    def terms(self, Z):
        """Terms of the loss, over all samples."""
        error = float(((Z - self.centers[self.labels]) ** 2).sum())
        return {"kmeans": self.weight * error}

    def finish(self, X, solution):
        """Keep the centres."""
        solution.centers = on_host(self.centers)


class SubspaceTerm(ClusteringTerm):
    """``weight * (||Z - C Z||² + λ ||C||_1)``.

    Parameters
    ----------
    n_clusters, widths, weight
        As for ``ClusteringTerm``.
    relative_alpha : float
        λ in units of the weight under which half of the rows vanish.
    affinity_mass : float
        Share of each row of C that the graph keeps.
    verbose : int
        Above 0, show a progress bar of each self-expression.
    """

    def __init__(
        self, n_clusters, widths, weight, relative_alpha, affinity_mass, verbose
    ):
        super().__init__(n_clusters, widths, weight)
        self.relative_alpha = relative_alpha
        self.affinity_mass = affinity_mass
        self.verbose = verbose

    def start(self, X, random_state):
        """Code layer by layer on atoms that are samples, a little disturbed."""
        dictionaries, Z = [], X
        for width in self.widths:
            atoms = on_host(Z[like(_some_rows(Z, width, random_state), Z)])
            size = np.abs(atoms).max()
            noise = random_state.normal(size=atoms.shape)
            noise *= 0.1 * (size if size > 0 else 1)
            atoms = atoms + (np.abs(noise) if dictionaries else noise)
            dictionaries.append(unit_rows(atoms))
            Z = nonnegative_code(Z, dictionaries[-1])
        self.random_state = random_state
        self.alpha = relative_weight(Z, self.relative_alpha)
        self.C = self._express(Z)
        return dictionaries, Z

    def code(self, X, Z, D):
        """Codes, then the self-expression of them."""
        I_C, atoms = identity_minus(self.C), like(D, X)

        def loss(Z):
            error = self.weight * float(((I_C @ Z) ** 2).sum())
            return float(((X - Z @ atoms) ** 2).sum()) + error

        best = loss(Z)
        joint = positive_part(sylvester_code(X, D, self.C, self.weight))
        if loss(joint) < best:
            Z, best = joint, loss(joint)
        # ||M||² <= ||M||_1 ||M||_inf bounds the curvature of ||M Z||².
        size = abs(I_C)
        bound = float(size.sum(axis=0).max() * size.sum(axis=1).max())
        for _ in range(3):
            target = Z - I_C.T @ (I_C @ Z) / bound
            new = nonnegative_code(X, D, target=target, weight=self.weight * bound)
            if loss(new) > best:  # by rounding
                break
            Z, best = new, loss(new)
        C = self._express(Z)
        # It is solved to a tolerance, which must not show as a rise of the loss.
        if sum(self._sizes(Z, C)) <= sum(self._sizes(Z, self.C)):
            self.C = C
        return Z

    def _express(self, Z):
        return self_expression_of(Z, self.alpha, "l1", verbose=self.verbose)

    def _sizes(self, Z, C):
        error = float(((Z - C @ Z) ** 2).sum())
        size = self.alpha * expression_penalty(C, "l1")
        return self.weight * error, self.weight * size

    def terms(self, Z):
        """Terms of the loss, over all samples."""
        error, size = self._sizes(Z, self.C)
        return {"self_expression": error, "expression_penalty": size}

    def finish(self, X, solution):
        """Cut the graph, and fit subspaces to the codes that new samples get."""
        k, random_state = self.n_clusters, self.random_state
        labels = cut(affinity(self.C, self.affinity_mass), k, random_state)
        Z = on_host(nonnegative_code(X, solution.product))
        rows = unit_rows(Z)
        solution.bases = fit_subspaces(rows, labels, k, "auto", random_state)
        labels = subspace_residuals(rows, solution.bases).argmin(1)
        solution.centers = cluster_means(Z, labels, k)


def _some_rows(X, n, random_state):
    """Indices of n random rows; all of them, several times, where there are fewer."""
    return random_state.permutation(max(len(X), n))[:n] % len(X)
