"""Deep embedded clustering: DEC, and IDEC, which keeps the reconstruction."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from sklearn.utils._param_validation import Interval
from torch.nn import functional

from deepcluster_sk._estimator._mixins import (
    AutoClustersMixin,
    DecoderMixin,
    SoftAssignmentMixin,
)
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._estimator._size import COMPANION_ARRAYS, check_batch
from deepcluster_sk._training._callbacks import RefreshTarget
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import (
    COMPANION_CONSTRAINTS,
    CombinedCriterion,
    Criterion,
    RelativeReconstruction,
    check_blocks,
    companion_of,
)
from deepcluster_sk.initialization import (
    FIRST_CLUSTERS_CONSTRAINTS,
    first_clusters,
)
from deepcluster_sk.losses import kl_divergence, target_distribution
from deepcluster_sk.losses._common import BLOCK_ROWS
from deepcluster_sk.modules import StudentTAutoencoder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike
    from skorch.callbacks import Callback


class _SelfTraining(Criterion):
    """KL divergence from a fixed target to the soft assignment.

    Parameters
    ----------
    n_samples, n_clusters : int
        Shape of the target p, which a callback fills in.
    weight : float
        Multiplies the divergence.
    """

    def __init__(self, n_samples, n_clusters, weight):
        super().__init__()
        self.weight = weight
        target = torch.zeros(n_samples, n_clusters)
        self.register_buffer("target", target, persistent=False)

    def forward(self, output, x, index):
        # The divergence of losses.kl_divergence, in half the operations.
        divergence = functional.kl_div(
            output.log_assignment,
            self.target.index_select(0, index),
            reduction="batchmean",
        )
        return {"clustering": self.weight * divergence}


class _BaseDEC(AutoClustersMixin, SoftAssignmentMixin, BaseDeepClusterer):
    """What DEC and IDEC share: everything but the reconstruction term."""

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **AutoClustersMixin._parameter_constraints,
        **FIRST_CLUSTERS_CONSTRAINTS,
        "whiten": ["boolean"],
        **COMPANION_CONSTRAINTS,
        "update_interval": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    _warm_up = 0

    def _clustering_weight(self):
        return 1.0

    def _keeps_reconstruction(self):
        return False

    def _terms_beside(self, first):
        """Criteria beside the self-training."""
        return ()

    def _module_spec(self, n_features):
        return StudentTAutoencoder, {
            "n_clusters": self._number_of_clusters(),
            **self._network_arguments(n_features),
        }

    def _check_size(self, n_samples, n_features):
        if self.companion is not None:
            what = f" with companion={self.companion!r}"
            check_batch(self, n_samples, what, COMPANION_ARRAYS)

    def _phases(self, run):
        check_blocks(self, run.module, run.rows.X.shape[1])
        first = yield from first_clusters(self, run)
        with torch.no_grad():
            run.module.centers.copy_(first.centers)
        self_training = _SelfTraining(
            len(run.rows), self._number_of_clusters(), self._clustering_weight()
        )
        yield Phase(
            "cluster",
            CombinedCriterion(
                self_training, *self._terms_beside(first), companion_of(self)
            ),
            self.max_epochs,
            lr=first.lr,
            callbacks=[
                RefreshTarget(
                    run,
                    self_training,
                    target_distribution,
                    self.update_interval,
                    self.tol,
                )
            ],
            warm_up=self._warm_up,
        )

    # The largest soft assignment is that of the nearest centre.
    _assign = BaseDeepClusterer._assign

    def _objective(self, fitted, X):
        """The loss of all rows against the target that they make themselves."""
        module = fitted.module_
        # On the CPU: not every device has float64.
        assignment = fitted.apply(partial(self._soft_assign, module), X).cpu()
        sizes, divergence = 0.0, 0.0
        for q in assignment.split(BLOCK_ROWS):
            sizes += q.double().sum(0)
        for block in assignment.split(BLOCK_ROWS):
            q = block.double()
            target = target_distribution(q, sizes)
            divergence += len(q) * float(kl_divergence(target, q))
        objective = self._clustering_weight() * divergence / len(assignment)
        if self._keeps_reconstruction():
            error = fitted.apply(
                lambda x: module.relative_error(x, module.encode(x)).mean(1), X
            )
            objective += float(error.cpu().double().mean())
        companion = companion_of(self)
        if companion is not None:
            objective += fitted.mean_loss(companion, X)
        return objective


class DEC(_BaseDEC):
    """DEC: deep embedded clustering, learning from high-confidence assignments.

    An autoencoder is trained, k clusters are found, and the encoder and the centres
    of the clusters in the code then minimise ``KL(p || q)``: q are soft assignments by
    a Student t kernel around each centre, p a sharpened copy of them, computed from the
    whole data every ``update_interval`` epochs [1]_. With ``architecture="conv"`` this
    is DEC-Conv, with ``companion`` DEC-UCO of [2]_.

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
    companion : {"naive", "tensor"} or None, default=None
        Companion objectives on the outputs of the encoder's blocks [2]_: with the
        Gaussian kernel of flattened outputs, or with the tensor kernel.
    companion_weight : float, default=0.01
        Weight λ of the companion objectives, at least 0.
    companion_weighting : {"constant", "linear", "exponential"}, default="constant"
        ω(b), the relative weight of block b of B: 1, b / B or 10^(B - b).
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
    mask_rate : float, default=0.2
        Share of the values of a row that are masked while the autoencoder is trained
        by reconstruction alone, in [0, 1): they are set to the median of their feature.
        With ``pretraining="layerwise"`` also the share of each layer's inputs.
    update_interval : int, default=1
        Number of epochs between two computations of the target distribution.
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
        Training stops when fewer than this share of the labels change between two
        computations of the target. 0 never stops early.
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
        ("neighbors", "reconstruction", "clustering", "companion"); they add up
        to the loss. "label_change" is the share of labels that two targets differ
        in.
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
    IDEC : Keeps the reconstruction error in the objective.

    Notes
    -----
    The objective of any rows is the mean KL divergence from the target that these
    rows themselves make, so ``score`` of one row is not comparable to that of many.
    The divergence is summed over clusters and averaged over samples.

    Neither the origin nor the scale of X matters: the network sees X minus the
    median of each feature, divided by the root mean square of the result.

    With ``pretraining="neighbors"`` up to 10,000 rows, drawn at random, are embedded
    as by UMAP [3]_, without a network. The autoencoder learns that embedding as its
    code: its squared error, relative to the variance, is the term "neighbors", beside a
    tenth of the reconstruction. The first clusters are those, out of k-means in several
    embeddings and of k-means and Gaussian mixtures of the rows, under which rows and
    graph are most probable. Edges between them are weakened, and the code is in units
    in which rows are at a mean squared distance of 1 from the mean of their cluster.

    With ``n_clusters="auto"`` the number is found in an embedding by the neighbours, as
    above: it is cut into ``max_clusters`` pieces (at most one for five rows), and
    pieces are joined, those first between which Hartigans' dip [4]_, along the line
    through their means, is the smallest, until it shows a gap between all that are
    left. DipDECK [5]_ does that while it trains. The number is the median over three
    embeddings, the same for all ``n_init`` runs. Clusters of fewer than about twenty
    rows are not found. Copies that an ``augmentation`` would change are not compared.

    Reconstruction alone determines a code only up to an invertible linear map, but the
    Student t kernel, of fixed width 1 and the same in all directions, depends on it.
    So with the other ways to pretrain the map is chosen before the clustering. The code
    is whitened (directions that hardly vary are not blown up), and with
    ``init="mixture"`` it is then mapped such that the pooled covariance of the clusters
    is nearly half the identity.

    Centres that are given as ``init`` are compared with rows, not with codes: a centre
    need not be a row, and where a network maps it says little of where it maps the rows
    around it. Of more than 10,000 rows so many are compared, drawn at random. A centre
    that is the nearest one of no row starts at the row farthest from its own centre,
    and a ``ClusterCollapseWarning`` says so.

    Self-training sharpens clusters but hardly joins or cuts them, so much depends on
    the first ones: in the code of an autoencoder they are elongated, and k-means cuts
    the longest. The authors start from k-means on the code as it is:
    ``whiten=False, init="k-means"``.

    The authors train with stochastic gradient descent; Adam, as in [2]_, is the
    default here. They pretrain layer by layer (``pretraining="layerwise"``), with
    dropout of 0.2.

    On small tables the first epoch of clustering often changes no label, and ``tol``
    ends it there: ``n_epochs_["cluster"]`` is 1, and the clusters are those of
    ``init``. That tells neither good fits from bad ones, so there is no warning.
    ``tol=0`` trains on.

    A cluster that has lost all its samples when the target is computed is re-seeded
    at the sample with the least certain label, and a ``ClusterCollapseWarning``
    says so.

    The companion objectives are ``λ sum_b ω(b) d_cs(A, K_b)``, A the soft assignments
    and K_b the kernel of block b's outputs (Eq. 2 and 3 of [2]_). Each layer of the
    encoder is a
    block. "exponential" is the printed 10^(B - b), although the paper also says that
    ω is at most 1.

    References
    ----------
    .. [1] J. Xie, R. Girshick and A. Farhadi. Unsupervised deep embedding for
       clustering analysis. ICML 2016.
    .. [2] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).
    .. [3] L. McInnes, J. Healy and J. Melville. UMAP: uniform manifold approximation
       and projection for dimension reduction. arXiv:1802.03426 (2018).
    .. [4] J. A. Hartigan and P. M. Hartigan. The dip test of unimodality. Annals of
       Statistics 13 (1985).
    .. [5] C. Leiber, L. G. M. Bauer, B. Schelling, C. Böhm and C. Plant. Dip-based deep
       embedded clustering with k-estimation. KDD 2021.

    Examples
    --------
    >>> from deepcluster_sk import DEC
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = DEC(3, latent_dim=2, hidden_layer_sizes=(16,), random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> bool((model.labels_ == model.predict(X)).all())
    True
    """

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
        companion: Literal["naive", "tensor"] | None = None,
        companion_weight: float = 0.01,
        companion_weighting: Literal["constant", "linear", "exponential"] = "constant",
        pretraining: Literal["neighbors", "end-to-end", "layerwise"] = "neighbors",
        n_neighbors: int = 15,
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
        self.max_clusters = max_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.augmentation = augmentation
        self.companion = companion
        self.companion_weight = companion_weight
        self.companion_weighting = companion_weighting
        self.pretraining = pretraining
        self.n_neighbors = n_neighbors
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


class IDEC(DecoderMixin, _BaseDEC):
    """IDEC: deep embedded clustering that keeps reconstructing its input.

    As in DEC, encoder and centres minimise ``KL(p || q)``, here times
    ``clustering_weight`` and beside the reconstruction error of the autoencoder,
    which preserves the local structure of the data [1]_. With
    ``architecture="conv"`` this is DCEC [2]_.

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
    clustering_weight : float, default=0.1
        Weight γ of the divergence beside the reconstruction error, at least 0.
    companion : {"naive", "tensor"} or None, default=None
        Companion objectives on the outputs of the encoder's blocks [3]_: with the
        Gaussian kernel of flattened outputs, or with the tensor kernel.
    companion_weight : float, default=0.01
        Weight λ of the companion objectives, at least 0.
    companion_weighting : {"constant", "linear", "exponential"}, default="constant"
        ω(b), the relative weight of block b of B: 1, b / B or 10^(B - b).
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
        Number of epochs between two computations of the target distribution.
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
        Training stops when fewer than this share of the labels change between two
        computations of the target. 0 never stops early.
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
        ("neighbors", "reconstruction", "clustering", "companion"); they add up
        to the loss. "label_change" is the share of labels that two targets differ
        in.
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
    DEC : Drops the decoder once the clustering starts.

    Notes
    -----
    The reconstruction error is the mean over samples and features, relative to the
    mean square of X minus its medians; the divergence is the sum over clusters,
    averaged over samples: γ depends neither on the number of features, nor on the
    scale of X, nor on the batch.

    The learning rate rises to ``lr`` in the first ten steps of clustering: a new
    optimizer moves all weights at once, and a small data set would lose its code.

    The objective of any rows is computed with the target that these rows themselves
    make. For the units of X and of the code, and for ``n_clusters="auto"``, see the
    notes of ``DEC``.

    On small tables the first epoch of clustering often changes no label, and ``tol``
    ends it there: ``n_epochs_["cluster"]`` is 1, and the clusters are those of
    ``init``. That tells neither good fits from bad ones, so there is no warning.
    ``tol=0`` trains on.

    A cluster that has lost all its samples when the target is computed is re-seeded
    at the sample with the least certain label, and a ``ClusterCollapseWarning``
    says so.

    The companion objectives are ``λ sum_b ω(b) d_cs(A, K_b)``, A the soft assignments
    and K_b the kernel of block b's outputs (Eq. 2 and 3 of [3]_). Each layer of the
    encoder is a
    block. "exponential" is the printed 10^(B - b), although the paper also says that
    ω is at most 1.

    References
    ----------
    .. [1] X. Guo, L. Gao, X. Liu and J. Yin. Improved deep embedded clustering with
       local structure preservation. IJCAI 2017.
    .. [2] X. Guo, X. Liu, E. Zhu and J. Yin. Deep clustering with convolutional
       autoencoders. ICONIP 2017.
    .. [3] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import IDEC
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = IDEC(3, latent_dim=2, hidden_layer_sizes=(16,), random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> model.inverse_transform(model.cluster_centers_).shape
    (3, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **_BaseDEC._parameter_constraints,
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
        companion: Literal["naive", "tensor"] | None = None,
        companion_weight: float = 0.01,
        companion_weighting: Literal["constant", "linear", "exponential"] = "constant",
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
        self.max_clusters = max_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.augmentation = augmentation
        self.clustering_weight = clustering_weight
        self.companion = companion
        self.companion_weight = companion_weight
        self.companion_weighting = companion_weighting
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

    def _clustering_weight(self):
        return self.clustering_weight

    # On tables of one batch the reconstruction was lost in the first epoch, and
    # clusters had moved before it was back.
    _warm_up = 10

    def _keeps_reconstruction(self):
        return True

    def _terms_beside(self, first):
        return RelativeReconstruction(), first.neighbor_term(self.neighbor_weight)
