"""``init`` as an array: a centre for each cluster, as KMeans takes it."""

import numpy as np
import pandas as pd
import pytest
from instances import SMALL
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score, pairwise_distances_argmin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import deepcluster_sk
from deepcluster_sk._training._data import Rows
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.initialization import first_clusters
from deepcluster_sk.initialization._centers import nearest_given, place_centers

NAMES = [name for name, model in SMALL.items() if "init" in model.get_params()]
ONE_OF_EACH = sorted({type(SMALL[name]): name for name in reversed(NAMES)}.values())
every = pytest.mark.parametrize("name", NAMES)
of_each = pytest.mark.parametrize("name", ONE_OF_EACH)
CENTERS = np.array([[0.0, 0, 0, 9], [9, 0, 0, 0], [0, 9, 0, 0]], dtype=np.float32)


def blobs(n=90, seed=0):
    """Rows of clusters of 45, 30 and 15 rows, far from one another."""
    X, _ = make_blobs([n // 2, n // 3, n // 6], centers=CENTERS, random_state=seed)
    return X, pairwise_distances_argmin(X, CENTERS)


def with_centers(name, **parameters):
    model = clone(SMALL[name]).set_params(**{"init": CENTERS, **parameters})
    if not name.startswith("Tensorized"):
        model.set_params(pretrain_epochs=100, lr=1e-2)  # fewer steps part no clusters
    return model


class OnRows:
    """What a start sees of a run: its rows."""

    n_reseeded = 0

    def __init__(self, X):
        self.rows = Rows(np.asarray(X, dtype=np.float32), "cpu")


@every
def test_true_centers_give_the_clusters(name):
    X, y = blobs()
    model = with_centers(name).fit(X)
    np.testing.assert_array_equal(model.labels_, y)  # y is numbered by size, too
    np.testing.assert_array_equal(model.predict(X), y)


@of_each
def test_the_order_of_centers_does_not_matter(name):
    X, _ = blobs()
    fits = [
        with_centers(name, init=CENTERS[order]).fit(X)
        for order in ([0, 1, 2], [2, 0, 1])
    ]
    np.testing.assert_array_equal(fits[0].labels_, fits[1].labels_)
    assert fits[0].objective_ == fits[1].objective_


@pytest.mark.parametrize("name", ["DEC", "TensorizedAutoencoder-exact"])
@pytest.mark.parametrize("container", [list, np.ndarray.tolist, pd.DataFrame])
def test_whatever_holds_the_centers(name, container):
    X, _ = blobs()
    one = with_centers(name).fit(X)
    other = with_centers(name, init=container(CENTERS)).fit(X)
    np.testing.assert_array_equal(one.labels_, other.labels_)
    assert one.objective_ == other.objective_


@of_each
@pytest.mark.parametrize(
    ("init", "message"),
    [
        (CENTERS[:2], r"its shape must be \(3, 4\). Got \(2, 4\) instead"),
        (CENTERS[:, :3], r"its shape must be \(3, 4\). Got \(3, 3\) instead"),
        (CENTERS[0], r"its shape must be \(3, 4\). Got \(4,\) instead"),
        (CENTERS[None], r"its shape must be \(3, 4\). Got \(1, 3, 4\) instead"),
        (np.where(CENTERS, CENTERS, np.nan), "^Input init contains NaN"),
        (np.where(CENTERS, CENTERS, np.inf), "^Input init contains infinity"),
        (CENTERS.astype(str).astype(object) + "x", "init must be a matrix of real"),
    ],
)
def test_what_is_no_centre_for_each_cluster_is_refused(name, init, message):
    X, _ = blobs()
    model = with_centers(name, init=init)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert not hasattr(model, "n_iter_")


@pytest.mark.parametrize("name", ["DEC", "IDEC", "DCN"])
def test_an_array_says_the_number_of_clusters(name):
    X, _ = blobs()
    with pytest.raises(ValueError, match="Pass the number of its rows as n_clusters"):
        with_centers(name, n_clusters="auto").fit(X)


@of_each
def test_files_hold_the_centers(name, tmp_path):
    X, y = blobs()
    model = with_centers(name).fit(X)
    model.save(tmp_path / "model")
    again = deepcluster_sk.load(tmp_path / "model")
    np.testing.assert_array_equal(again.init, CENTERS)
    np.testing.assert_array_equal(again.predict(X), y)


@of_each
def test_sparse_rows_and_pipelines(name):
    X, y = blobs()
    if SMALL[name]._accepts_sparse:
        model = with_centers(name).fit(sparse.csr_array(X.astype(np.float32)))
        np.testing.assert_array_equal(model.labels_, y)
    scaled = StandardScaler().fit(X).transform(CENTERS)
    model = with_centers(name, init=scaled)
    np.testing.assert_array_equal(
        make_pipeline(StandardScaler(), model).fit_predict(X), y
    )


def test_the_first_clusters_are_the_nearest_rows(monkeypatch):
    seen = []

    def place_and_keep(run, *arguments):
        centers, labels = place_centers(run, *arguments)
        code = run.apply(run.module.encode).numpy()
        seen.append((centers.numpy().copy(), labels.numpy().copy(), code))
        return centers, labels

    monkeypatch.setattr(first_clusters, "__defaults__", (place_and_keep,))
    X = np.random.default_rng(0).normal(size=(80, 4))
    given = KMeans(3, n_init=1, random_state=0).fit(X)
    clone(SMALL["DEC"]).set_params(init=given.cluster_centers_).fit(X)
    centers, labels, code = seen[0]
    assert adjusted_rand_score(given.labels_, labels) == 1
    for j in range(3):
        np.testing.assert_allclose(centers[j], code[labels == j].mean(0), atol=1e-5)


def test_centers_without_rows_get_the_farthest():
    X = np.array([[0.0], [1], [2], [9], [30]])
    run = OnRows(X)
    labels = nearest_given(run, np.array([[0.0], [0], [40]], dtype=np.float32))
    # The farthest from the first centre; the only row of the last one is left to it.
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 2])
    assert run.n_reseeded == 1


def test_every_centre_has_a_row_where_there_are_as_many():
    run = OnRows(np.arange(6.0)[:, None])
    labels = nearest_given(run, np.zeros((6, 1), dtype=np.float32))
    np.testing.assert_array_equal(np.sort(labels), np.arange(6))
    assert run.n_reseeded == 5


@pytest.mark.parametrize("name", [n for n in ONE_OF_EACH if n[0] != "T"])
def test_a_centre_without_rows_is_announced(name):
    X, _ = blobs()
    init = np.vstack([CENTERS[:2], CENTERS[:1]])
    with pytest.warns(ClusterCollapseWarning, match="was re-seeded from others"):
        with_centers(name, init=init).fit(X)
