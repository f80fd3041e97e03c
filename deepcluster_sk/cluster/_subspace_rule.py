"""Clusterers whose clusters are linear subspaces of an embedding."""

import numpy as np

from deepcluster_sk.solvers._subspaces import (
    affinity,
    cut,
    fit_subspaces,
    subspace_residuals,
)


class SubspaceRuleMixin:
    """The nearest subspace of the embedding decides.

    ``_subspace_embedding(module, x)`` is what subspaces are fitted to; a method
    calls ``_fit_rule`` at the end of ``_optimize``.
    """

    def _subspace_embedding(self, module, x):
        """Rows whose linear subspaces are the clusters, ``(n, d) -> (n, h)``."""
        return self._embed(module, x)

    def _is_affine(self, n_features):
        """Whether subspaces of so many features are affine."""
        if self.affine == "auto":
            return self.latent_dim is None and n_features < 2 * self.n_clusters
        return self.affine

    def _find_coordinates(self, rows):
        """Where the origin is, and the constant coordinate of affine subspaces."""
        X = rows.X * rows.scale
        n_features = X.shape[1]
        rows.origin, rows.constant = np.zeros(n_features), None
        if self._is_affine(n_features):
            rows.origin = X.mean(0)
            size = np.square(X - rows.origin).sum(1).mean()
            rows.constant = np.sqrt(size) if size > 0 else 1.0

    def _coordinates(self, fitted, x):
        """Rows, homogeneous where subspaces are affine."""
        x = x * fitted.scale - fitted.origin
        if fitted.constant is None:
            return x
        return np.hstack([x, np.full((len(x), 1), fitted.constant)])

    def _fit_rule(self, run, C):
        """Cut the graph of a self-expression and fit the clusters' subspaces."""
        run.affinity = affinity(C, self.keep)
        labels = cut(run.affinity, self.n_clusters, run.random_state)
        self._fit_subspaces(run, labels, "auto")
        self._fit_centers(run)

    def _fit_subspaces(self, run, labels, dimension):
        """Fit a subspace to each cluster and return the nearest of each row."""
        Z = self._subspace_embedding(run.module, run.rows.X)
        run.module.bases = fit_subspaces(
            Z, labels, self.n_clusters, dimension, run.random_state
        )
        return subspace_residuals(Z, run.module.bases)

    def _fit_centers(self, run):
        """Mean embedding of each cluster, as ``predict`` sees them."""
        labels = run.apply(lambda x: self._assign(run.module, x)).numpy()
        Z = self._embed(run.module, run.rows.X)
        run.module.centers = np.zeros((self.n_clusters, Z.shape[1]))
        for j in np.unique(labels):
            run.module.centers[j] = Z[labels == j].mean(0)

    def _keep(self, run):
        super()._keep(run)
        self.cluster_centers_ = run.module.centers.astype(np.float32)
        self.components_ = run.module.bases.astype(np.float32)
        self.affinity_matrix_ = run.affinity
        self._n_features_out = run.module.centers.shape[1]

    def __getstate__(self):
        """Leave out what grows with the number of samples."""
        state = super().__getstate__()
        return {key: state[key] for key in state if key != "affinity_matrix_"}

    def _residuals(self, module, x):
        return subspace_residuals(self._subspace_embedding(module, x), module.bases)

    def _assign(self, module, x):
        return self._residuals(module, x).argmin(1)

    def _row_objective(self, module, x):
        return self._residuals(module, x).min(1)
