"""Where methods start: a trained autoencoder and k-means, free of labels."""

import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans

from deepcluster_sk._criteria import DenoisingStage, Reconstruction
from deepcluster_sk._phase import Phase
from deepcluster_sk.exceptions import ClusterCollapseWarning


def check_stages(estimator, module):
    """Refuse layerwise pretraining of an architecture that declares no stages."""
    if estimator.pretraining == "layerwise" and not module.autoencoder.stages:
        raise ValueError(
            f"pretraining='layerwise' of {type(estimator).__name__} needs an "
            "architecture with the attribute stages: pairs (down, up) of modules, "
            "from the input inwards, that encode and decode."
        )


def pretraining(run, epochs, how):
    """Phases that train the module's autoencoder to reconstruct.

    Parameters
    ----------
    run : Run
        The module has an ``autoencoder``.
    epochs : int
        Epochs of the whole autoencoder.
    how : {"end-to-end", "layerwise"}
        "layerwise" first trains one stage after the other for half as many epochs
        each, the proportion of DEC's authors.

    Yields
    ------
    Phase
    """
    if how == "layerwise":
        generator = torch.Generator(run.rows.X.device)
        generator.manual_seed(run.random_state.randint(np.iinfo(np.int32).max))
        for depth in range(len(run.module.autoencoder.stages)):
            stage = DenoisingStage(depth, generator)
            yield Phase(f"pretrain layer {depth + 1}", stage, epochs // 2)
    yield Phase("pretrain", Reconstruction(), epochs)


def kmeans_start(embedding, n_clusters, random_state, n_init=20):
    """Centres and labels of k-means on an embedding.

    Parameters
    ----------
    embedding : Tensor of shape (n, h)
        Codes of the training data.
    n_clusters : int
        Number k of clusters.
    random_state : RandomState
        Source of the seeds.
    n_init : int, default=20
        Number of restarts, as the authors of DEC use.

    Returns
    -------
    centers : ndarray of shape (k, h), float32
    labels : ndarray of shape (n,), int64
    """
    kmeans = KMeans(n_clusters, n_init=n_init, random_state=random_state)
    labels = kmeans.fit_predict(embedding.detach().cpu().numpy())
    return kmeans.cluster_centers_.astype(np.float32), labels.astype(np.int64)


def warn_reseeded(estimator, n_reseeded):
    """Say so if clusters that lost all their rows were started again."""
    if n_reseeded:
        warnings.warn(
            f"{n_reseeded} times a cluster of {type(estimator).__name__} lost all its "
            "samples and was started again from others.",
            ClusterCollapseWarning,
            stacklevel=7,
        )
