"""K-means on the unit sphere."""

import numpy as np
import torch
from sklearn.cluster import kmeans_plusplus

from deepcluster_sk.losses._common import rows_to_reseed_from
from deepcluster_sk.solvers._neighbor_graph import BLOCK_ROWS
from deepcluster_sk.solvers._partitions import order_of_clusters

# On a GPU, to look whether labels still change takes as long as so many sweeps, which
# change nothing once they are still.
SWEEPS = 5


def spherical_kmeans(directions, n_clusters, random_state, n_init=20, max_iter=100):
    """Centres of k-means on the unit sphere, where similarity is the cosine.

    Parameters
    ----------
    directions : Tensor of shape (n, h)
        Codes of unit norm.
    n_clusters : int
        Number k of clusters.
    random_state : RandomState
        Source of the k-means++ seeds.
    n_init : int, default=20
        Number of restarts; the one of largest mean cosine is kept.
    max_iter : int, default=100
        Largest number of sweeps of a restart.

    Returns
    -------
    centers : Tensor of shape (k, h)
        Of unit norm, that of the largest cluster first.
    """
    best, centers, best_labels = -np.inf, None, None
    array = directions.cpu().numpy()
    every = 1 if directions.device.type == "cpu" else SWEEPS
    for _ in range(n_init):
        seeds, _ = kmeans_plusplus(array, n_clusters, random_state=random_state)
        mu, labels = directions.new_tensor(seeds), None
        for sweep in range(max_iter):
            old, (labels, cosine) = labels, nearest_direction(directions, mu)
            if old is not None and sweep % every == 0 and torch.equal(old, labels):
                break
            mu = mean_directions(directions, labels, mu)
        quality = float(cosine.mean())
        if quality > best:
            best, centers, best_labels = quality, mu, labels
    order = order_of_clusters(best_labels.cpu().numpy(), n_clusters)
    return centers[torch.from_numpy(order).to(centers.device)]


def nearest_direction(directions, centers):
    """Index of the centre of largest cosine, and that cosine, ``(n,), (n,)``."""
    cosine, labels = (directions @ centers.T).max(1)
    return labels, cosine


def mean_directions(directions, labels, centers):
    """Normalised mean of each cluster; an empty one keeps its centre, ``(k, h)``."""
    member = torch.nn.functional.one_hot(labels, len(centers)).to(directions)
    sums = member.T @ directions
    norm = sums.norm(dim=1, keepdim=True)
    return torch.where(norm > 1e-8, sums / norm.clamp(min=1e-8), centers)


def cluster_similarities(directions, labels, n_clusters):
    """Mean absolute cosine of the pairs of rows of every two clusters, ``(k, k)``."""
    member = torch.nn.functional.one_hot(labels, n_clusters).to(directions)  # (n, k)
    sizes = member.sum(0).clamp(min=1)
    sums = torch.zeros_like(member.T @ member)
    for rows in torch.arange(len(labels), device=labels.device).split(BLOCK_ROWS):
        sums += member[rows].T @ (directions[rows] @ directions.T).abs() @ member
    return sums / (sizes[:, None] * sizes)


def assign_directions(directions, centers):
    """Assign rows to centres by cosine; each empty cluster gets a row that fits badly.

    Parameters
    ----------
    directions : Tensor of shape (n, h)
        Rows of unit norm.
    centers : Tensor of shape (k, h)
        Centres of unit norm.

    Returns
    -------
    labels : Tensor of shape (n,), int64
    cosine : Tensor of shape (n,)
        To the nearest centre.
    n_reseeded : int
        Number of clusters that were empty.
    """
    labels, cosine = nearest_direction(directions, centers)
    counts = torch.bincount(labels, minlength=len(centers))
    empty = (counts == 0).nonzero().flatten()
    if len(empty):
        labels[rows_to_reseed_from(-cosine, len(empty))] = empty
    return labels, cosine, len(empty)
