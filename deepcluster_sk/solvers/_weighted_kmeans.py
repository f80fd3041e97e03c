"""K-means in which small clusters count as much as large ones."""

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk.losses import inverse_size_weights
from deepcluster_sk.solvers._partitions import numbered
from deepcluster_sk.solvers._warnings import ignored_warnings


def weighted_kmeans(codes, n_clusters, random_state, smoothing, batch_size, rounds=5):
    """Centres of k-means in which small clusters count as much as large ones.

    k-means would rather split a large cluster than tell two small ones apart. It is
    repeated, each time with the samples weighted as the loss will weight them by the
    clusters found before (Eq. 12).

    Parameters
    ----------
    codes : Tensor of shape (n, h)
    n_clusters : int
    random_state : RandomState
    smoothing : float
        ε of Eq. 14, in samples a batch.
    batch_size : float
        Number of samples in a batch.
    rounds : int, default=5
        How often k-means runs, with 10 restarts each.

    Returns
    -------
    centers : Tensor of shape (k, h), on the CPU
    labels : Tensor of shape (n,), int64, on the CPU
    """
    codes, weights = codes.detach().cpu().numpy(), None
    for _ in range(rounds):
        kmeans = KMeans(n_clusters, n_init=10, random_state=random_state)
        with ignored_warnings(ConvergenceWarning):
            labels = kmeans.fit_predict(codes, sample_weight=weights)
        counts = np.bincount(labels, minlength=n_clusters) / len(codes)
        sizes = torch.from_numpy(batch_size * counts)
        weights = inverse_size_weights(sizes, smoothing).numpy()[labels]
    centers, labels = numbered(kmeans.cluster_centers_, labels)
    centers = torch.from_numpy(centers.astype(np.float32))
    return centers, torch.from_numpy(labels.astype(np.int64))
