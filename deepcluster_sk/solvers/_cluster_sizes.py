"""How many rows each cluster has."""

import torch


def cluster_sizes(labels, n_clusters):
    """Number of rows of each cluster, without waiting for the device.

    ``bincount`` reads the largest label back to know how long its result is, which
    stops a GPU once a batch.

    Parameters
    ----------
    labels : Tensor of shape (n,), int64
        From 0 to ``n_clusters - 1``.
    n_clusters : int

    Returns
    -------
    sizes : Tensor of shape (n_clusters,), int64
    """
    sizes = labels.new_zeros(n_clusters)
    return sizes.scatter_add_(0, labels, torch.ones_like(labels))
