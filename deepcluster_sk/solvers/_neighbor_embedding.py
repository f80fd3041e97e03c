"""Embedding the rows of a graph such that neighbours stay together."""

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from deepcluster_sk._threads import threads_for

# Graphs of at most so many nodes have all their eigenvectors computed.
DENSE_NODES = 400
# Largest coordinate of the start: UMAP's, whose gradients suit such distances.
EXTENT = 10.0
# Rows that each end of an edge is pushed away from; largest coordinate of a step.
N_REPELLED, LARGEST_STEP = 5, 4.0


def spectral_coordinates(S, n_components, random_state):
    """Leading eigenvectors of a graph, as a start of :func:`neighbor_embedding`.

    Components of the graph know nothing of one another: each is put in a corner of its
    own, with its own eigenvectors around it.

    Parameters
    ----------
    S : csr_array of shape (n, n)
        Symmetric weights.
    n_components : int
        Number h of coordinates.
    random_state : RandomState
        Start of the iteration.

    Returns
    -------
    coordinates : ndarray of shape (n, h)
        From -10 to 10 if the graph is connected; of that order otherwise.
    """
    n_parts, part = connected_components(S, directed=False)
    if n_parts == 1:
        found = _eigenvectors(S, n_components, random_state)
        return EXTENT * _unit_extent(found)
    corners = np.vstack([np.eye(n_components), -np.eye(n_components)])[:n_parts]
    if n_parts > len(corners):
        corners = random_state.normal(size=(n_parts, n_components))
        corners /= np.sqrt(n_components)
    coordinates = np.empty((len(part), n_components))
    for j in range(n_parts):
        rows = np.flatnonzero(part == j)
        found = _eigenvectors(S[rows][:, rows], n_components, random_state)
        size = 0.3 * np.sqrt(len(rows) / len(part))
        coordinates[rows] = corners[j] + size * _unit_extent(found)
    return EXTENT * coordinates


def _unit_extent(x):
    largest = np.abs(x).max()
    return x / (largest if largest > 0 else 1)


def _eigenvectors(S, n_components, random_state):
    """Leading eigenvectors of ``D^-½ S D^-½`` after the first; zero beyond the last."""
    n = S.shape[0]
    wanted = min(n_components, n - 2)
    vectors = np.zeros((n, n_components))
    if wanted < 1:
        return vectors
    root = np.sqrt(np.maximum(S.sum(axis=1), 1e-12))
    scale = sparse.diags_array(1 / root)
    normalized = sparse.csr_array(scale @ S @ scale)
    if n <= DENSE_NODES:
        every = (n - 1 - wanted, n - 2)
        found = eigh(normalized.toarray(), subset_by_index=every)[1][:, ::-1]
    else:
        start = random_state.normal(size=n)
        try:
            values, found = eigsh(
                normalized, k=wanted + 1, which="LA", tol=1e-3, v0=start
            )
        except ArpackNoConvergence as stopped:  # those that it has will do
            values, found = stopped.eigenvalues, stopped.eigenvectors
        found = found[:, np.argsort(-values)][:, 1:]
    vectors[:, : found.shape[1]] = found
    return vectors


def neighbor_embedding(S, start, n_epochs, seed, advance=None):
    """Move rows until neighbours are together and others apart, as UMAP does.

    Descends the sampled gradient of :func:`deepcluster_sk.losses.neighbor_loss`. In an
    epoch each edge is drawn with its weight as the probability; its ends attract one
    another, and each is pushed away from five random rows. All steps of an epoch are
    added up at once, and no coordinate moves by more than 4.

    Parameters
    ----------
    S : csr_array of shape (n, n)
        Symmetric weights.
    start : ndarray of shape (n, h)
        Coordinates to start from.
    n_epochs : int
        Number of passes; the rate falls from 1 to 0 linearly.
    seed : int
        Of the edges and rows that are drawn.
    advance : callable or None, default=None
        Called after each pass.

    Returns
    -------
    embedding : ndarray of shape (n, h), float32
    """
    edges = sparse.triu(S).tocoo()
    i, j = (torch.from_numpy(c.astype(np.int64)) for c in edges.coords)
    share = torch.from_numpy(edges.data).float()
    share = share / share.max() if len(share) else share
    # A row for each coordinate, and one random row for each end at a time: so the loops
    # are long, and what they work on stays in the processor's cache.
    y = torch.from_numpy(np.array(np.transpose(start), dtype=np.float32, order="C"))
    n, generator = y.shape[1], torch.Generator().manual_seed(int(seed))
    with threads_for(len(share) * len(y)):
        for epoch in range(n_epochs):
            chance = torch.rand(len(share), generator=generator)
            drawn = (chance < share).nonzero().squeeze(1)
            ends = torch.cat([i.index_select(0, drawn), j.index_select(0, drawn)])
            own = y.index_select(1, ends)
            m, move = len(drawn), torch.zeros_like(own)
            others = torch.randint(n, (N_REPELLED, 2 * m), generator=generator)
            for other in others:
                apart = own - y.index_select(1, other)
                squared = apart.square().sum(0)
                factor = (0.001 + squared).mul_(squared.add_(1)).reciprocal_().mul_(2)
                move += apart.mul_(factor).clamp_(-LARGEST_STEP, LARGEST_STEP)
            apart = own[:, :m] - own[:, m:]
            factor = (1 + apart.square().sum(0)).reciprocal_().mul_(2)
            pull = apart.mul_(factor).clamp_(-LARGEST_STEP, LARGEST_STEP)
            move[:, :m] -= pull
            move[:, m:] += pull
            step = torch.zeros_like(y).index_add_(1, ends, move)
            y += (1 - epoch / n_epochs) * step.clamp_(-LARGEST_STEP, LARGEST_STEP)
            if advance is not None:
                advance()
    return y.t().contiguous().numpy()
