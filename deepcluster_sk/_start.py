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
from deepcluster_sk._mixture import Mixtures, Prior
from deepcluster_sk._numbering import numbered, order_of_clusters
from deepcluster_sk._phase import Phase
from deepcluster_sk._quiet import quiet

# Medians and mixtures are found on so many rows, drawn at random.
START_ROWS = 10_000
# Iterations of a mixture after which its starts are compared. After 5 those from
# k-means are still what it made of a large cluster: halves.
SHORT_RUN = 30
# Most iterations of the best, which also ends when the bound rises by less.
LONG_RUN, BOUND_TOL = 100, 1e-3
# Starts of a mixture: from k-means, and from rows drawn at random. Where clusters have
# similar sizes the first find the larger bounds, where they have not, the second.
KMEANS_STARTS, ROW_STARTS = 6, 6
# Added to the eigenvalues of the pooled covariance, relative to their mean, before it
# becomes a multiple of the identity. Where there are few rows or features some are
# nearly zero. A direction that is blown up is one in which the first steps of training
# scatter the codes: with 0.02 clusters of 150 rows were lost within three epochs.
WITHIN_RIDGE = 0.3


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
    _choose_units(module, mean, covariance, covariance, ridge, torch.ones(()))


def _choose_units(module, shift, covariance, measured, ridge, variance):
    """Move the code's origin and make a covariance of it a multiple of the identity.

    Parameters
    ----------
    module : CentroidAutoencoder
    shift : Tensor of shape (h,)
        The new origin.
    covariance : Tensor of shape (h, h)
        What is to become, but for the ridge, the identity times a factor.
    measured : Tensor of shape (h, h)
        The covariance that decides the factor.
    ridge : float
        What is added to the eigenvalues, relative to their mean.
    variance : Tensor of shape ()
        What the mean of the diagonal of ``measured`` becomes.

    Returns
    -------
    forth : Tensor of shape (h, h)
        A code c has become ``(c - shift) @ forth``.
    """
    values, directions = torch.linalg.eigh(covariance)
    average = values.mean()
    if not average > 0:  # all codes are equal; or not finite, as the phase will say
        return torch.eye(len(shift), dtype=torch.double)
    gain = (values.clamp_min(0) + ridge * average).rsqrt()
    forth = directions * gain
    factor = (variance * len(shift) / (forth.T @ measured @ forth).trace()).sqrt()
    forth, back = forth * factor, (directions / (gain * factor)).T
    module.autoencoder.rebase(shift, forth, back)
    return forth


def place_centers(run, n_clusters, init):
    """Find clusters in the code, and units of the code in which they are round.

    The largest cluster comes first.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder`` with a whitened code.
    n_clusters : int
        Number k of clusters.
    init : {"mixture", "k-means"}
        "k-means" leaves the code as it is. "mixture" fits Gaussians: in an
        autoencoder's code clusters are elongated, and k-means cuts the longest and
        merges the shortest.

    Returns
    -------
    centers : Tensor of shape (k, h), on the module's device
    labels : Tensor of shape (n,), int64, on the module's device
    """
    module = run.module
    code = run.apply(module.encode)
    centers, labels = kmeans_start(code, n_clusters, run.random_state)
    if init == "mixture":
        array = code.cpu().numpy().astype(np.float64)
        found = mixture_start(array, labels, centers, run.random_state)
        if found is not None:
            centers, labels = found
            within = torch.from_numpy(pooled_covariance(array, labels, centers))
            shift = torch.zeros(array.shape[1], dtype=torch.double)
            half = torch.tensor(0.5, dtype=torch.double)
            forth = _choose_units(module, shift, within, within, WITHIN_RIDGE, half)
            centers = centers @ forth.numpy()
    device = code.device
    return (
        torch.from_numpy(centers.astype(np.float32)).to(device),
        torch.from_numpy(labels.astype(np.int64)).to(device),
    )


