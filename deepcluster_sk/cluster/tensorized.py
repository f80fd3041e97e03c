"""The tensorized autoencoder: one autoencoder a cluster, learned with the labels."""

import numbers
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_consistent_length, column_or_1d
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk._estimator._mixins import ReconstructionMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer, add_noise
from deepcluster_sk._threads import threads_for
from deepcluster_sk._training._callbacks import StopOnPlateau
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import Criterion
from deepcluster_sk.losses import simplex_projection
from deepcluster_sk.modules import build_tensorized_autoencoder
from deepcluster_sk.solvers._empty_clusters import rows_to_reseed_from
from deepcluster_sk.solvers._local_pca import local_pca, stop_reason

DEFAULT_HIDDEN = {"mlp": (), "conv": (4, 8)}


class _TensorizedLoss(Criterion):
    """Eq. 2 for the present assignment S, which each batch then updates.

    S is kept for every training row. As in the authors' code the loss uses S as it
    was; the new S comes from the same forward pass. Sums of the rows weighted by
    the new S are gathered on the way, so that the centres cost no second pass.

    Parameters
    ----------
    assignment : Tensor of shape (n, k)
        One-hot rows to start from.
    n_features : int
    code_penalty : float
    update : {"lloyd", "projected", "constrained", "none"}
    lr : float
        Step of S, in units of the present mean cost.
    """

    def __init__(self, assignment, n_features, code_penalty, update, lr):
        super().__init__()
        self.code_penalty, self.update, self.lr = code_penalty, update, lr
        k = assignment.shape[1]
        if update in ("projected", "constrained"):
            # A gradient cannot leave a vertex: start half-way to the centre.
            assignment = 0.5 * assignment + 0.5 / k
        self.register_buffer("assignment", assignment)
        self.register_buffer("sums", torch.zeros(k, n_features))
        self.register_buffer("counts", torch.zeros(k))
        self.register_buffer("n_changed", torch.zeros((), dtype=torch.long))

    def forward(self, output, x, index):
        old = self.assignment[index]  # (n, k)
        cost = output.cost_of(x)  # (n, k)
        code = -self.code_penalty * output.embedding.square().sum(-1).T
        return {
            "reconstruction": (old * (cost - code)).sum(1).mean(),
            "code": (old * code).sum(1).mean(),
        }

    def observe(self, output, x, index):
        """Assign the rows of the batch anew."""
        old = self.assignment[index]
        new = self._updated(old, output.cost)
        self.assignment[index] = new
        self.sums += new.T @ x
        self.counts += new.sum(0)
        self.n_changed += (new.argmax(1) != old.argmax(1)).sum()

    def _updated(self, old, cost):
        if self.update == "none":
            return old
        if self.update == "lloyd":
            return nn.functional.one_hot(cost.argmin(1), cost.shape[1]).to(old.dtype)
        # The gradient of the loss in S is the cost; its scale is the data's.
        step = self.lr * cost / (old * cost).sum(1).mean().abs().clamp(min=1e-12)
        if self.update == "projected":
            return simplex_projection(old - step)
        return torch.softmax(old.clamp(min=1e-30).log() - step, dim=1)


