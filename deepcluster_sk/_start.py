"""Where clusters start: shared by the methods, free of labels."""

import numpy as np
from sklearn.cluster import KMeans


def kmeans_start(embedding, n_clusters, random_state, n_init=20):
    """Centres and labels of k-means on an embedding.

    Parameters
    ----------
    embedding : Tensor of shape (n, h)
        Codes of the training data.
    n_clusters : int
        Number k of clusters.
    random_state : RandomState
        Source of the seeds.
    n_init : int, default=20
        Number of restarts, as the authors of DEC use.

    Returns
    -------
    centers : ndarray of shape (k, h), float32
    labels : ndarray of shape (n,), int64
    """
    kmeans = KMeans(n_clusters, n_init=n_init, random_state=random_state)
    labels = kmeans.fit_predict(embedding.detach().cpu().numpy())
    return kmeans.cluster_centers_.astype(np.float32), labels.astype(np.int64)
