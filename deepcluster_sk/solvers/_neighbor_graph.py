"""Graphs of near neighbours."""

import torch
from torch import nn

# Rows of a distance matrix held at once.
BLOCK_ROWS = 1024


def nearest_neighbors(x, n_neighbors, metric):
    """Nearest neighbours of each row among the others, by blocks of rows.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows.
    n_neighbors : int
        Number m of neighbours; n - 1 if there are no more rows.
    metric : {"cosine", "euclidean"}
        What near means.

    Returns
    -------
    distance : Tensor of shape (n, m)
        1 - cosine, or the squared Euclidean distance; ascending.
    index : Tensor of shape (n, m)
        The neighbours.
    """
    n_neighbors = min(n_neighbors, len(x) - 1)
    if metric == "cosine":
        x = nn.functional.normalize(x)
    norms = x.square().sum(1)
    found = []
    for rows in torch.arange(len(x), device=x.device).split(BLOCK_ROWS):
        distance = norms[rows, None] + norms - 2 * x[rows] @ x.T
        distance[torch.arange(len(rows)), rows] = torch.inf
        found.append(distance.topk(n_neighbors, largest=False))
    distance = torch.cat([block.values for block in found]).clamp(min=0)
    index = torch.cat([block.indices for block in found])
    return distance / (2 if metric == "cosine" else 1), index


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


def anchor_mask(anchors, n):
    """Symmetric boolean ``(n, n)`` matrix of the pairs of an edge list."""
    rows = torch.arange(len(anchors), device=anchors.device)[:, None]
    kept = anchors >= 0
    mask = torch.zeros(n, n, dtype=torch.bool, device=anchors.device)
    mask[rows.expand_as(anchors)[kept], anchors[kept]] = True
    return mask | mask.T
