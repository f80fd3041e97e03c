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
from scipy.sparse import issparse
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from torch.utils.data import Dataset

from deepcluster_sk import parallel
from deepcluster_sk.exceptions import ConvergenceError

INFERENCE_ROWS = 512
# What is read at once from data that stays on disk, and what is held of it.
BLOCK_BYTES = 2**18
BUFFER_BYTES = 2**26
# What the vector units of processors care for, in bytes.
ALIGNMENT = 64
# Batches between two readings of the losses. Each reading waits for the device; but
# scalars kept for long are strewn between the batches in memory, whose freed space
# then fits no other batch: 700 kB a batch were lost on a long epoch.
LOSS_BATCHES = 64

# The torch default generators belong to the process; whoever needs them holds this.
_GENERATOR_LOCK = threading.RLock()


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
        # from_numpy shares memory, but warns about arrays that are read-only, and
        # knows no negative strides, which an axis of length 1 may have.
        if not X.flags.writeable or min(X.strides) < 0:
            X = X.copy()
        self.X = torch.from_numpy(X).to(device)
        self.device = self.X.device

    def __len__(self):
        return len(self.X)

    def __getstate__(self):
        """As an array, which joblib knows how to share."""
        offset = self.X.data_ptr() % ALIGNMENT
        return {"X": self.X.cpu().numpy(), "device": self.device, "offset": offset}

    def __sizeof__(self):
        """With the data: what is large Dask sends once, not with every task."""
        return super().__sizeof__() + getattr(self.X, "nbytes", 0)

    def __setstate__(self, state):
        # How data lie in memory decides the last digit of a matrix product.
        X = state["X"]
        memory = np.empty(X.nbytes + ALIGNMENT, dtype=np.uint8)
        start = (state["offset"] - memory.ctypes.data) % ALIGNMENT
        copy = memory[start : start + X.nbytes].view(X.dtype).reshape(X.shape)
        copy[:] = X
        self.__init__(copy, state["device"])

    def __getitem__(self, index):
        return self.X.index_select(0, index)

    def batches(self, batch_size, generator=None, order=None):
        """An epoch of batches."""
        return Batches(self, batch_size, generator, order)


class StreamedRows(Rows):
    """Rows of an array that stays where it is, such as a ``numpy.memmap``.

    Only batches of it are ever converted to float32 and moved to the device.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Anything with ``shape``, ``dtype``, slices ``X[a:b]`` and rows by an
        increasing index array.
    device : torch.device
        Where batches must live.
    """

    def __init__(self, X, device):
        self.X = X
        self.device = device

    def __len__(self):
        return self.X.shape[0]

    def __getstate__(self):
        return vars(self)

    def __setstate__(self, state):
        vars(self).update(state)

    def __getitem__(self, index):
        # HDF5 and its like want increasing indices without repetition.
        wanted, position = np.unique(np.asarray(index), return_inverse=True)
        return self.convert(self.X[wanted])[position]

    def convert(self, block):
        """Rows of the source as a float32 tensor on the device."""
        return torch.tensor(np.asarray(block, dtype=np.float32)).to(self.device)

    def batches(self, batch_size, generator=None, order=None):
        """An epoch of batches; their order is that of the reading."""
        return StreamedBatches(self, batch_size, generator)


def is_streamed(X):
    """Whether X is a matrix that should be read piece by piece.

    True for a ``numpy.memmap`` and for what is neither an ndarray, nor sparse, nor
    a data frame, but has a NumPy ``dtype``, a 2-D ``shape`` and can be sliced.
    """
    return (
        isinstance(getattr(X, "dtype", None), np.dtype)
        and len(getattr(X, "shape", ())) == 2
        and hasattr(X, "__getitem__")
        and not hasattr(X, "iloc")
        and not issparse(X)
        and (isinstance(X, np.memmap) or not isinstance(X, np.ndarray))
    )


