"""Criterion, start and checks of the tensorized autoencoder."""

import numpy as np
import torch
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils.validation import check_consistent_length, column_or_1d
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk.criteria import Criterion
from deepcluster_sk.initialization import init_name
from deepcluster_sk.losses import simplex_projection
from deepcluster_sk.losses._common import rows_to_reseed_from

# Assignments that the exact solver finds: the best cluster, or all by their posterior.
EXACT = ("lloyd", "posterior")


class TensorizedLoss(Criterion):
    """Eq. 2 for the present assignment S, which each batch then updates.

    S is kept for every training row. As in the authors' code the loss uses S as it
    was; the new S comes from the same forward pass. Sums of the rows weighted by
    the new S are gathered on the way, so that the centres cost no second pass.

    Parameters
    ----------
    assignment : Tensor of shape (n, k)
        One-hot rows to start from.
    n_features : int
    code_penalty : float
    update : {"lloyd", "projected", "constrained", "none"}
    lr : float
        Step of S, in units of the present mean cost.
    """

    def __init__(self, assignment, n_features, code_penalty, update, lr):
        super().__init__()
        self.code_penalty, self.update, self.lr = code_penalty, update, lr
        k = assignment.shape[1]
        if update in ("projected", "constrained"):
            # A gradient cannot leave a vertex: start half-way to the centre.
            assignment = 0.5 * assignment + 0.5 / k
        self.register_buffer("assignment", assignment)
        self.register_buffer("sums", torch.zeros(k, n_features))
        self.register_buffer("counts", torch.zeros(k))
        self.register_buffer("n_changed", torch.zeros((), dtype=torch.long))

    def forward(self, output, x, index):
        old = self.assignment[index]  # (n, k)
        cost = output.cost_of(x)  # (n, k)
        code = -self.code_penalty * output.embedding.square().sum(-1).T
        return {
            "reconstruction": (old * (cost - code)).sum(1).mean(),
            "code": (old * code).sum(1).mean(),
        }

    def observe(self, output, x, index):
        """Assign the rows of the batch anew."""
        old = self.assignment[index]
        new = self._updated(old, output.cost)
        self.assignment[index] = new
        self.sums += new.T @ x
        self.counts += new.sum(0)
        self.n_changed += (new.argmax(1) != old.argmax(1)).sum()

    def _updated(self, old, cost):
        if self.update == "none":
            return old
        if self.update == "lloyd":
            return nn.functional.one_hot(cost.argmin(1), cost.shape[1]).to(old.dtype)
        # The gradient of the loss in S is the cost; its scale is the data's.
        step = self.lr * cost / (old * cost).sum(1).mean().abs().clamp(min=1e-12)
        if self.update == "projected":
            return simplex_projection(old - step)
        return torch.softmax(old.clamp(min=1e-30).log() - step, dim=1)


