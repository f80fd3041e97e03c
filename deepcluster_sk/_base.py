"""The one ``fit``: validation, seeds, phases, several starts, the predict path."""

import copy
import numbers
import os
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import joblib
import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state, metadata_routing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from skorch.callbacks import Callback

from deepcluster_sk import parallel
from deepcluster_sk._callbacks import Progress, count_epochs, history_rows
from deepcluster_sk._checkpoint import Checkpoint, describe
from deepcluster_sk._net import (
    BLOCK_BYTES,
    ClusterNet,
    Rows,
    StreamedRows,
    is_streamed,
    rows_per,
)
from deepcluster_sk._precision import conversion, warn_of_lost_digits
from deepcluster_sk._warning import warn
from deepcluster_sk.exceptions import ClusterCollapseWarning, ConvergenceError
from deepcluster_sk.modules import ARCHITECTURES
from deepcluster_sk.persistence import write_estimator

OPTIMIZERS = {
    # Fused: one kernel for all parameters; a third of a small network's step.
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
}


def resolve_device(device):
    """The torch device that ``device`` names.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes CUDA, then MPS, then the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch does not know the name, or has no such device here.
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {error}. Use 'auto' or 'cpu'."
        ) from error
    return resolved


def smallest(values):
    """Position of the smallest value of each row, ``(n, k) -> (n,)``.

    -1 where it is not finite: such a row has no cluster, and must get no label.
    """
    value, position = values.min(1)
    return torch.where(value.isfinite(), position, -1)


def add_noise(noise_std, x, generator):
    """``x`` plus independent Gaussian noise of the given standard deviation."""
    noise = torch.empty_like(x).normal_(generator=generator)
    return torch.add(x, noise, alpha=noise_std)


class Run:
    """One training run: what a method's ``_phases`` may look at between phases.

    Attributes
    ----------
    net : ClusterNet
        The initialised net.
    rows : Rows
        The training data on the device.
    y : ndarray or None
        What the user passed as ``y``.
    random_state : numpy.random.RandomState
        Source of every choice made outside torch.
    history : list of dict
        Rows of ``history_`` so far.
    stop_reason : dict of str to str
        Why each phase so far ended.
    n_reseeded : int
        How often a method started a dead cluster again; a warning will say so.
    checkpoint : RunCheckpoint or None
        Where the state is noted.
    """

    def __init__(self, net, rows, y, random_state, callbacks, verbose, checkpoint=None):
        self.net = net
        self.rows = rows
        self.y = y
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose
        self.history = []
        self.stop_reason = {}
        self.n_iter = 0
        self.n_reseeded = 0
        self.checkpoint = checkpoint

    @property
    def module(self):
        """The module being trained."""
        return self.net.module_

    def apply(self, function):
        """``function`` of the training rows, in chunks and without gradients."""
        return self.net.apply(function, self.rows)

    def train(self, phase):
        """Train through one phase and keep its history."""
        if phase.epochs <= 0:
            return
        net = self.net
        if phase.criterion is not net.criterion_:  # else the optimizer goes on
            lr = {} if phase.lr is None else {"lr": phase.lr}
            net.set_params(criterion=phase.criterion, **lr)
        net.phase_, net.corrupt_, net.order_ = phase.name, phase.corrupt, phase.order
        net.warm_up_ = phase.warm_up
        net.initialize_history()
        callbacks = [*phase.callbacks, *self.callbacks]
        if self.verbose and parallel.team_rank() == 0:
            callbacks.append(Progress(phase.name, phase.epochs))
        net.callbacks_ = [(type(c).__name__, c.initialize() or c) for c in callbacks]
        if self.checkpoint is None:
            net.partial_fit(self.rows, epochs=phase.epochs)
        else:
            self.checkpoint.train(self, phase.epochs)
        parallel.check_weights(
            phase.name, network=net.module_, criterion=net.criterion_
        )
        self.record(history_rows(net.history, phase.name), net.stop_reason_)

    def record(self, rows, stop_reason):
        """Append a phase's rows of ``history_``, and why it ended."""
        self.history += rows
        self.n_iter += len(rows)
        self.stop_reason[rows[-1]["phase"]] = stop_reason


