"""The clustering terms of deep transform learning, and the sweep over all blocks."""

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk.solvers import (
    neighbor_expression,
    nonnegative_code,
    subspace_code,
    transform_objective,
    transform_update,
)
from deepcluster_sk.solvers._arrays import like, namespace, on_host, positive_part
from deepcluster_sk.solvers._cluster_means import cluster_means
from deepcluster_sk.solvers._local_pca import reseeded
from deepcluster_sk.solvers._neighbor_graph import nearest_neighbors
from deepcluster_sk.solvers._partitions import numbered
from deepcluster_sk.solvers._subspaces import (
    affinity,
    cut,
    expression_penalty,
    relative_weight,
    self_expression_of,
)
from deepcluster_sk.solvers._warnings import ignored_warnings


def layer_outputs(X, transforms):
    """Outputs of all layers, ReLU after all but the last."""
    outputs = []
    for i, T in enumerate(transforms):
        X = X @ like(T, X).T
        if i < len(transforms) - 1:
            X = positive_part(X)
        outputs.append(X)
    return outputs


class ExpressionTerm:
    """``γ (||Z - C Z||² + μ R(C))``, per sample.

    Parameters
    ----------
    settings : DeepTransformClustering
    X : ndarray or Tensor of shape (n, d)
        The rows, whose neighbours may express one another under "neighbors".
    Z : ndarray or Tensor of shape (n, h)
        The first codes.
    random_state : RandomState
        Source of the seeds of spectral clustering.
    """

    def __init__(self, settings, X, Z, random_state):
        self.settings, self.random_state = settings, random_state
        self.gamma = settings.subspace_weight
        if settings.penalty == "neighbors" and len(X) > 1:
            found = nearest_neighbors(
                torch.as_tensor(X),
                settings.n_neighbors,
                "euclidean",
                verbose=settings._verbosity(),
            )[1]
            self.neighbors = found = found.numpy() if namespace(X) is np else found
            size = float(((Z[found] - Z[:, None]) ** 2).sum(-1).mean())
            self.weight = settings.alpha * (size if size > 0 else 1)
        else:
            self.weight = relative_weight(Z, settings.alpha)
        self.C = self._express(Z)

    def _express(self, Z):
        s = self.settings
        if s.penalty == "neighbors" and len(Z) > 1:
            return neighbor_expression(Z, self.neighbors, self.weight)
        return self_expression_of(Z, self.weight, s.penalty, s.l1_ratio, s._verbosity())

    def _sizes(self, Z, C):
        s = self.settings
        # Over neighbours R is the squared norm.
        penalty = "l2" if s.penalty == "neighbors" else s.penalty
        size = expression_penalty(C, penalty, s.l1_ratio)
        error = float(((Z - C @ Z) ** 2).sum())
        gamma = self.gamma / len(Z)
        return gamma * error, gamma * self.weight * size

    def code(self, X, T):
        """The best codes of the inputs X of the last layer, then C."""
        Z = subspace_code(X, T, self.C, self.gamma)
        C = self._express(Z)
        # It is solved to a tolerance, which must not show as a rise of the loss.
        if sum(self._sizes(Z, C)) <= sum(self._sizes(Z, self.C)):
            self.C = C
        return Z

    def terms(self, Z):
        """Terms of the loss, per sample."""
        error, size = self._sizes(Z, self.C)
        return {"self_expression": error, "expression_penalty": size}

    def finish(self, run, solution):
        """Cut the graph, and fit subspaces to the embedding of new samples."""
        k, rows = self.settings.n_clusters, run.rows.X
        run.affinity = affinity(self.C, self.settings.affinity_mass)
        labels = cut(run.affinity, k, self.random_state)
        residuals = solution.fit_subspaces(rows, labels, k, "auto", self.random_state)
        run.record("subspaces", {"residual": residuals.min(1).mean()})
        solution.fit_centers(rows, k)


