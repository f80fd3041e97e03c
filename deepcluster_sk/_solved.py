"""Clusterers without a network: closed forms and block updates in NumPy.

They share ``fit``, validation, seeds, ``n_init``, ``history_`` and the predict path
with the methods that train a network. What a network is to those, a ``Solution`` is
to these: the arrays that ``predict`` needs.
"""

import numbers
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from deepcluster_sk._base import BaseDeepClusterer
from deepcluster_sk._net import INFERENCE_ROWS
from deepcluster_sk._progress import PhaseBar
from deepcluster_sk.parallel import team_rank


class Solution:
    """Fitted arrays, and the way rows take through them.

    Stands where a method with a network has its ``ClusterNet``.

    Attributes
    ----------
    module_ : SimpleNamespace
        Whatever ``_assign``, ``_embed`` and ``_row_objective`` read.
    """

    def __init__(self):
        self.module_ = SimpleNamespace()

    def apply(self, function, X):
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

    def trim_for_prediction(self):
        """Nothing to drop: there is no training state."""


class SolverRows:
    """The training data in float64, and what all runs share of it."""

    def __init__(self, X):
        self.X = X.astype(np.float64)

    def __len__(self):
        return len(self.X)

    def __sizeof__(self):
        """With the data, as that of ``Rows``."""
        return super().__sizeof__() + self.X.nbytes


class SolverRun:
    """One run of a solver; what ``Run`` is to methods with a network.

    Attributes
    ----------
    net : Solution
        Takes the result.
    rows : SolverRows
        The training data.
    random_state : numpy.random.RandomState
        Source of every choice.
    history : list of dict
        Rows of ``history_`` so far.
    stop_reason : dict of str to str
        Why each phase so far ended.
    """

    def __init__(self, rows, random_state, verbose):
        self.net = Solution()
        self.rows = rows
        self.random_state = random_state
        self.verbose = verbose
        self.history = []
        self.stop_reason = {}
        self.n_reseeded = 0

    @property
    def module(self):
        """The arrays that are fitted."""
        return self.net.module_

    @property
    def n_iter(self):
        """Number of sweeps run."""
        return len(self.history)

    def apply(self, function):
        """``function`` of the training rows, in chunks."""
        return self.net.apply(function, self.rows)

    def sweep(self, phase, update, max_epochs, tol):
        """Call ``update() -> terms`` until the loss stops falling.

        Parameters
        ----------
        phase : str
            Appears in ``history_`` and in the progress bar.
        update : callable
            One sweep over all blocks; returns a dict of loss terms.
        max_epochs : int
            Largest number of sweeps.
        tol : float
            Smallest relative fall of the loss that counts; 0 never stops early.
        """
        quiet = not self.verbose or team_rank() > 0
        bar = PhaseBar(total=max_epochs, desc=phase, disable=quiet)
        before, loss, reason = np.inf, np.nan, "max_epochs"
        for epoch in range(1, max_epochs + 1):
            terms = {name: float(value) for name, value in update().items()}
            loss = sum(terms.values())
            self.history.append({"phase": phase, "epoch": epoch, "loss": loss, **terms})
            bar.update()
            bar.show(loss)
            if tol > 0 and epoch > 1 and before - loss <= tol * abs(before):
                reason = "tol"
                break
            before = loss
        bar.show(loss, reason)
        bar.close()
        self.stop_reason[phase] = reason


class BaseSolvedClusterer(BaseDeepClusterer):
    """A clusterer that brings its own solver and has no network.

    A method defines ``_optimize(run)``, which fills ``run.module`` with arrays and
    calls ``run.sweep``, and the hooks ``_assign``, ``_embed`` and
    ``_row_objective`` on float64 arrays.
    """

    _parameter_constraints: ClassVar[dict] = {
        "penalty": [Interval(numbers.Real, 0, None, closed="neither")],
        **{
            name: BaseDeepClusterer._parameter_constraints[name]
            for name in (
                "n_clusters",
                "latent_dim",
                "max_epochs",
                "n_init",
                "tol",
                "verbose",
                "random_state",
            )
        },
    }

    def _validate_settings(self, n_features):
        """There is no network whose settings could be wrong."""

    def _remedy(self):
        return "Scale the data"

    def _rows(self, X):
        return SolverRows(X)

    def _one_run(self, rows, y, seed, checkpoint):
        run = SolverRun(rows, np.random.RandomState(seed), self.verbose)
        self._optimize(run)
        self._evaluate(run)
        return run

    def _module_state(self):
        return vars(self.module_)

    def _restore_module(self, state):
        self.net_ = Solution()
        self.module_ = self.net_.module_
        vars(self.module_).update(state)
