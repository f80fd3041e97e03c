"""The one file that knows skorch's training loop.

``ClusterNet`` is a ``skorch.NeuralNet`` whose epoch is a plain loop over slices of
a tensor. What skorch does per batch and nobody reads (a history row, ``.item()``,
notifying callbacks that do not listen) is left out; callbacks that do listen to
batches still get them.
"""

import threading
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from torch.utils.data import Dataset

from deepcluster_sk.exceptions import ConvergenceError

INFERENCE_ROWS = 256

# The torch default generators belong to the process; whoever needs them holds this.
_GENERATOR_LOCK = threading.RLock()


class StopTraining(Exception):
    """Raised by a callback to end the current phase.

    skorch's own signal is ``KeyboardInterrupt``, which cannot be told from Ctrl-C.
    """


class PrivateStream:
    """A seeded stream of random numbers behind torch's default generators.

    Layers draw their initial weights, and dropout its masks, from generators that
    belong to the process. ``active()`` lends them this stream and puts back what
    was there; a lock keeps two threads from lending at once.

    Parameters
    ----------
    seed : int
        Seed of the stream.
    device : torch.device
        Where random numbers may be drawn besides the CPU.
    """

    def __init__(self, seed, device):
        self.seed = seed
        self.devices = [device] if device.type == "cuda" else []
        self.states = None

    @contextmanager
    def active(self):
        """Inside the block torch's default generators continue this stream."""
        with _GENERATOR_LOCK, torch.random.fork_rng(devices=self.devices):
            if self.states is None:
                torch.default_generator.manual_seed(self.seed)
                for device in self.devices:
                    torch.cuda.default_generators[_index(device)].manual_seed(self.seed)
            else:
                torch.set_rng_state(self.states[0])
                for device, state in zip(self.devices, self.states[1:], strict=True):
                    torch.cuda.set_rng_state(state, device)
            yield
            self.states = [
                torch.get_rng_state(),
                *(torch.cuda.get_rng_state(device) for device in self.devices),
            ]


def _index(device):
    return torch.cuda.current_device() if device.index is None else device.index


class Rows(Dataset):
    """Rows of a float32 matrix on the training device, taken by index.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32, C-contiguous
        The data.
    device : torch.device
        Where batches must live.
    """

    def __init__(self, X, device):
        # from_numpy shares memory, but warns about arrays that are read-only.
        self.X = (torch.from_numpy(X) if X.flags.writeable else torch.tensor(X)).to(
            device
        )

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return self.X.index_select(0, index)


