"""Callbacks: when something happens during training, never what is minimised."""

from typing import ClassVar

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.nn.utils import clip_grad_norm_

from deepcluster_sk._training._net import StopTraining, history_rows
from deepcluster_sk.losses._common import BLOCK_ROWS, rows_to_reseed_from
from deepcluster_sk.solvers._progress import PhaseBar


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
            raise StopTraining("tol")


class StopBelow(Callback):
    """End the phase when a loss term is small.

    Parameters
    ----------
    term : str
        Name of the term.
    bound : float
        Mean over an epoch at which the phase ends.
    """

    def __init__(self, term, bound):
        self.term = term
        self.bound = bound

    def on_epoch_end(self, net, **kwargs):
        """Look at the epoch."""
        if net.history[-1, self.term] < self.bound:
            raise StopTraining("learned")


class StopOnSteadyTerm(Callback):
    """End the phase when a loss term hardly changes between two epochs.

    Parameters
    ----------
    term : str
        Name of the term.
    tol : float
        Smaller changes end the phase.
    """

    def __init__(self, term, tol):
        self.term = term
        self.tol = tol

    def on_epoch_end(self, net, **kwargs):
        """Compare the epoch with the one before."""
        values = net.history[-2:, self.term]
        if len(values) == 2 and abs(values[1] - values[0]) < self.tol:
            raise StopTraining("tol")


class WeightSchedule(Callback):
    """Change the weight of a loss term linearly over the epochs of a phase.

    Parameters
    ----------
    criterion : Criterion
        It has ``weights``, a dict of the names of its terms.
    term : str
        Name of the term.
    first, last : float
        Its weight in the first epoch, and in the last.
    epochs : int
        Length of the phase.
    """

    def __init__(self, criterion, term, first, last, epochs):
        self.criterion = criterion
        self.term = term
        self.first = first
        self.last = last
        self.epochs = epochs

    def on_epoch_begin(self, net, **kwargs):
        """Set the weight of the epoch."""
        done = (len(net.history) - 1) / max(self.epochs - 1, 1)
        weight = self.first + done * (self.last - self.first)
        self.criterion.weights[self.term] = weight


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


class TrackLabels(Callback):
    """Record the share of labels that an epoch changed, and re-seed empty clusters.

    Parameters
    ----------
    memory : LabelMemory
        Of the criterion, which keeps it up to date.
    reseed : callable
        ``reseed(clusters)`` moves the given empty clusters to other rows.
    patience : int, default=1
        Number of epochs that a cluster must have been empty.
    """

    def __init__(self, memory, reseed, patience=1):
        self.memory = memory
        self.reseed = reseed
        self.patience = patience

    def on_epoch_end(self, net, **kwargs):
        """Look at what the epoch did, and start counting again."""
        memory = self.memory
        net.history.record("label_change", float(memory.n_changed) / len(memory.labels))
        memory.n_changed.zero_()
        if len(net.history) % self.patience:
            return
        empty = (memory.sizes == 0).nonzero().flatten()
        if len(empty):
            self.reseed(empty)
        memory.sizes.zero_()


class ReseedUnused(Callback):
    """Now and then, re-seed clusters that no sample chose.

    Parameters
    ----------
    run : Run
    criterion : Criterion
        Its ``counts``, ``(k,)``, are how often each cluster was chosen; its ``last``
        are the codes, ``(n, h)``, of the last batch and their labels.
    after : int, default=0
        Rows that must have been seen before a cluster counts as empty. It is looked
        for at the end of epochs.
    """

    def __init__(self, run, criterion, after=0):
        self.run = run
        self.criterion = criterion
        self.after = after

    def on_epoch_end(self, net, **kwargs):
        """Move each empty centroid to one of the codes farthest from theirs."""
        module, criterion = net.module_, self.criterion
        net.history.record("n_used", int((criterion.counts > 0).sum()))
        if criterion.counts.sum() < self.after:
            return
        empty = (criterion.counts == 0).nonzero().flatten()
        if criterion.last is not None and len(empty):
            embedding, labels = criterion.last
            distance = (embedding - module.centers[labels]).square().sum(1)
            far = rows_to_reseed_from(distance, len(empty))
            codes = embedding[far[distance[far] > 0]]
            self.run.n_reseeded += module.reseed(empty, codes)
        criterion.counts.zero_()


class AfterStep(Callback):
    """Do something with each batch when the optimizer has made its step.

    Parameters
    ----------
    function : callable
        ``function(module, x)`` gets the module and the rows of the batch, without
        gradients.
    """

    reads_losses: ClassVar[bool] = False

    def __init__(self, function):
        self.function = function

    def on_batch_end(self, net, batch, **kwargs):
        """Call the function."""
        with torch.no_grad():
            self.function(net.module_, batch[0])


class ClipGradients(Callback):
    """Clip each parameter's gradient norm.

    Parameters
    ----------
    max_norm : float
        The largest norm.
    """

    def __init__(self, max_norm):
        self.max_norm = max_norm

    def on_grad_computed(self, net, named_parameters, **kwargs):
        """Clip them in place."""
        for _, parameter in named_parameters:
            clip_grad_norm_(parameter, self.max_norm)


