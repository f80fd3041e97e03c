"""The methods as their papers publish them, one function each.

Defaults of the estimators are one set for all data, and often better than what was
published. A researcher who cites a method must be able to run *that*: each function
here returns an estimator with every setting that its paper states, unfitted. Keywords
are parameters of the estimator and replace what the paper says: a shorter budget
(``max_epochs``, ``n_init=1``), a ``random_state``, one change at a time.

What a paper leaves open is taken from its authors' code, where there is one, and the
docstring says so. Where an estimator does something that no paper does (clusters that
lost all rows are re-seeded, and a warning says so), it does it in recipes too.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from deepcluster_sk.augmentation import RandomAffine
from deepcluster_sk.cluster import (
    DCN,
    DDC,
    DEC,
    DEPICT,
    DKM,
    IDEC,
    PCX,
    ConvTransformClustering,
    DeepDictionaryClustering,
    DeepSubspaceClustering,
    DeepTransformClustering,
    DiscriminativeClustering,
    DynAE,
    TensorizedAutoencoder,
    VaDE,
)
from deepcluster_sk.modules import (
    BottleneckConvAutoencoder,
    FeatureMapAutoencoder,
    RectifiedMLPAutoencoder,
    UnpooledConvAutoencoder,
    n_map_values,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = [
    "ctl",
    "dcec",
    "dcn",
    "ddc",
    "ddc_ae",
    "ddc_uco_naive",
    "ddc_uco_tensor",
    "ddl_kmeans",
    "ddl_ssc",
    "dec",
    "dec_conv",
    "dec_uco_naive",
    "dec_uco_tensor",
    "depict",
    "discriminative_coil",
    "discriminative_mnist",
    "dkm",
    "dsc_net",
    "dtl_kmeans",
    "dtl_ssc",
    "dynae",
    "idec",
    "pcx",
    "pcx_div",
    "pcx_imba",
    "sae_ssc",
    "tae_conv",
    "tae_linear",
    "tae_mlp",
    "tsc",
    "vade",
]

# The paper trains each model 20 times and reports the run of lowest total loss
# (Section 6.1).
N_RUNS = 20
# What the paper of the companion objectives leaves open about DEC, as in its authors'
# code: epochs, rate and the refreshing of the target.
EMBEDDED = {
    "latent_dim": 10,
    "pretrain_epochs": 200,
    "max_epochs": 400,
    "batch_size": 256,
    "lr": 1e-3,
    "optimizer": "adam",
    "update_interval": 140,
    "init": "k-means",
    "whiten": False,
    "n_init": N_RUNS,
}
PERCEPTRON = {
    "hidden_layer_sizes": (500, 500, 2000),
    "pretraining": "layerwise",
    "mask_rate": 0.2,
}
DIVERGENCE = {
    "latent_dim": 100,
    "pretraining": None,
    "pretrain_epochs": 0,
    "max_epochs": 200,
    "batch_size": 120,
    "lr": 1e-3,
    "optimizer": "adam",
    "tol": 0.0,
    "n_init": N_RUNS,
    "kernel_width": 0.15,
    "kernel_width_of": "distances",
}
# The paper of PC-X leaves the weights open. In its authors' code the clustering term is
# 5e-4 times a mean over the 10 coordinates of a code, which the estimator sums.
EXEMPLARS = {
    "latent_dim": 10,
    "hidden_layer_sizes": (500, 500, 2000),
    "clustering_weight": 5e-5,
    "entropy_weight": 1e-5,
    "decay": 0.995,
    "centroid_update": "after-step",
    "temperature": 5.0,
    "mask_rate": 0.0,
    "init": "random",
    "max_epochs": 1000,
    "batch_size": 256,
    "lr": 5e-4,
    "optimizer": "adam",
    "tol": 0.0,
}
# What the tensorized autoencoder's paper leaves open, as in its authors' code: Adam on
# the whole data, whose number of rows no batch exceeds, and an assignment that is
# updated from the first step.
TENSORIZED = {
    "latent_dim": 1,
    "hidden_layer_sizes": (),
    "code_penalty": -0.1,
    "solver": "gradient",
    "assignment": "lloyd",
    "init": "k-means++",
    "pretrain_epochs": 0,
    "max_epochs": 100,
    "batch_size": 10**9,
    "lr": 1e-2,
    "optimizer": "adam",
    "n_init": 1,
    "tol": 0.0,
}
COMPANIONS = {"companion_weight": 0.01, "companion_weighting": "constant"}
# Slides give objectives and no settings: widths, weights and lengths are open, and left
# as they are by default.
SLIDES = {"n_init": 1, "tol": 0.0}


def _convolutional(image_shape):
    """DEC-Conv's network: the blocks of DDC, and a narrow code."""
    architecture = partial(
        BottleneckConvAutoencoder, channels=(32, 32), image_shape=tuple(image_shape)
    )
    return {
        "architecture": architecture,
        "image_shape": tuple(image_shape),
        "pretraining": "end-to-end",
        "mask_rate": 0.0,
    }


def _embedded(image_shape=None):
    network = PERCEPTRON if image_shape is None else _convolutional(image_shape)
    return {**EMBEDDED, **network}


def _divergence(image_shape=None):
    if image_shape is None:
        return {**DIVERGENCE, "hidden_layer_sizes": (512, 512, 256)}
    network = {"architecture": "conv", "hidden_layer_sizes": (32, 32)}
    return {**DIVERGENCE, **network, "image_shape": tuple(image_shape)}


def dec(n_clusters: int, **settings: Any) -> DEC:
    """DEC: deep embedded clustering, as in the companion objectives' paper.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DEC` that replace those of the paper.

    Returns
    -------
    model : DEC
        Unfitted.

    Notes
    -----
    Stated in [1]_: "the original DEC model with an MLP encoder" (Section 6.5, p. 8),
    which is "a multilayer perceptron, pre-trained as a stacked denoising autoencoder",
    soft assignments to centroids and a target made of them (Section 2.1, p. 2); 20
    runs, of which that of the lowest loss counts (Section 6.1, p. 7).

    Left open by [1]_ and taken from its authors' code: layers of 500, 500 and 2,000
    units and a code of 10, those of [2]_; 200 epochs of the autoencoder and 400 of the
    clustering; batches of 256; Adam at 1e-3; a target that is computed every 140
    epochs; k-means with 20 starts in the code as it is. That code trains the
    autoencoder as a whole, without noise.

    Left open by it too, and taken from [2]_: a dropout of 0.2 in the pretraining, and
    the end of the training when less than 0.1 % of the labels change. The authors of
    [2]_ train by stochastic gradient descent. They scale the data to
    a mean square of 1, as the estimator does.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).
    .. [2] J. Xie, R. Girshick and A. Farhadi. Unsupervised deep embedding for
       clustering analysis. ICML 2016.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dec(10, n_init=1)
    >>> model.hidden_layer_sizes, model.init, model.whiten
    ((500, 500, 2000), 'k-means', False)
    """
    return DEC(n_clusters, **{**_embedded(), **settings})


