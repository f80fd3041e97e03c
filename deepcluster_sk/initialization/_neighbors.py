"""A code in which neighbours stay together, and the clusters that it shows.

Reconstruction alone does not show clusters, neighbours do. So the rows are embedded
first, without a network, as UMAP does; several partitions are compared; and the network
then learns the embedding, a task that it is good at, beside the reconstruction.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import OneHotEncoder

from deepcluster_sk._threads import threads_for
from deepcluster_sk._training._callbacks import CosineDecay, StopBelow
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import (
    CodeTarget,
    CombinedCriterion,
    LabelTarget,
    RelativeReconstruction,
)
from deepcluster_sk.initialization._standardization import START_ROWS, standardize_data
from deepcluster_sk.solvers._cluster_means import cluster_means
from deepcluster_sk.solvers._neighbor_embedding import (
    neighbor_embedding,
    spectral_coordinates,
)
from deepcluster_sk.solvers._neighbor_graph import (
    fuzzy_neighbor_graph,
    shared_neighbor_graph,
)
from deepcluster_sk.solvers._partitions import (
    best_partition,
    order_of_clusters,
    renumbered,
)
from deepcluster_sk.solvers._progress import part_bar
from deepcluster_sk.solvers._warnings import ignored_warnings

# Passes over the edges of the graph: of an embedding, and of one that goes on.
EMBEDDING_EPOCHS, TARGET_EPOCHS = 200, 100
# Widths of the embeddings whose clusters are compared: there k-means is at its best.
WIDTHS = (4, 4, 4, 2)
# Rows are judged by so many principal components; Gaussians only where these hold this
# share of the variance, as elsewhere they say little about the rows.
N_COMPONENTS, EXPLAINED = 10, 0.9
N_MIXTURES, MIXTURE_ROWS = 5, 5_000
# Memberships of at most so many clusters are a dense table.
MOST_DENSE = 100
# Weight of edges across clusters, once there are clusters.
ACROSS = 0.1
# Clusters are moved apart until this share of rows is nearest to its own mean.
OWN_SHARE = 0.998
# Steps of the network: at most so many at the full rate, until the error of the code is
# this small relative to its variance; then so many while the rate falls to zero.
MOST_STEPS, LAST_STEPS, SMALL_ERROR = 450, 150, 0.03
# Steps in which the rate rises.
WARM_UP = 20
# Weight of the reconstruction beside the code's error; both are relative.
RECONSTRUCTION_WEIGHT = 0.1
# A softmax learns the clusters until the cross-entropy is this small, so that it is not
# yet saturated and the loss of the clustering still moves it.
SMALL_ENTROPY = 0.1


@dataclass(frozen=True)
class NeighborCode:
    """What the neighbours of some rows say about their code.

    Attributes
    ----------
    target : Tensor of shape (m, h)
        The code to learn.
    labels : ndarray of shape (m,) or None
        Clusters, the largest first; None if there were none to find.
    position : Tensor of shape (n,) or None
        Position of each training row among the m rows, -1 for none; None if all are.
    """

    target: torch.Tensor
    labels: np.ndarray | None
    position: torch.Tensor | None = None

    def criterion(self, weight=1.0, scale=1.0):
        """The criterion that keeps codes there, in units ``scale`` times as small."""
        return CodeTarget(self.target * scale, weight, self.position)

    def of_rows(self, index, n):
        """The same, of the rows ``index`` among n."""
        if len(index) == n:
            return self
        position = torch.full((n,), -1, dtype=torch.long, device=index.device)
        position[index] = torch.arange(len(index), device=index.device)
        return replace(self, position=position)


def neighbor_pretraining(run, epochs, n_neighbors, latent_dim, n_clusters=None):
    """Phases in which the autoencoder learns a code that keeps neighbours together.

    Parameters
    ----------
    run : Run
        Its rows are those that are compared; the module is a ``CentroidAutoencoder``.
    epochs : int or None
        Number of epochs; None takes as many as make some hundred steps.
    n_neighbors : int
        Neighbours of each row in the graph.
    latent_dim : int
        Width h of the code.
    n_clusters : int or None, default=None
        Number k of clusters to find; None looks for none.

    Yields
    ------
    Phase

    Returns
    -------
    code : NeighborCode
    """
    standardize_data(run)
    rows = run.rows
    target, labels = embed_neighbors(
        rows.X,
        n_neighbors,
        latent_dim,
        n_clusters,
        run.random_state,
        run.moved_copies(),
        run.verbose,
    )
    code = NeighborCode(torch.from_numpy(target).to(rows.X.device), labels)
    loss = CombinedCriterion(
        code.criterion(), RelativeReconstruction(RECONSTRUCTION_WEIGHT)
    )
    batches = run.net.n_batches(len(rows))
    most, last = -(-MOST_STEPS // batches), -(-LAST_STEPS // batches)
    if epochs is not None:
        last = epochs // 4
        most = epochs - last
    stop = StopBelow("neighbors", SMALL_ERROR)
    yield Phase("neighbors", loss, most, callbacks=[stop], warm_up=WARM_UP, rows=rows)
    yield Phase("settle", loss, last, callbacks=[CosineDecay(last)], rows=rows)
    return code


def present_code(run):
    """The code that the module has learned, to keep rows there.

    Parameters
    ----------
    run : Run
        Of more than ``START_ROWS`` rows so many are kept.

    Returns
    -------
    code : NeighborCode
    """
    sample, index = run.sample(START_ROWS)
    code = NeighborCode(sample.apply(run.module.encode), None)
    return code.of_rows(index, len(run.rows))


def neighbor_label_pretraining(run, n_neighbors, n_clusters):
    """Phase in which soft assignments learn the clusters that neighbours show.

    Parameters
    ----------
    run : Run
        The module has ``log_assign``; it knows the origin and scale of the data.
    n_neighbors : int
        Neighbours of each row in the graph.
    n_clusters : int
        Number k of clusters to find.

    Yields
    ------
    Phase
    """
    sample = run.sample(START_ROWS)[0]
    rows, copies = sample.rows, sample.moved_copies()
    _, labels = embed_neighbors(
        rows.X, n_neighbors, 1, n_clusters, run.random_state, copies, run.verbose
    )
    labels = torch.from_numpy(labels.astype("int64")).to(rows.X.device)
    most = -(-MOST_STEPS // run.net.n_batches(len(rows)))
    stop = StopBelow("neighbors", SMALL_ENTROPY)
    yield Phase("neighbors", LabelTarget(labels), most, callbacks=[stop], rows=rows)


def embed_neighbors(
    X, n_neighbors, latent_dim, n_clusters, random_state, copies=None, verbose=0
):
    """The code that neighbours ask for, and the clusters that they show.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Rows.
    n_neighbors : int
        Neighbours of each row in the graph.
    latent_dim : int
        Width h of the code.
    n_clusters : int or None
        Number k of clusters.
    random_state : RandomState
        Source of every choice.
    copies : iterable of Tensors of shape (n, d), or None, default=None
        Moved copies of the rows: two rows are neighbours where one is near to a copy
        of the other.
    verbose : int, default=0
        Above 0, show a progress bar.

    Returns
    -------
    code : ndarray of shape (n, h), float32
        Rows are at a mean squared distance of 1 from the mean of their cluster or,
        where there are no clusters or they have no extent, from the mean of all.
    labels : ndarray of shape (n,) or None
        Clusters by size, the largest first.
    """
    n = len(X)
    if n < 3:
        code = np.arange(n * latent_dim, dtype=np.float32).reshape(n, latent_dim)
        labels = None if n_clusters is None else np.arange(n) % n_clusters
        return code - code.mean(0), labels
    n_neighbors = min(n_neighbors, n - 1)
    if copies is not None:
        copies = (Z.cpu().double().numpy() for Z in copies)
    W, S = neighbor_graphs(X, n_neighbors, copies)
    X = X.cpu().double().numpy()
    width = max(latent_dim, max(WIDTHS))
    start = spectral_coordinates(S, width, random_state)
    widths = [latent_dim] if n_clusters is None else WIDTHS
    total = len(widths) * EMBEDDING_EPOCHS
    if n_clusters is not None:
        total += TARGET_EPOCHS
    bar = part_bar(verbose, "embedding of neighbours", total=total, unit="epoch")
    embeddings = [
        free_embedding(S, start[:, :h], EMBEDDING_EPOCHS, random_state, bar.update)
        for h in widths
    ]
    if n_clusters is None:
        bar.close()
        (code,) = embeddings
        code -= code.mean(0)
        return code / max(np.square(code).sum(1).mean() ** 0.5, 1e-6), None
    labels, embedding = _best_clusters(
        X, W, embeddings, n_clusters, n_neighbors, random_state
    )
    labels = renumbered(labels, order_of_clusters(labels, n_clusters))
    edges = S.tocoo()
    i, j = edges.coords
    weight = np.where(labels[i] == labels[j], 1, ACROSS)
    S = sparse.csr_array((edges.data * weight, (i, j)), S.shape)
    wide = np.zeros((n, latent_dim))
    shared = min(latent_dim, embedding.shape[1])
    wide[:, :shared] = embedding[:, :shared]
    code = free_embedding(S, wide, TARGET_EPOCHS, random_state, bar.update)
    bar.close()
    return _moved_apart(code, labels, n_clusters), labels


def neighbor_graphs(X, n_neighbors, copies=None):
    """Graph of neighbours, and of shared ones, of a tensor's rows ``(n, d)``."""
    rows, device = X.cpu().double().numpy(), X.device
    with threads_for(len(X) * X.numel()):
        W = fuzzy_neighbor_graph(rows, n_neighbors, copies, device)
    return W, shared_neighbor_graph(W)


