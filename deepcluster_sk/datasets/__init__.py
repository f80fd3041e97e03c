"""Data: the toy problems of the papers, the penguins, and readers of local images."""

import csv
import os
import zipfile
from importlib import resources
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch, check_random_state
from sklearn.utils import shuffle as shuffle_rows
from sklearn.utils._optional_dependencies import check_pandas_support
from sklearn.utils._param_validation import Interval, validate_params

__all__ = [
    "fetch_mnist",
    "load_coil20",
    "load_mnist_test",
    "load_penguins",
    "make_lines_3d",
    "make_orthogonal",
    "make_parallel",
    "make_triangle",
]

DATA_HOME_VARIABLE = "DEEPCLUSTER_SK_DATA"

# One (mean, covariance) per cluster. Each cluster is close to a line; what differs is
# how the lines lie, which is what k-means and one shared autoencoder cannot see.
_PARALLEL = (
    ((-1, -1), ((5, 4.95), (4.95, 5))),
    ((4, -2), ((5, 4.95), (4.95, 5))),
)
_ORTHOGONAL = (
    ((-1, -1), ((5, 4.9), (4.9, 5))),
    ((7, 7), ((5, -4.9), (-4.9, 5))),
)
_TRIANGLE = (
    ((-1, -1), ((5, 4.9), (4.9, 5))),
    ((6, 6), ((5, -4.5), (-4.5, 5))),
    ((5, -5), ((7, 0), (0, 1))),
)
_LINES_3D = (
    ((2, 0, 0), ((3, 0.01, 0.01), (0.01, 0.01, 0.01), (0.01, 0.01, 0.01))),
    ((0, 0, 4), ((0.01, 0.01, 0.01), (0.01, 3, 0.01), (0.01, 0.01, 0.01))),
    ((2, 2, 3), ((0.01, 0.01, 0.01), (0.01, 0.01, 0.01), (0.01, 0.01, 3))),
)
_NOISE_STD = 0.1

_TOY_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_noise_features": [Interval(Integral, 0, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
}


def _sample_clusters(clusters, n_samples, n_noise_features, shuffle, random_state):
    """Draw equally sized Gaussian clusters and pad them with small noise features."""
    rng = check_random_state(random_state)
    n_per_cluster, remainder = divmod(n_samples, len(clusters))
    parts, y = [], []
    for j, (mean, covariance) in enumerate(clusters):
        n = n_per_cluster + (j < remainder)
        # `multivariate_normal` factorises by SVD, so the singular covariances of the
        # 3-D lines (smallest eigenvalue 0) are as good as any; Cholesky would refuse.
        signal = rng.multivariate_normal(mean, covariance, size=n, check_valid="raise")
        noise = rng.normal(0, _NOISE_STD, size=(n, n_noise_features))
        parts.append(np.hstack([signal, noise]))
        y.append(np.full(n, j))
    X, y = np.vstack(parts), np.concatenate(y)
    if shuffle:
        X, y = shuffle_rows(X, y, random_state=rng)
    return X, y


@validate_params(_TOY_CONSTRAINTS, prefer_skip_nested_validation=True)
def make_parallel(
    n_samples=150, *, n_noise_features=3, shuffle=True, random_state=None
):
    """Make two parallel, elongated clusters in the plane.

    The clusters share their direction and differ in their mean only. They lie closer
    together than they are long, so k-means cuts across them (adjusted Rand index
    about 0.3).

    Parameters
    ----------
    n_samples : int, default=150
        Number of samples, shared equally: cluster sizes differ by at most one.

    n_noise_features : int, default=3
        Number of uninformative features appended, each drawn from N(0, 0.1²).

    shuffle : bool, default=True
        Whether to shuffle the samples. If False they come cluster by cluster.

    random_state : int, RandomState instance or None, default=None
        Determines the draw. Pass an int for the same data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, 2 + n_noise_features)
        The samples, float64.

    y : ndarray of shape (n_samples,)
        The cluster of each sample, 0 or 1.

    See Also
    --------
    make_orthogonal : Two clusters at a right angle.
    make_triangle : Three clusters along the sides of a triangle.
    make_lines_3d : Three clusters along the three axes of space.

    References
    ----------
    P. Esser, S. Mukherjee, M. Sabanayagam, D. Ghoshdastidar, "Improved
    Representation Learning Through Tensorized Autoencoders", AISTATS 2023, figure 3.

    Examples
    --------
    >>> from deepcluster_sk.datasets import make_parallel
    >>> X, y = make_parallel(random_state=0)
    >>> X.shape
    (150, 5)
    """
    return _sample_clusters(
        _PARALLEL, n_samples, n_noise_features, shuffle, random_state
    )


