"""Readers of images that the user has, or fetches."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch

from deepcluster_sk._estimator._decorators import validate_params

DATA_HOME_VARIABLE = "DEEPCLUSTER_SK_DATA"


def _image_bunch(images, target, description):
    """Bundle images of shape (n, h, w) with the flat rows that estimators take."""
    n, height, width = images.shape
    return Bunch(
        data=images.reshape(n, height * width),
        images=images,
        target=target,
        image_shape=(1, height, width),
        DESCR=description,
    )


def _load_images(file_name, side, data_home, description):
    """Read `X` and `y` from `file_name` in the user's data folder, checking both."""
    expected = f"uint8 of shape (n_samples, {side}, {side})"
    put_there = (
        f"Put {file_name} there: an .npz file (numpy.savez) with the arrays 'X', "
        f"{expected}, and 'y', integers of shape (n_samples,)."
    )
    if data_home is None:
        data_home = os.environ.get(DATA_HOME_VARIABLE)
    if not data_home:
        raise FileNotFoundError(
            f"No folder to read {file_name} from: pass data_home or set the "
            f"environment variable {DATA_HOME_VARIABLE} to a folder. {put_there}"
        )
    folder = Path(data_home).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data_home (or {DATA_HOME_VARIABLE}) must be an existing folder. Got "
            f"{str(folder)!r}. {put_there}"
        )
    path = folder / file_name
    if not path.is_file():
        raise FileNotFoundError(
            f"No {file_name} in data_home (or {DATA_HOME_VARIABLE}), "
            f"{str(folder)!r}. {put_there}"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, target = archive["X"], archive["y"]
    # KeyError: an array is missing; TypeError: a bare .npy; EOFError: an empty file
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Cannot read the arrays 'X' and 'y' from {str(path)!r} ({error}). "
            f"{put_there}"
        ) from error
    if images.shape[1:] != (side, side) or images.dtype != np.uint8:
        raise ValueError(
            f"'X' in {str(path)!r} must be {expected}. Got {images.dtype} of shape "
            f"{images.shape}."
        )
    if target.shape != images.shape[:1] or target.dtype.kind not in "iu":
        raise ValueError(
            f"'y' in {str(path)!r} must be integers of shape ({len(images)},), one per "
            f"image. Got {target.dtype} of shape {target.shape}."
        )
    return _image_bunch(images, target.astype(np.int64), description)


