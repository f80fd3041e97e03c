"""What every solver asks of its arguments."""

from numbers import Real

import numpy as np
import torch
from sklearn.utils import check_array


def check_matrix(name, value, *, rows=None, columns=None):
    """Return `value` as a finite float64 array of the wanted shape.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array-like or Tensor of shape (r, c)
        What the caller passed.
    rows, columns : tuple of (int, str), default=None
        The wanted size and a word on where it comes from.

    Returns
    -------
    ndarray of shape (r, c), float64
        A tensor stays what it is, and where it is: a look at its numbers would wait
        for its device.
    """
    if not isinstance(value, torch.Tensor):
        value = check_array(value, dtype=np.float64, input_name=name)
    for axis, wanted in enumerate((rows, columns)):
        if wanted is not None and value.shape[axis] != wanted[0]:
            raise ValueError(
                f"{name} must have {wanted[0]} {('rows', 'columns')[axis]}, "
                f"{wanted[1]}; got shape {value.shape}."
            )
    return value


def check_scalar(name, value, *, low=0.0, high=np.inf, low_open=False):
    """Return `value` as a float in [low, high], or (low, high] if `low_open`."""
    ok = isinstance(value, Real | np.number) and not isinstance(value, bool)
    ok = ok and np.isfinite(value) and low <= value <= high
    if not ok or (low_open and value == low):
        left = "(" if low_open else "["
        right = ")" if high == np.inf else "]"
        raise ValueError(
            f"{name} must be a finite number in {left}{low:g}, {high:g}{right}; "
            f"got {value!r}."
        )
    return float(value)
