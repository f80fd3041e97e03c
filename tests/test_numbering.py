"""Numbers of clusters follow from the partition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instances import CLUSTERERS, SMALL
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.cluster import KMeans

from deepcluster_sk._estimator import _base
from deepcluster_sk.building import BaseDeepClusterer
from deepcluster_sk.cluster import dec
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.initialization import first_clusters
from deepcluster_sk.initialization._centers import kmeans_start
from deepcluster_sk.solvers._partitions import numbered, order_of_clusters, renumbered
from deepcluster_sk.solvers._spherical_kmeans import spherical_kmeans
from deepcluster_sk.solvers._subspaces import cut
from deepcluster_sk.solvers._weighted_kmeans import weighted_kmeans

CENTERS = torch.tensor([[0.0], [10.0], [20.0], [30.0]])
# Of 1, 0, 3 and 2 rows.
X = np.array([[20.0], [30.0], [21.0], [0.0], [19.0], [31.0]], dtype=np.float32)


def is_numbered(labels):
    k = labels.max() + 1
    return (order_of_clusters(labels, k) == np.arange(k)).all()


def test_order_is_by_size_then_by_first_row_and_empty_clusters_come_last():
    labels = np.array([4, 2, 1, 4, 2, 4, 6])
    order = order_of_clusters(labels, 8)
    assert order.tolist() == [4, 2, 1, 6, 0, 3, 5, 7]
    assert renumbered(labels, order).tolist() == [0, 1, 2, 0, 1, 0, 3]
    centers = np.arange(8)[:, None]
    found, again = numbered(centers, labels)
    assert_array_equal(found[again], centers[labels])


@given(st.lists(st.integers(0, 4), min_size=1), st.permutations(range(5)))
def test_equal_partitions_have_equal_labels(labels, names):
    labels = np.array(labels)
    other = np.array(names)[labels]
    found, expected = (
        renumbered(some, order_of_clusters(some, 5)) for some in (other, labels)
    )
    assert_array_equal(found, expected)
    assert is_numbered(found)
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all()


# --- first clusters -------------------------------------------------------------------


@pytest.mark.rounding
def test_first_clusters_are_numbered(blobs):
    rows, _ = blobs
    rows = np.concatenate([rows[20:], rows[:3]])
    for seed in range(5):
        rng = np.random.RandomState(seed)
        centers, labels = kmeans_start(torch.from_numpy(rows), 5, rng, n_init=1)
        assert is_numbered(labels)
        means = np.stack([rows[labels == j].mean(0) for j in range(5)])
        assert_allclose(centers, means, rtol=1e-4)
        centers, labels = weighted_kmeans(torch.from_numpy(rows), 5, rng, 5.0, 64)
        assert is_numbered(labels.numpy())
        distance = torch.cdist(torch.from_numpy(rows), centers)
        assert_array_equal(labels, distance.argmin(1))
        directions = torch.nn.functional.normalize(torch.from_numpy(rows - 60))
        centers = spherical_kmeans(directions, 5, rng, n_init=1)
        assert is_numbered((directions @ centers.T).argmax(1).numpy())


def test_the_parts_of_a_graph_are_numbered():
    names = np.repeat([1, 0, 2], [5, 12, 9])
    graph = (names[:, None] == names).astype(float)
    np.fill_diagonal(graph, 0)
    labels = cut(csr_array(graph), 3, np.random.RandomState(0))
    assert_array_equal(labels, np.repeat([2, 0, 1], [5, 12, 9]))


@pytest.mark.parametrize("init", ["auto", "mixture", "k-means"])
@pytest.mark.rounding
def test_training_starts_from_numbered_clusters(init, blobs, monkeypatch):
    found = []

    def start_and_keep(estimator, run):
        first = yield from first_clusters(estimator, run)
        found.append(first.labels)
        return first

    monkeypatch.setattr(dec, "first_clusters", start_and_keep)
    clone(SMALL["DEC"]).set_params(init=init).fit(blobs[0][20:])
    assert is_numbered(found[0].numpy())


# --- streams --------------------------------------------------------------------------


def test_a_stream_keeps_the_numbers_that_users_have_seen(blobs):
    rows, _ = blobs
    model = clone(SMALL["PCX"]).set_params(pretrain_epochs=30)
    model.fit(rows)
    first = model.predict(rows)
    smallest = rows[first == 2]
    model.partial_fit(np.concatenate([smallest] * 5 + [rows[first == 0][:3]]))
    assert (model.predict(rows) == first).mean() > 0.95
    sizes = np.bincount(model.labels_, minlength=3)
    assert sizes[2] > sizes[0] > 0


# --- methods of one's own -------------------------------------------------------------


class Nearest(torch.nn.Module):
    """No more than centres, of which the base class knows what to do."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("centers", CENTERS.clone())

    def encode(self, x):
        return x + self.shift

    def values(self, x):
        return torch.cdist(x, self.centers)


