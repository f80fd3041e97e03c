"""DKM: deep k-means, with a softmax for its assignments."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.callbacks import Callback

from deepcluster_sk._estimator._mixins import DecoderMixin, SoftAssignmentMixin
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
from deepcluster_sk.losses import soft_kmeans_loss
from deepcluster_sk.modules import SoftKMeansAutoencoder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

# The values of α one after the other: the first, and what each is multiplied with.
FIRST_ALPHA = 0.1
ALPHAS = FIRST_ALPHA * np.exp2(np.cumsum([0, *np.log(np.arange(2, 41)) ** -2.0]))


class _SoftKMeans(Criterion):
    """Distance of each code to all centres, weighted by a softmax.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Clusters to start from.
    n_clusters : int
        Number k of clusters.
    weight : float
        λ of the paper.
    """

    def __init__(self, labels, n_clusters, weight):
        super().__init__()
        self.weight = weight
        self.alpha = None
        self.memory = LabelMemory(labels, n_clusters)

    def forward(self, output, x, index):
        loss = soft_kmeans_loss(output.embedding, output.module.centers, self.alpha)
        return {"clustering": self.weight * loss}

    def observe(self, output, x, index):
        """Take note of the nearest centres."""
        self.memory.update(index, output.module.nearest(output.embedding))


class _SetAlpha(Callback):
    """Set α when an epoch begins.

    Parameters
    ----------
    loss : _SoftKMeans
    values : sequence of float
        One after the other; the last one stays.
    every : int
        Number of epochs of each value.
    """

    def __init__(self, loss, values, every):
        self.loss = loss
        self.values = values
        self.every = every

    def on_epoch_begin(self, net, **kwargs):
        """Take the next value when it is due."""
        position = (len(net.history) - 1) // self.every
        alpha = float(self.values[min(position, len(self.values) - 1)])
        self.loss.alpha = alpha
        net.module_.alpha.fill_(alpha)
        net.history.record("alpha", alpha)


class DKM(SoftAssignmentMixin, DecoderMixin, BaseDeepClusterer):
    """DKM: deep k-means, an autoencoder and centres that are learned jointly.

    Minimises, over the autoencoder and the centres r, the reconstruction error plus
    ``clustering_weight`` times the squared distances of each code to all centres,
    weighted by a softmax of ``-alpha`` times these distances [1]_. That is
    differentiable, in the centres too, so that all is trained by gradient. While α
    grows the softmax goes over into the choice of the nearest centre, and the second
    term into the objective of k-means.

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
        Weight of the distances to the centres: λ, at least 0.
    alpha : float or "annealed", default="annealed"
        Inverse temperature α of the softmax, above 0. "annealed" takes the 40 values
        of the paper, from 0.1 to 28.1, each for ``update_interval`` epochs, and keeps
        the last one from then on. The authors take 1000 after a pretraining.
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
        Number of epochs between two values of α, with ``alpha="annealed"``.
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
        epochs in a row, all of them with the last α. 0 never stops early.
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
        The centres in the embedding.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term, weighted
        ("neighbors", "reconstruction", "clustering"); they add up to the loss. In the
        phases "anneal" and "cluster" "label_change" is the share of labels that an
        epoch changed, and "alpha" is α.
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
    DCN : Assigns each code to one centre, which is a running mean.

    Notes
    -----
    The reconstruction error is the mean over samples and features, relative to the
    mean square of X minus its medians; the squared distance is summed over the code
    and averaged over samples. So λ depends neither on the number of features nor on
    the scale of X. The paper sums the squared error over the features, and takes a
    weight of 1 for images.

    α has the unit of an inverse squared distance. With the default start rows are at a
    mean squared distance of 1 from the centre of their cluster. The values of α are
    ``α_1 = 0.1`` and ``α_n = 2^(1 / log(n)²) α_(n - 1)``. In the paper annealing
    stands for a pretraining, from centres that are drawn at random, with 5 epochs
    for each value, and a pretrained network has the last one only. Here the first
    clusters are known and α still grows: near centres are shared at first, and so can
    move together. ``predict_proba`` is the softmax with the last α.

    For how the first clusters are found, and for the units of the code, see the notes
    of ``DEC``.

    A cluster without samples in an epoch is re-seeded at the sample farthest
    from its own centre, and a ``ClusterCollapseWarning`` says so.

    References
    ----------
    .. [1] M. Moradi Fard, T. Thonet and E. Gaussier. Deep k-means: jointly clustering
       with k-means and learning representations. Pattern Recognition Letters 138
       (2020).

    Examples
    --------
    >>> from deepcluster_sk import DKM
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = DKM(3, latent_dim=2, hidden_layer_sizes=(16,), random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> model.inverse_transform(model.cluster_centers_).shape
    (3, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **FIRST_CLUSTERS_CONSTRAINTS,
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "alpha": [
            Interval(numbers.Real, 0, None, closed="neither"),
            StrOptions({"annealed"}),
        ],
        "whiten": ["boolean"],
        "neighbor_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "update_interval": [Interval(numbers.Integral, 1, None, closed="left")],
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
        alpha: Any = "annealed",
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
        self.alpha = alpha
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
        return SoftKMeansAutoencoder, {
            "n_clusters": self.n_clusters,
            **self._network_arguments(n_features),
        }

    # The largest soft assignment is that of the nearest centre.
    _assign = BaseDeepClusterer._assign

    def _phases(self, run):
        first = yield from first_clusters(self, run)
        module = run.module
        with torch.no_grad():
            module.centers.copy_(first.centers)
        labels = first.labels_of_all(run.apply(module.encode))
        loss = _SoftKMeans(labels, self.n_clusters, self.clustering_weight)
        terms = CombinedCriterion(
            RelativeReconstruction(), loss, first.neighbor_term(self.neighbor_weight)
        )
        track = TrackLabels(loss.memory, partial(reseed_farthest, run, loss.memory))
        annealed, annealing = self.alpha == "annealed", 0
        if annealed and not run.is_warm:
            annealing = min(len(ALPHAS) * self.update_interval, self.max_epochs)
            grow = _SetAlpha(loss, ALPHAS, self.update_interval)
            callbacks = [grow, track]
            yield Phase("anneal", terms, annealing, first.lr, callbacks)
        last = ALPHAS[-1:] if annealed else [self.alpha]
        callbacks = [_SetAlpha(loss, last, 1), track, StopOnStableLabels(self.tol)]
        yield Phase("cluster", terms, self.max_epochs - annealing, first.lr, callbacks)

    def _row_objective(self, module, x):
        code = module.encode(x)
        error = module.relative_error(x, code).mean(1)
        distance = (module.assign(code) * module.distances(code)).sum(1)
        return error + self.clustering_weight * distance
