"""Convolutional transform learning with a k-means term: series, images and tables."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk._estimator._base import index_of_smallest
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._training._callbacks import StopOnPlateau
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import Criterion
from deepcluster_sk.initialization import kmeans_start
from deepcluster_sk.losses import squared_distances
from deepcluster_sk.modules._conv_transform import ACTIVATIONS, ConvTransform
from deepcluster_sk.solvers._local_pca import leading_directions

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

# Features of a table that are channels each; of more, their principal directions are.
# A step costs the square of the channels, and the determinant of the filters their
# cube. More than 32 directions of flat images did not make better clusters.
MAX_CHANNELS = 32


def _principal(run, function, n_components):
    """A function of the rows, centred, and its leading principal directions."""
    values = run.apply(function).cpu().numpy().astype(np.float64)
    values -= values.mean(0)
    found = min(n_components, values.shape[1])
    return values, leading_directions(values, found, run.random_state).copy()


class _CodeLoss(Criterion):
    """The terms of all codes; codes are parameters, one row a training sample.

    Parameters
    ----------
    module : ConvTransform
        Whose filters are penalised.
    codes : Tensor of shape (n, h)
        Where the codes start.
    transform_penalty : float
    """

    def __init__(self, module, codes, transform_penalty):
        super().__init__()
        self.codes = nn.Parameter(codes.clone())
        self.register_buffer("labels", torch.zeros(len(codes), dtype=torch.long))
        self.transform_penalty = transform_penalty
        self.clusters = False
        self.module = [module]  # in a list: its parameters are not the criterion's

    def forward(self, output, x, index):
        """Return the terms of a batch."""
        module, z = self.module[0], self.codes[index]
        terms = {
            "transform": (output - z).square().sum(1).mean(),
            "sparsity": module.sparsity_weight * z.abs().sum(1).mean(),
            "transform_penalty": self.transform_penalty * module.penalty(),
        }
        if self.clusters:
            apart = (z - module.centers[self.labels[index]]).square().sum(1).mean()
            terms["kmeans"] = module.kmeans_weight * apart
        return terms

    @torch.no_grad()
    def move_centers(self):
        """One step of Lloyd's algorithm on the codes; returns the labels changed."""
        centers = self.module[0].centers
        labels = squared_distances(self.codes, centers).argmin(1)
        counts = torch.bincount(labels, minlength=len(centers))[:, None]
        sums = torch.zeros_like(centers).index_add_(0, labels, self.codes)
        centers.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), centers))
        changed = int((labels != self.labels).sum())
        self.labels.copy_(labels)
        return changed


class _MoveCenters(Callback):
    """After each epoch, assign the codes and move the centres."""

    def on_epoch_end(self, net, **kwargs):
        """Update and record the number of labels that changed."""
        net.history.record("n_changed", net.criterion_.move_centers())


