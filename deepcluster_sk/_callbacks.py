"""Callbacks: when something happens during training, never what is minimised."""

import numpy as np
from skorch.callbacks import Callback
from tqdm.auto import tqdm

from deepcluster_sk._net import StopTraining


class StopOnPlateau(Callback):
    """End the phase when the loss has stopped falling.

    The mean loss of the last epochs is compared with that of as many before. The
    window is a fifth of the epochs so far, at least ``patience``: the longer the
    training, the smaller the improvements that must be told from noise.

    Parameters
    ----------
    tol : float
        Smallest relative improvement in ``patience`` epochs that counts; 0 never
        stops.
    patience : int, default=10
        Smallest number of epochs in a window.
    """

    def __init__(self, tol, patience=10):
        self.tol = tol
        self.patience = patience

    def on_epoch_end(self, net, **kwargs):
        """Compare the last epochs with those before."""
        losses = net.history[:, "train_loss"]
        window = max(self.patience, len(losses) // 5)
        if self.tol <= 0 or len(losses) < 2 * window:
            return
        before = np.mean(losses[-2 * window : -window])
        fall = (before - np.mean(losses[-window:])) * self.patience / window
        if fall <= self.tol * abs(before):
            raise StopTraining


class CosineDecay(Callback):
    """Let the learning rate of a phase fall to zero along half a cosine.

    Parameters
    ----------
    epochs : int
        Length of the phase.
    """

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_begin(self, net, **kwargs):
        """Set the learning rate of the epoch."""
        done = (len(net.history) - 1) / self.epochs
        for group in net.optimizer_.param_groups:
            group["lr"] = net.lr * 0.5 * (1 + np.cos(np.pi * done))


class Progress(Callback):
    """A progress bar over the epochs of a phase, with the current loss.

    Parameters
    ----------
    name : str
        Name of the phase.
    epochs : int
        Its length.
    """

    def __init__(self, name, epochs):
        self.name = name
        self.epochs = epochs

    def on_train_begin(self, net, **kwargs):
        """Open the bar."""
        self.bar_ = tqdm(total=self.epochs, desc=self.name, unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        """Advance it by one epoch."""
        self.bar_.set_postfix(loss=f"{net.history[-1, 'train_loss']:.4g}")
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        """Close it."""
        self.bar_.close()


def history_rows(history, phase):
    """Rows of ``history_`` for one phase, from skorch's history."""
    rows = []
    for epoch, recorded in enumerate(history, start=1):
        row = {"phase": phase, "epoch": epoch, "loss": recorded["train_loss"]}
        for name, value in recorded.items():
            if np.isscalar(value) and name not in ("train_loss", "train_batch_count"):
                row[name] = value
        rows.append(row)
    return rows