@validate_params(_TOY_CONSTRAINTS, prefer_skip_nested_validation=True)
def make_orthogonal(
    n_samples=150, *, n_noise_features=3, shuffle=True, random_state=None
):
    """Make two elongated clusters at a right angle in the plane.

    The clusters form a T: the first points at the middle of the second. K-means
    separates them but for the tip of the first (adjusted Rand index about 0.9).

    Parameters
    ----------
    n_samples : int, default=150
        Number of samples, shared equally: cluster sizes differ by at most one.

    n_noise_features : int, default=3
        Number of uninformative features appended, each drawn from N(0, 0.1²).

    shuffle : bool, default=True
        Whether to shuffle the samples. If False they come cluster by cluster.

    random_state : int, RandomState instance or None, default=None
        Determines the draw. Pass an int for the same data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, 2 + n_noise_features)
        The samples, float64.

    y : ndarray of shape (n_samples,)
        The cluster of each sample, 0 or 1.

    See Also
    --------
    make_parallel : Two parallel clusters.
    make_triangle : Three clusters along the sides of a triangle.
    make_lines_3d : Three clusters along the three axes of space.

    References
    ----------
    P. Esser, S. Mukherjee, M. Sabanayagam, D. Ghoshdastidar, "Improved
    Representation Learning Through Tensorized Autoencoders", AISTATS 2023, figure 3.

    Examples
    --------
    >>> from deepcluster_sk.datasets import make_orthogonal
    >>> X, y = make_orthogonal(random_state=0)
    >>> X.shape
    (150, 5)
    """
    return _sample_clusters(
        _ORTHOGONAL, n_samples, n_noise_features, shuffle, random_state
    )


@validate_params(_TOY_CONSTRAINTS, prefer_skip_nested_validation=True)
def make_triangle(
    n_samples=150, *, n_noise_features=3, shuffle=True, random_state=None
):
    """Make three elongated clusters along the sides of a triangle in the plane.

    The clusters differ in direction and in thickness, and their ends meet near the
    corners (adjusted Rand index of k-means about 0.8).

    Parameters
    ----------
    n_samples : int, default=150
        Number of samples, shared equally: cluster sizes differ by at most one.

    n_noise_features : int, default=3
        Number of uninformative features appended, each drawn from N(0, 0.1²).

    shuffle : bool, default=True
        Whether to shuffle the samples. If False they come cluster by cluster.

    random_state : int, RandomState instance or None, default=None
        Determines the draw. Pass an int for the same data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, 2 + n_noise_features)
        The samples, float64.

    y : ndarray of shape (n_samples,)
        The cluster of each sample, 0, 1 or 2.

    See Also
    --------
    make_parallel : Two parallel clusters.
    make_orthogonal : Two clusters at a right angle.
    make_lines_3d : Three clusters along the three axes of space.

    References
    ----------
    P. Esser, S. Mukherjee, M. Sabanayagam, D. Ghoshdastidar, "Improved
    Representation Learning Through Tensorized Autoencoders", AISTATS 2023, figure 3.

    Examples
    --------
    >>> from deepcluster_sk.datasets import make_triangle
    >>> X, y = make_triangle(random_state=0)
    >>> X.shape
    (150, 5)
    """
    return _sample_clusters(
        _TRIANGLE, n_samples, n_noise_features, shuffle, random_state
    )


