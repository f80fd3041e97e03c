"""Hartigans' dip, and joining clusters between which there is none."""

import numpy as np

# Of two clusters the larger shows at most so many times the rows of the smaller, those
# that are nearest to it: beside many rows a small cluster would be no second mode.
LARGEST_RATIO = 2


def dip_statistic(x):
    """Distance of a sample from the unimodal distributions.

    The smallest D for which there is a distribution function, convex up to some point
    and concave from there, that differs nowhere by more than D from the empirical one
    [1]_. The mode is enclosed in ever smaller intervals, at whose ends the greatest
    convex minorant of the empirical function and its least concave majorant are the
    farthest apart.

    Parameters
    ----------
    x : array-like of shape (n,)
        Finite values, in any order; at least one.

    Returns
    -------
    dip : float
        From ``1 / (2 n)`` to 0.25, which two halves of equal values have.

    References
    ----------
    .. [1] J. A. Hartigan and P. M. Hartigan. The dip test of unimodality. Annals of
       Statistics 13 (1985).
    """
    x, counts = np.unique(x, return_counts=True)
    above = np.cumsum(counts)  # the function steps from below to above
    below = above - counts
    n, distance, first, last = above[-1], 1.0, 0, len(x) - 1
    while first < last:
        part = slice(first, last + 1)
        minorant = _convex_corners(x[part], below[part])
        majorant = _convex_corners(x[part], -above[part])
        lower = np.interp(x[part], x[part][minorant], below[part][minorant])
        upper = np.interp(x[part], x[part][majorant], above[part][majorant])
        at_minorant, at_majorant = (upper - lower)[minorant], (upper - lower)[majorant]
        if max(at_minorant.max(), at_majorant.max()) <= distance:
            break
        if at_minorant.max() > at_majorant.max():
            start = minorant[at_minorant.argmax()]
            stop = majorant[np.searchsorted(majorant, start)]
        else:
            stop = majorant[at_majorant.argmax()]
            start = minorant[np.searchsorted(minorant, stop, side="right") - 1]
        left = (above[part] - lower)[:start]
        right = (upper - below[part])[stop + 1 :]
        distance = max(distance, *left, *right)
        if stop - start == last - first:
            break
        first, last = first + start, first + stop
    return float(distance / (2 * n))


def _convex_corners(x, y):
    """Positions of the corners of the greatest convex function below some points."""
    x, y, corners = x.tolist(), y.tolist(), []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[i] - x[b]) < (y[i] - y[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return np.array(corners)


def dip_between(a, b):
    """Dip of two clusters along the line through their means, times the root of n.

    Under a single mode that product hardly depends on the number n of rows. Of the
    larger cluster those rows are looked at that are nearest to the smaller one.

    Parameters
    ----------
    a, b : ndarrays of shape (n, h) and (m, h)
        Rows of the two clusters; at least one each.

    Returns
    -------
    dip : float
        At least 0; 0 if the means are equal.
    """
    line = b.mean(0) - a.mean(0)
    length = np.linalg.norm(line)
    if not length > 0:
        return 0.0
    along_a, along_b = np.sort(a @ (line / length)), np.sort(b @ (line / length))
    along_a = along_a[-min(len(a), LARGEST_RATIO * len(b)) :]
    along_b = along_b[: LARGEST_RATIO * len(a)]
    along = np.concatenate([along_a, along_b])
    return float(np.sqrt(len(along)) * dip_statistic(along))


def join_by_dip(X, labels, critical):
    """Join clusters, those of the smallest dip first, until all dips are larger.

    As DipDECK does [1]_, without training in between.

    Parameters
    ----------
    X : ndarray of shape (n, h)
    labels : ndarray of shape (n,)
        Too many clusters.
    critical : float
        Clusters of a larger dip, as `dip_between` measures it, are not joined.

    Returns
    -------
    labels : ndarray of shape (n,), int64
        From 0 to one less than the number of clusters that are left.

    References
    ----------
    .. [1] C. Leiber, L. G. M. Bauer, B. Schelling, C. Böhm and C. Plant. Dip-based deep
       embedded clustering with k-estimation. KDD 2021.
    """
    rows = [np.flatnonzero(labels == j) for j in np.unique(labels)]
    k = len(rows)
    dips = np.full((k, k), np.inf)
    for i in range(k):
        for j in range(i):
            dips[i, j] = dip_between(X[rows[i]], X[rows[j]])
    while len(rows) > 1 and dips.min() <= critical:
        i, j = np.unravel_index(dips.argmin(), dips.shape)  # i > j
        rows[j] = np.concatenate([rows[j], rows.pop(i)])
        dips = np.delete(np.delete(dips, i, axis=0), i, axis=1)
        for other in range(len(rows)):
            if other != j:
                pair = max(j, other), min(j, other)
                dips[pair] = dip_between(X[rows[j]], X[rows[other]])
    joined = np.empty(len(X), dtype=np.int64)
    for number, members in enumerate(rows):
        joined[members] = number
    return joined
