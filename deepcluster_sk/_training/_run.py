"""A stretch of training with one criterion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skorch.callbacks import Callback
from torch import nn


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
        wide network that is already trained does not survive.
    """

    name: str
    criterion: nn.Module
    epochs: int
    lr: float | None = None
    callbacks: Sequence[Callback] = ()
    corrupt: Callable | None = None
    order: Callable | None = None
    warm_up: int = 0
