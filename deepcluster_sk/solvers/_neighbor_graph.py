"""Graphs of near neighbours."""

import itertools

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import nn

import deepcluster_sk.kernels as kernels
from deepcluster_sk._threads import threads_for
from deepcluster_sk.solvers._progress import part_bar

# Rows of a distance matrix held at once.
BLOCK_ROWS = 1024
# Bisections of a row's bandwidth; more than double precision can tell.
BISECTIONS = 64
# Distances of moved copies are measured along so many principal directions: there are
# many of them, and what moving leaves as it is lies along few.
N_DIRECTIONS = 50
# Edges of a smaller weight, relative to the largest of a row, are left out.
MIN_WEIGHT = 1e-3


def nearest_neighbors(x, n_neighbors, metric, copies=None, verbose=0):
    """Nearest neighbours of each row among the others, by blocks of rows.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows.
    n_neighbors : int
        Number m of neighbours; n - 1 if there are no more rows.
    metric : {"cosine", "euclidean"}
        What near means.
    copies : iterable of Tensors of shape (n, d), or None, default=None
        Moved copies of the rows, see :func:`nearest_moved_neighbors`.
    verbose : int, default=0
        Above 0, show a progress bar over the rows.

    Returns
    -------
    distance : Tensor of shape (n, m)
        1 - cosine, or the squared Euclidean distance; ascending.
    index : Tensor of shape (n, m)
        The neighbours.
    """
    n_neighbors = min(n_neighbors, len(x) - 1)
    cosine = metric == "cosine"
    if cosine:
        x = nn.functional.normalize(x)
    if copies is not None:
        if cosine:
            copies = (nn.functional.normalize(moved) for moved in copies)
        copies = (moved.cpu().numpy() for moved in copies)
        distance, index = nearest_moved_neighbors(
            x.cpu().numpy(), copies, n_neighbors, verbose, x.device
        )
        squared = torch.from_numpy(distance).float().square() / (2 if cosine else 1)
        return squared.to(x.device), torch.from_numpy(index).to(x.device)
    norms = x.square().sum(1)
    found = []
    with _bar_of_rows(len(x), verbose) as bar:
        for rows in torch.arange(len(x), device=x.device).split(BLOCK_ROWS):
            distance = norms[rows, None] + norms - 2 * x[rows] @ x.T
            distance.scatter_(1, rows[:, None], torch.inf)
            found.append(distance.topk(n_neighbors, largest=False))
            bar.update(len(rows))
    distance = torch.cat([block.values for block in found]).clamp(min=0)
    index = torch.cat([block.indices for block in found])
    return distance / (2 if cosine else 1), index


def _bar_of_rows(n, verbose):
    return part_bar(verbose, "neighbours of rows", total=n, unit="row")


def nearest_moved_neighbors(X, copies, n_neighbors, verbose=0, device=None):
    """Nearest neighbours of each row, where rows may be moved to meet one another.

    The distance of two rows is the smallest between one as it is and the other as it
    is or in one of its moved copies, in the leading 50 principal directions.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows.
    copies : iterable of ndarrays of shape (n, d)
        Each holds a moved copy of every row.
    n_neighbors : int
        Number m of neighbours of each row; below n.
    verbose : int, default=0
        Above 0, show a progress bar over the rows.
    device : torch.device or None, default=None
        Where rows are compared; None is the CPU.

    Returns
    -------
    distance : ndarray of shape (n, m), float64
        Ascending.
    index : ndarray of shape (n, m), int64
        The neighbours.
    """
    n = len(X)
    project = PCA(min(N_DIRECTIONS, *X.shape), svd_solver="full").fit(X).transform
    rows, *moved = (
        torch.from_numpy(project(Z)).float().to(device)
        for Z in itertools.chain([X], copies)
    )
    norms = rows.square().sum(1)
    moved_norms = [Z.square().sum(1) for Z in moved]
    distance, index = [], []
    threads = threads_for(min(BLOCK_ROWS, n) * rows.numel())
    with threads, _bar_of_rows(n, verbose) as bar:
        for block in torch.arange(n, device=device).split(BLOCK_ROWS):
            best = norms - 2 * rows[block] @ rows.T + norms[block, None]
            for Z, squared in zip(moved, moved_norms, strict=True):
                for one, its, other, theirs in (
                    (rows, norms, Z, squared),
                    (Z, squared, rows, norms),
                ):
                    product = one[block] @ other.T
                    product.mul_(-2).add_(theirs).add_(its[block, None])
                    torch.minimum(best, product, out=best)
            best.scatter_(1, block[:, None], torch.inf)
            found = best.topk(n_neighbors, largest=False)
            distance.append(found.values.clamp_(min=0).sqrt_())
            index.append(found.indices)
            bar.update(len(block))
    return torch.cat(distance).cpu().double().numpy(), torch.cat(index).cpu().numpy()


