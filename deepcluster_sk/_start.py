"""Where methods start: a trained autoencoder and k-means, free of labels."""

from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from deepcluster_sk._criteria import (
    DenoisingStage,
    RelativeReconstruction,
    drop_values,
)
from deepcluster_sk._phase import Phase
from deepcluster_sk._quiet import quiet

# Medians are taken of so many rows.
START_ROWS = 10_000


def check_stages(estimator, module):
    """Refuse layerwise pretraining of an architecture that declares no stages."""
    if estimator.pretraining == "layerwise" and not module.autoencoder.stages:
        raise ValueError(
            f"pretraining='layerwise' of {type(estimator).__name__} needs an "
            "architecture with the attribute stages: pairs (down, up) of modules, "
            "from the input inwards, that encode and decode."
        )


def set_units(run, block=4096):
    """Tell the module the origin of the training data and their scale.

    The origin is the median of each feature (of the first ``START_ROWS`` of a random
    order): the value that sparse data, such as images on black, mostly have stays
    zero. The scale is common to all features: the root mean square of what differs
    from the origin. Features are made comparable, or not, by who prepares the data.
    """
    X = run.rows.X
    rows = run.random_state.permutation(len(X))[:START_ROWS]
    origin = X[torch.from_numpy(rows).to(X.device)].median(dim=0).values
    shifted = (x.cpu().double() - origin.cpu() for x in X.split(block))
    scale = (sum(float(x.square().sum()) for x in shifted) / X.numel()) ** 0.5
    run.module.set_units(origin, torch.tensor(scale if scale > 0 else 1.0))


def pretraining(run, epochs, how, dropout):
    """Phases that train the module's autoencoder to reconstruct, and whiten its code.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder``.
    epochs : int
        Epochs of the whole autoencoder.
    how : {"end-to-end", "layerwise"}
        "layerwise" first trains one stage after the other for half as many epochs
        each, the proportion of DEC's authors.
    dropout : float
        Share of the values that are hidden from the network.

    Yields
    ------
    Phase
    """
    set_units(run)
    module = run.module
    if how == "layerwise":
        generator = torch.Generator(run.rows.X.device)
        generator.manual_seed(run.random_state.randint(np.iinfo(np.int32).max))
        for depth in range(len(module.autoencoder.stages)):
            stage = DenoisingStage(depth, generator, dropout)
            yield Phase(f"pretrain layer {depth + 1}", stage, epochs // 2)
    hide = hiding(module, dropout)
    yield Phase("pretrain", RelativeReconstruction(), epochs, corrupt=hide)
    whiten_code(run)


def hiding(module, rate):
    """How a phase hides values from a ``CentroidAutoencoder``: for ``corrupt``."""
    return partial(_hide, module.origin, rate) if rate else None


def _hide(origin, rate, x, generator):
    """Dropout of what differs from the origin."""
    return origin + drop_values(x - origin, rate, generator)


def whiten_code(run, ridge=0.1):
    """Give the code of the training data mean 0 and nearly a unit covariance.

    Reconstruction determines a code up to an invertible linear map only, but k-means
    and kernels around centres depend on that map: whichever direction happens to
    be long decides. So the map is chosen: directions of equal variance. Directions
    in which the code hardly varies are not blown up: eigenvalues of the covariance
    count as their value plus ``ridge`` times the mean one. The total variance is h.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder``.
    ridge : float, default=0.1
        What is added to the eigenvalues, relative to their mean.
    """
    module = run.module
    code = run.apply(module.encode).cpu().double()
    mean = code.mean(0)
    covariance = (code - mean).T @ (code - mean) / len(code)
    variance, directions = torch.linalg.eigh(covariance)
    average = variance.mean()
    if not average > 0:  # all codes are equal; or not finite, as the phase will say
        return
    gain = (variance.clamp_min(0) + ridge * average).rsqrt()
    gain *= (len(gain) / (gain.square() * variance).sum()).sqrt()
    module.autoencoder.rebase(mean, directions * gain, (directions / gain).T)


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
