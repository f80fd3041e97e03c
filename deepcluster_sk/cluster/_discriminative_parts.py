"""Criterion, alternation and given anchors of discriminative clustering."""

import numbers

import numpy as np
import torch
from scipy.sparse import issparse
from skorch.callbacks import Callback

from deepcluster_sk._training._net import StopTraining
from deepcluster_sk.criteria import Criterion
from deepcluster_sk.losses import (
    anchor_similarity_loss,
    between_cluster_loss,
    spherical_kmeans_loss,
    within_cluster_loss,
)
from deepcluster_sk.solvers._spherical_kmeans import (
    assign_directions,
    mean_directions,
)


class DiscriminativeLoss(Criterion):
    """The terms of Eq. 6, Eq. 8 or Eq. 11 that are about directions, all as losses.

    Labels are kept for every training row.

    Parameters
    ----------
    weights : dict of str to float
        Terms and their weights; the others are left out.
    pairs : callable
        ``pairs(x, index)`` returns the anchor pairs of a batch, ``(b, b)``.
    alpha : float
    centers : Tensor of shape (k, h)
        Only its shape matters.
    n : int
        Number of training rows.
    """

    compares_rows = True

    def __init__(self, weights, pairs, alpha, centers, n):
        super().__init__()
        self.weights = weights
        self.pairs = pairs
        self.alpha = alpha
        self.register_buffer("labels", torch.zeros(n, dtype=torch.long))
        self.register_buffer("centers", torch.zeros_like(centers))

    def _term(self, name, z, x, index):
        labels, k = self.labels[index], len(self.centers)
        if name == "clustering":
            return spherical_kmeans_loss(z, self.centers, labels)
        if name == "discrimination":
            return anchor_similarity_loss(z, self.pairs(x, index), self.alpha)
        if name == "within":
            return within_cluster_loss(z, labels, k)
        return between_cluster_loss(z, labels, k)

    def forward(self, output, x, index):
        z, weights = output.embedding, self.weights.items()
        return {n: weight * self._term(n, z, x, index) for n, weight in weights}


class Alternate(Callback):
    """Before and after each epoch: S given μ, then μ given S, on all rows.

    Parameters
    ----------
    run : Run
    loss : DiscriminativeLoss
        Takes the labels and centroids.
    tol : float
        The phase ends when the mean cosine to the centroids (Eq. 7) changes by
        less between epochs. 0 never stops.
    """

    def __init__(self, run, loss, tol):
        self.run = run
        self.loss = loss
        self.tol = tol

    def on_train_begin(self, net, **kwargs):
        """Assign the rows before the first step."""
        self.cosine_ = self._update(net)[0]

    def on_epoch_end(self, net, **kwargs):
        """Assign the rows anew, and look whether that still changes anything."""
        cosine, n_changed = self._update(net)
        net.history.record("cosine", cosine)
        net.history.record("n_changed", n_changed)
        change, self.cosine_ = abs(cosine - self.cosine_), cosine
        if change < self.tol:
            raise StopTraining("tol")

    def _update(self, net):
        module, loss = net.module_, self.loss
        directions = self.run.apply(module.direct)
        labels, cosine, n_reseeded = assign_directions(directions, module.centers)
        self.run.n_reseeded += n_reseeded
        module.centers.copy_(mean_directions(directions, labels, module.centers))
        loss.centers.copy_(module.centers)
        n_changed = int((loss.labels != labels).sum())
        loss.labels.copy_(labels)
        return float(cosine.mean()), n_changed


def given_anchors(anchors, n_samples, name):
    """The pairs that a user gives in the place of neighbours, as positions of rows.

    Parameters
    ----------
    anchors : array-like of shape (m, 2) or sparse matrix of shape (n, n)
        Positions of the two rows of each pair, or a matrix that is not zero there.
    n_samples : int
        Number n of rows.
    name : str
        The estimator's class, for errors.

    Returns
    -------
    pairs : ndarray of shape (m, 2), int64
    """
    wanted = (
        f"The 'anchors' parameter of {name} must be 'data', 'batch', pairs of rows, of "
        f"shape (m, 2) and from 0 to {n_samples - 1}, or a sparse matrix of shape "
        f"({n_samples}, {n_samples})."
    )
    if issparse(anchors):
        if anchors.shape != (n_samples, n_samples):
            raise ValueError(f"{wanted} Got a sparse matrix of shape {anchors.shape}.")
        return np.column_stack(anchors.nonzero()).astype(np.int64)
    pairs = np.asarray(anchors)
    if pairs.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if pairs.dtype.kind not in "iu" or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"{wanted} Got an array of shape {pairs.shape} and type {pairs.dtype}."
        )
    if pairs.min() < 0 or pairs.max() >= n_samples:
        raise ValueError(f"{wanted} Got {pairs.min()} to {pairs.max()}.")
    return pairs.astype(np.int64)


def first_and_last(weight, name):
    """The weight that a stage begins with and the one that it ends with.

    Parameters
    ----------
    weight : float or pair of float
        One for all of the stage, or both.
    name : str
        The estimator's class, for errors.

    Returns
    -------
    first, last : float
    """
    pair = (weight, weight) if isinstance(weight, numbers.Real) else tuple(weight)
    if len(pair) != 2 or not all(isinstance(w, numbers.Real) and w >= 0 for w in pair):
        raise ValueError(
            f"The 'discriminative_weight' parameter of {name} must be a number in the "
            f"range [0, inf), or two of them. Got {weight!r} instead."
        )
    return pair
