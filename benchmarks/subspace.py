"""Subspace, dictionary and transform clustering, with what they must beat.

Run as ``python -m benchmarks.subspace``. Planted unions of subspaces at several
angles and noise levels; digits; COIL-20 from the folder of images. No package in
use ships faces: scikit-learn's are a download.

Settings are the same on all data: defaults, except that images are projected on as
many singular vectors as there are clusters. The defaults of
``SparseSubspaceClustering`` are what does best on planted subspaces at 45° and 30°,
where the truth is known by construction (alpha, of .02 to .4), or nearly so with a
sparser graph (affinity_mass).
"""

import warnings
from functools import partial

import numpy as np
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from benchmarks._harness import Benchmark, Job, results_table
from deepcluster_sk import (
    ConvTransformClustering,
    DeepDictionaryClustering,
    DeepSubspaceClustering,
    DeepTransformClustering,
    SparseSubspaceClustering,
)
from deepcluster_sk.datasets import load_coil20
from deepcluster_sk.metrics import clustering_accuracy

ANGLES = (90, 45, 30, 15)
NOISES = (0.01, 0.05, 0.1)


def planted(angle, noise, seed, n=100, k=5, dim=4, width=50):
    """Union of k subspaces, all principal angles between two being ``angle``.

    Each is spanned by ``cos(a) s_i + sin(a) q_ji``: shared directions s, own q.
    """
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(width, (k + 1) * dim)))[0].T
    shared, own = directions[:dim], directions[dim:].reshape(k, dim, width)
    # <u_j, u_l> = cos²(a) for two subspaces, which is to be cos(angle).
    cos = np.sqrt(np.cos(np.deg2rad(angle)))
    bases = cos * shared + np.sqrt(1 - cos**2) * own
    X = np.vstack([rng.normal(size=(n, dim)) @ basis for basis in bases])
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X + noise * rng.normal(size=X.shape), np.repeat(np.arange(k), n)


def methods(k, latent_dim, image_shape, seed):
    """Name and estimator of everything that is compared."""
    common = {"n_clusters": k, "random_state": seed}
    yield "k-means", KMeans(n_init=10, **common)
    yield (
        "spectral clustering",
        SpectralClustering(affinity="nearest_neighbors", **common),
    )
    penalties = {"l1": "l1", "elastic-net": "elasticnet", "l2": "l2"}
    for label, penalty in penalties.items():
        yield (
            f"SparseSubspaceClustering, {label}",
            SparseSubspaceClustering(latent_dim=latent_dim, penalty=penalty, **common),
        )
    for n_layers in (1, 2):
        yield (
            f"DeepTransformClustering, {n_layers}",
            DeepTransformClustering(latent_dim=latent_dim, n_layers=n_layers, **common),
        )
    yield (
        "DeepSubspaceClustering",
        DeepSubspaceClustering(hidden_layer_sizes=(100,), **common),
    )
    yield "DeepDictionaryClustering, kmeans", DeepDictionaryClustering(**common)
    yield (
        "DeepDictionaryClustering, subspace",
        DeepDictionaryClustering(
            clustering="subspace",
            latent_dim=80,
            hidden_layer_sizes=(200, 120),
            max_iter=2,
            **common,
        ),
    )
    yield (
        "ConvTransformClustering",
        ConvTransformClustering(image_shape=image_shape, **common),
    )


def measure(load, model):
    """Fit and score; labels serve for scoring only."""
    X, y = load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unconnected graphs, collapsed clusters
        labels = model.fit(X).labels_
    return {
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        "ari": adjusted_rand_score(y, labels),
    }


def data_sets(options, seed):
    """Name, loader, number of clusters, width and image shape of all data."""
    for angle in ANGLES:
        for noise in NOISES if not options.quick else NOISES[:1]:
            name = f"planted, {angle}°, noise {noise:g}"
            yield name, partial(planted, angle, noise, seed), 5, None, None
    yield "digits", partial(load_digits, return_X_y=True), 10, 10, (1, 8, 8)
    if options.data_home:
        load = partial(load_coil20, options.data_home, return_X_y=True)
        yield "COIL-20", load, 20, 20, (1, 32, 32)


def jobs(options):
    """Every method on every data set."""
    for seed in options.seeds:
        for data, load, k, latent_dim, shape in data_sets(options, seed):
            for name, model in methods(k, latent_dim, shape, seed):
                yield Job(data, name, seed, partial(measure, load, model))


def report(records, options):
    """One table."""
    metrics = {"acc": "ACC", "nmi": "NMI", "ari": "ARI", "seconds": "seconds"}
    return results_table(records, metrics, digits={"seconds": 1})


BENCHMARK = Benchmark("subspace", jobs, report)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
