"""Where methods start: a trained autoencoder and k-means, free of labels."""

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk._criteria import DenoisingStage, Reconstruction
from deepcluster_sk._phase import Phase
from deepcluster_sk._quiet import quiet


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
    # Fewer distinct codes than clusters: those that end empty are announced by us.
    with quiet(ConvergenceWarning):
        labels = kmeans.fit_predict(embedding.detach().cpu().numpy())
    return kmeans.cluster_centers_.astype(np.float32), labels.astype(np.int64)


def spherical_kmeans(directions, n_clusters, random_state, n_init=20, max_iter=100):
    """Centres of k-means on the unit sphere, where similarity is the cosine.

    Parameters
    ----------
    directions : Tensor of shape (n, h)
        Codes of unit norm.
    n_clusters : int
        Number k of clusters.
    random_state : RandomState
        Source of the k-means++ seeds.
    n_init : int, default=20
        Number of restarts; the one of largest mean cosine is kept.
    max_iter : int, default=100
        Largest number of sweeps of a restart.

    Returns
    -------
    centers : Tensor of shape (k, h)
        Of unit norm.
    """
    best, centers = -np.inf, None
    array = directions.cpu().numpy()
    for _ in range(n_init):
        seeds, _ = kmeans_plusplus(array, n_clusters, random_state=random_state)
        mu, labels = directions.new_tensor(seeds), None
        for _ in range(max_iter):
            old, (labels, cosine) = labels, nearest_direction(directions, mu)
            if old is not None and torch.equal(old, labels):
                break
            mu = mean_directions(directions, labels, mu)
        if float(cosine.mean()) > best:
            best, centers = float(cosine.mean()), mu
    return centers


def nearest_direction(directions, centers):
    """Index of the centre of largest cosine, and that cosine, ``(n,), (n,)``."""
    cosine, labels = (directions @ centers.T).max(1)
    return labels, cosine


def mean_directions(directions, labels, centers):
    """Normalised mean of each cluster; an empty one keeps its centre, ``(k, h)``."""
    member = torch.nn.functional.one_hot(labels, len(centers)).to(directions)
    sums = member.T @ directions
    norm = sums.norm(dim=1, keepdim=True)
    return torch.where(norm > 1e-8, sums / norm.clamp(min=1e-8), centers)
