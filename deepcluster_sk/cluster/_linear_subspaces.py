"""Clusters that are linear subspaces of an embedding: the nearest one decides."""

from dataclasses import dataclass

import numpy as np

from deepcluster_sk._estimator._solver_base import Solution, apply_in_chunks
from deepcluster_sk.solvers._cluster_means import cluster_means
from deepcluster_sk.solvers._subspaces import fit_subspaces, subspace_residuals


@dataclass
class SubspaceSolution(Solution):
    """Coordinates of rows, and a linear subspace for each cluster.

    Attributes
    ----------
    scale : float
        Factor of the rows.
    origin : ndarray of shape (d,)
        Subtracted from the scaled rows.
    constant : float or None
        Last coordinate of every row where subspaces are affine; None adds none.
    projection : ndarray of shape (h, d) or None
        Directions that are kept; None keeps all.
    bases : ndarray of shape (k, m, h) or None
        Orthonormal rows that span the subspaces; None until they are fitted.
    centers : ndarray of shape (k, h) or None
        Mean embedding of each cluster.
    """

    scale: float
    origin: np.ndarray
    constant: float | None
    projection: np.ndarray | None = None
    bases: np.ndarray | None = None
    centers: np.ndarray | None = None

    def coordinates(self, X):
        """Rows, homogeneous where subspaces are affine."""
        X = X * self.scale - self.origin
        if self.constant is None:
            return X
        return np.hstack([X, np.full((len(X), 1), self.constant)])

    def project(self, X):
        """Coordinates in the directions that are kept."""
        Z = self.coordinates(X)
        return Z if self.projection is None else Z @ self.projection.T

    def rows_in_subspaces(self, X):
        """Rows whose linear subspaces are the clusters, ``(n, d) -> (n, h)``."""
        return self.embed(X)

    def residuals(self, X):
        """Squared distance of each row to each subspace, ``(n, k)``."""
        return subspace_residuals(self.rows_in_subspaces(X), self.bases)

    def assign(self, X):
        """Cluster of each row: the nearest subspace, ``(n,)``."""
        return self.residuals(X).argmin(1)

    def row_objective(self, X):
        """Squared distance of each row to the nearest subspace, ``(n,)``."""
        return self.residuals(X).min(1)

    def fit_subspaces(self, X, labels, n_clusters, dimension, random_state):
        """Fit a subspace to each cluster; returns the residuals of the rows."""
        Z = self.rows_in_subspaces(X)
        self.bases = fit_subspaces(Z, labels, n_clusters, dimension, random_state)
        return subspace_residuals(Z, self.bases)

    def fit_centers(self, X, n_clusters):
        """Take the mean embedding of each cluster, as ``predict`` sees them."""
        labels = apply_in_chunks(self.assign, X).numpy()
        self.centers = cluster_means(self.embed(X), labels, n_clusters)


class LinearSubspacesMixin:
    """What clusterers by linear subspaces share; their solution is the above."""

    def _is_affine(self, n_features):
        """Whether subspaces of so many features are affine."""
        if self.affine == "auto":
            return self.latent_dim is None and n_features < 2 * self.n_clusters
        return self.affine

    def _coordinates_of(self, X, scale):
        """The solution so far: scale, origin, and the constant of affine subspaces."""
        origin, constant = np.zeros(X.shape[1]), None
        if self._is_affine(X.shape[1]):
            X = X * scale
            origin = X.mean(0)
            size = np.square(X - origin).sum(1).mean()
            constant = np.sqrt(size) if size > 0 else 1.0
        return self._solution_class(scale, origin, constant)

    def _keep(self, run):
        super()._keep(run)
        if run.solution.bases is not None:  # else the nearest centre decides
            self.components_ = run.solution.bases.astype(np.float32)
            self.affinity_matrix_ = run.affinity
        self._n_features_out = run.solution.centers.shape[1]
