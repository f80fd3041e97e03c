"""Who has which rows of a batch, where several processes train together."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUP = ContextVar("process_group", default=None)


class _ProcessGroup:
    """The processes of a fit, seen from one of them.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
    """

    def __init__(self, accelerator):
        self.accelerator = accelerator
        self.rank, self.size = accelerator.process_index, accelerator.num_processes
        self.bounds = None  # of each part, while a batch is trained on

    @contextmanager
    def batch(self, n):
        """Inside the block rows of a batch are divided."""
        if n < self.size:
            raise ValueError(
                f"A batch of {n} rows cannot be divided among {self.size} processes. "
                "Raise batch_size, or take fewer processes."
            )
        # The parts of tensor_split: the first ones are longer by one row.
        self.bounds = [
            n // self.size * rank + min(rank, n % self.size)
            for rank in range(self.size + 1)
        ]
        try:
            yield
        finally:
            self.bounds = None

    @property
    def part(self):
        """Rows of the batch that are this process's own."""
        return slice(self.bounds[self.rank], self.bounds[self.rank + 1])

    @property
    def share(self):
        """Share of this process in the rows of the batch."""
        return (self.part.stop - self.part.start) / self.bounds[-1]

    def sum(self, x):
        """Sum over the processes, the same in all of them."""
        here = x.contiguous().to(self.accelerator.device)
        return self.accelerator.reduce(here, "sum").to(x)

    def gather(self, x):
        """Rows of all processes, in order.

        Parts differ in length, which not every engine can gather. A sum with zeros
        is exact.
        """
        whole = x.new_zeros(self.bounds[-1], *x.shape[1:])
        whole[self.part] = x
        return self.sum(whole)

    def exchange(self, thing):
        """What each process brings, in a list."""
        from accelerate.utils import gather_object

        return gather_object([thing])


class _GatherRows(torch.autograd.Function):
    """The rows of all processes, with the gradient of what all make of them."""

    @staticmethod
    def forward(ctx, x, group):
        """Gather."""
        ctx.group = group  # backward may run in a thread that knows no group
        return group.gather(x)

    @staticmethod
    def backward(ctx, gradient):
        """The sum over processes, as their gradients will be weighted."""
        group = ctx.group
        return group.sum(group.share * gradient)[group.part] / group.share, None


