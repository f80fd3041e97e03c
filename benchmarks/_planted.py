"""Data of which the number of clusters is known."""

import numpy as np


def mixture(seed, k, rows_per_cluster=80):
    """Gaussians of unit covariance at distances over 6, sizes up to 1:5.

    Parameters
    ----------
    seed : int
        Also chooses the number of features, from 2 to 10.
    k : int
    rows_per_cluster : int, default=80
        On average; at least 10 each.

    Returns
    -------
    X : ndarray of shape (n, d)
        In random order.
    """
    rng = np.random.default_rng(seed)
    width = int(rng.integers(2, 11))
    side, distance = 6 * k ** (1 / width) + 4, 0
    while distance < 6:
        side *= 1.02
        centers = rng.uniform(0, side, (k, width))
        distances = np.linalg.norm(centers[:, None] - centers, axis=2)
        distance = (distances + 1e9 * np.eye(k)).min()
    shares = rng.uniform(1, 5, k)
    shares[0], shares[-1] = 1, 5
    shares /= shares.sum()
    sizes = np.maximum((shares * rows_per_cluster * k).round().astype(int), 10)
    rows = [
        center + rng.normal(size=(size, width))
        for center, size in zip(centers, sizes, strict=True)
    ]
    return rng.permutation(np.concatenate(rows))


def structureless(seed):
    """A uniform box for odd seeds, a Gaussian of any covariance for even ones.

    Parameters
    ----------
    seed : int
        Also chooses the numbers of rows, from 200 to 799, and features, from 2 to 8.

    Returns
    -------
    X : ndarray of shape (n, d)
    """
    rng = np.random.default_rng(seed)
    width, n = int(rng.integers(2, 9)), int(rng.integers(200, 800))
    if seed % 2:
        return rng.uniform(size=(n, width)) * rng.uniform(0.3, 1, width)
    return rng.normal(size=(n, width)) @ rng.normal(size=(width, width))