class Shifted(Nearest):
    """More than centres: the distances of each cluster are scaled."""

    def __init__(self):
        super().__init__()
        self.register_buffer("gain", torch.tensor([1e3, 1, 1e-3, 1e-3]))

    def values(self, x):
        return super().values(x) * self.gain


class Complete(Shifted):
    """Such a module, that says what to do."""

    def reorder_clusters(self, order):
        self.centers.copy_(self.centers[order])
        self.gain.copy_(self.gain[order])


class Reordering(Nearest):
    def reorder_clusters(self, order):
        self.centers.copy_(self.centers[order])


class Other(Nearest):
    """Clusters under another name."""

    def __init__(self):
        super().__init__()
        self.means, self.centers = self.centers, None

    def values(self, x):
        return torch.cdist(x, self.means)


class Own(BaseDeepClusterer):
    architecture, image_shape, hidden_layer_sizes = "mlp", None, None
    n_init, device, callbacks, verbose, batch_size = 1, "cpu", None, 0, 256
    lr, optimizer, latent_dim = 1e-3, "adam", 1

    def __init__(self, module=None, *, n_clusters=4, random_state=None):
        self.module = module
        self.n_clusters = n_clusters
        self.random_state = random_state

    def _module_spec(self, n_features):
        return self.module, {}

    def _phases(self, run):
        yield from ()

    def _assign(self, module, x):
        return module.values(x).argmin(1)

    def _row_objective(self, module, x):
        return module.values(x).amin(1)


NUMBERED = [0, 1, 0, 2, 0, 1]


@pytest.mark.parametrize("module", [Nearest, Complete])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_clusters_of_ones_own_method_are_numbered(module):
    model = Own(module).fit(X)
    expected = module().values(torch.from_numpy(X)).amin(1).mean()
    assert model.objective_ == pytest.approx(expected.item())
    assert is_numbered(model.labels_)
    assert_array_equal(model.predict(X), model.labels_)
    if module is Nearest:
        assert model.labels_.tolist() == NUMBERED
        assert model.module_.centers.flatten().tolist() == [20, 30, 0, 10]


@pytest.mark.parametrize("module", [Shifted, Other])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_clusters_that_cannot_be_reordered_keep_their_numbers(module):
    values = module().values(torch.from_numpy(X))
    assert not is_numbered(values.argmin(1).numpy())
    model = Own(module).fit(X)
    assert_array_equal(model.labels_, values.argmin(1))
    assert_array_equal(model.predict(X), model.labels_)
    assert model.objective_ == pytest.approx(values.amin(1).mean().item())


def test_order_is_looked_at_again_where_rows_between_clusters_have_moved(monkeypatch):
    calls = []

    def note(labels, n_clusters):
        calls.append(labels.tolist())
        return order_of_clusters(labels, n_clusters)

    monkeypatch.setattr(_base, "order_of_clusters", note)
    # 25 goes to 20 or 30, whichever comes first.
    rows = np.float32([10, 10, 20, 25, 25, 30, 30, 30, 30])[:, None]
    with pytest.warns(ClusterCollapseWarning, match="uses 3 of 4"):
        model = Own(Reordering).fit(rows)
    assert calls == [
        [1, 1, 2, 2, 2, 3, 3, 3, 3],
        [2, 2, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 2, 0, 0, 0, 0, 0, 0],
    ]
    assert model.labels_.tolist() == calls[-1]
    assert_array_equal(model.predict(rows), model.labels_)


# --- luck -----------------------------------------------------------------------------


@pytest.mark.rounding
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in CLUSTERERS
        if not name.startswith(("DDC", "Discriminative", "Tensorized"))
    ],
)
def test_the_numbers_that_kmeans_happens_to_give_do_not_matter(
    name, blobs, monkeypatch
):
    """As on another machine, where rounding lets another of its restarts win."""
    rows = blobs[0][20:]
    expected = clone(CLUSTERERS[name]).fit(rows)
    find, n_calls = KMeans.fit_predict, 0

    def find_others(self, X, y=None, sample_weight=None):
        nonlocal n_calls
        n_calls += 1
        labels = find(self, X, sample_weight=sample_weight)
        order = np.roll(np.arange(self.n_clusters), 1)
        self.cluster_centers_ = self.cluster_centers_[order]
        self.labels_ = renumbered(labels, order)
        return self.labels_

    monkeypatch.setattr(KMeans, "fit_predict", find_others)
    model = clone(CLUSTERERS[name]).fit(rows)
    assert n_calls
    assert_array_equal(model.labels_, expected.labels_)
    assert_allclose(
        model.cluster_centers_, expected.cluster_centers_, rtol=1e-3, atol=1e-3
    )
