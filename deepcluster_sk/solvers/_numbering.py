"""One numbering of clusters, which follows from the partition alone.

Which cluster a start happens to number first is up to seeds and to the last digits of
sums. So clusters are numbered by what they contain: equal partitions have equal labels,
on any machine and for any number of processes.
"""

import numpy as np


def order_of_clusters(labels, n_clusters):
    """Clusters by size, the largest first, and where sizes tie by their first row.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        From 0 to k - 1.
    n_clusters : int
        Number k of clusters.

    Returns
    -------
    order : ndarray of shape (k,), int64
        Present numbers of the clusters. Empty ones come last, in their present order.
    """
    sizes = np.bincount(labels, minlength=n_clusters)
    first = np.full(n_clusters, len(labels))
    used, row = np.unique(labels, return_index=True)
    first[used] = row
    return np.lexsort((first, -sizes))


def numbered(centers, labels):
    """Centres and labels of a clustering, numbered as ``order_of_clusters`` says.

    Parameters
    ----------
    centers : ndarray of shape (k, h)
    labels : ndarray of shape (n,)

    Returns
    -------
    centers, labels : ndarrays of shape (k, h) and (n,)
    """
    order = order_of_clusters(labels, len(centers))
    return centers[order], renumbered(labels, order)


def renumbered(labels, order):
    """Labels after the clusters were put in an order: ``order[j]`` becomes j.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    order : ndarray of shape (k,)

    Returns
    -------
    labels : ndarray of shape (n,), of the dtype of ``labels``
    """
    return np.argsort(order).astype(labels.dtype)[labels]
