"""How many threads a computation gets: one, where several would only wait.

Every product of matrices that is shared out ends with the threads waiting for the
slowest of them. Where the products are small that costs more than is gained, and
where another process keeps a core busy, each of them waits for the system to run
the thread that has no core: a small fit then takes up to 30 times as long.
"""

import ctypes
import functools
import threading
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

# Multiplications of numbers in a step, forward only, below which it gets one thread.
# Measured as training steps of autoencoders in batches of 256, the shortest of many on
# two cores that others used too: two threads took 1.4 times as long as one at 5e6
# (layers of 64), 1.2 times at 3e7 (200), so they are even somewhere above. At the
# median, beside a busy core, they took 26 times as long at 5e6 and 12 times at 1e7.
# A step of the papers' network, 500-500-2000-10, has 7e8 and must keep all threads.
SMALL_WORK = 1e8


@contextmanager
def threads_for(work):
    """Inside the block, small work has one thread; large work has all there were.

    Numbers of threads are never raised above those outside, and are those of before
    at the end. Blocks can be nested: the innermost decides. Other threads keep the
    numbers of torch and of OpenMP, which belong to each thread. Those of the BLAS of
    NumPy and SciPy belong to the process: they are 1 as long as some thread is in a
    block of small work and no thread is in one of large work.

    Parameters
    ----------
    work : float
        Multiplications of one step: of a network, rows of a batch times weights.
    """
    alone = work < SMALL_WORK
    outside = _STATE.alone, _STATE.numbers
    _BLAS.count(outside[0], alone)
    try:
        if alone != bool(outside[0]):
            torch.get_num_threads()  # a thread's first call sets its numbers, once
            before = _exchange(None if alone else outside[1])
            _STATE.numbers = before if alone else ()
        _STATE.alone = alone
        try:
            yield
        finally:
            if alone != bool(outside[0]):
                _exchange(before)
            _STATE.alone, _STATE.numbers = outside
    finally:
        _BLAS.count(alone, outside[0])


def multiplications(module, n_features):
    """Multiplications of a row on its way through a network and back.

    Parameters
    ----------
    module : torch.nn.Module
        The network. A convolution uses its weights once for each position: one row
        of zeros is encoded to count the positions, and the way back is taken to be
        as long.
    n_features : int
        Width of a row.

    Returns
    -------
    count : int
    """
    sizes = {id(p): p.numel() for p in module.parameters()}
    # What all classes of convolutions in torch have, transposed ones included.
    convolutions = [m for m in module.modules() if hasattr(m, "transposed")]
    if not convolutions:
        return sum(sizes.values())
    for layer in convolutions:
        sizes.pop(id(layer.weight), None)
    counts = [sum(sizes.values())]

    def count(layer, inputs, output):
        counts.append(2 * layer.weight.numel() * output[0, 0].numel())

    hooks = [m.register_forward_hook(count) for m in convolutions if not m.transposed]
    training, row = module.training, next(module.parameters()).new_zeros(1, n_features)
    try:
        with torch.no_grad():
            module.eval().encode(row)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return sum(counts)


@functools.cache
def _libraries(kind):
    """The OpenMP runtimes, or the BLAS with threads of its own, of the process."""
    found = ThreadpoolController().select(user_api=kind).lib_controllers
    if kind == "blas":  # on OpenMP it follows the numbers of the calling thread
        return [b for b in found if getattr(b, "threading_layer", "") != "openmp"]
    return found


@functools.cache
def _set_mkl():
    """MKL's setting for the calling thread, as torch has it built in, or None.

    ``torch.set_num_threads`` sets it beside OpenMP's, but also the number that the
    process gives to new threads. Without it MKL follows OpenMP.
    """
    if not torch.backends.mkl.is_available():
        return None
    return getattr(ctypes.CDLL(torch._C.__file__), "MKL_Set_Num_Threads_Local", None)


class _ThreadState(threading.local):
    """Whether a thread is in a block of small work, and its numbers outside of it."""

    alone = None  # in no block
    numbers = ()


_STATE = _ThreadState()


def _exchange(numbers):
    """Set the numbers of the calling thread (None: all 1); return those before."""
    runtimes, set_mkl = _libraries("openmp"), _set_mkl()
    before = [runtime.get_num_threads() for runtime in runtimes]
    openmp, mkl = numbers or ([1] * len(runtimes), 1)
    for runtime, number in zip(runtimes, openmp, strict=True):
        runtime.set_num_threads(number)
    return before, set_mkl(mkl) if set_mkl else 0


def _set_shared(library, number):
    """Set the number of a BLAS from whichever thread."""
    # From version 3.8 threadpoolctl listens to one thread, the first to set a number;
    # but of fits that overlap the last to end puts it back.
    free = getattr(library, "clear_controlling_thread", None)
    if free is not None:
        free(force=True)
    library.set_num_threads(number)
    if free is not None:
        free(force=True)


class _SharedLimit:
    """The limit of the BLAS, which all threads of the process share."""

    def __init__(self):
        self.lock = threading.Lock()
        self.blocks = {True: 0, False: 0}
        self.numbers = []
        self.limited = False

    def count(self, left, entered):
        """Note that a thread goes from one kind of block (None: none) to another."""
        libraries = _libraries("blas")
        with self.lock:
            if not any(self.blocks.values()):
                # Not later: k-means lowers the number for a while, in any thread.
                self.numbers = [library.get_num_threads() for library in libraries]
            for kind, change in ((left, -1), (entered, 1)):
                if kind is not None:
                    self.blocks[kind] += change
            limited = self.blocks[True] > 0 and self.blocks[False] == 0
            if limited != self.limited:
                for library, number in zip(libraries, self.numbers, strict=True):
                    _set_shared(library, 1 if limited else number)
                self.limited = limited


_BLAS = _SharedLimit()
