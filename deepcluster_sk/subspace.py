"""Subspace clustering: every sample written as a combination of the others."""

import numbers
from typing import ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk._base import BaseDeepClusterer, ReconstructionMixin, smallest
from deepcluster_sk._callbacks import StopOnPlateau
from deepcluster_sk._criteria import RelativeReconstruction
from deepcluster_sk._local_pca import leading_directions
from deepcluster_sk._phase import Phase
from deepcluster_sk._size import check_expression
from deepcluster_sk._solved import BaseSolvedClusterer
from deepcluster_sk._start import set_units
from deepcluster_sk._subspace_rule import SubspaceRuleMixin
from deepcluster_sk._subspaces import (
    affinity,
    cut,
    expression_penalty,
    fit_subspaces,
    relative_weight,
    self_expression_of,
    unit_rows,
)
from deepcluster_sk.exceptions import ConvergenceError
from deepcluster_sk.modules import CentroidAutoencoder


class SparseSubspaceClustering(SubspaceRuleMixin, BaseSolvedClusterer):
    """Sparse subspace clustering: clusters are linear subspaces.

    Writes each sample z_i as a sparse combination of the others, which picks
    samples of its own subspace: minimises ``||Z - C Z||² + λ R(C)`` over C with
    zero diagonal [1]_, cuts the graph ``|C| + |C|ᵀ`` into clusters by spectral
    clustering, and fits a linear subspace to each. A new sample belongs to the
    subspace nearest to it.

    For some 20,000 samples with "l1" and "elastic-net": time grows with the square
    of their number, memory with the number (10,000 samples of 50 features take
    a minute and 0.6 GB), and where it will be minutes a ``LongFitWarning`` says so.
    "l2" and "nuclear" need dense arrays of n x n, and "nuclear" a singular value
    decomposition of one an iteration: for 10,000 and 1,000 samples. Sizes that would
    take more than 8 GB are refused at once.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int or None, default=None
        Project the data on that many leading singular vectors first, as [1]_ do
        with images; None keeps all features. Singular vectors, not principal
        components: the mean is not removed, or subspaces would become affine.
    affine : bool or "auto", default="auto"
        Whether clusters are affine subspaces, which need not contain the origin: X is
        centred, and a constant column, the root mean square norm of its rows, is
        added to it. "auto" does so where there are fewer than two features a cluster
        and ``latent_dim`` is None. Lines through the origin of such data need False.
    normalize : bool, default=True
        Scale each row, after the projection, to unit norm. One penalty then suits
        all rows.
    penalty : float, default=0.1
        λ relative to the data, in (0, inf): λ is ``penalty`` times the smallest
        value for which half of the rows of C vanish under "l1",
        ``2 median_i max_j |z_iᵀ z_j|``. The default corresponds to α = 10 of [1]_,
        who take 20 for images of faces.
    regularization : {"l1", "elastic-net", "nuclear", "l2"}, default="l1"
        R. The sum of absolute values, ``l1_ratio ||C||_1 + (1 - l1_ratio) / 2
        ||C||²`` (more entries in a row), the sum of singular values, or ``||C||²``.
    l1_ratio : float, default=0.9
        Share of the first term of "elastic-net", in (0, 1].
    keep : float, default=0.9
        Only the largest entries of each row of C enter the graph, as many as hold
        this share of its absolute sum, in (0, 1]. Small entries are what connects
        different subspaces. 1 keeps all.
    subspace_dim : int or "auto", default="auto"
        Dimension of the subspaces, one more where they are affine; with a number,
        ``affine="auto"`` means False. "auto" takes the
        smallest under which most samples are nearest to the subspace of the cluster
        that they were cut into.
    max_epochs : int, default=1
        Largest number of refinements: fit the subspaces, then move each sample to
        the nearest. From the second on this is k-subspaces.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
        The self-expression is found once, only the cut depends on the seed.
    tol : float, default=1e-4
        Refinements stop when the objective falls by less than this relative
        amount. 0 never stops early.
    verbose : int, default=0
        Above 0, show a progress bar.
    random_state : int, RandomState instance or None, default=None
        Determines the seeds of spectral clustering. Pass an int for the same
        result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
    cluster_centers_ : ndarray of shape (n_clusters, n_components), float32
        Mean of the embedding in each cluster. The mean of a subspace's samples
        may well be near zero; ``components_`` tells more.
    components_ : ndarray of shape (n_clusters, dimension, n_components), float32
        Orthonormal rows that span each cluster's subspace, in the embedding.
    affinity_matrix_ : csr_array of shape (n_samples, n_samples)
        The graph that was cut. It is there to be looked at, and is left out of
        pickles, copies and files.
    history_ : list of dict
        One row an epoch: "phase", "epoch", "loss" and each loss term. First the
        self-expression, per sample; then the objective after each refinement.
    n_iter_ : int
        Number of rows of ``history_``.
    n_epochs_ : dict of str to int
        Number of epochs, or sweeps, of each phase; their sum is ``n_iter_``.
    stop_reason_ : dict of str to str
        Why each phase ended: "max_epochs" (it had all that it was allowed), "tol"
        (what ``tol`` bounds), "unchanged" (no label changed), "solved" (it is a closed
        form) or "callback" (one of ``callbacks`` ended it).
    objective_ : float
        Squared distance to the nearest subspace at the end, per training sample.
    module_ : types.SimpleNamespace
        The arrays that ``predict`` needs.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when X has string column names.

    Notes
    -----
    Self-expression labels the training samples only. So that ``predict`` of the
    training data is ``labels_``, those are not the clusters of the cut, but the
    nearest subspaces after it. On planted unions of subspaces and on COIL-20
    (20 singular vectors) both recover the classes without an error. The defaults of
    ``penalty`` and ``keep`` were chosen with sight of COIL-20's accuracy.

    ``score`` is minus the squared distance to the nearest subspace, which new
    samples have too; the self-expression that comes before is in ``history_``.

    A table of few features has no room for different subspaces through the origin:
    of k such planes, all of them independent, there are none in fewer than 2 k
    dimensions, and any few rows express every other. With the constant column,
    which stands for the constraint that coefficients add up to 1, a row is
    expressed by those around it.

    A sample on which no other has any bearing has an empty row in C and is cut
    anywhere; its subspace is found all the same.

    References
    ----------
    .. [1] E. Elhamifar and R. Vidal. Sparse subspace clustering: algorithm, theory,
       and applications. IEEE TPAMI 35 (2013).

    Examples
    --------
    Three subspaces of dimension 3 in ten dimensions:

    >>> import numpy as np
    >>> from deepcluster_sk import SparseSubspaceClustering
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(30, 3)) @ rng.normal(size=(3, 10))
    ...                for _ in range(3)])
    >>> model = SparseSubspaceClustering(n_clusters=3, random_state=0).fit(X)
    >>> np.bincount(model.labels_)
    array([30, 30, 30])
    >>> bool(model.score(X) > -1e-9)
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseSolvedClusterer._parameter_constraints,
        "latent_dim": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "affine": ["boolean", StrOptions({"auto"})],
        "normalize": ["boolean"],
        "regularization": [StrOptions({"l1", "elastic-net", "nuclear", "l2"})],
        "l1_ratio": [Interval(numbers.Real, 0, 1, closed="right")],
        "keep": [Interval(numbers.Real, 0, 1, closed="right")],
        "subspace_dim": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=None,
        affine="auto",
        normalize=True,
        penalty=0.1,
        regularization="l1",
        l1_ratio=0.9,
        keep=0.9,
        subspace_dim="auto",
        max_epochs=1,
        n_init=1,
        tol=1e-4,
        verbose=0,
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.affine = affine
        self.normalize = normalize
        self.penalty = penalty
        self.regularization = regularization
        self.l1_ratio = l1_ratio
        self.keep = keep
        self.subspace_dim = subspace_dim
        self.max_epochs = max_epochs
        self.n_init = n_init
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state

    def _validate_settings(self, n_features):
        width, name = self.latent_dim, type(self).__name__
        if width is not None and width > n_features:
            raise ValueError(
                f"latent_dim={width} of {name} must be at most n_features={n_features}."
            )
        if width is None:
            width = n_features + int(self._is_affine(n_features))
        if self.subspace_dim != "auto" and self.subspace_dim > width:
            raise ValueError(
                f"subspace_dim={self.subspace_dim} of {name} must be at most the width "
                f"of the embedding, {width}."
            )

    def _check_size(self, n_samples, n_features):
        check_expression(self, n_samples, self.latent_dim or n_features)

    def _is_affine(self, n_features):
        if self.affine == "auto" and self.subspace_dim != "auto":
            return False  # dimensions are counted as those of linear subspaces
        return super()._is_affine(n_features)

    def _rows(self, X):
        """Express the data by itself, once for all runs."""
        rows = super()._rows(X)
        # A power of two changes no digit, and squares neither vanish nor overflow.
        size = np.abs(rows.X).max()
        rows.scale = 2.0 ** -np.floor(np.log2(size)) if size > 0 else 1.0
        rows.projection = None
        self._find_coordinates(rows)
        if self.latent_dim is not None:
            rows.projection = leading_directions(
                self._coordinates(rows, rows.X),
                self.latent_dim,
                np.random.RandomState(0),
            )
        rows.Z = self._project(rows, rows.X)
        weight = relative_weight(rows.Z, self.penalty)
        C = self_expression_of(
            rows.Z, weight, self.regularization, self.l1_ratio, self.verbose
        )
        rows.affinity = affinity(C, self.keep)
        size = expression_penalty(C, self.regularization, self.l1_ratio)
        rows.terms = {
            "self_expression": float(np.square(rows.Z - C @ rows.Z).sum() / len(X)),
            "penalty": float(weight * size / len(X)),
        }
        return rows

    def _project(self, fitted, X):
        Z = self._coordinates(fitted, X)
        if fitted.projection is not None:
            Z = Z @ fitted.projection.T
        return unit_rows(Z) if self.normalize else Z / fitted.scale

    def _optimize(self, run):
        rows, module = run.rows, run.module
        for name in ("scale", "origin", "constant", "projection"):
            setattr(module, name, getattr(rows, name))
        row = {"phase": "self-expression", "epoch": 1, "loss": sum(rows.terms.values())}
        run.history.append({**row, **rows.terms})
        run.stop_reason["self-expression"] = "solved"
        labels = cut(rows.affinity, self.n_clusters, run.random_state)
        run.affinity = rows.affinity
        dimension = self.subspace_dim

        def refine():
            nonlocal labels, dimension
            residuals = self._fit_subspaces(run, labels, dimension)
            dimension = run.module.bases.shape[1]
            labels = residuals.argmin(1)
            return {"residual": residuals.min(1).mean()}

        run.sweep("subspaces", refine, self.max_epochs, self.tol)
        self._fit_centers(run)

    # --- the predict path -------------------------------------------------------

    def _embed(self, module, x):
        return self._project(module, x)

    def transform(self, X):
        """Project the rows of X, and scale them to unit norm.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), float32
            The rows as self-expression sees them; ``n_components`` is
            ``latent_dim``, or the number of features where that is None, and then
            one more where subspaces are affine.
        """
        return super().transform(X)


def _unit(z):
    """Rows at unit norm; zero rows stay zero."""
    return nn.functional.normalize(z, dim=-1, eps=1e-12)


class _SubspaceAutoencoder(CentroidAutoencoder):
    """An autoencoder and the clusters' subspaces of its codes at unit norm.

    Its centres are the clusters' mean codes, which decide nothing.

    Parameters
    ----------
    n_clusters : int
        Number k of subspaces.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.
    """

    def __init__(self, n_clusters, **autoencoder):
        super().__init__(n_clusters, trainable=False, **autoencoder)
        h = autoencoder["latent_dim"]
        # A projection has one shape, whatever the dimension of its subspace.
        self.register_buffer("projections", torch.zeros(n_clusters, h, h))

    def residuals(self, embedding):
        """Squared distance of each code, at unit norm, to each subspace, (n, k)."""
        z = _unit(embedding)
        inside = torch.einsum("nh,khg->nkg", z, self.projections)
        return (z[:, None] - inside).square().sum(-1)


class _SelfExpressionLoss(nn.Module):
    """Reconstruction, and the distance of each code to what the others make of it.

    Parameters
    ----------
    shape : tuple (n, h)
        Shape of the codes of all training rows.
    weight : float
    """

    def __init__(self, shape, weight):
        super().__init__()
        self.weight = weight
        self.reconstruction = RelativeReconstruction()
        self.register_buffer("expressed", torch.zeros(shape))

    def forward(self, output, x, index):
        """Return the terms; ``expressed`` is C Z as of the last refreshment."""
        error = _unit(output.embedding) - self.expressed[index]
        return {
            **self.reconstruction(output, x, index),
            "self_expression": self.weight * error.square().sum(1).mean(),
        }


class _Express(Callback):
    """Every few epochs, find the self-expression of the present codes."""

    def __init__(self, express, interval):
        self.express = express
        self.interval = interval

    def on_epoch_begin(self, net, **kwargs):
        """Write C Z into the criterion."""
        epoch = len(net.history)
        if (epoch - 1) % self.interval == 0:
            Z, C = self.express(epoch)
            expressed = torch.from_numpy(C @ Z)
            net.criterion_.expressed.copy_(expressed)


class DeepSubspaceClustering(ReconstructionMixin, BaseDeepClusterer):
    """Deep subspace clustering: an autoencoder whose codes express one another.

    Minimises the reconstruction error of an autoencoder plus
    ``subspace_weight * (||Z - C Z||² + λ R(C))``, Z being the codes at unit norm and
    C the self-expression with zero diagonal [1]_ [2]_. Training and closed form
    alternate: C is solved for the present codes, then the network is trained
    towards ``C Z``. At the end the graph ``|C| + |C|ᵀ`` is cut by spectral
    clustering, and a linear subspace of the code is fitted to each cluster. A new
    sample belongs to the nearest one, through the encoder.

    For some 10,000 samples with "l1" and "elastic-net", whose C is sparse; "l2" and
    "nuclear" take the memory and time that they take in
    ``SparseSubspaceClustering``.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int, default=20
        Width of the code, at least 1. It should hold the subspaces side by side.
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
    penalty : float, default=0.1
        λ relative to the codes, in (0, inf), as in ``SparseSubspaceClustering``.
    regularization : {"l1", "elastic-net", "nuclear", "l2"}, default="l1"
        R, as in ``SparseSubspaceClustering``.
    l1_ratio : float, default=0.9
        Share of the first term of "elastic-net", in (0, 1].
    subspace_weight : float, default=0.1
        Weight of the self-expression, in [0, inf).
    update_interval : int, default=5
        Number of epochs between two self-expressions.
    keep : float, default=0.9
        Only the largest entries of each row of C enter the graph, as many as hold
        this share of its absolute sum, in (0, 1].
    pretrain_epochs : int, default=50
        Epochs of reconstruction alone, before codes are expressed.
    max_epochs : int, default=50
        Largest number of passes over the data after that.
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
        Training stops when the best loss of the last 10 epochs is not lower, by
        this relative amount, than the best before. 0 never stops early.
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
        Determines initial weights, the order of batches and the seeds of spectral
        clustering. Pass an int for the same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
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
        Why each phase ended: "max_epochs" (it had all that it was allowed), "tol"
        (what ``tol`` bounds), "unchanged" (no label changed), "solved" (it is a closed
        form) or "callback" (one of ``callbacks`` ended it).
    objective_ : float
        Objective per training sample at the end, see Notes.
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
    decoder undo it: the term would vanish without any structure [3]_.

    [2]_ trains all n x n entries of C as weights. Here C has a closed form, or is
    sparse, and mini-batches of any size serve. R(C) does not depend on the network
    and is not part of the loss that is recorded.

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
        "penalty": [Interval(numbers.Real, 0, None, closed="neither")],
        "regularization": [StrOptions({"l1", "elastic-net", "nuclear", "l2"})],
        "l1_ratio": [Interval(numbers.Real, 0, 1, closed="right")],
        "subspace_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "update_interval": [Interval(numbers.Integral, 1, None, closed="left")],
        "keep": [Interval(numbers.Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=20,
        hidden_layer_sizes=None,
        architecture="mlp",
        image_shape=None,
        augmentation=None,
        penalty=0.1,
        regularization="l1",
        l1_ratio=0.9,
        subspace_weight=0.1,
        update_interval=5,
        keep=0.9,
        pretrain_epochs=50,
        max_epochs=50,
        batch_size=256,
        lr=1e-3,
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
        self.penalty = penalty
        self.regularization = regularization
        self.l1_ratio = l1_ratio
        self.subspace_weight = subspace_weight
        self.update_interval = update_interval
        self.keep = keep
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
        return _SubspaceAutoencoder, {
            "n_clusters": self.n_clusters,
            "n_features": n_features,
            "latent_dim": self.latent_dim,
            "architecture": self.architecture,
            "hidden_layer_sizes": self.hidden_layer_sizes,
            "image_shape": self.image_shape,
            "precision": self.precision,
        }

    def _check_size(self, n_samples, n_features):
        times = 1 + -(-self.max_epochs // self.update_interval)
        check_expression(self, n_samples, self.latent_dim, times)

    def _express(self, run, epoch):
        """Codes at unit norm and their self-expression, in float64."""
        Z = run.apply(run.module.encode).cpu().numpy().astype(np.float64)
        if not np.isfinite(Z).all():
            raise ConvergenceError(
                f"Training diverged: in phase 'self-expression', epoch {epoch}, the "
                "embedding in the term 'self_expression' is not finite. "
                f"Lower lr (now {self.lr:g}), or scale the data."
            )
        Z = unit_rows(Z)
        weight = relative_weight(Z, self.penalty)
        return Z, self_expression_of(
            Z, weight, self.regularization, self.l1_ratio, self.verbose
        )

    def _phases(self, run):
        set_units(run)
        yield Phase("pretrain", RelativeReconstruction(), self.pretrain_epochs)
        loss = _SelfExpressionLoss(
            (len(run.rows), self.latent_dim), self.subspace_weight
        )

        def express(epoch):
            return self._express(run, epoch)

        yield Phase(
            "self-expression",
            loss,
            self.max_epochs,
            callbacks=[
                _Express(express, self.update_interval),
                StopOnPlateau(self.tol),
            ],
        )
        self._fit_subspaces(run)

    def _fit_subspaces(self, run):
        """Cut the graph of the last codes, and fit the clusters' subspaces."""
        Z, C = self._express(run, run.n_iter)
        run.affinity = affinity(C, self.keep)
        labels = cut(run.affinity, self.n_clusters, run.random_state)
        run.bases = fit_subspaces(Z, labels, self.n_clusters, "auto", run.random_state)
        projections = np.einsum("kdh,kdg->khg", run.bases, run.bases)
        run.module.projections.copy_(torch.from_numpy(projections))

    def _keep(self, run):
        super()._keep(run)
        Z = run.apply(run.module.encode).cpu().numpy()
        centers = np.zeros((self.n_clusters, self.latent_dim), dtype=np.float32)
        for j in np.unique(run.labels):
            centers[j] = Z[run.labels == j].mean(0)
        run.module.centers.copy_(torch.from_numpy(centers))
        self.cluster_centers_ = centers
        self.components_ = run.bases.astype(np.float32)
        self.affinity_matrix_ = run.affinity

    def __getstate__(self):
        """Leave out what grows with the number of samples."""
        state = super().__getstate__()
        return {key: state[key] for key in state if key != "affinity_matrix_"}

    # --- the predict path -------------------------------------------------------

    def _assign(self, module, x):
        return smallest(module.residuals(module.encode(x)))

    def _row_objective(self, module, x):
        embedding = module.encode(x)
        error = module.relative_error(x, embedding).mean(1)
        return error + self.subspace_weight * module.residuals(embedding).amin(1)