@contextmanager
def processes(accelerator: Any) -> Iterator[None]:
    """Train over the processes of an accelerator.

    Inside the block ``fit`` cuts every batch into one part for each process and
    averages the gradients, so that the steps are those of one process up to rounding.
    All processes make the same call, with the same data and parameters, and end with
    the same fitted estimator. With ``random_state=None`` the first one's seed counts.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
        Made in each process; with a single process nothing changes. Give the
        estimator its ``device``.

    Yields
    ------
    None
        The block is all that matters.

    Raises
    ------
    ValueError
        If ``WORLD_SIZE`` in the environment says that there are several processes,
        but the accelerator has found one. By ``fit``, before any training, if the
        data or a parameter differ between processes or ``checkpoint`` is given, and
        if a batch has fewer rows than there are processes.
    RuntimeError
        By ``fit``, if the processes no longer have the same weights.

    Examples
    --------
    >>> from accelerate import Accelerator
    >>> from deepcluster_sk import IDEC, parallel
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> accelerator = Accelerator(cpu=True)
    >>> model = IDEC(
    ...     3, latent_dim=2, hidden_layer_sizes=(16,), device=accelerator.device
    ... )
    >>> with parallel.processes(accelerator):
    ...     model.fit(X).labels_.shape
    (150,)
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes == 1 < started:
        raise ValueError(
            f"{started} processes were started (WORLD_SIZE), but the accelerator has "
            "found one. On CPUs it must be Accelerator(cpu=True)."
        )
    group = _ProcessGroup(accelerator) if accelerator.num_processes > 1 else None
    token = _GROUP.set(group)
    try:
        yield
    finally:
        _GROUP.reset(token)


def whole_batch(x: torch.Tensor) -> torch.Tensor:
    """Rows of the whole batch, of which this process has a part.

    The training loop calls it for a criterion that compares rows or takes note of
    what it sees of a batch; a module that compares rows calls it itself.

    Parameters
    ----------
    x : torch.Tensor of shape (m, ...)
        What this process has computed for its rows.

    Returns
    -------
    whole : torch.Tensor of shape (n, ...)
        That of all processes, in the order of the batch. A gradient flows back to
        all of them. Outside a step over several processes this is `x` itself.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.parallel import whole_batch
    >>> x = torch.ones(4, 2)
    >>> whole_batch(x) is x  # one process
    True
    """
    group = _GROUP.get()
    return x if group is None or group.bounds is None else _GatherRows.apply(x, group)


def own_part(x: torch.Tensor) -> torch.Tensor:
    """Rows of a batch that are this process's own.

    Parameters
    ----------
    x : torch.Tensor of shape (n, ...)
        One row for each row of the batch.

    Returns
    -------
    part : torch.Tensor of shape (m, ...)
        Outside a step over several processes this is `x` itself.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.parallel import own_part
    >>> x = torch.ones(4, 2)
    >>> own_part(x) is x  # one process
    True
    """
    group = _GROUP.get()
    return x if group is None or group.bounds is None else x[group.part]


class _WholeOutput:
    """The output of a module for the whole batch, gathered attribute by attribute."""

    def __init__(self, output):
        self._output = output

    def __getattr__(self, name):
        found = getattr(self._output, name)
        if isinstance(found, torch.Tensor):
            found = whole_batch(found)
        elif isinstance(found, (list, tuple)):
            found = type(found)(map(whole_batch, found))
        setattr(self, name, found)  # gathered once
        return found


def whole_output(output):
    """What the module returned for the whole batch, of which this process has a part.

    Parameters
    ----------
    output : Tensor or object
        One row for each row of this process's part; of an object, its attributes that
        are tensors or lists of tensors.

    Returns
    -------
    whole : Tensor or object
        With the rows of all processes. For one process this is ``output`` itself.
    """
    group = _GROUP.get()
    if group is None or group.bounds is None:
        return output
    if isinstance(output, torch.Tensor):
        return whole_batch(output)
    return _WholeOutput(output)


# --- for the training loop ------------------------------------------------------------


def process_rank():
    """Position of this process among those that train together; 0 for one alone."""
    group = _GROUP.get()
    return 0 if group is None else group.rank


def is_distributed():
    """Whether several processes train together."""
    return _GROUP.get() is not None


def split_batch(n):
    """Inside the block a batch of n rows is divided."""
    group = _GROUP.get()
    return nullcontext() if group is None else group.batch(n)


def average_gradients(parameters):
    """Give all processes the gradient of the whole batch.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
    """
    group = _GROUP.get()
    if group is None:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    # At once: what each message costs by itself is the most of a small network's.
    flat = group.sum(group.share * torch.cat([g.flatten() for g in gradients]))
    parts = flat.split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def weighted_shares(terms):
    """What this process adds to the terms of the whole batch."""
    group = _GROUP.get()
    if group is None:
        return terms
    return {name: group.share * term for name, term in terms.items()}


def sum_over_processes(x):
    """Sum of a tensor over the processes."""
    group = _GROUP.get()
    return x if group is None else group.sum(x)


def own_slice(n):
    """Which of n things this process does; all of them if there are too few."""
    group = _GROUP.get()
    if group is None or n < group.size:
        return slice(0, n)
    with group.batch(n):
        return group.part


@contextmanager
def whole_batch_statistics(module):
    """Let batch normalisation see whole batches.

    Parameters
    ----------
    module : torch.nn.Module
    """
    hooks = []
    if is_distributed():
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                hooks.append(layer.register_forward_pre_hook(_before))
                hooks.append(layer.register_forward_hook(_after))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _before(layer, inputs):
    return tuple(map(whole_batch, inputs)) if layer.training else None


def _after(layer, inputs, output):
    return own_part(output) if layer.training else None


def from_first_process(value):
    """What the first process has."""
    group = _GROUP.get()
    return value if group is None else group.exchange(value)[0]


def differing(texts):
    """Names of the texts that are not the same in all processes.

    Parameters
    ----------
    texts : dict of str to str

    Returns
    -------
    names : list of str
    """
    group = _GROUP.get()
    if group is None:
        return []
    everywhere = group.exchange(texts)
    names = {name: None for each in everywhere for name in each}
    return [n for n in names if len({each.get(n) for each in everywhere}) > 1]


def check_weights(phase, **modules):
    """Refuse to go on with modules that are no longer the same in all processes.

    Parameters
    ----------
    phase : str
        The phase that has ended.
    **modules : dict of torch.nn.Module
    """
    if not is_distributed():
        return
    digests = {name: _digest(module) for name, module in modules.items()}
    names = differing(digests)
    if names:
        raise RuntimeError(
            f"After phase {phase!r} the {' and the '.join(names)} of the processes "
            "differ. Callbacks must do the same in all of them, and a criterion must "
            "change its buffers in observe(output, x, index), which gets whole batches."
        )


def _digest(module):
    digest = hashlib.sha256()
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, tensor in tensors:
            digest.update(name.encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
