"""What several families of losses need."""


def squared_distances(x, centers):
    """Squared Euclidean distances, (n, k), by differences: exact where they vanish."""
    return (x[:, None] - centers).square().sum(2)


def n_pairs(n):
    """Pairs i < j, but 1 where there are none: an empty sum over it is 0, not NaN."""
    return max(n * (n - 1) // 2, 1)


def check_positive(**parameters):
    """Refuse parameters that are not above 0."""
    for name, value in parameters.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0; got {value!r}.")
