"""Estimators without a network: closed forms and block updates."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from deepcluster_sk._estimator._base import ClustererTemplate
from deepcluster_sk._threads import threads_for
from deepcluster_sk._training._data import solver_device
from deepcluster_sk._training._net import INFERENCE_ROWS
from deepcluster_sk.solvers._arrays import on_device
from deepcluster_sk.solvers._progress import PhaseBar

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Solution:
    """What a solver has found: the arrays that predict, and how rows take to them.

    A method subclasses it. Its attributes are arrays, numbers and None, which makes
    them the state that is saved; its methods take rows in float64, ``(n, d)``, and
    answer for each row on its own.

    Examples
    --------
    >>> from deepcluster_sk.building import Solution
    >>> class Halves(Solution):
    ...     def __init__(self, border):
    ...         self.border = border
    ...
    ...     def assign(self, X):
    ...         return (X[:, 0] > self.border).astype(int)
    """

    def assign(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """Cluster of each row, ``(n,)``."""
        raise NotImplementedError

    def embed(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """Embedding of each row, ``(n, h)``."""
        raise NotImplementedError

    def row_objective(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """Objective of each row, ``(n,)``."""
        raise NotImplementedError

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        for name in ("centers", "bases"):
            found = getattr(self, name, None)
            if found is not None:
                setattr(self, name, found[order])


class SolverRows:
    """The training data in float64, and what all runs share of it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Validated data.
    device : torch.device or None, default=None
        Where the solver computes; None is the CPU.
    """

    def __init__(self, X, device=None):
        self.X = X.astype(np.float64)
        self.device = device

    def __len__(self):
        return len(self.X)

    def __sizeof__(self):
        """With the data, as that of ``Rows``."""
        return super().__sizeof__() + self.X.nbytes

    def on_device(self, array):
        """An array as the solver takes it: itself, or a tensor of another device."""
        return on_device(array, self.device)


class SolverRun:
    """One run of a solver; what ``Run`` is to methods with a network.

    Attributes
    ----------
    solution : Solution
        What the method's ``_solve`` returned.
    rows : SolverRows
        The training data.
    random_state : numpy.random.RandomState
        Source of every choice.
    history : list of dict
        Rows of ``history_`` so far.
    stop_reason : dict of str to str
        Why each phase so far ended.
    n_reseeded : int
        How often an empty cluster was re-seeded; a warning will say so.
    """

    def __init__(self, rows, random_state, verbose):
        self.solution = None
        self.rows = rows
        self.random_state = random_state
        self.verbose = verbose
        self.history = []
        self.stop_reason = {}
        self.n_reseeded = 0

    @property
    def fitted(self):
        """What predicts: the solution."""
        return self.solution

    @property
    def n_iter(self):
        """Number of sweeps run."""
        return len(self.history)

    def drop_training_state(self):
        """Nothing to drop: there is no training state."""

    def drop_rows(self):
        """Drop what need not travel back from another process."""
        self.rows = None

    def record(self, phase, terms, stop_reason="solved"):
        """Append a row of ``history_``; returns the loss, the sum of the terms."""
        self.stop_reason[phase] = stop_reason
        terms = {name: float(value) for name, value in terms.items()}
        loss = sum(terms.values())
        epoch = 1 + sum(row["phase"] == phase for row in self.history)
        self.history.append({"phase": phase, "epoch": epoch, "loss": loss, **terms})
        return loss

    def sweep(self, phase, update, max_iter, tol):
        """Call ``update() -> terms`` until the loss stops falling.

        Parameters
        ----------
        phase : str
            Appears in ``history_`` and in the progress bar.
        update : callable
            One sweep over all blocks; returns a dict of loss terms.
        max_iter : int
            Largest number of sweeps.
        tol : float
            Smallest relative fall of the loss that counts; 0 never stops early.
        """
        bar = PhaseBar(self.verbose, total=max_iter, desc=phase)
        before, loss, reason = np.inf, np.nan, "max_iter"
        for epoch in range(1, max_iter + 1):
            loss = self.record(phase, update())
            bar.update()
            bar.show(self.history[-1])
            if tol > 0 and epoch > 1 and before - loss <= tol * abs(before):
                reason = "tol"
                break
            before = loss
        bar.show(self.history[-1], reason)
        bar.close()
        self.stop_reason[phase] = reason


def apply_in_chunks(function, X):
    """``function`` of the rows of X in float64, put together as a tensor.

    As in ``ClusterNet.map_rows`` every call sees ``INFERENCE_ROWS`` rows, so that
    the answer for a row does not depend on the rows that come with it.
    """
    X = X.X if isinstance(X, SolverRows) else np.asarray(X, dtype=np.float64)
    parts = []
    for start in range(0, len(X), INFERENCE_ROWS):
        x = X[start : start + INFERENCE_ROWS]
        n = len(x)
        x = np.concatenate([x, np.zeros((INFERENCE_ROWS - n, x.shape[1]))])
        parts.append(function(x)[:n])
    return torch.from_numpy(np.concatenate(parts))


class BaseSolverClusterer(ClustererTemplate):
    """A clusterer that brings its own solver and has no network.

    A method defines ``_solve(run)``, which returns a ``Solution``, and
    ``_solution_class``, the class that it is of; ``_prepare`` where the runs share work
    on the data.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.building import BaseSolverClusterer, Solution
    >>> class Halves(Solution):
    ...     def __init__(self, border):
    ...         self.border = border
    ...
    ...     def assign(self, X):
    ...         return (X[:, 0] > self.border).astype(int)
    ...
    ...     def embed(self, X):
    ...         return X[:, :1] - self.border
    ...
    ...     def row_objective(self, X):
    ...         return -np.abs(X[:, 0] - self.border)
    >>> class MedianCut(BaseSolverClusterer):
    ...     n_clusters, latent_dim = 2, 1
    ...     _solution_class = Halves
    ...
    ...     def _solve(self, run):
    ...         found = Halves(float(np.median(run.rows.X[:, 0])))
    ...         run.sweep("cut", lambda: {"loss": 0.0}, 1, 0)
    ...         return found
    >>> MedianCut().fit_predict([[0.0], [1.0], [8.0], [9.0]])
    array([0, 0, 1, 1], dtype=int32)
    """

    _parameter_constraints: ClassVar[dict] = {
        **ClustererTemplate._parameter_constraints,
        "latent_dim": [Interval(numbers.Integral, 1, None, closed="left")],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left")],
        "alpha": [Interval(numbers.Real, 0, None, closed="neither")],
        "n_init": [Interval(numbers.Integral, 1, None, closed="left")],
        "tol": [Interval(numbers.Real, 0, None, closed="left")],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    _solution_class: ClassVar[type] = Solution

    # Of a method that does not offer it.
    device = "cpu"

    def _solve(self, run):
        """Find the solution; sweeps are recorded by ``run.sweep``."""
        raise NotImplementedError

    def _prepare(self, X):
        return SolverRows(X, solver_device(self.device))

    def _one_run(self, rows, y, seed, checkpoint):
        run = SolverRun(rows, np.random.RandomState(seed), self._verbosity())
        with threads_for(self._preparation_work(rows.X)):
            run.solution = self._solve(run)
        self._evaluate(run)
        return run

    def _row_work(self):
        # Of a product with one matrix as wide as the data, or with a dictionary.
        return self.n_features_in_ * max(self.n_features_in_, self.latent_dim or 0)

    def _preparation_work(self, X):
        return len(X) * self._row_work()

    def _chunk_work(self, fitted):
        return INFERENCE_ROWS * self._row_work()

    def _reorder_clusters(self, run, order):
        run.solution.reorder_clusters(order)
        return True

    def _keep(self, run):
        self.solution_ = run.solution
        super()._keep(run)
        centers = getattr(run.solution, "centers", None)
        if centers is not None:
            self.cluster_centers_ = centers.astype(np.float32)

    def _fitted(self):
        return self.solution_

    def _compute(self, what, fitted, X):
        return apply_in_chunks(getattr(fitted, what), X)

    def _fitted_state(self):
        return vars(self.solution_)

    def _restore_fitted(self, state):
        self.solution_ = self._solution_class(**state)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "solution_")
