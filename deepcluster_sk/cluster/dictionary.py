"""Deep dictionary learning with a clustering term: X = Z D3 D2 D1."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._mixins import ReconstructionMixin
from deepcluster_sk._estimator._size import check_expression
from deepcluster_sk._estimator._solver_base import BaseSolverClusterer, Solution
from deepcluster_sk._estimator._validation import check_layer_sizes
from deepcluster_sk.cluster._dictionary_terms import KMeansTerm, SubspaceTerm
from deepcluster_sk.solvers import nonnegative_code
from deepcluster_sk.solvers._arrays import like
from deepcluster_sk.solvers._deep_dictionary import (
    code_near_centers,
    dictionary_product,
    update_dictionaries,
)
from deepcluster_sk.solvers._subspaces import subspace_residuals, unit_rows

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike, NDArray


@dataclass
class _Solution(Solution):
    """Dictionaries, and centres or subspaces of the codes.

    Attributes
    ----------
    scale : float
        Factor of the rows.
    weight : float
        Weight of the clustering term.
    dictionaries : list of ndarray
        One a layer, atoms in rows.
    product : ndarray of shape (h, d)
        Their product.
    centers : ndarray of shape (k, h) or None
        Mean code of each cluster.
    bases : ndarray of shape (k, m, h) or None
        Subspaces of the codes; None if the centres decide.
    """

    scale: float
    weight: float
    dictionaries: list
    product: np.ndarray
    centers: np.ndarray | None = None
    bases: np.ndarray | None = None

    def code(self, X):
        """Cluster, objective and code of each row, found together."""
        X = X * self.scale
        if self.bases is None:
            labels, objective, codes = code_near_centers(
                X, self.product, self.centers, self.weight
            )
        else:
            codes = nonnegative_code(X, self.product)
            size = np.square(codes).sum(1)
            residuals = subspace_residuals(unit_rows(codes), self.bases)
            residuals = size[:, None] * residuals
            labels = residuals.argmin(1)
            objective = np.square(X - codes @ self.product).sum(1)
            objective += self.weight * residuals.min(1)
        return labels, objective / self.scale**2, codes

    def assign(self, X):
        """Cluster of each row."""
        return self.code(X)[0]

    def row_objective(self, X):
        """Objective of each row."""
        return self.code(X)[1]

    def embed(self, X):
        """Code of each row."""
        return self.code(X)[2]

    def reconstruct(self, X):
        """Reconstruction of each row, in the units of the data."""
        return self.embed(X) @ self.product / self.scale

    def row_score(self, X):
        """Minus the squared error of each row, averaged over the features."""
        return -np.square(X - self.reconstruct(X)).mean(1)


class DeepDictionaryClustering(ReconstructionMixin, BaseSolverClusterer):
    """Deep dictionary learning with a clustering term on the codes.

    Synthesises each row from a chain of dictionaries, ``x = z D_L ... D_2 D_1``,
    and clusters the codes at the same time: minimises

    ``||X - Z D_L ... D_1||² + clustering_weight * clustering(Z)``

    over dictionaries of unit-norm atoms and codes, the codes of every layer being
    non-negative [1]_. The clustering term is the k-means objective of the codes, or
    their sparse self-expression ``||Z - C Z||² + λ ||C||_1`` [2]_.

    For some 10,000 samples and a ``latent_dim`` up to 100: a sweep solves a
    few non-negative least-squares problems for each sample.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int, default=20
        Width of the code: number of atoms of the last dictionary. Fewer than there
        are clusters cannot tell all centres apart.
    hidden_layer_sizes : array-like of int or None, default=None
        Numbers of atoms of the dictionaries between the data and the last one, from
        the data on. None means ``(4 * latent_dim, 2 * latent_dim)``, that is, three
        dictionaries; an empty tuple gives a single one.
    clustering : {"kmeans", "subspace"}, default="kmeans"
        The clustering term.
    clustering_weight : float or None, default=None
        Weight of the clustering term, in [0, inf); None means 1 for "kmeans" and 0.1
        for "subspace". As it grows, "kmeans" becomes k-means of the data; as it
        falls, directions in which clusters are wide count less; at 0 nothing tells
        clusters apart.
    alpha : float, default=0.1
        For "subspace", λ relative to the codes, in (0, inf): λ is ``alpha`` times
        the smallest value for which half of the rows of C vanish, at the start.
    affinity_mass : float, default=0.9
        For "subspace", only the largest entries of each row of C enter the graph
        that is cut, as many as hold this share of its absolute sum, in (0, 1].
    max_iter : int, default=50
        Largest number of sweeps over all blocks.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-4
        Sweeps stop when the loss falls by less than this relative amount. 0 never
        stops early.
    device : str or torch.device, default="auto"
        Where the fit is computed, in float64; "auto" takes CUDA, then the CPU. MPS has
        no float64 and must be named: losses then agree with those of the CPU to some
        five digits, a self-expression to two. Predictions are made on the CPU.
    verbose : int, default=0
        1 shows a progress bar of each phase, with its epoch, loss and the time left;
        2 the terms of the loss, too.
    random_state : int, RandomState instance or None, default=None
        Determines the atoms and the clusters to start from. Pass an int for the
        same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        Mean code of each cluster.
    dictionaries_ : list of ndarrays
        D_1 of shape (h_1, n_features), D_2 of shape (h_2, h_1) and so on, one
        unit-norm atom a row. All but the first are non-negative.
    components_ : ndarray of shape (n_clusters, dimension, latent_dim), float32
        For "subspace", orthonormal rows that span each cluster's codes.
    history_ : list of dict
        One row a sweep: "phase", "epoch", "loss" and each loss term:
        "reconstruction", "kmeans" or "self_expression" and "expression_penalty",
        per sample.
    n_iter_ : int
        Number of sweeps run.
    n_epochs_ : dict of str to int
        Number of epochs, or sweeps, of each phase; their sum is ``n_iter_``.
    stop_reason_ : dict of str to str
        Why each phase ended: "max_epochs" or "max_iter" (it had all that it was
        allowed), "tol" (what ``tol`` bounds), "unchanged" (no label changed), "learned"
        (the error of the code is small), "solved" (it is a closed form) or "callback"
        (one of ``callbacks`` ended it).
    objective_ : float
        Objective per training sample at the end, coded as new samples are.
    solution_ : object
        The arrays that ``predict`` needs, as attributes.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when X has string column names.

    Notes
    -----
    A new sample is coded against the fixed dictionaries, without other samples. For
    "kmeans" its code z >= 0 and its cluster j together minimise
    ``||x - z D||² + clustering_weight ||z - center_j||²``; over the training data
    that can only be lower than the last loss. For "subspace" z >= 0 minimises
    ``||x - z D||²``, and j is the nearest of the subspaces that were fitted to such
    codes of the training data; ``clustering_weight`` times that squared distance
    takes the place of self-expression, which involves all samples. ``labels_``,
    ``score`` and ``objective_`` use the same codes.

    With "kmeans" the start is k-means of X, its mean and the differences of centres
    from it being atoms: where every layer has ``n_clusters + 1`` of them or more, the
    loss is at most that of k-means in the data. For the given clusters and codes of
    any sign, the best codes cost ``r (I + DᵀD / clustering_weight)⁻¹ rᵀ`` for a sample
    at r from its centre: atoms turn to where clusters are wide, and there distances
    count less. Labels and codes are updated together, as one block: codes that have
    been drawn to a centre would hardly ever leave it.

    With "subspace" the start decides: atoms are samples at first, and the code of a
    sample uses samples of its own subspace if there are many of those. Take some
    20 atoms a cluster or more in every layer, and few sweeps.

    Non-negative codes in all layers are had by non-negative dictionaries D_2, D_3,
    ... This suffices; it is also needed where some sample uses one atom alone. The
    slides update D_2 and D_3 by pseudo-inverses, under which neither the
    constraints nor the descent hold any longer. Here each atom is updated by an exact
    minimiser, or one of a majoriser, on the non-negative part of the unit sphere,
    so that no sweep raises the loss. Unit norms fix the scale: without them the
    clustering term would vanish with the codes.

    On a ``device`` the codes and their self-expression are found, which takes nearly
    all of the time: the data go there once. Atoms are updated on the CPU, one by one,
    from products of the codes with themselves and with the data, once a layer and
    sweep; k-means at the start, the cut of the graph and the subspaces at the end are
    found there, too. Under "subspace" codes of more atoms than there are features are
    not unique, and the last digits decide.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).
    .. [2] A. Goel and A. Majumdar. Sparse subspace clustering friendly deep
       dictionary learning for hyperspectral image classification. IEEE GRSL 19
       (2022).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from deepcluster_sk import DeepDictionaryClustering
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DeepDictionaryClustering(3, latent_dim=3, random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 3)
    >>> bool((model.transform(X) >= 0).all())
    True
    >>> model.reconstruct(X).shape
    (150, 4)
    """

    _solution_class: ClassVar[type] = _Solution
    _parameter_constraints: ClassVar[dict] = {
        **BaseSolverClusterer._parameter_constraints,
        "hidden_layer_sizes": ["array-like", None],
        "clustering": [StrOptions({"kmeans", "subspace"})],
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left"), None],
        "affinity_mass": [Interval(numbers.Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int = 20,
        hidden_layer_sizes: ArrayLike | None = None,
        clustering: Literal["kmeans", "subspace"] = "kmeans",
        clustering_weight: float | None = None,
        alpha: float = 0.1,
        affinity_mass: float = 0.9,
        max_iter: int = 50,
        n_init: int = 1,
        tol: float = 1e-4,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.clustering = clustering
        self.clustering_weight = clustering_weight
        self.alpha = alpha
        self.affinity_mass = affinity_mass
        self.max_iter = max_iter
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _widths(self):
        hidden = self.hidden_layer_sizes
        if hidden is None:
            hidden = (4 * self.latent_dim, 2 * self.latent_dim)
        return [*hidden, self.latent_dim]

    def _weight(self):
        if self.clustering_weight is None:
            return 1.0 if self.clustering == "kmeans" else 0.1
        return self.clustering_weight

    def _validate_settings(self, n_features):
        check_layer_sizes(self)

    def _check_size(self, n_samples, n_features):
        if self.clustering == "subspace":
            check_expression(self, n_samples, self.latent_dim, self.max_iter + 1)

    def _prepare(self, X):
        rows = super()._prepare(X)
        # Squares of what is left neither vanish nor overflow.
        size = np.abs(rows.X).max()
        rows.scale = 1 / size if size > 0 else 1.0
        return rows

    def _term(self):
        settings = self.n_clusters, self._widths(), self._weight()
        if self.clustering == "kmeans":
            return KMeansTerm(*settings)
        return SubspaceTerm(
            *settings, self.alpha, self.affinity_mass, self._verbosity()
        )

    def _solve(self, run):
        scale, term = run.rows.scale, self._term()
        X = run.rows.on_device(run.rows.X * scale)
        dictionaries, Z = term.start(X, run.random_state)

        def sweep():
            nonlocal Z
            update_dictionaries(X, Z, dictionaries)
            D = dictionary_product(dictionaries)
            Z = term.code(X, Z, D)
            error = float(((X - Z @ like(D, X)) ** 2).sum())
            terms = {"reconstruction": error, **term.terms(Z)}
            return {name: value / len(X) / scale**2 for name, value in terms.items()}

        run.sweep("sweep", sweep, self.max_iter, self.tol)
        product = dictionary_product(dictionaries)
        solution = _Solution(scale, self._weight(), dictionaries, product)
        term.finish(X, solution)
        return solution

    def _keep(self, run):
        super()._keep(run)
        self.dictionaries_ = run.solution.dictionaries
        if run.solution.bases is not None:
            self.components_ = run.solution.bases.astype(np.float32)

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Code the rows of X against the fixed dictionaries.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, latent_dim), float32
            The non-negative code of each row, for data divided by the largest
            absolute value of the training data.
        """
        return super().transform(X)
