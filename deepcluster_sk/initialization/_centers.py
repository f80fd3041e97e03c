"""The first clusters: by k-means, by a mixture of Gaussians, or by given centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin_min

from deepcluster_sk._threads import threads_for
from deepcluster_sk.initialization._standardization import START_ROWS, scale_code
from deepcluster_sk.losses._common import rows_to_reseed_from
from deepcluster_sk.solvers._cluster_means import cluster_means
from deepcluster_sk.solvers._mixture import Mixtures, Prior
from deepcluster_sk.solvers._partitions import numbered
from deepcluster_sk.solvers._warnings import ignored_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Iterations of a mixture after which its starts are compared. After 5 those from
# k-means are still what it made of a large cluster: halves.
SHORT_RUN = 30
# Most iterations of the best, which also ends when the bound rises by less.
LONG_RUN, BOUND_TOL = 100, 1e-3
# Starts of a mixture: from k-means, and from rows drawn at random. Where clusters have
# similar sizes the first find the larger bounds, where they have not, the second.
KMEANS_STARTS, ROW_STARTS = 6, 6
# Added to the eigenvalues of the pooled covariance, relative to their mean, before it
# becomes a multiple of the identity. Where there are few rows or features some are
# nearly zero. A direction that is blown up is one in which the first steps of training
# scatter the codes: with 0.02 clusters of 150 rows were lost within three epochs.
WITHIN_RIDGE = 0.3


def place_centers(run, n_clusters, init, rescale=True):
    """Find clusters in the code, and units of the code in which they are round.

    The largest cluster comes first.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder`` with a whitened code.
    n_clusters : int
        Number k of clusters.
    init : {"mixture", "k-means"} or array-like of shape (k, d)
        "k-means" leaves the code as it is. "mixture" fits Gaussians: in an
        autoencoder's code clusters are elongated, and k-means cuts the longest and
        merges the shortest. Of given centres, in the units of the data, the clusters
        are the rows that are nearest to each.
    rescale : bool, default=True
        Whether "mixture" and given centres map the code such that clusters are round.

    Returns
    -------
    centers : Tensor of shape (k, h), on the module's device
    labels : Tensor of shape (n,), int64, on the module's device
    """
    module = run.module
    code = run.apply(module.encode)
    array = code.cpu().numpy().astype(np.float64)
    if not isinstance(init, str):
        labels = nearest_given(run, np.asarray(init, dtype=np.float32))
        means = cluster_means(array, labels, n_clusters)
        found = centers, labels = numbered(means, labels)
    else:
        found = None
        centers, labels = kmeans_start(code, n_clusters, run.random_state)
        if init == "mixture":
            n_starts = KMEANS_STARTS + ROW_STARTS
            with threads_for(array.size * array.shape[1] * n_clusters * n_starts):
                found = mixture_start(array, labels, centers, run.random_state)
            if found is not None:
                centers, labels = found
    if found is not None and rescale:
        covariance = pooled_covariance(array, labels, centers)
        if has_extent(covariance, array):
            within = torch.from_numpy(covariance)
            shift = torch.zeros(array.shape[1], dtype=torch.double)
            half = torch.tensor(0.5, dtype=torch.double)
            linear = scale_code(module, shift, within, within, WITHIN_RIDGE, half)
            centers = centers @ linear.numpy()
    device = code.device
    return (
        torch.from_numpy(centers.astype(np.float32)).to(device),
        torch.from_numpy(labels.astype(np.int64)).to(device),
    )


def nearest_given(run, centers):
    """Labels of the given centres that rows are nearest to, ``(n,)``.

    A centre that is the nearest one of no row gets the row that is farthest from its
    own, out of clusters that keep another one.

    Parameters
    ----------
    run : Run
        Counts the centres without rows.
    centers : ndarray of shape (k, d)
        In the units of the data.
    """
    X = run.rows.whole().cpu().numpy().astype(np.float64)
    mean = X.mean(0)  # large numbers that are alike lose their digits when squared
    with threads_for(X.size * len(centers)):
        labels, distance = pairwise_distances_argmin_min(X - mean, centers - mean)
    sizes = np.bincount(labels, minlength=len(centers))
    for j in np.flatnonzero(sizes == 0):
        row = np.where(sizes[labels] > 1, distance, -1).argmax()
        sizes[labels[row]] -= 1
        labels[row], distance[row], sizes[j] = j, 0, 1
        run.n_reseeded += 1
    return labels


def has_extent(covariance, X):
    """Whether clusters of this pooled covariance, ``(h, h)``, are more than points."""
    return np.trace(covariance) / len(covariance) > 1e-6 * X.var()


def pooled_covariance(X, labels, centers):
    """Covariance of what remains of rows without their centres, ``(h, h)``."""
    residual = X - centers[labels]
    return residual.T @ residual / len(X)


def mixture_start(X, labels, centers, random_state, strength=100):
    """Means and labels of a mixture of Gaussians that resemble one another.

    Each covariance is shrunk towards the pooled one of a k-means clustering, which
    weighs as much as ``strength`` rows: few rows get nearly one common covariance,
    many their own. Sizes are drawn towards equality by 10 rows a cluster. Of all
    starts the one with the largest lower bound on the evidence after ``SHORT_RUN``
    iterations goes on, as in short runs of EM (Biernacki et al., 2003).

    Parameters
    ----------
    X : ndarray of shape (n, h), float64
        Codes.
    labels, centers : ndarrays of shape (n,) and (k, h)
        The k-means clustering.
    random_state : RandomState
        Source of the starts, and of the ``START_ROWS`` rows that are used.
    strength : float, default=100

    Returns
    -------
    centers, labels : ndarrays of shape (k, h) and (n,), or None
        None where the clusters of k-means have no extent, as with as many clusters
        as rows: there is nothing to model.
    """
    n_features = X.shape[1]
    pooled = pooled_covariance(X, labels, centers)
    if not has_extent(pooled, X):
        return None
    # Against directions without any extent, which have no density.
    extent = np.trace(pooled) / n_features
    pooled = pooled + 1e-3 * extent * np.eye(n_features)
    rows = torch.from_numpy(X)
    some = rows[torch.from_numpy(random_state.permutation(len(X))[:START_ROWS])]
    prior = Prior(
        mean=some.mean(0),
        mean_precision=0.01,
        scale=strength * torch.from_numpy(pooled),
        degrees_of_freedom=strength + n_features,
        concentration=10.0,
    )
    starts = _mixture_starts(some.numpy(), len(centers), random_state)
    mixtures = Mixtures(some, prior, starts)
    for _ in range(SHORT_RUN):
        entropy = mixtures.step()
    mixtures.keep(int(mixtures.bound(entropy).argmax()))
    bound = -np.inf
    for _ in range(LONG_RUN):
        before, bound = bound, float(mixtures.bound(mixtures.step()))
        if bound - before < BOUND_TOL:
            break
    labels = mixtures.predict(rows)[0].numpy()
    means = mixtures.means[:, 0].numpy()
    sums = np.zeros_like(centers, dtype=np.float64)
    np.add.at(sums, labels, X)
    sizes = np.bincount(labels, minlength=len(centers))[:, None]
    return numbered(np.where(sizes > 0, sums / np.maximum(sizes, 1), means), labels)


def _mixture_starts(X, n_clusters, random_state):
    """Shares of rows in clusters, ``(n, k)``: k-means, then one row a cluster."""
    for _ in range(KMEANS_STARTS):
        kmeans = KMeans(n_clusters, n_init=1, random_state=random_state)
        with ignored_warnings(
            ConvergenceWarning
        ):  # rows drawn may be equal where not all are
            labels = torch.from_numpy(kmeans.fit_predict(X)).long()
        yield torch.nn.functional.one_hot(labels, n_clusters).double()
    for _ in range(ROW_STARTS):
        share = torch.zeros(len(X), n_clusters, dtype=torch.double)
        chosen = random_state.choice(len(X), n_clusters, replace=False)
        share[chosen, np.arange(n_clusters)] = 1
        yield share


def reseed_farthest(run, memory, clusters):
    """Move the centres of empty clusters to the rows farthest from their own.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder``.
    memory : LabelMemory
        Takes note of the rows' new clusters.
    clusters : Tensor of shape (m,), int64
        The empty ones.
    """
    module = run.module
    code = run.apply(module.encode)
    with torch.no_grad():
        distance = module.distances(code).amin(1)
        rows = rows_to_reseed_from(distance, len(clusters))
        module.centers[clusters] = code[rows]
    memory.labels[rows] = clusters
    run.n_reseeded += len(clusters)


def kmeans_start(
    embedding: torch.Tensor,
    n_clusters: int,
    random_state: int | np.random.RandomState,
    n_init: int = 20,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres and labels of k-means on an embedding, the largest cluster first.

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
        The means of their rows, or of those that were looked at.
    labels : ndarray of shape (n,), int64
        The nearest one of each row.

    Notes
    -----
    Of more than 10,000 rows so many are drawn at random, and the others go to the
    nearest mean: restarts over all of a million rows would take longer than training.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from deepcluster_sk.building import kmeans_start
    >>> codes = torch.tensor([[0.0], [1.0], [9.0], [10.0]])
    >>> centers, labels = kmeans_start(codes, 2, np.random.RandomState(0))
    >>> sorted(centers.ravel().tolist())
    [0.5, 9.5]
    """
    kmeans = KMeans(n_clusters, n_init=n_init, random_state=random_state)
    # Fewer distinct codes than clusters: those that end empty are announced by us.
    work = embedding.numel() * n_clusters
    rows = embedding.detach().cpu().numpy()
    some = rows
    if len(rows) > START_ROWS:
        some = rows[np.sort(random_state.permutation(len(rows))[:START_ROWS])]
    with ignored_warnings(ConvergenceWarning), threads_for(work):
        labels = kmeans.fit_predict(some)
        if some is not rows:
            labels = kmeans.predict(rows)
    centers, labels = numbered(kmeans.cluster_centers_, labels)
    return centers.astype(np.float32), labels.astype(np.int64)
