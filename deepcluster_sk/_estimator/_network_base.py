"""Estimators that fit a network: all of them but their mathematics."""

from __future__ import annotations

import numbers
import os
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._base import (
    ClustererTemplate,
    EstimatorTemplate,
    index_of_smallest,
)
from deepcluster_sk._estimator._validation import (
    check_callbacks,
    check_image_shape,
    check_init,
    check_layer_sizes,
    check_some_layer,
    check_warm_start,
)
from deepcluster_sk._threads import multiplications, threads_for
from deepcluster_sk._training._data import resolve_device, resolve_precision, rows_of
from deepcluster_sk._training._net import INFERENCE_ROWS, ClusterNet, FusedAdam
from deepcluster_sk._training._run import Run
from deepcluster_sk.modules import ARCHITECTURES, CentroidAutoencoder
from deepcluster_sk.modules._centroids import reorder

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPTIMIZERS = {
    # Fused: one kernel for all parameters; a third of a small network's step.
    "adam": FusedAdam,
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
}


def load_fitted(module, estimator):
    """Fill a module with the weights of a fitted estimator, or refuse another one."""
    weights, own = estimator.module_.state_dict(), module.state_dict()
    shapes, wanted = ({n: tuple(t.shape) for n, t in s.items()} for s in (weights, own))
    if shapes != wanted:
        name = next(n for n in {**shapes, **wanted} if shapes.get(n) != wanted.get(n))
        raise ValueError(
            f"warm_start=True of {type(estimator).__name__} goes on with the fitted "
            f"network, but the parameters now ask for another one: {name!r} of shape "
            f"{wanted.get(name)} instead of {shapes.get(name)}. Leave n_clusters, "
            "latent_dim and what else the network is made of as they were, or fit a "
            "new estimator."
        )
    module.load_state_dict(weights)


def add_noise(noise_std, x, generator):
    """``x`` plus independent Gaussian noise of the given standard deviation."""
    noise = torch.empty_like(x).normal_(generator=generator)
    return torch.add(x, noise, alpha=noise_std)


