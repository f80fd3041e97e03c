"""``partial_fit``, for methods that learn from batches that arrive over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.utils import check_random_state

from deepcluster_sk._estimator._decorators import fit_context
from deepcluster_sk._estimator._validation import check_data, check_same_call
from deepcluster_sk._threads import threads_for
from deepcluster_sk._training import _distributed as distributed
from deepcluster_sk._training._run import Run
from deepcluster_sk.exceptions import ConvergenceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class PartialFitMixin:
    """``partial_fit``: one pass over the rows of each batch.

    A method defines ``_start(run)``, a generator of the phases before the clustering,
    and ``_partial_phase(run, criterion)``, the phase of one pass; ``criterion`` is that
    of the pass before, or None in the first one.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk import PCX
    >>> model = PCX(2, latent_dim=1, hidden_layer_sizes=(8,), random_state=0)
    >>> for part in np.random.RandomState(0).randn(3, 20, 4):
    ...     model = model.partial_fit(part)
    >>> model.predict(part).shape
    (20,)
    """

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on one batch of a stream: one pass over its rows.

        The first call, on an estimator that is not fitted, pretrains on its batch
        and places the centroids, so it should bring at least some hundred rows. There
        is no burn-in. After ``fit``, training continues from where it ended, with a new
        optimizer, as it does after ``deepcluster_sk.load``. Clusters keep the numbers
        that they had after the first call, or after ``fit``, whatever their sizes
        become. ``checkpoint`` is for ``fit`` alone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the stream; the first time at least ``n_clusters`` of them. More
            than ``batch_size`` rows are split.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The estimator, fitted to the stream so far.

        Raises
        ------
        ValueError
            If X or a parameter is refused; what was fitted before stays.
        ConvergenceError
            If a loss term or the embedding is no longer finite. The estimator is
            then left unfitted.
        """
        first = not self.__sklearn_is_fitted__()
        try:
            self._partial_fit(X, first)
        except BaseException as error:
            if first or isinstance(error, ConvergenceError):
                self._remove_fitted()
            raise
        return self

    def _partial_fit(self, X, first):
        X = self._validate_training_data(X) if first else check_data(self, X)
        rows = self._prepare(X)
        check_same_call(self, X, None, rows)
        if first or self.net_.optimizer_ is None:
            run = self._begin_stream(rows, first)
        else:
            run = self._stream_run(self.net_, rows)
            with threads_for(self._step_work(run)):
                self._train_on_batch(run, run.net.criterion_)
        self._evaluate(run, renumber=False)  # users have seen the numbers
        with threads_for(self._chunk_work(run.net)):
            self._keep(run)

    def _stream_run(self, net, rows):
        """A run that continues where the fitted estimator, if it is one, stopped."""
        random_state = np.random.RandomState(net.seed)
        run = Run(net, rows, None, random_state, self.callbacks or (), self.verbose)
        self._recall(run)
        return run

    def _begin_stream(self, rows, first):
        """Make a net that keeps its optimizer, started or filled, and train it."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        net = self._make_net(
            rows.X.shape[1], rows.device, distributed.from_first_process(seed)
        )
        run = self._stream_run(net, rows)
        if not first:
            net.module_.load_state_dict(self.module_.state_dict())
        with threads_for(self._step_work(run)):
            for phase in self._start(run) if first else ():
                run.train(phase)
            self._train_on_batch(run, None)
        return run

    def _train_on_batch(self, run, criterion):
        run.train(self._partial_phase(run, criterion))
        run.net.release_rows()  # this net is kept
        self._warn_about(run)
