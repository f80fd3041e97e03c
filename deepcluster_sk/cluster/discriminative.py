"""Discriminative latent space: codes that are unlike unless there is reason not to."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._base import index_of_smallest
from deepcluster_sk._estimator._mixins import ReconstructionMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._estimator._size import (
    BATCH_ARRAYS,
    check_all_pairs,
    check_batch,
)
from deepcluster_sk._training._callbacks import (
    CosineDecay,
    StopOnSteadyTerm,
    WeightSchedule,
)
from deepcluster_sk._training._data import NeighborOrder
from deepcluster_sk._training._run import Phase
from deepcluster_sk.cluster._discriminative_parts import (
    Alternate,
    DiscriminativeLoss,
    first_and_last,
    given_anchors,
)
from deepcluster_sk.criteria import CombinedCriterion, SquaredError
from deepcluster_sk.initialization import standardize_data, whiten_code
from deepcluster_sk.losses import within_cluster_loss
from deepcluster_sk.modules import build_spherical_autoencoder
from deepcluster_sk.modules._centroids import POOLED
from deepcluster_sk.solvers._neighbor_graph import (
    PairMask,
    anchor_edges,
    edges_of_pairs,
    nearest_neighbors,
    pairs_of_batch,
)
from deepcluster_sk.solvers._spherical_kmeans import (
    cluster_similarities,
    nearest_direction,
    spherical_kmeans,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from numpy.typing import ArrayLike
    from skorch.callbacks import Callback

# Learning rates by default, and those of the stages relative to pretraining's. Large
# steps of a dense network send different clusters into one direction, which they never
# leave again; convolutions with batch normalisation bear them, those with the fewest
# weights the largest, and then need small ones to refine what was found.
DENSE_RATE, CONV_RATES = 5e-4, {"conv": 2e-3, "fully-conv": 1e-2}
DENSE_STAGES, CONV_STAGES = 1.0, 0.1
# Dimensions of the code per cluster: 6, 7.5 and 5 in the paper's experiments.
AUTO_DIMENSIONS = 6


class DiscriminativeClustering(ReconstructionMixin, BaseDeepClusterer):
    """Discriminative latent space: unlike codes, but for pairs known to be alike.

    Most pairs of samples belong to different clusters. Pretraining therefore makes
    the codes of all pairs orthogonal, except for anchors, pairs of near neighbours
    in the space of X, whose codes it aligns (Eq. 6 of [1]_). Codes are then grouped
    by spherical k-means, and training goes on towards the centroids, with the
    anchors (stage I, Eq. 8) and, when the assignment can be trusted, with the
    clusters in their place (stage II, Eq. 11).

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int or "auto", default="auto"
        Width of the code, at least 1. It should exceed ``n_clusters``: no more than
        ``latent_dim`` directions can be orthogonal. "auto" is ``6 * n_clusters``.
    hidden_layer_sizes : array-like of int or None, default=None
        Widths ("mlp") or channels ("conv") of the encoder's hidden layers; the
        decoder mirrors them. None means two layers for
        "mlp", 128 wide for up to 1,000 rows and twice as wide for each factor of ten
        beyond, at most 512, and a third four times as wide; (16, 32, 32) for "conv",
        and (6, 8) for "fully-conv", which has two.
    architecture : {"mlp", "conv", "fully-conv"} or callable, default="mlp"
        The network. "conv" has layers of convolution, ReLU, batch normalisation and
        max-pooling, a dense one to the code, and upsampling to decode. "fully-conv" has
        no dense layer, as in section 3.3 of [1]_: the code is an image of few pixels,
        and there are some 3,000 parameters. A callable, such as
        a ``torch.nn.Module`` class, is called as
        ``architecture(n_features, latent_dim)`` and must return a module with
        ``encode`` and ``decode`` on rows.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image; needed by ``architecture="conv"``. The
        architecture "fully-conv" needs it, too.
    augmentation : callable or None, default=None
        Changes rows at random in training, in ways that leave what they show:
        ``augmentation(x, generator)`` gets a batch, a float32 tensor of shape
        ``(n, n_features)``, and returns one of that shape. For images there is
        :class:`~deepcluster_sk.augmentation.RandomAffine`.
        With ``anchors="data"`` rows are compared with eight changed copies of one
        another, too.
    reconstruction_weight : float, default=0.001
        λ and λ_r, at least 0: weight of the squared reconstruction error, summed
        over features and averaged over samples. It has the scale of X squared: for
        images, divide them by 255.
    discriminative_weight : float or pair of float, default=1.0
        λ_d, at least 0: weight of the pairwise term in stage I. Of a pair, the first at
        its beginning and the second at its end, changed by as much in each of the
        ``stage_one_epochs``: (4, 1) for COIL in [1]_.
    between_weight : float, default=1.0
        λ_b, at least 0: weight of the most similar pair of clusters in stage II.
    within_weight : float, default=0.3
        λ_w, at least 0: weight of the similarity within clusters in stage II.
    anchors : {"data", "batch"}, array-like or sparse matrix, default="data"
        Pairs of samples that are alike. "data" and "batch" say where near neighbours
        are looked for: in the whole data, once, with distances relative to those of the
        neighbourhood, and batches that keep anchors together; or in each batch, as in
        [1]_. Pairs that are known otherwise (Eq. 1 and 2) are given by the positions of
        their rows in X, an array-like of shape (n_pairs, 2), or as the entries that are
        not zero of a sparse matrix of shape (n_samples, n_samples); then no others are
        looked for.
    n_neighbors : int, default=10
        Neighbours of each sample in the graph, at least 1; [1]_ takes fewer than
        ``n_clusters``.
    anchor_fraction : float, default=0.5
        Share of the graph's edges that are anchors, in (0, 1]: the nearest ones. Few
        leave rows without any, and clusters in pieces; many join clusters.
    metric : {"cosine", "euclidean"}, default="cosine"
        What near means in the space of X. "euclidean" suits tables.
    alpha : float, default=0.1
        Distrust of the anchors, in [0, 1).
    pretrain_epochs : int, default=50
        Epochs of pretraining.
    pretrain_tol : float, default=0.0
        Pretraining stops when the pairwise term changes by less between epochs, ε of
        algorithm 1. 0 never stops early.
    stage_one_epochs : int, default=20
        Largest number of epochs of stage I, counted towards ``max_epochs``.
    max_epochs : int, default=50
        Largest number of passes over the data after pretraining.
    batch_size : int, default=1000
        Largest number of rows in a batch; batches are of nearly equal size. Large
        ones hold more anchors, and the shares of the clusters are steadier in them.
    lr : float or None, default=None
        Learning rate of the optimizer at the start of pretraining; it falls to zero
        along a cosine. The stages start at the same rate, those of "conv" and
        "fully-conv" at a tenth of it. None means 5e-4, and 2e-3 for "conv" and 1e-2 for
        "fully-conv", whose batch normalisation bears larger steps.
    optimizer : {"adam", "sgd"} or callable, default="adam"
        "sgd" has a momentum of 0.9. A callable, such as a ``torch.optim`` class, is
        called as ``optimizer(parameters, lr=lr)``.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-5
        A stage stops when the mean cosine to the centroids changes by less between
        epochs. 0 never stops early.
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
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, the order of batches and the k-means start. Pass
        an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, n_components), float32
        The centroids, directions in the embedding: of unit norm.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each weighted loss term (they
        add up to it). In the stages also "cosine", the mean cosine to the
        centroids (Eq. 7), and "n_changed", how many labels the epoch changed.
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
        Eq. 11 of the training data, as a loss, at the end.
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
    ``transform`` returns codes of unit norm, as only their directions count; the
    decoder reads them unscaled. Eq. 8 and 11 are maximised in [1]_; here every term
    is minimised. Eq. 7 is a mean over samples, not the printed sum, beside which
    the other terms would do nothing. L_r is printed as ``||X - X̂||_F²`` of a batch;
    here it is that over the number of rows, for the same reason: the squared error of a
    row, summed over its features. With batches of 1,000 images, 0.001 times the printed
    sum would be weighted by 1 here, and the pairwise term, which is below 2, be lost.

    In [1]_ anchors are the most similar pairs of the graph of each batch. On MNIST
    half of those pairs are ones, and one in a hundred are fives; neighbours in the
    whole data, ranked by local distances, are spread evenly and as often right.

    The text of [1]_ gives no numbers of channels, but of parameters: 3.2 thousand for
    MNIST and 7.5 for COIL-20. "fully-conv" has 3,262 for the former, with a code of 60,
    and 7,309 for the latter with ``hidden_layer_sizes=(14, 19)`` and a code of 150.

    The assignment and the centroids are updated on all rows once an epoch, so the
    data and its codes are held in memory. The anchors of ``anchors="data"``, and the
    objective at the end, compare all pairs of rows, in blocks: their time grows with
    the square of the number of rows, and where it will be minutes a ``LongFitWarning``
    says so.

    A cluster that loses all its samples is re-seeded from the sample that fits
    its own centroid worst, and a ``ClusterCollapseWarning`` says so.

    References
    ----------
    .. [1] E. Tzoreff, O. Kogan and Y. Choukroun. Deep discriminative latent space
       for clustering. arXiv:1805.10795 (2018).

    Examples
    --------
    >>> from deepcluster_sk import DiscriminativeClustering
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:300] / 16
    >>> model = DiscriminativeClustering(
    ...     10, latent_dim=20, hidden_layer_sizes=(64,), random_state=0
    ... ).fit(X)
    >>> model.labels_.shape
    (300,)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        "latent_dim": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "lr": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "reconstruction_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "discriminative_weight": [
            Interval(numbers.Real, 0, None, closed="left"),
            "array-like",
        ],
        "between_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "within_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "architecture": [StrOptions({"mlp", *POOLED}), callable],
        "anchors": [StrOptions({"data", "batch"}), "array-like", "sparse matrix"],
        "n_neighbors": [Interval(numbers.Integral, 1, None, closed="left")],
        "anchor_fraction": [Interval(numbers.Real, 0, 1, closed="right")],
        "metric": [StrOptions({"cosine", "euclidean"})],
        "alpha": [Interval(numbers.Real, 0, 1, closed="left")],
        "pretrain_tol": [Interval(numbers.Real, 0, None, closed="left")],
        "stage_one_epochs": [Interval(numbers.Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int | Literal["auto"] = "auto",
        hidden_layer_sizes: ArrayLike | None = None,
        architecture: Literal["mlp", "conv", "fully-conv"] | Callable[..., Any] = "mlp",
        image_shape: tuple[int, ...] | None = None,
        augmentation: Callable[..., Any] | None = None,
        reconstruction_weight: float = 0.001,
        discriminative_weight: Any = 1.0,
        between_weight: float = 1.0,
        within_weight: float = 0.3,
        anchors: Any = "data",
        n_neighbors: int = 10,
        anchor_fraction: float = 0.5,
        metric: Literal["cosine", "euclidean"] = "cosine",
        alpha: float = 0.1,
        pretrain_epochs: int = 50,
        pretrain_tol: float = 0.0,
        stage_one_epochs: int = 20,
        max_epochs: int = 50,
        batch_size: int = 1000,
        lr: float | None = None,
        optimizer: Literal["adam", "sgd"] | Callable[..., Any] = "adam",
        n_init: int = 1,
        tol: float = 1e-5,
        device: str | torch.device = "auto",
        precision: Literal["float32", "bfloat16", "auto"] = "float32",
        callbacks: Sequence[Callback] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.augmentation = augmentation
        self.reconstruction_weight = reconstruction_weight
        self.discriminative_weight = discriminative_weight
        self.between_weight = between_weight
        self.within_weight = within_weight
        self.anchors = anchors
        self.n_neighbors = n_neighbors
        self.anchor_fraction = anchor_fraction
        self.metric = metric
        self.alpha = alpha
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_tol = pretrain_tol
        self.stage_one_epochs = stage_one_epochs
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
        self.random_state = random_state

    # --- the network and its training -----------------------------------------

    def _width(self):
        """Width of the code."""
        if self.latent_dim == "auto":
            return AUTO_DIMENSIONS * self.n_clusters
        return self.latent_dim

    def _is_pooled(self):
        return isinstance(self.architecture, str) and self.architecture in POOLED

    def _first_lr(self):
        if self.lr is None:
            return CONV_RATES[self.architecture] if self._is_pooled() else DENSE_RATE
        return self.lr

    def _default_layer_sizes(self, n_samples, n_features):
        sizes = super()._default_layer_sizes(n_samples, n_features)
        # A wide last layer has room for the many directions of the code.
        return sizes and (*sizes, 4 * sizes[-1])

    def _module_spec(self, n_features):
        return build_spherical_autoencoder, {
            **self._network_arguments(n_features),
            "n_clusters": self.n_clusters,
            "latent_dim": self._width(),
        }

    def _check_size(self, n_samples, n_features):
        check_batch(self, n_samples, "", BATCH_ARRAYS)
        # Once for the objective, and once for the anchors.
        of_data = isinstance(self.anchors, str) and self.anchors == "data"
        anchors = (n_features,) if of_data else ()
        check_all_pairs(self, n_samples, self._width(), *anchors)

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        name = type(self).__name__
        first_and_last(self.discriminative_weight, name)
        if not isinstance(self.anchors, str):
            given_anchors(self.anchors, X.shape[0], name)
        return X

    def _edges(self, x, local=False, copies=None, verbose=0):
        """Anchors of some rows, as an edge list."""
        distance, index = nearest_neighbors(
            x, self.n_neighbors, self.metric, copies, verbose
        )
        return anchor_edges(distance, index, self.anchor_fraction, local)

    def _anchors(self, run):
        """Anchors of all rows, as an edge list; None where each batch has its own."""
        x = run.rows.whole()
        if isinstance(self.anchors, str):
            if self.anchors == "batch":
                return None
            return self._edges(x, True, run.moved_copies(), run.verbose)
        pairs = given_anchors(self.anchors, len(x), type(self).__name__)
        return edges_of_pairs(pairs, len(x)).to(x.device)

    def _phases(self, run):
        if self.architecture == "mlp":
            # A random perceptron gives all rows nearly one direction, and groups that
            # leave it together stay together: for aligned codes |cosine| has no way
            # back. Batch normalisation, of "conv", spreads them by itself.
            standardize_data(run)
            whiten_code(run)
        phase = partial(self._phase, run, self._anchors(run))
        yield phase("pretrain", self.pretrain_epochs, {"discrimination": 1.0})
        directions = run.apply(run.module.direct)
        run.module.centers.copy_(
            spherical_kmeans(directions, self.n_clusters, run.random_state)
        )
        one = min(self.stage_one_epochs, self.max_epochs)
        first, _ = first_and_last(self.discriminative_weight, type(self).__name__)
        weights = {"clustering": 1.0, "discrimination": first}
        yield phase("stage I", one, weights)
        weights = {"within": self.within_weight, "between": self.between_weight}
        yield phase("stage II", self.max_epochs - one, {"clustering": 1.0, **weights})

    def _phase(self, run, anchors, name, epochs, weights):
        """A phase with the given terms, beside the reconstruction error."""
        of_batch = partial(pairs_of_batch, self._edges)
        pairs = of_batch if anchors is None else PairMask(anchors)
        loss = DiscriminativeLoss(
            weights, pairs, self.alpha, run.module.centers, len(run.rows)
        )
        callbacks, lr = [CosineDecay(epochs)], None
        if "clustering" in weights:
            callbacks.append(Alternate(run, loss, self.tol))
            share = CONV_STAGES if self._is_pooled() else DENSE_STAGES
            lr = share * self._first_lr()
        elif self.pretrain_tol:
            callbacks.append(StopOnSteadyTerm("discrimination", self.pretrain_tol))
        if name == "stage I":
            ends = first_and_last(self.discriminative_weight, type(self).__name__)
            callbacks.append(WeightSchedule(loss, "discrimination", *ends, epochs))
        in_groups = anchors is not None and "discrimination" in weights
        return Phase(
            name,
            CombinedCriterion(loss, SquaredError(self.reconstruction_weight)),
            epochs,
            lr=lr,
            callbacks=callbacks,
            order=NeighborOrder(anchors) if in_groups else None,
        )

    def _keep(self, run):
        super()._keep(run)
        self._n_features_out = self._width()

    def _objective(self, fitted, X):
        """Eq. 11 over all rows: no mean of something that each row has."""
        module = fitted.module_
        directions, error = fitted.apply(
            lambda x: (module.direct(x), (self._reconstruct(module, x) - x).square()),
            X,
        )
        labels, cosine = nearest_direction(directions, module.centers)
        between = cluster_similarities(directions, labels, self.n_clusters)
        return float(
            -cosine.mean()
            + self.within_weight
            * within_cluster_loss(directions, labels, self.n_clusters)
            + self.between_weight * between.triu(1).amax()
            + self.reconstruction_weight * error.sum(1).mean()
        )

    # --- the predict path -----------------------------------------------------

    def _assign(self, module, x):
        return index_of_smallest(-module.direct(x) @ module.centers.T)

    def _embed(self, module, x):
        return module.direct(x)
