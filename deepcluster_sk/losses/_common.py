"""What several families of losses need."""

from __future__ import annotations

import torch

# Rows that are worked on at a time where a table has an entry for each row and cluster:
# copies of all of it would not fit where the table does.
BLOCK_ROWS = 65_536


def squared_distances(x: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances of rows to centres.

    Parameters
    ----------
    x : torch.Tensor of shape (n, d)
        Rows.
    centers : torch.Tensor of shape (k, d)
        Centres.

    Returns
    -------
    distances : torch.Tensor of shape (n, k)
        Made of differences, not of inner products: exact where they vanish. Of float32
        and float64 they have no second derivatives.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import squared_distances
    >>> squared_distances(torch.tensor([[3.0, 4.0]]), torch.zeros(2, 2))
    tensor([[25., 25.]])
    """
    dtype = torch.promote_types(x.dtype, centers.dtype)
    if dtype not in (torch.float32, torch.float64):
        return (x[:, None] - centers).square().sum(2)
    if x.requires_grad and not centers.requires_grad:
        # A method may move them before the gradient is asked for.
        centers = centers.clone()
    mode = "donot_use_mm_for_euclid_dist"
    distance = torch.cdist(x.to(dtype), centers.to(dtype), compute_mode=mode)
    return distance.square() if distance.requires_grad else distance.square_()


def n_pairs(n):
    """Pairs i < j, but 1 where there are none: an empty sum over it is 0, not NaN."""
    return max(n * (n - 1) // 2, 1)


def check_positive(**parameters):
    """Refuse parameters that are not above 0."""
    for name, value in parameters.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0; got {value!r}.")


def rows_to_reseed_from(cost, n_empty):
    """The rows that fit their own clusters worst, one for each empty cluster.

    Parameters
    ----------
    cost : Tensor of shape (n,)
        How badly each row fits its cluster; a distance, for example.
    n_empty : int
        Number of empty clusters.

    Returns
    -------
    rows : Tensor of shape (n_empty,), int64
        By decreasing cost.
    """
    return cost.argsort(descending=True)[:n_empty]