def idec(n_clusters: int, **settings: Any) -> IDEC:
    """IDEC: DEC that keeps reconstructing, as in the companion objectives' paper.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.IDEC` that replace those of the paper.

    Returns
    -------
    model : IDEC
        Unfitted.

    Notes
    -----
    Stated in [1]_: DEC "with a decoder and reconstruction loss during fine-tuning"
    (Section 6.5, p. 8), 20 runs (Section 6.1, p. 7). Left open: all that :func:`dec`
    lists, and the weights. The authors' code weights the mean squared error ten times
    as much as the divergence; that is the 0.1 of [2]_ up to a factor of the whole loss.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).
    .. [2] X. Guo, L. Gao, X. Liu and J. Yin. Improved deep embedded clustering with
       local structure preservation. IJCAI 2017.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.idec(10).clustering_weight
    0.1
    """
    return IDEC(n_clusters, **{**_embedded(), "clustering_weight": 0.1, **settings})


def dec_conv(n_clusters: int, image_shape: tuple[int, ...], **settings: Any) -> DEC:
    """DEC-Conv: DEC with a convolutional encoder.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W)
        How to read a row of X as an image.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DEC` that replace those of the paper.

    Returns
    -------
    model : DEC
        Unfitted.

    Notes
    -----
    Stated in [1]_: the clustering module of DEC and "a CNN encoder instead" (Section
    6.5, p. 8). Left open, and taken from the authors' code: the encoder of DDC (two
    5 x 5 convolutions; pooling, two 3 x 3 convolutions, pooling; 32 channels), then a
    linear code of 10; an autoencoder that is trained as a whole, without noise; and
    all that :func:`dec` lists. Their decoder has batch normalisation, this one has not.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dec_conv(10, (1, 28, 28), n_init=1)
    >>> model.latent_dim, model.pretraining
    (10, 'end-to-end')
    """
    return DEC(n_clusters, **{**_embedded(image_shape), **settings})


def dcec(n_clusters: int, image_shape: tuple[int, ...], **settings: Any) -> IDEC:
    """DCEC: IDEC with a convolutional encoder.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W)
        How to read a row of X as an image.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.IDEC` that replace those of the paper.

    Returns
    -------
    model : IDEC
        Unfitted.

    Notes
    -----
    Stated in [1]_: DEC-Conv "with a decoder and reconstruction loss during
    fine-tuning" (Section 6.5, p. 8). Left open: what :func:`dec_conv` and :func:`idec`
    list. The authors of DCEC [2]_ have another network, of strided convolutions, as
    ``architecture="conv"`` has.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).
    .. [2] X. Guo, X. Liu, E. Zhu and J. Yin. Deep clustering with convolutional
       autoencoders. ICONIP 2017.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.dcec(10, (1, 28, 28)).clustering_weight
    0.1
    """
    published = {**_embedded(image_shape), "clustering_weight": 0.1}
    return IDEC(n_clusters, **{**published, **settings})


def dec_uco_naive(
    n_clusters: int, image_shape: tuple[int, ...] | None = None, **settings: Any
) -> DEC:
    """DEC-UCO_N: DEC with companion objectives of flattened block outputs.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image. None is for vectors: DEC with a perceptron;
        otherwise this is DEC-Conv-UCO_N.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DEC` that replace those of the paper.

    Returns
    -------
    model : DEC
        Unfitted.

    Notes
    -----
    Stated in [1]_: DEC or DEC-Conv with the companion objectives of Eq. 2 and 3 and the
    kernel of Eq. 10 (Section 6.5, p. 8); λ = 0.01 and ω(b) = 1 for all data (Section
    6.1, p. 6). Left open: what :func:`dec` and :func:`dec_conv` list; which layers make
    a block; and the learning rate, which the authors' code, not the paper, lowers to
    1e-4 here. Their perceptron has two blocks, of two layers and of one; here each
    layer is a block. The kernels are as wide as in their code: σ² is 15 % of the median
    squared distance.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dec_uco_naive(10, (1, 28, 28), lr=1e-3)
    >>> model.companion, model.companion_weight, model.lr
    ('naive', 0.01, 0.001)
    """
    return _dec_uco("naive", n_clusters, image_shape, settings)


def dec_uco_tensor(
    n_clusters: int, image_shape: tuple[int, ...] | None = None, **settings: Any
) -> DEC:
    """DEC-UCO_T: DEC with companion objectives by the tensor kernel.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image. None is for vectors: DEC with a perceptron;
        otherwise this is DEC-Conv-UCO_T.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DEC` that replace those of the paper.

    Returns
    -------
    model : DEC
        Unfitted.

    Notes
    -----
    As :func:`dec_uco_naive`, with the kernel of Eq. 12 to 17 of [1]_.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dec_uco_tensor(10)
    >>> model.companion, model.lr
    ('tensor', 0.0001)
    """
    return _dec_uco("tensor", n_clusters, image_shape, settings)


def _dec_uco(kernel, n_clusters, image_shape, settings):
    published = {**_embedded(image_shape), "companion": kernel, **COMPANIONS}
    return DEC(n_clusters, **{**published, "lr": 1e-4, **settings})