class Batches:
    """Batches ``(x, index)`` of nearly equal size, in a new order each epoch.

    Equal sizes keep the last batch from being a handful of rows, which would make
    its gradient noise (and batch normalisation) unlike all others.

    Parameters
    ----------
    rows : Rows
        The data.
    batch_size : int
        Largest number of rows in a batch.
    generator : torch.Generator or None, default=None
        Source of the order; None keeps the order of the data.
    """

    def __init__(self, rows, batch_size, generator=None):
        self.rows = rows
        self.n_batches = -(-len(rows) // batch_size)
        self.generator = generator

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        n = len(self.rows)
        if self.n_batches == 1:
            # The whole data is one batch: its order is irrelevant.
            yield self.rows.X, torch.arange(n, device=self.rows.X.device)
            return
        if self.generator is None:
            order = torch.arange(n)
        else:
            order = torch.randperm(n, generator=self.generator)
        for index in order.to(self.rows.X.device).tensor_split(self.n_batches):
            yield self.rows[index], index


class ClusterNet(NeuralNet):
    """A skorch net that trains on slices and reports loss *terms*.

    The criterion is called as ``criterion(output, x, index)`` with the module's
    output for the batch, the batch itself and the rows' positions in the training
    data; it returns a dict of scalar terms that add up to the loss. The mean of
    each term over an epoch is recorded in the history, beside ``train_loss``.
    """

    @property
    def _default_callbacks(self):
        return []

    def initialize(self):
        """Build module, optimizer and history under a private random stream."""
        device = torch.device(self.device)
        self.stream_ = PrivateStream(self.seed, device)
        self.generator_ = torch.Generator().manual_seed(self.seed)
        self.noise_generator_ = torch.Generator(device).manual_seed(self.seed)
        self.phase_ = ""
        self.corrupt_ = None
        with self.stream_.active():
            return super().initialize()

    def __init__(self, *args, seed=0, draws_random_numbers=False, **kwargs):
        self.seed = seed
        self.draws_random_numbers = draws_random_numbers
        super().__init__(*args, **kwargs)

    def trim_for_prediction(self):
        """Drop what only training needs, generators included."""
        super().trim_for_prediction()
        self.stream_ = self.generator_ = self.noise_generator_ = self.corrupt_ = None

    def get_iterator(self, dataset, training=False):
        """Batches of the rows, shuffled in training."""
        return Batches(dataset, self.batch_size, self.generator_ if training else None)

    def partial_fit(self, X, y=None, classes=None, epochs=None):
        """Train for some epochs; a callback ends them early, Ctrl-C ends everything."""
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y, epochs=epochs)
        except StopTraining:
            pass
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
        """Train on every batch; the losses are read back once, at the end."""
        if iterator is None:
            return
        self._set_training(training)
        on_begin, on_end = map(self._listeners, ("on_batch_begin", "on_batch_end"))
        self.grad_listeners_ = self._listeners("on_grad_computed")
        sizes, terms = [], []
        lend = self.stream_.active if self.draws_random_numbers else nullcontext
        with lend():
            for batch in iterator:
                for callback in on_begin:
                    callback.on_batch_begin(self, batch=batch, training=training)
                step = step_fn(batch, **fit_params)
                sizes.append(len(batch[1]))
                terms.append(step)
                if on_end:
                    self.history.new_batch()
                    loss = sum(term.item() for term in step.values())
                    self.history.record_batch(f"{prefix}_loss", loss)
                    for callback in on_end:
                        callback.on_batch_end(self, batch=batch, training=training)
        self._record_epoch(prefix, np.asarray(sizes), terms)

    def _record_epoch(self, prefix, sizes, terms):
        names = list(terms[0])
        table = torch.stack([torch.stack(list(step.values())) for step in terms])
        means = sizes @ table.double().cpu().numpy() / sizes.sum()
        for name, value in zip(names, means, strict=True):
            if not np.isfinite(value):
                raise ConvergenceError(
                    f"Training diverged: in phase {self.phase_!r}, epoch "
                    f"{len(self.history)}, the loss term {name!r} became {value}. "
                    f"Lower lr (now {self.lr:g}), or scale the data."
                )
            self.history.record(name, float(value))
        self.history.record(f"{prefix}_loss", float(means.sum()))
        self.history.record(f"{prefix}_batch_count", len(sizes))

    def train_step(self, batch, **fit_params):
        """One optimizer step; returns the detached terms."""
        x, index = batch
        self.optimizer_.zero_grad(set_to_none=True)
        inputs = x if self.corrupt_ is None else self.corrupt_(x, self.noise_generator_)
        terms = self.criterion_(self.module_(inputs), x, index)
        loss = None
        for term in terms.values():
            loss = term if loss is None else loss + term
        loss.backward()
        for callback in self.grad_listeners_:
            callback.on_grad_computed(
                self,
                named_parameters=list(self.get_all_learnable_params()),
                batch=batch,
                training=True,
            )
        self.optimizer_.step()
        return {name: term.detach() for name, term in terms.items()}

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
        X = np.ascontiguousarray(X, dtype=np.float32)
        return Rows(X, torch.device(self.device))

    def map_rows(self, function, X):
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

        Yields
        ------
        tensor or tuple of tensors
        """
        self.module_.eval()
        device = torch.device(self.device)
        source = X.X if isinstance(X, Rows) else X
        for start in range(0, len(source), INFERENCE_ROWS):
            x = source[start : start + INFERENCE_ROWS]
            if not isinstance(x, torch.Tensor):
                x = torch.tensor(np.asarray(x, dtype=np.float32)).to(device)
            n = len(x)
            if n < INFERENCE_ROWS:
                x = torch.cat([x, x.new_zeros(INFERENCE_ROWS - n, *x.shape[1:])])
            with torch.no_grad():
                y = function(x)
            yield tuple(part[:n] for part in y) if isinstance(y, tuple) else y[:n]

    def apply(self, function, X):
        """``map_rows``, put together: one tensor on the net's device, or a tuple."""
        parts = list(self.map_rows(function, X))
        if isinstance(parts[0], tuple):
            return tuple(torch.cat(column) for column in zip(*parts, strict=True))
        return torch.cat(parts)
