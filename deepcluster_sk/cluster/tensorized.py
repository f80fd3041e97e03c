"""The tensorized autoencoder: one autoencoder a cluster, learned with the labels."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._base import tells_of_weights
from deepcluster_sk._estimator._mixins import ReconstructionMixin, SoftAssignmentMixin
from deepcluster_sk._estimator._network_base import BaseDeepClusterer, add_noise
from deepcluster_sk._training._callbacks import StopOnPlateau
from deepcluster_sk._training._run import Phase
from deepcluster_sk.cluster._tensorized_exact import LocalPCAMixin
from deepcluster_sk.cluster._tensorized_parts import (
    EXACT,
    MoveCenters,
    TensorizedLoss,
    centers_of,
    check_known_labels,
    check_networks,
    first_labels,
)
from deepcluster_sk.initialization import init_name
from deepcluster_sk.modules import build_tensorized_autoencoder
from deepcluster_sk.solvers._local_pca import WEAKEST_PENALTY

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from skorch.callbacks import Callback

DEFAULT_HIDDEN = {"mlp": (), "conv": (4, 8)}


class TensorizedAutoencoder(
    LocalPCAMixin, SoftAssignmentMixin, ReconstructionMixin, BaseDeepClusterer
):
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
    latent_dim : int or "auto", default="auto"
        Width of the code. For linear autoencoders at most the number of features.
        "auto" is the width of lowest Bayesian information criterion where penalties
        are found, and 1 elsewhere.
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
    code_layer : {"orthonormal", "linear", "relu"}, default="orthonormal"
        What an autoencoder without hidden layers is. "orthonormal": linear, with an
        encoder of orthonormal rows and its transpose for a decoder (Eq. 3, section
        2.1); "linear": an encoder and a decoder that nothing ties, without biases;
        "relu": the same with ReLU on the code, the one-hidden-layer network of
        appendix B.3.
    code_penalty : float or "auto", default="auto"
        λ of Eq. 2, in [-1, 1]. Negative values hold the samples of a cluster near
        its centre: 0 ignores how far they spread along the code, -1 makes the
        linear case k-means. Positive values are for orthonormal autoencoders only; the
        objective of others would have no lower bound. "auto" lets the exact solver
        find the penalty of each direction, between -1 and -0.1, by the likelihood
        (see Notes); the other solver takes -0.1, the paper's.
    solver : {"auto", "exact", "gradient"}, default="auto"
        "exact" alternates the assignment with means and principal directions
        (Theorem 2.2), for orthonormal autoencoders and ``assignment`` "lloyd" or
        "posterior"; "gradient" trains any architecture. "auto" takes "exact" where it
        can.
    assignment : {"lloyd", "posterior", "projected", "constrained"}, default="lloyd"
        How S is updated. "lloyd": the best cluster of each sample (section 2.3, option
        3). "posterior": the probability of each cluster for Gaussian ones, with
        their determinants and weights (section 4), by the exact solver only. By the
        gradient solver only, "projected": a gradient step projected onto the simplex
        (option 2), and "constrained": a multiplicative step that stays in it (option
        1).
    assignment_lr : float, default=0.25
        Step size of "projected" and "constrained", in units of the mean cost.
    init : {"k-means++", "random", "labels"} or array-like, default="k-means++"
        Where S starts: at the nearest of k seeds, at random, or at the nearest
        mean of the samples labelled by ``y``. An array of shape
        (n_clusters, n_features) holds a centre for each cluster, in the units of X, as
        ``KMeans`` takes it: each sample starts at the nearest one.
    noise_std : float, default=0.0
        Standard deviation, in units of X, of the Gaussian noise added to the
        inputs in training. The exact solver draws none: it takes the expectation
        (see Notes).
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
        "auto" makes 10 with the exact solver, and 1 with the other or where ``init``
        is an array. Where penalties are found and ``init="k-means++"``, each is
        compared with a run from the clusters of k-means; where there are fewer than 3.7
        samples for each cluster and feature, that is the only one.
    tol : float, default=1e-4
        Training stops when the mean loss of the last epochs, a fifth of those so
        far and at least 10, is below that of as many before by less than this
        relative amount in 10 epochs. 0 never stops early. The exact solver stops
        when no label changes, or with "posterior" when the log-likelihood of a sample
        rises by less in a sweep.
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
        1 shows a progress bar of each phase, with its epoch, loss and the time left;
        2 the terms of the loss, too.
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
    assignment_ : ndarray of shape (n_samples, n_clusters), float32
        S of the training samples: its rows sum to 1. With "lloyd" and the exact solver
        ``labels_`` as zeros and ones, with "posterior" the probabilities, and else what
        the last epoch left. Pickles and files do not hold it.
    components_ : ndarray of shape (n_clusters, n_components, n_features), float32
        For orthonormal autoencoders, the rows of each encoder U_j.
    latent_dim_ : int
        Width of the code, ``n_components`` above.
    code_penalty_ : ndarray of shape (n_clusters, n_components), float32
        λ of each direction of each cluster.
    noise_variance_ : float
        Where penalties are found, and with "posterior", the variance of all clusters
        outside of their directions.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term
        ("reconstruction" and "code" add up to it, with "log_determinant" where
        penalties are found, and with "log_determinant", "prior" and "entropy" with
        "posterior"), the number of changed labels, and, of the gradient solver,
        "hardness", the mean of the largest entry of each row of S.
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
        Objective per training sample at the end. Where penalties are found it is the
        Bayesian information criterion, over the number of samples; with "posterior"
        and a given penalty, minus twice the log-likelihood.
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
    ``denoise`` all use that choice, and ``predict_proba`` is largest there. The paper's
    formula for denoising, ``(I - V U)(x - C) + C``, is a slip: that is the residual;
    the reconstruction is ``V U (x - C) + C``.

    Theorem 2.2 is stated for 0 < λ <= 1, but all of the paper's experiments use
    λ = -0.1. With λ >= 0 nothing holds a sample near its centre along the
    principal direction, and overlapping clusters are confused.

    The bracket with λ < 0 is the exponent of a Gaussian whose variance along the
    directions of a cluster is ``-1 / λ`` times that of the noise around them
    (section 4). One λ for all data is therefore wrong for most: with -0.1 round
    clusters are cut into pieces, as if each was ten times as long as it is wide.
    ``code_penalty="auto"`` gives each direction the variance that its cluster has
    along it, and keeps the determinant of the Gaussian, which the paper leaves out:
    without it wide clusters would take samples from narrow ones. The objective is
    then minus twice the logarithm of the likelihood; the noise is the same
    everywhere and clusters count as equally large. This is a mixture of
    probabilistic principal components [2]_, fitted by assignments that are hard.
    No λ comes nearer to zero than -0.1. Without a bound on the ratio of variances
    the likelihood of real data is highest where clusters cross at one place [3]_.
    The width of the code is first chosen for clusters that start from k-means, among
    0, 1, 2, 3, 4, 6, 8, 12, 16 and so on and those next to the best; each run then
    compares it with the widths next to it. Where no direction is worth its parameters
    the code has width 1 and all λ are -1, which is k-means.

    With ``assignment="posterior"`` that mixture is fitted by expectation and
    maximisation, as section 4 proposes: each sample belongs to every cluster, by its
    probability, and clusters have weights. Each sweep raises the likelihood. The
    variance of the noise is one for all clusters, as the printed precision has 1 there;
    in [2]_ each has its own. With a given λ below 0 the noise alone is found.

    ``predict_proba`` is the posterior: that of these densities where there are some,
    with equal weights unless ``assignment="posterior"``. With one λ for all the bracket
    over ``2 σ²`` is the exponent, and the determinants are equal; σ² is the likeliest
    of training, the objective over the number of features. For networks that are not
    orthonormal the bracket is read in the same way.

    Noise ε of variance ``noise_std²`` on the inputs adds the same to the expected
    objective of all clusters with orthonormal autoencoders, so for the exact solver it
    moves nothing but the decoders. Freed, they are those that reconstruct x from x + ε
    best, ``U_jᵀ diag(v / (v + noise_std²))`` with v the variances of the cluster along
    its directions; ``reconstruct`` and ``denoise`` then use them.

    Directions are estimated from the samples of a cluster. With fewer than 3.7 for each
    feature the covariance of pure noise has eigenvalues more than ten times apart, and
    of several starts the likelihood would prefer the one that fits noise best.

    On a ``device`` that has float64, CUDA, the exact solver computes there, too, but
    for the first clusters and the factors of covariances; else on the CPU.

    An empty cluster is re-seeded from the sample that is fitted worst, and a
    ``ClusterCollapseWarning`` says so if the gradient solver had to.

    References
    ----------
    .. [1] P. Esser, S. Mukherjee, M. Sabanayagam and D. Ghoshdastidar. Improved
       representation learning through tensorized autoencoders. AISTATS 2023.
    .. [2] M. E. Tipping and C. M. Bishop. Mixtures of probabilistic principal
       component analyzers. Neural Computation 11 (1999).
    .. [3] L. A. García-Escudero, A. Gordaliza, C. Matrán and A. Mayo-Iscar. A
       general trimming approach to robust cluster analysis. Annals of Statistics 36
       (2008).

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
    >>> mixture = TensorizedAutoencoder(3, assignment="posterior", random_state=0)
    >>> bool(mixture.fit(X).predict_proba(X).max(axis=1).mean() > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepClusterer._parameter_constraints,
        "latent_dim": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "code_penalty": [
            Interval(numbers.Real, -1, 1, closed="both"),
            StrOptions({"auto"}),
        ],
        "code_layer": [StrOptions({"orthonormal", "linear", "relu"})],
        "solver": [StrOptions({"auto", "exact", "gradient"})],
        "assignment": [StrOptions({*EXACT, "projected", "constrained"})],
        "assignment_lr": [Interval(numbers.Real, 0, None, closed="neither")],
        "init": [StrOptions({"k-means++", "random", "labels"}), "array-like"],
        "noise_std": [Interval(numbers.Real, 0, None, closed="left")],
        "n_init": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        latent_dim: int | Literal["auto"] = "auto",
        hidden_layer_sizes: ArrayLike | None = None,
        architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
        image_shape: tuple[int, ...] | None = None,
        code_layer: Literal["orthonormal", "linear", "relu"] = "orthonormal",
        code_penalty: float | Literal["auto"] = "auto",
        solver: Literal["auto", "exact", "gradient"] = "auto",
        assignment: Literal["lloyd", "posterior", "projected", "constrained"] = "lloyd",
        assignment_lr: float = 0.25,
        init: Literal["k-means++", "random", "labels"] | ArrayLike = "k-means++",
        noise_std: float = 0.0,
        pretrain_epochs: int = 10,
        max_epochs: int = 300,
        batch_size: int = 256,
        lr: float = 1e-2,
        optimizer: Literal["adam", "sgd"] | Callable[..., Any] = "adam",
        n_init: int | Literal["auto"] = "auto",
        tol: float = 1e-4,
        device: str | torch.device = "auto",
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
        self.code_layer = code_layer
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

    def _is_orthonormal(self):
        is_shallow = self.architecture == "mlp" and self._hidden() == ()
        return is_shallow and self.code_layer == "orthonormal"

    def _uses_exact_solver(self):
        if self.solver == "auto":
            return self._is_orthonormal() and self.assignment in EXACT
        return self.solver == "exact"

    def _finds_penalty(self):
        return self.code_penalty == "auto" and self._uses_exact_solver()

    def _is_mixture(self):
        return self.assignment == "posterior"

    def _is_density(self):
        return self._finds_penalty() or self._is_mixture()

    def _given_penalty(self):
        return WEAKEST_PENALTY if self.code_penalty == "auto" else self.code_penalty

    def _width(self):
        """Width of the code, 1 while it is to be found."""
        if self.latent_dim == "auto":
            return getattr(self, "latent_dim_", 1)
        return self.latent_dim

    def _is_told_labels(self):
        return init_name(self.init) == "labels"

    def _n_runs(self):
        if self.n_init == "auto":
            is_one = init_name(self.init) == "given" or not self._uses_exact_solver()
            return 1 if is_one else 10
        return self.n_init

    def _default_layer_sizes(self, n_samples, n_features):
        return None  # the module has its own

    def _module_spec(self, n_features):
        return build_tensorized_autoencoder, {
            "n_clusters": self.n_clusters,
            "n_features": n_features,
            "latent_dim": self._width(),
            "architecture": self.architecture,
            "hidden_layer_sizes": self._hidden(),
            "image_shape": self.image_shape,
            "code_penalty": self._given_penalty(),
            "code_layer": self.code_layer,
            "mixture": self._is_mixture(),
        }

    def _validate_training_data(self, X):
        X = super()._validate_training_data(X)
        penalty = self._given_penalty()
        check_networks(self, self._hidden(), self._width(), penalty, X.shape[1])
        return X

    def _validate_target(self, X, y):
        return check_known_labels(self, X, y) if self._is_told_labels() else None

    # --- fit ------------------------------------------------------------------

    @tells_of_weights
    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
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
        return first_labels(X, self.n_clusters, self.init, run.y, run.random_state)

    def _phases(self, run):
        X = run.rows.whole()
        # Squares of large values do not fit into float32.
        labels = self._initial_labels(X.cpu().numpy().astype(np.float64), run)
        one_hot, centers = centers_of(X, labels, self.n_clusters)
        run.module.centers.copy_(centers)
        start = one_hot, X.shape[1], self._given_penalty()
        loss = partial(TensorizedLoss, *start, lr=self.assignment_lr)
        corrupt = partial(add_noise, self.noise_std) if self.noise_std else None
        waiting, moving = loss(update="none"), loss(update=self.assignment)
        yield Phase("pretrain", waiting, self.pretrain_epochs, corrupt=corrupt)
        callbacks = [MoveCenters(run), StopOnPlateau(self.tol)]
        how = {"callbacks": callbacks, "corrupt": corrupt}
        yield Phase("tensorized", moving, self.max_epochs, **how)
        run.assignment = moving.assignment.cpu().numpy()

    def _reorder_clusters(self, run, order):
        if run.assignment is not None:
            run.assignment = run.assignment[:, order]
        return super()._reorder_clusters(run, order)

    def _keep(self, run):
        super()._keep(run)
        module = run.module
        if not self._is_density():
            module.set_temperature(self.objective_)
        one_hot = np.eye(self.n_clusters)[self.labels_]
        S = one_hot if run.assignment is None else run.assignment
        self.assignment_ = S.astype(np.float32)
        self.code_penalty_ = module.code_penalty.cpu().numpy().copy()
        self.latent_dim_ = self._n_features_out = self.code_penalty_.shape[1]
        if self._is_density():
            self.noise_variance_ = float(module.deviation) ** 2
        if self._is_orthonormal():
            with torch.no_grad():
                self.components_ = module.stack.basis().cpu().numpy()

    def _evaluate(self, run, renumber=True):
        # Known labels have named the clusters.
        super()._evaluate(run, renumber and not self._is_told_labels())

    def _advice(self):
        return "Scale the data" if self._uses_exact_solver() else super()._advice()

    def _assign(self, module, x):
        label, cost, _, _ = module.choose(x)
        return torch.where(cost.isfinite(), label, -1)

    def _soft_assign(self, module, x):
        return module.assign(x)

    def _row_objective(self, module, x):
        return module.objective(x)

    def _embed(self, module, x):
        return module.choose(x)[2]

    def _reconstruct(self, module, x):
        if self.noise_std and self._uses_exact_solver():
            return module.denoise(x)
        return module.choose(x)[3]

    def denoise(self, X: ArrayLike) -> NDArray[np.float32]:
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
