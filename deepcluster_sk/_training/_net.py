"""The one file that knows skorch's training loop, and the step in it.

``ClusterNet`` is a ``skorch.NeuralNet`` whose epoch is a plain loop over slices of
a tensor. What skorch does per batch and nobody reads (a history row, ``.item()``,
notifying callbacks that do not listen) is left out; callbacks that do listen to
batches still get them.
"""

from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from scipy.sparse import issparse
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping

from deepcluster_sk._training import _distributed as distributed
from deepcluster_sk._training._data import Batches, Rows, dense, rows_of
from deepcluster_sk._training._random import SeededGenerators
from deepcluster_sk.exceptions import ConvergenceError

INFERENCE_ROWS = 512
# Batches between two readings of the losses. Each reading waits for the device; but
# scalars kept for long fragment the memory between the batches, whose freed space
# then fits no other batch: 700 kB a batch were lost on a long epoch.
LOSS_BATCHES = 64


class StopTraining(Exception):
    """Raised by a callback to end the current phase.

    skorch's own signal is ``KeyboardInterrupt``, which cannot be told from Ctrl-C.

    Parameters
    ----------
    reason : str, default="callback"
        What ``stop_reason_`` will say; "tol" where the tolerance ended the phase.
    """

    def __init__(self, reason="callback"):
        super().__init__(reason)
        self.reason = reason


def _describe(value):
    """Type of a value, or the shape of a tensor, in words."""
    if isinstance(value, torch.Tensor):
        return f"one of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _initialized(callbacks):
    return [(type(c).__name__, c.initialize() or c) for c in callbacks]


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


def loss_terms(criterion, output, x, index):
    """The terms of a batch, each part of the criterion on the rows that it asks for.

    Parameters
    ----------
    criterion : torch.nn.Module
        One criterion, or several in its attribute ``criteria``. Where its
        ``compares_rows`` is true it gets the whole batch, otherwise the rows of this
        process; its ``observe`` always gets the whole batch.
    output : object
        What the module returned for the rows of this process.
    x, index : Tensors of shape (n, d) and (n,)
        The whole batch, and the positions of its rows in the training data.

    Returns
    -------
    terms : dict of str to Tensor
    """
    parts = getattr(criterion, "criteria", [criterion])
    own = output, distributed.own_part(x), distributed.own_part(index)
    whole = distributed.whole_output(output), x, index
    terms = {}
    for part in parts:
        terms.update(part(*(whole if getattr(part, "compares_rows", False) else own)))
    with torch.no_grad():
        for part in parts:
            observe = getattr(part, "observe", None)
            if observe is not None:
                observe(*whole)
    return terms


def _weighted_sums(sizes, terms):
    """Sum over batches of the number of rows times each loss term."""
    table = torch.stack([torch.stack(list(step.values())) for step in terms])
    # .cpu() first: MPS has no double.
    return np.asarray(sizes) @ table.cpu().double().numpy()


