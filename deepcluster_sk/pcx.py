"""PC-X: clustering by slow exemplars, centroids that move by running averages."""

import numbers
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk._base import BaseDeepClusterer, DecoderMixin, Run, smallest
from deepcluster_sk._callbacks import StopOnPlateau, count_epochs
from deepcluster_sk._net import Rows, is_streamed
from deepcluster_sk._phase import Phase
from deepcluster_sk._quiet import quiet
from deepcluster_sk._start import START_ROWS, hiding, place_centers, pretraining
from deepcluster_sk.exceptions import ConvergenceError
from deepcluster_sk.losses import (
    assignment_entropy,
    inverse_size_weights,
    kmeans_loss,
)
from deepcluster_sk.modules import ExemplarAutoencoder
from deepcluster_sk.parallel import of_the_first, whole_batch

TINY = 1e-12


def running_averages(centers, sizes, embedding, labels, decay):
    """Move centroids and cluster sizes slowly towards those of a batch.

    Parameters
    ----------
    centers : Tensor of shape (k, h)
        Centroids.
    sizes : Tensor of shape (k,)
        Expected number of samples of each cluster in a batch.
    embedding : Tensor of shape (n, h)
        Codes of the batch.
    labels : Tensor of shape (n,)
        Their clusters.
    decay : float
        κ, what is kept of the old values.

    Returns
    -------
    centers, sizes : Tensors of shape (k, h) and (k,)
        ``κ μ + (1 - κ) mean`` (Eq. 6 and 7) and ``κ α + (1 - κ) count`` (Eq. 13).
        The centroid of a cluster without samples in the batch stays.
    """
    member = nn.functional.one_hot(labels, len(centers)).to(embedding.dtype)  # (n, k)
    counts = member.sum(0)
    means = member.T @ embedding / counts.clamp(min=1)[:, None]
    moved = torch.lerp(means, centers, decay)
    return (
        torch.where(counts[:, None] > 0, moved, centers),
        torch.lerp(counts, sizes, decay),
    )


class _ExemplarLoss(nn.Module):
    """Eq. 9, and the moving averages that follow each batch (Algorithm 1).

    Its buffers hold no more than a batch: how often each cluster was chosen in the
    present epoch, and the codes of the last batch, where dead clusters start again.

    Parameters
    ----------
    n_clusters : int
    clustering_weight, entropy_weight : float
        η1 and η2.
    smoothing : float or None
        ε of Eq. 14; None weights all samples alike.
    decay : float or None
        κ; None leaves the centroids where they are.
    first : Tensor of shape (n,) or None
        Clusters in which the training rows stay; -1, as None, for the nearest one.
    """

    def __init__(
        self,
        n_clusters,
        clustering_weight,
        entropy_weight,
        smoothing,
        decay,
        first=None,
    ):
        super().__init__()
        self.register_buffer("first", first, persistent=False)
        self.clustering_weight = clustering_weight
        self.entropy_weight = entropy_weight
        self.smoothing = smoothing
        self.decay = decay
        self.register_buffer("counts", torch.zeros(n_clusters, dtype=torch.long))
        self.last = None

    def forward(self, output, x, index):
        """The three terms, weighted."""
        module = output.module
        centers, sizes = module.centers, module.sizes
        embedding, labels = output.embedding, output.assignment.detach().argmax(1)
        if self.first is not None:
            first = self.first[index]
            labels = torch.where(first < 0, labels, first)
        weights = None
        if self.smoothing is not None:
            weights = inverse_size_weights(sizes, self.smoothing)
        terms = {
            "reconstruction": module.relative_error(x, embedding, "mean"),
            "clustering": self.clustering_weight
            * kmeans_loss(embedding, centers, labels, weights),
            "entropy": self.entropy_weight * assignment_entropy(output.assignment),
        }
        with torch.no_grad():
            embedding, labels = whole_batch(embedding.detach()), whole_batch(labels)
            self.counts += torch.bincount(labels, minlength=len(centers))
            if self.decay is not None:
                self.last = embedding, labels
                moved = running_averages(centers, sizes, *self.last, self.decay)
                centers.copy_(moved[0])
                sizes.copy_(moved[1])
        return terms


