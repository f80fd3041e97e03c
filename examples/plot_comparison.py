"""
The family on toy data
======================

Six data sets in the plane, and what the methods make of them. The number of clusters
is given; classes choose only the colours. Settings are the same in all rows, so what
one sees is what a method believes a cluster to be:

- k-means, DEC, IDEC, DCN and PCX: a centre, in the plane or in a learned code;
- TensorizedAutoencoder: a centre and directions of its own;
- DDC: a region of high density, far from others;
- DiscriminativeClustering: what hangs together by near neighbours;
- the subspace family: a line through the origin, of the plane or of a code.

A table with two columns leaves an autoencoder nothing to compress. Where networks earn
their keep are images and wide tables; this page is about shapes.
``ConvTransformClustering`` is for series, images and tables of more columns, and is not
shown; nor are DEPICT, DynAE, DKM and VaDE, which start as DEC does.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics.cluster import contingency_matrix
from sklearn.preprocessing import scale

from deepcluster_sk import (
    DCN,
    DDC,
    DEC,
    IDEC,
    PCX,
    DeepDictionaryClustering,
    DeepSubspaceClustering,
    DeepTransformClustering,
    DiscriminativeClustering,
    SparseSubspaceClustering,
    TensorizedAutoencoder,
)
from deepcluster_sk.datasets import make_parallel

# %%
# The data: 240 points each.

rng = np.random.default_rng(0)


def lines_through_the_origin():
    """Three lines, with a little noise."""
    angles = np.repeat([0.2, 1.2, 2.4], 80)
    radius = rng.uniform(0.2, 1.5, 240) * rng.choice([-1, 1], 240)
    X = radius[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    return X + 0.03 * rng.normal(size=X.shape), np.repeat([0, 1, 2], 80)


blobs = make_blobs(240, centers=3, cluster_std=0.9, random_state=3)
uneven = make_blobs(
    [180, 40, 20], centers=[[0, 0], [5, 3], [5, -3]], cluster_std=0.9, random_state=0
)
X, y = make_blobs(240, centers=3, random_state=170)
sheared = X @ [[0.6, -0.6], [-0.4, 0.8]], y
parallel = make_parallel(240, n_noise_features=0, random_state=0)
moons = make_moons(240, noise=0.05, random_state=0)
data_sets = {
    "round": (scale(blobs[0]), blobs[1]),
    "uneven sizes": (scale(uneven[0]), uneven[1]),
    "sheared": (scale(sheared[0]), sheared[1]),
    "parallel": (parallel[0] / parallel[0].std(), parallel[1]),
    "lines through 0": lines_through_the_origin(),
    "moons": (scale(moons[0]), moons[1]),
}

# %%
# The methods, small and short: the data asks for no more.

small = {"hidden_layer_sizes": (32,), "latent_dim": 2, "random_state": 0}
short = {**small, "pretrain_epochs": 30, "max_epochs": 30}
methods = {
    "k-means": lambda k: KMeans(k, random_state=0),
    "Tensorized\nAutoencoder": lambda k: TensorizedAutoencoder(k, random_state=0),
    "DEC": lambda k: DEC(k, **short),
    "IDEC": lambda k: IDEC(k, **short),
    "DCN": lambda k: DCN(k, **short),
    "PCX": lambda k: PCX(k, **short),
    "DDC": lambda k: DDC(
        k, hidden_layer_sizes=(64,), latent_dim=32, max_epochs=60, random_state=0
    ),
    "Discriminative": lambda k: DiscriminativeClustering(
        k, **{**short, "latent_dim": 8}, metric="euclidean"
    ),
    "Sparse\nSubspace": lambda k: SparseSubspaceClustering(
        k, subspace_dim=1, random_state=0
    ),
    "Deep\nSubspace": lambda k: DeepSubspaceClustering(k, **{**short, "latent_dim": 3}),
    "Deep\nTransform": lambda k: DeepTransformClustering(
        k, affine=False, max_iter=5, random_state=0
    ),
    "Deep\nDictionary": lambda k: DeepDictionaryClustering(
        k, latent_dim=3, random_state=0
    ),
}

# %%
# Labels are arbitrary, so that clusters take the colours of the classes they fit best.

colors = np.array(["#3f90da", "#ffa90e", "#bd1f01"])
figure, axes = plt.subplots(
    len(data_sets),
    len(methods),
    figsize=(1.15 * len(methods), 1.2 * len(data_sets)),
    layout="constrained",
)
for row, (name, (X, y)) in zip(axes, data_sets.items(), strict=True):
    k = len(np.unique(y))
    for ax, (title, make) in zip(row, methods.items(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # graphs in pieces, empty clusters
            labels = make(k).fit(X).labels_
        found = contingency_matrix(np.r_[y, np.arange(k)], np.r_[labels, np.arange(k)])
        color = linear_sum_assignment(found.T, maximize=True)[1]
        ax.scatter(*X.T, s=4, c=colors[color[labels]], linewidths=0)
        ax.set(xticks=[], yticks=[])
        ax.margins(0.1)
        for side in ax.spines.values():
            side.set_color("0.8")
        if ax.get_subplotspec().is_first_row():
            ax.set_title(title, fontsize=9)
    row[0].set_ylabel(name, fontsize=9)
plt.show()
