"""Criteria that several methods share. Each maps a batch to a dict of loss terms."""

from torch import nn

from deepcluster_sk.losses import mean_squared_error


class Reconstruction(nn.Module):
    """Mean squared reconstruction error, over samples and features.

    Parameters
    ----------
    weight : float, default=1.0
        Multiplies the term.
    """

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight

    def forward(self, output, x, index):
        """The term "reconstruction"."""
        error = mean_squared_error(output.reconstruction, x)
        return {"reconstruction": self.weight * error}
