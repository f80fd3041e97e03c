"""Codes that are given."""

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
    """

    def __init__(self, target, weight=1.0, position=None):
        super().__init__()
        self.weight = weight
        variance = (target - target.mean(0)).square().sum(1).mean()
        self.register_buffer("target", target, persistent=False)
        self.register_buffer("variance", variance.clamp_min(1e-12), persistent=False)
        self.register_buffer("position", position, persistent=False)

    def forward(self, output, x, index):
        """The term "neighbors"."""
        if self.position is not None:
            index = self.position[index]
        known = index >= 0
        error = (output.embedding - self.target[index]).square().sum(1)
        mean = (error * known).sum() / known.sum().clamp_min(1)
        return {"neighbors": self.weight * mean / self.variance}
