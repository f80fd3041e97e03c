"""DynAE: from the reconstruction of rows to that of the centres of their clusters."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from sklearn.utils._param_validation import Interval
from skorch.callbacks import Callback

from deepcluster_sk._estimator._mixins import DecoderMixin, SoftAssignmentMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._training._net import StopTraining
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import CombinedCriterion, Criterion
from deepcluster_sk.initialization import (
    FIRST_CLUSTERS_CONSTRAINTS,
    first_clusters,
)
from deepcluster_sk.losses import construction_loss, squared_distances
from deepcluster_sk.losses._common import rows_to_reseed_from
from deepcluster_sk.modules import StudentTAutoencoder
from deepcluster_sk.solvers._cluster_means import cluster_means

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike

# What both bounds of the confidence fall by, relative to the first one at the start.
FALL = 0.3


def confident_labels(assignment, beta1, beta2):
    """Cluster of each row that is free of conflict, -1 for the others.

    The largest soft assignment must be above ``beta1``, and above the second largest by
    more than ``beta2``.
    """
    top = assignment.topk(min(2, assignment.shape[1]), dim=1)
    first = top.values[:, 0]
    second = top.values[:, 1] if top.values.shape[1] > 1 else 0
    clear = (first > beta1) & (first - second > beta2)
    return torch.where(clear, top.indices[:, 0], -1)


@torch.no_grad()
def place_centers(run, code):
    """Move each centre to the row nearest to the mean of its rows.

    An empty cluster starts again from the row that is farthest from its own centre.
    """
    module = run.module
    distances = module.distances(code)
    labels, k = distances.argmin(1), distances.shape[1]
    means = cluster_means(code.cpu().numpy(), labels.cpu().numpy(), k)
    means = torch.from_numpy(means).to(code)
    empty = (labels.bincount(minlength=k) == 0).nonzero().flatten()
    means[empty] = code[rows_to_reseed_from(distances.amin(1), len(empty))]
    run.n_reseeded += len(empty)
    module.centers.copy_(code[squared_distances(code, means).argmin(0)])


class _Construction(Criterion):
    """A row free of conflict is decoded as its centre, another one as itself.

    Parameters
    ----------
    n_samples : int
        Number of rows. A callback fills in their ``labels``, -1 for conflicted ones,
        and ``decoded``, what the decoder makes of the centres.
    module : StudentTAutoencoder
    weight : float
        Multiplies the squared distance of codes free of conflict to their centre.
    """

    def __init__(self, n_samples, module, weight):
        super().__init__()
        self.weight = weight
        shape = len(module.centers), len(module.origin)
        self.register_buffer("labels", torch.full((n_samples,), -1), persistent=False)
        self.register_buffer("decoded", torch.zeros(shape), persistent=False)

    def forward(self, output, x, index):
        module, code, labels = output.module, output.code, self.labels[index]
        restored = module.autoencoder.decode(code)
        error = construction_loss(restored, module.standardize(x), self.decoded, labels)
        distance = (code - module.centers[labels]).square().sum(1)
        distance = torch.where(labels >= 0, distance, 0).mean()
        return {"reconstruction": error, "clustering": self.weight * distance}


class _Conflicts(Callback):
    """Tell rows that are free of conflict from others, every few epochs.

    Where these have not become fewer, the centres are placed anew and the bounds fall.

    Parameters
    ----------
    run : Run
        The training run.
    criterion : _Construction
        Its labels and decoded centres are filled in.
    beta1 : float
        Bound of the largest soft assignment at the start; that of its lead is half.
    every : int
        Number of epochs between two looks.
    tol : float
        Training stops when a smaller share of the rows is conflicted.
    """

    def __init__(self, run, criterion, beta1, every, tol):
        self.run = run
        self.criterion = criterion
        self.beta1, self.beta2 = beta1, beta1 / 2
        self.fall = self.next_fall = FALL * beta1
        self.every = every
        self.tol = tol

    def on_train_begin(self, net, **kwargs):
        """Look for the first time."""
        self.n_conflicted = len(self.run.rows)
        self._look(net.module_)

    def on_epoch_end(self, net, **kwargs):
        """Look again when it is due."""
        if len(net.history) % self.every:
            return
        self._look(net.module_)
        share = self.n_conflicted / len(self.run.rows)
        net.history.record("conflicted", share)
        if share < self.tol:
            raise StopTraining("tol")

    @torch.no_grad()
    def _look(self, module):
        code = self.run.apply(module.encode)
        assignment = module.assign(code)
        labels = confident_labels(assignment, self.beta1, self.beta2)
        before, self.n_conflicted = self.n_conflicted, int((labels < 0).sum())
        stalled = self.n_conflicted >= before
        used = assignment.argmax(1).unique()
        if stalled or len(used) < assignment.shape[1]:
            place_centers(self.run, code)
        if stalled:
            self.beta1 -= self.fall
            self.beta2 -= self.fall
            self.fall, self.next_fall = self.next_fall, FALL * self.next_fall
        assignment = module.assign(code)
        labels = confident_labels(assignment, self.beta1, self.beta2)
        self.criterion.labels.copy_(labels)
        self.criterion.decoded.copy_(module.autoencoder.decode(module.centers))


class DynAE(SoftAssignmentMixin, DecoderMixin, BaseDeepClusterer):
    """DynAE: a dynamic autoencoder, which comes to decode rows as their centres.

    Rows whose soft assignments to two clusters are alike, conflicted ones, are
    reconstructed. All others are drawn to the centre of their cluster and are to be
    decoded as the centre is. What counts as a conflict is eased while clustering, until
    there is hardly any [1]_.

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
    clustering_weight : float, default=0.1
        Weight of the squared distance of rows free of conflict to their centre in the
        code, at least 0.
    confidence : float, default=3.0
        κ, above 0. In the beginning a row is free of conflict if its largest soft
        assignment is above κ / k, and above its second largest by more than half of
        that, with k the number of clusters.
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
        Share of the values of a row that are masked while the autoencoder is trained
        by reconstruction alone, in [0, 1): they are set to the median of their feature.
        With ``pretraining="layerwise"`` also the share of each layer's inputs.
    update_interval : int, default=1
        Number of epochs between two looks for conflicts.
    pretrain_epochs : int or "auto", default="auto"
        Largest number of epochs of the autoencoder before the clustering; for
        "neighbors" the rate falls in the last quarter. "auto" takes up to some 600
        steps, whatever the number of rows, for "neighbors", and 100 epochs otherwise.
    init : {"auto", "mixture", "k-means"} or array-like, default="auto"
        How the first clusters are found in the code. "auto": with
        ``pretraining="neighbors"`` the most probable of several partitions, of the
        data and of their graph, otherwise "mixture". "k-means": with 20 restarts;
        "mixture": going on from there by Gaussians whose covariances are shrunk towards
        their pooled one, whose linear map of the code makes clusters as round as that
        one allows. An array of shape (n_clusters, n_features) holds a centre
        for each cluster, in the units of X, as ``KMeans`` takes it: a cluster starts
        from the rows that are nearest to its centre, at the mean of their codes.
    whiten : bool, default=True
        Whether the code is mapped linearly before the clustering: to directions of
        equal variance after a pretraining by reconstruction alone, to round clusters
        by ``init="mixture"`` or an array. False leaves it as the autoencoder made it;
        with ``init="k-means"`` that is what the papers do.
    max_epochs : int, default=100
        Largest number of passes over the data while clustering.
    batch_size : int, default=256
        Largest number of rows in a batch; batches are of nearly equal size.
    lr : float, default=1e-3
        Learning rate of the optimizer.
    optimizer : {"adam", "sgd"} or callable, default="adam"
        "sgd" has a momentum of 0.9. A callable, such as a ``torch.optim`` class, is
        called as ``optimizer(parameters, lr=lr)``.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-2
        Training stops when fewer than this share of the rows are conflicted. 0 never
        stops early.
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
        Determines initial weights, the order of batches and the noise. Pass an int
        for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        The centres in the embedding, each the code of a training sample.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term, weighted
        ("neighbors", "reconstruction", "clustering"); they add up to the loss.
        "conflicted" is the share of rows that were conflicted at the end of the epoch,
        by the bounds that it had.
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
        Objective per training sample at the end.
    hidden_layer_sizes_ : tuple of int or None
        The widths or channels of the hidden layers; None for those of a callable
        ``architecture``, and where the module has its own.
    precision_ : {"float32", "bfloat16"}
        The numbers in which the network computes.
    module_ : torch.nn.Module
        The trained network.
    net_ : skorch.NeuralNet
        The net that holds it, trimmed for prediction.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when X has string column names.

    See Also
    --------
    DCN : All rows are drawn to centres, and all are reconstructed.

    Notes
    -----
    The soft assignments are those of ``DEC``, by a Student t kernel. A row free of
    conflict has the error of its reconstruction to what the decoder makes of its
    centre, any other one to itself: the mean squared error over rows and features,
    relative to the mean square of X minus its medians (``losses.construction_loss``).
    The squared distance to the centre, of rows free of conflict, is summed over the
    code and averaged over all rows.

    Conflicts are looked for every ``update_interval`` epochs. Where they have not
    become fewer, each centre moves to the row nearest to the mean of its rows (the
    authors run k-means again), and both bounds fall: as in the authors' code by
    0.3 κ / k two times, and then by 0.3 times the last fall. An empty cluster starts
    again from the row farthest from its own centre, and a ``ClusterCollapseWarning``
    says so.

    With an ``augmentation`` a row free of conflict, however it is changed, is to be
    decoded as its centre, and a conflicted one as it is after the change; the authors
    restore it as it was before. They pretrain with moved images, ``RandomAffine`` here,
    and with an adversarial critic of decoded interpolations. That is not done here: it
    would be a second network with an optimizer of its own, for a pretraining that the
    graph of neighbours has made needless. Nearest to theirs is
    :func:`~deepcluster_sk.recipes.dynae`.

    The learning rate rises to ``lr`` in the first ten steps of clustering: a new
    optimizer moves all weights at once, and a small data set would lose its code.

    The objective of a row is what its loss is once it is free of conflict. For how the
    first clusters are found, and for the units of X and of the code, see the notes of
    ``DEC``.

    References
    ----------
    .. [1] N. Mrabah, N. M. Khan, R. Ksantini and Z. Lachiri. Deep clustering with a
       dynamic autoencoder: from reconstruction towards centroids construction. Neural
       Networks 130 (2020).

    Examples
    --------
    >>> from deepcluster_sk import DynAE
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = DynAE(3, latent_dim=2, hidden_layer_sizes=(16,), random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> model.inverse_transform(model.cluster_centers_).shape
    (3, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **FIRST_CLUSTERS_CONSTRAINTS,
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "confidence": [Interval(numbers.Real, 0, None, closed="neither")],
        "neighbor_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "update_interval": [Interval(numbers.Integral, 1, None, closed="left")],
        "whiten": ["boolean"],
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
        clustering_weight: float = 0.1,
        confidence: float = 3.0,
        pretraining: Literal["neighbors", "end-to-end", "layerwise"] = "neighbors",
        n_neighbors: int = 15,
        neighbor_weight: float = 1.0,
        mask_rate: float = 0.2,
        update_interval: int = 1,
        pretrain_epochs: int | Literal["auto"] = "auto",
        init: Literal["auto", "mixture", "k-means"] | ArrayLike = "auto",
        whiten: bool = True,
        max_epochs: int = 100,
        batch_size: int = 256,
        lr: float = 1e-3,
        optimizer: Literal["adam", "sgd"] | Callable[..., Any] = "adam",
        n_init: int = 1,
        tol: float = 1e-2,
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
        self.confidence = confidence
        self.pretraining = pretraining
        self.n_neighbors = n_neighbors
        self.neighbor_weight = neighbor_weight
        self.mask_rate = mask_rate
        self.update_interval = update_interval
        self.pretrain_epochs = pretrain_epochs
        self.init = init
        self.whiten = whiten
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
        return StudentTAutoencoder, {
            "n_clusters": self.n_clusters,
            "trainable": False,
            **self._network_arguments(n_features),
        }

    # The largest soft assignment is that of the nearest centre.
    _assign = BaseDeepClusterer._assign

    def _phases(self, run):
        first = yield from first_clusters(self, run)
        module = run.module
        module.centers.copy_(first.centers)
        place_centers(run, run.apply(module.encode))
        loss = _Construction(len(run.rows), module, self.clustering_weight)
        beta1 = self.confidence / self.n_clusters
        conflicts = _Conflicts(run, loss, beta1, self.update_interval, self.tol)
        yield Phase(
            "cluster",
            CombinedCriterion(loss, first.neighbor_term(self.neighbor_weight)),
            self.max_epochs,
            lr=first.lr,
            callbacks=[conflicts],
            warm_up=10,
        )

    def _row_objective(self, module, x):
        code = module.encode(x)
        distances = module.distances(code)
        decoded = module.autoencoder.decode(module.centers)[distances.argmin(1)]
        error = (module.autoencoder.decode(code) - decoded).square().mean(1)
        return error + self.clustering_weight * distances.amin(1)
