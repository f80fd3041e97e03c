"""The deep clustering network: an autoencoder with a k-means-friendly code."""

import numbers
from functools import partial
from typing import ClassVar

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from deepcluster_sk._base import BaseDeepClusterer, DecoderMixin
from deepcluster_sk._callbacks import StopOnStableLabels, TrackLabels
from deepcluster_sk._criteria import LabelMemory
from deepcluster_sk._phase import Phase
from deepcluster_sk._start import (
    check_stages,
    kmeans_start,
    pretraining,
    warn_reseeded,
)
from deepcluster_sk.losses import kmeans_loss, mean_squared_error
from deepcluster_sk.modules import CentroidAutoencoder


class _KMeansFriendly(nn.Module):
    """Reconstruction and distance to the assigned centre; both then move.

    The loss of a batch takes its rows' assignments and the centres as they were.
    From the same forward pass the rows then go to their nearest centres, and each
    centre becomes the mean of all codes that it ever got, every one with the same
    weight: the m new codes of mean z move a centre M that has had c before to
    ``(c M + m z) / (c + m)``, what the paper's one-by-one rule
    ``M += (z_i - M) / c`` with c growing by one adds up to.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Clusters to start from.
    centers : Tensor of shape (k, h)
        The module's centres, moved in place.
    weight : float
        λ of the paper.
    """

    def __init__(self, labels, centers, weight):
        super().__init__()
        self.weight = weight
        self.centers = centers
        self.memory = LabelMemory(labels, len(centers))
        counts = labels.bincount(minlength=len(centers)).to(centers)
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, output, x, index):
        code, labels = output.embedding, self.memory.labels[index]
        distance = kmeans_loss(code, self.centers, labels)
        with torch.no_grad():
            self._move(code, index)
        return {
            "reconstruction": mean_squared_error(output.reconstruction, x),
            "clustering": self.weight / 2 * distance,
        }

    def _move(self, code, index):
        labels = torch.cdist(code, self.centers).argmin(1)
        sizes = self.memory.update(index, labels)
        sums = torch.zeros_like(self.centers).index_add_(0, labels, code)
        # (c M + m z) / (c + m), written so that an empty cluster stays.
        self.counts += sizes
        shift = sums - sizes[:, None] * self.centers
        self.centers += shift / self.counts.clamp_min(1)[:, None]


def _revive(run, clusters):
    """Put the centres of empty clusters on the rows farthest from their own."""
    module, loss = run.module, run.net.criterion_
    code = run.apply(module.encode)
    distance = torch.cdist(code, module.centers).min(1).values
    rows = distance.argsort(descending=True)[: len(clusters)]
    module.centers[clusters] = code[rows]
    loss.memory.labels[rows] = clusters
    loss.counts[clusters] = 1
    run.n_reseeded += len(clusters)


class DCN(DecoderMixin, BaseDeepClusterer):
    """DOC."""

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "pretraining": [StrOptions({"end-to-end", "layerwise"})],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=10,
        hidden_layer_sizes=None,
        architecture="mlp",
        image_shape=None,
        clustering_weight=0.1,
        pretraining="end-to-end",
        pretrain_epochs=100,
        max_epochs=100,
        batch_size=256,
        lr=1e-3,
        optimizer="adam",
        n_init=1,
        tol=1e-3,
        device="auto",
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.clustering_weight = clustering_weight
        self.pretraining = pretraining
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def _module_spec(self, n_features):
        return CentroidAutoencoder, {
            "n_clusters": self.n_clusters,
            "trainable": False,
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "architecture": self.architecture,
            "hidden_layer_sizes": self.hidden_layer_sizes,
            "image_shape": self.image_shape,
        }

    def _phases(self, run):
        check_stages(self, run.module)
        yield from pretraining(run, self.pretrain_epochs, self.pretraining)
        module = run.module
        centers, labels = kmeans_start(
            run.apply(module.encode), self.n_clusters, run.random_state
        )
        module.centers.copy_(torch.from_numpy(centers))
        labels = torch.from_numpy(labels).to(module.centers.device)
        yield Phase(
            "cluster",
            _KMeansFriendly(labels, module.centers, self.clustering_weight),
            self.max_epochs,
            callbacks=[
                TrackLabels(partial(_revive, run)),
                StopOnStableLabels(self.tol),
            ],
        )

    def _optimize(self, run):
        run.n_reseeded = 0
        super()._optimize(run)
        warn_reseeded(self, run.n_reseeded)

    def _keep(self, run):
        super()._keep(run)
        self.cluster_centers_ = run.module.centers.cpu().numpy()

    def _assign(self, module, x):
        return module.nearest(module.encode(x))

    def _row_objective(self, module, x):
        code = module.encode(x)
        error = (x - module.decode(code)).square().mean(-1)
        distance = torch.cdist(code, module.centers).min(1).values.square()
        return error + self.clustering_weight / 2 * distance
