"""Losses, as pure functions on tensors."""


def mean_squared_error(reconstruction, x):
    """Squared error averaged over all elements, so that it does not grow with d."""
    return (reconstruction - x).square().mean()
