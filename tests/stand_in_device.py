"""A device that every machine has, to test what is written for GPUs.

Inside ``StandInDevice()`` the name "meta" is that of a device whose tensors are
computed on the CPU, but behave like those of a GPU:

- they do not mix with tensors of the CPU, but for numbers (tensors without a dimension)
  and for indices, which torch moves by itself;
- their random numbers need a generator of their device;
- they have no ``numpy()``.

What would make the host wait for a GPU is counted. Results are those of the CPU to the
last bit, as the same kernels run on the same numbers.

"meta" is the one device that torch knows everywhere, and whose gradients it computes in
the thread that asks for them, where the mode below is active.
"""

from collections import Counter
from contextlib import ExitStack
from importlib import import_module
from typing import ClassVar
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
CPU = torch.device("cpu")
aten = torch.ops.aten
# The host needs the result, or its shape, before it can go on.
WAITS = {
    aten._local_scalar_dense.default,
    aten._linalg_check_errors.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.linalg_eig.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
COPIES = {aten._to_copy.default, aten.copy_.default}
# What autocast computes in the lower precision; as on a GPU, and on the CPU.
LOWERED = (
    torch.nn.functional.linear,
    torch.nn.functional.conv1d,
    torch.nn.functional.conv2d,
    torch.nn.functional.conv_transpose1d,
    torch.nn.functional.conv_transpose2d,
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.bmm,
    torch.mm,
)


class DeviceTensor(torch.Tensor):
    """A tensor of the stand-in, which holds one of the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            dispatch_device=True,
        )

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"DeviceTensor({self.held!r})"

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        # What is left of a fit can be read after the block, where nothing is counted.
        return compute(func, args, kwargs or {}, StandInDevice())


class DeviceGenerator(torch.Generator):
    """A generator of the CPU, or of the stand-in."""

    # What is behind those of the stand-in; operations get other objects for the same.
    known: ClassVar[set] = set()

    def __new__(cls, device="cpu"):
        return super().__new__(cls)

    def __init__(self, device="cpu"):
        super().__init__()
        if torch.device(device) == DEVICE:
            self.known.add(self._cdata)

    def __del__(self):
        self.known.discard(self._cdata)


class Autocast(TorchFunctionMode):
    """``torch.autocast``, which knows no stand-in."""

    def __init__(self, device_type, dtype=torch.bfloat16):
        super().__init__()
        assert device_type == DEVICE.type
        self.dtype = dtype

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in LOWERED:
            args, kwargs = tree_map(self._lower, (args, kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _lower(self, value):
        of_floats = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        return value.to(self.dtype) if of_floats else value


class StandInDevice(TorchDispatchMode):
    """Inside the block "meta" is a device that computes.

    Parameters
    ----------
    double : bool, default=True
        Whether the device has double precision, as CUDA does; Apple's (MPS) has not.

    Attributes
    ----------
    waits : Counter
        How often the host had to wait for the device, by name of the operation;
        copies to the host are among them.
    copies_in, copies_out : int
        Number of copies from the host to the device, and back.
    """

    def __init__(self, double=True):
        super().__init__()
        self.double = double
        self.waits = Counter()
        self.copies_in = self.copies_out = 0

    @property
    def n_waits(self):
        return self.waits.total()

    def __enter__(self):
        self.stack = ExitStack()
        optimizer = import_module("torch.optim.optimizer")
        known = optimizer._get_fused_kernels_supported_devices()
        autocast = torch.autocast

        def start_autocast(device_type, *args, **kwargs):
            kind = Autocast if device_type == DEVICE.type else autocast
            return kind(device_type, *args, **kwargs)

        for place, name, value in (
            (torch, "Generator", DeviceGenerator),
            (torch, "autocast", start_autocast),
            (
                optimizer,
                "_get_fused_kernels_supported_devices",
                lambda: [*known, DEVICE.type],
            ),
        ):
            self.stack.enter_context(mock.patch.object(place, name, value))
        # Data of torch.tensor(..., device=...) are moved where they can be seen.
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        self.stack.callback(torch._C._set_only_lift_cpu_tensors, before)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.stack.close()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {}, self)


def compute(func, args, kwargs, device):
    """Run an operation on the CPU; its result is where it belongs.

    Parameters
    ----------
    func : torch._ops.OpOverload
    args : tuple
    kwargs : dict
    device : StandInDevice
        What counts.

    Returns
    -------
    result : object
    """
    if func is torch.ops.prim.device.default:
        return DEVICE
    tensors = [t for t in tree_flatten((args, kwargs))[0] if _is_tensor(t)]
    here = [t for t in tensors if isinstance(t, DeviceTensor)]
    host = [t for t in tensors if not isinstance(t, DeviceTensor)]
    for tensor in host:
        assert tensor.device == CPU, f"{func} on {tensor.device}, not the stand-in"
    wanted = kwargs.get("device")
    target = torch.device(wanted) if wanted is not None else DEVICE if here else CPU
    _check_generator(func, kwargs.get("generator"), target)
    if here:
        _check_mixing(func, args, here, host, device)
        _count_waits(func, args, device)
    if func in COPIES:
        _count_copies(func, args, target, device)
    if wanted is not None:
        kwargs = {**kwargs, "device": CPU}
    result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if func is aten.copy_.default:  # into a tensor of the CPU, perhaps
        return args[0]
    if target == DEVICE:
        _check_precision(func, result, device)
        result = tree_map(lambda t: DeviceTensor(t) if _is_tensor(t) else t, result)
        result = return_and_correct_aliasing(func, args, kwargs, result)
    return result


def _is_tensor(value):
    return isinstance(value, torch.Tensor)


def _held(value):
    return value.held if isinstance(value, DeviceTensor) else value


def _check_generator(func, generator, target):
    if generator is not None:
        found = DEVICE if generator._cdata in DeviceGenerator.known else CPU
        if found != target:
            raise RuntimeError(
                f"{func}: Expected a '{target}' device type for generator but found "
                f"'{found}'"
            )


def _check_precision(func, result, device):
    of_double = (t for t in tree_flatten(result)[0] if _is_tensor(t))
    if not device.double and any(t.dtype == torch.float64 for t in of_double):
        raise TypeError(f"{func}: the device does not support float64")


def _check_mixing(func, args, here, host, device):
    if func in INDEXING:
        indices = [t for t in args[1] if t is not None]
        moved = [t for t in indices if not isinstance(t, DeviceTensor)]
        if moved and isinstance(args[0], DeviceTensor):
            device.copies_in += len(moved)
            host = [t for t in host if not any(t is index for index in moved)]
    if func in COPIES:
        return
    for tensor in host:
        if tensor.dim() > 0:
            raise RuntimeError(
                f"{func}: Expected all tensors to be on the same device, but found at "
                f"least two devices, {here[0].device} and {tensor.device}, of shape "
                f"{tuple(tensor.shape)}"
            )


def _count_waits(func, args, device):
    masks = func in INDEXING and any(
        t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
    )
    if func in WAITS or masks:
        device.waits[str(func)] += 1


def _count_copies(func, args, target, device):
    if func is aten.copy_.default:
        source, end = args[1], args[0]
        target = DEVICE if isinstance(end, DeviceTensor) else CPU
    else:
        source = args[0]
    start = DEVICE if isinstance(source, DeviceTensor) else CPU
    if (start, target) == (CPU, DEVICE):
        device.copies_in += 1
    elif (start, target) == (DEVICE, CPU):
        device.copies_out += 1
        device.waits["copy to the host"] += 1