class StopOnStableLabels(Callback):
    """End the phase when labels have hardly changed for some epochs.

    Another callback, earlier in the list, records "label_change".

    Parameters
    ----------
    tol : float
        Share of the labels; epochs in which fewer changed count as stable.
    patience : int, default=5
        Number of stable epochs in a row.
    """

    def __init__(self, tol, patience=5):
        self.tol = tol
        self.patience = patience

    def on_epoch_end(self, net, **kwargs):
        """Look at the last epochs."""
        changes = net.history[-self.patience :, "label_change"]
        if len(changes) == self.patience and max(changes) < self.tol:
            raise StopTraining("tol")


class StopOnSteadyRows(StopOnStableLabels):
    """End the phase when the labels of some rows, without noise, have hardly changed.

    Parameters
    ----------
    run : Run
        Its rows are looked at.
    assign : callable
        ``assign(module, x)`` are the labels of rows.
    tol : float
        Share of the labels; epochs in which fewer changed count as stable.
    patience : int, default=5
        Number of stable epochs in a row.
    """

    def __init__(self, run, assign, tol, patience=5):
        super().__init__(tol, patience)
        self.run = run
        self.assign = assign

    def on_train_begin(self, net, **kwargs):
        """Label the rows for the first time."""
        self.labels_ = self._label(net)

    def on_epoch_end(self, net, **kwargs):
        """Record the share of the labels that the epoch changed."""
        before, self.labels_ = self.labels_, self._label(net)
        change = int((self.labels_ != before).sum()) / len(before)
        net.history.record("label_change", change)
        super().on_epoch_end(net, **kwargs)

    def _label(self, net):
        return self.run.apply(lambda x: self.assign(net.module_, x))


class Progress(Callback):
    """A progress bar over the epochs of a phase, with the loss of the last one.

    Parameters
    ----------
    name : str
        Name of the phase.
    epochs : int
        Its length.
    verbose : int
        Above 1, the terms of the loss are shown, too.
    """

    def __init__(self, name, epochs, verbose):
        self.name = name
        self.epochs = epochs
        self.verbose = verbose

    def on_train_begin(self, net, **kwargs):
        """Open the bar."""
        self.bar_ = PhaseBar(
            self.verbose, total=self.epochs, desc=self.name, unit="epoch"
        )

    def on_epoch_end(self, net, **kwargs):
        """Advance it by one epoch."""
        self.bar_.show(self._last_row(net))
        self.bar_.update(len(net.history) - self.bar_.n)

    def on_train_end(self, net, **kwargs):
        """Say why the phase ended, and close it."""
        self.bar_.show(self._last_row(net), net.stop_reason_)
        self.bar_.close()

    def _last_row(self, net):
        return history_rows(net.history[-1:], self.name)[0]


class RefreshTarget(Callback):
    """Recompute the target from the whole data every few epochs; stop when it is still.

    Parameters
    ----------
    run : Run
        The training run. Its module has ``assign`` and ``reseed_clusters``.
    criterion : Criterion
        Its ``target``, of shape (n, k), is filled in.
    target_of : callable
        ``target_of(assignment, sizes)`` is the target that soft assignments of some
        rows make, with their sums over all rows.
    every : int
        Number of epochs between refreshes.
    tol : float
        Training stops when a smaller share of the labels changes.
    """

    def __init__(self, run, criterion, target_of, every, tol):
        self.run = run
        self.criterion = criterion
        self.target_of = target_of
        self.every = every
        self.tol = tol

    def on_train_begin(self, net, **kwargs):
        """Make the first target."""
        self.labels_ = None
        self._refresh(net)

    def on_epoch_end(self, net, **kwargs):
        """Make the next one when it is due."""
        if len(net.history) % self.every:
            return
        before = self.labels_
        self._refresh(net)
        change = int((self.labels_ != before).sum()) / len(before)
        net.history.record("label_change", change)
        if change < self.tol:
            raise StopTraining("tol")

    def _refresh(self, net):
        module = net.module_

        def assigned(x):
            output = module(x)  # once: it is the encoder's result that is kept
            return output.embedding, output.assignment

        embedding, assignment = self.run.apply(assigned)
        sizes = assignment.argmax(1).bincount(minlength=assignment.shape[1])
        empty = (sizes == 0).nonzero().flatten()
        if len(empty):
            module.reseed_clusters(empty, embedding, assignment)
            self.run.n_reseeded += len(empty)
            with torch.no_grad():
                assignment = module.assign(embedding)
        self.labels_ = assignment.argmax(1)
        sizes = assignment.sum(0)
        # In blocks: copies of all of it would not fit where it does itself.
        targets = self.criterion.target.split(BLOCK_ROWS)
        for target, block in zip(targets, assignment.split(BLOCK_ROWS), strict=True):
            target.copy_(self.target_of(block, sizes))