def weighted_kmeans(codes, n_clusters, random_state, smoothing, batch_size, rounds=5):
    """Centres of k-means in which small clusters count as much as large ones.

    k-means would rather split a large cluster than tell two small ones apart. It is
    repeated, each time with the samples weighted as the loss will weight them by the
    clusters found before (Eq. 12).

    Parameters
    ----------
    codes : Tensor of shape (n, h)
    n_clusters : int
    random_state : RandomState
    smoothing : float
        ε of Eq. 14, in samples a batch.
    batch_size : float
        Number of samples in a batch.
    rounds : int, default=5
        How often k-means runs, with 10 restarts each.

    Returns
    -------
    centers : Tensor of shape (k, h), on the CPU
    labels : Tensor of shape (n,), int64, on the CPU
    """
    codes, weights = codes.detach().cpu().numpy(), None
    for _ in range(rounds):
        kmeans = KMeans(n_clusters, n_init=10, random_state=random_state)
        with quiet(ConvergenceWarning):
            labels = kmeans.fit_predict(codes, sample_weight=weights)
        counts = np.bincount(labels, minlength=n_clusters) / len(codes)
        sizes = torch.from_numpy(batch_size * counts)
        weights = inverse_size_weights(sizes, smoothing).numpy()[labels]
    centers = torch.from_numpy(kmeans.cluster_centers_.astype(np.float32))
    return centers, torch.from_numpy(labels.astype(np.int64))


class _ReviveClusters(Callback):
    """Now and then, start clusters that no sample chose again.

    Parameters
    ----------
    run : Run
    after : int, default=0
        Rows that must have been seen before a cluster counts as dead. It is looked
        for at the end of epochs.
    """

    def __init__(self, run, after=0):
        self.run = run
        self.after = after

    def on_epoch_end(self, net, **kwargs):
        """Put each dead centroid on one of the codes farthest from theirs."""
        module, loss = net.module_, net.criterion_
        net.history.record("n_used", int((loss.counts > 0).sum()))
        if loss.counts.sum() < self.after:
            return
        dead = (loss.counts == 0).nonzero().flatten()
        if loss.last is not None and len(dead):
            embedding, labels = loss.last
            distance = (embedding - module.centers[labels]).square().sum(1)
            far = distance.argsort(descending=True)[: len(dead)]
            far = far[distance[far] > 0]
            dead = dead[: len(far)]
            module.centers[dead] = embedding[far]
            module.sizes[dead] = module.sizes.mean()
            self.run.n_reseeded += len(dead)
        loss.counts.zero_()


