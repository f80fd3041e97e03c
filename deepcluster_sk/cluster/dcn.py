"""The deep clustering network: an autoencoder with a k-means-friendly code."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from sklearn.utils._param_validation import Interval

from deepcluster_sk._estimator._mixins import AutoClustersMixin, DecoderMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._training._callbacks import StopOnStableLabels, TrackLabels
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import (
    CombinedCriterion,
    Criterion,
    LabelMemory,
    RelativeReconstruction,
)
from deepcluster_sk.initialization import (
    FIRST_CLUSTERS_CONSTRAINTS,
    first_clusters,
    reseed_farthest,
)
from deepcluster_sk.losses import kmeans_loss, squared_distances

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike
    from skorch.callbacks import Callback


class _KMeansFriendly(Criterion):
    """Distance of each code to its assigned centre; labels and centres then move.

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
        labels = self.memory.labels.index_select(0, index)
        distance = kmeans_loss(output.embedding, self.centers, labels)
        return {"clustering": self.weight / 2 * distance}

    def observe(self, output, x, index):
        """Assign the rows of the batch anew, and move the centres."""
        code = output.embedding
        labels = squared_distances(code, self.centers).argmin(1)
        sizes = self.memory.update(index, labels)
        sums = torch.zeros_like(self.centers).index_add_(0, labels, code)
        # (c M + m z) / (c + m), written so that an empty cluster stays.
        self.counts += sizes
        shift = sums - sizes[:, None] * self.centers
        self.centers += shift / self.counts.clamp_min(1)[:, None]


def _reseed(run, loss, clusters):
    """Move the centres of empty clusters to the rows farthest from their own."""
    reseed_farthest(run, loss.memory, clusters)
    loss.counts[clusters] = 1


class DCN(AutoClustersMixin, DecoderMixin, BaseDeepClusterer):
    """DCN: an autoencoder whose code is made friendly to k-means.

    Minimises, over the autoencoder, centres M and hard assignments s, the
    reconstruction error plus ``clustering_weight / 2 ||z_i - M s_i||²``, with z_i
    the code of sample i [1]_. The network is trained by gradient with s and M fixed;
    after each batch its samples go to their nearest centres, and the centres to the
    mean of all codes they were given so far.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of clusters, at least 1 and at most the number of samples. "auto" finds
        it before the training; 1, no structure, is an answer.
    max_clusters : int, default=30
        Largest number of clusters that "auto" finds, at least 1.
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
        Twice the weight of the squared distance to the centre: λ, at least 0.
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
    tol : float, default=1e-3
        Training stops when fewer than this share of the labels change in each of 5
        epochs in a row. 0 never stops early.
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
    cluster_centers_ : ndarray of shape (n_clusters_, latent_dim), float32
        The centres in the embedding.
    n_clusters_ : int
        Number of clusters: that of `n_clusters`, or what "auto" found.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term, weighted
        ("neighbors", "reconstruction", "clustering"); they add up
        to the loss. "label_change" is the share of labels that an epoch changed.
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

    Notes
    -----
    The reconstruction error is the mean over samples and features, relative to the
    mean square of X minus its medians; the squared distance is summed over the code
    and averaged over samples. So λ depends neither on the number of features nor on
    the scale of X. The paper sums the squared error over the features.

    For how the first clusters are found, for ``n_clusters="auto"``, and for the units
    of the code, see the notes of ``DEC``.

    The paper moves the centres after every single sample. Here the same rule is
    added up over a batch whose assignments are made with the centres as they were
    before it. Assignments come from the forward pass of the step, before the
    weights change, as in the authors' code.

    A cluster without samples in an epoch is re-seeded at the sample farthest
    from its own centre, and a ``ClusterCollapseWarning`` says so.

    References
    ----------
    .. [1] B. Yang, X. Fu, N. D. Sidiropoulos and M. Hong. Towards k-means-friendly
       spaces: simultaneous deep learning and clustering. ICML 2017.

    Examples
    --------
    >>> from deepcluster_sk import DCN
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = DCN(3, latent_dim=2, hidden_layer_sizes=(16,), random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 2)
    >>> model.inverse_transform(model.cluster_centers_).shape
    (3, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **AutoClustersMixin._parameter_constraints,
        **FIRST_CLUSTERS_CONSTRAINTS,
        "whiten": ["boolean"],
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "neighbor_weight": [Interval(numbers.Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = 8,
        *,
        max_clusters: int = 30,
        latent_dim: int = 10,
        hidden_layer_sizes: ArrayLike | None = None,
        architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
        image_shape: tuple[int, ...] | None = None,
        augmentation: Callable[..., Any] | None = None,
        clustering_weight: float = 0.1,
        pretraining: Literal["neighbors", "end-to-end", "layerwise"] = "neighbors",
        n_neighbors: int = 15,
        neighbor_weight: float = 1.0,
        mask_rate: float = 0.2,
        pretrain_epochs: int | Literal["auto"] = "auto",
        init: Literal["auto", "mixture", "k-means"] | ArrayLike = "auto",
        whiten: bool = True,
        max_epochs: int = 100,
        batch_size: int = 256,
        lr: float = 1e-3,
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
        self.max_clusters = max_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.augmentation = augmentation
        self.clustering_weight = clustering_weight
        self.pretraining = pretraining
        self.n_neighbors = n_neighbors
        self.neighbor_weight = neighbor_weight
        self.mask_rate = mask_rate
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

    def _phases(self, run):
        first = yield from first_clusters(self, run)
        module = run.module
        module.centers.copy_(first.centers)
        labels = first.labels_of_all(run.apply(module.encode))
        loss = _KMeansFriendly(labels, module.centers, self.clustering_weight)
        yield Phase(
            "cluster",
            CombinedCriterion(
                RelativeReconstruction(),
                loss,
                first.neighbor_term(self.neighbor_weight),
            ),
            self.max_epochs,
            lr=first.lr,
            callbacks=[
                TrackLabels(loss.memory, partial(_reseed, run, loss)),
                StopOnStableLabels(self.tol),
            ],
        )

    def _row_objective(self, module, x):
        code = module.encode(x)
        error = module.relative_error(x, code).mean(1)
        distance = module.distances(code).amin(1)
        return error + self.clustering_weight / 2 * distance