class ConvTransformClustering(BaseDeepClusterer):
    """Convolutional transform learning with a k-means term on the codes.

    Learns layers of filters without a decoder. With the embedding
    ``e(x) = P a(T_L * ... a(T_1 * x))`` (convolutions with an activation a, halved by
    max pooling after each, and a fixed projection P at the end) and a code z for each
    sample, minimises the mean over samples of

    ``||e(x) - z||² + sparsity_weight ||z||_1 + kmeans_weight ||z - center||²``

    plus ``transform_penalty * sum_l (||T_l||² - log det T_l)``, by gradient steps on
    filters and codes [1]_ [2]_. The log-determinants, over singular values, keep
    filters from vanishing and from repeating one another.

    Pooling, activation and projection are ours, and the default. Without them
    (``latent_dim=None, pooling=False, activation="identity"``) the embedding is that
    of [1]_ for one layer and, for several, of the slides of [3]_: the feature maps
    ``T_L * ... T_1 * x`` at the full width of the data. With ``activation="selu"`` in
    addition it is that of [2]_.

    For data sets whose codes fit into memory, four times, as they are parameters. Each
    step of the optimizer moves all of them: beyond some 100,000 samples that takes most
    of the time, which then grows with the square of their number.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int or None, default=10
        Width of the code, at least 1. None leaves the projection out: a code is as
        wide as all feature maps of the last layer, which for images is thousands.
    hidden_layer_sizes : array-like of int or None, default=None
        Number of filters of each convolutional layer; None means (16,) for images
        and series, and for a table two for each feature, at most (64,). At least one
        layer.
    kernel_size : int, default=3
        Side of a filter, at least 1; that of a table is 1.
    pooling : bool, default=True
        Whether each layer halves its feature maps, by their maxima.
    activation : {"identity", "selu"}, default="selu"
        Of each layer of filters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image; None reads it as a row of a table, whose
        columns have no order: each feature is a channel. A series is an image of
        height 1, ``(1, 1, length)`` with one channel.
    transform_penalty : float, default=0.01
        Weight of the terms on the filters, in (0, inf).
    sparsity_weight : float, default=0.01
        Weight of the absolute values of the codes, in [0, inf).
    kmeans_weight : float, default=0.1
        Weight of the squared distances of codes to their centres, in [0, inf). With 0
        codes are learned without clusters, and k-means then finds these.
    pretrain_epochs : int, default=30
        Epochs without the k-means term; then k-means on the codes finds the centres
        to start from.
    max_epochs : int, default=50
        Largest number of passes over the data after that.
    batch_size : int, default=256
        Largest number of rows in a batch; batches are of nearly equal size.
    lr : float, default=1e-3
        Learning rate of the optimizer.
    optimizer : {"adam", "sgd"} or callable, default="adam"
        "sgd" has a momentum of 0.9. A callable, such as a ``torch.optim`` class, is
        called as ``optimizer(parameters, lr=lr)``.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-4
        Training stops when the mean loss of the last epochs, a fifth of those so
        far and at least 10, is below that of as many before by less than this
        relative amount in 10 epochs. 0 never stops early.
    device : str or torch.device, default="auto"
        Where to train; "auto" takes CUDA, then MPS, then the CPU.
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
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, the order of batches and the seeds of k-means.
        Pass an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim_), float32
        Centres of the codes.
    latent_dim_ : int
        Width of the code: ``latent_dim``, or that of the feature maps.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term.
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
        Objective per training sample at the end, see Notes.
    hidden_layer_sizes_ : tuple of int or None
        The widths or channels of the hidden layers; None for those of a callable
        ``architecture``, and where the module has its own.
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
    The slides stop at the convolutional transform and announce its clustering: the
    k-means term is ours. They sum over samples, so that their weight of the terms on
    filters is ``transform_penalty`` times the number of samples. The code published
    for several views clusters atoms instead of samples, counts its first view twice
    and looks codes up by their position in the batch; here there is one code a
    sample, and samples are clustered.

    On images full-width maps weigh on time and memory: a code has one value for each
    filter and pixel, and one is kept for each sample while training. Without an
    activation they are linear in x: layers multiply into one longer filter, and
    clusters are those of k-means on filtered images.

    P holds the leading principal directions of the features that the first filters,
    drawn at random, make of the training data; it is not trained. A trained linear
    transform with fewer rows than columns turns to where the features vanish, as
    the log-determinant allows: codes then are zero and clusters are lost. For the
    same reason a layer should have at least as many filters as a filter has entries.

    The columns of a table are no series. Its features are channels of an image of one
    pixel, and the filters of the first layer start as each feature and as its
    negative: SELU bends negative values, and of the two one is positive, so that no
    difference between samples is lost. Of more than 32 features, or where there are
    fewer than two filters for each, the leading principal directions take the place
    of features. For images that are given flat the right ``image_shape`` keeps what
    the order of the columns says.

    X is centred, and divided by its overall standard deviation, before the first
    layer. ``objective_`` and ``score`` give each sample the code and the cluster
    that are best for its embedding, which is a closed form, so that they are
    defined for new samples too; ``predict`` is that cluster.

    References
    ----------
    .. [1] J. Maggu, E. Chouzenoux, G. Chierchia and A. Majumdar. Convolutional
       transform learning. ICONIP 2018.
    .. [2] J. Maggu, A. Majumdar, E. Chouzenoux and G. Chierchia. Deep convolutional
       transform learning. ICONIP 2020.
    .. [3] A. Majumdar. Deep learning based clustering (slides, 2022).

    Examples
    --------
    Series of three frequencies, at any phase:

    >>> import numpy as np
    >>> from deepcluster_sk import ConvTransformClustering
    >>> rng = np.random.default_rng(0)
    >>> phase = rng.uniform(0, 6.28, size=(60, 1))
    >>> X = np.sin(np.repeat([1, 2, 4], 20)[:, None] * np.linspace(0, 6, 32) + phase)
    >>> model = ConvTransformClustering(
    ...     n_clusters=3, image_shape=(1, 1, 32), random_state=0
    ... ).fit(X)
    >>> model.transform(X).shape
    (60, 10)
    """

    _needs_hidden_layer: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        "latent_dim": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "kernel_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "pooling": ["boolean"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "transform_penalty": [Interval(numbers.Real, 0, None, closed="neither")],
        "sparsity_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "kmeans_weight": [Interval(numbers.Real, 0, None, closed="left")],
    }
    _parameter_constraints.pop("architecture")

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int | None = 10,
        hidden_layer_sizes: ArrayLike | None = None,
        kernel_size: int = 3,
        pooling: bool = True,
        activation: Literal["identity", "selu"] = "selu",
        image_shape: tuple[int, ...] | None = None,
        transform_penalty: float = 0.01,
        sparsity_weight: float = 0.01,
        kmeans_weight: float = 0.1,
        pretrain_epochs: int = 30,
        max_epochs: int = 50,
        batch_size: int = 256,
        lr: float = 1e-3,
        optimizer: Literal["adam", "sgd"] | Callable[..., Any] = "adam",
        n_init: int = 1,
        tol: float = 1e-4,
        device: str | torch.device = "auto",
        callbacks: Sequence[Callback] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.activation = activation
        self.image_shape = image_shape
        self.transform_penalty = transform_penalty
        self.sparsity_weight = sparsity_weight
        self.kmeans_weight = kmeans_weight
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.random_state = random_state

    def _default_layer_sizes(self, n_samples, n_features):
        return (16 if self.image_shape else 2 * min(n_features, MAX_CHANNELS),)

    def _image_shape(self, n_features):
        """How a row is read; that of a table as its features, or as directions."""
        if self.image_shape is not None:
            return tuple(self.image_shape)
        n_pairs = max(1, next(iter(self._layer_sizes()), n_features) // 2)
        return min(n_features, MAX_CHANNELS, n_pairs), 1, 1

    def _module_spec(self, n_features):
        return ConvTransform, {
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "n_clusters": self.n_clusters,
            "filters": tuple(self._layer_sizes()),
            "kernel_size": self.kernel_size,
            "pooling": self.pooling,
            "activation": self.activation,
            "image_shape": self._image_shape(n_features),
            "sparsity_weight": self.sparsity_weight,
            "kmeans_weight": self.kmeans_weight,
        }

    def _phases(self, run):
        X, module = run.rows.whole(), run.module
        # Squares of what is left neither vanish nor overflow; a power of two keeps
        # every digit.
        unit = 2.0 ** math.frexp(float(X.abs().amax()))[1]
        mean = (X / unit).mean(0)
        module.mean.copy_(mean * unit)
        deviation = unit * (X / unit - mean).square().mean().sqrt()
        module.scale.copy_(torch.where(deviation > 0, deviation, 1))
        if self.image_shape is None:
            module.pair_filters()
        if module.directions is not None:
            _, basis = _principal(run, module.standardized, len(module.directions))
            module.directions.copy_(torch.from_numpy(basis))
        if module.projection is not None:
            features, basis = _principal(run, module.features, self.latent_dim)
            size = np.sqrt(np.square(features @ basis.T).sum(1).mean())
            basis /= size if size > 0 else 1
            module.projection[: len(basis)] = torch.from_numpy(basis)
        loss = _CodeLoss(module, run.apply(module.encode), self.transform_penalty)
        yield Phase("pretrain", loss, self.pretrain_epochs)
        centers, _ = kmeans_start(loss.codes, self.n_clusters, run.random_state)
        module.centers.copy_(torch.from_numpy(centers))
        loss.move_centers()
        loss.clusters = True
        yield Phase(
            "clustering",
            loss,
            self.max_epochs,
            callbacks=[_MoveCenters(), StopOnPlateau(self.tol)],
        )

    def _keep(self, run):
        super()._keep(run)
        self.latent_dim_ = self._n_features_out = run.module.centers.shape[1]

    # --- the predict path -------------------------------------------------------

    def _assign(self, module, x):
        embedding = module.encode(x)
        if self.kmeans_weight == 0:  # which leaves nothing to tell clusters apart
            return index_of_smallest(module.distances(embedding))
        return index_of_smallest(module.code_values(embedding))

    def _row_objective(self, module, x):
        values = module.code_values(module.encode(x)).amin(1)
        return values + self.transform_penalty * module.penalty()