_LOADER_CONSTRAINTS = {
    "data_home": [str, os.PathLike, None],
    "return_X_y": ["boolean"],
}


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def load_mnist_test(
    data_home: str | os.PathLike[str] | None = None, *, return_X_y: bool = False
) -> Any:
    """Load the 10,000 MNIST test images from a local folder.

    Reads ``mnist_test.npz``, which holds the arrays `X`, uint8 of shape
    (n_samples, 28, 28), and `y`, integers of shape (n_samples,).

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of the file. None reads the environment variable
        ``DEEPCLUSTER_SK_DATA``.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        data : ndarray of shape (n_samples, 784)
            The images as rows, uint8 from 0 to 255.
        images : ndarray of shape (n_samples, 28, 28)
            The images.
        target : ndarray of shape (n_samples,)
            The digits, 0 to 9.
        image_shape : tuple
            (1, 28, 28), as the `image_shape` parameter of the estimators.
        DESCR : str
            A description of the data.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the digits.

    Raises
    ------
    FileNotFoundError
        If no folder is given, or the folder or the file does not exist.

    ValueError
        If the file does not hold the two arrays, or they have another shape or dtype.

    See Also
    --------
    fetch_mnist : All 70,000 images, downloaded.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to
    Document Recognition", Proceedings of the IEEE 86(11), 1998.

    Examples
    --------
    A folder with two blank images in the place of the real ones:

    >>> import tempfile
    >>> import numpy as np
    >>> from deepcluster_sk.datasets import load_mnist_test
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X = np.zeros((2, 28, 28), dtype=np.uint8)
    ...     np.savez(f"{folder}/mnist_test.npz", X=X, y=[3, 8])
    ...     digits = load_mnist_test(folder)
    >>> digits.data.shape, digits.image_shape
    ((2, 784), (1, 28, 28))
    """
    bunch = _load_images(
        "mnist_test.npz",
        28,
        data_home,
        "The MNIST test images: handwritten digits, 28 x 28, grey, 10 classes.",
    )
    return (bunch.data, bunch.target) if return_X_y else bunch


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def load_coil20(
    data_home: str | os.PathLike[str] | None = None, *, return_X_y: bool = False
) -> Any:
    """Load COIL-20, 1,440 images of 20 objects, from a local folder.

    Reads ``coil20.npz``, which holds the arrays `X`, uint8 of shape
    (n_samples, 32, 32), and `y`, integers of shape (n_samples,). Each object was
    photographed at 72 angles, 5 degrees apart.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of the file. None reads the environment variable
        ``DEEPCLUSTER_SK_DATA``.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        data : ndarray of shape (n_samples, 1024)
            The images as rows, uint8 from 0 to 255.
        images : ndarray of shape (n_samples, 32, 32)
            The images.
        target : ndarray of shape (n_samples,)
            The objects, 0 to 19.
        image_shape : tuple
            (1, 32, 32), as the `image_shape` parameter of the estimators.
        DESCR : str
            A description of the data.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the objects.

    Raises
    ------
    FileNotFoundError
        If no folder is given, or the folder or the file does not exist.

    ValueError
        If the file does not hold the two arrays, or they have another shape or dtype.

    References
    ----------
    S. A. Nene, S. K. Nayar, H. Murase, "Columbia Object Image Library (COIL-20)",
    Technical Report CUCS-005-96, Columbia University, 1996.

    Examples
    --------
    A folder with two blank images in the place of the real ones:

    >>> import tempfile
    >>> import numpy as np
    >>> from deepcluster_sk.datasets import load_coil20
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X = np.zeros((2, 32, 32), dtype=np.uint8)
    ...     np.savez(f"{folder}/coil20.npz", X=X, y=[0, 19])
    ...     objects = load_coil20(folder)
    >>> objects.data.shape, objects.image_shape
    ((2, 1024), (1, 32, 32))
    """
    bunch = _load_images(
        "coil20.npz",
        32,
        data_home,
        "COIL-20: 20 objects at 72 angles each, 32 x 32, grey.",
    )
    return (bunch.data, bunch.target) if return_X_y else bunch


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_mnist(
    data_home: str | os.PathLike[str] | None = None, *, return_X_y: bool = False
) -> Any:
    """Download all 70,000 MNIST images from OpenML (once: they are cached).

    Needs the network at the first call, and pandas to parse the download. The first
    60,000 images are the training set, the last 10,000 the test set.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of scikit-learn's download cache, as in
        :func:`sklearn.datasets.fetch_openml`. None takes scikit-learn's default. It is
        not the folder that :func:`load_mnist_test` reads.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        data : ndarray of shape (70000, 784)
            The images as rows, uint8 from 0 to 255.
        images : ndarray of shape (70000, 28, 28)
            The images.
        target : ndarray of shape (70000,)
            The digits, 0 to 9.
        image_shape : tuple
            (1, 28, 28), as the `image_shape` parameter of the estimators.
        DESCR : str
            A description of the data.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the digits.

    Raises
    ------
    OSError
        If OpenML cannot be reached and the data are not cached.

    See Also
    --------
    load_mnist_test : The test images, from a local folder.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to
    Document Recognition", Proceedings of the IEEE 86(11), 1998.

    Examples
    --------
    >>> from deepcluster_sk.datasets import fetch_mnist
    >>> digits = fetch_mnist()  # doctest: +SKIP
    >>> digits.data.shape  # doctest: +SKIP
    (70000, 784)
    """
    raw = fetch_openml("mnist_784", version=1, as_frame=False, data_home=data_home)
    bunch = _image_bunch(
        raw.data.astype(np.uint8).reshape(-1, 28, 28),
        raw.target.astype(np.int64),  # OpenML serves the digits as strings
        raw.DESCR,
    )
    return (bunch.data, bunch.target) if return_X_y else bunch