class KMeansTerm:
    """``γ ||Z - means of clusters||²``, per sample.

    Parameters
    ----------
    settings : DeepTransformClustering
    X : ndarray or Tensor of shape (n, d)
        Not used.
    Z : ndarray or Tensor of shape (n, h)
        The first codes, in which k-means finds the first clusters.
    random_state : RandomState
        Source of the seeds of k-means.
    """

    def __init__(self, settings, X, Z, random_state):
        self.n_clusters, self.gamma = settings.n_clusters, settings.kmeans_weight
        kmeans = KMeans(self.n_clusters, n_init=10, random_state=random_state)
        with ignored_warnings(ConvergenceWarning):  # fewer distinct rows than clusters
            labels = kmeans.fit_predict(on_host(Z))
        _, labels = numbered(kmeans.cluster_centers_, labels)
        self.labels = like(labels.astype(np.int64), Z)
        self.centers = cluster_means(Z, self.labels, self.n_clusters)

    def code(self, X, T):
        """Labels and codes together, then centres and codes together.

        The code of y in a cluster with centre c is (y + γ c) / (1 + γ), and costs
        γ / (1 + γ) ||y - c||²: both blocks are those of k-means on y = T x.
        """
        xp, Y = namespace(X), X @ like(T, X).T
        apart = xp.stack([((Y - c) ** 2).sum(1) for c in self.centers], axis=1)
        nearest, cost = apart.argmin(1), xp.amin(apart, axis=1)
        self.labels = reseeded(nearest, cost, self.n_clusters)
        self.centers = cluster_means(Y, self.labels, self.n_clusters)
        return (Y + self.gamma * self.centers[self.labels]) / (1 + self.gamma)

    def terms(self, Z):
        """Terms of the loss, per sample."""
        error = float(((Z - self.centers[self.labels]) ** 2).sum())
        return {"kmeans": self.gamma * error / len(Z)}

    def finish(self, run, solution):
        """Take the means of what new samples are embedded to."""
        Z, labels = solution.embed(run.rows.X), on_host(self.labels)
        solution.centers = cluster_means(Z, labels, self.n_clusters)
        residual = solution.row_objective(run.rows.X).mean()
        run.record("centers", {"residual": residual})


class TransformLearner:
    """All blocks of one run, and the sweep over them.

    Parameters
    ----------
    settings : DeepTransformClustering
    X : ndarray or Tensor of shape (n, d)
        Rows; they are of unit norm, or have it on average.
    term : callable
        ``term(settings, X, Z, random_state)`` makes the clustering term.
    random_state : RandomState
    """

    def __init__(self, settings, X, term, random_state):
        self.X = X
        n, d = X.shape
        h = d if settings.latent_dim is None else settings.latent_dim
        widths = [d] + [h] * settings.n_layers
        # Without codes, singular values of 1 / sqrt(2) minimise the penalty.
        self.transforms = []
        for i in range(settings.n_layers):
            noise = random_state.normal(size=(h, widths[i]))
            self.transforms.append(np.linalg.qr(noise)[0] / np.sqrt(2))
        self.layers = layer_outputs(X, self.transforms)  # X_2 .. X_L, Z
        self.transform_weight = settings.transform_penalty * n
        self.term = term(settings, X, self.layers[-1], random_state)

    def sweep(self):
        """P1 to P7 once; returns the terms of the loss."""
        last = len(self.layers) - 1
        inputs = [self.X, *self.layers[:-1]]
        for i, (x, z) in enumerate(zip(inputs, self.layers, strict=True)):
            self.transforms[i] = transform_update(x, z, self.transform_weight)
        for i in reversed(range(last)):
            before = self.X if i == 0 else self.layers[i - 1]
            self.layers[i] = nonnegative_code(
                self.layers[i + 1],
                self.transforms[i + 1].T,
                target=before @ like(self.transforms[i], before).T,
                weight=1.0,
            )
        before = self.X if last == 0 else self.layers[-2]
        self.layers[-1] = self.term.code(before, self.transforms[-1])
        return self._terms()

    def _terms(self):
        n = len(self.X)
        inputs = [self.X, *self.layers[:-1]]
        fit = penalty = 0.0
        for x, z, T in zip(inputs, self.layers, self.transforms, strict=True):
            error = float(((x @ like(T, x).T - z) ** 2).sum())
            fit += error / n
            total = transform_objective(x, z, T, self.transform_weight)
            penalty += (total - error) / n
        terms = self.term.terms(self.layers[-1])
        return {"transform": fit, "transform_penalty": penalty, **terms}