def rows_per(n_bytes, X):
    """How many rows of a matrix fit into some memory, at least one."""
    return max(1, n_bytes // max(1, X.shape[1] * X.dtype.itemsize))


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
    order : callable or None, default=None
        ``order(generator)`` returns a permutation, for methods that want certain
        rows in the same batch; None takes a random one.
    """

    def __init__(self, rows, batch_size, generator=None, order=None):
        self.rows = rows
        self.n_batches = -(-len(rows) // batch_size)
        self.generator = generator
        self.order = order

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
        elif self.order is None:
            order = torch.randperm(n, generator=self.generator)
        else:
            order = self.order(self.generator)
        for index in order.to(self.rows.X.device).tensor_split(self.n_batches):
            yield self.rows[index], index


class StreamedBatches:
    """Batches of data that stays on disk, read nearly in sequence.

    Blocks of consecutive rows are read in a random order into a buffer, in the
    type of the source, and the rows of the buffer are shuffled. Data that fits
    into one buffer comes in exactly the order in which ``Batches`` gives it.

    Parameters
    ----------
    rows : StreamedRows
        The data.
    batch_size : int
        Largest number of rows in a batch.
    generator : torch.Generator or None, default=None
        Source of the order; None keeps the order of the data.
    """

    def __init__(self, rows, batch_size, generator=None):
        self.rows = rows
        self.batch_size = batch_size
        self.generator = generator

    def _buffers(self):
        """Yield the blocks, as (start, stop), of each buffer."""
        n, X = len(self.rows), self.rows.X
        size = rows_per(BLOCK_BYTES, X)
        starts = torch.arange(0, n, size)
        n_buffers = -(-n // max(self.batch_size, rows_per(BUFFER_BYTES, X)))
        if self.generator is not None and n_buffers > 1:
            starts = starts[torch.randperm(len(starts), generator=self.generator)]
        for part in starts.tensor_split(n_buffers):
            # Within a buffer the disk is read forwards.
            yield [(start, min(start + size, n)) for start in sorted(part.tolist())]

    def __iter__(self):
        X = self.rows.X
        for blocks in self._buffers():
            index = torch.cat([torch.arange(*block) for block in blocks])
            buffer = np.empty((len(index), X.shape[1]), dtype=X.dtype)
            filled = 0
            for start, stop in blocks:
                buffer[filled : filled + stop - start] = X[start:stop]
                filled += stop - start
            n_batches = -(-len(index) // self.batch_size)
            if self.generator is None or n_batches == 1:
                order = torch.arange(len(index))
            else:
                order = torch.randperm(len(index), generator=self.generator)
            for part in order.tensor_split(n_batches):
                x = self.rows.convert(buffer[part.numpy()])
                yield x, index[part].to(x.device)


def _describe(value):
    """Type of a value, or the shape of a tensor, in words."""
    if isinstance(value, torch.Tensor):
        return f"one of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _weighted_sums(sizes, terms):
    """Sum over batches of the number of rows times each loss term."""
    table = torch.stack([torch.stack(list(step.values())) for step in terms])
    # .cpu() first: MPS has no double.
    return np.asarray(sizes) @ table.cpu().double().numpy()


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
        self.corrupt_ = self.order_ = None
        self.warm_up_ = 0
        self.stop_reason_ = ""
        with self.stream_.active():
            super().initialize()
        rank = parallel.team_rank()
        if rank:  # the weights are those of the first process, the masks are not
            self.stream_ = PrivateStream(self.seed + rank, device)
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
        self.stream_ = self.generator_ = self.noise_generator_ = None
        self.corrupt_ = self.order_ = None
        self.warm_up_ = 0

    def get_iterator(self, dataset, training=False):
        """Batches of the rows, shuffled in training."""
        generator = self.generator_ if training else None
        return dataset.batches(self.batch_size, generator, self.order_)

    def partial_fit(self, X, y=None, classes=None, epochs=None):
        """Train for some epochs; a callback ends them early, Ctrl-C ends everything."""
        self.stop_reason_ = "max_epochs"
        self.notify("on_train_begin", X=X, y=y)
        try:
            with parallel.whole_statistics(self.module_):
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
        self.grad_listeners_ = self._listeners("on_grad_computed")
        sizes, terms, n_rows, n_batches, totals = [], [], 0, 0, 0.0
        lend = self.stream_.active if self.draws_random_numbers else nullcontext
        with lend():
            done = (len(self.history) - 1) * len(iterator) if self.warm_up_ else 0
            for number, batch in enumerate(iterator, done + 1):
                for callback in on_begin:
                    callback.on_batch_begin(self, batch=batch, training=training)
                with self._warming_up(number):
                    step = step_fn(batch, **fit_params)
                sizes.append(len(batch[1]))
                terms.append(step)
                if on_end:
                    self.history.new_batch()
                    loss = sum(term.item() for term in step.values())
                    loss = float(parallel.total(torch.tensor(loss, dtype=torch.double)))
                    self.history.record_batch(f"{prefix}_loss", loss)
                    for callback in on_end:
                        callback.on_batch_end(self, batch=batch, training=training)
                if len(sizes) == LOSS_BATCHES:
                    totals = totals + _weighted_sums(sizes, terms)
                    n_rows, n_batches = n_rows + sum(sizes), n_batches + len(sizes)
                    sizes, terms = [], []
        if sizes:
            totals = totals + _weighted_sums(sizes, terms)
        n_rows, n_batches = n_rows + sum(sizes), n_batches + len(sizes)
        means = parallel.total(torch.from_numpy(totals)).numpy() / n_rows
        self._record_epoch(prefix, list(step), means, n_batches)

    @contextmanager
    def _warming_up(self, number):
        """Lower the rates in step ``number`` of a phase, if it is an early one."""
        if number >= self.warm_up_:
            yield
            return
        groups = self.optimizer_.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] *= number / self.warm_up_
        try:
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def _record_epoch(self, prefix, names, means, n_batches):
        for name, value in zip(names, means, strict=True):
            if not np.isfinite(value):
                raise ConvergenceError(
                    f"Training diverged: in phase {self.phase_!r}, epoch "
                    f"{len(self.history)}, the loss term {name!r} became {value}. "
                    f"Lower lr (now {self.lr:g}), or scale the data."
                )
            self.history.record(name, float(value))
        self.history.record(f"{prefix}_loss", float(means.sum()))
        self.history.record(f"{prefix}_batch_count", n_batches)

    def train_step(self, batch, **fit_params):
        """One optimizer step; returns the detached terms, or this process's share."""
        x, index = batch
        x = self._augmented(x)
        self.optimizer_.zero_grad(set_to_none=True)
        inputs = x if self.corrupt_ is None else self.corrupt_(x, self.noise_generator_)
        with parallel.divided(len(index)):
            inputs, x, index = map(parallel.own_part, (inputs, x, index))
            terms = self.criterion_(self.module_(inputs), x, index)
            loss = None
            for term in terms.values():
                loss = term if loss is None else loss + term
            loss.backward()
            parallel.average_gradients(p for _, p in self.get_all_learnable_params())
            terms = parallel.shares(terms)
        for callback in self.grad_listeners_:
            callback.on_grad_computed(
                self,
                named_parameters=list(self.get_all_learnable_params()),
                batch=batch,
                training=True,
            )
        self.optimizer_.step()
        return {name: term.detach() for name, term in terms.items()}

    def _augmented(self, x):
        """What the user's augmentation makes of a batch."""
        if self.augmentation is None:
            return x
        # A copy: the batch may be the data itself, and the callable may write to it.
        changed = self.augmentation(x.clone(), self.noise_generator_)
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
        X = np.ascontiguousarray(X, dtype=np.float32)
        return Rows(X, torch.device(self.device))

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
            x = source[start : start + INFERENCE_ROWS]
            if not isinstance(x, torch.Tensor):
                x = torch.from_numpy(np.array(x, dtype=np.float32)).to(device)
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
        own = parallel.part_of(chunks) if isinstance(X, Rows) else slice(0, chunks)
        whole, filled = None, own.start * INFERENCE_ROWS
        for part in self.map_rows(function, X, own):
            parts = part if isinstance(part, tuple) else (part,)
            if whole is None:
                # Filled as the parts come. Kept for long, they would be strewn in
                # memory between the batches, whose freed space then fits no other.
                whole = [piece.new_zeros(n, *piece.shape[1:]) for piece in parts]
            for column, piece in zip(whole, parts, strict=True):
                column[filled : filled + len(piece)] = piece
            filled += len(parts[0])
        if own != slice(0, chunks):
            whole = [parallel.total(column) for column in whole]
        return tuple(whole) if isinstance(part, tuple) else whole[0]

    def mean_loss(self, function, X):
        """Mean over rows of a loss that compares the rows of a batch.

        Such a loss, unlike that of one row, depends on who else is in the batch, so
        the batches are of the training size and in an order that is random (rows
        may come sorted) and always the same.

        Parameters
        ----------
        function : callable
            Maps a batch ``(n, d)`` to a scalar tensor.
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
                total += len(index) * float(function(x))
        return total / len(rows)
