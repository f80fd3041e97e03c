"""The rows that are trained on, in memory or out of core, and on which device."""

import numpy as np
import torch
from scipy.sparse import issparse
from torch.utils.data import Dataset

# What is read at once from data that stays on disk, and what is held of it.
BLOCK_BYTES = 2**18
BUFFER_BYTES = 2**26
# What the vector units of processors care for, in bytes.
ALIGNMENT = 64


def resolve_device(device):
    """The torch device that ``device`` names.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes CUDA, then MPS, then the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch does not know the name, or has no such device here.
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {error}. Use 'auto' or 'cpu'."
        ) from error
    return resolved


def solver_device(device):
    """The torch device on which a solver computes.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes CUDA, then the CPU: MPS has no float64, so it must be named.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch does not know the name, or has no such device here.
    """
    if isinstance(device, str) and device == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    return resolve_device(device)


def resolve_precision(precision, device):
    """The numbers that "auto" means: bfloat16 where the device has matrices of it.

    Matrix instructions make it several times faster; without them it is hardly faster,
    and not worth its digits.
    """
    if precision != "auto":
        return precision
    known = False
    if device.type == "cuda":
        known = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        known = torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if known else "float32"


class Rows(Dataset):
    """Rows of a float32 matrix on the training device, taken by index.

    Parameters
    ----------
    X : ndarray or Tensor of shape (n_samples, n_features), float32, C-contiguous
        The data.
    device : torch.device
        Where batches must live.
    """

    def __init__(self, X, device):
        # from_numpy shares memory, but warns about arrays that are read-only, and
        # knows no negative strides, which an axis of length 1 may have.
        if not isinstance(X, torch.Tensor):
            if not X.flags.writeable or min(X.strides) < 0:
                X = X.copy()
            X = torch.from_numpy(X)
        self.X = X.to(device)
        self.device = self.X.device

    def __len__(self):
        return len(self.X)

    def __getstate__(self):
        """As an array, which joblib knows how to share."""
        offset = self.X.data_ptr() % ALIGNMENT
        return {**vars(self), "X": self.X.cpu().numpy(), "offset": offset}

    def __sizeof__(self):
        """With the data: what is large Dask sends once, not with every task."""
        return super().__sizeof__() + getattr(self.X, "nbytes", 0)

    def __setstate__(self, state):
        # How data lie in memory decides the last digit of a matrix product.
        X, offset, device = (state.pop(name) for name in ("X", "offset", "device"))
        memory = np.empty(X.nbytes + ALIGNMENT, dtype=np.uint8)
        start = (offset - memory.ctypes.data) % ALIGNMENT
        copy = memory[start : start + X.nbytes].view(X.dtype).reshape(X.shape)
        copy[:] = X
        self.__init__(copy, device)
        vars(self).update(state)  # what a method found before its runs

    def __getitem__(self, index):
        return self.X.index_select(0, index.to(self.device))

    def part(self, start, stop):
        """Consecutive rows, as a float32 tensor on the device."""
        return self.convert(self.X[start:stop])

    def convert(self, block):
        """Rows of the source as a float32 tensor on the device: as they are."""
        return block

    def whole(self):
        """All rows, as a float32 tensor on the device."""
        return self.part(0, len(self))

    def batches(self, batch_size, generator=None, order=None):
        """An epoch of batches."""
        return Batches(self, batch_size, generator, order)


class RowsElsewhere(Rows):
    """Rows that become float32 on the device when they are asked for.

    Parameters
    ----------
    X : matrix of shape (n_samples, n_features)
        The data, as they are.
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

    def convert(self, block):
        """Rows of the source as a float32 tensor on the device."""
        return dense(block).to(self.device)


class SparseRows(RowsElsewhere):
    """Rows of a csr_array or csr_matrix, which become dense batch by batch."""

    def __sizeof__(self):
        """With the data."""
        return object.__sizeof__(self) + self.X.data.nbytes + self.X.indices.nbytes

    def __getitem__(self, index):
        return self.convert(self.X[index.cpu().numpy()])


class OutOfCoreRows(RowsElsewhere):
    """Rows of an array that stays where it is, such as a ``numpy.memmap``.

    Only batches of it are ever converted to float32 and moved to the device. X may be
    anything with ``shape``, ``dtype``, slices ``X[a:b]`` and rows by an increasing
    index array.
    """

    def __getitem__(self, index):
        # HDF5 and its like want increasing indices without repetition.
        wanted, position = np.unique(index.cpu().numpy(), return_inverse=True)
        return self.convert(self.X[wanted])[position]

    def batches(self, batch_size, generator=None, order=None):
        """An epoch of batches; their order is that of the reading."""
        return OutOfCoreBatches(self, batch_size, generator)


def is_out_of_core(X):
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


def dense(X):
    """Rows of a matrix of any kind as a float32 tensor."""
    if isinstance(X, torch.Tensor):
        return X
    if issparse(X):
        X = X.toarray()
    return torch.from_numpy(np.array(X, dtype=np.float32))


def rows_of(X, device):
    """The rows of a validated matrix, where they are: in memory, sparse or on disk."""
    if issparse(X):
        return SparseRows(X, device)
    return (OutOfCoreRows if is_out_of_core(X) else Rows)(X, device)


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
            yield self.rows.whole(), torch.arange(n, device=self.rows.device)
            return
        if self.generator is None:
            order = torch.arange(n)
        elif self.order is None:
            order = torch.randperm(n, generator=self.generator)
        else:
            order = self.order(self.generator)
        for index in order.to(self.rows.device).tensor_split(self.n_batches):
            yield self.rows[index], index


class OutOfCoreBatches:
    """Batches of data that stays on disk, read nearly in sequence.

    Blocks of consecutive rows are read in a random order into a buffer, in the
    type of the source, and the rows of the buffer are shuffled. Data that fits
    into one buffer comes in exactly the order in which ``Batches`` gives it.

    Parameters
    ----------
    rows : OutOfCoreRows
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


class NeighborOrder:
    """Permutations in which rows stand beside some of their neighbours.

    In a random order the two ends of an edge share a batch with probability
    B / n: most of the graph would never be seen.

    Parameters
    ----------
    neighbors : Tensor of shape (n, m)
        Neighbours of each row, -1 for none.
    group : int, default=8
        Largest number of rows that are kept together.
    """

    def __init__(self, neighbors, group=8):
        self.neighbors = [[j for j in row if j >= 0] for row in neighbors.tolist()]
        self.group = group

    def __call__(self, generator):
        """Take rows at random, each with its neighbours that are still free."""
        free = [True] * len(self.neighbors)
        order = []
        for i in torch.randperm(len(free), generator=generator).tolist():
            if not free[i]:
                continue
            near = [j for j in self.neighbors[i] if free[j]][: self.group - 1]
            for j in (i, *near):
                free[j] = False
                order.append(j)
        return torch.tensor(order)
