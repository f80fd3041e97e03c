"""PC-X: clustering by slow exemplars, centroids that move by running averages."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._mixins import DecoderMixin, SoftAssignmentMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._estimator._partial_fit import PartialFitMixin
from deepcluster_sk._training._callbacks import (
    AfterStep,
    ReseedUnused,
    StopOnSteadyRows,
)
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import CombinedCriterion, Criterion
from deepcluster_sk.initialization import (
    FIRST_CLUSTERS_CONSTRAINTS,
    START_ROWS,
    first_clusters,
    init_name,
    masking_noise,
    place_centers,
    random_start,
)
from deepcluster_sk.losses import (
    assignment_entropy,
    inverse_size_weights,
    kmeans_loss,
)
from deepcluster_sk.modules import ExemplarAutoencoder
from deepcluster_sk.solvers._cluster_sizes import cluster_sizes
from deepcluster_sk.solvers._running_averages import running_averages
from deepcluster_sk.solvers._weighted_kmeans import weighted_kmeans

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike
    from skorch.callbacks import Callback


class _ExemplarLoss(Criterion):
    """Eq. 9, and the moving averages that follow each batch (Algorithm 1).

    Its buffers hold no more than a batch: how often each cluster was chosen in the
    present epoch, and the codes of the last batch, which empty clusters are re-seeded
    from.

    Parameters
    ----------
    n_clusters : int
    clustering_weight, entropy_weight : float
        η1 and η2.
    smoothing : float or None
        ε of Eq. 14; None weights all samples alike.
    decay : float
        κ.
    decay_by_size : bool
        Whether κ depends on the size of the cluster (Eq. 6).
    after_step : bool
        Whether ``after_step`` moves the centroids, and ``observe`` does not.
    fixed_labels : Tensor of shape (n,) or None
        Clusters in which the training rows stay; -1, as None, for the nearest one.
    """

    def __init__(
        self,
        n_clusters,
        clustering_weight,
        entropy_weight,
        smoothing,
        decay,
        decay_by_size=False,
        after_step=False,
        fixed_labels=None,
    ):
        super().__init__()
        self.register_buffer("fixed_labels", fixed_labels, persistent=False)
        self.clustering_weight = clustering_weight
        self.entropy_weight = entropy_weight
        self.smoothing = smoothing
        self.decay = decay
        self.decay_by_size = decay_by_size
        self.moves_after_step = after_step
        self.register_buffer("counts", torch.zeros(n_clusters, dtype=torch.long))
        self.last = None

    def _labels(self, output, index):
        labels = output.assignment.detach().argmax(1)
        if self.fixed_labels is None:
            return labels
        fixed = self.fixed_labels[index]
        return torch.where(fixed < 0, labels, fixed)

    def forward(self, output, x, index):
        module, embedding = output.module, output.embedding
        weights = None
        if self.smoothing is not None:
            weights = inverse_size_weights(module.sizes, self.smoothing)
        labels = self._labels(output, index)
        distance = kmeans_loss(embedding, module.centers, labels, weights)
        return {
            "reconstruction": module.relative_error(x, embedding, "mean", labels),
            "clustering": self.clustering_weight * distance,
            "entropy": self.entropy_weight * assignment_entropy(output.assignment),
        }

    def observe(self, output, x, index):
        """Take note of the clusters, and move centroids and sizes if it is time."""
        module, labels = output.module, self._labels(output, index)
        self.counts += cluster_sizes(labels, len(module.centers))
        self.last = output.embedding.detach(), labels
        if not self.moves_after_step:
            self._move(module)

    def after_step(self, module, x):
        """Move them with the codes of the weights that the step left (Algorithm 1)."""
        self.last = module.encode(x), self.last[1]
        self._move(module)

    def _move(self, module):
        """Move centroids and sizes (Eq. 6, 7 and 13)."""
        averages = module.centers, module.sizes
        rule = self.decay, self.decay_by_size
        centers, sizes = running_averages(*averages, *self.last, *rule)
        module.centers.copy_(centers)
        module.sizes.copy_(sizes)


class PCX(PartialFitMixin, SoftAssignmentMixin, DecoderMixin, BaseDeepClusterer):
    """PC-X: an autoencoder that decodes each code together with its centroid.

    Minimises the reconstruction error of ``g(h(z, μ))``, where μ is the centroid
    nearest to the code z, plus the squared distance to it, plus the entropy of a
    soft assignment (Eq. 9 of [1]_). As the centroid brings what the samples of a
    cluster share, the decoded centroids become exemplars: rows in the units of X
    that show what each cluster is. Centroids are no parameters of the optimizer but
    slow running averages, so memory does not grow with the number of samples: ``fit``
    reads a ``numpy.memmap`` batch by batch, and ``partial_fit`` takes a stream.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int, default=10
        Width of the code, at least 1.
    hidden_layer_sizes : array-like of int or None, default=None
        Widths ("mlp") or channels ("conv") of the encoder's hidden layers; the
        decoder mirrors them. None means two layers for
        "mlp", 128 wide for up to 1,000 rows and twice as wide for each factor of ten
        beyond, at most 512, and (32, 64, 128) for "conv"; an empty tuple gives a
        linear autoencoder.
    architecture : {"mlp", "conv"} or callable, default="mlp"
        The network. A callable, such as a ``torch.nn.Module`` class, is called as
        ``architecture(n_features, latent_dim)`` and must return a module with
        ``encode`` and ``decode`` on rows.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image; needed by ``architecture="conv"``.
    augmentation : callable or None, default=None
        Changes rows at random in training, in ways that leave what they show:
        ``augmentation(x, generator)`` gets a batch, a float32 tensor of shape
        ``(n, n_features)``, and returns one of that shape. For images there is
        :class:`~deepcluster_sk.augmentation.RandomAffine`.
        With ``pretraining="neighbors"`` rows are compared with eight changed copies of
        one another, too.
    clustering_weight : float, default=0.01
        η1, at least 0: weight of the squared distance to the centroid, summed over
        the code.
    entropy_weight : float, default=0.01
        η2, at least 0: weight of the entropy of the soft assignment, in nats.
    burn_in_epochs : int, default=10
        First epochs after pretraining, with ``entropy_weight`` taken as 0 and all
        samples weighted alike. The clusters that ``init="mixture"`` found are kept
        meanwhile, until codes are nearest to their own centroid. They count towards
        ``max_epochs``.
    imbalanced : bool, default=False
        Weight samples by the inverse of their cluster's size (PC-X-IMBA, Eq. 12), and
        start from a k-means that does so too.
    size_smoothing : float, default=5.0
        ε of Eq. 14, above 0, with ``imbalanced=True``: samples a batch that are
        added to each cluster's size. The larger, the more alike the weights.
    decay : float, default=0.995
        κ, in [0, 1): how much of centroids and sizes each batch keeps.
    decay_by_size : bool, default=False
        Whether κ of a centroid depends on its share of the batch, as Eq. 6 is printed:
        the more rows, the faster it moves; a cluster of average size has ``decay``.
    centroid_update : {"before-step", "after-step"}, default="before-step"
        When centroids and sizes move: before the step of the optimizer, with the codes
        that gave the loss, or after it, with those of the new weights, as in
        Algorithm 1. The latter encodes each batch once more.
    temperature : float, default=5.0
        τ of Eq. 2, above 0: the larger, the harder the soft assignment.
    pretraining : {"neighbors", "end-to-end", "layerwise"}, default="neighbors"
        How the autoencoder is trained before clustering. "neighbors" embeds rows by the
        graph of their nearest neighbours and lets the code learn that, beside the
        reconstruction; the clustering then has a tenth of ``lr``. "end-to-end"
        reconstructs alone. "layerwise" first trains
        one layer after the other to undo dropout, each for half of
        ``pretrain_epochs``, as DEC's authors do; a callable ``architecture`` must
        then have the attribute ``stages``.
    n_neighbors : int, default=15
        Neighbours of each sample in the graph, at least 2; for "neighbors".
    neighbor_weight : float, default=1.0
        Weight, at least 0, of the term that holds codes where their neighbours put
        them while clustering; for ``pretraining="neighbors"`` with ``init="auto"``.
    mask_rate : float, default=0.2
        Share of the values of a row that are masked in training, in [0, 1): they are
        set to the median of their feature. The network is to reconstruct them too,
        and to put the row where its cluster is without them.
    pretrain_epochs : int or "auto", default="auto"
        Largest number of epochs of the autoencoder before the clustering; for
        "neighbors" the rate falls in the last quarter. "auto" takes up to some 600
        steps, whatever the number of rows, for "neighbors", and 100 epochs otherwise.
    init : {"auto", "mixture", "k-means", "random"} or array-like, default="auto"
        How the first clusters are found in the code. "auto": with
        ``pretraining="neighbors"`` the most probable of several partitions, of the
        data and of their graph, otherwise "mixture". "k-means": with 20 restarts;
        "mixture": going on from there by Gaussians whose covariances are shrunk towards
        their pooled one, whose linear map of the code makes clusters as round as that
        one allows. An array of shape (n_clusters, n_features) holds a centre
        for each cluster, in the units of X, as ``KMeans`` takes it: a cluster starts
        from the rows that are nearest to its centre, at the mean of their codes.
        "random", the paper's start: weights and centroids are drawn from the uniform
        distribution of Glorot and Bengio, and all is trained jointly from there,
        without any pretraining and in the code as it is.
    max_epochs : int, default=60
        Largest number of passes over the data after pretraining. The paper makes
        1,000 passes over 70,000 images, and most data repay more than the default.
    batch_size : int, default=256
        Largest number of rows in a batch; batches are of nearly equal size.
    lr : float, default=5e-4
        Learning rate of the optimizer.
    optimizer : {"adam", "sgd"} or callable, default="adam"
        "sgd" has a momentum of 0.9. A callable, such as a ``torch.optim`` class, is
        called as ``optimizer(parameters, lr=lr)``.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-3
        After the burn-in, training stops when fewer than this share of the labels
        change in each of 5 epochs in a row; of more than 10,000 rows so many are looked
        at. 0 never stops early. Reconstructions may still improve then.
    device : str or torch.device, default="auto"
        Where to train; "auto" takes CUDA, then MPS, then the CPU.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        Numbers in which the network computes, in training and in prediction.
        "bfloat16", of 8 significant bits, is faster where the hardware knows it; "auto"
        takes it where the device multiplies matrices of it, and float32 elsewhere.
        Weights, losses and codes stay float32.
    callbacks : list of skorch callbacks or None, default=None
        Called in training, after the library's own. These are callbacks of skorch
        (``skorch.callbacks``), not of ``sklearn.callback``.
    checkpoint : str, path-like or None, default=None
        A folder in which ``fit`` saves its state, to resume after it was killed: the
        same call then ends as an uninterrupted one, on the CPU bit for bit. What was
        saved is removed at the end.
    verbose : int, default=0
        1 shows a progress bar of each phase, with its epoch, loss and the time left;
        2 the terms of the loss, too.
    warm_start : bool, default=False
        Whether a second ``fit`` goes on from the one before: with the fitted network
        and clusters, if any, without pretraining, in up to ``max_epochs`` more epochs
        of a new optimizer. ``history_`` and ``n_iter_`` go on, too. ``n_init`` is 1
        then.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, the order of batches and the k-means start. Pass
        an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first. After ``partial_fit``,
        which leaves the numbers as they are, those of its last batch.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        The centroids μ, in the embedding.
    exemplars_ : ndarray of shape (n_clusters, n_features), float32
        The decoded centroids ``g(h(μ, μ))``, in the units of X.
    cluster_sizes_ : ndarray of shape (n_clusters,), float32
        Running average of the number of samples of each cluster in a batch.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each weighted loss term
        ("neighbors", "reconstruction", "clustering" and "entropy" add up to it), and
        the number of clusters in use, "n_used"; after the burn-in also the share of the
        labels that the epoch changed, "label_change".
    n_iter_ : int
        Number of epochs run, in all phases.
    n_epochs_ : dict of str to int
        Number of epochs, or sweeps, of each phase; their sum is ``n_iter_``.
    stop_reason_ : dict of str to str
        Why each phase ended: "max_epochs" or "max_iter" (it had all that it was
        allowed), "tol" (what ``tol`` bounds), "unchanged" (no label changed), "learned"
        (the error of the code is small), "solved" (it is a closed form) or "callback"
        (one of ``callbacks`` ended it).
    objective_ : float
        Mean of Eq. 9 (Eq. 12 if ``imbalanced``) over the training data, without gaps,
        at the end.
    hidden_layer_sizes_ : tuple of int or None
        The widths or channels of the hidden layers; None for those of a callable
        ``architecture``, and where the module has its own.
    precision_ : {"float32", "bfloat16"}
        The numbers in which the network computes.
    module_ : torch.nn.Module
        The trained network.
    net_ : skorch.NeuralNet
        The net that holds it; trimmed for prediction by ``fit``.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when X has string column names.

    Notes
    -----
    The paper starts weights and centroids at random (``init="random"``; all its
    settings are in :func:`deepcluster_sk.recipes.pcx`). By default the autoencoder is
    pretrained, clusters are found, the centroids start at the means of their codes, and
    the centroid-integration unit starts as a no-op: a freshly drawn unit breaks a
    decoder that is already trained. Units and first clusters are found on 10,000 rows
    drawn at random, if there are more.

    For the first clusters and the map of the code see the notes of ``DEC``; without
    ``pretraining="neighbors"`` the network is trained to fill gaps in its input. The
    code is then scaled so that samples start at a mean squared distance of 1 from their
    centroid: the meaning of τ, η1 and η2 does not depend on the data. Nor does the
    reconstruction error, a mean over features in units of the root mean square of X
    about its medians. The other two terms are as printed.

    Network and centroids are found in turn (Eq. 4): the one by steps of the optimizer
    (Eq. 5), the other by moving averages (Eq. 6 and 7), and so are the sizes of
    clusters (Eq. 13), whose inverses weigh samples (Eq. 10 to 12).

    With ``imbalanced=True`` and ``init="k-means"``, k-means is repeated with the
    weights of Eq. 12, those of the clusters found before. The weighted loss alone
    helps little: plain k-means splits a large cluster rather than tell two small ones
    apart, and then the weights draw the two together.

    By default codes and centroids of a batch come from the same forward pass, before
    the step of the optimizer, as in the authors' code; Algorithm 1 is
    ``centroid_update="after-step"``. Sizes are counted a batch, as the centroids are,
    from those of the start; only their ratios matter, and ``size_smoothing`` has the
    unit of the paper's values. ``inverse_transform`` decodes a code together with its
    nearest centroid.

    A cluster that no sample chose for an epoch, in a stream for 10,000 rows, is started
    again, from the code of the last batch that is farthest from its centroid, and a
    ``ClusterCollapseWarning`` says so.

    References
    ----------
    .. [1] PC-X: Profound clustering via slow exemplars. CPAL 2024.

    Examples
    --------
    >>> from deepcluster_sk import PCX
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> X = scale(load_iris().data)
    >>> model = PCX(3, latent_dim=2, hidden_layer_sizes=(32,), random_state=0).fit(X)
    >>> model.exemplars_.shape
    (3, 4)
    >>> model.predict_proba(X[:5]).shape
    (5, 3)
    """

    _out_of_core: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **FIRST_CLUSTERS_CONSTRAINTS,
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "neighbor_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "entropy_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "burn_in_epochs": [Interval(numbers.Integral, 0, None, closed="left")],
        "imbalanced": ["boolean"],
        "size_smoothing": [Interval(numbers.Real, 0, None, closed="neither")],
        "decay": [Interval(numbers.Real, 0, 1, closed="left")],
        "decay_by_size": ["boolean"],
        "centroid_update": [StrOptions({"before-step", "after-step"})],
        "init": [StrOptions({"auto", "mixture", "k-means", "random"}), "array-like"],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int = 10,
        hidden_layer_sizes: ArrayLike | None = None,
        architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
        image_shape: tuple[int, ...] | None = None,
        augmentation: Callable[..., Any] | None = None,
        clustering_weight: float = 0.01,
        entropy_weight: float = 0.01,
        burn_in_epochs: int = 10,
        imbalanced: bool = False,
        size_smoothing: float = 5.0,
        decay: float = 0.995,
        decay_by_size: bool = False,
        centroid_update: Literal["before-step", "after-step"] = "before-step",
        temperature: float = 5.0,
        pretraining: Literal["neighbors", "end-to-end", "layerwise"] = "neighbors",
        n_neighbors: int = 15,
        neighbor_weight: float = 1.0,
        mask_rate: float = 0.2,
        pretrain_epochs: int | Literal["auto"] = "auto",
        init: Literal["auto", "mixture", "k-means", "random"] | ArrayLike = "auto",
        max_epochs: int = 60,
        batch_size: int = 256,
        lr: float = 5e-4,
        optimizer: Literal["adam", "sgd"] | Callable[..., Any] = "adam",
        n_init: int = 1,
        tol: float = 1e-3,
        device: str | torch.device = "auto",
        precision: Literal["float32", "bfloat16", "auto"] = "float32",
        callbacks: Sequence[Callback] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.augmentation = augmentation
        self.clustering_weight = clustering_weight
        self.entropy_weight = entropy_weight
        self.burn_in_epochs = burn_in_epochs
        self.imbalanced = imbalanced
        self.size_smoothing = size_smoothing
        self.decay = decay
        self.decay_by_size = decay_by_size
        self.centroid_update = centroid_update
        self.temperature = temperature
        self.pretraining = pretraining
        self.n_neighbors = n_neighbors
        self.neighbor_weight = neighbor_weight
        self.mask_rate = mask_rate
        self.pretrain_epochs = pretrain_epochs
        self.init = init
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.precision = precision
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.warm_start = warm_start
        self.random_state = random_state

    def _module_spec(self, n_features):
        return ExemplarAutoencoder, {
            "n_clusters": self.n_clusters,
            "temperature": self.temperature,
            "glorot": init_name(self.init) == "random",
            **self._network_arguments(n_features),
        }

    def _criterion(self, burn_in=False, fixed_labels=None):
        weighted = self.imbalanced and not burn_in
        return _ExemplarLoss(
            self.n_clusters,
            self.clustering_weight,
            entropy_weight=0.0 if burn_in else self.entropy_weight,
            smoothing=self.size_smoothing if weighted else None,
            decay=self.decay,
            decay_by_size=self.decay_by_size,
            after_step=self.centroid_update == "after-step",
            fixed_labels=fixed_labels,
        )

    def _start(self, run):
        """Pretrain, and place the centroids; returns the first clusters."""
        module, n = run.module, len(run.rows)
        batch_size = n / -(-n // self.batch_size)
        if init_name(self.init) == "random":
            module.sizes.fill_(batch_size / self.n_clusters)
            return random_start(run)
        place = partial(self._place, batch_size)
        # Untrained, so that it is a no-op when the centroids come in.
        module.freeze_fusion()
        first = yield from first_clusters(self, run, place)
        module.freeze_fusion(False)
        known = first.labels[first.labels >= 0]
        share = known.bincount(minlength=self.n_clusters) / len(known)
        codes = first.sample.apply(module.encode)
        module.place_centroids(first.centers, codes, batch_size * share)
        return first

    def _place(self, batch_size, run, n_clusters, init):
        """Place the centroids where the code does not show clusters by itself."""
        if not self.imbalanced or init_name(init) != "k-means":
            return place_centers(run, n_clusters, init)
        codes = run.apply(run.module.encode)
        weighting = run.random_state, self.size_smoothing, batch_size
        return weighted_kmeans(codes, n_clusters, *weighting)

    def _phases(self, run):
        first = yield from self._start(run)
        burn_in = 0 if run.is_warm else min(self.burn_in_epochs, self.max_epochs)
        held = None if init_name(self.init) == "k-means" else first.labels
        loss = self._criterion(burn_in=True, fixed_labels=held)
        yield self._phase(run, "burn-in", loss, burn_in, first)
        epochs = self.max_epochs - burn_in
        stop = StopOnSteadyRows(first.sample, self._assign, self.tol)
        yield self._phase(run, "exemplars", self._criterion(), epochs, first, [stop])

    def _phase(self, run, name, loss, epochs, first, stop=()):
        """A phase with masked input, so that rows are put where they belong."""
        near = first.neighbor_term(self.neighbor_weight, float(run.module.code_scale))
        return Phase(
            name,
            CombinedCriterion(loss, near),
            epochs,
            lr=first.lr,
            callbacks=[*self._following(run, loss), *stop],
            corrupt=masking_noise(run.module, self.mask_rate),
        )

    def _partial_phase(self, run, criterion):
        loss = self._criterion() if criterion is None else criterion
        following = self._following(run, loss, after=START_ROWS)
        mask = masking_noise(run.module, self.mask_rate)
        return Phase("stream", loss, 1, callbacks=following, corrupt=mask)

    def _following(self, run, loss, after=0):
        """What follows each step, and each epoch."""
        move = [AfterStep(loss.after_step)] if loss.moves_after_step else []
        return [*move, ReseedUnused(run, loss, after)]

    def _keep(self, run):
        super()._keep(run)
        self.cluster_sizes_ = run.module.sizes.cpu().numpy().copy()
        decoded = run.net.apply(run.module.decode, self.cluster_centers_)
        self.exemplars_ = decoded.cpu().numpy()

    # The largest soft assignment is that of the nearest centroid.
    _assign = BaseDeepClusterer._assign

    def _row_objective(self, module, x):
        output = module(x)
        labels = output.assignment.argmax(1)
        distance = (output.embedding - module.centers[labels]).square().sum(1)
        if self.imbalanced:
            distance *= inverse_size_weights(module.sizes, self.size_smoothing)[labels]
        return (
            module.relative_error(x, output.embedding).mean(1)
            + self.clustering_weight * distance
            + self.entropy_weight * torch.special.entr(output.assignment).sum(1)
        )
