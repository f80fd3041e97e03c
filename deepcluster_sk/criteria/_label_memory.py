"""What is known of the labels of the training rows while they change."""

from torch import nn

from deepcluster_sk.solvers._cluster_sizes import cluster_sizes


class LabelMemory(nn.Module):
    """Label of every training row, and what happened to them lately.

    Part of a criterion that assigns rows as it meets them; ``TrackLabels`` reads it.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Labels to start from; -1 for none yet.
    n_clusters : int
        Number k of clusters.
    """

    def __init__(self, labels, n_clusters):
        super().__init__()
        zeros = labels.new_zeros(n_clusters)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("sizes", zeros, persistent=False)
        self.register_buffer("n_changed", labels.new_zeros(()), persistent=False)

    def update(self, index, labels):
        """Take note of the labels of a whole batch; returns its clusters' sizes."""
        sizes = cluster_sizes(labels, len(self.sizes))
        self.sizes += sizes
        self.n_changed += (labels != self.labels.index_select(0, index)).sum()
        self.labels.index_copy_(0, index, labels)
        return sizes
