"""Arrays of NumPy, and tensors of torch on any device, under the same names.

NumPy and torch share nearly all names of the array API: ``xp = namespace(x)`` has
``xp.where``, ``xp.linalg.svd`` and so on. Here is what one of them spells otherwise.

What has a row for each sample may be a tensor on a device. What is as small as features
by features, or atoms by atoms, stays on the host in float64: it is factorised there, as
such factorisations are no faster on a GPU, and not every device knows them.
"""

import numpy as np
import torch

import deepcluster_sk.kernels as kernels


def namespace(x):
    """``torch`` for a tensor, else ``numpy``."""
    return torch if isinstance(x, torch.Tensor) else np


def on_device(array, device):
    """A host's array as it is, for the CPU; else a tensor of the device.

    Parameters
    ----------
    array : ndarray
        Of floating numbers, or of integers.
    device : torch.device or None
        None is the CPU.

    Returns
    -------
    array : ndarray or Tensor
        Floating numbers in float32 where the device knows no float64.
    """
    if device is None or device.type == "cpu":
        return array
    of_single = device.type in kernels._WITHOUT_FLOAT64
    return _tensor(array, np.float32 if of_single else np.float64, device)


def on_exact_device(array, device):
    """A host's array as a tensor of a device that knows float64; else as it is."""
    return (
        array if device.type in kernels._WITHOUT_FLOAT64 else on_device(array, device)
    )


def like(array, x):
    """A host's array where x is: of the same kind, on the same device.

    Parameters
    ----------
    array : ndarray or Tensor
    x : ndarray or Tensor

    Returns
    -------
    array : ndarray or Tensor
        Floating numbers in the precision of x, if that is a tensor.
    """
    if not isinstance(x, torch.Tensor) or isinstance(array, torch.Tensor):
        return array
    kind = np.float32 if x.dtype == torch.float32 else np.float64
    return _tensor(array, kind, x.device)


def _tensor(array, kind, device):
    kind = kind if array.dtype.kind == "f" else array.dtype
    # A copy: from_numpy takes neither read-only nor negatively strided arrays.
    return torch.from_numpy(np.array(array, dtype=kind, order="C")).to(device)


def on_host(x):
    """An ndarray; floating numbers of a tensor come as float64."""
    if not isinstance(x, torch.Tensor):
        return x
    x = x.cpu()
    return (x.double() if x.is_floating_point() else x).numpy()


def indices(n, x):
    """``0 .. n - 1`` where x is."""
    return namespace(x).arange(n, device=x.device)


def zeros(shape, x):
    """Zeros of the kind of x."""
    return namespace(x).zeros(shape, dtype=x.dtype, device=x.device)


def resolution(tol, x):
    """A tolerance that the precision of x can meet: float64 any, float32 coarser ones.

    Parameters
    ----------
    tol : float
        What is asked of float64.
    x : ndarray or Tensor

    Returns
    -------
    tol : float
    """
    return max(tol, 100 * float(namespace(x).finfo(x.dtype).eps)) if tol else tol


def contiguous(x):
    """X in the order of its rows in memory."""
    if isinstance(x, torch.Tensor):
        return x.contiguous()
    return np.ascontiguousarray(x)


def copy_of(x):
    """A copy to write into."""
    return x.clone() if isinstance(x, torch.Tensor) else x.copy()


def largest_of_rows(x, count):
    """Indices of the largest entries of each row, in no order, ``(n, count)``."""
    if isinstance(x, torch.Tensor):
        return x.topk(count, dim=1, sorted=False).indices
    return np.argpartition(x, x.shape[1] - count, axis=1)[:, -count:]


def positive_part(x):
    """``max(x, 0)``."""
    return x.clamp(min=0.0) if isinstance(x, torch.Tensor) else np.maximum(x, 0.0)
