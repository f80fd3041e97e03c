"""VaDE: a variational autoencoder whose prior is a mixture of Gaussians."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, check_scalar

from deepcluster_sk._estimator._mixins import DecoderMixin, SoftAssignmentMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._training._callbacks import StopOnStableLabels, TrackLabels
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import CombinedCriterion, Criterion, LabelMemory
from deepcluster_sk.initialization import (
    FIRST_CLUSTERS_CONSTRAINTS,
    first_clusters,
)
from deepcluster_sk.losses import mixture_divergence
from deepcluster_sk.losses._common import rows_to_reseed_from
from deepcluster_sk.modules import VariationalAutoencoder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from skorch.callbacks import Callback

# Steps in which the rate rises: a fresh optimizer would move all weights at once.
WARM_UP = 10


class _EvidenceBound(Criterion):
    """Minus the lower bound of the evidence, with one draw of each row's code.

    The noise of a batch is drawn at once, so the criterion is given all of its rows.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Clusters to start from.
    n_clusters : int
        Number k of clusters.
    generator : torch.Generator
        Source of the noise.
    """

    compares_rows = True

    def __init__(self, labels, n_clusters, generator):
        super().__init__()
        self.generator = generator
        self.memory = LabelMemory(labels, n_clusters)

    def forward(self, output, x, index):
        module, mean, log_variance = output.module, output.code, output.log_variance
        noise = torch.empty_like(mean).normal_(generator=self.generator)
        code = mean + (log_variance / 2).exp() * noise
        divergence = module.divergence(mean, log_variance)
        return {
            "reconstruction": -module.log_likelihood(x, code).mean(),
            "clustering": mixture_divergence(divergence, module.log_weights),
        }

    def observe(self, output, x, index):
        """Take note of the most probable clusters."""
        self.memory.update(index, output.log_assignment.argmax(1))


def _reseed(run, memory, clusters):
    """Put empty clusters to the rows that are farthest from all."""
    module = run.module

    def distant(x):
        output = module(x)
        nearest = module.divergence(output.code, output.log_variance).amin(1)
        return output.code, nearest

    code, distance = run.apply(distant)
    rows = rows_to_reseed_from(distance, len(clusters))
    module.reseed(clusters, code[rows])
    memory.labels[rows] = clusters
    run.n_reseeded += len(clusters)


class VaDE(SoftAssignmentMixin, DecoderMixin, BaseDeepClusterer):
    """VaDE: a variational autoencoder whose prior is a mixture of Gaussians.

    A generative model of the data: a cluster is drawn, from its Gaussian a code, and
    from the code a row [1]_. The encoder says for each row which codes are probable,
    as a Gaussian of diagonal covariance. Encoder, decoder and mixture maximise a lower
    bound of the log-likelihood of the data, the evidence bound: how probable the row
    is given its codes, minus the divergence of codes and cluster from the mixture.

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
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Of a row given its code. "gaussian", for real data: independent noise of one
        variance, that of all features, which is learned. "bernoulli", for values in
        [0, 1]: a probability for each feature.
    pretraining : {"neighbors", "end-to-end", "layerwise"}, default="neighbors"
        How the autoencoder is trained before clustering. "neighbors" embeds rows by the
        graph of their nearest neighbours and lets the code learn that, beside the
        reconstruction. "end-to-end" reconstructs alone. "layerwise" first trains
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
    tol : float, default=0.0
        Training stops when fewer than this share of the labels change in each of 5
        epochs in a row. 0 never stops early. The evidence bound goes on rising when
        labels have long been still.
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
    covariances_ : ndarray of shape (n_clusters, latent_dim), float32
        Variances of the clusters' Gaussians, in the embedding.
    weights_ : ndarray of shape (n_clusters,), float32
        Shares of the clusters in the mixture; they sum to 1.
    noise_variance_ : float or None
        Variance of the noise, in squared units of X; None with
        ``likelihood="bernoulli"``.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term, weighted
        ("neighbors", "reconstruction", "clustering"); they add up to the loss. In the
        phase "cluster" the last two are the two parts of the evidence bound, in nats a
        row, with signs changed, and "label_change" is the share of labels that an
        epoch changed.
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
    sklearn.mixture.GaussianMixture : The same model without a network.

    Notes
    -----
    With the Gaussian N(m, v) of a row in the code and the k Gaussians of the clusters
    the evidence bound is (Eq. 12 of [1]_)::

        E log p(x | z) - sum_j γ_j (KL(N(m, v) || N_j) + log(γ_j / π_j))

    with z drawn from N(m, v). The divergences have a closed form. The probabilities γ
    of the clusters are those that make the bound the largest, ``γ_j ∝ π_j exp(-KL_j)``;
    the paper takes those of a draw z, under which the bound is lower. They are what
    ``predict_proba`` returns, and ``objective_`` is minus the mean bound.

    The first term is estimated with one draw for each row and step in training. In
    ``score_samples`` it is the mean over ``2 latent_dim`` points of N(m, v), on its
    axes at ``sqrt(latent_dim)`` standard deviations, exact for a linear decoder: the
    result does not depend on chance.

    The log-variances of a row's code are a linear map of the encoder's last hidden
    layer, as in the paper; of the code itself, where a callable ``architecture`` has no
    ``encode_with_blocks``. The variance of the noise starts at the reconstruction
    error of the pretrained network, and is then trained like a weight. The authors fix
    it: their squared error, which is summed over features, has weight 1 or 5, a
    variance of 1/2 or 1/10. A fixed one decides how much a code may hold, and depends
    on the scale of X.

    The mixture starts as the first clusters are: their means, variances and sizes. For
    how these are found, and for the units of the code, see the notes of ``DEC``. The
    authors pretrain with ``pretraining="layerwise"`` and take ``init="mixture"``.

    A cluster without samples in an epoch is re-seeded at the sample farthest
    from all clusters, and a ``ClusterCollapseWarning`` says so.

    References
    ----------
    .. [1] Z. Jiang, Y. Zheng, H. Tan, B. Tang and H. Zhou. Variational deep embedding:
       an unsupervised and generative approach to clustering. IJCAI 2017.

    Examples
    --------
    >>> from deepcluster_sk import VaDE
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = VaDE(3, latent_dim=2, hidden_layer_sizes=(16,), random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> rows, clusters = model.sample(5)
    >>> rows.shape, clusters.shape
    ((5, 4), (5,))
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        **FIRST_CLUSTERS_CONSTRAINTS,
        "likelihood": [StrOptions({"gaussian", "bernoulli"})],
        "whiten": ["boolean"],
        "neighbor_weight": [Interval(numbers.Real, 0, None, closed="left")],
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
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
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
        tol: float = 0.0,
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
        self.likelihood = likelihood
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

    def _module_spec(self, n_features):
        return VariationalAutoencoder, {
            "n_clusters": self.n_clusters,
            "likelihood": self.likelihood,
            **self._network_arguments(n_features),
        }

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        if self.likelihood == "gaussian":
            return X
        low, high = X.min(), X.max()
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"likelihood='bernoulli' of {type(self).__name__} is for values from 0 "
                f"to 1, but those of X go from {low:g} to {high:g}. Scale X, or take "
                "likelihood='gaussian'."
            )
        return X

    def _phases(self, run):
        first = yield from first_clusters(self, run)
        module = run.module
        code = run.apply(module.encode)
        error = run.apply(lambda x: module.relative_error(x, module.encode(x)).mean(1))
        labels = first.labels_of_all(code)
        module.start(code, labels, first.centers, error.mean())
        bound = _EvidenceBound(labels, self.n_clusters, run.generator())
        # In nats a row, as the bound: a row weighs as much as its features.
        weight = self.neighbor_weight * run.rows.X.shape[1]
        yield Phase(
            "cluster",
            CombinedCriterion(bound, first.neighbor_term(weight)),
            self.max_epochs,
            warm_up=WARM_UP,
            callbacks=[
                TrackLabels(bound.memory, partial(_reseed, run, bound.memory)),
                StopOnStableLabels(self.tol),
            ],
        )

    def _row_objective(self, module, x):
        return -module.evidence_bound(x)

    def _row_score(self, module, x):
        return module.evidence_bound(x)

    def _keep(self, run):
        super()._keep(run)
        module = run.module
        with torch.no_grad():
            self.covariances_ = module.center_log_variances.exp().cpu().numpy()
            self.weights_ = module.log_weights.softmax(0).cpu().numpy()
            noise = float(module.noise_variance())
        self.noise_variance_ = noise if self.likelihood == "gaussian" else None

    def score_samples(self, X: ArrayLike) -> NDArray[np.float32]:
        """Lower bound of the log-likelihood of each row: low values are anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float32
            The evidence bound, in nats; of densities in the units of X with
            ``likelihood="gaussian"``. Their mean is ``score``.
        """
        return super().score_samples(X)

    def sample(self, n_samples: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draw rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
            What the decoder makes of codes that are drawn from the mixture, without
            noise.
        y : ndarray of shape (n_samples,), int32
            The clusters that they were drawn from.

        Raises
        ------
        ValueError
            If `n_samples` is below 1.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", numbers.Integral, min_val=1)
        random_state = check_random_state(self.random_state)
        weights = self.weights_.astype("float64")
        y = random_state.choice(
            self.n_clusters, size=n_samples, p=weights / weights.sum()
        )
        noise = random_state.normal(size=(n_samples, self.latent_dim))
        codes = self.cluster_centers_[y] + self.covariances_[y] ** 0.5 * noise
        return self.inverse_transform(codes), y.astype("int32")
