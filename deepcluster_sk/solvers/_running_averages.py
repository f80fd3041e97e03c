"""Averages that follow the batches slowly."""

import torch
from torch import nn


def running_averages(centers, sizes, embedding, labels, decay, by_size=False):
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
    by_size : bool, default=False
        Whether κ depends on how many rows m of the n in the batch a cluster has, as
        printed: ``ρ / (ρ + η1 m / n)`` (Eq. 6). Here ρ is such that a cluster with
        n / k rows has κ = ``decay``; η1 then cancels.

    Returns
    -------
    centers, sizes : Tensors of shape (k, h) and (k,)
        ``κ μ + (1 - κ) mean`` (Eq. 6 and 7) and ``κ α + (1 - κ) count`` (Eq. 13).
        The centroid of a cluster without samples in the batch stays.
    """
    member = nn.functional.one_hot(labels, len(centers)).to(embedding.dtype)  # (n, k)
    counts = member.sum(0)
    means = member.T @ embedding / counts.clamp(min=1)[:, None]
    kept = decay
    if by_size:
        share = counts * len(centers) / len(labels)  # 1 for a cluster of average size
        kept = (decay / (decay + (1 - decay) * share).clamp_min(1e-12))[:, None]
    moved = torch.lerp(means, centers, kept)
    return (
        torch.where(counts[:, None] > 0, moved, centers),
        torch.lerp(counts, sizes, decay),
    )
