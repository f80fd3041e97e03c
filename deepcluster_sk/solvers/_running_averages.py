"""Averages that follow the batches slowly."""

import torch
from torch import nn


def running_averages(centers, sizes, embedding, labels, decay):
    """Move centroids and cluster sizes slowly towards those of a batch.

    Parameters
    ----------
    centers : Tensor of shape (k, h)
        Centroids.
    sizes : Tensor of shape (k,)
        Expected number of samples of each cluster in a batch.
    embedding : Tensor of shape (n, h)
        Codes of the batch.
    labels : Tensor of shape (n,)
        Their clusters.
    decay : float
        κ, what is kept of the old values.

    Returns
    -------
    centers, sizes : Tensors of shape (k, h) and (k,)
        ``κ μ + (1 - κ) mean`` (Eq. 6 and 7) and ``κ α + (1 - κ) count`` (Eq. 13).
        The centroid of a cluster without samples in the batch stays.
    """
    member = nn.functional.one_hot(labels, len(centers)).to(embedding.dtype)  # (n, k)
    counts = member.sum(0)
    means = member.T @ embedding / counts.clamp(min=1)[:, None]
    moved = torch.lerp(means, centers, decay)
    return (
        torch.where(counts[:, None] > 0, moved, centers),
        torch.lerp(counts, sizes, decay),
    )