def free_embedding(S, start, n_epochs, random_state, advance=None):
    seed = random_state.randint(np.iinfo(np.int32).max)
    # Equal coordinates have no direction in which to part.
    start = start + random_state.normal(size=start.shape) * 0.01
    return neighbor_embedding(S, start, n_epochs, seed, advance)


def _best_clusters(X, W, embeddings, n_clusters, n_neighbors, random_state):
    """The most probable partition, and the embedding of the most probable own one."""

    def kmeans(Z, n_init=20):
        model = KMeans(n_clusters, n_init=n_init, random_state=random_state)
        return model.fit_predict(Z)

    components = min(N_COMPONENTS, *X.shape)
    with ignored_warnings(ConvergenceWarning):  # fewer distinct rows than clusters
        with np.errstate(invalid="ignore"):  # shares of the variance, where it is zero
            P = PCA(components, random_state=random_state).fit_transform(X)
        found = [kmeans(Z) for Z in embeddings]
        agreed = kmeans(_memberships(found, n_clusters))
        candidates = [agreed, *found, kmeans(P, 10)]
        if P.var(0).sum() >= EXPLAINED * X.var(0).sum():
            candidates += _mixture_labels(P, n_clusters, random_state)
    best = best_partition(candidates, P, W, n_clusters, n_neighbors)
    own = best_partition(found, P, W, n_clusters, n_neighbors)
    return candidates[best], embeddings[own]


