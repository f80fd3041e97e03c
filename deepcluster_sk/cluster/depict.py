"""DEPICT: a softmax on the code, trained through noise in every layer."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._mixins import DecoderMixin, SoftAssignmentMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._training._callbacks import RefreshTarget
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import CombinedCriterion, Criterion, drop_values
from deepcluster_sk.initialization import (
    FIRST_CLUSTERS_CONSTRAINTS,
    first_clusters,
)
from deepcluster_sk.losses import (
    balanced_target,
    layerwise_error,
    target_distribution,
)
from deepcluster_sk.losses._common import BLOCK_ROWS
from deepcluster_sk.modules import SoftmaxAutoencoder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike
    from skorch.callbacks import Callback

TARGETS = {"sharpened": target_distribution, "balanced": balanced_target}


class _NoisyAssignment(Criterion):
    """Cross-entropy of noisy assignments to a fixed target, and errors of all layers.

    One dropout mask is drawn for the whole batch, so the criterion is given all of its
    rows.

    Parameters
    ----------
    n_samples, n_clusters : int
        Shape of the target q, which a callback fills in.
    generator : torch.Generator
        Source of the noise.
    rate : float
        Share of the inputs of each layer that are dropped.
    weight : float
        Multiplies the errors.
    """

    compares_rows = True

    def __init__(self, n_samples, n_clusters, generator, rate, weight):
        super().__init__()
        self.generator = generator
        self.rate = rate
        self.weight = weight
        target = torch.zeros(n_samples, n_clusters)
        self.register_buffer("target", target, persistent=False)

    def forward(self, output, x, index):
        module, network = output.module, output.module.autoencoder
        drop = partial(drop_values, rate=self.rate, generator=self.generator)
        x = module.standardize(x)
        noisy = network.encode_corrupted(x, drop)
        cross = self.target[index] * module.log_assign(noisy)
        clean = [x, *output.blocks[:-1]]
        error = layerwise_error(network.decode_with_blocks(noisy), clean)
        return {
            "clustering": -cross.sum(1).mean(),
            "reconstruction": self.weight * error,
        }


class DEPICT(SoftAssignmentMixin, DecoderMixin, BaseDeepClusterer):
    """DEPICT: soft assignments that noise in every layer must not change.

    A softmax on the code of an autoencoder assigns rows to clusters. The network sees
    rows through an encoder with dropout and learns targets that are made of the
    assignments without it, and the decoder learns to restore what the layers of the
    encoder hold without noise [1]_.

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
        ``encode`` and ``decode`` on rows. Without ``stages`` it is one layer.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image; needed by ``architecture="conv"``.
    augmentation : callable or None, default=None
        Changes rows at random in training, in ways that leave what they show:
        ``augmentation(x, generator)`` gets a batch, a float32 tensor of shape
        ``(n, n_features)``, and returns one of that shape. For images there is
        :class:`~deepcluster_sk.augmentation.RandomAffine`.
        With ``pretraining="neighbors"`` rows are compared with eight changed copies of
        one another, too.
    target : {"sharpened", "balanced"}, default="sharpened"
        What is made of the assignments p without noise. "sharpened":
        ``p_ik^2 / sum_i p_ik``, as in DEC and in the authors' code. "balanced":
        ``p_ik / (sum_i p_ik)^(1/2)``, as in the paper, which makes clusters more equal
        in size but no assignment surer. Both are normalised.
    dropout_rate : float, default=0.1
        Share of the inputs of each layer of the encoder that are dropped at random
        while clustering, in [0, 1).
    reconstruction_weight : float, default=1.0
        Weight of the errors of the decoder's layers, at least 0.
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
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        Mean code of each cluster, each row weighted by its soft assignment.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term, weighted
        ("neighbors", "reconstruction", "clustering"); they add up to the loss.
        "label_change" is the share of labels that two targets differ in.
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
    IDEC : A Student t kernel around centres instead of a softmax, and no noise.

    Notes
    -----
    With p the soft assignments of the rows without noise, and p' those with it, the
    loss is the cross-entropy ``-mean_i sum_k q_ik log p'_ik`` plus
    ``reconstruction_weight`` times the squared errors of the decoder in all layers,
    each averaged over the elements of its layer (``losses.layerwise_error``). The
    input's is relative to the mean square of X minus its medians. Gradients reach the
    layers without noise too, as in the authors' code. The target q is computed from
    all rows every ``update_interval`` epochs.

    Eq. 6 of [1]_ is the target "balanced" (``losses.balanced_target``); the authors'
    published code has that line too, but runs with "sharpened"
    (``losses.target_distribution``). The difference matters where assignments are not
    sure from the start, as after ``pretraining="end-to-end"``: noise makes them less
    sure, "balanced" has nothing against that, and in the end all rows are shared by all
    clusters.

    The softmax starts as the posterior of equally likely Gaussians around the first
    centres, whose common variance is that of the codes; the authors train it to give
    the first labels. For how those are found, for the units of the code and for what
    ``tol`` says on small tables, see the notes of ``DEC``. The authors train the
    autoencoder first, with the noise and the errors of all layers, and find clusters in
    its code by k-means or by agglomeration: :func:`~deepcluster_sk.recipes.depict` is
    near to that.

    The learning rate rises to ``lr`` in the first ten steps of clustering: a new
    optimizer moves all weights at once, and a small data set would lose its code.

    The objective is the loss without noise, with the target that the rows themselves
    make, so ``score`` of one row is not comparable to that of many.

    A cluster that has lost all its samples when the target is computed is given half
    of the largest one, and a ``ClusterCollapseWarning`` says so.

    References
    ----------
    .. [1] K. Ghasedi Dizaji, A. Herandi, C. Deng, W. Cai and H. Huang. Deep clustering
       via joint convolutional autoencoder embedding and relative entropy
       minimization. ICCV 2017.

    Examples
    --------
    >>> from deepcluster_sk import DEPICT
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = DEPICT(3, latent_dim=2, hidden_layer_sizes=(16,), random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> model.inverse_transform(model.cluster_centers_).shape
    (3, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **FIRST_CLUSTERS_CONSTRAINTS,
        "target": [StrOptions(set(TARGETS))],
        "dropout_rate": [Interval(numbers.Real, 0, 1, closed="left")],
        "reconstruction_weight": [Interval(numbers.Real, 0, None, closed="left")],
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
        target: Literal["sharpened", "balanced"] = "sharpened",
        dropout_rate: float = 0.1,
        reconstruction_weight: float = 1.0,
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
        self.target = target
        self.dropout_rate = dropout_rate
        self.reconstruction_weight = reconstruction_weight
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
        return SoftmaxAutoencoder, {
            "n_clusters": self.n_clusters,
            **self._network_arguments(n_features),
        }

    def _phases(self, run):
        first = yield from first_clusters(self, run)
        module = run.module
        code = run.apply(module.encode)
        module.place_clusters(first.centers, code, first.labels_of_all(code))
        loss = _NoisyAssignment(
            len(run.rows),
            self.n_clusters,
            run.generator(),
            self.dropout_rate,
            self.reconstruction_weight,
        )
        refresh = RefreshTarget(
            run, loss, TARGETS[self.target], self.update_interval, self.tol
        )
        yield Phase(
            "cluster",
            CombinedCriterion(loss, first.neighbor_term(self.neighbor_weight)),
            self.max_epochs,
            lr=first.lr,
            callbacks=[refresh],
            warm_up=10,
        )
        code, assignment = run.apply(partial(_assigned, module))
        sizes = assignment.sum(0)[:, None]
        module.centers.copy_(assignment.T @ code / sizes.clamp_min(1e-9))

    def _objective(self, fitted, X):
        """The loss without noise, with the target that all rows make themselves."""
        module = fitted.module_
        log_assignment, error = fitted.apply(partial(_row_terms, module), X)
        log_assignment = log_assignment.cpu()  # not every device has float64
        sizes, cross = 0.0, 0.0
        for block in log_assignment.split(BLOCK_ROWS):
            sizes += block.double().exp().sum(0)
        for block in log_assignment.split(BLOCK_ROWS):
            log = block.double()
            target = TARGETS[self.target](log.exp(), sizes)
            cross -= float((target * log).sum())
        error = float(error.cpu().double().mean())
        return cross / len(log_assignment) + self.reconstruction_weight * error


def _assigned(module, x):
    """Code and soft assignment of each row."""
    code = module.encode(x)
    return code, module.assign(code)


def _row_terms(module, x):
    """Logarithm of the soft assignment, and sum of the layers' errors, of each row."""
    network, x = module.autoencoder, module.standardize(x)
    code, blocks = network.encode_with_blocks(x)
    pairs = zip(network.decode_with_blocks(code), [x, *blocks[:-1]], strict=True)
    error = sum((a - b).square().flatten(1).mean(1) for a, b in pairs)
    return module.log_assign(code), error
