"""Means of clusters."""

import numpy as np


def cluster_means(X, labels, n_clusters):
    """Mean of the rows of each cluster.

    Parameters
    ----------
    X : ndarray of shape (n, h)
        Rows.
    labels : ndarray of shape (n,)
        Their clusters, from 0 to k - 1.
    n_clusters : int
        Number k of clusters.

    Returns
    -------
    means : ndarray of shape (k, h), of the dtype of X
        Zero where a cluster has no rows.
    """
    means = np.zeros((n_clusters, X.shape[1]), dtype=X.dtype)
    for j in np.unique(labels):
        means[j] = X[labels == j].mean(0)
    return means
