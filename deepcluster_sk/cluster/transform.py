"""Deep transform learning with a clustering term: Z = T3 ReLU(T2 ReLU(T1 x))."""

from __future__ import annotations

import numbers
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._size import check_expression
from deepcluster_sk._estimator._solver_base import BaseSolverClusterer
from deepcluster_sk.cluster._linear_subspaces import (
    LinearSubspacesMixin,
    SubspaceSolution,
)
from deepcluster_sk.cluster._transform_terms import (
    ExpressionTerm,
    KMeansTerm,
    TransformLearner,
    layer_outputs,
)
from deepcluster_sk.solvers._kernel_rows import KERNELS, kernel_rows, kernel_unit
from deepcluster_sk.solvers._local_pca import leading_directions
from deepcluster_sk.solvers._subspaces import unit_rows

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike, NDArray

TERMS = {"kmeans": KMeansTerm, "subspace": ExpressionTerm}


@dataclass
class _Solution(SubspaceSolution):
    """Layers of transforms of scaled rows, and what is nearest decides a cluster.

    Attributes
    ----------
    transforms : list of ndarray
    landmarks : ndarray of shape (m, d) or None
        Rows whose kernel values stand for a row; None takes the row itself.
    kernel : str or None
    gamma : float
        Of the kernel.
    norms : bool
        Whether rows have unit norm, and clusters are subspaces; else the nearest of
        ``centers`` decides.
    """

    transforms: list | None = None
    landmarks: np.ndarray | None = None
    kernel: str | None = None
    gamma: float = 1.0
    norms: bool = True

    def coordinates(self, X):
        """Rows, or their kernel values, in the units of the first layer."""
        if self.landmarks is not None:
            X = kernel_rows(X, self.landmarks, self.kernel, self.gamma)
        return super().coordinates(X)

    def inputs(self, X):
        """What the first layer sees of each row."""
        return unit_rows(self.project(X)) if self.norms else self.project(X)

    def embed(self, X):
        """Output of the last layer."""
        return layer_outputs(self.inputs(X), self.transforms)[-1]

    def rows_in_subspaces(self, X):
        """Outputs at unit norm."""
        return unit_rows(self.embed(X))

    def residuals(self, X):
        """Squared distance of each row to each subspace, or to each centre, (n, k)."""
        if self.norms:
            return super().residuals(X)
        Z = self.embed(X)
        return np.stack([np.square(Z - c).sum(1) for c in self.centers], axis=1)


