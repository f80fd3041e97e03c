"""What a clustering is judged by, without labels."""

import numpy as np
from sklearn.metrics import calinski_harabasz_score

from deepcluster_sk.metrics import neighbor_agreement, silhouette
from deepcluster_sk.solvers._neighbor_graph import fuzzy_neighbor_graph
from deepcluster_sk.solvers._partitions import edge_information, gaussian_evidence

# Rows that criteria are computed of: their cost grows with the square.
MAX_ROWS = 2000
N_NEIGHBORS = 10
# Leading principal axes in which clusters are taken for Gaussians.
EVIDENCE_DIMENSIONS = 10


def in_space(estimator, X, space):
    """Rows as they are, or their embedding."""
    if space == "input":
        return np.asarray(X)
    return np.asarray(estimator.transform(X))


def evidence(Z, labels, n_clusters):
    """Evidence of Gaussian clusters and of the edges between neighbours, per row."""
    Z = Z - Z.mean(axis=0)
    if Z.shape[1] > EVIDENCE_DIMENSIONS:
        Z = Z @ np.linalg.svd(Z, full_matrices=False)[2][:EVIDENCE_DIMENSIONS].T
    n_neighbors = min(N_NEIGHBORS, len(Z) - 1)
    W = fuzzy_neighbor_graph(Z.astype(np.float64), n_neighbors)
    edges = np.log2(max(n_neighbors, 2)) / 2  # weight of a row's edges; each has 2 ends
    return gaussian_evidence(Z, labels, n_clusters) + edges * edge_information(
        W, labels, n_clusters
    )


def _silhouette(Z, labels, n_clusters):
    return silhouette(Z, labels, sample_size=None)


def _calinski_harabasz(Z, labels, n_clusters):
    return calinski_harabasz_score(Z, labels)


def _neighbors(Z, labels, n_clusters):
    return neighbor_agreement(Z, labels, n_neighbors=N_NEIGHBORS, sample_size=None)


OF_A_PARTITION = {
    "silhouette": _silhouette,
    "calinski_harabasz": _calinski_harabasz,
    "neighbors": _neighbors,
    "evidence": evidence,
}
CRITERIA = ("stability", *OF_A_PARTITION)


def judge(criterion, Z, labels, n_clusters):
    """A criterion of one partition.

    Parameters
    ----------
    criterion : str
        A key of `OF_A_PARTITION`.
    Z : ndarray of shape (n, p)
        Rows or codes.
    labels : ndarray of shape (n,)
    n_clusters : int
        Number of clusters that was asked for; there may be fewer.

    Returns
    -------
    value : float
        The higher the better. What compares clusters is 0 where there is one.
    """
    found, labels = np.unique(labels, return_inverse=True)
    if criterion != "evidence" and not 2 <= len(found) < len(Z):
        return 0.0
    value = OF_A_PARTITION[criterion](Z, labels, max(n_clusters, len(found)))
    return float(value)
