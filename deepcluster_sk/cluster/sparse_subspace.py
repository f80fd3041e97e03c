"""Sparse subspace clustering: every sample written as a combination of the others."""

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
from deepcluster_sk.solvers._local_pca import leading_directions
from deepcluster_sk.solvers._subspaces import (
    affinity,
    cut,
    expression_penalty,
    relative_weight,
    self_expression_of,
    unit_rows,
)

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike, NDArray


@dataclass
class _Solution(SubspaceSolution):
    """Rows at unit norm, or in the units of the data."""

    normalize: bool = True

    def embed(self, X):
        """Rows as self-expression sees them."""
        Z = self.project(X)
        return unit_rows(Z) if self.normalize else Z / self.scale


class SparseSubspaceClustering(LinearSubspacesMixin, BaseSolverClusterer):
    """Sparse subspace clustering: clusters are linear subspaces.

    Writes each sample z_i as a sparse combination of the others, which picks
    samples of its own subspace: minimises ``||Z - C Z||² + λ R(C)`` over C with
    zero diagonal [1]_, cuts the graph ``|C| + |C|ᵀ`` into clusters by spectral
    clustering, and fits a linear subspace to each. A new sample belongs to the
    subspace nearest to it.

    For some 20,000 samples with "l1" and "elasticnet": time grows with the square
    of their number, memory with the number (10,000 samples of 50 features take
    a minute and 0.6 GB), and where it will be minutes a ``LongFitWarning`` says so.
    "l2" and "nuclear" need dense arrays of n x n, and "nuclear" a singular value
    decomposition of one an iteration: for 10,000 and 1,000 samples. Sizes that would
    take more than 8 GB are refused at once.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int or None, default=None
        Project the data on that many leading singular vectors first, as [1]_ do
        with images; None keeps all features. Singular vectors, not principal
        components: the mean is not removed, or subspaces would become affine.
    affine : bool or "auto", default="auto"
        Whether clusters are affine subspaces, which need not contain the origin: X is
        centred, and a constant column, the root mean square norm of its rows, is
        added to it. "auto" does so where there are fewer than two features a cluster
        and ``latent_dim`` is None. Lines through the origin of such data need False.
    normalize : bool, default=True
        Scale each row, after the projection, to unit norm. One penalty then suits
        all rows.
    alpha : float, default=0.1
        λ relative to the data, in (0, inf): λ is ``alpha`` times the smallest
        value for which half of the rows of C vanish under "l1",
        ``2 median_i max_j |z_iᵀ z_j|``. The default corresponds to α = 10 of [1]_,
        who take 20 for images of faces.
    penalty : {"l1", "elasticnet", "nuclear", "l2"}, default="l1"
        R. The sum of absolute values, ``l1_ratio ||C||_1 + (1 - l1_ratio) / 2
        ||C||²`` (more entries in a row), the sum of singular values, or ``||C||²``.
    l1_ratio : float, default=0.9
        Share of the first term of "elasticnet", in (0, 1].
    affinity_mass : float, default=0.9
        Only the largest entries of each row of C enter the graph, as many as hold
        this share of its absolute sum, in (0, 1]. Small entries are what connects
        different subspaces. 1 keeps all.
    subspace_dim : int or "auto", default="auto"
        Dimension of the subspaces, one more where they are affine; with a number,
        ``affine="auto"`` means False. "auto" takes the
        smallest under which most samples are nearest to the subspace of the cluster
        that they were cut into.
    max_iter : int, default=1
        Largest number of refinements: fit the subspaces, then move each sample to
        the nearest. From the second on this is k-subspaces.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
        The self-expression is found once, only the cut depends on the seed.
    tol : float, default=1e-4
        Refinements stop when the objective falls by less than this relative
        amount. 0 never stops early.
    device : str or torch.device, default="auto"
        Where the fit is computed, in float64; "auto" takes CUDA, then the CPU. MPS has
        no float64 and must be named: losses then agree with those of the CPU to some
        five digits, a self-expression to two. Predictions are made on the CPU.
    verbose : int, default=0
        1 shows a progress bar of each phase, with its epoch, loss and the time left;
        2 the terms of the loss, too.
    random_state : int, RandomState instance or None, default=None
        Determines the seeds of spectral clustering. Pass an int for the same
        result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, n_components), float32
        Mean of the embedding in each cluster. The mean of a subspace's samples
        may well be near zero; ``components_`` tells more.
    components_ : ndarray of shape (n_clusters, dimension, n_components), float32
        Orthonormal rows that span each cluster's subspace, in the embedding.
    affinity_matrix_ : csr_array of shape (n_samples, n_samples)
        The graph that was cut. It is there to be looked at, and is left out of
        pickles, copies and files.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term. First the
        self-expression, per sample; then the objective after each refinement.
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
        Squared distance to the nearest subspace at the end, per training sample.
    solution_ : object
        The arrays that ``predict`` needs, as attributes.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when X has string column names.

    Notes
    -----
    Self-expression labels the training samples only. So that ``predict`` of the
    training data is ``labels_``, those are not the clusters of the cut, but the
    nearest subspaces after it. On planted unions of subspaces and on COIL-20
    (20 singular vectors) both recover the classes without an error. The defaults of
    ``alpha`` and ``affinity_mass`` were chosen with sight of COIL-20's accuracy.

    ``score`` is minus the squared distance to the nearest subspace, which new
    samples have too; the self-expression that comes before is in ``history_``.

    A table of few features has no room for different subspaces through the origin:
    of k such planes, all of them independent, there are none in fewer than 2 k
    dimensions, and any few rows express every other. With the constant column,
    which stands for the constraint that coefficients add up to 1, a row is
    expressed by those around it.

    A sample on which no other has any bearing has an empty row in C and is cut
    anywhere; its subspace is found all the same.

    On a ``device`` the self-expression is found, which takes nearly all of the time:
    the data go there once, and C comes back once. The graph is cut, and subspaces are
    fitted, on the CPU. A graph of more pieces than clusters can be cut in several ways
    that are equally good, and the last digits then decide.

    References
    ----------
    .. [1] E. Elhamifar and R. Vidal. Sparse subspace clustering: algorithm, theory,
       and applications. IEEE TPAMI 35 (2013).

    Examples
    --------
    Three subspaces of dimension 3 in ten dimensions:

    >>> import numpy as np
    >>> from deepcluster_sk import SparseSubspaceClustering
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(30, 3)) @ rng.normal(size=(3, 10))
    ...                for _ in range(3)])
    >>> model = SparseSubspaceClustering(n_clusters=3, random_state=0).fit(X)
    >>> np.bincount(model.labels_)
    array([30, 30, 30])
    >>> bool(model.score(X) > -1e-9)
    True
    """

    _solution_class: ClassVar[type] = _Solution
    _parameter_constraints: ClassVar[dict] = {
        **BaseSolverClusterer._parameter_constraints,
        "latent_dim": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "affine": ["boolean", StrOptions({"auto"})],
        "normalize": ["boolean"],
        "penalty": [StrOptions({"l1", "elasticnet", "nuclear", "l2"})],
        "l1_ratio": [Interval(numbers.Real, 0, 1, closed="right")],
        "affinity_mass": [Interval(numbers.Real, 0, 1, closed="right")],
        "subspace_dim": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int | None = None,
        affine: bool | Literal["auto"] = "auto",
        normalize: bool = True,
        alpha: float = 0.1,
        penalty: Literal["l1", "elasticnet", "nuclear", "l2"] = "l1",
        l1_ratio: float = 0.9,
        affinity_mass: float = 0.9,
        subspace_dim: int | Literal["auto"] = "auto",
        max_iter: int = 1,
        n_init: int = 1,
        tol: float = 1e-4,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.affine = affine
        self.normalize = normalize
        self.alpha = alpha
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.affinity_mass = affinity_mass
        self.subspace_dim = subspace_dim
        self.max_iter = max_iter
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _validate_settings(self, n_features):
        width, name = self.latent_dim, type(self).__name__
        if width is not None and width > n_features:
            raise ValueError(
                f"latent_dim={width} of {name} must be at most n_features={n_features}."
            )
        if width is None:
            width = n_features + int(self._is_affine(n_features))
        if self.subspace_dim != "auto" and self.subspace_dim > width:
            raise ValueError(
                f"subspace_dim={self.subspace_dim} of {name} must be at most the width "
                f"of the embedding, {width}."
            )

    def _check_size(self, n_samples, n_features):
        check_expression(self, n_samples, self.latent_dim or n_features)

    def _is_affine(self, n_features):
        if self.affine == "auto" and self.subspace_dim != "auto":
            return False  # dimensions are counted as those of linear subspaces
        return super()._is_affine(n_features)

    def _prepare(self, X):
        """Express the data by itself, once for all runs."""
        rows = super()._prepare(X)
        # A power of two changes no digit, and squares neither vanish nor overflow.
        size = np.abs(rows.X).max()
        scale = 2.0 ** -np.floor(np.log2(size)) if size > 0 else 1.0
        start = self._coordinates_of(rows.X, scale)
        start.normalize = self.normalize
        if self.latent_dim is not None:
            start.projection = leading_directions(
                start.coordinates(rows.X), self.latent_dim, np.random.RandomState(0)
            )
        Z = rows.on_device(start.embed(rows.X))
        weight = relative_weight(Z, self.alpha)
        C = self_expression_of(
            Z, weight, self.penalty, self.l1_ratio, self._verbosity()
        )
        size = expression_penalty(C, self.penalty, self.l1_ratio)
        rows.start, rows.affinity = start, affinity(C, self.affinity_mass)
        rows.terms = {
            "self_expression": float(((Z - C @ Z) ** 2).sum()) / len(X),
            "penalty": weight * size / len(X),
        }
        return rows

    def _solve(self, run):
        rows, solution = run.rows, copy(run.rows.start)
        run.record("self-expression", rows.terms)
        labels = cut(rows.affinity, self.n_clusters, run.random_state)
        run.affinity = rows.affinity
        dimension = self.subspace_dim

        def refine():
            nonlocal labels, dimension
            residuals = solution.fit_subspaces(
                rows.X, labels, self.n_clusters, dimension, run.random_state
            )
            dimension = solution.bases.shape[1]
            labels = residuals.argmin(1)
            return {"residual": residuals.min(1).mean()}

        run.sweep("subspaces", refine, self.max_iter, self.tol)
        solution.fit_centers(rows.X, self.n_clusters)
        return solution

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Project the rows of X, and scale them to unit norm.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), float32
            The rows as self-expression sees them; ``n_components`` is
            ``latent_dim``, or the number of features where that is None, and then
            one more where subspaces are affine.
        """
        return super().transform(X)