class BaseDeepEstimator(EstimatorTemplate):
    """An estimator that fits a network, but its mathematics.

    A method defines ``_phases`` (what is minimised and when) and ``_row_objective``
    (the objective of each row, for ``score`` and for the choice among ``n_init`` runs),
    and where the network is not a plain autoencoder, ``_module_spec``. The full list of
    hooks is in :mod:`deepcluster_sk.building`. A constructor names only the parameters
    that the method offers; the others are as they are here.

    Examples
    --------
    >>> from deepcluster_sk.building import BaseDeepEstimator, Phase, Reconstruction
    >>> from deepcluster_sk.modules import MLPAutoencoder
    >>> class Compression(BaseDeepEstimator):
    ...     def __init__(self, latent_dim=1, max_epochs=2):
    ...         self.latent_dim = latent_dim
    ...         self.max_epochs = max_epochs
    ...
    ...     def _module_spec(self, n_features):
    ...         sizes = {"n_features": n_features, "hidden_layer_sizes": (8,)}
    ...         return MLPAutoencoder, {"latent_dim": self.latent_dim, **sizes}
    ...
    ...     def _phases(self, run):
    ...         yield Phase("train", Reconstruction(), self.max_epochs)
    ...
    ...     def _row_objective(self, module, x):
    ...         return (module(x).reconstruction - x).square().mean(1)
    >>> Compression().fit_transform([[0.0, 1.0], [1.0, 0.0]]).shape
    (2, 1)
    """

    _parameter_constraints: ClassVar[dict] = {
        "latent_dim": [Interval(numbers.Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like", None],
        "architecture": [StrOptions(set(ARCHITECTURES)), callable],
        "image_shape": ["array-like", None],
        "augmentation": [callable, None],
        "pretrain_epochs": [Interval(numbers.Integral, 0, None, closed="left")],
        "max_epochs": [Interval(numbers.Integral, 1, None, closed="left")],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "lr": [Interval(numbers.Real, 0, None, closed="neither")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "n_init": [Interval(numbers.Integral, 1, None, closed="left")],
        "tol": [Interval(numbers.Real, 0, None, closed="left")],
        "device": [str, torch.device],
        "precision": [StrOptions({"float32", "bfloat16", "auto"})],
        "callbacks": [list, tuple, None],
        "checkpoint": [str, os.PathLike, None],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    _accepts_sparse: ClassVar[bool] = True
    _keeps_device_tensors: ClassVar[bool] = True

    if TYPE_CHECKING:
        net_: ClusterNet
        module_: torch.nn.Module

    # Whether a network without hidden layers cannot be.
    _needs_hidden_layer: ClassVar[bool] = False
    # What a parameter is for a method that does not offer it.
    latent_dim = 10
    hidden_layer_sizes = None
    architecture = "mlp"
    image_shape = None
    augmentation = None
    whiten = True
    pretrain_epochs = 100
    max_epochs = 100
    batch_size = 256
    lr = 1e-3
    optimizer = "adam"
    tol = 0.0
    device = "auto"
    precision = "float32"
    callbacks = None

    # --- what a method defines ------------------------------------------------

    def _module_spec(self, n_features):
        """A callable and its keyword arguments, which build the module."""
        raise NotImplementedError

    def _phases(self, run):
        """Yield the phases in order; code between them sees the trained module."""
        raise NotImplementedError

    def _row_objective(self, module, x):
        """Objective of each row of a batch, ``(n, d) -> (n,)``."""
        raise NotImplementedError

    def _embed(self, module, x):
        """Embedding of each row of a batch, ``(n, d) -> (n, latent_dim)``."""
        return module.encode(x)

    def _optimize(self, run):
        """Find the parameters; by default, train through the phases."""
        for number, phase in enumerate(self._phases(run)):
            if run.is_warm and number == 0:
                # What a method writes into a module before is for a new one.
                load_fitted(run.module, self)
            run.train(phase)

    def _first_lr(self):
        """Learning rate of the first phase."""
        return self.lr

    def _network_arguments(self, n_features):
        """The arguments of a network that are parameters of every method."""
        return {
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "architecture": self.architecture,
            "hidden_layer_sizes": self._layer_sizes(),
            "image_shape": self.image_shape,
            "precision": self._precision(),
        }

    def _precision(self):
        """The numbers in which the network computes."""
        return getattr(self, "precision_", self.precision)

    def _layer_sizes(self):
        """The sizes that the user wants, or those that suit the training data."""
        if self.hidden_layer_sizes is None:
            return self.hidden_layer_sizes_
        return self.hidden_layer_sizes

    def _default_layer_sizes(self, n_samples, n_features):
        """Widths of the hidden layers by default; None leaves them to the module.

        Two layers, 128 wide for up to 1,000 rows and twice as wide for each factor of
        ten beyond, at most 512. What more rows have to say needs a wider network; what
        few rows have to say does not, and costs less.
        """
        if self.architecture != "mlp":
            return None
        doublings = np.clip(np.ceil(np.log10(n_samples / 1000)), 0, 2)
        return (int(128 * 2**doublings),) * 2

    # --- how a network is fitted ----------------------------------------------

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        if self._is_warm():
            check_warm_start(self)
            return X
        sizes = self.hidden_layer_sizes
        if sizes is None:
            sizes = self._default_layer_sizes(*X.shape)
        self.hidden_layer_sizes_ = None if sizes is None else tuple(sizes)
        return X

    def _validate_settings(self, n_features):
        check_layer_sizes(self)
        if self._needs_hidden_layer:
            check_some_layer(self)
        check_callbacks(self)
        check_image_shape(self, n_features)

    def _prepare(self, X):
        device = resolve_device(self.device)
        # Not of a method that does not offer it, nor of a fit that goes on.
        if "precision" in vars(self) and not hasattr(self, "precision_"):
            self.precision_ = resolve_precision(self.precision, device)
        return rows_of(X, device)

    def _one_run(self, rows, y, seed, checkpoint):
        net = self._make_net(rows.X.shape[1], rows.device, seed)
        random_state = np.random.RandomState(seed)
        callbacks = self.callbacks or ()
        run = Run(net, rows, y, random_state, callbacks, self.verbose, checkpoint)
        if self._is_warm():
            self._recall(run)
            load_fitted(run.module, self)
            run.is_warm = True
        with threads_for(self._step_work(run)):
            self._optimize(run)
        self._evaluate(run)
        if checkpoint is not None:
            checkpoint.end(run.objective)
        return run

    def _recall(self, run):
        """Let a run go on with the records of the fits before, if there are any."""
        run.history = list(getattr(self, "history_", ()))
        run.n_iter = getattr(self, "n_iter_", 0)
        run.stop_reason = dict(getattr(self, "stop_reason_", {}))

    def _make_net(self, n_features, device, seed):
        build, kwargs = self._module_spec(n_features)
        optimizer = (
            OPTIMIZERS[self.optimizer]
            if isinstance(self.optimizer, str)
            else self.optimizer
        )
        net = ClusterNet(
            module=build,
            criterion=torch.nn.Module,  # each phase brings its own
            optimizer=optimizer,
            lr=self._first_lr(),
            batch_size=self.batch_size,
            train_split=None,
            verbose=0,
            device=str(device),
            seed=seed,
            # Our own networks draw nothing in training; a user's may (dropout).
            draws_random_numbers=callable(self.architecture),
            augmentation=self.augmentation,
            **{f"module__{name}": value for name, value in kwargs.items()},
        ).initialize()
        net.row_work_ = multiplications(net.module_, n_features)
        return net

    def _step_work(self, run):
        """Multiplications in a step of training."""
        return min(len(run.rows), self.batch_size) * run.net.row_work_

    def _chunk_work(self, fitted):
        return INFERENCE_ROWS * fitted.row_work_

    def _evaluate(self, run, renumber=True):
        self._check_network(run.module)
        super()._evaluate(run, renumber)

    def _check_network(self, module):
        """Refuse a network that maps everything to the same: infinite statistics."""
        statistics = ("running_mean", "running_var")
        state = {n: b for n, b in module.named_buffers() if n.endswith(statistics)}
        for name, tensor in {**state, **dict(module.named_parameters())}.items():
            if not tensor.isfinite().all():
                self._diverged(f"{name} of the network is not finite at the end")

    def _advice(self):
        return f"Lower lr (now {self._first_lr():g}), or scale the data"

    def _keep(self, run):
        self.net_ = run.net
        self.module_ = run.net.module_
        super()._keep(run)

    # --- how a fitted network predicts ----------------------------------------

    def _fitted(self):
        return self.net_

    def _compute(self, what, fitted, X):
        hook = getattr(self, f"_{what}")
        return fitted.apply(partial(hook, fitted.module_), X)

    def _fitted_state(self):
        weights = self.module_.state_dict()
        return {
            "seed": self.net_.seed,
            "weights": {name: value.cpu() for name, value in weights.items()},
        }

    def _restore_fitted(self, state):
        device = resolve_device(self.device)
        net = self._make_net(self.n_features_in_, device, state["seed"])
        net.module_.load_state_dict(state["weights"])
        net.trim_for_prediction()
        self.net_, self.module_ = net, net.module_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")


class BaseDeepClusterer(ClustererTemplate, BaseDeepEstimator):
    """A deep estimator that assigns each row to one of ``n_clusters`` clusters.

    By default the network is an autoencoder with a centre for each cluster, and a row
    belongs to the nearest one; ``cluster_centers_`` are the ``centers`` of the module.
    A method with another network defines ``_module_spec``, and ``_assign``.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.building import BaseDeepClusterer, kmeans_start, pretraining
    >>> class CodeKMeans(BaseDeepClusterer):
    ...     hidden_layer_sizes = (8,)
    ...
    ...     def __init__(self, n_clusters=2, latent_dim=1, random_state=None):
    ...         self.n_clusters = n_clusters
    ...         self.latent_dim = latent_dim
    ...         self.random_state = random_state
    ...
    ...     def _phases(self, run):
    ...         yield from pretraining(run, 5, "end-to-end", mask_rate=0.0)
    ...         code = run.apply(run.module.encode)
    ...         centers, _ = kmeans_start(code, self.n_clusters, run.random_state)
    ...         run.module.centers.copy_(torch.from_numpy(centers))
    ...
    ...     def _row_objective(self, module, x):
    ...         return module.distances(module.encode(x)).amin(1)
    >>> model = CodeKMeans(random_state=0).fit([[0.0], [1.0], [8.0], [9.0]])
    >>> model.cluster_centers_.shape
    (2, 1)
    """

    if TYPE_CHECKING:
        cluster_centers_: NDArray[np.float32]

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepEstimator._parameter_constraints,
        **ClustererTemplate._parameter_constraints,
    }

    def _module_spec(self, n_features):
        return CentroidAutoencoder, {
            "n_clusters": self._number_of_clusters(),
            "trainable": False,
            **self._network_arguments(n_features),
        }

    def _validate_settings(self, n_features):
        super()._validate_settings(n_features)
        check_init(self, n_features)

    def _assign(self, module, x):
        """Cluster of each row of a batch, ``(n, d) -> (n,)``; -1 for none."""
        return index_of_smallest(module.distances(module.encode(x)))

    def _reorder_clusters(self, run, order):
        module, order = run.module, torch.from_numpy(order)
        if hasattr(module, "reorder_clusters"):
            module.reorder_clusters(order)
            return True
        if isinstance(getattr(module, "centers", None), torch.Tensor):
            reorder(order, module.centers)
        return False

    def _keep(self, run):
        super()._keep(run)
        centers = getattr(run.module, "centers", None)
        if centers is not None:
            self.cluster_centers_ = centers.detach().cpu().numpy().copy()
