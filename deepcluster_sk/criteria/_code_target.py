"""Codes that are given."""

import torch

from deepcluster_sk.criteria._base import Criterion


class CodeTarget(Criterion):
    """Squared distance of codes to given ones, relative to the variance of those.

    Parameters
    ----------
    target : Tensor of shape (m, h)
        The codes to reach.
    weight : float, default=1.0
        Multiplies the term.
    position : Tensor of shape (n,), int64, or None
        Where the target of each training row is, -1 for none; None if all rows have
        one, in order.

    Notes
    -----
    Errors are averaged over all rows that have a target, not over those of a batch:
    so the terms of the parts of a batch, on several processes, add up to its own.
    """

    def __init__(self, target, weight=1.0, position=None):
        super().__init__()
        n = len(target) if position is None else len(position)
        self.weight = weight * n / len(target)
        variance = (target - target.mean(0)).square().sum(1).mean()
        variance = torch.where(variance > 0, variance, 1)
        self.register_buffer("target", target, persistent=False)
        self.register_buffer("variance", variance, persistent=False)
        self.register_buffer("position", position, persistent=False)

    def forward(self, output, x, index):
        """The term "neighbors"."""
        at = index if self.position is None else self.position[index]
        error = (output.embedding - self.target[at]).square().sum(1)
        mean = torch.where(at >= 0, error, 0).mean()
        return {"neighbors": self.weight * mean / self.variance}