class PCX(DecoderMixin, BaseDeepClusterer):
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
        decoder mirrors them. None means (500, 500, 2000) for "mlp" and
        (32, 64, 128) for "conv"; an empty tuple gives a linear autoencoder.
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
    temperature : float, default=5.0
        τ of Eq. 2, above 0: the larger, the harder the soft assignment.
    integrate_centroids : bool, default=True
        Whether codes are decoded together with their centroid. False is the
        ablation "no CI" of Table 6.
    update : {"ema", "none"}, default="ema"
        Whether centroids follow the codes, or stay where they start: the ablation
        "Fix" of Table 6.
    dropout : float, default=0.2
        Share of the values of a row that are hidden from the network in training, in
        [0, 1): they are set to the median of their feature. The network is to
        reconstruct them too, and to put the row where its cluster is without them.
    pretrain_epochs : int, default=100
        Epochs of reconstruction alone before the centroids are placed.
    init : {"mixture", "k-means"}, default="mixture"
        How the first clusters are found in the code: by k-means, with 20 restarts,
        or, going on from there, by Gaussians whose covariances are shrunk towards
        their pooled one. A linear map of the code then makes clusters as round as
        that one allows.
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
    tol : float, default=1e-4
        The burn-in, and then training, stops when the best loss of the last 10
        epochs is not lower, by this relative amount, than the best before. 0 never
        stops early.
    device : str or torch.device, default="auto"
        Where to train; "auto" takes CUDA, then MPS, then the CPU.
    precision : {"float32", "bf16"}, default="float32"
        Numbers in which the network computes, in training and in prediction.
        "bf16", of 8 significant bits, is faster where the hardware knows it. Weights,
        losses and codes stay float32.
    callbacks : list of skorch callbacks or None, default=None
        Called in training, after the library's own. These are callbacks of skorch
        (``skorch.callbacks``), not of ``sklearn.callback``.
    checkpoint : str, path-like or None, default=None
        A folder in which ``fit`` notes its state, to go on after it was killed: the
        same call then ends as an uninterrupted one, on the CPU bit for bit. What was
        noted is removed at the end.
    verbose : int, default=0
        Above 0, show a progress bar.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, the order of batches and the k-means start. Pass
        an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them. After
        ``partial_fit``, those of its last batch.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        The centroids μ, in the embedding.
    exemplars_ : ndarray of shape (n_clusters, n_features), float32
        The decoded centroids ``g(h(μ, μ))``, in the units of X.
    cluster_sizes_ : ndarray of shape (n_clusters,), float32
        Running average of the number of samples of each cluster in a batch.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each weighted loss term
        ("reconstruction", "clustering" and "entropy" add up to it), and the number
        of clusters in use, "n_used".
    n_iter_ : int
        Number of epochs run, in all phases.
    n_epochs_ : dict of str to int
        Number of epochs, or sweeps, of each phase; their sum is ``n_iter_``.
    stop_reason_ : dict of str to str
        Why each phase ended: "max_epochs" (it had all that it was allowed), "tol"
        (what ``tol`` bounds), "unchanged" (no label changed), "solved" (it is a closed
        form) or "callback" (one of ``callbacks`` ended it).
    objective_ : float
        Mean of Eq. 9 (Eq. 12 if ``imbalanced``) over the training data, without gaps,
        at the end.
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
    The paper starts centroids at random. Here the autoencoder is pretrained to fill
    gaps in its input, clusters are found in its code (``init``), the centroids start
    at their means, and the centroid-integration unit starts as a no-op: from random
    centroids clusters die, and a freshly drawn unit breaks the decoder. Units and
    first clusters are found on 10,000 rows drawn at random, if there are more.

    Reconstruction fixes a code up to an invertible linear map only. The map is chosen
    such that the first clusters are round; see the notes of ``DEC``. The code is then
    scaled so that samples start at a mean squared distance of 1 from their centroid:
    the meaning of τ, η1 and η2 does not depend on the data. Nor does the
    reconstruction error, a mean over features in units of the root mean square of X
    about its medians. The other two terms are as printed.

    With ``imbalanced=True`` and ``init="k-means"``, k-means is repeated with the
    weights of Eq. 12, those of the clusters found before. The weighted loss alone
    helps little: plain k-means splits a large cluster rather than tell two small ones
    apart, and then the weights draw the two together.

    Codes and centroids of a batch come from the same forward pass, before the step of
    the optimizer. Sizes are counted a batch, as the centroids are, from those of the
    start; only their ratios matter, and ``size_smoothing`` has the unit of the paper's
    values. ``inverse_transform`` decodes a code together with its nearest centroid.

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

    _streams: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "entropy_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "burn_in_epochs": [Interval(numbers.Integral, 0, None, closed="left")],
        "imbalanced": ["boolean"],
        "size_smoothing": [Interval(numbers.Real, 0, None, closed="neither")],
        "decay": [Interval(numbers.Real, 0, 1, closed="left")],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither")],
        "integrate_centroids": ["boolean"],
        "update": [StrOptions({"ema", "none"})],
        "init": [StrOptions({"mixture", "k-means"})],
        "dropout": [Interval(numbers.Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=10,
        hidden_layer_sizes=None,
        architecture="mlp",
        image_shape=None,
        augmentation=None,
        clustering_weight=0.01,
        entropy_weight=0.01,
        burn_in_epochs=10,
        imbalanced=False,
        size_smoothing=5.0,
        decay=0.995,
        temperature=5.0,
        integrate_centroids=True,
        update="ema",
        dropout=0.2,
        pretrain_epochs=100,
        init="mixture",
        max_epochs=60,
        batch_size=256,
        lr=5e-4,
        optimizer="adam",
        n_init=1,
        tol=1e-4,
        device="auto",
        precision="float32",
        callbacks=None,
        checkpoint=None,
        verbose=0,
        random_state=None,
    ):
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
        self.temperature = temperature
        self.integrate_centroids = integrate_centroids
        self.update = update
        self.dropout = dropout
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
        self.random_state = random_state

    # --- the network and its training -----------------------------------------

    def _module_spec(self, n_features):
        return ExemplarAutoencoder, {
            "n_clusters": self.n_clusters,
            "integrate_centroids": self.integrate_centroids,
            "temperature": self.temperature,
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "architecture": self.architecture,
            "hidden_layer_sizes": self.hidden_layer_sizes,
            "image_shape": self.image_shape,
            "precision": self.precision,
        }

    def _smoothing(self):
        return self.size_smoothing if self.imbalanced else None

    def _loss(self, burn_in=False, first=None):
        return _ExemplarLoss(
            self.n_clusters,
            self.clustering_weight,
            entropy_weight=0.0 if burn_in else self.entropy_weight,
            smoothing=None if burn_in else self._smoothing(),
            decay=self.decay if self.update == "ema" else None,
            first=first,
        )

    def _start(self, run):
        """Pretrain, then place the centroids; returns the rows' first clusters."""
        module, rows = run.module, run.rows
        n = len(rows)
        index = torch.from_numpy(run.random_state.permutation(n)[:START_ROWS]).sort()
        sample = rows
        if n > START_ROWS or is_streamed(rows.X):
            sample = Rows(rows[index.values].cpu().numpy(), rows.device)
        part = Run(run.net, sample, None, run.random_state, (), 0)
        if module.fusion is not None:
            # Untrained, so that it is a no-op when the centroids come in.
            module.fusion.requires_grad_(False)
        yield from pretraining(part, self.pretrain_epochs, "end-to-end", self.dropout)
        if module.fusion is not None:
            module.fusion.requires_grad_(True)
        batch_size = n / -(-n // self.batch_size)
        if self.imbalanced and self.init == "k-means":
            centers, labels = weighted_kmeans(
                part.apply(module.encode),
                self.n_clusters,
                run.random_state,
                self.size_smoothing,
                batch_size,
            )
        else:
            centers, labels = place_centers(part, self.n_clusters, self.init)
        codes = part.apply(module.encode)
        module.centers.copy_(centers)
        # The weights and the temperature mean something only for codes of a known
        # scale: samples start at a mean squared distance of 1 from their centroid.
        with torch.no_grad():
            distance = module.distances(codes).amin(1).mean()
        module.code_scale.copy_(distance.clamp(min=TINY).rsqrt())
        module.centers.mul_(module.code_scale)
        share = labels.bincount(minlength=self.n_clusters) / len(codes)
        module.sizes.copy_(batch_size * share)
        if self.init == "k-means":
            return None
        first = torch.full((n,), -1, dtype=torch.int32, device=labels.device)
        first[index.values.to(labels.device)] = labels.int()
        return first

    def _phases(self, run):
        first = yield from self._start(run)
        stop = [_ReviveClusters(run), StopOnPlateau(self.tol)]
        burn_in = min(self.burn_in_epochs, self.max_epochs)
        loss = self._loss(burn_in=True, first=first)
        yield self._phase(run, "burn-in", loss, burn_in, stop)
        yield self._phase(
            run, "exemplars", self._loss(), self.max_epochs - burn_in, stop
        )

    def _phase(self, run, name, loss, epochs, callbacks):
        """A phase whose input has gaps, as in pretraining."""
        hide = hiding(run.module, self.dropout)
        return Phase(name, loss, epochs, callbacks=callbacks, corrupt=hide)

    def _keep(self, run):
        super()._keep(run)
        self._read_module()

    def _read_module(self):
        """Copy what users look at out of the module."""
        module, net = self.module_, self.net_
        self.cluster_centers_ = module.centers.cpu().numpy().copy()
        self.cluster_sizes_ = module.sizes.cpu().numpy().copy()
        exemplars = net.apply(module.decode, self.cluster_centers_)
        self.exemplars_ = exemplars.cpu().numpy()

    # --- streams --------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train on one batch of a stream: one pass over its rows.

        The first call, on an estimator that is not fitted, pretrains on its batch
        and places the centroids, so it should bring at least some hundred rows. There
        is no burn-in. After ``fit``, training continues from where it ended, with a new
        optimizer, as it does after ``deepcluster_sk.load``. ``checkpoint`` is for
        ``fit`` alone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the stream; the first time at least ``n_clusters`` of them. More
            than ``batch_size`` rows are split.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The estimator, fitted to the stream so far.

        Raises
        ------
        ValueError
            If X or a parameter is refused; what was fitted before stays.
        ConvergenceError
            If a loss term or the embedding is no longer finite. The estimator is
            then left unfitted.
        """
        first = not self.__sklearn_is_fitted__()
        try:
            self._partial_fit(X, first)
        except BaseException as error:
            if first or isinstance(error, ConvergenceError):
                self._forget()
            raise
        return self

    def _partial_fit(self, X, first):
        X = self._validate_training_data(X) if first else self._check_data(X)
        rows = self._rows(X)
        self._check_same_call(X, None, rows)
        if first or self.net_.optimizer_ is None:
            run = self._begin_stream(rows, first)
        else:
            run = self._stream_run(self.net_, rows)
            self._train_stream(run, run.net.criterion_)
        self._evaluate(run)
        self.net_, self.module_ = run.net, run.module
        self.history_, self.n_iter_ = run.history, run.n_iter
        self.n_epochs_ = count_epochs(run.history)
        self.stop_reason_ = run.stop_reason
        self.objective_, self.labels_ = run.objective, run.labels
        self._n_features_out = self.latent_dim
        self._read_module()

    def _stream_run(self, net, rows):
        """A run that goes on where the fitted estimator, if it is one, stopped."""
        private = np.random.RandomState(net.seed)
        run = Run(net, rows, None, private, self.callbacks or (), self.verbose)
        run.history = list(getattr(self, "history_", ()))
        run.n_iter = getattr(self, "n_iter_", 0)
        run.stop_reason = dict(getattr(self, "stop_reason_", {}))
        return run

    def _begin_stream(self, rows, first):
        """Make a net that keeps its optimizer, started or filled, and train it."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        net = self._make_net(rows.X.shape[1], rows.device, of_the_first(seed))
        run = self._stream_run(net, rows)
        if first:
            for phase in self._start(run):
                run.train(phase)
        else:
            net.module_.load_state_dict(self.module_.state_dict())
        self._train_stream(run, self._loss())
        return run

    def _train_stream(self, run, loss):
        """Train for one pass; clusters that no one chose for long start again."""
        revive = _ReviveClusters(run, after=START_ROWS)
        run.train(self._phase(run, "stream", loss, 1, [revive]))
        run.net.callbacks_ = []  # they hold the rows, and this net is kept
        self._warn_of_reseeding(run)

    # --- the predict path -----------------------------------------------------

    def _assign(self, module, x):
        return smallest(module.distances(module.encode(x)))

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

    def predict_proba(self, X):
        """Soft assignment of the rows of X: λ of Eq. 2.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_clusters), float32
            Rows sum to 1; the largest entry is at the cluster of ``predict``.
        """
        return self._map(lambda module, x: module.assignment(module.encode(x)), X)