def dcn(n_clusters: int, n_features: int, **settings: Any) -> DCN:
    """DCN: the k-means-friendly autoencoder of the slides' "SAE based clustering".

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    n_features : int
        Number of features of X. The slide sums squared errors over them, where the
        estimator takes their mean: both terms weigh alike with
        ``clustering_weight=2 / n_features``.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DCN` that replace those of the paper.

    Returns
    -------
    model : DCN
        Unfitted.

    Notes
    -----
    Stated in [1]_, slide "SAE based Clustering": the error of a stacked autoencoder
    plus the k-means term of its code, unweighted, with reference to [2]_. Left open:
    all numbers. They are those of the authors of [2]_ for raw MNIST, from their code:
    layers of 500, 500 and 2,000 units and a code of 10; one layer trained after the
    other without noise, then all, 250 epochs; 50 epochs of clustering; batches of 256;
    stochastic gradient descent with momentum 0.9 at 1e-4 on half the sum over the
    features, which is ``5e-5 * n_features`` on their mean. They train each layer for
    250 epochs too, the estimator for half as many, and their decoder has the weights of
    the encoder, transposed.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering. Slides.
    .. [2] B. Yang, X. Fu, N. D. Sidiropoulos and M. Hong. Towards k-means-friendly
       spaces: simultaneous deep learning and clustering. ICML 2017.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dcn(10, n_features=784)
    >>> model.optimizer, model.max_epochs, model.whiten
    ('sgd', 50, False)
    """
    published = {
        "latent_dim": 10,
        "hidden_layer_sizes": (500, 500, 2000),
        "clustering_weight": 2 / n_features,
        "pretraining": "layerwise",
        "mask_rate": 0.0,
        "pretrain_epochs": 250,
        "init": "k-means",
        "whiten": False,
        "max_epochs": 50,
        "batch_size": 256,
        "lr": 5e-5 * n_features,
        "optimizer": "sgd",
        "tol": 0.0,
    }
    return DCN(n_clusters, **{**published, **settings})


def dkm(n_clusters: int, n_features: int, **settings: Any) -> DKM:
    """DKM: deep k-means from a pretrained autoencoder, the paper's DKM^p.

    Parameters
    ----------
    n_clusters : int
        Number of clusters, and width of the code.
    n_features : int
        Number of features of X. The paper sums squared errors over them, where the
        estimator takes their mean: both terms weigh alike with
        ``clustering_weight=1 / n_features``.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DKM` that replace those of the paper.

    Returns
    -------
    model : DKM
        Unfitted.

    Notes
    -----
    From [1]_ and its authors' code, for images: layers of 500, 500 and 2,000 units and
    a code as wide as there are clusters; 50 epochs of the autoencoder, without noise;
    k-means in its code; α = 1000 in 20 times 5 epochs of the clustering; a weight of 1
    for the distances; batches of 256; Adam with its default rate.

    Their other variant, DKM^a, has no pretraining and draws centres at random; α takes
    40 values, of 5 epochs each. Of it ``pretrain_epochs=0``, ``alpha="annealed"``,
    ``update_interval=5`` and ``max_epochs=200`` bring back all but the centres, which
    k-means finds in the untrained code.

    References
    ----------
    .. [1] M. Moradi Fard, T. Thonet and E. Gaussier. Deep k-means: jointly clustering
       with k-means and learning representations. Pattern Recognition Letters 138
       (2020).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dkm(10, n_features=784)
    >>> model.alpha, model.latent_dim, model.max_epochs
    (1000.0, 10, 100)
    """
    published = {
        "latent_dim": n_clusters,
        "hidden_layer_sizes": (500, 500, 2000),
        "clustering_weight": 1 / n_features,
        "alpha": 1000.0,
        "pretraining": "end-to-end",
        "mask_rate": 0.0,
        "pretrain_epochs": 50,
        "init": "k-means",
        "whiten": False,
        "max_epochs": 100,
        "batch_size": 256,
        "lr": 1e-3,
        "optimizer": "adam",
        "tol": 0.0,
    }
    return DKM(n_clusters, **{**published, **settings})


def vade(n_clusters: int, **settings: Any) -> VaDE:
    """VaDE: variational deep embedding, as for images.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.VaDE` that replace those of the paper.

    Returns
    -------
    model : VaDE
        Unfitted; it is for values from 0 to 1.

    Notes
    -----
    From [1]_ and its authors' code, for MNIST: layers of 500, 500 and 2,000 units and a
    code of 10; a pretrained stacked autoencoder; a mixture of Gaussians in its code;
    the likelihood of Bernoulli; batches of 100; Adam at 0.002; 500 epochs.

    Left open, as the authors' code reads pretrained weights: how they were found. Here
    that is done as for :func:`dec`.

    What no setting brings back: the rate falls by a tenth every ten epochs, to no less
    than 2e-4, which takes a scheduler among ``callbacks``. The first mixture's
    covariances are shrunk towards one another. The probabilities of clusters are the
    best ones for a row's Gaussian instead of those of one draw, so that the bound is
    higher, see the notes of :class:`~deepcluster_sk.VaDE`.

    References
    ----------
    .. [1] Z. Jiang, Y. Zheng, H. Tan, B. Tang and H. Zhou. Variational deep embedding:
       an unsupervised and generative approach to clustering. IJCAI 2017.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.vade(10)
    >>> model.likelihood, model.lr, model.max_epochs
    ('bernoulli', 0.002, 500)
    """
    published = {
        "latent_dim": 10,
        "likelihood": "bernoulli",
        **PERCEPTRON,
        "pretrain_epochs": 200,
        "init": "mixture",
        "whiten": False,
        "max_epochs": 500,
        "batch_size": 100,
        "lr": 2e-3,
        "optimizer": "adam",
        "tol": 0.0,
    }
    return VaDE(n_clusters, **{**published, **settings})


def ddc(
    n_clusters: int, image_shape: tuple[int, ...] | None = None, **settings: Any
) -> DDC:
    """DDC: deep divergence-based clustering.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image, for the convolutional network; None is for
        vectors.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DDC` that replace those of the paper.

    Returns
    -------
    model : DDC
        Unfitted.

    Notes
    -----
    Stated in [1]_, Section 6.1, p. 6: random weights; the loss of Eq. 5 to 8; batches
    of 120; "the Adam optimizer with default parameters", a rate of 1e-3; a kernel whose
    width is 15 % of the median distance in a batch; 20 runs, of which that of the
    lowest total loss counts (p. 7). In the authors' code the square of the width is
    15 % of the median squared distance: ``kernel_width_of="squares"``.

    Left open, and taken from the authors' code: 200 epochs; the network of images, two
    5 x 5 convolutions, then pooling, two 3 x 3 convolutions and pooling, 32 channels;
    that of vectors, layers of 512, 512 and 256 units, here with batch normalisation;
    a hidden layer of 100; gradients clipped to a norm of 10. The sum of Eq. 7 is a mean
    over pairs.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.ddc(10, (1, 28, 28), n_init=1, random_state=0)
    >>> model.pretraining, model.max_epochs, model.batch_size
    (None, 200, 120)
    """
    return DDC(n_clusters, **{**_divergence(image_shape), **settings})


