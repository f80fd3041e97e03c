"""One training run: its phases, and what a method may look at between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk._training import _distributed as distributed
from deepcluster_sk._training._callbacks import Progress
from deepcluster_sk._training._data import Rows
from deepcluster_sk._training._net import history_rows
from deepcluster_sk.solvers._arrays import on_exact_device

# Moved copies of each row, where rows are compared; rows that are moved at once: about
# a batch, as an augmentation expects.
N_COPIES, AUGMENTED_ROWS = 8, 512


@dataclass(frozen=True)
class Phase:
    """What is minimised, for how long and how.

    Parameters
    ----------
    name : str
        Appears in ``history_``, in the progress bar and in errors.
    criterion : torch.nn.Module
        ``criterion(output, x, index)`` returns a dict of terms, whose sum is the
        loss. Per-sample targets are buffers of it, read by ``index``.
    epochs : int
        Largest number of passes over the data.
    lr : float or None, default=None
        Learning rate; None takes the estimator's.
    callbacks : sequence of skorch callbacks, default=()
        Those of this phase only: when targets are refreshed, when to stop.
    corrupt : callable or None, default=None
        ``corrupt(x, generator)`` returns what the module sees instead of ``x``.
    order : callable or None, default=None
        ``order(generator)`` returns the permutation of an epoch's rows, which is
        then cut into batches; None takes a random one.
    warm_up : int, default=0
        Number of steps in which learning rates rise, linearly, to what they would be
        without it. A fresh Adam moves every weight by the whole rate at once, which a
        wide network that is already trained is damaged by.
    rows : Rows or None, default=None
        The rows to train on, which ``index`` then counts; None takes the training data.
    batch_size : int or None, default=None
        Largest number of rows in a batch; None takes the estimator's.

    Examples
    --------
    >>> from deepcluster_sk.building import Phase, Reconstruction
    >>> Phase("pretrain", Reconstruction(), epochs=20, lr=1e-3).name
    'pretrain'
    """

    name: str
    criterion: nn.Module
    epochs: int
    lr: float | None = None
    callbacks: Sequence[Callback] = ()
    corrupt: Callable | None = None
    order: Callable | None = None
    warm_up: int = 0
    rows: Rows | None = None
    batch_size: int | None = None


class Run:
    """One training run: what a method's ``_phases`` may look at between phases.

    Attributes
    ----------
    net : ClusterNet
        The net, which trains the module.
    rows : Rows
        The training data on the device; ``rows.X`` is the matrix.
    y : ndarray or None
        What the method reads of the ``y`` that the user passed.
    random_state : numpy.random.RandomState
        Source of every choice made outside torch.
    history : list of dict
        Rows of ``history_`` so far.
    n_iter : int
        Number of epochs or sweeps so far.
    stop_reason : dict of str to str
        Why each phase so far ended.
    n_reseeded : int
        How often an empty cluster was re-seeded; a warning will say so.
    is_warm : bool
        Whether the module is that of the fit before (``warm_start``). Then phases that
        only prepare the clustering are to be left out.

    Examples
    --------
    The library makes it. A method reads it in ``_phases``:

    >>> from deepcluster_sk import Autoencoder
    >>> class Method(Autoencoder):
    ...     def _phases(self, run):
    ...         print("rows:", len(run.rows))
    ...         yield from super()._phases(run)
    ...         print("codes:", tuple(run.apply(run.module.encode).shape))
    >>> X = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    >>> model = Method(latent_dim=1, hidden_layer_sizes=(), max_epochs=1).fit(X)
    rows: 3
    codes: (3, 1)
    """

    def __init__(
        self,
        net: Any,
        rows: Any,
        y: Any,
        random_state: Any,
        callbacks: Any = (),
        verbose: Any = 0,
        checkpoint: Any = None,
    ) -> None:
        self.net = net
        self.rows = rows
        self.y = y
        self.random_state = random_state
        self.callbacks = callbacks
        if verbose and distributed.process_rank():
            verbose = 0  # one process speaks for all
        self.verbose = verbose
        self.history = []
        self.n_iter = 0
        self.stop_reason = {}
        self.n_reseeded = 0
        self.is_warm = False
        self.checkpoint = checkpoint

    @property
    def module(self) -> Any:
        """The module being trained."""
        return self.net.module_

    def apply(self, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """``function`` of the training rows, in chunks and without gradients."""
        return self.net.apply(function, self.rows)

    def exact(self, values: torch.Tensor) -> Any:
        """Values in float64: where they are if that knows it, else a host's array."""
        array = values.cpu().numpy().astype(np.float64)
        return on_exact_device(array, values.device)

    @property
    def fitted(self) -> Any:
        """What predicts: the net."""
        return self.net

    def drop_training_state(self) -> None:
        """Drop what only training needs of the net."""
        self.net.trim_for_prediction()

    def drop_rows(self) -> None:
        """Drop what need not travel back from another process."""
        self.rows = self.y = None
        self.callbacks = ()

    def generator(self) -> Any:
        """A new source of random numbers on the device, for noise in a criterion."""
        seed = self.random_state.randint(np.iinfo(np.int32).max)
        return torch.Generator(self.rows.device).manual_seed(seed)

    def sample(self, n_rows: int) -> tuple[Any, torch.Tensor]:
        """The same run, seen on some of its rows, drawn at random.

        Parameters
        ----------
        n_rows : int
            How many rows at most.

        Returns
        -------
        run : Run
            Its rows are in memory.
        index : Tensor of shape (min(n_rows, n),), int64
            Their positions among the training rows, in increasing order.
        """
        rows, n = self.rows, len(self.rows)
        order = torch.from_numpy(self.random_state.permutation(n)[:n_rows])
        index = order.sort().values
        if n > n_rows or type(rows) is not Rows:
            rows = Rows(rows[index].cpu().numpy(), rows.device)
        part = Run(self.net, rows, None, self.random_state, verbose=self.verbose)
        return part, index.to(rows.device)

    def moved_copies(self) -> Any:
        """What the estimator's augmentation makes of the training rows, eight times.

        Returns
        -------
        copies : iterator of Tensors of shape (n, d), or None
            None if there is no augmentation. Each is made when it is asked for.
        """
        if self.net.augmentation is None:
            return None
        generator = self.generator()
        parts = torch.arange(len(self.rows), device=self.rows.device)
        parts = parts.split(AUGMENTED_ROWS)
        return (
            torch.cat([self.net.augmented(self.rows[i], generator) for i in parts])
            for _ in range(N_COPIES)
        )

    def train(self, phase: Phase) -> None:
        """Train through one phase and keep its history."""
        if phase.epochs <= 0:
            return
        net = self.net
        callbacks = list(self.callbacks)
        if self.verbose:
            callbacks.append(Progress(phase.name, phase.epochs, self.verbose))
        saved = None if self.checkpoint is None else self.checkpoint.next_phase(self)
        rows = self.rows if phase.rows is None else phase.rows
        net.train_phase(rows, phase, callbacks, saved)
        distributed.check_weights(
            phase.name, network=net.module_, criterion=net.criterion_
        )
        self.record(history_rows(net.history, phase.name), net.stop_reason_)

    def record(self, rows: list[dict[str, Any]], stop_reason: str) -> None:
        """Append a phase's rows of ``history_``, and why it ended."""
        self.history += rows
        self.stop_reason[rows[-1]["phase"]] = stop_reason
        self.n_iter += len(rows)
