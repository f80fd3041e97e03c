import numpy as np
import pytest
from planted import hard_data, planted_subspaces, rises
from scipy.optimize import nnls
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import DeepDictionaryClustering
from deepcluster_sk.solvers._deep_dictionary import (
    _nonnegative_atoms,
    code_near_centers,
)


@pytest.mark.parametrize("seed", range(2))
def test_planted_subspaces_are_found(seed):
    X, y = planted_subspaces(seed)
    model = DeepDictionaryClustering(
        5,
        latent_dim=80,
        hidden_layer_sizes=(200, 120),
        clustering="subspace",
        max_iter=2,
        random_state=0,
    )
    assert adjusted_rand_score(y, model.fit_predict(X)) > 0.95


@pytest.mark.parametrize("name", hard_data())
@pytest.mark.parametrize("clustering", ["kmeans", "subspace"])
@pytest.mark.parametrize("hidden_layer_sizes", [(), (7,), (6, 40)])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_a_sweep_does_not_raise_the_loss(name, clustering, hidden_layer_sizes):
    X = hard_data()[name]
    model = DeepDictionaryClustering(
        3,
        latent_dim=4,
        hidden_layer_sizes=hidden_layer_sizes,
        clustering=clustering,
        clustering_weight=0.5,
        max_iter=8,
        tol=0,
        random_state=0,
    ).fit(X)
    assert model.n_iter_ == 8
    size = np.square(X).sum(1).mean()
    losses = np.array([row["loss"] for row in model.history_])
    # A loss that has vanished next to the data may jitter by rounding.
    assert (np.diff(losses) <= 1e-10 * losses[:-1] + 1e-14 * size).all(), rises(
        model.history_, "sweep"
    )


@pytest.mark.parametrize("clustering", ["kmeans", "subspace"])
def test_codes_of_all_layers_are_nonnegative_and_atoms_have_unit_norm(clustering):
    X, _ = make_blobs(60, 6, centers=3, random_state=0)
    model = DeepDictionaryClustering(
        3, latent_dim=3, clustering=clustering, max_iter=5, random_state=0
    ).fit(X)
    first, second, third = model.dictionaries_
    assert (first.shape, second.shape, third.shape) == ((12, 6), (6, 12), (3, 6))
    for D in model.dictionaries_:
        assert np.linalg.norm(D, axis=1) == pytest.approx(1)
    Z = model.transform(X)
    for codes in (Z, Z @ third, Z @ third @ second):
        assert codes.min() >= 0
    scale = np.abs(X).max()
    assert model.reconstruct(X) == pytest.approx(
        Z @ third @ second @ first * scale, rel=1e-4, abs=1e-4
    )


def test_a_new_sample_gets_the_best_pair_of_code_and_cluster():
    X, _ = make_blobs(60, 6, centers=3, random_state=0)
    model = DeepDictionaryClustering(
        3, latent_dim=4, clustering_weight=0.1, random_state=0
    ).fit(X)
    third, second, first = model.dictionaries_[::-1]
    D, scale = third @ second @ first, np.abs(X).max()
    A = np.vstack([D.T, np.sqrt(0.1) * np.eye(4)])
    labels = model.predict(X[:10])
    for i in range(10):
        values = [
            nnls(A, np.r_[X[i] / scale, np.sqrt(0.1) * center])[1] ** 2
            for center in model.cluster_centers_
        ]
        assert values[labels[i]] == pytest.approx(min(values), rel=1e-4)
        score = -model.score(X[i : i + 1])
        assert score == pytest.approx(min(values) * scale**2, rel=1e-3)


def test_coding_anew_does_not_raise_the_kmeans_objective():
    X, y = make_blobs(120, 6, centers=3, random_state=0)
    model = DeepDictionaryClustering(3, latent_dim=4, random_state=0).fit(X)
    assert model.objective_ <= model.history_[-1]["loss"] * (1 + 1e-6)
    assert adjusted_rand_score(y, model.labels_) > 0.95


def test_nonnegative_atoms_find_the_planted_dictionary():
    rng = np.random.default_rng(0)
    D = rng.uniform(size=(3, 4)) * (rng.uniform(size=(3, 4)) < 0.7) + np.eye(3, 4)
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    Z, right = rng.uniform(size=(50, 3)), rng.normal(size=(4, 6))
    X = Z @ D @ right
    found = np.full((3, 4), 0.5)
    for _ in range(3000):
        found = _nonnegative_atoms(X, Z, found, right)
    assert found == pytest.approx(D, abs=1e-3)


def test_widths_that_cannot_be_are_refused(untrained):
    model = DeepDictionaryClustering(2, hidden_layer_sizes=(4, 0))
    with pytest.raises(ValueError, match="'hidden_layer_sizes' parameter"):
        model.fit(np.ones((5, 3)))


def test_the_start_is_no_worse_than_kmeans():
    # A centre is the sum of two atoms, so that latent_dim > n_clusters suffices.
    X, _ = make_blobs(100, 6, centers=8, cluster_std=3, random_state=0)
    inertia = KMeans(8, n_init=10, random_state=0).fit(X).inertia_ / len(X)
    for weight in (0.1, 1, 100):
        model = DeepDictionaryClustering(
            8, latent_dim=9, clustering_weight=weight, max_iter=1, random_state=0
        ).fit(X)
        assert model.objective_ <= inertia * (1 + 1e-3)


def test_a_large_weight_is_kmeans_of_the_data():
    X, _ = make_blobs(100, 6, centers=8, cluster_std=3, random_state=0)
    kmeans = KMeans(8, n_init=10, random_state=0).fit(X)
    model = DeepDictionaryClustering(8, clustering_weight=1e6, random_state=0).fit(X)
    assert model.objective_ == pytest.approx(kmeans.inertia_ / len(X), rel=0.02)
    means = np.array([X[model.labels_ == j].mean(0) for j in range(8)])
    assert model.reconstruct(X) == pytest.approx(means[model.labels_], abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_wide_directions_count_less_than_in_kmeans(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=400)
    X = 1.5 * rng.normal(size=(4, 10))[y] + 0.7 * rng.normal(size=(400, 10))
    X[:, :3] += 3 * rng.normal(size=(400, 3))
    kmeans = KMeans(4, n_init=10, random_state=0).fit_predict(X)
    model = DeepDictionaryClustering(4, random_state=0).fit(X)
    found = adjusted_rand_score(y, model.labels_)
    assert found > adjusted_rand_score(y, kmeans) + 0.15


@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
def test_clusters_that_are_ruled_out_would_not_have_been_better(weight):
    rng = np.random.default_rng(0)
    X, D = rng.normal(size=(40, 6)), rng.normal(size=(9, 6))
    centers = np.maximum(rng.normal(size=(5, 9)), 0)
    labels, value, Z = code_near_centers(X, D, centers, weight)
    A = np.vstack([D.T, np.sqrt(weight) * np.eye(9)])
    for x, label, found, z in zip(X, labels, value, Z, strict=True):
        solved = [nnls(A, np.r_[x, np.sqrt(weight) * c]) for c in centers]
        values = [residual**2 for _, residual in solved]
        assert label == np.argmin(values)
        assert found == pytest.approx(min(values))
        assert z == pytest.approx(solved[label][0], abs=1e-6)
