"""Deep subspace clustering: an autoencoder whose codes express one another."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.callbacks import Callback

from deepcluster_sk._estimator._base import index_of_smallest
from deepcluster_sk._estimator._mixins import ReconstructionMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._estimator._size import (
    EXPRESSION_ARRAYS,
    check_expression,
    check_pairs,
)
from deepcluster_sk._training._callbacks import StopOnPlateau
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import (
    CombinedCriterion,
    RelativeReconstruction,
    SolvedSelfExpression,
    TrainedSelfExpression,
)
from deepcluster_sk.initialization import standardize_data
from deepcluster_sk.modules import SubspaceAutoencoder
from deepcluster_sk.solvers._cluster_means import cluster_means
from deepcluster_sk.solvers._subspaces import (
    affinity,
    cut,
    fit_subspaces,
    relative_weight,
    self_expression_of,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

# Steps of pretraining that few rows get, in more epochs than many.
LEAST_STEPS, LEAST_EPOCHS = 400, 50


class _SolveForExpression(Callback):
    """Every few epochs, find the self-expression of the present codes.

    Parameters
    ----------
    solve : callable
        ``solve(epoch)`` returns the self-expression.
    loss : SolvedSelfExpression
        Takes it.
    interval : int
        Number of epochs between two solutions.
    """

    def __init__(self, solve, loss, interval):
        self.solve = solve
        self.loss = loss
        self.interval = interval

    def on_epoch_begin(self, net, **kwargs):
        """Write C into the criterion."""
        epoch = len(net.history)
        if (epoch - 1) % self.interval == 0:
            self.loss.set_expression(self.solve(epoch))


class DeepSubspaceClustering(ReconstructionMixin, BaseDeepClusterer):
    """Deep subspace clustering: an autoencoder whose codes express one another.

    Minimises the reconstruction error of an autoencoder plus
    ``subspace_weight * (||Z - C Z||² + λ R(C))``, Z being the codes at unit norm and
    C the self-expression with zero diagonal. Either training and closed form
    alternate, as in [1]_: C is solved for the present codes, then the network is
    trained for some epochs with that C. Or C is trained with the network, as in the
    deep subspace clustering networks, DSC-Net, of [2]_
    (``self_expression="trained"``). At the end the graph ``|C| + |C|ᵀ`` is cut by
    spectral clustering, and a linear subspace of the code is fitted to each cluster. A
    new sample belongs to the nearest one, through the encoder.

    For some 10,000 samples with "l1" and "elasticnet", whose C is sparse; "l2" and
    "nuclear" take the memory and time that they take in
    ``SparseSubspaceClustering``. A trained C has an entry for each pair of samples
    whatever the penalty, and all samples are in every batch: for a few thousand.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int, default=20
        Width of the code, at least 1. It should hold the subspaces side by side.
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
    self_expression : {"solved", "trained"}, default="solved"
        Whether C is solved for every ``update_interval`` epochs and held in between,
        or is a weight of the network, from zero on: DSC-Net. The decoder then gets
        ``C Z`` in place of Z, and every batch has all rows.
    normalize : bool, default=True
        Whether codes express one another at unit norm. In [1]_ and [2]_ they do not.
    alpha : float, default=0.1
        λ relative to the codes, in (0, inf), as in ``SparseSubspaceClustering``. It is
        measured once, on the codes that pretraining leaves.
    penalty : {"l1", "elasticnet", "nuclear", "l2"}, default="l1"
        R, as in ``SparseSubspaceClustering``. "nuclear" cannot be trained.
    l1_ratio : float, default=0.9
        Share of the first term of "elasticnet", in (0, 1].
    subspace_weight : float, default=1.0
        Weight of the self-expression, in [0, inf). Both terms are relative, so that 1
        weighs them equally.
    update_interval : int, default=5
        Number of epochs between two self-expressions, where they are solved for.
    affinity_mass : float, default=0.9
        Only the largest entries of each row of C enter the graph, as many as hold
        this share of its absolute sum, in (0, 1].
    pretrain_epochs : int or None, default=None
        Epochs of reconstruction alone, before codes are expressed. None means 50, or
        as many more as make 400 batches: an epoch of few rows is few steps.
    max_epochs : int, default=50
        Largest number of passes over the data after that. A trained C takes one step a
        pass.
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
        Determines initial weights, the order of batches and the seeds of spectral
        clustering. Pass an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        Mean code of each cluster.
    components_ : ndarray of shape (n_clusters, dimension, latent_dim), float32
        Orthonormal rows that span each cluster's subspace of the code.
    affinity_matrix_ : csr_array of shape (n_samples, n_samples)
        The graph that was cut. It is there to be looked at, and is left out of
        pickles, copies and files.
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
    Neither the origin nor the scale of X matters: the network sees X minus the
    median of each feature, divided by the root mean square of the result, and the
    reconstruction error is relative to that mean square. Images of faces, and many
    other data, are mostly what they have in common. A network that is shown that
    learns it first, and gives all rows one direction; only directions count at unit
    norm.

    Without unit norm the self-expression term would shrink the codes, and the
    decoder undo it: the term would vanish without any structure [3]_. Where C is
    trained, the decoder gets rows of ``C Z`` as long as the codes were.

    The gradient goes through both Z of ``||Z - C Z||²``. Where C is solved,
    mini-batches of any size serve: the rows that a batch is made of are encoded with
    it, a few for each of its rows with "l1", all with "l2" and "nuclear". R(C) then
    does not depend on the network, and is not part of the loss that is recorded.

    DSC-Net as published has ``self_expression="trained", normalize=False``, "l1" or
    "l2", and convolutions; see :func:`deepcluster_sk.recipes.dsc_net`. Its authors
    write ``||X - X̂||² / 2 + λ_1 R(C) + λ_2 / 2 ||Z - C Z||²``, summed over all samples
    and features. Their code sharpens the graph before it is cut, by a singular value
    decomposition of C and powers of the result; here ``affinity_mass`` thins it. They
    label training samples alone. Memory grows with n²: four n x n arrays of single
    precision while training and some ten of double precision when the graph is
    made, which is refused beyond 8 GB, or n = 10,000.

    The self-expression involves all training samples. ``objective_`` and ``score``
    therefore use what a new sample has as well: its relative reconstruction error plus
    ``subspace_weight`` times the squared distance of its code, at unit norm, to the
    nearest subspace. ``labels_`` are the nearest subspaces too.

    References
    ----------
    .. [1] X. Peng, S. Xiao, J. Feng, W. Y. Yau and Z. Yi. Deep subspace clustering
       with sparsity prior. IJCAI 2016.
    .. [2] P. Ji, T. Zhang, H. Li, M. Salzmann and I. Reid. Deep subspace clustering
       networks. NIPS 2017.
    .. [3] B. Haeffele, C. You and R. Vidal. A critique of self-expressive deep
       subspace clustering. ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk import DeepSubspaceClustering
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(30, 3)) @ rng.normal(size=(3, 20))
    ...                for _ in range(3)])
    >>> model = DeepSubspaceClustering(
    ...     n_clusters=3, latent_dim=10, hidden_layer_sizes=(), lr=1e-2, random_state=0
    ... ).fit(X)
    >>> np.bincount(model.labels_)
    array([30, 30, 30])
    >>> model.transform(X).shape
    (90, 10)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        "self_expression": [StrOptions({"solved", "trained"})],
        "normalize": ["boolean"],
        "pretrain_epochs": [Interval(numbers.Integral, 0, None, closed="left"), None],
        "alpha": [Interval(numbers.Real, 0, None, closed="neither")],
        "penalty": [StrOptions({"l1", "elasticnet", "nuclear", "l2"})],
        "l1_ratio": [Interval(numbers.Real, 0, 1, closed="right")],
        "subspace_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "update_interval": [Interval(numbers.Integral, 1, None, closed="left")],
        "affinity_mass": [Interval(numbers.Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int = 20,
        hidden_layer_sizes: ArrayLike | None = None,
        architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
        image_shape: tuple[int, ...] | None = None,
        augmentation: Callable[..., Any] | None = None,
        self_expression: Literal["solved", "trained"] = "solved",
        normalize: bool = True,
        alpha: float = 0.1,
        penalty: Literal["l1", "elasticnet", "nuclear", "l2"] = "l1",
        l1_ratio: float = 0.9,
        subspace_weight: float = 1.0,
        update_interval: int = 5,
        affinity_mass: float = 0.9,
        pretrain_epochs: int | None = None,
        max_epochs: int = 50,
        batch_size: int = 256,
        lr: float = 1e-3,
        optimizer: Literal["adam", "sgd"] | Callable[..., Any] = "adam",
        n_init: int = 1,
        tol: float = 1e-4,
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
        self.self_expression = self_expression
        self.normalize = normalize
        self.alpha = alpha
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.subspace_weight = subspace_weight
        self.update_interval = update_interval
        self.affinity_mass = affinity_mass
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
        self.random_state = random_state

    def _module_spec(self, n_features):
        return SubspaceAutoencoder, {
            "n_clusters": self.n_clusters,
            "normalize": self.normalize,
            **self._network_arguments(n_features),
        }

    def _validate_settings(self, n_features):
        super()._validate_settings(n_features)
        if self.self_expression == "trained" and self.penalty == "nuclear":
            raise ValueError(
                "penalty='nuclear' of DeepSubspaceClustering needs "
                "self_expression='solved': it has no gradient that training could "
                "follow. Got self_expression='trained'."
            )

    def _check_size(self, n_samples, n_features):
        if self.self_expression == "trained":
            what, remedy = 'self_expression="trained"', 'Use "solved", or fewer rows'
            arrays = EXPRESSION_ARRAYS["l2"]
            check_pairs(self, n_samples, arrays, 8, what, remedy)
            return
        times = 1 + -(-self.max_epochs // self.update_interval)
        check_expression(self, n_samples, self.latent_dim, times)

    def _codes(self, run, epoch):
        """Codes as they express one another, in float64."""
        Z = run.apply(lambda x: run.module.expressed_codes(run.module.encode(x)))
        if not torch.isfinite(Z).all():
            self._diverged(
                f"in phase 'self-expression', epoch {epoch}, the embedding in the term "
                "'self_expression' is not finite"
            )
        return run.exact(Z)

    def _phases(self, run):
        standardize_data(run)
        epochs = self.pretrain_epochs
        if epochs is None:
            steps = run.net.n_batches(len(run.rows))
            epochs = max(LEAST_EPOCHS, -(-LEAST_STEPS // steps))
        yield Phase("pretrain", RelativeReconstruction(), epochs)
        weight = relative_weight(self._codes(run, 0), self.alpha)
        name, stop = "self-expression", StopOnPlateau(self.tol)
        ratio = {"l1": 1.0, "l2": 0.0}.get(self.penalty, self.l1_ratio)
        if self.self_expression == "trained":
            loss = TrainedSelfExpression(
                len(run.rows), self.subspace_weight, weight, ratio
            )
            batch = len(run.rows)
            yield Phase(name, loss, self.max_epochs, callbacks=[stop], batch_size=batch)
            C = loss.expression().detach().cpu().numpy().astype(np.float64)
        else:
            loss = SolvedSelfExpression(run.rows.whole(), self.subspace_weight)
            terms = CombinedCriterion(RelativeReconstruction(), loss)
            solve = partial(self._express, run, weight)
            refresh = _SolveForExpression(solve, loss, self.update_interval)
            yield Phase(name, terms, self.max_epochs, callbacks=[refresh, stop])
            C = self._express(run, weight, run.n_iter)
        self._fit_subspaces(run, C)

    def _express(self, run, weight, epoch):
        """The self-expression of the present codes, for an absolute weight."""
        Z = self._codes(run, epoch)
        return self_expression_of(
            Z, weight, self.penalty, self.l1_ratio, self._verbosity()
        )

    def _fit_subspaces(self, run, C):
        """Cut the graph of the last codes, and fit the clusters' subspaces."""
        run.affinity = affinity(C, self.affinity_mass)
        labels = cut(run.affinity, self.n_clusters, run.random_state)
        Z = self._codes(run, run.n_iter)
        run.bases = fit_subspaces(Z, labels, self.n_clusters, "auto", run.random_state)
        projections = np.einsum("kdh,kdg->khg", run.bases, run.bases)
        run.module.projections.copy_(torch.from_numpy(projections))

    def _reorder_clusters(self, run, order):
        run.bases = run.bases[order]
        return super()._reorder_clusters(run, order)

    def _keep(self, run):
        super()._keep(run)
        Z = run.apply(run.module.encode).cpu().numpy()
        self.cluster_centers_ = cluster_means(Z, run.labels, self.n_clusters)
        run.module.centers.copy_(torch.from_numpy(self.cluster_centers_))
        self.components_ = run.bases.astype(np.float32)
        self.affinity_matrix_ = run.affinity

    def _assign(self, module, x):
        return index_of_smallest(module.residuals(module.encode(x)))

    def _row_objective(self, module, x):
        embedding = module.encode(x)
        error = module.relative_error(x, embedding).mean(1)
        return error + self.subspace_weight * module.residuals(embedding).amin(1)