@validate_params(_TOY_CONSTRAINTS, prefer_skip_nested_validation=True)
def make_lines_3d(
    n_samples=300, *, n_noise_features=3, shuffle=True, random_state=None
):
    """Make three thin clusters in space, each along another axis.

    The clusters cross near their means, where distance alone cannot tell them apart
    (adjusted Rand index of k-means about 0.6).

    Parameters
    ----------
    n_samples : int, default=300
        Number of samples, shared equally: cluster sizes differ by at most one.

    n_noise_features : int, default=3
        Number of uninformative features appended, each drawn from N(0, 0.1²).

    shuffle : bool, default=True
        Whether to shuffle the samples. If False they come cluster by cluster.

    random_state : int, RandomState instance or None, default=None
        Determines the draw. Pass an int for the same data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, 3 + n_noise_features)
        The samples, float64.

    y : ndarray of shape (n_samples,)
        The cluster of each sample, 0, 1 or 2: the axis it runs along.

    See Also
    --------
    make_parallel : Two parallel clusters.
    make_orthogonal : Two clusters at a right angle.
    make_triangle : Three clusters along the sides of a triangle.

    References
    ----------
    P. Esser, S. Mukherjee, M. Sabanayagam, D. Ghoshdastidar, "Improved
    Representation Learning Through Tensorized Autoencoders", AISTATS 2023, figure 3.

    Examples
    --------
    >>> from deepcluster_sk.datasets import make_lines_3d
    >>> X, y = make_lines_3d(random_state=0)
    >>> X.shape
    (300, 6)
    """
    return _sample_clusters(
        _LINES_3D, n_samples, n_noise_features, shuffle, random_state
    )


_PENGUINS_DESCR = """\
Palmer penguins

342 adult penguins of three species (151 Adelie, 68 Chinstrap, 123 Gentoo), foraging
near Palmer Station, Antarctica, 2007-2009. Four measurements in raw units: bill length,
bill depth and flipper length in millimetres, body mass in grams. The two birds without
measurements are left out. Bill length and depth show Simpson's paradox: negatively
correlated over all birds, positively within each species.

Collected by Kristen Gorman and the Palmer Station Long Term Ecological Research
program; published by Allison Horst and others as the palmerpenguins package. Public
domain (CC0).

References: K. B. Gorman, T. D. Williams, W. R. Fraser, "Ecological Sexual Dimorphism
and Environmental Variability within a Community of Antarctic Penguins (Genus
Pygoscelis)", PLoS ONE 9(3): e90081, 2014.
"""


@validate_params(
    {"return_X_y": ["boolean"], "as_frame": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def load_penguins(*, return_X_y=False, as_frame=False):
    """Load the Palmer penguins: four body measurements, three species.

    The data are in raw units, so body mass dwarfs the rest: scale them (the paper
    divides each feature by its maximum) before clustering.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        If True, the data are a pandas DataFrame and the target a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        data : {ndarray, DataFrame} of shape (342, 4)
            Bill length, bill depth and flipper length (mm), body mass (g).
        target : {ndarray, Series} of shape (342,)
            The species, 0, 1 or 2.
        frame : DataFrame of shape (342, 5)
            `data` and `target` side by side; None unless `as_frame=True`.
        feature_names : list of str
            The names of the features.
        target_names : ndarray of shape (3,)
            The names of the species.
        DESCR : str
            A description of the data.

    (data, target) : tuple if ``return_X_y`` is True
        The data and the species.

    Raises
    ------
    ImportError
        If `as_frame=True` and pandas is not installed.

    References
    ----------
    K. B. Gorman, T. D. Williams, W. R. Fraser, "Ecological Sexual Dimorphism and
    Environmental Variability within a Community of Antarctic Penguins (Genus
    Pygoscelis)", PLoS ONE 9(3): e90081, 2014.

    Examples
    --------
    >>> from deepcluster_sk.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> penguins.data.shape
    (342, 4)
    >>> [str(name) for name in penguins.target_names]
    ['Adelie', 'Chinstrap', 'Gentoo']
    """
    source = resources.files("deepcluster_sk.datasets") / "data" / "penguins.csv"
    with source.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    feature_names = header[:-1]
    data = np.array([row[:-1] for row in rows], dtype=np.float64)
    target_names, target = np.unique([row[-1] for row in rows], return_inverse=True)
    frame = None
    if as_frame:
        pd = check_pandas_support("load_penguins with as_frame=True")
        data = pd.DataFrame(data, columns=feature_names)
        target = pd.Series(target, name="target")
        frame = pd.concat([data, target], axis=1)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=feature_names,
        target_names=target_names,
        DESCR=_PENGUINS_DESCR,
    )


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
def load_mnist_test(data_home=None, *, return_X_y=False):
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
def load_coil20(data_home=None, *, return_X_y=False):
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
def fetch_mnist(data_home=None, *, return_X_y=False):
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
