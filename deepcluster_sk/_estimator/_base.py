"""The template of every estimator: one ``fit``, and the path of every prediction."""

from __future__ import annotations

import numbers
from collections import Counter
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk._estimator._decorators import fit_context
from deepcluster_sk._estimator._documentation import DocumentationLinkMixin
from deepcluster_sk._estimator._multistart import best_run
from deepcluster_sk._estimator._saving import write_estimator
from deepcluster_sk._estimator._validation import check_data, check_same_call
from deepcluster_sk._threads import threads_for
from deepcluster_sk._training import _distributed as distributed
from deepcluster_sk.exceptions import ClusterCollapseWarning, ConvergenceError, warn
from deepcluster_sk.solvers._partitions import order_of_clusters, renumbered

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    F = TypeVar("F", bound=Callable[..., Any])

# Reordered columns of a product may differ in their last digits, and so move a row that
# lies between two clusters. Then the order is looked at again, so often at most.
MAX_NUMBERINGS = 5
# Fitted attributes with entries for each row, which a copy of an estimator leaves out.
OF_ALL_ROWS = ("affinity_matrix_", "assignment_")
INSTEAD_OF_WEIGHTS = (
    "Rows of deepcluster_sk weigh alike. Keep each of them with a probability in the "
    "proportion of its weight, fit these, and predict all: "
    "model.fit(X[rng.random(len(X)) < w / max(w)]).predict(X)."
)
# A larger share of rows that moved is no rounding.
MAX_MOVED_SHARE = 0.01


def index_of_smallest(values):
    """Position of the smallest value of each row, ``(n, k) -> (n,)``.

    -1 where it is not finite: such a row has no cluster, and must get no label.
    """
    value, position = values.min(1)
    return torch.where(value.isfinite(), position, -1)


def plainly_named(method: F) -> F:
    """Let a method be called by its own name in Python's errors.

    ``DEC().fit(X, sample_weight=w)`` would name the private class that defines it.
    """
    method.__qualname__ = method.__name__
    return method


def tells_of_weights(fit: F) -> F:
    """Let Python's error about ``sample_weight`` say what to do without it."""

    @wraps(fit)
    def fit_or_tell(*args, **kwargs):
        try:
            return fit(*args, **kwargs)
        except TypeError as error:
            if "sample_weight" in kwargs:
                error.add_note(INSTEAD_OF_WEIGHTS)
            raise

    return fit_or_tell


