"""Which device a parameter ``device`` names, and its numbers of which precision."""

import torch


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
