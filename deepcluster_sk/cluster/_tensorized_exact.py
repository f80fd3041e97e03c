"""The exact solver of the tensorized autoencoder: closed forms in turn."""

import numpy as np
import torch

from deepcluster_sk._threads import multiplications, threads_for
from deepcluster_sk.initialization import init_name, kmeans_start
from deepcluster_sk.solvers._arrays import on_exact_device
from deepcluster_sk.solvers._local_pca import best_of, directions_are_certain
from deepcluster_sk.solvers._pca_mixture import PCASearch


class LocalPCAMixin:
    """What ``fit`` does where everything but the assignment has a closed form.

    The method says whether that is so (``_uses_exact_solver``), whether penalties are
    found (``_finds_penalty``), clusters densities (``_is_density``) and their mixture
    what is fitted (``_is_mixture``), and where labels start (``_initial_labels``).
    """

    def _optimize(self, run):
        if self._uses_exact_solver():
            self._solve(run)
        else:
            super()._optimize(run)

    def _preparation_work(self, X):
        return X.shape[0] * X.shape[1] ** 2 if self._finds_penalty() else 0

    def _prepare(self, X):
        """Validated data, with what k-means makes of them where penalties are found."""
        rows = super()._prepare(X)
        if self._finds_penalty():
            # Squares of large values do not fit into float32.
            X = rows.whole().cpu().numpy().astype(np.float64)
            chance = np.random.RandomState(0)
            labels = kmeans_start(torch.from_numpy(X), self.n_clusters, chance)[1]
            search = self._search(self.latent_dim)
            there = on_exact_device(X, rows.device)
            rows.from_kmeans = search.over_widths(there, labels, chance)
        return rows

    def _search(self, width):
        how = self.code_penalty, self.max_epochs, self._is_mixture(), self.tol
        return PCASearch(self.n_clusters, width, *how, self._verbosity())

    def _fits(self, run):
        """Solutions of a run, in closed form: local principal components."""
        X, found = run.rows.whole().cpu().numpy().astype(np.float64), None
        search = self._search(self._width())
        if self._finds_penalty():
            found, search = run.rows.from_kmeans, self._search(self.latent_dim)
            if init_name(self.init) == "k-means++":
                yield found
                if not directions_are_certain(*X.shape, self.n_clusters):
                    return
        labels = self._initial_labels(X, run)
        there = on_exact_device(X, run.rows.device)
        yield from search.near(found, there, labels, run.random_state)

    def _solve(self, run):
        """Solve in closed form (Theorem 2.2)."""
        X, module = run.rows.whole(), run.module
        with threads_for(X.numel() * X.shape[1]):
            found = best_of(self._fits(run))
        module.set_projections(found.centers, found.bases)
        run.net.row_work_ = multiplications(module, X.shape[1])  # of this width
        if self._is_density():
            module.set_density(*found.density())
        if self.noise_std:
            module.set_shrinkage(found.variances, self.noise_std**2)
        run.assignment = found.assignment
        run.record(found.history_rows("sweep"), found.stop_reason)
