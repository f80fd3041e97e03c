"""What happens between pretraining and clustering."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

from deepcluster_sk import DCN, DEC, IDEC
from deepcluster_sk.initialization import _centers
from deepcluster_sk.initialization._centers import (
    WITHIN_RIDGE,
    kmeans_start,
    mixture_start,
    place_centers,
    pooled_covariance,
)
from deepcluster_sk.initialization._first_clusters import first_clusters

SETTINGS = {
    "latent_dim": 3,
    "hidden_layer_sizes": (16,),
    "pretraining": "end-to-end",
    "pretrain_epochs": 30,
    "max_epochs": 1,
    "lr": 1e-2,
    "random_state": 0,
}
ALL = pytest.mark.parametrize("Estimator", [DEC, IDEC, DCN])


def elongated(n=300, seed=0, length=2.0):
    """Three parallel sticks, which k-means cuts across."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1, 2], n // 3)
    X = rng.normal(size=(len(y), 3)) * [length, 0.4, 0.4]
    X[:, 1] += 3.0 * y
    return X, y


class Start(Callback):
    """Keeps codes and centres as the clustering begins."""

    def on_train_begin(self, net, X=None, y=None):
        if net.phase_.name == "cluster":
            self.code = net.apply(net.module_.encode, X).double().numpy()
            self.centers = net.module_.centers.detach().double().numpy().copy()
            self.reconstruction = net.apply(lambda x: net.module_(x).reconstruction, X)


def mixture(X, k, seed=0):
    random_state = np.random.RandomState(seed)
    centers, labels = kmeans_start(torch.from_numpy(X), k, random_state)
    return mixture_start(X, labels, centers, random_state), labels


def test_mixture_finds_sticks_that_kmeans_cuts():
    X, y = elongated()
    (centers, labels), by_kmeans = mixture(X, 3)
    assert adjusted_rand_score(y, by_kmeans) < 0.6
    assert adjusted_rand_score(y, labels) > 0.98
    for j in range(3):
        np.testing.assert_allclose(centers[j], X[labels == j].mean(0))


def test_no_mixture_where_clusters_have_no_extent():
    X = np.random.default_rng(0).normal(size=(12, 2))
    assert mixture(X, 12)[0] is None
    assert mixture(np.repeat(X[:3], 5, axis=0), 3)[0] is None
    assert mixture(np.ones((10, 2)), 1)[0] is None


def test_pooled_covariance_is_the_weighted_mean_of_those_of_clusters():
    X, y = elongated(seed=1)
    centers = np.stack([X[y == j].mean(0) for j in range(3)])
    expected = sum(np.cov(X[y == j].T, bias=True) for j in range(3)) / 3
    np.testing.assert_allclose(pooled_covariance(X, y, centers), expected, atol=1e-10)


@ALL
@pytest.mark.parametrize("init", ["mixture", "k-means"])
def test_units_of_the_code_when_clustering_starts(Estimator, init, monkeypatch):
    found = []

    def place_and_keep(run, *arguments):
        before = run.apply(run.module.encode).double().numpy()
        centers, labels = place_centers(run, *arguments)
        found.append((before, labels.numpy().copy()))  # training writes into them
        return centers, labels

    monkeypatch.setattr(first_clusters, "__defaults__", (place_and_keep,))
    X, y = elongated(length=1.0)
    start = Start()
    Estimator(3, init=init, callbacks=[start], **SETTINGS).fit(X)
    before, labels = found[0]
    if init == "mixture":
        assert adjusted_rand_score(y, labels) > 0.98
        within = pooled_covariance(start.code, labels, start.centers)
        means = np.stack([before[labels == j].mean(0) for j in range(3)])
        values = np.linalg.eigvalsh(pooled_covariance(before, labels, means))
        expected = values / (values + WITHIN_RIDGE * values.mean())
        expected *= 3 / 2 / expected.sum()
        np.testing.assert_allclose(within, np.diag(expected), atol=1e-5)
    else:
        np.testing.assert_allclose(start.code.mean(0), 0, atol=1e-5)
        assert start.code.var(0).sum() == pytest.approx(3, rel=1e-4)


@ALL
@pytest.mark.rounding
def test_neither_origin_nor_scale_of_the_data_matters(Estimator):
    X, _ = elongated()
    X = np.round(X * 16) / 16  # exact in float32, shifted and scaled by powers of 2
    a = Estimator(3, **SETTINGS).fit(X)
    b = Estimator(3, **SETTINGS).fit(1024 * X + 4096)
    assert adjusted_rand_score(a.labels_, b.labels_) == 1
    assert a.objective_ == pytest.approx(b.objective_, rel=1e-3)


def test_change_of_units_leaves_reconstructions_alone():
    X, _ = elongated()
    start = Start()
    model = IDEC(3, callbacks=[start], **SETTINGS).fit(X)
    error = np.square(start.reconstruction.numpy() - X).mean()
    scale = np.square(X - np.sort(X, axis=0)[(len(X) - 1) // 2]).mean()
    last = [row for row in model.history_ if row["phase"] == "pretrain"][-1]
    # With values hidden from it, the network did worse than it does now.
    assert error / scale < last["reconstruction"]


def test_restarts_look_at_some_of_many_rows(monkeypatch):
    X, y = elongated(length=0.4)
    monkeypatch.setattr(_centers, "START_ROWS", 60)
    seen = []
    fit = _centers.KMeans.fit_predict
    monkeypatch.setattr(
        _centers.KMeans,
        "fit_predict",
        lambda self, X: seen.append(len(X)) or fit(self, X),
    )
    code = torch.from_numpy(X)
    centers, labels = kmeans_start(code, 3, np.random.RandomState(0))
    assert seen == [60]
    distance = np.square(X[:, None] - centers).sum(2)
    np.testing.assert_array_equal(labels, distance.argmin(1))
    assert adjusted_rand_score(y, labels) > 0.95
