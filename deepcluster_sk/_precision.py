"""What float32 cannot hold: dates, masks, and digits far from the origin."""

from contextlib import contextmanager

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import _safe_indexing

from deepcluster_sk._warning import warn

# Digits are counted on so many rows.
CHECKED_ROWS = 4096
# Rounding to float32 may move the rows by this much, relative to their spread.
TOLERANCE = 2**-8
# How NumPy's errors begin that do not say what could not be converted.
NUMPY_SAYS = ("could not convert", "setting an array element", "float() argument")


@contextmanager
def conversion(X, name="X"):
    """Refuse, around a conversion to float32, what it would not or not clearly.

    NumPy converts dates, durations and masked entries without a word. Values beyond
    float32 become infinite, which is refused by who converts: NumPy need not warn.

    Parameters
    ----------
    X : object
        What the user passed.
    name : str, default="X"
        What the error calls it.

    Raises
    ------
    ValueError
        If X holds dates, durations, masked entries or an integer beyond float64.
    """
    if np.ma.is_masked(X):
        raise ValueError(
            f"{name} is a masked array with masked entries, which would count like the "
            "others. Fill them first, for example by X.filled(0), or drop their rows."
        )
    array = X[:1].to_numpy() if hasattr(X, "to_numpy") else X
    if getattr(getattr(array, "dtype", None), "kind", None) in ("m", "M"):
        raise ValueError(
            f"{name} holds dates or durations (dtype {array.dtype}). Convert them to "
            "numbers in a unit that suits, such as days since the first."
        )
    try:
        with np.errstate(over="ignore"):
            yield
    except (TypeError, ValueError) as error:
        if not str(error).startswith(NUMPY_SAYS):
            raise
        message = f"{name} must be a matrix of real numbers: {error}"
        raise type(error)(message) from error
    except OverflowError as error:  # of Python's integers
        raise ValueError(
            f"Input {name} contains an integer that is too large for dtype('float32')."
        ) from error


def warn_of_lost_digits(X, name):
    """Warn if rows differ in digits that float32 does not have.

    Values such as times in seconds since 1970 are large and differ by little:
    float32 has 7 digits, so what tells the rows apart may be lost.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data that has been validated, as the user passed it.
    name : str
        The estimator's class.
    """
    X = X if hasattr(X, "shape") else np.asarray(X)
    if getattr(X, "dtype", None) in (np.float32, np.float16, np.bool_):
        return
    n = X.shape[0]
    rows = np.arange(0, n, -(-n // CHECKED_ROWS))
    # Wider than int64 and uint64, where the machine has such a type.
    exact = np.asarray(_safe_indexing(X, rows)).astype(np.longdouble)
    rounded = exact.astype(np.float32).astype(np.longdouble)
    # From the first row, so that equal rows differ by exactly nothing.
    apart, lost = exact - exact[0], (rounded - rounded[0]) - (exact - exact[0])
    if np.square(lost).sum() > TOLERANCE**2 * np.square(apart - apart.mean(0)).sum():
        warn(
            f"{name} converts X to float32, which has 7 digits: too few to tell its "
            "rows apart. Subtract the mean of each feature first, for example by "
            "sklearn.preprocessing.StandardScaler.",
            DataConversionWarning,
        )