class EstimatorTemplate(
    DocumentationLinkMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """What ``fit``, ``transform`` and ``score`` do, whatever is fitted.

    Two families stand on it: ``BaseDeepEstimator`` fits a network, and
    ``BaseSolverClusterer`` a ``Solution``, arrays found by a solver. What a family or a
    method may define is listed in :mod:`deepcluster_sk.building`.
    """

    # What a parameter is for an estimator that does not offer it.
    n_init: int | Literal["auto"] = 1
    verbose: int = 0
    random_state: int | np.random.RandomState | None = None
    checkpoint: str | os.PathLike[str] | None = None
    warm_start: bool = False

    if TYPE_CHECKING:  # what scikit-learn's bases bring, which tell no types
        n_features_in_: int
        feature_names_in_: NDArray[np.object_]
        history_: list[dict[str, Any]]
        n_iter_: int
        n_epochs_: dict[str, int]
        objective_: float

        def fit_transform(
            self, X: ArrayLike, y: object = None, **fit_params: Any
        ) -> NDArray[np.float32]:
            """Fit, then embed the rows of X."""

        def get_feature_names_out(self, input_features: object = None) -> NDArray[Any]:
            """Names of the columns that ``transform`` returns."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """Parameters of the constructor, by name."""

        def set_params(self, **params: Any) -> Self:
            """Change parameters of the constructor."""

        def set_output(self, *, transform: str | None = None) -> Self:
            """Choose what container ``transform`` returns."""

    # Whether data on disk stays there: methods that never look at all rows at once.
    _out_of_core: ClassVar[bool] = False
    # Whether a sparse matrix is taken.
    _accepts_sparse: ClassVar[bool] = False
    # Whether a tensor of another device than the CPU stays where it is.
    _keeps_device_tensors: ClassVar[bool] = False

    # --- what a family defines ------------------------------------------------

    def _prepare(self, X):
        """Validated data, ready for training; the same for all runs."""
        raise NotImplementedError

    def _one_run(self, rows, y, seed, checkpoint):
        """A run from one seed, trained; ``run.fitted`` is what predicts."""
        raise NotImplementedError

    def _compute(self, what, fitted, X):
        """``what`` of rows, such as "embed" or "assign", as a tensor."""
        raise NotImplementedError

    def _fitted(self):
        """What predicts, of this fitted estimator."""
        raise NotImplementedError

    def _preparation_work(self, X):
        """Multiplications in ``_prepare``: none, where it only converts."""
        return 0

    def _chunk_work(self, fitted):
        """Multiplications in the prediction of a chunk of rows."""
        raise NotImplementedError

    def _fitted_state(self):
        """What predicts, as arrays and plain values, for a file."""
        raise NotImplementedError

    def _restore_fitted(self, state):
        """Undo ``_fitted_state``."""
        raise NotImplementedError

    # --- what a method may define ---------------------------------------------

    def _n_runs(self):
        """Number of starts; the one with the lowest objective is kept."""
        return self.n_init

    def _validate_settings(self, n_features):
        """Refuse parameters that do not fit one another, or the data."""

    def _check_size(self, n_samples, n_features):
        """Refuse or announce a fit whose cost grows with the square of the rows."""

    def _verbosity(self):
        """``verbose``, in the first of several processes; 0 in the others."""
        return self.verbose if distributed.process_rank() == 0 else 0

    def _validate_target(self, X, y):
        """What the method reads of ``y``: nothing, whatever it holds."""
        return None

    def _advice(self):
        """What to do when numbers are no longer finite, for the error."""
        return "Scale the data"

    def _objective(self, fitted, X):
        """Objective of rows: the mean of the rows' own ones."""
        # On the CPU: not every device has float64.
        return float(self._compute("row_objective", fitted, X).cpu().double().mean())

    # --- fit ------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    @tells_of_weights
    @plainly_named
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on the rows of X.

        Where an estimator has ``warm_start=True`` and is fitted, this goes on from
        there; if it is refused or fails, what was fitted before stays.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Real numbers of any dtype; they are converted to float32.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or a parameter is refused, before any training.
        MemoryError
            If a setting needs an array of n_samples x n_samples that is too large.
        ConvergenceError
            If a loss term or the embedding is no longer finite.
        """
        is_warm = self._is_warm()
        if not is_warm:
            self._remove_fitted()
        try:
            self._fit(X, y)
        except BaseException:
            if not is_warm:
                self._remove_fitted()
            raise
        return self

    def _is_warm(self):
        """Whether a fit goes on from the one before."""
        return self.warm_start and self.__sklearn_is_fitted__()

    def _remove_fitted(self):
        """Remove every fitted attribute: nothing half-fitted is left."""
        for name in [n for n in vars(self) if n.endswith("_") and n[0] != "_"]:
            delattr(self, name)

    def _fit(self, X, y):
        X = self._validate_training_data(X)
        y = self._validate_target(X, y)
        with threads_for(self._preparation_work(X)):
            rows = self._prepare(X)
        random_state = check_random_state(self.random_state)
        largest = np.iinfo(np.int32).max
        n_runs = 1 if self._is_warm() else self._n_runs()
        seeds = [random_state.randint(largest) for _ in range(n_runs)]
        check_same_call(self, X, y, rows)
        run = best_run(self, X, y, rows, distributed.from_first_process(seeds))
        run.rows = rows
        run.drop_training_state()
        with threads_for(self._chunk_work(run.fitted)):
            self._keep(run)
        self._warn_about_result(run)

    def _evaluate(self, run, renumber=True):
        """Fill in what is known of a run once it is trained."""
        with threads_for(self._chunk_work(run.fitted)):
            run.objective = self._objective(run.fitted, run.rows)
        if not np.isfinite(run.objective):
            self._diverged(f"the objective at the end is {run.objective}")

    def _warn_about(self, run):
        """Tell the user what a run met; called once for each."""

    def _warn_about_result(self, run):
        """Tell the user what is wrong with the run that was kept."""

    def _diverged(self, what):
        raise ConvergenceError(f"Training diverged: {what}. {self._advice()}.")

    def _keep(self, run):
        """Make fitted attributes of the best run."""
        self.history_ = run.history
        self.n_iter_ = run.n_iter
        self.n_epochs_ = dict(Counter(row["phase"] for row in run.history))
        self.stop_reason_ = run.stop_reason
        self.objective_ = run.objective
        self._n_features_out = self.latent_dim

    # --- validation -----------------------------------------------------------

    def _validate_training_data(self, X):
        X = check_data(self, X, reset=not self._is_warm())
        self._validate_settings(X.shape[1])
        self._check_size(*X.shape)
        return X

    # --- the predict path -----------------------------------------------------

    def _map(self, what, X):
        """``what`` of the rows of X, as a float32 or integer array."""
        check_is_fitted(self)
        X, fitted = check_data(self, X), self._fitted()
        with threads_for(self._chunk_work(fitted)):
            return self._checked(self._compute(what, fitted, X))

    def _checked(self, result, name="X"):
        """A tensor of results, or of labels, as an array without unknown values."""
        result = result.cpu().numpy()
        if result.dtype.kind == "f":
            with np.errstate(over="ignore"):
                result = result.astype(np.float32, copy=False)
        known = np.isfinite(result) if result.dtype.kind == "f" else result >= 0
        if not known.all():
            row = known.reshape(len(known), -1).all(axis=1).argmin()
            raise ValueError(
                f"Row {row} of {name} is beyond float32 on its way through "
                f"{type(self).__name__}: its values are too large, or too far from "
                "the training data. Scale the data, training data included."
            )
        return result

    @plainly_named
    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Embed the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, latent_dim), float32
            The code of each row.
        """
        return self._map("embed", X)

    @plainly_named
    def score(self, X: ArrayLike, y: object = None) -> float:
        """Minus the objective per sample: larger is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            On the training data, ``-objective_``.
        """
        check_is_fitted(self)
        X, fitted = check_data(self, X), self._fitted()
        with threads_for(self._chunk_work(fitted)):
            score = -self._objective(fitted, X)
        if not np.isfinite(score):
            raise ValueError(
                f"The objective of {type(self).__name__} on X is beyond float32: some "
                "values are too large, or too far from the training data. Scale the "
                "data, training data included."
            )
        return score

    # --- files ----------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a file, for ``deepcluster_sk.load``.

        The file is in the safetensors format and holds arrays and plain values, no
        code. It appears in one step: a process that is killed leaves the old file or
        the new one.

        Parameters
        ----------
        path : str or path-like
            The file; it is replaced if it exists.

        Raises
        ------
        NotFittedError
            If there is nothing to save yet.
        TypeError
            If the estimator is of a class that is not in ``deepcluster_sk``, or has
            an attribute that is no plain data.
        """
        check_is_fitted(self)
        write_estimator(self, path)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted network in the ONNX format, to predict without Python.

        The input is ``X``, float32 of shape (n_samples, n_features). The outputs are
        ``label`` (int64, where there are clusters), ``embedding`` and, where the
        estimator has ``predict_proba``, ``probabilities``. What ``predict`` refuses
        because it is beyond float32 has the label -1. Steps of a pipeline before the
        estimator are not in the file.

        Parameters
        ----------
        path : str or path-like
            The file; it is replaced if it exists.

        Raises
        ------
        NotFittedError
            If there is nothing to write yet.
        TypeError
            If the estimator has no network.
        ValueError
            If its network computes in bfloat16, or has a step that ONNX does not know.
        ImportError
            If the extra ``onnx`` is not installed.
        """
        check_is_fitted(self)
        if not hasattr(self, "module_"):
            raise TypeError(
                f"{type(self).__name__} has no network to write in the ONNX format. "
                "Use save, and deepcluster_sk.load where there is Python."
            )
        from deepcluster_sk._estimator._onnx import write_onnx

        write_onnx(self, path)

    def __getstate__(self):
        """Leave out what grows with the number of samples."""
        state = super().__getstate__()
        return {key: state[key] for key in state if key not in OF_ALL_ROWS}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.sparse = self._accepts_sparse
        return tags


class ClustererTemplate(ClusterMixin, EstimatorTemplate):
    """What an estimator does that assigns each row to one of ``n_clusters`` clusters.

    A family computes "assign": the cluster of each row, -1 for none.
    """

    if TYPE_CHECKING:
        n_clusters: int
        labels_: NDArray[np.int32]

        def fit_predict(
            self, X: ArrayLike, y: object = None, **fit_params: Any
        ) -> NDArray[np.int32]:
            """Fit, and return the labels of the rows of X."""

    _parameter_constraints: ClassVar[dict] = {
        "n_clusters": [Interval(numbers.Integral, 1, None, closed="left")],
    }
    max_clusters = None  # for n_clusters="auto"

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        n_samples = X.shape[0]  # data on disk may have no len
        if n_samples < self._number_of_clusters():
            raise ValueError(
                f"n_samples={n_samples} should be >= n_clusters={self.n_clusters}."
            )
        return X

    def _number_of_clusters(self):
        """Number k of clusters of a run; of "auto" 1 as long as it is not known."""
        k = getattr(self, "n_clusters_", self.n_clusters)
        return 1 if k == "auto" else k

    def _evaluate(self, run, renumber=True):
        # Labels first: columns of a product that change places may change last digits.
        self._label(run)
        if renumber and run.labels.min() >= 0:
            self._number_clusters(run)
        super()._evaluate(run)
        if run.labels.min() < 0:
            self._diverged(f"row {run.labels.argmin()} of X has no finite embedding")

    def _label(self, run):
        """Label the training rows through the predict path."""
        with threads_for(self._chunk_work(run.fitted)):
            labels = self._compute("assign", run.fitted, run.rows)
        run.labels = labels.cpu().numpy().astype(np.int32)

    def _number_clusters(self, run):
        """Number clusters by size, ties by their first row; empty ones come last."""
        for _ in range(MAX_NUMBERINGS):
            order = order_of_clusters(run.labels, self._number_of_clusters())
            if (order == np.arange(len(order))).all():
                return
            wanted = renumbered(run.labels, order)
            complete = self._reorder_clusters(run, order)
            self._label(run)
            if not complete and (run.labels != wanted).mean() > MAX_MOVED_SHARE:
                # The module has more for a cluster than what was reordered.
                self._reorder_clusters(run, np.argsort(order))
                self._label(run)
                return

    def _reorder_clusters(self, run, order):
        """Let what a run has for each cluster take an order.

        Returns whether that is known to be all that it has.
        """
        raise NotImplementedError

    def _warn_about(self, run):
        """Tell the user of clusters that lost all their samples."""
        if run.n_reseeded:
            times = "once" if run.n_reseeded == 1 else f"{run.n_reseeded} times"
            warn(
                f"A cluster of {type(self).__name__} lost all its samples and was "
                f"re-seeded from others, {times}.",
                ClusterCollapseWarning,
            )

    def _keep(self, run):
        super()._keep(run)
        self.labels_ = run.labels
        if self.max_clusters is not None:
            self.n_clusters_ = int(self._number_of_clusters())

    def _warn_about_result(self, run):
        n_used, k = len(np.unique(run.labels)), self._number_of_clusters()
        if n_used < k:
            warn(
                f"{type(self).__name__} uses {n_used} of {k} clusters: "
                "the others ended without samples. Fewer clusters, or more starts "
                "(n_init), may suit the data better.",
                ClusterCollapseWarning,
            )

    @plainly_named
    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Assign the rows of X to clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Indices of clusters, from 0 to ``n_clusters - 1``. In the training data 0
            is the largest cluster, and so on; equally large ones come in the order
            of their first rows.
        """
        return self._map("assign", X).astype(np.int32)