def anchor_edges(distance, index, fraction, local):
    """Keep the shortest edges of a graph of nearest neighbours.

    Parameters
    ----------
    distance, index : Tensors of shape (n, m)
        The graph, as :func:`nearest_neighbors` returns it.
    fraction : float
        Share of the edges that is kept.
    local : bool
        Whether distances are measured against those of both ends to their last
        neighbours. Otherwise dense clusters get nearly all anchors: on MNIST
        half of them would be ones, and one in a hundred a five.

    Returns
    -------
    anchors : Tensor of shape (n, m)
        ``index`` where the edge is kept, -1 elsewhere.
    """
    if distance.numel() == 0:
        return index
    if local:
        scale = distance[:, -1].clamp(min=torch.finfo(distance.dtype).tiny)
        scale = scale.sqrt()
        distance = distance / scale[:, None] / scale[index]
    n_kept = max(1, round(fraction * distance.numel()))
    kept = distance.flatten().argsort(stable=True)[:n_kept]
    anchors = torch.full_like(index, -1).flatten()
    anchors[kept] = index.flatten()[kept]
    return anchors.view_as(index)


def edges_of_pairs(pairs, n):
    """The edge list of given pairs.

    Parameters
    ----------
    pairs : ndarray of shape (p, 2), int64
        Positions of rows. Pairs may come more than once and in either order; a row with
        itself is no pair.
    n : int
        Number of rows.

    Returns
    -------
    anchors : Tensor of shape (n, m), int64
        The rows that each row is paired with, -1 for none; m is the most of them.
    """
    i, j = pairs[pairs[:, 0] != pairs[:, 1]].T
    both = np.concatenate([i, j]), np.concatenate([j, i])
    graph = sparse.csr_array((np.ones(2 * len(i)), both), (n, n))
    degrees = np.diff(graph.indptr)
    anchors = np.full((n, degrees.max(initial=0)), -1)
    column = np.arange(graph.nnz) - np.repeat(graph.indptr[:-1], degrees)
    anchors[np.repeat(np.arange(n), degrees), column] = graph.indices
    return torch.from_numpy(anchors)


def anchor_mask(anchors, n):
    """Symmetric boolean ``(n, n)`` matrix of the pairs of an edge list, ``(n, m)``."""
    # One column more, for edges that are none: to leave them out the device would have
    # to tell how many there are.
    mask = torch.zeros(n, n + 1, dtype=torch.bool, device=anchors.device)
    mask = mask.scatter_(1, anchors.remainder(n + 1), True)[:, :n]
    return mask | mask.T


def pairs_of_batch(edges, x, index):
    """Pairs of a batch, ``(b, b)``, that its own graph ``edges(x)`` joins."""
    return anchor_mask(edges(x), len(index))


class PairMask(nn.Module):
    """The pairs of a batch that are joined in a graph of all rows.

    Parameters
    ----------
    neighbors : Tensor of shape (n, m), int64
        Neighbours of each row, -1 for none.
    """

    def __init__(self, neighbors):
        super().__init__()
        self.register_buffer("neighbors", neighbors)
        # One more, so that neighbour -1 is nowhere.
        self.register_buffer("position", torch.full((len(neighbors) + 1,), -1))

    def forward(self, x, index):
        """Symmetric boolean ``(b, b)`` matrix for rows ``index``, ``(b,)``."""
        position = self.position
        position[index] = torch.arange(len(index), device=index.device)
        mask = anchor_mask(position[self.neighbors[index]], len(index))
        position[index] = -1
        return mask


