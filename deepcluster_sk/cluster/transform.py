"""Deep transform learning with a subspace term: Z = T3 ReLU(T2 ReLU(T1 x))."""

import numbers
from copy import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._size import check_expression
from deepcluster_sk._estimator._solver_base import BaseSolverClusterer
from deepcluster_sk.cluster._linear_subspaces import (
    LinearSubspacesMixin,
    SubspaceSolution,
)
from deepcluster_sk.solvers import (
    nonnegative_code,
    subspace_code,
    transform_objective,
    transform_update,
)
from deepcluster_sk.solvers._local_pca import leading_directions
from deepcluster_sk.solvers._subspaces import (
    affinity,
    cut,
    expression_penalty,
    relative_weight,
    self_expression_of,
    unit_rows,
)


@dataclass
class _Solution(SubspaceSolution):
    """Layers of transforms of unit-norm rows, and subspaces of their last outputs."""

    transforms: list | None = None

    def inputs(self, X):
        """What the first layer sees of each row."""
        return unit_rows(self.project(X))

    def embed(self, X):
        """Output of the last layer."""
        return _layers(self.inputs(X), self.transforms)[-1]

    def rows_in_subspaces(self, X):
        """Outputs at unit norm."""
        return unit_rows(self.embed(X))


class DeepTransformClustering(LinearSubspacesMixin, BaseSolverClusterer):
    """Deep transform learning with a subspace clustering term.

    Learns transforms T_1 .. T_L that make the data easy to express by itself. In
    rows, with ``X_1`` the data, minimises

    ``sum_l ||X_l T_lᵀ - X_(l+1)||² + λ sum_l (||T_l||² - log det T_l)
    + γ (||Z - C Z||² + μ R(C))``, ``X_(L+1) = Z``,

    over the transforms, the hidden layers ``X_2 .. X_L >= 0``, the codes Z and the
    self-expression C with zero diagonal [1]_. One layer is transformed subspace
    clustering [2]_. The log-determinants keep transforms from vanishing and from
    repeating rows. The graph ``|C| + |C|ᵀ`` is cut by spectral clustering; a new
    sample belongs to the nearest subspace of the embedding.

    For some 10,000 samples: a sweep takes as long as a sparse self-expression.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    n_layers : int, default=1
        Number of transforms, at least 1.
    latent_dim : int or None, default=None
        Width of every layer; None is the number of features, and one more where
        subspaces are affine. Where it is smaller,
        the data is projected on its leading singular vectors first; where it is
        larger, the first transform has more rows than columns.
    affine : bool or "auto", default="auto"
        Whether clusters are affine subspaces, which need not contain the origin: X is
        centred, and a constant column, the root mean square norm of its rows, is
        added to it. "auto" does so where there are fewer than two features a cluster
        and ``latent_dim`` is None. Lines through the origin of such data need False.
    alpha : float, default=0.1
        μ relative to the data, in (0, inf): μ is ``alpha`` times the smallest
        value for which half of the rows of C vanish under "l1", at the start.
    penalty : {"l1", "elasticnet", "nuclear", "l2"}, default="l1"
        R, as in ``SparseSubspaceClustering``.
    l1_ratio : float, default=0.9
        Share of the first term of "elasticnet", in (0, 1].
    transform_penalty : float, default=0.1
        λ in units of the data's squared norm, in (0, inf). Large values make
        transforms nearly orthogonal, small ones let them follow the codes.
    subspace_weight : float, default=0.1
        γ, in [0, inf).
    affinity_mass : float, default=0.9
        Only the largest entries of each row of C enter the graph, as many as hold
        this share of its absolute sum, in (0, 1].
    max_iter : int, default=20
        Largest number of sweeps over all blocks.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-4
        Sweeps stop when the loss falls by less than this relative amount. 0 never
        stops early.
    verbose : int, default=0
        Above 0, show a progress bar.
    random_state : int, RandomState instance or None, default=None
        Determines the rotations that transforms start from and the seeds of
        spectral clustering. Pass an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        Mean of the embedding in each cluster.
    components_ : ndarray of shape (n_clusters, dimension, latent_dim), float32
        Orthonormal rows that span each cluster's subspace of the embedding.
    transforms_ : list of ndarrays of shape (latent_dim, width of the layer before)
        The transforms, first layer first.
    affinity_matrix_ : csr_array of shape (n_samples, n_samples)
        The graph that was cut. It is there to be looked at, and is left out of
        pickles, copies and files.
    history_ : list of dict
        One row a sweep: "phase", "epoch", "loss" and each loss term: "transform",
        "transform_penalty", "self_expression" and "expression_penalty", per sample.
        The last row, of the phase "subspaces", has the mean squared distance to the
        nearest subspace, "residual": that is ``objective_``.
    n_iter_ : int
        Number of rows of ``history_``.
    n_epochs_ : dict of str to int
        Number of epochs, or sweeps, of each phase; their sum is ``n_iter_``.
    stop_reason_ : dict of str to str
        Why each phase ended: "max_epochs" or "max_iter" (it had all that it was
        allowed), "tol" (what ``tol`` bounds), "unchanged" (no label changed), "learned"
        (the error of the code is small), "solved" (it is a closed form) or "callback"
        (one of ``callbacks`` ended it).
    objective_ : float
        Mean squared distance of the embedding, at unit norm, to the nearest
        subspace.
    solution_ : object
        The arrays that ``predict`` needs, as attributes.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when X has string column names.

    Notes
    -----
    Every block (P1-P7 of [1]_) is solved exactly: transforms in closed form, hidden
    layers by non-negative least squares, codes by a linear system, C by an
    active-set method. So no sweep raises the loss.

    The log-determinant bounds a transform from below in every direction only where
    it has at least as many rows as columns. With fewer rows it is cheapest to look
    where the data vanishes, and the codes then hold no data: hence the projection
    on leading singular vectors for small ``latent_dim``.

    Rows are scaled to unit norm, after the projection. The codes Z of training
    samples depend on all samples, so that ``transform``, ``predict`` and ``score``
    use the embedding ``T_L ReLU(... ReLU(T_1 x))`` instead, also of the training
    data. For the same reason ``objective_``, by which the best of ``n_init`` runs
    is chosen, is the loss of the subspaces that are fitted to that embedding in the
    end, and not the loss that the sweeps lower.

    References
    ----------
    .. [1] J. Maggu, A. Majumdar, E. Chouzenoux and G. Chierchia. Deeply transformed
       subspace clustering. Signal Processing 174 (2020).
    .. [2] J. Maggu, A. Majumdar and E. Chouzenoux. Transformed subspace clustering.
       IEEE TKDE 33 (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk import DeepTransformClustering
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(30, 3)) @ rng.normal(size=(3, 10))
    ...                for _ in range(3)])
    >>> model = DeepTransformClustering(n_clusters=3, random_state=0).fit(X)
    >>> np.bincount(model.labels_)
    array([30, 30, 30])
    >>> model.transform(X).shape
    (90, 10)
    """

    _solution_class: ClassVar[type] = _Solution
    _parameter_constraints: ClassVar[dict] = {
        **BaseSolverClusterer._parameter_constraints,
        "n_layers": [Interval(numbers.Integral, 1, None, closed="left")],
        "latent_dim": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "affine": ["boolean", StrOptions({"auto"})],
        "penalty": [StrOptions({"l1", "elasticnet", "nuclear", "l2"})],
        "l1_ratio": [Interval(numbers.Real, 0, 1, closed="right")],
        "transform_penalty": [Interval(numbers.Real, 0, None, closed="neither")],
        "subspace_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "affinity_mass": [Interval(numbers.Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        n_layers=1,
        latent_dim=None,
        affine="auto",
        alpha=0.1,
        penalty="l1",
        l1_ratio=0.9,
        transform_penalty=0.1,
        subspace_weight=0.1,
        affinity_mass=0.9,
        max_iter=20,
        n_init=1,
        tol=1e-4,
        verbose=0,
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.n_layers = n_layers
        self.latent_dim = latent_dim
        self.affine = affine
        self.alpha = alpha
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.transform_penalty = transform_penalty
        self.subspace_weight = subspace_weight
        self.affinity_mass = affinity_mass
        self.max_iter = max_iter
        self.n_init = n_init
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state

    def _check_size(self, n_samples, n_features):
        times = self.max_iter + 1
        check_expression(self, n_samples, self.latent_dim or n_features, times)

    def _prepare(self, X):
        """Unit-norm rows in the span of the leading singular vectors."""
        rows = super()._prepare(X)
        size = np.abs(rows.X).max()
        rows.start = start = self._coordinates_of(rows.X, 1 / size if size > 0 else 1.0)
        Z = start.coordinates(rows.X)
        if self.latent_dim is not None and self.latent_dim < Z.shape[1]:
            start.projection = leading_directions(
                Z, self.latent_dim, np.random.RandomState(0)
            )
        return rows

    def _solve(self, run):
        solution, k = copy(run.rows.start), self.n_clusters
        learner = _TransformLearner(self, solution.inputs(run.rows.X), run)
        run.sweep("sweep", learner.sweep, self.max_iter, self.tol)
        solution.transforms = learner.transforms
        run.affinity = affinity(learner.C, self.affinity_mass)
        labels = cut(run.affinity, k, run.random_state)
        residuals = solution.fit_subspaces(
            run.rows.X, labels, k, "auto", run.random_state
        )
        run.record("subspaces", {"residual": residuals.min(1).mean()})
        solution.fit_centers(run.rows.X, k)
        return solution

    def _keep(self, run):
        super()._keep(run)
        self.transforms_ = run.solution.transforms

    def transform(self, X):
        """Embed the rows of X by the layers, ``T_2 ReLU(T_1 x)`` for two of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, latent_dim), float32
            The code of each row. Its width is the number of features where
            ``latent_dim`` is None, and one more where subspaces are affine.
        """
        return super().transform(X)


def _layers(X, transforms):
    """Outputs of all layers, ReLU after all but the last."""
    outputs = []
    for i, T in enumerate(transforms):
        X = X @ T.T
        if i < len(transforms) - 1:
            X = np.maximum(X, 0)
        outputs.append(X)
    return outputs


class _TransformLearner:
    """All blocks of one run, and the sweep over them.

    Parameters
    ----------
    settings : DeepTransformClustering
    X : ndarray of shape (n, d)
        Rows of unit norm.
    run : SolverRun
    """

    def __init__(self, settings, X, run):
        self.settings, self.X = settings, X
        n, d = X.shape
        h = d if settings.latent_dim is None else settings.latent_dim
        widths = [d] + [h] * settings.n_layers
        # Without codes, singular values of 1 / sqrt(2) minimise the penalty.
        self.transforms = []
        for i in range(settings.n_layers):
            noise = run.random_state.normal(size=(h, widths[i]))
            self.transforms.append(np.linalg.qr(noise)[0] / np.sqrt(2))
        self.layers = _layers(X, self.transforms)  # X_2 .. X_L, Z
        self.transform_weight = settings.transform_penalty * n
        self.weight = relative_weight(self.Z, settings.alpha)
        self.C = self._express()

    @property
    def Z(self):
        return self.layers[-1]

    def _express(self):
        s = self.settings
        return self_expression_of(
            self.Z, self.weight, s.penalty, s.l1_ratio, s._verbosity()
        )

    def _expression_terms(self, C):
        s, n = self.settings, len(self.X)
        size = expression_penalty(C, s.penalty, s.l1_ratio)
        error = np.square(self.Z - C @ self.Z).sum()
        gamma = s.subspace_weight / n
        return gamma * error, gamma * self.weight * size

    def sweep(self):
        """P1 to P7 once; returns the terms of the loss."""
        gamma, last = self.settings.subspace_weight, len(self.layers) - 1
        inputs = [self.X, *self.layers[:-1]]
        for i, (x, z) in enumerate(zip(inputs, self.layers, strict=True)):
            self.transforms[i] = transform_update(x, z, self.transform_weight)
        for i in reversed(range(last)):
            before = self.X if i == 0 else self.layers[i - 1]
            self.layers[i] = nonnegative_code(
                self.layers[i + 1],
                self.transforms[i + 1].T,
                target=before @ self.transforms[i].T,
                weight=1.0,
            )
        before = self.X if last == 0 else self.layers[-2]
        self.layers[-1] = subspace_code(before, self.transforms[-1], self.C, gamma)
        C = self._express()
        # It is solved to a tolerance, which must not show as a rise of the loss.
        if sum(self._expression_terms(C)) <= sum(self._expression_terms(self.C)):
            self.C = C
        return self._terms()

    def _terms(self):
        n = len(self.X)
        inputs = [self.X, *self.layers[:-1]]
        fit = penalty = 0.0
        for x, z, T in zip(inputs, self.layers, self.transforms, strict=True):
            error = np.square(x @ T.T - z).sum()
            fit += error / n
            total = transform_objective(x, z, T, self.transform_weight)
            penalty += (total - error) / n
        error, size = self._expression_terms(self.C)
        return {
            "transform": fit,
            "transform_penalty": penalty,
            "self_expression": error,
            "expression_penalty": size,
        }
