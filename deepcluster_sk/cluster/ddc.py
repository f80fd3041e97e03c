"""Deep divergence-based clustering, with companion objectives or a decoder."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from deepcluster_sk._estimator._mixins import ReconstructionMixin, SoftAssignmentMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._estimator._size import (
    BATCH_ARRAYS,
    COMPANION_ARRAYS,
    check_batch,
)
from deepcluster_sk._training._callbacks import (
    ClipGradients,
    StopOnStableLabels,
    TrackLabels,
)
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import (
    COMPANION_CONSTRAINTS,
    CombinedCriterion,
    Criterion,
    LabelMemory,
    RelativeReconstruction,
    check_blocks,
    companion_of,
)
from deepcluster_sk.initialization import (
    CLUSTERING_RATE,
    FIRST_CLUSTERS_CONSTRAINTS,
    neighbor_label_pretraining,
    standardize_data,
)
from deepcluster_sk.kernels import gaussian_kernel
from deepcluster_sk.losses import (
    assignment_orthogonality,
    cauchy_schwarz_loss,
    simplex_corner_loss,
)
from deepcluster_sk.modules import DivergenceModule

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike
    from skorch.callbacks import Callback


class _Divergence(Criterion):
    """The three terms of DDC (Eq. 6 to 8).

    Parameters
    ----------
    n_samples, n_clusters : int
        Shape of the data and of the clustering.
    relative_width : float
        σ² of the kernel as a multiple of the median squared distance.
    """

    compares_rows = True

    def __init__(self, n_samples, n_clusters, relative_width):
        super().__init__()
        self.relative_width = relative_width
        self.memory = LabelMemory(torch.full((n_samples,), -1), n_clusters)

    def forward(self, output, x, index):
        assignment = output.assignment
        kernel = gaussian_kernel(output.embedding, self.relative_width)
        return {
            "divergence": cauchy_schwarz_loss(assignment, kernel),
            "orthogonality": assignment_orthogonality(assignment),
            "corner": simplex_corner_loss(assignment, kernel),
        }

    def observe(self, output, x, index):
        """Take note of the labels."""
        self.memory.update(index, output.assignment.argmax(1))


def _reseed(run, clusters):
    """Give each empty cluster half of the largest one."""
    hidden = run.apply(run.module.encode)
    with torch.no_grad():
        assignment = run.module.assign(hidden)
    run.module.reseed_clusters(clusters, hidden, assignment)
    run.n_reseeded += len(clusters)


def _has_decoder(estimator):
    if estimator.reconstruction_weight > 0 or estimator.pretrain_epochs > 0:
        return True
    raise AttributeError(
        f"{type(estimator).__name__} trains a decoder only with reconstruction_weight "
        "above 0."
    )


class DDC(SoftAssignmentMixin, ReconstructionMixin, BaseDeepClusterer):
    """DDC: deep divergence-based clustering, with companions on demand.

    A network with a softmax output learns soft assignments A: clusters
    should be compact and separate, in the sense of the Cauchy-Schwarz divergence
    between their kernel density estimates in a hidden layer, of equal size, and A
    near the corners of the simplex (the three terms of Eq. 5 of [1]_).
    ``reconstruction_weight`` adds a decoder (DDC-AE); ``companion`` asks that the
    clusters separate in every block of the encoder (DDC-UCO, Eq. 4).

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int, default=100
        Width of the hidden layer before the softmax, at least 1: the embedding.
    hidden_layer_sizes : array-like of int or None, default=None
        Widths of the encoder's layers ("mlp") or channels of its blocks ("conv"),
        at least one. None means (512, 512, 256) for "mlp" and (32, 32) for "conv".
    architecture : {"mlp", "conv"} or callable, default="mlp"
        The network. A callable, such as a ``torch.nn.Module`` class, is called as
        ``architecture(n_features, latent_dim)`` and must return a module with
        ``encode`` and ``decode`` on rows, and ``encode_with_blocks`` for companions.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image; needed by ``architecture="conv"``.
    augmentation : callable or None, default=None
        Changes rows at random in training, in ways that leave what they show:
        ``augmentation(x, generator)`` gets a batch, a float32 tensor of shape
        ``(n, n_features)``, and returns one of that shape. For images there is
        :class:`~deepcluster_sk.augmentation.RandomAffine`.
        With ``pretraining="neighbors"`` rows are compared with eight changed copies of
        one another, too.
    reconstruction_weight : float, default=0.0
        Weight of the reconstruction error, at least 0; the paper's DDC-AE has 0.1.
    companion : {"naive", "tensor"} or None, default=None
        Companion objectives on the outputs of the encoder's blocks: with the
        Gaussian kernel of flattened outputs, or with the tensor kernel.
    companion_weight : float, default=0.01
        Weight λ of the companion objectives, at least 0.
    companion_weighting : {"constant", "linear", "exponential"}, default="constant"
        ω(b), the relative weight of block b of B: 1, b / B or 10^(B - b).
    companion_blocks : array-like of int or None, default=None
        Numbers b of the blocks that have companions, from 1, the block next to the
        data. None means all of them.
    kernel_width : float, default=0.15
        Width of all Gaussian kernels relative to the distances in the batch, above 0.
    kernel_width_of : {"squares", "distances"}, default="squares"
        What it is a share of. "squares": σ² is ``kernel_width`` times the median
        squared distance, as in the authors' code; "distances": σ is ``kernel_width``
        times the median distance, as printed.
    pretraining : {"neighbors"} or None, default="neighbors"
        How the network is trained before clustering. "neighbors" embeds rows by the
        graph of their nearest neighbours, and the softmax begins to learn the clusters
        found there; the loss then decides, at a tenth of ``lr``. None starts from
        random weights, as the paper does.
    n_neighbors : int, default=15
        Neighbours of each sample in the graph, at least 2; for "neighbors".
    pretrain_epochs : int, default=0
        Epochs of an autoencoder alone; the paper has none.
    max_epochs : int, default=100
        Largest number of passes over the data while clustering.
    batch_size : int, default=120
        Largest number of rows in a batch; batches are of nearly equal size. At
        least 3.
    lr : float, default=1e-3
        Learning rate of the optimizer.
    optimizer : {"adam", "sgd"} or callable, default="adam"
        "sgd" has a momentum of 0.9. A callable, such as a ``torch.optim`` class, is
        called as ``optimizer(parameters, lr=lr)``.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-3
        Training stops when fewer than this share of the labels change in each of 10
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
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term, weighted
        ("divergence", "orthogonality", "corner", "reconstruction", "companion", and
        "neighbors" before the clustering); they add up
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
    All terms compare the samples of a batch. ``objective_`` and ``score`` are means
    over batches of the training size, drawn at random but always alike, with batch
    normalisation in evaluation mode; ``history_`` has it in training mode.

    The paper says that σ is 15 % of the median distance; in its authors' code σ² is
    15 % of the median squared distance, so σ is 39 % of the median distance. The
    orthogonality term is a mean over pairs, not the printed sum. The gradient of
    each parameter is clipped to a norm of 10.

    With ``pretraining="neighbors"`` the softmax learns the clusters that neighbours
    show until the cross-entropy is 0.1: assignments that are surer have no gradient
    left. The network then sees X with origin 0 and scale 1, and the reconstruction
    error is relative to that scale. The loss wants clusters of equal size and, at the
    full rate, leaves a start of unequal ones.

    The "conv" encoder is the paper's: two 5 x 5 convolutions; pooling, two 3 x 3
    convolutions, pooling; 32 channels, batch normalisation. Images below 20 pixels
    are too small for it: its convolutions are then padded with zeros. The paper
    keeps the best of 20 runs (``n_init``). It names neither a number of epochs nor a
    lower rate with companions; its authors' code has 200 epochs, and 1e-4 with
    companions. All settings of the paper are in :func:`deepcluster_sk.recipes.ddc` and
    those beside it.

    A cluster without samples for five epochs is given half of the largest one, and
    a ``ClusterCollapseWarning`` says so.

    The companion objectives are ``λ sum_b ω(b) d_cs(A, K_b)``, A the soft assignments
    and K_b the kernel of block b's outputs (Eq. 2 and 3 of [1]_). Each layer of the
    "mlp" encoder is a
    block. "exponential" is the printed 10^(B - b), although the paper also says that
    ω is at most 1.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).
    .. [2] M. Kampffmeyer et al. Deep divergence-based approach to clustering. Neural
       Networks 113 (2019).

    Examples
    --------
    >>> from deepcluster_sk import DDC
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = DDC(3, hidden_layer_sizes=(16,), latent_dim=8, random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> model.transform(X).shape
    (150, 8)
    """

    _needs_hidden_layer: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **COMPANION_CONSTRAINTS,
        "pretraining": [StrOptions({"neighbors"}), None],
        "n_neighbors": FIRST_CLUSTERS_CONSTRAINTS["n_neighbors"],
        "reconstruction_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "companion_blocks": ["array-like", None],
        "kernel_width": [Interval(numbers.Real, 0, None, closed="neither")],
        "kernel_width_of": [StrOptions({"squares", "distances"})],
        # Nearly equal batches of at most 3 rows never leave one row alone.
        "batch_size": [Interval(numbers.Integral, 3, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int = 100,
        hidden_layer_sizes: ArrayLike | None = None,
        architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
        image_shape: tuple[int, ...] | None = None,
        augmentation: Callable[..., Any] | None = None,
        reconstruction_weight: float = 0.0,
        companion: Literal["naive", "tensor"] | None = None,
        companion_weight: float = 0.01,
        companion_weighting: Literal["constant", "linear", "exponential"] = "constant",
        companion_blocks: ArrayLike | None = None,
        kernel_width: float = 0.15,
        kernel_width_of: Literal["squares", "distances"] = "squares",
        pretraining: Literal["neighbors"] | None = "neighbors",
        n_neighbors: int = 15,
        pretrain_epochs: int = 0,
        max_epochs: int = 100,
        batch_size: int = 120,
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
        self.reconstruction_weight = reconstruction_weight
        self.companion = companion
        self.companion_weight = companion_weight
        self.companion_weighting = companion_weighting
        self.companion_blocks = companion_blocks
        self.kernel_width = kernel_width
        self.kernel_width_of = kernel_width_of
        self.pretraining = pretraining
        self.n_neighbors = n_neighbors
        self.pretrain_epochs = pretrain_epochs
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

    def _default_layer_sizes(self, n_samples, n_features):
        return None  # the module has its own

    def _module_spec(self, n_features):
        return DivergenceModule, {
            "n_clusters": self.n_clusters,
            **self._network_arguments(n_features),
        }

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        if X.shape[0] < 2:
            raise ValueError(
                f"n_samples={X.shape[0]} should be >= 2: "
                f"{type(self).__name__} normalises batches."
            )
        return X

    def _check_size(self, n_samples, n_features):
        compared = BATCH_ARRAYS if self.companion is None else COMPANION_ARRAYS
        check_batch(self, n_samples, "", compared)

    def _relative_width(self):
        """σ² as a multiple of the median squared distance."""
        w = self.kernel_width
        # The median of squares is the square of the median.
        return w if self.kernel_width_of == "squares" else w**2

    def _criterion(self, n_samples):
        width, weight = self._relative_width(), self.reconstruction_weight
        divergence = _Divergence(n_samples, self.n_clusters, width)
        reconstruction = RelativeReconstruction(weight) if weight else None
        companion = companion_of(self, width, self.companion_blocks)
        return CombinedCriterion(divergence, reconstruction, companion)

    def _phases(self, run):
        check_blocks(self, run.module, run.rows.X.shape[1], self.companion_blocks)
        of_neighbors = self.pretraining == "neighbors"
        if of_neighbors:
            standardize_data(run)
        if not run.is_warm:
            yield Phase("pretrain", RelativeReconstruction(), self.pretrain_epochs)
        if of_neighbors and not run.is_warm:
            yield from neighbor_label_pretraining(
                run, self.n_neighbors, self.n_clusters
            )
        criterion = self._criterion(len(run.rows))
        memory = criterion.criteria[0].memory
        yield Phase(
            "cluster",
            criterion,
            self.max_epochs,
            lr=(CLUSTERING_RATE if of_neighbors else 1) * self.lr,
            callbacks=[
                ClipGradients(10.0),
                TrackLabels(memory, partial(_reseed, run), patience=5),
                StopOnStableLabels(self.tol, patience=10),
            ],
        )

    def _objective(self, fitted, X):
        """Mean loss of batches of the training size, in evaluation mode."""
        return fitted.mean_loss(self._criterion(0), X)

    reconstruct = available_if(_has_decoder)(ReconstructionMixin.reconstruct)
    score_samples = available_if(_has_decoder)(ReconstructionMixin.score_samples)

    def _reconstruct(self, module, x):
        return module(x).reconstruction