class FusedAdam(torch.optim.Adam):
    """torch's fused Adam, in three fifths of the time where parameters are small.

    The step of a small network on a CPU takes longer to call than to compute, as torch
    checks every option of an optimizer at each step. Here are none but the rate, the
    decay rates of the averages and the weight decay. State and results are torch's, to
    the bit.

    Parameters
    ----------
    params, lr
        As of :class:`torch.optim.Adam`.
    """

    def __init__(self, params, lr):
        super().__init__(params, lr=lr, fused=True)

    def zero_grad(self, set_to_none=True):
        """Set the gradients to None, or to zero."""
        if not set_to_none:
            super().zero_grad(set_to_none=False)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure=None):
        """Move the parameters that have gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learned = [p for p in group["params"] if p.grad is not None]
            for dtype in {p.dtype for p in learned}:  # one, but in a user's network
                self._move([p for p in learned if p.dtype == dtype], group)
        return loss

    def _move(self, parameters, group):
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros(
                        (), dtype=torch.float32, device=parameter.device
                    ),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[p] for p in parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


class ClusterNet(NeuralNet):
    """A skorch net that trains on slices and reports loss *terms*.

    The criterion is called as ``criterion(output, x, index)`` with the module's
    output for the batch, the batch itself and the rows' positions in the training
    data; it returns a dict of scalar terms that add up to the loss. The mean of
    each term over an epoch is recorded in the history, beside ``train_loss``. See
    :class:`~deepcluster_sk.building.Criterion` for what else a criterion may say.
    """

    @property
    def _default_callbacks(self):
        return []

    def initialize(self):
        """Build module, optimizer and history with random numbers of our own."""
        device = torch.device(self.device)
        self.generators_ = SeededGenerators(self.seed, device)
        self.generator_ = torch.Generator().manual_seed(self.seed)
        self.noise_generator_ = torch.Generator(device).manual_seed(self.seed)
        self.phase_ = None
        self.stop_reason_ = ""
        with self.generators_.active():
            super().initialize()
        rank = distributed.process_rank()
        if rank:  # the weights are those of the first process, the masks are not
            self.generators_ = SeededGenerators(self.seed + rank, device)
        return self

    def __init__(
        self, *args, seed=0, draws_random_numbers=False, augmentation=None, **kwargs
    ):
        self.seed = seed
        self.draws_random_numbers = draws_random_numbers
        self.augmentation = augmentation
        super().__init__(*args, **kwargs)

    def trim_for_prediction(self):
        """Drop what only training needs, generators included."""
        super().trim_for_prediction()
        self.generators_ = self.generator_ = self.noise_generator_ = None
        self.phase_ = None

    def train_phase(self, rows, phase, callbacks=(), saved=None):
        """Train through a phase; its history is then that of the net.

        Parameters
        ----------
        rows : Rows
            The training data.
        phase : Phase
            What is minimised, for how long and how.
        callbacks : sequence of skorch callbacks, default=()
            Called after those of the phase.
        saved : PhaseCheckpoint or None, default=None
            Where the state of the phase is saved, and may have been.
        """
        if phase.criterion is not self.criterion_:  # else the optimizer goes on
            lr = {} if phase.lr is None else {"lr": phase.lr}
            self.set_params(criterion=phase.criterion, **lr)
        self.phase_ = phase
        self.initialize_history()
        callbacks = [*phase.callbacks, *callbacks]
        epochs = phase.epochs
        if saved is not None:
            if saved.ended:
                self.callbacks_ = _initialized(callbacks)
                saved.restore()
                return
            epochs -= saved.epochs_done
            callbacks.append(saved.callback)
        self.callbacks_ = _initialized(callbacks)
        self.partial_fit(rows, epochs=epochs)
        if saved is not None:
            saved.end()

    def n_batches(self, n_rows):
        """Number of batches in an epoch of so many rows."""
        return -(-n_rows // self.batch_size)

    def release_rows(self):
        """Let go of the callbacks of the last phase, which hold the rows."""
        self.callbacks_ = []
        self.phase_ = None

    def get_iterator(self, dataset, training=False):
        """Batches of the rows, shuffled in training."""
        generator = self.generator_ if training else None
        order = None if self.phase_ is None else self.phase_.order
        size = None if self.phase_ is None else self.phase_.batch_size
        return dataset.batches(size or self.batch_size, generator, order)

    def partial_fit(self, X, y=None, classes=None, epochs=None):
        """Train for some epochs; a callback ends them early, Ctrl-C ends everything."""
        self.stop_reason_ = "max_epochs"
        self.notify("on_train_begin", X=X, y=y)
        try:
            with distributed.whole_batch_statistics(self.module_):
                self.fit_loop(X, y, epochs=epochs)
        except StopTraining as stopped:
            self.stop_reason_ = stopped.reason
        self.notify("on_train_end", X=X, y=y)
        return self

    def notify(self, method_name, **cb_kwargs):
        """Call the callbacks; skorch's early stopping ends the phase only."""
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt:
                stopped = isinstance(callback, EarlyStopping) and (
                    callback.misses_ >= callback.patience
                )
                if stopped:
                    raise StopTraining from None
                raise

    def _listeners(self, method_name):
        """Callbacks that define the method themselves."""
        ignored = getattr(Callback, method_name)
        return [
            callback
            for _, callback in self.callbacks_
            if getattr(type(callback), method_name, ignored) is not ignored
        ]

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train on every batch; the losses are read back now and then."""
        if iterator is None:
            return
        self._set_training(training)
        on_begin, on_end = map(self._listeners, ("on_batch_begin", "on_batch_end"))
        # Each loss that is read waits for the device.
        reads_losses = any(getattr(c, "reads_losses", True) for c in on_end)
        self.grad_listeners_ = self._listeners("on_grad_computed")
        sizes, terms, n_rows, n_batches, totals = [], [], 0, 0, 0.0
        draw_from = (
            self.generators_.active if self.draws_random_numbers else nullcontext
        )
        with draw_from():
            warm_up = self.phase_.warm_up
            done = (len(self.history) - 1) * len(iterator) if warm_up else 0
            for number, batch in enumerate(iterator, done + 1):
                for callback in on_begin:
                    callback.on_batch_begin(self, batch=batch, training=training)
                with self._warming_up(number):
                    step = step_fn(batch, **fit_params)
                sizes.append(len(batch[1]))
                terms.append(step)
                if reads_losses:
                    self._record_batch(prefix, step)
                for callback in on_end:
                    callback.on_batch_end(self, batch=batch, training=training)
                if len(sizes) == LOSS_BATCHES:
                    totals = totals + _weighted_sums(sizes, terms)
                    n_rows, n_batches = n_rows + sum(sizes), n_batches + len(sizes)
                    sizes, terms = [], []
        if sizes:
            totals = totals + _weighted_sums(sizes, terms)
        n_rows, n_batches = n_rows + sum(sizes), n_batches + len(sizes)
        means = (
            distributed.sum_over_processes(torch.from_numpy(totals)).numpy() / n_rows
        )
        self._record_epoch(prefix, list(step), means, n_batches)

    @contextmanager
    def _warming_up(self, number):
        """Lower the rates in step ``number`` of a phase, if it is an early one."""
        warm_up = self.phase_.warm_up
        if number >= warm_up:
            yield
            return
        groups = self.optimizer_.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] *= number / warm_up
        try:
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def _record_batch(self, prefix, terms):
        """Add a row with the loss of a batch to the history, for a user's callback."""
        self.history.new_batch()
        loss = torch.tensor(sum(t.item() for t in terms.values()), dtype=torch.double)
        loss = float(distributed.sum_over_processes(loss))
        self.history.record_batch(f"{prefix}_loss", loss)

    def _record_epoch(self, prefix, names, means, n_batches):
        for name, value in zip(names, means, strict=True):
            if not np.isfinite(value):
                raise ConvergenceError(
                    f"Training diverged: in phase {self.phase_.name!r}, epoch "
                    f"{len(self.history)}, the loss term {name!r} became {value}. "
                    f"Lower lr (now {self.lr:g}), or scale the data."
                )
            self.history.record(name, float(value))
        self.history.record(f"{prefix}_loss", float(means.sum()))
        self.history.record(f"{prefix}_batch_count", n_batches)

    def train_step(self, batch, **fit_params):
        """One optimizer step; returns the detached terms, or this process's share."""
        x, index = batch
        x = self.augmented(x, self.noise_generator_)
        self.optimizer_.zero_grad(set_to_none=True)
        corrupt = self.phase_.corrupt
        inputs = x if corrupt is None else corrupt(x, self.noise_generator_)
        with distributed.split_batch(len(index)):
            output = self.module_(distributed.own_part(inputs))
            terms = loss_terms(self.criterion_, output, x, index)
            loss = None
            for term in terms.values():
                loss = term if loss is None else loss + term
            loss.backward()
            distributed.average_gradients(
                parameter for _, parameter in self.get_all_learnable_params()
            )
            terms = distributed.weighted_shares(terms)
        for callback in self.grad_listeners_:
            callback.on_grad_computed(
                self,
                named_parameters=list(self.get_all_learnable_params()),
                batch=batch,
                training=True,
            )
        self.optimizer_.step()
        return {name: term.detach() for name, term in terms.items()}

    def augmented(self, x, generator):
        """What the user's augmentation makes of a batch."""
        if self.augmentation is None:
            return x
        # A copy: the batch may be the data itself, and the callable may write to it.
        changed = self.augmentation(x.clone(), generator)
        if not isinstance(changed, torch.Tensor) or changed.shape != x.shape:
            raise ValueError(
                "augmentation must return a tensor of the shape that it gets, "
                f"{tuple(x.shape)}. Got {_describe(changed)}."
            )
        return changed.to(x)

    def evaluation_step(self, batch, training=False):
        """Embedding of a batch, without decoding it."""
        self._set_training(training)
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        with torch.set_grad_enabled(training):
            return self.module_.encode(x.to(self.device))

    def get_dataset(self, X, y=None):
        """Wrap an array once; rows pass through."""
        if isinstance(X, Rows):
            return X
        if not issparse(X) and not isinstance(X, torch.Tensor):
            X = np.ascontiguousarray(X, dtype=np.float32)
        return rows_of(X, torch.device(self.device))

    def map_rows(self, function, X, part=slice(None)):
        """Yield ``function(x)`` for consecutive chunks of rows, on the net's device.

        Every call sees exactly ``INFERENCE_ROWS`` rows, the last ones padded, and
        the padding is cut from the result: the shape of a matrix product decides
        its order of summation, so this makes the answer for a row independent of
        the rows that come with it. (Its position in the chunk can still move the
        last bit, where a BLAS kernel works on groups of rows.)

        Parameters
        ----------
        function : callable
            Maps ``(INFERENCE_ROWS, d)`` to a tensor, or a tuple of tensors, whose
            first axis runs over the rows.
        X : Rows or ndarray of shape (n, d)
            The data.
        part : slice
            Of the chunks, those that are wanted.

        Yields
        ------
        tensor or tuple of tensors
        """
        self.module_.eval()
        device = torch.device(self.device)
        source = X.X if isinstance(X, Rows) else X
        for start in range(0, source.shape[0], INFERENCE_ROWS)[part]:
            x = dense(source[start : start + INFERENCE_ROWS]).to(device)
            n = len(x)
            if n < INFERENCE_ROWS:
                x = torch.cat([x, x.new_zeros(INFERENCE_ROWS - n, *x.shape[1:])])
            with torch.no_grad():
                y = function(x)
            yield tuple(part[:n] for part in y) if isinstance(y, tuple) else y[:n]

    def apply(self, function, X):
        """``map_rows``, put together: one tensor on the net's device, or a tuple."""
        n = len(X) if isinstance(X, Rows) else X.shape[0]
        # Training data are those of all processes; others may be of one alone.
        chunks = -(-n // INFERENCE_ROWS)
        own = distributed.own_slice(chunks) if isinstance(X, Rows) else slice(0, chunks)
        whole, filled = None, own.start * INFERENCE_ROWS
        for part in self.map_rows(function, X, own):
            parts = part if isinstance(part, tuple) else (part,)
            if whole is None:
                # Filled as the parts come. Kept for long, they would fragment the
                # memory between the batches, whose freed space then fits no other.
                whole = [piece.new_zeros(n, *piece.shape[1:]) for piece in parts]
            for column, piece in zip(whole, parts, strict=True):
                column[filled : filled + len(piece)] = piece
            filled += len(parts[0])
        if own != slice(0, chunks):
            whole = [distributed.sum_over_processes(column) for column in whole]
        return tuple(whole) if isinstance(part, tuple) else whole[0]

    def mean_loss(self, criterion, X):
        """Mean over rows of a criterion that compares the rows of a batch.

        Such a loss, unlike that of one row, depends on who else is in the batch, so
        the batches are of the training size and in an order that is random (rows
        may come sorted) and always the same.

        Parameters
        ----------
        criterion : Criterion
            It gets no ``index``: the rows may be new.
        X : Rows or ndarray of shape (n, d)
            The data.

        Returns
        -------
        loss : float
        """
        self.module_.eval()
        order = torch.Generator().manual_seed(0)
        total, rows = 0.0, self.get_dataset(X)
        with torch.no_grad():
            for x, index in Batches(rows, self.batch_size, order):
                terms = criterion(self.module_(x), x, None)
                total += len(index) * float(sum(terms.values()))
        return total / len(rows)