def fuzzy_weights(distance):
    """How surely each neighbour is one, by distances relative to the nearest (UMAP).

    ``w_ij = exp(-max(0, d_ij - ρ_i) / σ_i)`` with ρ_i the distance to the nearest
    neighbour and σ_i such that each row sums to ``log2(m)`` [1]_.

    Parameters
    ----------
    distance : ndarray of shape (n, m), float64
        Distances to the m nearest neighbours, ascending.

    Returns
    -------
    weights : ndarray of shape (n, m)
        In [0, 1]; 1 for the nearest. Where all neighbours are equally far, all are 1.

    References
    ----------
    .. [1] L. McInnes, J. Healy and J. Melville. UMAP: uniform manifold approximation
       and projection for dimension reduction. arXiv:1802.03426 (2018).
    """
    n, m = distance.shape
    beyond = np.maximum(distance - distance[:, :1], 0)
    low, high, sigma = np.zeros((n, 1)), np.full((n, 1), np.inf), np.ones((n, 1))
    sigma *= np.where(beyond.any(1, keepdims=True), beyond.max(1, keepdims=True), 1)
    for _ in range(BISECTIONS):
        wide = np.exp(-beyond / sigma).sum(1, keepdims=True) > np.log2(m)
        high, low = np.where(wide, sigma, high), np.where(wide, low, sigma)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
    # A row whose neighbours are nearly all equally far would get a bandwidth of zero.
    average = beyond.mean()
    sigma = np.maximum(sigma, 1e-3 * average if average > 0 else 1)
    return np.exp(-beyond / sigma)


def fuzzy_neighbor_graph(X, n_neighbors, copies=None, device=None):
    """The graph of UMAP: weights of nearest neighbours, made symmetric.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
        At least two rows.
    n_neighbors : int
        Number m of neighbours of each row, itself left out; below n.
    copies : iterable of ndarrays of shape (n, d), or None, default=None
        Moved copies of the rows, which are near to what one of them is near to.
    device : torch.device or None, default=None
        Where rows are compared; None is the CPU.

    Returns
    -------
    W : csr_array of shape (n, n), float64
        ``W + Wᵀ - W∘Wᵀ`` of the fuzzy weights, in (0, 1]; the diagonal is empty.
    """
    n = len(X)
    if copies is not None:
        distance, index = nearest_moved_neighbors(X, copies, n_neighbors, 0, device)
    else:
        distance, index = _exact_neighbors(X - X.mean(0), n_neighbors, device)
    rows = np.repeat(np.arange(n), n_neighbors)
    W = sparse.csr_array(
        (fuzzy_weights(distance).ravel(), (rows, index.ravel())), (n, n)
    )
    return sparse.csr_array(W + W.T - W.multiply(W.T))


def _exact_neighbors(X, n_neighbors, device):
    """Distances and neighbours, ``(n, m)``, on the device if that knows float64.

    Single precision tells no neighbours where clusters lie far apart.
    """
    if device is None or device.type in {"cpu", *kernels._WITHOUT_FLOAT64}:
        return NearestNeighbors(n_neighbors=n_neighbors).fit(X).kneighbors()
    rows = torch.from_numpy(X).to(device)
    _, index = nearest_neighbors(rows, n_neighbors, "euclidean")
    # Inner products, by which they were found, cancel where rows are far from the mean.
    distance = torch.cat(
        [
            (rows[near] - some[:, None]).square().sum(2).sqrt()
            for some, near in zip(
                rows.split(BLOCK_ROWS), index.split(BLOCK_ROWS), strict=True
            )
        ]
    )
    distance, order = distance.sort(stable=True)
    return distance.cpu().numpy(), index.gather(1, order).cpu().numpy()


def shared_neighbor_graph(W):
    """The edges of a graph, weighted by how alike the neighbours of their ends are.

    An edge between two groups has ends with different neighbours. Its new weight is the
    squared cosine of their rows of ``W + I``, relative to the largest of a row.

    Parameters
    ----------
    W : csr_array of shape (n, n)
        Symmetric, with an empty diagonal.

    Returns
    -------
    S : csr_array of shape (n, n)
        Symmetric, with weights in (0, 1].
    """
    n = W.shape[0]
    rows = sparse.csr_array(W + sparse.eye_array(n))
    rows = sparse.diags_array(1 / sparse.linalg.norm(rows, axis=1)) @ rows
    edges = W.tocoo()
    i, j = edges.coords
    cosine = np.empty(len(i))
    step = BLOCK_ROWS * 64
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        cosine[part] = rows[i[part]].multiply(rows[j[part]]).sum(axis=1)
    S = sparse.csr_array((cosine**2, (i, j)), (n, n))
    largest = S.max(axis=1).toarray().ravel()
    S = sparse.csr_array(sparse.diags_array(1 / np.where(largest > 0, largest, 1)) @ S)
    S = sparse.csr_array(S.maximum(S.T))
    S.data[S.data < MIN_WEIGHT] = 0
    S.eliminate_zeros()
    return S