def ddc_ae(
    n_clusters: int, image_shape: tuple[int, ...] | None = None, **settings: Any
) -> DDC:
    """DDC-AE: divergence-based clustering beside a reconstruction.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image, for the convolutional network; None is for
        vectors.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DDC` that replace those of the paper.

    Returns
    -------
    model : DDC
        Unfitted.

    Notes
    -----
    Stated in [1]_: DDC "with a decoder and a reconstruction loss" (Section 6.1, p. 6).
    Left open, and taken from the authors' code: a weight of 0.1 for the mean squared
    error, and what :func:`ddc` lists.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.ddc_ae(10).reconstruction_weight
    0.1
    """
    published = {**_divergence(image_shape), "reconstruction_weight": 0.1}
    return DDC(n_clusters, **{**published, **settings})


def ddc_uco_naive(
    n_clusters: int, image_shape: tuple[int, ...] | None = None, **settings: Any
) -> DDC:
    """DDC-UCO_N: DDC with companion objectives of flattened block outputs.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image, for the convolutional network; None is for
        vectors.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DDC` that replace those of the paper.

    Returns
    -------
    model : DDC
        Unfitted.

    Notes
    -----
    Stated in [1]_: the companion objectives of Eq. 2 and 3 with the kernel of Eq. 10,
    λ = 0.01, ω(b) = 1, and for all models based on DDC what :func:`ddc` states, the
    rate of 1e-3 included (Section 6.1, p. 6). Left open: what :func:`ddc` lists, and
    which layers make a block. The authors' code lowers the rate to 1e-4 here, which the
    paper does not say: ``lr=1e-4`` runs that.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.ddc_uco_naive(10, (1, 28, 28))
    >>> model.companion, model.companion_weighting
    ('naive', 'constant')
    """
    return _ddc_uco("naive", n_clusters, image_shape, settings)


def ddc_uco_tensor(
    n_clusters: int, image_shape: tuple[int, ...] | None = None, **settings: Any
) -> DDC:
    """DDC-UCO_T: DDC with companion objectives by the tensor kernel.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image, for the convolutional network; None is for
        vectors.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DDC` that replace those of the paper.

    Returns
    -------
    model : DDC
        Unfitted.

    Notes
    -----
    As :func:`ddc_uco_naive`, with the kernel of Eq. 12 to 17 of [1]_.

    References
    ----------
    .. [1] D. J. Trosten, S. Løkse, R. Jenssen and M. Kampffmeyer. Leveraging tensor
       kernels to reduce objective function mismatch in deep clustering. Pattern
       Recognition 149 (2024).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.ddc_uco_tensor(10).companion
    'tensor'
    """
    return _ddc_uco("tensor", n_clusters, image_shape, settings)


def _ddc_uco(kernel, n_clusters, image_shape, settings):
    published = {**_divergence(image_shape), "companion": kernel, **COMPANIONS}
    return DDC(n_clusters, **{**published, **settings})


def pcx(n_clusters: int, **settings: Any) -> PCX:
    """PC-X: profound clustering via slow exemplars.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.PCX` that replace those of the paper. The
        burn-in is a quarter of ``max_epochs`` unless it is one of them.

    Returns
    -------
    model : PCX
        Unfitted.

    Notes
    -----
    Stated in [1]_: Algorithm 1 (Appendix A.3), in which assignments, network and
    centroids are updated in turn, batch by batch, from a random start; and in Appendix
    A.7 the layers of 500, 500 and 2,000 units and a code of 10, weights and centroids
    drawn from the uniform distribution of Glorot and Bengio, Adam at 5e-4, batches of
    256, 1,000 epochs, τ = 5 and κ = 0.995. Section 3.1 has the entropy of Eq. 8 in the
    loss after a burn-in of 250 epochs, a quarter of all.

    κ is a constant in A.7; as Eq. 6 is printed it depends on the size of the cluster:
    ``decay_by_size=True``.

    Left open, and taken from the authors' code (for features of ImageNet-10): the
    weights η1 and η2, and that the reconstruction error is a mean of squares. Its
    networks have leaky rectifiers, and noise behind the centroid-integration unit,
    which the paper has not; it moves centroids before the step of the optimizer. How X
    is scaled is open: the estimator trains on X minus its medians, in units of the root
    mean square. The paper does not say what becomes of a cluster without rows: the
    estimator re-seeds it, and a warning says so.

    References
    ----------
    .. [1] PC-X: Profound clustering via slow exemplars. CPAL 2024.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.pcx(10, random_state=0)
    >>> model.init, model.max_epochs, model.burn_in_epochs
    ('random', 1000, 250)
    >>> recipes.pcx(10, max_epochs=100).burn_in_epochs
    25
    """
    return _pcx({}, n_clusters, settings)


def pcx_div(n_clusters: int, **settings: Any) -> PCX:
    """PC-X-Div: PC-X with the minimum entropy of its appendix A.2.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.PCX` that replace those of the paper. The
        burn-in is a quarter of ``max_epochs`` unless it is one of them.

    Returns
    -------
    model : PCX
        Unfitted.

    Notes
    -----
    Stated in [1]_: the loss of Eq. 9 (Appendix A.2), which is that of Section 3.1, as
    in :func:`pcx`. Section 3.1 prints Eq. 1 without the entropy and adds it in words:
    ``pcx(entropy_weight=0.0)`` is Eq. 1 alone.

    References
    ----------
    .. [1] PC-X: Profound clustering via slow exemplars. CPAL 2024.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.pcx_div(10).entropy_weight
    1e-05
    """
    return pcx(n_clusters, **settings)


def pcx_imba(n_clusters: int, **settings: Any) -> PCX:
    """PC-X-IMBA: PC-X for clusters of unequal size.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.PCX` that replace those of the paper. The
        burn-in is a quarter of ``max_epochs`` unless it is one of them.

    Returns
    -------
    model : PCX
        Unfitted.

    Notes
    -----
    Stated in [1]_: the loss of Eq. 12, sizes by Eq. 13 and ε = 5 in Eq. 14, weights of
    1 in the burn-in (Appendix A.3). All else is as in :func:`pcx`.

    References
    ----------
    .. [1] PC-X: Profound clustering via slow exemplars. CPAL 2024.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.pcx_imba(4)
    >>> model.imbalanced, model.size_smoothing
    (True, 5.0)
    """
    weights = {"imbalanced": True, "size_smoothing": 5.0}
    return _pcx(weights, n_clusters, settings)


