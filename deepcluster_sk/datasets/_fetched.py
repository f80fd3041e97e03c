"""Data sets of the papers that are downloaded once, and folders of images."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import fetch_openml, fetch_rcv1
from sklearn.utils import Bunch, check_random_state

from deepcluster_sk._estimator._decorators import validate_params
from deepcluster_sk.datasets._images import _LOADER_CONSTRAINTS

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif"}
# The four roots of the topics of RCV1 that its clustering benchmarks take as classes.
ROOT_TOPICS = ("CCAT", "ECAT", "GCAT", "MCAT")
N_DOCUMENTS, N_WORDS = 10_000, 2_000


def _bunch_of_images(data, target, image_shape, description):
    """Rows and what they show, images of shape (n, h, w) or (n, c, h, w)."""
    channels, height, width = image_shape
    shape = (height, width) if channels == 1 else image_shape
    return Bunch(
        data=data,
        images=data.reshape(-1, *shape),
        target=target,
        image_shape=image_shape,
        DESCR=description,
    )


def _classes(target):
    """Classes from 0, in the order of their names, or of the numbers that these are."""
    names = np.asarray(target).astype(str)
    if all(name.isdigit() for name in names):
        names = names.astype(np.int64)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _returned(bunch, return_X_y):
    return (bunch.data, bunch.target) if return_X_y else bunch


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_fashion_mnist(
    data_home: str | os.PathLike[str] | None = None, *, return_X_y: bool = False
) -> Any:
    """Download the 70,000 images of Fashion-MNIST from OpenML (once: they are cached).

    Needs the network at the first call, and pandas to parse the download. The first
    60,000 images are the training set.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of scikit-learn's download cache, as in
        :func:`sklearn.datasets.fetch_openml`. None takes scikit-learn's default.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        ``data``, uint8 of shape (70000, 784), from 0 to 255; ``images`` of shape
        (70000, 28, 28); ``target``, the ten kinds of clothes, 0 to 9; ``image_shape``,
        (1, 28, 28); ``DESCR``.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the classes.

    Raises
    ------
    OSError
        If OpenML cannot be reached and the data are not cached.

    References
    ----------
    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
    Benchmarking Machine Learning Algorithms", arXiv:1708.07747, 2017.

    Examples
    --------
    >>> from deepcluster_sk.datasets import fetch_fashion_mnist
    >>> fetch_fashion_mnist().data.shape  # doctest: +SKIP
    (70000, 784)
    """
    raw = fetch_openml("Fashion-MNIST", version=1, as_frame=False, data_home=data_home)
    data = np.asarray(raw.data).astype(np.uint8)
    bunch = _bunch_of_images(data, _classes(raw.target), (1, 28, 28), raw.DESCR)
    return _returned(bunch, return_X_y)


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_usps(
    data_home: str | os.PathLike[str] | None = None, *, return_X_y: bool = False
) -> Any:
    """Download the 9,298 digits of USPS from OpenML (once: they are cached).

    Needs the network at the first call, and pandas to parse the download.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of scikit-learn's download cache, as in
        :func:`sklearn.datasets.fetch_openml`. None takes scikit-learn's default.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        ``data``, float32 of shape (9298, 256), from 0, black, to 1 (OpenML's are from
        -1 to 1); ``images`` of shape (9298, 16, 16); ``target``, the digits, 0 to 9;
        ``image_shape``, (1, 16, 16); ``DESCR``.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the digits.

    Raises
    ------
    OSError
        If OpenML cannot be reached and the data are not cached.

    References
    ----------
    J. J. Hull, "A Database for Handwritten Text Recognition Research", IEEE
    Transactions on Pattern Analysis and Machine Intelligence 16(5), 1994.

    Examples
    --------
    >>> from deepcluster_sk.datasets import fetch_usps
    >>> fetch_usps().image_shape  # doctest: +SKIP
    (1, 16, 16)
    """
    raw = fetch_openml("USPS", version=2, as_frame=False, data_home=data_home)
    data = (np.asarray(raw.data, dtype=np.float32) + 1) / 2
    bunch = _bunch_of_images(data, _classes(raw.target), (1, 16, 16), raw.DESCR)
    return _returned(bunch, return_X_y)


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_cifar10(
    data_home: str | os.PathLike[str] | None = None, *, return_X_y: bool = False
) -> Any:
    """Download the 60,000 images of CIFAR-10 from OpenML (once: they are cached).

    Needs the network at the first call, and pandas and some gigabytes of memory to
    parse the download.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of scikit-learn's download cache, as in
        :func:`sklearn.datasets.fetch_openml`. None takes scikit-learn's default.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        ``data``, uint8 of shape (60000, 3072), from 0 to 255; ``images`` of shape
        (60000, 3, 32, 32), colours first; ``target``, the ten kinds of objects, 0 to 9;
        ``image_shape``, (3, 32, 32); ``DESCR``.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the classes.

    Raises
    ------
    OSError
        If OpenML cannot be reached and the data are not cached.

    References
    ----------
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", Technical
    Report, University of Toronto, 2009.

    Examples
    --------
    >>> from deepcluster_sk.datasets import fetch_cifar10
    >>> fetch_cifar10().image_shape  # doctest: +SKIP
    (3, 32, 32)
    """
    raw = fetch_openml("CIFAR_10", version=1, as_frame=False, data_home=data_home)
    data = np.asarray(raw.data).astype(np.uint8)
    bunch = _bunch_of_images(data, _classes(raw.target), (3, 32, 32), raw.DESCR)
    return _returned(bunch, return_X_y)


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_har(
    data_home: str | os.PathLike[str] | None = None, *, return_X_y: bool = False
) -> Any:
    """Download 10,299 windows of motion, of six activities, from OpenML (once).

    Needs the network at the first call, and pandas to parse the download.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of scikit-learn's download cache, as in
        :func:`sklearn.datasets.fetch_openml`. None takes scikit-learn's default.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        ``data``, float32 of shape (10299, 561), from -1 to 1; ``target``, the
        activities, 0 to 5; ``DESCR``.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the activities.

    Raises
    ------
    OSError
        If OpenML cannot be reached and the data are not cached.

    References
    ----------
    D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, "A Public Domain Dataset
    for Human Activity Recognition Using Smartphones", ESANN 2013.

    Examples
    --------
    >>> from deepcluster_sk.datasets import fetch_har
    >>> fetch_har().data.shape  # doctest: +SKIP
    (10299, 561)
    """
    raw = fetch_openml("har", version=1, as_frame=False, data_home=data_home)
    data = np.asarray(raw.data, dtype=np.float32)
    bunch = Bunch(data=data, target=_classes(raw.target), DESCR=raw.DESCR)
    return _returned(bunch, return_X_y)


@validate_params(
    {**_LOADER_CONSTRAINTS, "random_state": ["random_state"]},
    prefer_skip_nested_validation=True,
)
def fetch_reuters10k(
    data_home: str | os.PathLike[str] | None = None,
    *,
    random_state: int | np.random.RandomState | None = 0,
    return_X_y: bool = False,
) -> Any:
    """Draw 10,000 news of four topics from RCV1, which is downloaded once.

    Of the documents with exactly one of the four root topics 10,000 are drawn, and the
    2,000 words that most of all these documents have are kept. The papers do not say
    which documents they drew. Needs the network at the first call.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder of scikit-learn's download cache, as in
        :func:`sklearn.datasets.fetch_rcv1`. None takes scikit-learn's default.

    random_state : int, RandomState instance or None, default=0
        Which documents are drawn.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        ``data``, a csr_array of shape (10000, 2000), float32, the weights of words as
        RCV1 has them; ``target``, the topics, 0 to 3; ``target_names``; ``DESCR``.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the topics.

    Raises
    ------
    OSError
        If the server cannot be reached and the data are not cached.

    References
    ----------
    D. D. Lewis, Y. Yang, T. G. Rose, F. Li, "RCV1: A New Benchmark Collection for Text
    Categorization Research", Journal of Machine Learning Research 5, 2004.

    Examples
    --------
    >>> from deepcluster_sk.datasets import fetch_reuters10k
    >>> fetch_reuters10k().data.shape  # doctest: +SKIP
    (10000, 2000)
    """
    raw = fetch_rcv1(data_home=data_home)
    columns = [list(raw.target_names).index(name) for name in ROOT_TOPICS]
    topics = raw.target[:, columns].toarray()
    used = np.flatnonzero(topics.sum(axis=1) == 1)
    frequency = np.asarray((raw.data[used] > 0).sum(axis=0)).ravel()
    words = np.sort(np.argsort(-frequency, kind="stable")[:N_WORDS])
    drawn = check_random_state(random_state).permutation(used)[:N_DOCUMENTS]
    bunch = Bunch(
        data=csr_array(raw.data[drawn][:, words], dtype=np.float32),
        target=topics[drawn].argmax(axis=1).astype(np.int64),
        target_names=ROOT_TOPICS,
        DESCR=raw.DESCR,
    )
    return _returned(bunch, return_X_y)


@validate_params(
    {
        "folder": [str, os.PathLike],
        "size": ["array-like", None],
        "gray": ["boolean"],
        "label_pattern": [str, None],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_image_folder(
    folder: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    gray: bool = False,
    label_pattern: str | None = None,
    return_X_y: bool = False,
) -> Any:
    r"""Read all images of a folder, in the order of their names.

    Needs Pillow, the extra ``images``.

    Parameters
    ----------
    folder : str or path-like
        Where the images are. With folders in it, each is a class.

    size : tuple of int (H, W), default=None
        What images are scaled to. None takes them as they are; all must have one size
        then.

    gray : bool, default=False
        Whether to read colours as grey. What is grey is read so anyway.

    label_pattern : str, default=None
        A regular expression whose first group, in the name of a file, is its class:
        ``r"obj(\d+)__"`` for COIL-100. None takes the name of the folder in which the
        file is.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        ``data``, uint8 of shape (n_samples, C * H * W), from 0 to 255; ``images`` of
        shape (n_samples, H, W), or (n_samples, C, H, W) in colour; ``target``, classes
        from 0; ``target_names``; ``image_shape``, (C, H, W); ``filenames``; ``DESCR``.

    (data, target) : tuple if ``return_X_y`` is True
        The rows and the classes.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no image in it.

    ValueError
        If a file is no image, if images differ in size, or if ``label_pattern`` does
        not fit the name of one.

    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from deepcluster_sk.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         (Path(folder) / name).mkdir()
    ...         Image.new("L", (8, 6)).save(f"{folder}/{name}/0.png")
    ...     pets = load_image_folder(folder)
    >>> pets.data.shape, pets.image_shape, pets.target_names
    ((2, 48), (1, 6, 8), ['cat', 'dog'])
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "load_image_folder reads images by Pillow: pip install pillow."
        ) from error
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"No folder {str(root)!r}.")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise FileNotFoundError(
            f"No image in {str(root)!r}: none of its files ends in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    images, names = [], []
    for path in files:
        try:
            with Image.open(path) as image:
                mode = "L" if gray or image.mode in ("1", "L", "LA", "I;16") else "RGB"
                image = image.convert(mode)
                if size is not None:
                    height, width = size
                    image = image.resize((width, height), Image.Resampling.BILINEAR)
                images.append(np.asarray(image))
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"Cannot read {str(path)!r} as an image.") from error
        names.append(_class_of(path, root, label_pattern))
    shapes = {image.shape for image in images}
    if len(shapes) > 1 and {len(shape) for shape in shapes} == {2, 3}:
        raise ValueError("Some images are grey, others in colour: pass gray=True.")
    if len(shapes) > 1:
        raise ValueError(
            f"Images must have one size. Got {sorted(shapes)[:3]}: pass size=(H, W)."
        )
    stacked = np.stack(images)
    if stacked.ndim == 4:
        stacked = stacked.transpose(0, 3, 1, 2)
    else:
        stacked = stacked[:, None]
    target = _classes(names)
    first = np.unique(target, return_index=True)[1]
    bunch = _bunch_of_images(
        np.ascontiguousarray(stacked).reshape(len(stacked), -1),
        target,
        stacked.shape[1:],
        f"{len(files)} images of a folder.",
    )
    bunch.target_names = [names[i] for i in first]
    bunch.filenames = [str(path.relative_to(root)) for path in files]
    return _returned(bunch, return_X_y)


def _class_of(path, root, pattern):
    """Name of the class of a file."""
    if pattern is None:
        return path.parent.name if path.parent != root else root.name
    found = re.search(pattern, path.name)
    if found is None or not found.groups():
        raise ValueError(
            f"label_pattern {pattern!r} must have a group and fit every name. It does "
            f"not fit {path.name!r}."
        )
    return found.group(1)
