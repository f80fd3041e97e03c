"""Which rows an empty cluster is re-seeded from."""


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
