"""The toy problems of the papers."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils import shuffle as shuffle_rows
from sklearn.utils._param_validation import Interval

from deepcluster_sk._estimator._decorators import validate_params

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    n_samples: int = 150,
    *,
    n_noise_features: int = 3,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
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
    n_samples: int = 150,
    *,
    n_noise_features: int = 3,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
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
    n_samples: int = 150,
    *,
    n_noise_features: int = 3,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
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
    n_samples: int = 300,
    *,
    n_noise_features: int = 3,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
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