def _run_apart(estimator, rows, y, seed):
    """A run without what only its training needed, to be sent back."""
    run = estimator._one_run(rows, y, seed, None)
    run.net.trim_for_prediction()
    run.rows = run.y = None
    run.callbacks = ()
    return run


class BaseDeepEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Everything that an estimator on a torch module needs, but its mathematics.

    A method defines ``_module_spec`` (the network), ``_phases`` (what is minimised
    and when) and ``_row_objective`` (the objective of each row, for ``score`` and
    for the choice among ``n_init`` runs). A method that does not train by gradient
    overrides ``_optimize`` instead of ``_phases``; one that has no network at all
    starts from ``BaseSolvedClusterer``.
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
        "precision": [StrOptions({"float32", "bf16"})],
        "callbacks": [list, tuple, None],
        "checkpoint": [str, os.PathLike, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    # Methods without a network do not take them: there are no batches, and few sweeps.
    augmentation = checkpoint = None

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

    def _optimize(self, run):
        """Find the parameters; by default, train through the phases."""
        for phase in self._phases(run):
            run.train(phase)

    def _n_runs(self):
        """Number of starts; the one with the lowest objective is kept."""
        return self.n_init

    # --- fit ------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train on the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Real numbers of any dtype; they are converted to float32.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or a parameter is refused, before any training.
        MemoryError
            If a setting needs an array of n_samples x n_samples that is too large.
        ConvergenceError
            If a loss term or the embedding is no longer finite.
        """
        self._forget()
        try:
            self._fit(X, y)
        except BaseException:
            self._forget()
            raise
        return self

    def _forget(self):
        """Remove every fitted attribute: nothing half-fitted is left."""
        for name in [n for n in vars(self) if n.endswith("_") and n[0] != "_"]:
            delattr(self, name)

    def _fit(self, X, y):
        X = self._validate_training_data(X)
        y = self._validate_target(X, y)
        rows = self._rows(X)
        random_state = check_random_state(self.random_state)
        largest = np.iinfo(np.int32).max
        seeds = [random_state.randint(largest) for _ in range(self._n_runs())]
        self._check_same_call(X, y, rows)
        seeds = parallel.of_the_first(seeds)
        with self._runs(X, y, rows, seeds) as runs:
            best = None
            for run in self._ended(runs, rows, y):
                self._warn_of_reseeding(run)
                if best is None or run.objective < best.objective:
                    best = run
            best.rows = rows
            self._keep(best)

    def _check_same_call(self, X, y, rows):
        """Refuse a fit over several processes that are not asked for the same."""
        if not parallel.is_team():
            return
        if self.checkpoint is not None:
            raise ValueError(
                f"The 'checkpoint' parameter of {type(self).__name__} must be None in "
                f"a fit over several processes. Got {self.checkpoint!r} instead."
            )
        device = getattr(rows, "device", torch.device("cpu"))
        described = describe(self, X, y, device)
        described.pop("device", None)  # GPUs of a machine have different names
        differing = parallel.differing(described)
        if differing:
            raise ValueError(
                "A fit over several processes needs the same data and parameters in "
                f"all of them. They differ in {', '.join(differing)}."
            )

    def _ended(self, runs, rows, y):
        """Yield the runs in order, trained one by one, or as a joblib backend says."""
        at_once = joblib.effective_n_jobs(None) > 1 and not parallel.is_team()
        if self.checkpoint is not None or len(runs) == 1 or not at_once:
            for seed, checkpoint in runs:
                yield self._one_run(rows, y, seed, checkpoint)
            return
        yield from Parallel()(
            # Threads would share the callbacks.
            delayed(_run_apart)(copy.deepcopy(self), rows, y, seed)
            for seed, _ in runs
        )

    @contextmanager
    def _runs(self, X, y, rows, seeds):
        """Seeds and checkpoints of the runs; a fit that has ended needs no checkpoint.

        With a checkpoint these are the runs that may still matter.
        """
        if self.checkpoint is None:
            yield [(seed, None) for seed in seeds]
            return
        fit = describe(self, X, y, rows.device)
        checkpoint = Checkpoint(self.checkpoint, fit, seeds)
        try:
            yield checkpoint.runs()
        except ConvergenceError:  # it would only come again
            checkpoint.remove()
            raise
        checkpoint.remove()

    def _rows(self, X):
        """Validated data, ready for training; the same for all runs."""
        device = resolve_device(self.device)
        return (StreamedRows if is_streamed(X) else Rows)(X, device)

    def _one_run(self, rows, y, seed, checkpoint):
        net = self._make_net(rows.X.shape[1], rows.device, seed)
        private = np.random.RandomState(seed)
        callbacks = self.callbacks or ()
        run = Run(net, rows, y, private, callbacks, self.verbose, checkpoint)
        self._optimize(run)
        self._evaluate(run)
        if checkpoint is not None:
            checkpoint.end(run.objective)
        return run

    def _warn_of_reseeding(self, run):
        """Tell the user of clusters that lost all samples."""
        if run.n_reseeded:
            times = "once" if run.n_reseeded == 1 else f"{run.n_reseeded} times"
            warn(
                f"A cluster of {type(self).__name__} lost all its samples and was "
                f"started again from others, {times}.",
                ClusterCollapseWarning,
            )

    def _evaluate(self, run):
        """Fill in what is known of a run once it is trained."""
        if isinstance(run.module, torch.nn.Module):
            self._check_network(run.module)
        run.objective = self._objective(run.net, run.rows)
        if not np.isfinite(run.objective):
            self._diverged(f"the objective at the end is {run.objective}")

    def _check_network(self, module):
        """Refuse a network that maps everything to the same: infinite statistics."""
        statistics = ("running_mean", "running_var")
        state = {n: b for n, b in module.named_buffers() if n.endswith(statistics)}
        for name, tensor in {**state, **dict(module.named_parameters())}.items():
            if not tensor.isfinite().all():
                self._diverged(f"{name} of the network is not finite at the end")

    def _diverged(self, what):
        raise ConvergenceError(f"Training diverged: {what}. {self._remedy()}.")

    def _remedy(self):
        """What to do when numbers are no longer finite."""
        return f"Lower lr (now {self._rate():g}), or scale the data"

    def _keep(self, run):
        run.net.trim_for_prediction()
        self.net_ = run.net
        self.module_ = run.net.module_
        self.history_ = run.history
        self.n_iter_ = run.n_iter
        self.n_epochs_ = count_epochs(run.history)
        self.stop_reason_ = run.stop_reason
        self.objective_ = run.objective
        self._n_features_out = self.latent_dim

    def _rate(self):
        """Learning rate of the first phase."""
        return self.lr

    def _make_net(self, n_features, device, seed):
        build, kwargs = self._module_spec(n_features)
        optimizer = (
            OPTIMIZERS[self.optimizer]
            if isinstance(self.optimizer, str)
            else self.optimizer
        )
        return ClusterNet(
            module=build,
            criterion=torch.nn.Module,  # each phase brings its own
            optimizer=optimizer,
            lr=self._rate(),
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

    # --- validation -----------------------------------------------------------

    def _validate_training_data(self, X):
        X = self._check_data(X, reset=True)
        self._validate_settings(X.shape[1])
        self._check_size(*X.shape)
        return X

    def _check_size(self, n_samples, n_features):
        """Refuse or announce a fit whose size asks for too much, by the square."""

    def _validate_settings(self, n_features):
        """Refuse settings of the network that cannot be."""
        name = type(self).__name__
        sizes = self.hidden_layer_sizes
        if sizes is not None and not all(
            isinstance(size, numbers.Integral) and size >= 1 for size in sizes
        ):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter of {name} must hold integers in "
                f"the range [1, inf). Got {sizes!r} instead."
            )
        for callback in self.callbacks or ():
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"The 'callbacks' parameter of {name} must hold instances of "
                    f"skorch.callbacks.Callback. Got {callback!r} instead."
                )
        self._validate_image_shape(n_features)

    def _validate_image_shape(self, n_features):
        name, shape = type(self).__name__, self.image_shape
        if shape is None:
            if isinstance(self.architecture, str) and self.architecture == "conv":
                raise ValueError(
                    f"architecture='conv' of {name} needs image_shape=(C, H, W), with "
                    f"C * H * W = {n_features}, the number of columns of X."
                )
            return
        if len(shape) != 3 or not all(
            isinstance(side, numbers.Integral) and side >= 1 for side in shape
        ):
            raise ValueError(
                f"The 'image_shape' parameter of {name} must be three positive "
                f"integers (C, H, W). Got {shape!r} instead."
            )
        if np.prod(shape) != n_features:
            raise ValueError(
                f"image_shape={tuple(shape)} of {name} means rows of "
                f"{np.prod(shape)} values, but X has {n_features} features."
            )

    def _validate_target(self, X, y):
        """Y is ignored, whatever it holds, unless a method reads it."""
        return None

    # Whether data on disk stays there: methods that never look at all rows at once.
    _streams: ClassVar[bool] = False

    def _check_data(self, X, reset=False):
        """Validate data, to predict on unless ``reset``."""
        streamed = self._streams and is_streamed(X)
        with conversion(X):
            if streamed:
                checked = self._check_streamed(X, reset)
            else:
                checked = validate_data(
                    self, X, dtype=np.float32, order="C", reset=reset
                )
        if reset:
            # What stays on disk is never read at once.
            X = X[: rows_per(BLOCK_BYTES, X)] if streamed else X
            warn_of_lost_digits(X, type(self).__name__)
        return checked

    def _check_streamed(self, X, reset):
        """Validate data block by block and return it as it is."""
        size = rows_per(BLOCK_BYTES, X)
        validate_data(self, X[:size], dtype=np.float32, reset=reset)
        if X.dtype.kind not in "biu":  # integers are finite
            for start in range(size, X.shape[0], size):
                check_array(X[start : start + size], dtype=np.float32, input_name="X")
        return X

    # --- the predict path -----------------------------------------------------

    def _map(self, hook, X):
        """``hook(module, x)`` over the rows of X, as a float32 or integer array."""
        check_is_fitted(self)
        X = self._check_data(X)
        return self._known(self.net_.apply(partial(hook, self.module_), X))

    def _known(self, result, name="X"):
        """A tensor of results, or of labels, as an array without unknown values."""
        result = result.cpu().numpy()
        if result.dtype.kind == "f":
            with np.errstate(over="ignore"):
                result = result.astype(np.float32, copy=False)
        known = np.isfinite(result) if result.dtype.kind == "f" else result >= 0
        if not known.all():
            row = known.reshape(len(known), -1).all(axis=1).argmin()
            raise ValueError(
                f"Row {row} of {name} is beyond float32 on its way through "
                f"{type(self).__name__}: its values are too large, or too far from "
                "the training data. Scale the data, training data included."
            )
        return result

    def _objective(self, net, X):
        """Mean objective of rows; a method whose objective is no mean overrides it."""
        objective = partial(self._row_objective, net.module_)
        return float(net.apply(objective, X).double().mean())

    def transform(self, X):
        """Embed the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, latent_dim), float32
            The code of each row.
        """
        return self._map(self._embed, X)

    def _embed(self, module, x):
        return module.encode(x)

    def score(self, X, y=None):
        """Minus the objective per sample: larger is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            On the training data, ``-objective_``.
        """
        check_is_fitted(self)
        score = -self._objective(self.net_, self._check_data(X))
        if not np.isfinite(score):
            raise ValueError(
                f"The objective of {type(self).__name__} on X is beyond float32: some "
                "values are too large, or too far from the training data. Scale the "
                "data, training data included."
            )
        return score

    # --- files ----------------------------------------------------------------

    def save(self, path):
        """Write the fitted estimator to a file, for ``deepcluster_sk.load``.

        The file is in the safetensors format and holds arrays and plain values, no
        code. It appears in one step: a process that is killed leaves the old file or
        the new one.

        Parameters
        ----------
        path : str or path-like
            The file; it is replaced if it exists.

        Raises
        ------
        NotFittedError
            If there is nothing to save yet.
        TypeError
            If the estimator is of a class that is not in ``deepcluster_sk``, or has
            an attribute that is no plain data.
        """
        check_is_fitted(self)
        write_estimator(self, path)

    def _module_state(self):
        """What makes a new network the fitted one, as arrays and plain values."""
        weights = self.module_.state_dict()
        return {
            "seed": self.net_.seed,
            "weights": {name: value.cpu() for name, value in weights.items()},
        }

    def _restore_module(self, state):
        """Make ``net_`` and ``module_`` of a ``_module_state``."""
        device = resolve_device(self.device)
        net = self._make_net(self.n_features_in_, device, state["seed"])
        net.module_.load_state_dict(state["weights"])
        net.trim_for_prediction()
        self.net_, self.module_ = net, net.module_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class ReconstructionMixin:
    """Methods of estimators that can reconstruct their input."""

    def reconstruct(self, X):
        """Encode and decode the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        reconstruction : ndarray of shape (n_samples, n_features), float32
            In the units of X.
        """
        return self._map(self._reconstruct, X)

    def _reconstruct(self, module, x):
        return module.decode(module.encode(x))

    def score_samples(self, X):
        """Minus the reconstruction error of each row: low values are anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float32
            Minus the squared error, averaged over the features.
        """
        return self._map(self._row_score, X)

    def _row_score(self, module, x):
        return -(x - self._reconstruct(module, x)).square().mean(-1)


class DecoderMixin(ReconstructionMixin):
    """Methods of estimators with one encoder and one decoder of its codes."""

    # The codes are data, not metadata to be routed.
    __metadata_request__inverse_transform: ClassVar[dict] = {
        "Z": metadata_routing.UNUSED
    }

    def inverse_transform(self, Z):
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, latent_dim)
            Codes, as ``transform`` returns them.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
            The rows that the decoder makes of them.
        """
        check_is_fitted(self)
        with conversion(Z, "Z"):
            Z = check_array(Z, dtype="float32", order="C", input_name="Z")
        if Z.shape[1] != self.latent_dim:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} makes codes of "
                f"latent_dim={self.latent_dim}."
            )
        return self._known(self.net_.apply(self.module_.decode, Z), "Z")