def pooled_covariance(X, labels, centers):
    """Covariance of what remains of rows without their centres, ``(h, h)``."""
    residual = X - centers[labels]
    return residual.T @ residual / len(X)


def mixture_start(X, labels, centers, random_state, strength=100):
    """Means and labels of a mixture of Gaussians that resemble one another.

    Each covariance is shrunk towards the pooled one of a k-means clustering, which
    weighs as much as ``strength`` rows: few rows get nearly one common covariance,
    many their own. Sizes are drawn towards equality by 10 rows a cluster. Of all
    starts the one with the largest lower bound on the evidence after ``SHORT_RUN``
    iterations goes on, as in short runs of EM (Biernacki et al., 2003).

    Parameters
    ----------
    X : ndarray of shape (n, h), float64
        Codes.
    labels, centers : ndarrays of shape (n,) and (k, h)
        The k-means clustering.
    random_state : RandomState
        Source of the starts, and of the ``START_ROWS`` rows that are used.
    strength : float, default=100

    Returns
    -------
    centers, labels : ndarrays of shape (k, h) and (n,), or None
        None where the clusters of k-means have no extent, as with as many clusters
        as rows: there is nothing to model.
    """
    n_features = X.shape[1]
    pooled = pooled_covariance(X, labels, centers)
    # Against directions without any extent, which have no density.
    extent = np.trace(pooled) / n_features
    if not extent > 1e-6 * X.var():
        return None
    pooled = pooled + 1e-3 * extent * np.eye(n_features)
    rows = torch.from_numpy(X)
    some = rows[torch.from_numpy(random_state.permutation(len(X))[:START_ROWS])]
    prior = Prior(
        mean=some.mean(0),
        mean_precision=0.01,
        scale=strength * torch.from_numpy(pooled),
        degrees_of_freedom=strength + n_features,
        concentration=10.0,
    )
    starts = _mixture_starts(some.numpy(), len(centers), random_state)
    mixtures = Mixtures(some, prior, starts)
    for _ in range(SHORT_RUN):
        entropy = mixtures.step()
    mixtures.keep(int(mixtures.bound(entropy).argmax()))
    bound = -np.inf
    for _ in range(LONG_RUN):
        before, bound = bound, float(mixtures.bound(mixtures.step()))
        if bound - before < BOUND_TOL:
            break
    labels = mixtures.predict(rows)[0].numpy()
    means = mixtures.means[:, 0].numpy()
    sums = np.zeros_like(centers, dtype=np.float64)
    np.add.at(sums, labels, X)
    sizes = np.bincount(labels, minlength=len(centers))[:, None]
    return numbered(np.where(sizes > 0, sums / np.maximum(sizes, 1), means), labels)


def _mixture_starts(X, n_clusters, random_state):
    """Shares of rows in clusters, ``(n, k)``: k-means, then one row a cluster."""
    for _ in range(KMEANS_STARTS):
        kmeans = KMeans(n_clusters, n_init=1, random_state=random_state)
        with quiet(ConvergenceWarning):  # rows drawn may be equal where not all are
            labels = torch.from_numpy(kmeans.fit_predict(X)).long()
        yield torch.nn.functional.one_hot(labels, n_clusters).double()
    for _ in range(ROW_STARTS):
        share = torch.zeros(len(X), n_clusters, dtype=torch.double)
        chosen = random_state.choice(len(X), n_clusters, replace=False)
        share[chosen, np.arange(n_clusters)] = 1
        yield share


def kmeans_start(embedding, n_clusters, random_state, n_init=20):
    """Centres and labels of k-means on an embedding, the largest cluster first.

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
    centers, labels = numbered(kmeans.cluster_centers_, labels)
    return centers.astype(np.float32), labels.astype(np.int64)


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
        Of unit norm, that of the largest cluster first.
    """
    best, centers, best_labels = -np.inf, None, None
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
            best, centers, best_labels = float(cosine.mean()), mu, labels
    order = order_of_clusters(best_labels.cpu().numpy(), n_clusters)
    return centers[torch.from_numpy(order).to(centers.device)]


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
