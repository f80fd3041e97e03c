"""Deep divergence-based clustering, with companion objectives or a decoder."""

import numbers
from functools import partial
from typing import ClassVar

import torch
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from torch import nn

from deepcluster_sk._base import (
    BaseDeepClusterer,
    ReconstructionMixin,
    SoftAssignmentMixin,
)
from deepcluster_sk._callbacks import ClipGradients, StopOnStableLabels, TrackLabels
from deepcluster_sk._companions import (
    COMPANION_CONSTRAINTS,
    check_blocks,
    companion_of,
)
from deepcluster_sk._criteria import LabelMemory, Reconstruction
from deepcluster_sk._phase import Phase
from deepcluster_sk._start import warn_reseeded
from deepcluster_sk.kernels import gaussian_kernel
from deepcluster_sk.losses import (
    assignment_orthogonality,
    cauchy_schwarz_loss,
    simplex_corner_loss,
)
from deepcluster_sk.modules import DivergenceModule


class _Divergence(nn.Module):
    """The three terms of DDC (Eq. 6 to 8), and what goes with them.

    Parameters
    ----------
    n_samples, n_clusters : int
        Shape of the data and of the clustering.
    reconstruction : Reconstruction or None
        The term of DDC-AE.
    companion : Companion or None
        Companion objectives on the encoder's blocks.
    """

    def __init__(self, n_samples, n_clusters, reconstruction, companion):
        super().__init__()
        self.reconstruction = reconstruction
        self.companion = companion
        nobody = torch.full((n_samples,), -1)
        self.memory = LabelMemory(nobody, n_clusters)

    def forward(self, output, x, index):
        self.memory.update(index, output.assignment.detach().argmax(1))
        return self.terms(output, x)

    def terms(self, output, x):
        """Terms of a batch, without taking note of its labels."""
        assignment, kernel = output.assignment, gaussian_kernel(output.embedding)
        terms = {
            "divergence": cauchy_schwarz_loss(assignment, kernel),
            "orthogonality": assignment_orthogonality(assignment),
            "corner": simplex_corner_loss(assignment, kernel),
        }
        if self.reconstruction is not None:
            terms.update(self.reconstruction(output, x, None))
        if self.companion is not None:
            terms["companion"] = self.companion(output)
        return terms


def _revive(run, clusters):
    """Give each empty cluster half of the largest one."""
    module = run.module
    for cluster in clusters:
        hidden = run.apply(module.encode)
        labels = module.assign(hidden).argmax(1)
        largest = labels.bincount().argmax()
        module.split_cluster(cluster, hidden[labels == largest])
    run.n_reseeded += len(clusters)


def _has_decoder(estimator):
    if estimator.reconstruction_weight > 0 or estimator.pretrain_epochs > 0:
        return True
    raise AttributeError(
        f"{type(estimator).__name__} trains a decoder only with reconstruction_weight "
        "above 0."
    )


class DDC(SoftAssignmentMixin, ReconstructionMixin, BaseDeepClusterer):
    """DOC."""

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **COMPANION_CONSTRAINTS,
        "reconstruction_weight": [Interval(numbers.Real, 0, None, closed="left")],
        # Nearly equal batches of at most 3 rows never leave one row alone.
        "batch_size": [Interval(numbers.Integral, 3, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=100,
        hidden_layer_sizes=None,
        architecture="mlp",
        image_shape=None,
        reconstruction_weight=0.0,
        companion=None,
        companion_weight=0.01,
        companion_weighting="constant",
        pretrain_epochs=0,
        max_epochs=100,
        batch_size=120,
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
        self.reconstruction_weight = reconstruction_weight
        self.companion = companion
        self.companion_weight = companion_weight
        self.companion_weighting = companion_weighting
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
        return DivergenceModule, {
            "n_clusters": self.n_clusters,
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "architecture": self.architecture,
            "hidden_layer_sizes": self.hidden_layer_sizes,
            "image_shape": self.image_shape,
        }

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        name = type(self).__name__
        if len(X) < 2:
            raise ValueError(
                f"n_samples={len(X)} should be >= 2: {name} normalises batches."
            )
        if self.hidden_layer_sizes is not None and not len(self.hidden_layer_sizes):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter of {name} must hold at least one "
                f"integer. Got {self.hidden_layer_sizes!r} instead."
            )
        return X

    def _criterion(self, n_samples):
        weight = self.reconstruction_weight
        return _Divergence(
            n_samples,
            self.n_clusters,
            Reconstruction(weight) if weight else None,
            companion_of(self),
        )

    def _phases(self, run):
        check_blocks(self, run.module, run.rows.X.shape[1])
        yield Phase("pretrain", Reconstruction(), self.pretrain_epochs)
        yield Phase(
            "cluster",
            self._criterion(len(run.rows)),
            self.max_epochs,
            callbacks=[
                ClipGradients(10.0),
                TrackLabels(partial(_revive, run), patience=5),
                StopOnStableLabels(self.tol, patience=10),
            ],
        )

    def _optimize(self, run):
        run.n_reseeded = 0
        super()._optimize(run)
        warn_reseeded(self, run.n_reseeded)

    def _objective(self, net, X):
        """Mean loss of batches of the training size, in evaluation mode."""
        module, criterion = net.module_, self._criterion(0)
        return net.mean_loss(lambda x: sum(criterion.terms(module(x), x).values()), X)

    reconstruct = available_if(_has_decoder)(ReconstructionMixin.reconstruct)
    score_samples = available_if(_has_decoder)(ReconstructionMixin.score_samples)

    def _reconstruct(self, module, x):
        return module(x).reconstruction
