"""Rows seen through a kernel: its values with some of the data."""

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances, pairwise_kernels

KERNELS = ("polynomial", "rbf")
POLYNOMIAL_DEGREE = 3


def kernel_unit(landmarks, kernel):
    """What ``gamma`` is relative to, so that the scale of the data does not matter.

    Parameters
    ----------
    landmarks : ndarray of shape (m, d)
    kernel : {"rbf", "polynomial"}

    Returns
    -------
    unit : float
        For "rbf" one by the median squared distance between two landmarks, for
        "polynomial" one by their mean squared norm; 1 where these vanish.
    """
    if kernel == "rbf":
        pairs = np.triu_indices(len(landmarks), 1)
        sizes = euclidean_distances(landmarks, squared=True)[pairs]
        size = np.median(sizes) if len(sizes) else 0.0
    else:
        size = np.square(landmarks).sum(axis=1).mean()
    return 1 / size if size > 0 else 1.0


def kernel_rows(X, landmarks, kernel, gamma):
    """Kernel of each row with each landmark, ``(n, d) -> (n, m)``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    landmarks : ndarray of shape (m, d)
    kernel : {"rbf", "polynomial"}
        ``exp(-gamma ||x - y||²)``, or ``(gamma <x, y> + 1)³``.
    gamma : float
    """
    given = {"degree": POLYNOMIAL_DEGREE} if kernel == "polynomial" else {}
    return pairwise_kernels(X, landmarks, metric=kernel, gamma=gamma, **given)
