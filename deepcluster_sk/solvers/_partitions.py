"""Partitions: one numbering of their clusters, and which fits the data best.

Which cluster a start happens to number first is up to seeds and to the last digits of
sums. So clusters are numbered by what they contain: equal partitions have equal labels,
on any machine and for any number of processes.
"""

import numpy as np
from scipy.special import multigammaln

# A partition is refused that cuts clusters out of the graph this much more than the
# best does; the constant keeps a best of zero from refusing all others.
CONDUCTANCE_RATIO, CONDUCTANCE_FLOOR = 3.0, 0.005


def _one_hot(labels, n_clusters):
    member = np.zeros((len(labels), n_clusters))
    member[np.arange(len(labels)), labels] = 1
    return member


def gaussian_evidence(X, labels, n_clusters):
    """Logarithm of the evidence of rows, per row, if each cluster is a Gaussian.

    The parameters are integrated out [1]_ (section 4.6.3.4): covariances have an
    inverse Wishart prior whose mean is the diagonal covariance that k equal parts of
    the data would have, ``k^(-2 / p)`` of the variances, and means a wide normal one.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    labels : ndarray of shape (n,)
    n_clusters : int
        Number k of clusters.

    Returns
    -------
    evidence : float
        The share of each cluster included.

    References
    ----------
    .. [1] K. P. Murphy. Machine learning: a probabilistic perspective. MIT Press, 2012.
    """
    n, p = X.shape
    freedom, strength = p + 2, 0.1
    variance = np.maximum(X.var(0), 1e-12 * max(X.var(), 1e-300))
    scatter = np.diag(variance * n_clusters ** (-2 / p))
    center, log_prior = X.mean(0), np.linalg.slogdet(scatter)[1]
    total = 0.0
    for j in range(n_clusters):
        rows = X[labels == j]
        m = len(rows)
        if m == 0:
            continue
        mean = rows.mean(0)
        shift, weight = mean - center, strength * m / (strength + m)
        posterior = scatter + (rows - mean).T @ (rows - mean)
        posterior += weight * np.outer(shift, shift)
        total += (
            -m * p / 2 * np.log(np.pi)
            + multigammaln((freedom + m) / 2, p)
            - multigammaln(freedom / 2, p)
            + freedom / 2 * log_prior
            - (freedom + m) / 2 * np.linalg.slogdet(posterior)[1]
            + p / 2 * np.log(strength / (strength + m))
            + m * np.log(m / n)
        )
    return total / n


def edge_information(W, labels, n_clusters):
    """Mutual information, in nats, of the clusters at both ends of an edge.

    That is the log-likelihood, per edge, of a block model of the graph in which rows
    have the degrees that they have, less that without clusters [1]_.

    Parameters
    ----------
    W : csr_array of shape (n, n)
        Symmetric weights.
    labels : ndarray of shape (n,)
    n_clusters : int
        Number k of clusters.

    Returns
    -------
    information : float
        From 0 to log k.

    References
    ----------
    .. [1] B. Karrer and M. E. J. Newman. Stochastic blockmodels and community structure
       in networks. Physical Review E 83 (2011).
    """
    member = _one_hot(labels, n_clusters)
    joint = member.T @ (W @ member)
    joint = joint / joint.sum()
    independent = np.outer(joint.sum(1), joint.sum(0))
    used = joint > 0
    return float((joint[used] * np.log(joint[used] / independent[used])).sum())


def conductance(W, labels, n_clusters):
    """Share of a cluster's edges that leave it, the mean over clusters with rows.

    Parameters
    ----------
    W : csr_array of shape (n, n)
        Symmetric weights.
    labels : ndarray of shape (n,)
    n_clusters : int
        Number k of clusters.

    Returns
    -------
    conductance : float
        From 0 to 1.
    """
    member = _one_hot(labels, n_clusters)
    inside = np.einsum("ik,ik->k", member, W @ member)
    volume = member.T @ W.sum(axis=1)
    used = volume > 0
    return float(1 - (inside[used] / volume[used]).mean())


def best_partition(candidates, X, W, n_clusters, n_neighbors):
    """The candidate under which rows and their neighbours are most probable.

    Compares the Gaussian evidence of the rows plus the block model's of the edges: each
    row has edges of weight ``log2(m)``, and every edge has two ends. A candidate with
    more empty clusters than another is refused, and so is one that cuts many more edges
    than the one that cuts fewest.

    Parameters
    ----------
    candidates : list of ndarray of shape (n,)
        Labels from 0 to k - 1.
    X : ndarray of shape (n, p)
        Rows.
    W : csr_array of shape (n, n)
        Their fuzzy graph of neighbours.
    n_clusters : int
        Number k of clusters.
    n_neighbors : int
        Number m of neighbours that the graph was made of.

    Returns
    -------
    best : int
        Position of the best candidate.
    """
    edges = np.log2(max(n_neighbors, 2)) / 2
    used = np.array([len(np.unique(labels)) for labels in candidates])
    cuts = np.array([conductance(W, labels, n_clusters) for labels in candidates])
    cuts[used < used.max()] = np.inf
    scores = np.array(
        [
            gaussian_evidence(X, labels, n_clusters)
            + edges * edge_information(W, labels, n_clusters)
            for labels in candidates
        ]
    )
    limit = CONDUCTANCE_RATIO * (cuts.min() + CONDUCTANCE_FLOOR)
    return int(np.where(cuts + CONDUCTANCE_FLOOR <= limit, scores, -np.inf).argmax())


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