class _MoveCenters(Callback):
    """After each epoch, move the centres to the weighted means; re-seed empty clusters.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run):
        self.run = run

    def on_epoch_end(self, net, **kwargs):
        """Move the centres and start the sums again."""
        module, loss = net.module_, net.criterion_
        is_empty = loss.counts < 0.5
        means = loss.sums / loss.counts.clamp(min=0.5)[:, None]
        module.centers.copy_(torch.where(is_empty[:, None], module.centers, means))
        empty = is_empty.nonzero().flatten()
        if len(empty):
            self._reseed(empty, module, loss)
        net.history.record("n_changed", int(loss.n_changed))
        net.history.record("hardness", float(loss.assignment.max(1).values.mean()))
        for buffer in (loss.sums, loss.counts, loss.n_changed):
            buffer.zero_()

    def _reseed(self, empty, module, loss):
        """Move each empty cluster to one of the rows that are fitted worst."""
        cost = self.run.apply(lambda x: module.choose(x)[1])
        rows = rows_to_reseed_from(cost, len(empty))
        module.centers[empty] = self.run.rows[rows]
        loss.assignment[rows] = 0
        loss.assignment[rows, empty] = 1
        self.run.n_reseeded += len(empty)


class TensorizedAutoencoder(ReconstructionMixin, BaseDeepClusterer):
    """Tensorized autoencoder: one autoencoder per cluster, learned with the labels.

    Minimises, over centres C_j, autoencoders (g_j, f_j) and an assignment S,
    ``sum_ij S_ij (||x_i - r_ij||² - code_penalty ||z_ij||²)`` with the code
    ``z_ij = g_j(x_i - C_j)`` and the reconstruction ``r_ij = f_j(z_ij) + C_j``
    (Eq. 2 of [1]_). Clusters may then differ in shape and direction, where k-means
    and a single autoencoder see one shape only. With the default linear
    autoencoders there is a closed form for everything but the assignment, and a
    fit takes milliseconds.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int, default=1
        Width of the code. For linear autoencoders at most the number of features.
    hidden_layer_sizes : array-like of int or None, default=None
        Widths ("mlp") or channels ("conv") of the encoder's hidden layers; the
        decoder mirrors them. None means () for "mlp", that is, linear
        autoencoders with orthonormal encoders, and (4, 8) for "conv".
    architecture : {"mlp", "conv"} or callable, default="mlp"
        The network. A callable, such as a ``torch.nn.Module`` class, is called as
        ``architecture(n_features, latent_dim)`` and must return a module with
        ``encode`` and ``decode`` on rows; it may not have buffers.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image; needed by ``architecture="conv"``.
    code_penalty : float, default=-0.1
        λ of Eq. 2, in [-1, 1]. Negative values hold the samples of a cluster near
        its centre: 0 ignores how far they spread along the code, -1 makes the
        linear case k-means. Positive values are for linear autoencoders only; the
        objective of others would have no lower bound.
    solver : {"auto", "exact", "gradient"}, default="auto"
        "exact" alternates the best assignment with means and principal directions
        (Theorem 2.2), for linear autoencoders and ``assignment="lloyd"``;
        "gradient" trains any architecture. "auto" takes "exact" where it can.
    assignment : {"lloyd", "projected", "constrained"}, default="lloyd"
        How the gradient solver updates S (section 2.3): the best cluster of each
        sample (option 3), a gradient step projected onto the simplex (option 2),
        or a multiplicative step that stays in it (option 1).
    assignment_lr : float, default=0.25
        Step size of "projected" and "constrained", in units of the mean cost.
    init : {"k-means++", "random", "labels"}, default="k-means++"
        Where S starts: at the nearest of k seeds, at random, or at the nearest
        mean of the samples labelled by ``y``.
    noise_std : float, default=0.0
        Standard deviation, in units of X, of the Gaussian noise added to the
        inputs in training. The exact solver ignores it: for orthonormal encoders
        isotropic noise adds a constant to the objective.
    pretrain_epochs : int, default=10
        Epochs of the gradient solver before S is first updated.
    max_epochs : int, default=300
        Largest number of passes over the data, or of sweeps.
    batch_size : int, default=256
        Largest number of rows in a batch; batches are of nearly equal size.
    lr : float, default=1e-2
        Learning rate of the optimizer.
    optimizer : {"adam", "sgd"} or callable, default="adam"
        "sgd" has a momentum of 0.9. A callable, such as a ``torch.optim`` class, is
        called as ``optimizer(parameters, lr=lr)``.
    n_init : "auto" or int, default="auto"
        Number of runs from different seeds; the one of lowest objective is kept.
        "auto" makes 10 with the exact solver and 1 with the other.
    tol : float, default=1e-4
        Training stops when the mean loss of the last epochs, a fifth of those so
        far and at least 10, is below that of as many before by less than this
        relative amount in 10 epochs. 0 never stops early. The exact solver stops
        when no label changes.
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
        Above 0, show a progress bar.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, the order of batches and the noise. Pass an int
        for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
        Clusters are numbered by size, the largest first; with ``init="labels"`` as
        the labels that they start from.
    cluster_centers_ : ndarray of shape (n_clusters, n_features), float32
        The centres C_j. Unlike those of methods with one embedding they live in
        the space of X: in its own code every centre is near zero.
    components_ : ndarray of shape (n_clusters, latent_dim, n_features), float32
        For linear autoencoders, the orthonormal rows of each encoder U_j.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term
        ("reconstruction" and "code" add up to it), the number of changed labels,
        and "hardness", the mean of the largest entry of each row of S.
    n_iter_ : int
        Number of epochs or sweeps run.
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
    The objective of a new sample is the bracket of the best cluster, penalty
    included (section 2.4); ``predict``, ``transform``, ``reconstruct`` and
    ``denoise`` all use that choice. The paper's formula for denoising,
    ``(I - V U)(x - C) + C``, is a slip: that is the residual; the reconstruction
    is ``V U (x - C) + C``.

    Theorem 2.2 is stated for 0 < λ <= 1, but all of the paper's experiments use
    λ = -0.1. With λ >= 0 nothing holds a sample near its centre along the
    principal direction, and overlapping clusters are confused.

    An empty cluster is re-seeded from the sample that is fitted worst, and a
    ``ClusterCollapseWarning`` says so if the gradient solver had to.

    References
    ----------
    .. [1] P. Esser, S. Mukherjee, M. Sabanayagam and D. Ghoshdastidar. Improved
       representation learning through tensorized autoencoders. AISTATS 2023.

    Examples
    --------
    >>> from deepcluster_sk import TensorizedAutoencoder
    >>> from deepcluster_sk.datasets import load_penguins
    >>> from sklearn.metrics import adjusted_rand_score
    >>> X, y = load_penguins(return_X_y=True)
    >>> X = X / X.max(axis=0)
    >>> model = TensorizedAutoencoder(n_clusters=3, random_state=0).fit(X)
    >>> bool(adjusted_rand_score(y, model.labels_) > 0.95)
    True
    >>> model.denoise(X[:2]).shape
    (2, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        "code_penalty": [Interval(numbers.Real, -1, 1, closed="both")],
        "solver": [StrOptions({"auto", "exact", "gradient"})],
        "assignment": [StrOptions({"lloyd", "projected", "constrained"})],
        "assignment_lr": [Interval(numbers.Real, 0, None, closed="neither")],
        "init": [StrOptions({"k-means++", "random", "labels"})],
        "noise_std": [Interval(numbers.Real, 0, None, closed="left")],
        "n_init": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=1,
        hidden_layer_sizes=None,
        architecture="mlp",
        image_shape=None,
        code_penalty=-0.1,
        solver="auto",
        assignment="lloyd",
        assignment_lr=0.25,
        init="k-means++",
        noise_std=0.0,
        pretrain_epochs=10,
        max_epochs=300,
        batch_size=256,
        lr=1e-2,
        optimizer="adam",
        n_init="auto",
        tol=1e-4,
        device="auto",
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
        self.code_penalty = code_penalty
        self.solver = solver
        self.assignment = assignment
        self.assignment_lr = assignment_lr
        self.init = init
        self.noise_std = noise_std
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

    # --- the network ----------------------------------------------------------

    def _hidden(self):
        if self.hidden_layer_sizes is not None:
            return tuple(self.hidden_layer_sizes)
        if callable(self.architecture):
            return None
        return DEFAULT_HIDDEN[self.architecture]

    def _is_linear(self):
        return self.architecture == "mlp" and self._hidden() == ()

    def _uses_exact_solver(self):
        if self.solver == "auto":
            return self._is_linear() and self.assignment == "lloyd"
        return self.solver == "exact"

    def _n_runs(self):
        if self.n_init == "auto":
            return 10 if self._uses_exact_solver() else 1
        return self.n_init

    def _default_layer_sizes(self, n_samples, n_features):
        return None  # the module has its own

    def _module_spec(self, n_features):
        return build_tensorized_autoencoder, {
            "n_clusters": self.n_clusters,
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "architecture": self.architecture,
            "hidden_layer_sizes": self._hidden(),
            "image_shape": self.image_shape,
            "code_penalty": self.code_penalty,
        }

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        name = type(self).__name__
        if self._is_linear():
            if self.latent_dim > X.shape[1]:
                raise ValueError(
                    f"latent_dim={self.latent_dim} of {name} must be at most "
                    f"n_features={X.shape[1]} for linear autoencoders."
                )
        elif self.code_penalty > 0:
            raise ValueError(
                f"code_penalty={self.code_penalty} of {name} must be at most 0 for "
                "autoencoders that are not linear: larger codes would lower the "
                "objective for ever."
            )
        if self.solver == "exact" and not (
            self._is_linear() and self.assignment == "lloyd"
        ):
            raise ValueError(
                f"solver='exact' of {name} needs linear autoencoders "
                "(architecture='mlp', hidden_layer_sizes=()) and assignment='lloyd'. "
                f"Got architecture={self.architecture!r}, "
                f"hidden_layer_sizes={self.hidden_layer_sizes!r}, "
                f"assignment={self.assignment!r}; use solver='gradient'."
            )
        return X

    def _validate_target(self, X, y):
        """Codes 0..k-1 of the known labels, -1 elsewhere; only init='labels' asks."""
        if self.init != "labels":
            return None
        if y is None:
            raise ValueError(
                f"init='labels' of {type(self).__name__} needs y: known labels, -1 for "
                "unknown ones, at least one known sample a cluster."
            )
        y = column_or_1d(y)
        check_consistent_length(X, y)
        known = y != -1
        classes, codes = np.unique(y[known], return_inverse=True)
        if len(classes) != self.n_clusters:
            raise ValueError(
                f"init='labels' needs known samples of n_clusters={self.n_clusters} "
                f"classes; y has {len(classes)} besides -1 (unknown)."
            )
        labels = np.full(len(y), -1)
        labels[known] = codes
        return labels

    # --- fit ------------------------------------------------------------------

    def fit(self, X, y=None):
        """Find clusters and train their autoencoders.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Real numbers of any dtype; they are converted to float32.
        y : array-like of shape (n_samples,) or None, default=None
            Only read with ``init="labels"``: the labels that are known, and -1 for
            the others. Cluster j starts from the j-th smallest label.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is refused, before any training.
        ConvergenceError
            If a loss term or the embedding is no longer finite.
        """
        return super().fit(X, y)

    def _initial_labels(self, X, run):
        if self.init == "random":
            return run.random_state.randint(self.n_clusters, size=len(X))
        if self.init == "labels":
            seeds = [X[run.y == j].mean(0) for j in range(self.n_clusters)]
        else:
            seeds, _ = kmeans_plusplus(
                X, self.n_clusters, random_state=run.random_state
            )
        return pairwise_distances_argmin(X, np.asarray(seeds))

    def _optimize(self, run):
        if self._uses_exact_solver():
            self._solve(run)
        else:
            super()._optimize(run)

    def _solve(self, run):
        """Solve in closed form: local principal components (Theorem 2.2)."""
        X = run.rows.X.cpu().numpy().astype(np.float64)
        with threads_for(X.size * X.shape[1]):
            centers, bases, history = local_pca(
                X,
                self._initial_labels(X, run),
                self.n_clusters,
                self.latent_dim,
                self.code_penalty,
                self.max_epochs,
                run.random_state,
                self._verbosity(),
            )
        with torch.no_grad():
            run.module.centers.copy_(torch.from_numpy(centers))
            run.module.stack.weight.copy_(torch.from_numpy(bases.copy()))
        run.record(
            [
                {"phase": "sweep", "epoch": epoch, **row}
                for epoch, row in enumerate(history, start=1)
            ],
            stop_reason(history),
        )

    def _phases(self, run):
        X = run.rows.X
        # Squares of large values do not fit into float32.
        labels = self._initial_labels(X.cpu().numpy().astype(np.float64), run)
        one_hot = torch.zeros(len(X), self.n_clusters, device=X.device)
        one_hot[torch.arange(len(X)), torch.from_numpy(labels).long()] = 1
        counts = one_hot.sum(0)[:, None].clamp(min=1)
        run.module.centers.copy_(one_hot.T @ X / counts)
        loss = partial(
            _TensorizedLoss,
            one_hot,
            X.shape[1],
            self.code_penalty,
            lr=self.assignment_lr,
        )
        corrupt = partial(add_noise, self.noise_std) if self.noise_std else None
        yield Phase(
            "pretrain", loss(update="none"), self.pretrain_epochs, corrupt=corrupt
        )
        yield Phase(
            "tensorized",
            loss(update=self.assignment),
            self.max_epochs,
            callbacks=[_MoveCenters(run), StopOnPlateau(self.tol)],
            corrupt=corrupt,
        )

    def _keep(self, run):
        super()._keep(run)
        if self._is_linear():
            with torch.no_grad():
                self.components_ = run.module.stack.basis().cpu().numpy()

    def _evaluate(self, run, renumber=True):
        # Known labels have named the clusters.
        super()._evaluate(run, renumber and self.init != "labels")

    def _advice(self):
        return "Scale the data" if self._uses_exact_solver() else super()._advice()

    def _assign(self, module, x):
        label, cost, _, _ = module.choose(x)
        return torch.where(cost.isfinite(), label, -1)

    def _row_objective(self, module, x):
        return module.choose(x)[1]

    def _embed(self, module, x):
        return module.choose(x)[2]

    def _reconstruct(self, module, x):
        return module.choose(x)[3]

    def denoise(self, X):
        """Reconstruct noisy rows by the autoencoder of their cluster.

        The same as ``reconstruct``: each row is given to the cluster that fits it
        best (section 2.4), and becomes ``f_j(g_j(x - C_j)) + C_j``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Noisy data.

        Returns
        -------
        denoised : ndarray of shape (n_samples, n_features), float32
            In the units of X.
        """
        return self.reconstruct(X)