class DeepTransformClustering(LinearSubspacesMixin, BaseSolverClusterer):
    """Deep transform learning with a clustering term.

    Learns transforms T_1 .. T_L whose outputs are easy to cluster. In rows, with
    ``X_1`` the data, minimises

    ``sum_l ||X_l T_lᵀ - X_(l+1)||² + λ sum_l (||T_l||² - log det T_l)
    + γ clustering(Z)``, ``X_(L+1) = Z``,

    over the transforms, the hidden layers ``X_2 .. X_L >= 0``, the codes Z and what
    clusters them. For ``clustering="subspace"`` that is a self-expression C with zero
    diagonal, and the term ``||Z - C Z||² + μ R(C)`` [1]_; one layer is transformed
    subspace clustering [2]_. The graph ``|C| + |C|ᵀ`` is cut by spectral clustering,
    and a new sample belongs to the nearest subspace of the embedding. For
    ``clustering="kmeans"`` it is ``||Z - M||²``, each row of M being the mean of a
    cluster, and a new sample belongs to the nearest of these. The log-determinants
    keep transforms from vanishing and from repeating rows.

    For some 10,000 samples: a sweep takes as long as a sparse self-expression. Over
    neighbours, and with "kmeans", it takes as long as its products.

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
    kernel : {"rbf", "polynomial"} or None, default=None
        Kernel transform learning [4]_: the first transform acts on the values that a
        kernel has between a row and the training data, projected on their leading
        singular vectors. "rbf" is ``exp(-g ||x - y||²)``, "polynomial"
        ``(g <x, y> + 1)³``. None takes the row itself.
    gamma : float, default=1.0
        g of the kernel, in (0, inf), relative to one by the median squared distance
        between two rows ("rbf"), or by their mean squared norm ("polynomial").
    n_landmarks : int, default=500
        Number of training rows, at least 1, that the kernel is taken with: all of
        them, or as many drawn at random. They are kept, for new samples.
    clustering : {"kmeans", "subspace"}, default="subspace"
        The clustering term. With "kmeans", and with a kernel, ``affine`` does nothing:
        clusters then are places, or kernel values have no origin to leave.
    alpha : float, default=0.1
        μ relative to the data, in (0, inf): μ is ``alpha`` times the smallest
        value for which half of the rows of C vanish under "l1", at the start. For
        "neighbors" it is ``alpha`` times the mean squared distance of neighbours.
    penalty : {"l1", "elasticnet", "nuclear", "l2", "neighbors"}, default="l1"
        R, as in ``SparseSubspaceClustering``. "neighbors" is locally linear manifold
        clustering [3]_: only the nearest rows of the data express a sample, with
        coefficients that add up to 1, and R is the sum of their squares.
    l1_ratio : float, default=0.9
        Share of the first term of "elasticnet", in (0, 1].
    n_neighbors : int, default=15
        Neighbours of each row under "neighbors", at least 1; all the others where
        there are fewer.
    transform_penalty : float, default=0.1
        λ in units of the data's squared norm, in (0, inf). Large values make
        transforms nearly orthogonal, small ones let them follow the codes.
    subspace_weight : float, default=0.1
        γ of "subspace", in [0, inf).
    kmeans_weight : float, default=0.1
        Weight of the squared distances of codes to their centres, in [0, inf).
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
    device : str or torch.device, default="auto"
        Where the fit is computed, in float64; "auto" takes CUDA, then the CPU. MPS has
        no float64 and must be named: losses then agree with those of the CPU to some
        five digits, a self-expression to two. Predictions are made on the CPU.
    verbose : int, default=0
        1 shows a progress bar of each phase, with its epoch, loss and the time left;
        2 the terms of the loss, too.
    random_state : int, RandomState instance or None, default=None
        Determines the rotations that transforms start from and the seeds of
        spectral clustering or k-means. Pass an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        Mean of the embedding in each cluster.
    components_ : ndarray of shape (n_clusters, dimension, latent_dim), float32
        For "subspace", orthonormal rows that span each cluster's subspace of the
        embedding.
    transforms_ : list of ndarrays of shape (latent_dim, width of the layer before)
        The transforms, first layer first.
    affinity_matrix_ : csr_array of shape (n_samples, n_samples)
        For "subspace", the graph that was cut. It is there to be looked at, and is
        left out of pickles, copies and files.
    history_ : list of dict
        One row a sweep: "phase", "epoch", "loss" and each loss term: "transform",
        "transform_penalty", and "self_expression" and "expression_penalty", or
        "kmeans", per sample. The last row, of the phase "subspaces" or "centers", has
        the mean squared distance to the nearest of them, "residual": that is
        ``objective_``.
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
        subspace; for "kmeans" that of the embedding to the nearest centre.
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
    active-set method. So no sweep raises the loss. With "kmeans" codes and clusters
    are updated together: the best code of an output y near a centre c is
    ``(y + γ c) / (1 + γ)``, so that clusters are those of k-means on the outputs.

    The log-determinant bounds a transform from below in every direction only where
    it has at least as many rows as columns. With fewer rows it is cheapest to look
    where the data vanishes, and the codes then hold no data: hence the projection
    on leading singular vectors for small ``latent_dim``.

    Rows are scaled to unit norm, after the projection; for "kmeans", whose clusters
    are places and no directions, they are centred, and divided by their root mean
    square norm. The codes Z of training
    samples depend on all samples, so that ``transform``, ``predict`` and ``score``
    use the embedding ``T_L ReLU(... ReLU(T_1 x))`` instead, also of the training
    data. For the same reason ``objective_``, by which the best of ``n_init`` runs
    is chosen, is the loss of the subspaces or centres that are fitted to that
    embedding in the end, and not the loss that the sweeps lower.

    A transform of what a kernel maps rows to is ``B φ(X)ᵀ``, and acts on kernel values
    alone: ``B k(X, x)``. The log-determinant is that of B, as in [4]_. The slides put
    ``T_2 T_1 X >= 0`` in the constraints and relax it to hidden layers, as here.

    On a ``device`` the sweeps are computed: the data go there once. Products of
    features by features are factorised on the CPU, once a layer and sweep; k-means at
    the start, the cut of the graph and the subspaces at the end are found there, too.
    How a unit that is zero in all rows is transformed is left open by the objective,
    and with such units (as in deep layers that are wider than the data) the last digits
    decide.

    References
    ----------
    .. [1] J. Maggu, A. Majumdar, E. Chouzenoux and G. Chierchia. Deeply transformed
       subspace clustering. Signal Processing 174 (2020).
    .. [2] J. Maggu, A. Majumdar and E. Chouzenoux. Transformed subspace clustering.
       IEEE TKDE 33 (2021).
    .. [3] A. Goh and R. Vidal. Segmenting motions of different types by unsupervised
       manifold clustering. CVPR 2007.
    .. [4] J. Maggu and A. Majumdar. Kernel transform learning. Pattern Recognition
       Letters 98 (2017).

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
        "clustering": [StrOptions(set(TERMS))],
        "penalty": [StrOptions({"l1", "elasticnet", "nuclear", "l2", "neighbors"})],
        "l1_ratio": [Interval(numbers.Real, 0, 1, closed="right")],
        "n_neighbors": [Interval(numbers.Integral, 1, None, closed="left")],
        "kernel": [StrOptions(set(KERNELS)), None],
        "gamma": [Interval(numbers.Real, 0, None, closed="neither")],
        "n_landmarks": [Interval(numbers.Integral, 1, None, closed="left")],
        "kmeans_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "transform_penalty": [Interval(numbers.Real, 0, None, closed="neither")],
        "subspace_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "affinity_mass": [Interval(numbers.Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_layers: int = 1,
        latent_dim: int | None = None,
        affine: bool | Literal["auto"] = "auto",
        kernel: Literal["rbf", "polynomial"] | None = None,
        gamma: float = 1.0,
        n_landmarks: int = 500,
        clustering: Literal["kmeans", "subspace"] = "subspace",
        alpha: float = 0.1,
        penalty: Literal["l1", "elasticnet", "nuclear", "l2", "neighbors"] = "l1",
        l1_ratio: float = 0.9,
        n_neighbors: int = 15,
        transform_penalty: float = 0.1,
        subspace_weight: float = 0.1,
        kmeans_weight: float = 0.1,
        affinity_mass: float = 0.9,
        max_iter: int = 20,
        n_init: int = 1,
        tol: float = 1e-4,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_layers = n_layers
        self.latent_dim = latent_dim
        self.affine = affine
        self.kernel = kernel
        self.gamma = gamma
        self.n_landmarks = n_landmarks
        self.clustering = clustering
        self.alpha = alpha
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.n_neighbors = n_neighbors
        self.transform_penalty = transform_penalty
        self.subspace_weight = subspace_weight
        self.kmeans_weight = kmeans_weight
        self.affinity_mass = affinity_mass
        self.max_iter = max_iter
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _check_size(self, n_samples, n_features):
        if self.clustering == "subspace" and self.penalty != "neighbors":
            times = self.max_iter + 1
            check_expression(self, n_samples, self.latent_dim or n_features, times)

    def _is_affine(self, n_features):
        plain = self.clustering == "subspace" and self.kernel is None
        return plain and super()._is_affine(n_features)

    def _coordinates_of(self, X, scale):
        """Origin and scale: of subspaces, or of clusters that may be anywhere."""
        if self.clustering == "subspace":
            return super()._coordinates_of(X, scale)
        X = X * scale
        size = np.sqrt(np.square(X - X.mean(0)).sum(1).mean())
        size = size if size > 0 else 1.0
        start = self._solution_class(scale / size, X.mean(0) / size, None)
        start.norms = False
        return start

    def _prepare(self, X):
        """Unit-norm rows in the span of the leading singular vectors."""
        rows = super()._prepare(X)
        given, width = {}, self.latent_dim
        X = rows.X
        if self.kernel is not None:
            given = self._kernel_arguments(X)
            width = X.shape[1] if width is None else width
            X = kernel_rows(X, **given)
        size = np.abs(X).max()
        start = self._coordinates_of(X, 1 / size if size > 0 else 1.0)
        Z = start.coordinates(X)
        vars(start).update(given)
        if width is not None and width < Z.shape[1]:
            start.projection = leading_directions(Z, width, np.random.RandomState(0))
        rows.start = start
        return rows

    def _kernel_arguments(self, X):
        """Landmarks, kernel and its width."""
        n = len(X)
        chosen = np.arange(n)
        if n > self.n_landmarks:
            chosen = np.random.RandomState(0).permutation(n)[: self.n_landmarks]
        landmarks = X[np.sort(chosen)]
        gamma = self.gamma * kernel_unit(landmarks, self.kernel)
        return {"landmarks": landmarks, "kernel": self.kernel, "gamma": gamma}

    def _solve(self, run):
        solution = copy(run.rows.start)
        inputs, term = solution.inputs(run.rows.X), TERMS[self.clustering]
        inputs = run.rows.on_device(inputs)
        learner = TransformLearner(self, inputs, term, run.random_state)
        run.sweep("sweep", learner.sweep, self.max_iter, self.tol)
        solution.transforms = learner.transforms
        learner.term.finish(run, solution)
        return solution

    def _keep(self, run):
        super()._keep(run)
        self.transforms_ = run.solution.transforms

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Embed the rows of X by the layers, ``T_2 ReLU(T_1 x)`` for two of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, latent_dim), float32
            The code of each row. Its width is the number of features where
            ``latent_dim`` is None, one more where subspaces are affine, and at most
            ``n_landmarks`` with a kernel.
        """
        return super().transform(X)
