"""Deep embedded clustering: DEC, and IDEC, which keeps the reconstruction."""

import numbers
from functools import partial
from typing import ClassVar

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk._base import (
    BaseDeepClusterer,
    DecoderMixin,
    SoftAssignmentMixin,
)
from deepcluster_sk._companions import (
    COMPANION_CONSTRAINTS,
    check_blocks,
    companion_of,
)
from deepcluster_sk._criteria import Reconstruction
from deepcluster_sk._net import StopTraining
from deepcluster_sk._phase import Phase
from deepcluster_sk._start import check_stages, kmeans_start, pretraining, warn_reseeded
from deepcluster_sk.losses import kl_divergence, target_distribution
from deepcluster_sk.modules import StudentTAutoencoder


class _SelfTraining(nn.Module):
    """KL divergence from a fixed target to the soft assignment, and what goes with it.

    Parameters
    ----------
    n_samples, n_clusters : int
        Shape of the target p, which a callback fills in.
    clustering_weight : float
        Multiplies the divergence.
    reconstruction : Reconstruction or None
        The term beside it (IDEC).
    companion : Companion or None
        Companion objectives on the encoder's blocks.
    """

    def __init__(
        self, n_samples, n_clusters, clustering_weight, reconstruction, companion
    ):
        super().__init__()
        self.clustering_weight = clustering_weight
        self.reconstruction = reconstruction
        self.companion = companion
        target = torch.zeros(n_samples, n_clusters)
        self.register_buffer("target", target, persistent=False)

    def forward(self, output, x, index):
        divergence = kl_divergence(self.target[index], output.assignment)
        terms = {"clustering": self.clustering_weight * divergence}
        if self.reconstruction is not None:
            terms.update(self.reconstruction(output, x, index))
        if self.companion is not None:
            terms["companion"] = self.companion(output)
        return terms


class _RefreshTarget(Callback):
    """Recompute the target from the whole data every few epochs; stop when it is still.

    Parameters
    ----------
    run : Run
        The training run.
    every : int
        Number of epochs between refreshes.
    tol : float
        Training stops when a smaller share of the labels changes.
    """

    def __init__(self, run, every, tol):
        self.run = run
        self.every = every
        self.tol = tol

    def on_train_begin(self, net, **kwargs):
        """Make the first target."""
        self.labels_ = None
        self._refresh(net)

    def on_epoch_end(self, net, **kwargs):
        """Make the next one when it is due."""
        if len(net.history) % self.every:
            return
        before = self.labels_
        self._refresh(net)
        change = float((self.labels_ != before).double().mean())
        net.history.record("label_change", change)
        if change < self.tol:
            raise StopTraining

    def _refresh(self, net):
        module = net.module_
        embedding, assignment = self.run.apply(
            lambda x: (module(x).embedding, module(x).assignment)
        )
        assignment = self._revive(module, embedding, assignment)
        self.labels_ = assignment.argmax(1)
        net.criterion_.target.copy_(target_distribution(assignment))

    def _revive(self, module, embedding, assignment):
        """Put the centres of empty clusters on the rows with the least sure labels."""
        sizes = assignment.argmax(1).bincount(minlength=assignment.shape[1])
        dead = (sizes == 0).nonzero().flatten()
        if len(dead) == 0:
            return assignment
        rows = assignment.max(1).values.argsort()[: len(dead)]
        with torch.no_grad():
            module.centers[dead] = embedding[rows]
            self.run.n_reseeded += len(dead)
            return module.assign(embedding)


class _BaseDEC(SoftAssignmentMixin, BaseDeepClusterer):
    """What DEC and IDEC share: everything but the reconstruction term."""

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **COMPANION_CONSTRAINTS,
        "pretraining": [StrOptions({"end-to-end", "layerwise"})],
        "update_interval": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    def _clustering_weight(self):
        return 1.0

    def _reconstruction_term(self):
        return None

    def _module_spec(self, n_features):
        return StudentTAutoencoder, {
            "n_clusters": self.n_clusters,
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "architecture": self.architecture,
            "hidden_layer_sizes": self.hidden_layer_sizes,
            "image_shape": self.image_shape,
        }

    def _phases(self, run):
        check_blocks(self, run.module, run.rows.X.shape[1])
        check_stages(self, run.module)
        yield from pretraining(run, self.pretrain_epochs, self.pretraining)
        centers, _ = kmeans_start(
            run.apply(run.module.encode), self.n_clusters, run.random_state
        )
        with torch.no_grad():
            run.module.centers.copy_(torch.from_numpy(centers))
        criterion = _SelfTraining(
            len(run.rows),
            self.n_clusters,
            self._clustering_weight(),
            self._reconstruction_term(),
            companion_of(self),
        )
        yield Phase(
            "cluster",
            criterion,
            self.max_epochs,
            callbacks=[_RefreshTarget(run, self.update_interval, self.tol)],
        )

    def _optimize(self, run):
        run.n_reseeded = 0
        super()._optimize(run)
        warn_reseeded(self, run.n_reseeded)

    def _objective(self, net, X):
        """The loss of all rows against the target that they make themselves."""
        module = net.module_
        assignment = net.apply(partial(self._soft_assign, module), X).double()
        divergence = kl_divergence(target_distribution(assignment), assignment)
        objective = self._clustering_weight() * float(divergence)
        if self._reconstruction_term() is not None:
            objective -= float(
                net.apply(partial(self._row_score, module), X).double().mean()
            )
        companion = companion_of(self)
        if companion is not None:
            objective += net.mean_loss(lambda x: companion(module(x)), X)
        return objective

    def _keep(self, run):
        super()._keep(run)
        self.cluster_centers_ = run.module.centers.detach().cpu().numpy()


class DEC(_BaseDEC):
    """DOC."""

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=10,
        hidden_layer_sizes=None,
        architecture="mlp",
        image_shape=None,
        companion=None,
        companion_weight=0.01,
        companion_weighting="constant",
        pretraining="end-to-end",
        update_interval=1,
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
        self.companion = companion
        self.companion_weight = companion_weight
        self.companion_weighting = companion_weighting
        self.pretraining = pretraining
        self.update_interval = update_interval
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


class IDEC(DecoderMixin, _BaseDEC):
    """DOC."""

    _parameter_constraints: ClassVar[dict] = {
        **_BaseDEC._parameter_constraints,
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left")],
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
        companion=None,
        companion_weight=0.01,
        companion_weighting="constant",
        pretraining="end-to-end",
        update_interval=1,
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
        self.companion = companion
        self.companion_weight = companion_weight
        self.companion_weighting = companion_weighting
        self.pretraining = pretraining
        self.update_interval = update_interval
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

    def _clustering_weight(self):
        return self.clustering_weight

    def _reconstruction_term(self):
        return Reconstruction()