def _pcx(published, n_clusters, settings):
    model = PCX(n_clusters, **{**EXEMPLARS, **published, **settings})
    if "burn_in_epochs" not in settings:
        model.set_params(burn_in_epochs=model.max_epochs // 4)
    return model


def _discriminative(n_clusters, image_shape):
    return {
        "latent_dim": 60,
        "architecture": "fully-conv",
        "hidden_layer_sizes": (6, 8),
        "image_shape": tuple(image_shape),
        "reconstruction_weight": 0.001,
        "discriminative_weight": 1.0,
        "between_weight": 1.0,
        "within_weight": 0.3,
        "anchors": "batch",
        "n_neighbors": max(n_clusters - 1, 1),
        "anchor_fraction": 0.2,
        "metric": "cosine",
        "alpha": 0.1,
        "pretrain_epochs": 50,
        "stage_one_epochs": 20,
        "max_epochs": 70,
        "batch_size": 1000,
        "lr": 1e-2,
        "optimizer": "adam",
    }


def discriminative_mnist(
    n_clusters: int, image_shape: tuple[int, ...] = (1, 28, 28), **settings: Any
) -> DiscriminativeClustering:
    """Discriminative clustering as for MNIST, by the small convolutional network.

    Parameters
    ----------
    n_clusters : int
        Number K of clusters.
    image_shape : tuple of int (C, H, W), default=(1, 28, 28)
        How to read a row of X as an image. Values should be between 0 and 1.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DiscriminativeClustering` that replace
        those of the paper.

    Returns
    -------
    model : DiscriminativeClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_: a fully convolutional network of three layers there and three back
    (Sections 3.3 and 4.2), a code of 60 and some 3.2 thousand parameters, batches of
    1,000 at least, a reconstruction that is weighted by 0.001, λ_d = 1 in stage I, λ_b
    = 1 and λ_w = 0.3 in stage II (Section 4.2); anchors from a graph of each batch with
    k < K neighbours (algorithm 1), of which a small fraction is kept; codes of unit
    norm and centroids from k-means on the sphere (Section 3.2). The figures are of
    fewer than 50 epochs of pretraining (Section 4.2), and of epoch 50 of stage II
    (figure 4).

    Left open: the optimizer and its rate, α, the measure of the graph, the fraction of
    its edges, the epochs of stage I, ε, and the channels of the network. Here these are
    Adam at 0.01, which falls to zero and begins the stages at a tenth, α = 0.1, the
    cosine, a fifth of the edges, 20 epochs, 0 in pretraining and 1e-5 in the stages,
    and 6, 8 and 15 channels. The reconstruction error is a mean over the rows of a
    batch, where a sum is printed: with that the weight would be 1 for batches of 1,000.
    Section 3.4 asks for λ_b and λ_w between 1 and 5, Section 4.2 for the values above.

    References
    ----------
    .. [1] E. Tzoreff, O. Kogan and Y. Choukroun. Deep discriminative latent space for
       clustering. arXiv:1805.10795 (2018).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.discriminative_mnist(10)
    >>> model.architecture, model.anchors, model.n_neighbors
    ('fully-conv', 'batch', 9)
    """
    published = _discriminative(n_clusters, image_shape)
    return DiscriminativeClustering(n_clusters, **{**published, **settings})


def discriminative_coil(
    n_clusters: int, image_shape: tuple[int, ...] = (1, 32, 32), **settings: Any
) -> DiscriminativeClustering:
    """Discriminative clustering as for COIL-20, and for COIL-100 with wider codes.

    Parameters
    ----------
    n_clusters : int
        Number K of clusters. For more than 20 the code has 500 values and batches
        1,000 rows, as for COIL-100; otherwise 150 and 500.
    image_shape : tuple of int (C, H, W), default=(1, 32, 32)
        How to read a row of X as an image. Values should be between 0 and 1.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DiscriminativeClustering` that replace
        those of the paper.

    Returns
    -------
    model : DiscriminativeClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_ (Section 4.3): images of 32 x 32, the architecture for MNIST with a
    code of 150 (500 for COIL-100) and some 7.5 (12.5) thousand parameters, batches of
    500 (1,000), a reconstruction weighted by 0.001, and λ_d "set to 4 and decreased to
    1 during the training process" of stage I. Left open: what
    :func:`discriminative_mnist` lists, how λ_d decreases, here linearly, and the
    weights of stage II, here those for MNIST. Channels of 14 and 19 make 7,309
    parameters for COIL-20, and 12,645 for colour images and a code of 500.

    References
    ----------
    .. [1] E. Tzoreff, O. Kogan and Y. Choukroun. Deep discriminative latent space for
       clustering. arXiv:1805.10795 (2018).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.discriminative_coil(20)
    >>> model.discriminative_weight, model.latent_dim, model.batch_size
    ((4.0, 1.0), 150, 500)
    """
    of_hundred = n_clusters > 20
    published = {
        **_discriminative(n_clusters, image_shape),
        "hidden_layer_sizes": (14, 19),
        "latent_dim": 500 if of_hundred else 150,
        "batch_size": 1000 if of_hundred else 500,
        "discriminative_weight": (4.0, 1.0),
    }
    return DiscriminativeClustering(n_clusters, **{**published, **settings})


def tae_linear(n_clusters: int, **settings: Any) -> TensorizedAutoencoder:
    """The linear tensorized autoencoder, as for the toy data.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.TensorizedAutoencoder` that replace those
        of the paper.

    Returns
    -------
    model : TensorizedAutoencoder
        Unfitted.

    Notes
    -----
    Stated in [1]_: a linear network of two layers, h = 1, λ = -0.1 and 100 epochs
    (appendix B.1), a start by k-means++ and Lloyd's step (Section 2.3). Theorem 2.2 is
    about orthonormal encoders; the authors' code, which made the figures, trains two
    free matrices without biases, by Adam on the whole data, with the assignment updated
    from the first step. Its rates are 0.01 and 0.1; here 0.01. ``solver="auto",
    code_layer="orthonormal"`` is the setting of the theorem, solved in closed form.

    References
    ----------
    .. [1] P. Esser, S. Mukherjee, M. Sabanayagam and D. Ghoshdastidar. Improved
       representation learning through tensorized autoencoders. AISTATS 2023.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.tae_linear(3)
    >>> model.code_layer, model.latent_dim, model.code_penalty
    ('linear', 1, -0.1)
    """
    published = {**TENSORIZED, "code_layer": "linear"}
    return TensorizedAutoencoder(n_clusters, **{**published, **settings})


def tae_mlp(
    n_clusters: int, latent_dim: int = 1, **settings: Any
) -> TensorizedAutoencoder:
    """The tensorized autoencoder with one hidden layer, as for tables and MNIST.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    latent_dim : int, default=1
        Width h of the hidden layer: 1 for penguins and iris, 10 for MNIST.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.TensorizedAutoencoder` that replace those
        of the paper.

    Returns
    -------
    model : TensorizedAutoencoder
        Unfitted.

    Notes
    -----
    Stated in [1]_: "a one hidden layer, ReLU network", h = 1 for penguins and iris and
    10 for MNIST (appendix B.3). Left open: what :func:`tae_linear` takes from the
    authors' code, and the number of epochs, here 100 as for the toy data. For denoising
    ``noise_std`` is to be given.

    References
    ----------
    .. [1] P. Esser, S. Mukherjee, M. Sabanayagam and D. Ghoshdastidar. Improved
       representation learning through tensorized autoencoders. AISTATS 2023.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.tae_mlp(5, latent_dim=10).code_layer
    'relu'
    """
    published = {**TENSORIZED, "code_layer": "relu", "latent_dim": latent_dim}
    return TensorizedAutoencoder(n_clusters, **{**published, **settings})


def tae_conv(
    n_clusters: int, image_shape: tuple[int, ...], latent_dim: int = 10, **settings: Any
) -> TensorizedAutoencoder:
    """The convolutional tensorized autoencoder, as for MNIST.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W)
        How to read a row of X as an image.
    latent_dim : int, default=10
        Width h of the code.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.TensorizedAutoencoder` that replace those
        of the paper.

    Returns
    -------
    model : TensorizedAutoencoder
        Unfitted.

    Notes
    -----
    Stated in [1]_: "two encoding CNN layers and two decoding CNN layers and the same
    hidden dimension" (appendix B.3). Left open, and taken from the authors' code:
    convolutions of 5 x 5 with 4 and 8 channels, dense layers to the code and back by
    400 units to 10 maps, transposed convolutions. Their output passes a sigmoid, which
    no centred image can be matched by; here it is linear. The number of channels
    between the transposed convolutions is 4 here. Otherwise as :func:`tae_mlp`.

    References
    ----------
    .. [1] P. Esser, S. Mukherjee, M. Sabanayagam and D. Ghoshdastidar. Improved
       representation learning through tensorized autoencoders. AISTATS 2023.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.tae_conv(5, (1, 28, 28))
    >>> model.latent_dim, model.assignment
    (10, 'lloyd')
    """
    shape = tuple(image_shape)
    published = {
        **TENSORIZED,
        "architecture": partial(UnpooledConvAutoencoder, image_shape=shape),
        "hidden_layer_sizes": None,
        "image_shape": shape,
        "latent_dim": latent_dim,
    }
    return TensorizedAutoencoder(n_clusters, **{**published, **settings})


def sae_ssc(
    n_clusters: int, n_features: int, **settings: Any
) -> DeepSubspaceClustering:
    """SAE + SSC: a stacked autoencoder with sparse subspace clustering of its code.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    n_features : int
        Width of the data: the errors that are summed here are means in the estimator.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DeepSubspaceClustering` that replace
        those of the slides.

    Returns
    -------
    model : DeepSubspaceClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_, slide "SAE based Clustering": two layers of encoder and two of
    decoder, an activation on the code too; ``||X - X̂||² + ||Z - Z C||² + λ ||C||_1``
    with a zero diagonal, no unit norm, both first terms summed and of the same weight:
    ``subspace_weight`` is one by the number of features. "Way Out": solved by back
    propagation, so C is solved in every epoch, and held for it.

    Left open by [1]_: the activation (ReLU), widths (the estimator's), λ (``alpha``,
    relative to the code), rate and epochs. The scale of X, by which the first term is
    divided here; the network has biases. [2]_, which the slide cites, finds C in the
    data beforehand and holds it.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).
    .. [2] X. Peng, S. Xiao, J. Feng, W. Y. Yau and Z. Yi. Deep subspace clustering
       with sparsity prior. IJCAI 2016.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.sae_ssc(3, n_features=100)
    >>> model.normalize, model.subspace_weight, model.update_interval
    (False, 0.01, 1)
    """
    published = {
        **SLIDES,
        "architecture": partial(RectifiedMLPAutoencoder, hidden_layer_sizes=(128,)),
        "self_expression": "solved",
        "normalize": False,
        "penalty": "l1",
        "subspace_weight": 1 / n_features,
        "update_interval": 1,
    }
    return DeepSubspaceClustering(n_clusters, **{**published, **settings})


def dsc_net(
    n_clusters: int,
    image_shape: tuple[int, ...],
    channels: Sequence[int] = (10, 20, 30),
    kernel_sizes: Sequence[int] = (5, 3, 3),
    penalty: Literal["l1", "l2"] = "l2",
    **settings: Any,
) -> DeepSubspaceClustering:
    """DSC-Net: deep subspace clustering networks, with a trained self-expression.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W)
        How to read a row of X as an image.
    channels : sequence of int, default=(10, 20, 30)
        Number of feature maps of each layer of the encoder.
    kernel_sizes : sequence of int, default=(5, 3, 3)
        Side of the filters of each layer.
    penalty : {"l1", "l2"}, default="l2"
        DSC-Net-L1 or DSC-Net-L2.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DeepSubspaceClustering` that replace
        those of the paper.

    Returns
    -------
    model : DeepSubspaceClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_ (Sections 3 and 4): convolutions of stride 2 with ReLU, whose last
    feature maps are the code; a fully connected layer without bias or activation
    between encoder and decoder, whose weights are C, with a zero diagonal; the error
    of the reconstruction from ``C Z``, ``λ_1 R(C)`` and ``λ_2 / 2 ||Z - C Z||²``; an
    autoencoder that is trained without that layer before; all data in one batch; Adam
    at 1e-3. The default network is the one for the Extended Yale B faces, for which
    λ_1 is 1 and λ_2 is ``10^(k / 10 - 3)``; ORL has ``channels=(5, 3, 3)``, COIL-20
    ``channels=(15,), kernel_sizes=(3,)``.

    ``subspace_weight`` is λ_2 by the number of features, as the estimator takes means.
    What λ_1 weighs depends on the scale of the images, and is ``alpha`` here, relative
    to the code. The scale of X is divided out. The decoder's last layer is linear, as
    centred images are negative in part. The graph is thinned (``affinity_mass``) where
    the authors' code takes a singular value decomposition of C and powers. Numbers of
    epochs differ from set to set in that code (30 to 1,000): 500 and 300 are ours.

    References
    ----------
    .. [1] P. Ji, T. Zhang, H. Li, M. Salzmann and I. Reid. Deep subspace clustering
       networks. NIPS 2017.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dsc_net(38, image_shape=(1, 48, 42))
    >>> model.self_expression, model.latent_dim
    ('trained', 1080)
    """
    n_features = math.prod(image_shape)
    network = partial(
        FeatureMapAutoencoder,
        channels=tuple(channels),
        kernel_sizes=tuple(kernel_sizes),
        image_shape=tuple(image_shape),
    )
    published = {
        "architecture": network,
        "latent_dim": n_map_values(channels, image_shape),
        "image_shape": tuple(image_shape),
        "self_expression": "trained",
        "normalize": False,
        "penalty": penalty,
        "subspace_weight": 10 ** (n_clusters / 10 - 3) / n_features,
        "pretrain_epochs": 500,
        "max_epochs": 300,
        "batch_size": 10_000,
        "lr": 1e-3,
        "optimizer": "adam",
        "tol": 0.0,
    }
    return DeepSubspaceClustering(n_clusters, **{**published, **settings})


def ddl_kmeans(n_clusters: int, **settings: Any) -> DeepDictionaryClustering:
    """DDL + k-means: three dictionaries with a k-means term on the codes.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DeepDictionaryClustering` that replace
        those of the slides.

    Returns
    -------
    model : DeepDictionaryClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_, the slide after "Transform Learning": ``||X - D_1 D_2 D_3 Z||² +
    μ ||Z - Z Hᵀ (H Hᵀ)⁻¹ H||²`` with ``Z``, ``D_3 Z`` and ``D_2 D_3 Z`` not negative.

    Left open by [1]_: numbers of atoms, μ (1 here), the start and the number of sweeps.
    Its slide "Solution" updates the dictionaries by pseudo-inverses, under which
    neither the constraints nor the descent hold: here every block is updated
    exactly, under the constraints, with atoms of unit norm.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.ddl_kmeans(3).clustering
    'kmeans'
    """
    published = {**SLIDES, "clustering": "kmeans", "clustering_weight": 1.0}
    return DeepDictionaryClustering(n_clusters, **{**published, **settings})


def ddl_ssc(n_clusters: int, **settings: Any) -> DeepDictionaryClustering:
    """DDL + SSC: three dictionaries with sparse subspace clustering of the codes.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DeepDictionaryClustering` that replace
        those of the slides.

    Returns
    -------
    model : DeepDictionaryClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_, slides "Two examples" and the one after "Transform Learning", and
    the subject of [2]_, which that one cites: ``||X - D_1 D_2 D_3 Z||² +
    μ (||Z - Z C||² + λ ||C||_1)`` with a zero diagonal, the codes of all layers not
    negative. Left open by [1]_, and exact where the slides are not: as for
    :func:`ddl_kmeans`.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).
    .. [2] A. Goel and A. Majumdar. Sparse subspace clustering friendly deep
       dictionary learning for hyperspectral image classification. IEEE GRSL 19
       (2022).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.ddl_ssc(3).clustering
    'subspace'
    """
    published = {**SLIDES, "clustering": "subspace"}
    return DeepDictionaryClustering(n_clusters, **{**published, **settings})


def tsc(
    n_clusters: int,
    penalty: Literal["l1", "nuclear", "neighbors"] = "l1",
    **settings: Any,
) -> DeepTransformClustering:
    """TSC: transformed subspace clustering, one transform.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    penalty : {"l1", "nuclear", "neighbors"}, default="l1"
        R(c): sparse subspace clustering, low-rank representation, or locally linear
        manifold clustering.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DeepTransformClustering` that replace
        those of the document.

    Returns
    -------
    model : DeepTransformClustering
        Unfitted.

    Notes
    -----
    The objective of :func:`dtl_ssc` with one transform, which is the subject of [2]_;
    [1]_, slide "Solution" after "DTL based clustering", cites it. What is open is open
    there too.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).
    .. [2] J. Maggu, A. Majumdar and E. Chouzenoux. Transformed subspace clustering.
       IEEE TKDE 33 (2021).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.tsc(3, penalty="neighbors")
    >>> model.n_layers, model.affine
    (1, False)
    """
    return dtl_ssc(n_clusters, **{"n_layers": 1, "penalty": penalty, **settings})


def dtl_ssc(n_clusters: int, **settings: Any) -> DeepTransformClustering:
    """DTL + SSC: deeply transformed subspace clustering, three transforms.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DeepTransformClustering` that replace
        those of the document.

    Returns
    -------
    model : DeepTransformClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_, slides "DTL based clustering" and "Solution": three transforms,
    hidden layers X_2 and X_3 that are not negative, λ on all of them, γ on the
    self-expression, and P1 to P7 in turn, each of which is solved exactly here. The
    subspaces are linear.

    Left open by [1]_: R, λ, γ, the width of the layers and the number of sweeps, which
    are the estimator's. It takes rows at unit norm.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).
    .. [2] J. Maggu, A. Majumdar, E. Chouzenoux and G. Chierchia. Deeply transformed
       subspace clustering. Signal Processing 174 (2020).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.dtl_ssc(3).n_layers
    3
    """
    published = {
        **SLIDES,
        "n_layers": 3,
        "affine": False,
        "clustering": "subspace",
        "penalty": "l1",
    }
    return DeepTransformClustering(n_clusters, **{**published, **settings})


def dtl_kmeans(n_clusters: int, **settings: Any) -> DeepTransformClustering:
    """DTL + k-means: three transforms with a k-means term on the codes.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DeepTransformClustering` that replace
        those of the slides.

    Returns
    -------
    model : DeepTransformClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_, slides "DTL based clustering" ("plug-in a clustering loss after the
    last layer of deep transform learning") and "Two examples" (k-means as ``||Z - Z Hᵀ
    (H Hᵀ)⁻¹ H||²``). What is open is open in :func:`dtl_ssc` too; X is centred and
    divided by its root mean square norm here.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> recipes.dtl_kmeans(3).clustering
    'kmeans'
    """
    published = {**SLIDES, "n_layers": 3, "clustering": "kmeans"}
    return DeepTransformClustering(n_clusters, **{**published, **settings})


def ctl(
    n_clusters: int, image_shape: tuple[int, ...], n_layers: int = 1, **settings: Any
) -> ConvTransformClustering:
    """CTL: convolutional transform learning, then k-means on its feature maps.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W)
        How to read a row of X as an image; a series is ``(1, 1, length)``.
    n_layers : int, default=1
        Number of layers of 16 filters. More than one is deep convolutional transform
        learning.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.ConvTransformClustering` that replace
        those of the slides.

    Returns
    -------
    model : ConvTransformClustering
        Unfitted.

    Notes
    -----
    Stated in [1]_, slides "CTL formulation" and the one after: ``||T • X - Z||² + Ψ(Z)
    + λ (||T||² - log det T)``, T holding one filter a column, and for several layers
    ``||T_3 • (T_2 • (T_1 • X)) - Z||²`` with the terms of each; Z as wide as the data
    for each filter, without activation, pooling or projection; Adam.

    Left open by [1]_: Ψ (here the sum of absolute values), the weights, size and number
    of filters, rate and epochs; how samples are clustered, which it announces: here by
    k-means on the codes, without a term in the loss. Samples are averaged, so that λ of
    [1]_ is ``transform_penalty`` times their number; X is centred, and divided by its
    standard deviation. [2]_ has SELU after each layer: ``activation="selu"``.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).
    .. [2] J. Maggu, A. Majumdar, E. Chouzenoux and G. Chierchia. Deep convolutional
       transform learning. ICONIP 2020.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.ctl(3, image_shape=(1, 1, 32), n_layers=2)
    >>> model.latent_dim, model.pooling, model.activation, model.hidden_layer_sizes
    (None, False, 'identity', (16, 16))
    """
    published = {
        **SLIDES,
        "latent_dim": None,
        "hidden_layer_sizes": (16,) * n_layers,
        "image_shape": tuple(image_shape),
        "pooling": False,
        "activation": "identity",
        "kmeans_weight": 0.0,
        "optimizer": "adam",
    }
    return ConvTransformClustering(n_clusters, **{**published, **settings})


def depict(n_clusters: int, image_shape: tuple[int, ...], **settings: Any) -> DEPICT:
    """DEPICT: a softmax on the code of a convolutional autoencoder, trained with noise.

    Parameters
    ----------
    n_clusters : int
        Number of clusters, and width of the code.
    image_shape : tuple of int (C, H, W)
        How to read a row of X as an image.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DEPICT` that replace those of the paper.

    Returns
    -------
    model : DEPICT
        Unfitted.

    Notes
    -----
    Stated in [1]_: two convolutions of 50 channels and a code as wide as there are
    clusters; dropout of 0.1; the errors of all layers with a weight of 1; Adam at 1e-4;
    batches of 100.

    From the authors' code: up to 4,000 epochs of the autoencoder, and as many of the
    clustering, which end when targets stand still; the target of DEC. Eq. 6 of [1]_ is
    ``target="balanced"``.

    No setting brings back: kernels of 4 and 5 pixels, leaky ReLU and tanh; the noise
    in all layers of the pretraining, here in its input, and its end by the error of a
    tenth of the rows; the softmax that is trained to give the first labels, here set
    to; for some sets of data first clusters by agglomeration.

    References
    ----------
    .. [1] K. Ghasedi Dizaji, A. Herandi, C. Deng, W. Cai and H. Huang. Deep clustering
       via joint convolutional autoencoder embedding and relative entropy
       minimization. ICCV 2017.

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.depict(10, image_shape=(1, 28, 28))
    >>> model.latent_dim, model.lr, model.target
    (10, 0.0001, 'sharpened')
    """
    published = {
        "latent_dim": n_clusters,
        "architecture": "conv",
        "hidden_layer_sizes": (50, 50),
        "image_shape": tuple(image_shape),
        "dropout_rate": 0.1,
        "reconstruction_weight": 1.0,
        "target": "sharpened",
        "update_interval": 1,
        "pretraining": "end-to-end",
        "mask_rate": 0.1,
        "pretrain_epochs": 4000,
        "init": "k-means",
        "whiten": False,
        "max_epochs": 4000,
        "batch_size": 100,
        "lr": 1e-4,
        "optimizer": "adam",
    }
    return DEPICT(n_clusters, **{**published, **settings})


def dynae(
    n_clusters: int, image_shape: tuple[int, ...] | None = None, **settings: Any
) -> DynAE:
    """DynAE: the dynamic autoencoder.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row of X as an image, which is moved at random in training; None
        is for vectors, which are not.
    **settings : dict
        Parameters of :class:`~deepcluster_sk.DynAE` that replace those of the paper.

    Returns
    -------
    model : DynAE
        Unfitted.

    Notes
    -----
    Stated in [1]_ and in its authors' code, for MNIST: layers of 500, 500 and 2,000
    units and a code of 10; images turned by up to 10 degrees and shifted by up to a
    tenth; 130,000 steps of the autoencoder at 1e-4, 475 epochs of 70,000 rows, and up
    to 100,000 of the clustering, 366 epochs; batches of 256; k-means in the code as it
    is; κ = 3; the end when less than 1 % of the rows are conflicted; γ = 100, the
    weight of the error of images beside the mean squared error of a code. Relative to
    the mean square of MNIST, about 0.1, a squared distance summed over the code then
    weighs 0.01.

    No setting brings back: the adversarial critic of the pretraining; the clustering
    by stochastic gradient descent at 1e-3, here Adam at 1e-4 as before it; k-means
    anew where conflicts do not become fewer.

    References
    ----------
    .. [1] N. Mrabah, N. M. Khan, R. Ksantini and Z. Lachiri. Deep clustering with a
       dynamic autoencoder: from reconstruction towards centroids construction. Neural
       Networks 130 (2020).

    Examples
    --------
    >>> from deepcluster_sk import recipes
    >>> model = recipes.dynae(10, image_shape=(1, 28, 28))
    >>> model.confidence, model.tol, model.whiten
    (3.0, 0.01, False)
    """
    published = {
        "latent_dim": 10,
        "hidden_layer_sizes": (500, 500, 2000),
        "clustering_weight": 0.01,
        "confidence": 3.0,
        "pretraining": "end-to-end",
        "mask_rate": 0.0,
        "pretrain_epochs": 475,
        "init": "k-means",
        "whiten": False,
        "max_epochs": 366,
        "batch_size": 256,
        "lr": 1e-4,
        "optimizer": "adam",
        "tol": 1e-2,
    }
    if image_shape is not None:
        published["augmentation"] = RandomAffine(
            tuple(image_shape), rotation=10.0, shift=0.1
        )
    return DynAE(n_clusters, **{**published, **settings})