class MoveCenters(Callback):
    """After each epoch, move the centres to the weighted means; re-seed empty clusters.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run):
        self.run = run

    def on_epoch_end(self, net, **kwargs):
        """Move the centres and start the sums again."""
        module, loss = net.module_, net.criterion_
        is_empty = loss.counts < 0.5
        means = loss.sums / loss.counts.clamp(min=0.5)[:, None]
        module.centers.copy_(torch.where(is_empty[:, None], module.centers, means))
        empty = is_empty.nonzero().flatten()
        if len(empty):
            self._reseed(empty, module, loss)
        net.history.record("n_changed", int(loss.n_changed))
        net.history.record("hardness", float(loss.assignment.max(1).values.mean()))
        for buffer in (loss.sums, loss.counts, loss.n_changed):
            buffer.zero_()

    def _reseed(self, empty, module, loss):
        """Move each empty cluster to one of the rows that are fitted worst."""
        cost = self.run.apply(lambda x: module.choose(x)[1])
        rows = rows_to_reseed_from(cost, len(empty))
        module.centers[empty] = self.run.rows[rows]
        loss.assignment[rows] = 0
        loss.assignment[rows, empty] = 1
        self.run.n_reseeded += len(empty)


def check_networks(estimator, layers, width, penalty, n_features):
    """Refuse what only certain autoencoders can have, or they cannot.

    Parameters
    ----------
    estimator : TensorizedAutoencoder
    layers : tuple of int or None
        Hidden layers of its autoencoders; None for those of a user.
    width : int
        Of the code.
    penalty : float
        λ of Eq. 2.
    n_features : int
        Width d of a row.
    """
    name, mixture = type(estimator).__name__, estimator.assignment == "posterior"
    is_shallow = estimator.architecture == "mlp" and layers == ()
    is_linear = is_shallow and estimator.code_layer == "orthonormal"
    if not is_shallow and estimator.code_layer != "orthonormal":
        raise ValueError(
            f"code_layer={estimator.code_layer!r} of {name} is for autoencoders whose "
            "only layer is the code: architecture='mlp', hidden_layer_sizes=()."
        )
    if is_linear and width > n_features:
        raise ValueError(
            f"latent_dim={width} of {name} must be at most "
            f"n_features={n_features} for linear autoencoders."
        )
    if not is_linear and penalty > 0:
        raise ValueError(
            f"code_penalty={penalty} of {name} must be at most 0 for autoencoders "
            "that are not linear and orthonormal: larger codes would lower the "
            "objective for ever."
        )
    if mixture and penalty >= 0:
        raise ValueError(
            f"code_penalty={penalty} of {name} must be below 0 with "
            "assignment='posterior': the variance along a direction is -1 / λ times "
            "that of the noise."
        )
    fits = is_linear and estimator.assignment in EXACT
    if (estimator.solver == "exact" and not fits) or (
        mixture and not (is_linear and estimator.solver != "gradient")
    ):
        asked = "assignment='posterior'" if mixture else "solver='exact'"
        raise ValueError(
            f"{asked} of {name} needs linear autoencoders "
            "(architecture='mlp', hidden_layer_sizes=(), code_layer='orthonormal'), "
            "solver='auto' or 'exact', and assignment='lloyd' or 'posterior'. "
            f"Got architecture={estimator.architecture!r}, "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}, "
            f"code_layer={estimator.code_layer!r}, solver={estimator.solver!r}, "
            f"assignment={estimator.assignment!r}."
        )


def check_known_labels(estimator, X, y):
    """Codes 0..k-1 of the known labels, -1 elsewhere, ``(n,)``."""
    if y is None:
        raise ValueError(
            f"init='labels' of {type(estimator).__name__} needs y: known labels, -1 "
            "for unknown ones, at least one known sample a cluster."
        )
    y = column_or_1d(y)
    check_consistent_length(X, y)
    known = y != -1
    classes, codes = np.unique(y[known], return_inverse=True)
    if len(classes) != estimator.n_clusters:
        raise ValueError(
            f"init='labels' needs known samples of n_clusters={estimator.n_clusters} "
            f"classes; y has {len(classes)} besides -1 (unknown)."
        )
    labels = np.full(len(y), -1)
    labels[known] = codes
    return labels


def first_labels(X, n_clusters, init, known, random_state):
    """Clusters to start from: at random, or those of the nearest seeds.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
    n_clusters : int
        Number k of clusters.
    init : {"k-means++", "random", "labels"} or array-like of shape (k, d)
    known : ndarray of shape (n,) or None
        What ``check_known_labels`` returned, for "labels".
    random_state : RandomState

    Returns
    -------
    labels : ndarray of shape (n,)
    """
    how = init_name(init)
    if how == "random":
        return random_state.randint(n_clusters, size=len(X))
    if how == "given":
        seeds = np.asarray(init, dtype=np.float64)
    elif how == "labels":
        seeds = np.array([X[known == j].mean(0) for j in range(n_clusters)])
    else:
        seeds, _ = kmeans_plusplus(X, n_clusters, random_state=random_state)
    return pairwise_distances_argmin(X, seeds)


def centers_of(X, labels, n_clusters):
    """One-hot rows of labels, ``(n, k)``, and the means of the clusters, ``(k, d)``.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    labels : ndarray of shape (n,)
    n_clusters : int
        Number k of clusters; one without rows has its centre at the origin.

    Returns
    -------
    one_hot, centers : Tensors
    """
    labels = torch.from_numpy(labels).long()
    one_hot = nn.functional.one_hot(labels, n_clusters).to(X)
    counts = one_hot.sum(0)[:, None].clamp(min=1)
    return one_hot, one_hot.T @ X / counts
