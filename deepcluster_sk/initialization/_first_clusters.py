"""Pretraining, and the first clusters in the code that it leaves."""

import numbers
from dataclasses import dataclass
from functools import partial

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk._training._run import Run
from deepcluster_sk.initialization._centers import place_centers
from deepcluster_sk.initialization._neighbors import (
    NeighborCode,
    neighbor_pretraining,
    present_code,
)
from deepcluster_sk.initialization._pretraining import check_stages, pretraining
from deepcluster_sk.initialization._standardization import (
    START_ROWS,
    standardize_data,
)
from deepcluster_sk.losses import squared_distances
from deepcluster_sk.solvers._cluster_means import cluster_means

# Epochs of an autoencoder that learns to reconstruct.
RECONSTRUCTION_EPOCHS = 100
# Rate of clustering relative to pretraining's, where the code shows the clusters: then
# they are only to be sharpened.
CLUSTERING_RATE = 0.1

# Of the parameters of estimators that start so.
FIRST_CLUSTERS_CONSTRAINTS = {
    "pretraining": [StrOptions({"neighbors", "end-to-end", "layerwise"})],
    "n_neighbors": [Interval(numbers.Integral, 2, None, closed="left")],
    "pretrain_epochs": [
        Interval(numbers.Integral, 0, None, closed="left"),
        StrOptions({"auto"}),
    ],
    "init": [StrOptions({"auto", "mixture", "k-means"}), "array-like"],
    "mask_rate": [Interval(numbers.Real, 0, 1, closed="left")],
}


def init_name(init):
    """The name of a start, or "given" for an array, which no name compares with."""
    return init if isinstance(init, str) else "given"


@dataclass(frozen=True)
class FirstClusters:
    """Where the clustering starts.

    Attributes
    ----------
    centers : Tensor of shape (k, h)
        In the code.
    labels : Tensor of shape (n,), int64
        Cluster of each training row; -1 for rows that nobody looked at.
    sample : Run
        The run, as seen on the rows that were looked at.
    code : NeighborCode or None
        The code that was learned from neighbours.
    lr : float or None
        Learning rate of the clustering; None is that of the pretraining.
    is_scaled : bool
        Whether ``code`` is in the units that codes have in the clustering.
    """

    centers: torch.Tensor
    labels: torch.Tensor
    sample: Run
    code: NeighborCode | None = None
    lr: float | None = None
    is_scaled: bool = False

    def neighbor_term(self, weight, scale=1.0):
        """The criterion that holds codes where their neighbours put them, or None.

        ``scale`` is what the module multiplies its codes with, since they were learned.
        """
        if self.code is None or weight == 0:
            return None
        return self.code.criterion(weight, 1.0 if self.is_scaled else scale)

    def labels_of_all(self, code):
        """Clusters of all rows; those that nobody looked at get the nearest centre."""
        with torch.no_grad():
            nearest = squared_distances(code, self.centers).argmin(1)
        return torch.where(self.labels < 0, nearest, self.labels)


def random_start(run):
    """No pretraining, and no clusters: weights and centres are as they were drawn.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder``; it learns the units of the data.

    Returns
    -------
    first : FirstClusters
        Nobody looked at any row.
    """
    standardize_data(run)
    index = torch.arange(len(run.rows), device=run.rows.device)
    return FirstClusters(run.module.centers, torch.full_like(index, -1), run)


def fitted_clusters(run, keeps_code, lr):
    """The clusters of the module, which is that of the fit before.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder``.
    keeps_code : bool
        Whether codes are to be held where they are.
    lr : float or None
        Learning rate of the clustering.

    Returns
    -------
    first : FirstClusters
    """
    module = run.module
    labels = run.apply(lambda x: module.distances(module.encode(x)).argmin(1))
    code = present_code(run) if keeps_code else None
    sample, _ = run.sample(START_ROWS)
    return FirstClusters(module.centers, labels, sample, code, is_scaled=True, lr=lr)


def first_clusters(estimator, run, place=place_centers):
    """Phases of the pretraining, and the first clusters.

    Where the module is that of the fit before there are no phases.

    Parameters
    ----------
    estimator : BaseDeepClusterer
        With the parameters of ``FIRST_CLUSTERS_CONSTRAINTS``.
    run : Run
        The module is a ``CentroidAutoencoder``.
    place : callable, default=place_centers
        ``place(run, n_clusters, init)`` finds centres and labels in a code that does
        not show clusters by itself, or takes those that are given.

    Yields
    ------
    Phase

    Returns
    -------
    first : FirstClusters
    """
    of_neighbors = estimator.pretraining == "neighbors"
    searched = init_name(estimator.init) == "auto"
    lr = CLUSTERING_RATE * estimator.lr if of_neighbors else None
    if run.is_warm:
        return fitted_clusters(run, of_neighbors and searched, lr)
    sample, index = run.sample(START_ROWS)
    if not estimator.whiten:
        place = partial(place, rescale=False)
    epochs = estimator.pretrain_epochs
    init, k, code = estimator.init, estimator._number_of_clusters(), None
    if of_neighbors:
        code = yield from neighbor_pretraining(
            sample,
            None if epochs == "auto" else epochs,
            estimator.n_neighbors,
            estimator.latent_dim,
            k if searched else None,
        )
    else:
        check_stages(estimator, run.module)
        yield from pretraining(
            sample,
            RECONSTRUCTION_EPOCHS if epochs == "auto" else epochs,
            estimator.pretraining,
            estimator.mask_rate,
            estimator.whiten,
        )
    if code is not None and code.labels is not None:
        code = code.of_rows(index, len(run.rows))
        found = sample.apply(run.module.encode).cpu().numpy()
        centers = torch.from_numpy(cluster_means(found, code.labels, k))
        centers = centers.to(index.device)
        labels = torch.from_numpy(code.labels.astype("int64")).to(index.device)
    else:
        code = None
        centers, labels = place(sample, k, "mixture" if searched else init)
        run.n_reseeded += sample.n_reseeded
    every = torch.full((len(run.rows),), -1, dtype=torch.long, device=index.device)
    every[index] = labels.to(index.device)
    return FirstClusters(centers, every, sample, code, lr)
