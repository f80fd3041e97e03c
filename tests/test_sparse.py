"""Sparse rows: the same results as dense ones, and few of them dense at once."""

import numpy as np
import pytest
import torch
from instances import SMALL
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import DEC, PCX, SparseSubspaceClustering
from deepcluster_sk._training import _data
from deepcluster_sk._training._checkpoint import describe
from deepcluster_sk.initialization import _first_clusters, _standardization

ONE_OF_EACH = {type(model): name for name, model in reversed(SMALL.items())}
NETWORKS = sorted(name for cls, name in ONE_OF_EACH.items() if cls._accepts_sparse)


def planted(n=90, d=12, seed=0):
    """Rows of three clusters, each with a few columns of its own that are not zero."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    own = np.arange(d) % 3 == y[:, None]
    return np.where(own, 1 + 0.1 * rng.normal(size=(n, d)), 0).astype(np.float32), y


@pytest.mark.rounding
@pytest.mark.parametrize("name", NETWORKS)
def test_results_are_those_of_dense_rows(name):
    X, _ = planted()
    dense = clone(SMALL[name]).fit(X)
    model = clone(SMALL[name]).fit(sparse.csr_array(X))
    assert model.objective_ == pytest.approx(dense.objective_, rel=1e-3, abs=1e-6)
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        if hasattr(dense, "predict"):
            np.testing.assert_array_equal(dense.predict(kind(X)), dense.predict(X))
        np.testing.assert_array_equal(dense.transform(kind(X)), dense.transform(X))
    assert dense.score(sparse.csr_array(X)) == dense.score(X)


@pytest.mark.parametrize("Estimator", [DEC, PCX])
def test_no_more_rows_are_dense_than_a_start_or_a_batch(Estimator, monkeypatch):
    X, y = planted(1500)
    monkeypatch.setattr(_first_clusters, "START_ROWS", 400)
    monkeypatch.setattr(_standardization, "START_ROWS", 400)
    seen, dense = [], _data.dense
    monkeypatch.setattr(
        _data, "dense", lambda rows: seen.append(rows.shape[0]) or dense(rows)
    )
    model = Estimator(
        3, latent_dim=2, hidden_layer_sizes=(16,), max_epochs=3, random_state=0
    )
    model.fit(sparse.csr_array(X))
    assert 0 < max(seen) <= 400
    assert adjusted_rand_score(y, model.labels_) == 1


def test_a_pipeline_of_texts():
    topics = [
        "moon orbit launch rocket",
        "goal match team score",
        "flour oven bake salt",
    ]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(topics[i % 3].split(), 8)) for i in range(60)]
    X = TfidfVectorizer().fit_transform(texts)
    model = DEC(3, latent_dim=2, hidden_layer_sizes=(16,), max_epochs=5, random_state=0)
    assert adjusted_rand_score(np.arange(60) % 3, model.fit_predict(X)) == 1


def test_a_checkpoint_tells_sparse_data_apart():
    X, _ = planted()
    moved = np.roll(X, 1, axis=1)
    one, same, other = (
        describe(DEC(3), sparse.csr_array(Z), None, torch.device("cpu"))
        for Z in (X, X.copy(), moved)
    )
    assert one == same
    assert one["SHA-256 of X"] != other["SHA-256 of X"]


def test_what_is_not_finite_is_refused():
    X = sparse.csr_array(planted()[0])
    X.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        DEC(3).fit(X)


def test_methods_without_a_network_refuse():
    with pytest.raises(TypeError, match="Sparse data"):
        SparseSubspaceClustering(3).fit(sparse.csr_array(planted()[0]))
