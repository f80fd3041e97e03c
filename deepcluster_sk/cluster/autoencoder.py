"""The plain (denoising) autoencoder, as a transformer."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._estimator._mixins import DecoderMixin
from deepcluster_sk._estimator._network_base import BaseDeepEstimator, add_noise
from deepcluster_sk._training._callbacks import StopOnPlateau
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import (
    CombinedCriterion,
    Reconstruction,
    RelativeReconstruction,
)
from deepcluster_sk.initialization import (
    FIRST_CLUSTERS_CONSTRAINTS,
    START_ROWS,
    neighbor_pretraining,
    present_code,
)
from deepcluster_sk.modules import StandardizedAutoencoder, build_autoencoder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from numpy.typing import ArrayLike, NDArray
    from skorch.callbacks import Callback


class Autoencoder(DecoderMixin, BaseDeepEstimator):
    """Autoencoder: compress rows to a short code and reconstruct them from it.

    Minimises the squared error between the input and its reconstruction, averaged
    over features and samples. With ``noise_std > 0`` the network sees noisy inputs
    and learns to return the clean ones (a denoising autoencoder). That is Eq. 1 of
    Esser et al. (AISTATS 2023) without a penalty, and the autoencoder that the
    tensorized one is compared with there. Followed by
    k-means it is the classic baseline of deep clustering:
    ``make_pipeline(Autoencoder(), KMeans(10))``.

    Parameters
    ----------
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
    noise_std : float, default=0.0
        Standard deviation, in units of X, of the Gaussian noise added to the
        inputs in training.
    pretraining : {"neighbors"} or None, default=None
        "neighbors" first embeds rows by the graph of their nearest neighbours and lets
        the code learn that, beside the reconstruction; the code is then held there
        while the reconstruction is trained. k-means finds clusters in such a code that
        it does not find in one of reconstruction alone.
    n_neighbors : int, default=15
        Neighbours of each sample in the graph, at least 2; for "neighbors".
    neighbor_weight : float, default=1.0
        Weight of the squared distance to the embedding, relative to its variance, at
        least 0; that of the reconstruction error is 1, relative to the variance of X.
    max_epochs : int, default=100
        Largest number of passes over the data.
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
        Mean squared reconstruction error of the training data at the end.
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

    References
    ----------
    .. [1] G. E. Hinton and R. R. Salakhutdinov. Reducing the dimensionality of data
       with neural networks. Science 313 (2006).
    .. [2] P. Vincent et al. Stacked denoising autoencoders. JMLR 11 (2010).

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from deepcluster_sk import Autoencoder
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = Autoencoder(latent_dim=2, hidden_layer_sizes=(16,), random_state=0)
    >>> make_pipeline(model, KMeans(3, random_state=0)).fit_predict(X).shape
    (150,)
    >>> model.reconstruct(X).shape
    (150, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepEstimator._parameter_constraints,
        "noise_std": [Interval(numbers.Real, 0, None, closed="left")],
        "pretraining": [StrOptions({"neighbors"}), None],
        "n_neighbors": FIRST_CLUSTERS_CONSTRAINTS["n_neighbors"],
        "neighbor_weight": [Interval(numbers.Real, 0, None, closed="left")],
    }
    _parameter_constraints.pop("pretrain_epochs")

    def __init__(
        self,
        *,
        latent_dim: int = 10,
        hidden_layer_sizes: ArrayLike | None = None,
        architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
        image_shape: tuple[int, ...] | None = None,
        augmentation: Callable[..., Any] | None = None,
        noise_std: float = 0.0,
        pretraining: Literal["neighbors"] | None = None,
        n_neighbors: int = 15,
        neighbor_weight: float = 1.0,
        max_epochs: int = 100,
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
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.augmentation = augmentation
        self.noise_std = noise_std
        self.pretraining = pretraining
        self.n_neighbors = n_neighbors
        self.neighbor_weight = neighbor_weight
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
        standardized = self.pretraining == "neighbors"
        build = StandardizedAutoencoder if standardized else build_autoencoder
        return build, self._network_arguments(n_features)

    def _phases(self, run):
        criterion = Reconstruction()
        if self.pretraining == "neighbors":
            criterion = yield from self._learn_neighbors(run)
        yield Phase(
            "reconstruction",
            criterion,
            epochs=self.max_epochs,
            callbacks=[StopOnPlateau(self.tol)],
            corrupt=partial(add_noise, self.noise_std) if self.noise_std else None,
        )

    def _learn_neighbors(self, run):
        """Phases of a code that keeps neighbours together; the criterion after them."""
        if run.is_warm:
            code = present_code(run)
        else:
            sample, index = run.sample(START_ROWS)
            code = yield from neighbor_pretraining(
                sample, None, self.n_neighbors, self.latent_dim
            )
            code = code.of_rows(index, len(run.rows))
        return CombinedCriterion(
            RelativeReconstruction(), code.criterion(self.neighbor_weight)
        )

    def _row_objective(self, module, x):
        return (x - self._reconstruct(module, x)).square().mean(-1)

    def denoise(self, X: ArrayLike) -> NDArray[np.float32]:
        """Reconstruct noisy rows; the same as ``reconstruct``.

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
