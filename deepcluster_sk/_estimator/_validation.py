"""What is refused, or warned of, before any training."""

import numbers
from contextlib import contextmanager

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array, validate_data
from skorch.callbacks import Callback

from deepcluster_sk._training import _distributed as distributed
from deepcluster_sk._training._checkpoint import describe
from deepcluster_sk._training._data import BLOCK_BYTES, is_out_of_core, rows_per
from deepcluster_sk.exceptions import warn

# Digits are counted on so many rows.
CHECKED_ROWS = 4096
# Rounding to float32 may move the rows by this much, relative to their spread.
TOLERANCE = 2**-8
EXACT_IN_FLOAT32 = (
    *(np.float32, np.float16, np.bool_),
    *(torch.float32, torch.float16, torch.bfloat16, torch.bool),
)
# How NumPy's errors begin that do not say what could not be converted.
NUMPY_SAYS = ("could not convert", "setting an array element", "float() argument")


def _columns_without_numbers(X):
    """Names of the columns of a table whose values are no numbers."""
    found = []
    for name in getattr(X, "columns", ()):
        values = np.asarray(X[name])
        try:
            values.astype(np.float64)
        except (TypeError, ValueError):
            found.append(repr(name))
        else:
            if values.dtype.kind in ("m", "M"):
                found.append(repr(name))
    return found


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
        columns = _columns_without_numbers(X)
        if not columns and not str(error).startswith(NUMPY_SAYS):
            raise
        message = f"{name} must be a matrix of real numbers: {error}"
        if columns:
            message += (
                f". Not all values are numbers in {', '.join(columns)}: leave out what "
                "holds words or dates, or encode it as numbers."
            )
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(message) from error
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
    if getattr(X, "dtype", None) in EXACT_IN_FLOAT32:
        return
    n = X.shape[0]
    rows = np.arange(0, n, -(-n // CHECKED_ROWS))
    if isinstance(X, torch.Tensor):
        some = X[torch.from_numpy(rows).to(X.device)].cpu()
    else:
        some = X.tocsr()[rows].toarray() if issparse(X) else _safe_indexing(X, rows)
    # Wider than int64 and uint64, where the machine has such a type.
    exact = np.asarray(some).astype(np.longdouble)
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


def check_data(estimator, X, reset=False):
    """Validate data, to predict on unless ``reset``.

    Parameters
    ----------
    estimator : EstimatorTemplate
        Its ``_out_of_core`` says whether data on disk may stay there.
    X : array-like of shape (n_samples, n_features)
        What the user passed.
    reset : bool, default=False
        Whether these are the training data, whose features are remembered.

    Returns
    -------
    X : array or Tensor of shape (n_samples, n_features)
        float32 and C-contiguous, or as it was if it stays on disk. A tensor that is
        not on the CPU stays where it is, if the estimator has a network.
    """
    stays = estimator._out_of_core and is_out_of_core(X)
    if isinstance(X, torch.Tensor):
        if X.layout != torch.strided:
            raise ValueError(
                f"X is a tensor of layout {X.layout}. Pass a dense tensor, or a sparse "
                "matrix of SciPy."
            )
        X = X.detach()
        if X.dtype == torch.bfloat16:  # which NumPy does not know
            X = X.float()
        if X.device.type == "cpu" or not estimator._keeps_device_tensors:
            X = X.cpu().numpy()
    with conversion(X):
        if stays:
            checked = _check_by_blocks(estimator, X, reset)
        elif isinstance(X, torch.Tensor):
            checked = _check_tensor(estimator, X, reset)
        else:
            checked = validate_data(
                estimator,
                X,
                accept_sparse="csr" if estimator._accepts_sparse else False,
                dtype=np.float32,
                order="C",
                reset=reset,
            )
    if reset:
        # What stays on disk is never read at once.
        X = X[: rows_per(BLOCK_BYTES, X)] if stays else X
        warn_of_lost_digits(X, type(estimator).__name__)
    return checked


def _check_tensor(estimator, X, reset):
    """Validate a tensor on its device; it is copied to the host only to be refused."""
    found = X.to(torch.float32).contiguous() if not X.is_complex() else X
    if found.is_inference():  # no gradient could go through a product with it
        found = found.clone()
    if X.dim() != 2 or not X.numel() or X.is_complex() or not found.isfinite().all():
        # As an array it is refused in scikit-learn's words.
        found = found.cpu().numpy()
        validate_data(estimator, found, dtype=np.float32, reset=reset)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    return found


def _check_by_blocks(estimator, X, reset):
    """Validate data block by block and return it as it is."""
    size = rows_per(BLOCK_BYTES, X)
    validate_data(estimator, X[:size], dtype=np.float32, reset=reset)
    if X.dtype.kind not in "biu":  # integers are finite
        for start in range(size, X.shape[0], size):
            check_array(X[start : start + size], dtype=np.float32, input_name="X")
    return X


def check_same_call(estimator, X, y, rows):
    """Refuse a fit over several processes that are not asked for the same."""
    if not distributed.is_distributed():
        return
    if estimator.checkpoint is not None:
        raise ValueError(
            f"The 'checkpoint' parameter of {type(estimator).__name__} must be None in "
            f"a fit over several processes. Got {estimator.checkpoint!r} instead."
        )
    device = getattr(rows, "device", torch.device("cpu"))
    described = describe(estimator, X, y, device)
    described.pop("device", None)  # GPUs of a machine have different names
    differing = distributed.differing(described)
    if differing:
        raise ValueError(
            "A fit over several processes needs the same data and parameters in "
            f"all of them. They differ in {', '.join(differing)}."
        )


def check_init(estimator, n_features):
    """Refuse an array ``init`` that is not a finite centre for each cluster.

    Parameters
    ----------
    estimator : BaseDeepClusterer
        With or without such a parameter.
    n_features : int
        Number d of columns of X.
    """
    init = getattr(estimator, "init", None)
    if init is None or isinstance(init, str):
        return
    name, k = type(estimator).__name__, estimator.n_clusters
    if k == "auto":
        raise ValueError(
            f"An array as the 'init' parameter of {name} says how many clusters there "
            "are. Pass the number of its rows as n_clusters. Got n_clusters='auto' "
            "instead."
        )
    with conversion(init, "init"):
        centers = check_array(
            init, dtype=np.float32, ensure_2d=False, allow_nd=True, input_name="init"
        )
    if centers.shape != (k, n_features):
        raise ValueError(
            f"An array as the 'init' parameter of {name} must hold n_clusters={k} "
            f"centres with a value for each of the {n_features} features of X: its "
            f"shape must be {(k, n_features)}. Got {centers.shape} instead."
        )


def check_warm_start(estimator):
    """Refuse what a fit that goes on from the one before cannot do.

    Parameters
    ----------
    estimator : BaseDeepEstimator
        Fitted.
    """
    name, k = type(estimator).__name__, getattr(estimator, "n_clusters_", None)
    if k is not None and estimator.n_clusters not in ("auto", k):
        raise ValueError(
            f"warm_start=True of {name} goes on with the fitted network, which has {k} "
            f"clusters. Got n_clusters={estimator.n_clusters} instead."
        )
    if estimator.checkpoint is not None:
        raise ValueError(
            f"The 'checkpoint' parameter of {name} must be None where warm_start=True "
            "goes on with a fitted network: what was fitted before is not in the "
            f"folder. Got {estimator.checkpoint!r} instead."
        )


def check_layer_sizes(estimator):
    """Refuse ``hidden_layer_sizes`` that are not positive integers."""
    sizes = estimator.hidden_layer_sizes
    if sizes is not None and not all(
        isinstance(size, numbers.Integral) and size >= 1 for size in sizes
    ):
        raise ValueError(
            f"The 'hidden_layer_sizes' parameter of {type(estimator).__name__} must "
            f"hold integers in the range [1, inf). Got {sizes!r} instead."
        )


def check_some_layer(estimator):
    """Refuse ``hidden_layer_sizes`` without a single layer."""
    sizes = estimator.hidden_layer_sizes
    if sizes is not None and not len(sizes):
        raise ValueError(
            f"The 'hidden_layer_sizes' parameter of {type(estimator).__name__} must "
            f"hold at least one integer. Got {sizes!r} instead."
        )


def check_callbacks(estimator):
    """Refuse callbacks that are not skorch's."""
    for callback in estimator.callbacks or ():
        if not isinstance(callback, Callback):
            raise TypeError(
                f"The 'callbacks' parameter of {type(estimator).__name__} must hold "
                f"instances of skorch.callbacks.Callback. Got {callback!r} instead."
            )


def check_image_shape(estimator, n_features):
    """Refuse an ``image_shape`` that rows of so many features do not have."""
    name, shape = type(estimator).__name__, estimator.image_shape
    if shape is None:
        of_images = {"conv", "fully-conv"}
        if isinstance(estimator.architecture, str) and (
            estimator.architecture in of_images
        ):
            raise ValueError(
                f"architecture={estimator.architecture!r} of {name} needs "
                f"image_shape=(C, H, W), with C * H * W = {n_features}, the number of "
                "columns of X."
            )
        return
    if len(shape) != 3 or not all(
        isinstance(side, numbers.Integral) and side >= 1 for side in shape
    ):
        raise ValueError(
            f"The 'image_shape' parameter of {name} must be three positive "
            f"integers (C, H, W). Got {shape!r} instead."
        )
    if np.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={tuple(shape)} of {name} means rows of "
            f"{np.prod(shape)} values, but X has {n_features} features."
        )