def _memberships(partitions, n_clusters):
    """Which clusters each row is in, of several partitions, as zeros and ones.

    Of many clusters sparse: k-means of a dense table takes time that grows with their
    square. Of few clusters the dense one is faster.
    """
    encoder = OneHotEncoder(
        categories=[np.arange(n_clusters)] * len(partitions),
        sparse_output=n_clusters > MOST_DENSE,
    )
    return encoder.fit_transform(np.column_stack(partitions))


def _mixture_labels(P, n_clusters, random_state):
    """Labels of Gaussian mixtures of rows: five free ones, one with one covariance."""
    rows = P[random_state.permutation(len(P))[:MIXTURE_ROWS]]
    variance = P.var(0).mean()
    if len(rows) <= n_clusters or not variance > 0:
        return []
    kinds = [("full", ("kmeans", "random_from_data")[i % 2]) for i in range(N_MIXTURES)]
    return [
        GaussianMixture(
            n_clusters,
            covariance_type=kind,
            init_params=init,
            reg_covar=(1e-2 if kind == "full" else 1e-3) * variance,
            random_state=random_state,
        )
        .fit(rows)
        .predict(P)
        for kind, init in [*kinds, ("tied", "kmeans")]
    ]


def _moved_apart(code, labels, n_clusters):
    """Move whole clusters until nearly every row is nearest to the mean of its own."""
    code = code - code.mean(0)
    means = cluster_means(code, labels, n_clusters)
    for factor in (0, 0.25, 0.5, 1, 2, 4, 8):
        moved = code + np.float32(factor) * means[labels]
        centers = cluster_means(moved, labels, n_clusters)
        squared = np.stack([np.square(moved - c).sum(1) for c in centers], axis=1)
        if (squared.argmin(1) == labels).mean() >= OWN_SHARE:
            break
    spread = squared[np.arange(len(labels)), labels].mean() ** 0.5
    whole = np.square(moved).sum(1).mean() ** 0.5
    if not spread > 1e-3 * whole:  # as with as many clusters as rows
        spread = whole
    return moved / (spread if spread > 0 else 1)