class SoftAssignmentMixin:
    """Methods of clusterers with soft assignments.

    A method defines ``_soft_assign``; the label is the cluster of the largest.
    """

    def predict_proba(self, X):
        """Assign the rows of X to clusters softly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        assignment : ndarray of shape (n_samples, n_clusters), float32
            Rows sum to 1; ``predict`` returns the position of the largest entry.
        """
        return self._map(self._soft_assign, X)

    def _soft_assign(self, module, x):
        return module(x).assignment

    def _assign(self, module, x):
        return smallest(-self._soft_assign(module, x))


class BaseDeepClusterer(ClusterMixin, BaseDeepEstimator):
    """A deep estimator that assigns each row to one of ``n_clusters`` clusters.

    A method adds ``_assign`` to what ``BaseDeepEstimator`` asks for.
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepEstimator._parameter_constraints,
        "n_clusters": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    def _assign(self, module, x):
        """Cluster of each row of a batch, ``(n, d) -> (n,)``; -1 for none."""
        raise NotImplementedError

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        n_samples = X.shape[0]  # data on disk may have no len
        if n_samples < self.n_clusters:
            raise ValueError(
                f"n_samples={n_samples} should be >= n_clusters={self.n_clusters}."
            )
        return X

    def _evaluate(self, run):
        super()._evaluate(run)
        assign = partial(self._assign, run.module)
        run.labels = run.apply(assign).cpu().numpy().astype(np.int32)
        if run.labels.min() < 0:
            self._diverged(f"row {run.labels.argmin()} of X has no finite embedding")

    def _keep(self, run):
        super()._keep(run)
        self.labels_ = run.labels
        n_used = len(np.unique(run.labels))
        if n_used < self.n_clusters:
            warn(
                f"{type(self).__name__} uses {n_used} of {self.n_clusters} clusters: "
                "the others ended without samples. Fewer clusters, or more starts "
                "(n_init), may suit the data better.",
                ClusterCollapseWarning,
            )

    def predict(self, X):
        """Assign the rows of X to clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Indices of clusters, from 0 to ``n_clusters - 1``.
        """
        return self._map(self._assign, X).astype(np.int32)
