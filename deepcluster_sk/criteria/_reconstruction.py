"""Criteria that several methods share. Each maps a batch to a dict of loss terms."""

import torch
from torch import nn

from deepcluster_sk.losses import mean_squared_error
from deepcluster_sk.parallel import own_part, whole_batch


def drop_values(x, rate, generator):
    """Set values to zero at random, and scale the others up: dropout with a generator.

    Parameters
    ----------
    x : Tensor
    rate : float
        Probability of each value to be dropped, in [0, 1).
    generator : torch.Generator
        Source of the choice.
    """
    if rate == 0:
        return x
    # Half the time of bernoulli_ on a CPU, where it is a tenth of a small step.
    kept = torch.empty_like(x).uniform_(generator=generator).lt_(1 - rate)
    return x * kept.div_(1 - rate)


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


class RelativeReconstruction(nn.Module):
    """Mean squared reconstruction error in the units of a ``CentroidAutoencoder``.

    The error is 1 for an autoencoder that always returns the origin, the median of
    the data, whatever the scale and the number of features.
    """

    def forward(self, output, x, index):
        """The term "reconstruction"."""
        error = output.module.relative_error(x, output.code, "mean")
        return {"reconstruction": error}


class DenoisingStage(nn.Module):
    """Greedy pretraining of one stage of an autoencoder, as in DEC's authors' code.

    The stage's input and its output are both corrupted by dropout, and the stage's
    own decoder must return the clean input. Other stages get no gradient.

    Parameters
    ----------
    depth : int
        Position of the stage, from the input inwards.
    generator : torch.Generator
        Source of the noise.
    rate : float
        Share of the values set to zero.
    """

    def __init__(self, depth, generator, rate):
        super().__init__()
        self.depth = depth
        self.generator = generator
        self.rate = rate

    def forward(self, output, x, index):
        """The term "reconstruction", of the stage's input."""
        stages = output.module.autoencoder.stages
        x = output.module.standardize(x)
        with torch.no_grad():
            for down, _ in stages[: self.depth]:
                x = down(x)
        down, up = stages[self.depth]
        restored = up(self._drop(down(self._drop(x))))
        return {"reconstruction": mean_squared_error(restored, x)}

    def _drop(self, x):
        # One mask for all processes, of which each takes its part.
        return own_part(drop_values(whole_batch(x), self.rate, self.generator))


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
        """Take note of the labels of a batch; returns the number in each cluster."""
        index, labels = whole_batch(index), whole_batch(labels)
        sizes = labels.bincount(minlength=len(self.sizes))
        self.sizes += sizes
        self.n_changed += (labels != self.labels[index]).sum()
        self.labels[index] = labels
        return sizes
