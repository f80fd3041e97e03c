"""Labels that are given."""

from torch.nn import functional

from deepcluster_sk.criteria._base import Criterion


class LabelTarget(Criterion):
    """Cross-entropy of soft assignments to given labels.

    Parameters
    ----------
    labels : Tensor of shape (n,), int64
        The cluster of each row.
    """

    def __init__(self, labels):
        super().__init__()
        self.register_buffer("labels", labels, persistent=False)

    def forward(self, output, x, index):
        """The term "neighbors"."""
        error = functional.nll_loss(output.log_assignment, self.labels[index])
        return {"neighbors": error}
