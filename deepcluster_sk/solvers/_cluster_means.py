"""Means of clusters."""

import numpy as np
import torch
from scipy import sparse

from ._arrays import indices
from ._cluster_sizes import cluster_sizes as sizes_without_waiting


def cluster_sums(X, labels, n_clusters):
    """Sum of the rows of each cluster, in one product.

    Parameters
    ----------
    X : ndarray or Tensor of shape (n, h)
        Rows.
    labels : ndarray or Tensor of shape (n,), int
        Their clusters, from 0 to k - 1.
    n_clusters : int
        Number k of clusters.

    Returns
    -------
    sums : ndarray or Tensor of shape (k, h)
    """
    if isinstance(X, torch.Tensor):
        members = labels == indices(n_clusters, X)[:, None]
        return members.to(X.dtype) @ X
    n = len(X)
    members = (np.ones(n), (labels, np.arange(n)))
    return sparse.csr_array(members, shape=(n_clusters, n)) @ X


def cluster_sizes(labels, n_clusters):
    """Number of rows of each cluster, ``(k,)``, for arrays and for tensors."""
    if isinstance(labels, torch.Tensor):
        return sizes_without_waiting(labels, n_clusters)
    return np.bincount(labels, minlength=n_clusters)


def cluster_means(X, labels, n_clusters):
    """Mean of the rows of each cluster.

    Parameters
    ----------
    X : ndarray or Tensor of shape (n, h)
        Rows.
    labels : ndarray or Tensor of shape (n,), int
        Their clusters, from 0 to k - 1.
    n_clusters : int
        Number k of clusters.

    Returns
    -------
    means : ndarray or Tensor of shape (k, h), of the dtype of X
        Zero where a cluster has no rows.
    """
    if isinstance(X, torch.Tensor):
        sizes = cluster_sizes(labels, n_clusters).clamp(min=1)
        return cluster_sums(X, labels, n_clusters) / sizes[:, None]
    means = np.zeros((n_clusters, X.shape[1]), dtype=X.dtype)
    for j in np.unique(labels):
        means[j] = X[labels == j].mean(0)
    return means
