"""The start from neighbours: graphs, embeddings, and what a fit makes of them."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

import deepcluster_sk
from deepcluster_sk import DCN, DEC, IDEC, PCX
from deepcluster_sk._training._callbacks import StopBelow
from deepcluster_sk._training._data import Rows
from deepcluster_sk.building import BaseDeepEstimator, Phase, Reconstruction
from deepcluster_sk.criteria import CodeTarget
from deepcluster_sk.initialization import (
    _first_clusters,
    _neighbors,
    embed_neighbors,
)
from deepcluster_sk.losses import neighbor_loss
from deepcluster_sk.modules import MLPAutoencoder
from deepcluster_sk.solvers._neighbor_embedding import (
    neighbor_embedding,
    spectral_coordinates,
)
from deepcluster_sk.solvers._neighbor_graph import (
    fuzzy_neighbor_graph,
    fuzzy_weights,
    nearest_moved_neighbors,
    nearest_neighbors,
    shared_neighbor_graph,
)

SMALL = {
    "latent_dim": 3,
    "hidden_layer_sizes": (32,),
    "max_epochs": 5,
    "random_state": 0,
}
every = pytest.mark.parametrize("Estimator", [DEC, IDEC, DCN, PCX])


def planted(n=150, k=3, seed=0, **settings):
    return make_blobs(n, 6, centers=k, random_state=seed, **settings)


def distances(n=40, m=12, seed=0):
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(1, 2, (n, m)), axis=1)


# --- graphs ---------------------------------------------------------------------------


def test_moved_neighbors_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    X, *copies = rng.normal(size=(4, 30, 5))
    distance, index = nearest_moved_neighbors(X, copies, 6)
    expected = np.full((30, 30), np.inf)
    for i in range(30):
        for j in range(30):
            pairs = [(X[i], X[j]), *((X[i], Z[j]) for Z in copies)]
            pairs += [(Z[i], X[j]) for Z in copies]
            if i != j:
                expected[i, j] = min(np.linalg.norm(a - b) for a, b in pairs)
    np.testing.assert_allclose(distance, np.sort(expected)[:, :6], rtol=1e-4)
    np.testing.assert_array_equal(index, expected.argsort(1)[:, :6])
    rows, *moved = map(torch.from_numpy, (X, *copies))
    squared, found = nearest_neighbors(rows, 6, "euclidean", moved)
    np.testing.assert_array_equal(found, index)
    np.testing.assert_allclose(squared, distance**2, rtol=1e-5)
    cosine, found = nearest_neighbors(rows, 6, "cosine", moved)
    for i, j, value in zip(range(30), found[:, 0], cosine[:, 0], strict=True):
        pairs = [(X[i], Z[j]) for Z in (X, *copies)]
        pairs += [(Z[i], X[j]) for Z in copies]
        largest = max(a @ b / np.sqrt(a @ a * (b @ b)) for a, b in pairs)
        np.testing.assert_allclose(value, 1 - largest, rtol=1e-3)


@pytest.mark.parametrize("m", [3, 5, 12])
def test_fuzzy_weights_add_up_to_the_logarithm_of_their_number(m):
    weights = fuzzy_weights(distances(m=m))
    np.testing.assert_allclose(weights.sum(1), np.log2(m), rtol=1e-9)
    np.testing.assert_array_equal(weights[:, 0], 1)
    assert (np.diff(weights, axis=1) <= 0).all() and (weights >= 0).all()


def test_fuzzy_weights_ignore_the_scale():
    d = distances()
    for scale in (1e-100, 1e-3, 7.0, 1e100):
        np.testing.assert_allclose(fuzzy_weights(scale * d), fuzzy_weights(d), 1e-6)


def test_neighbors_equally_far_are_equally_sure():
    for distance in (0.0, 3.0):
        np.testing.assert_array_equal(fuzzy_weights(np.full((4, 5), distance)), 1)
    mixed = np.vstack([np.full(5, 3.0), distances(1, 5)])
    np.testing.assert_array_equal(fuzzy_weights(mixed)[0], 1)
    assert fuzzy_weights(mixed)[1].sum() == pytest.approx(np.log2(5))


def test_the_graph_joins_nearest_neighbors():
    X, _ = planted(60)
    W = fuzzy_neighbor_graph(X, 7)
    assert abs(W - W.T).max() == 0
    assert W.data.min() > 0 and W.data.max() <= 1
    assert W.diagonal().max() == 0
    near = NearestNeighbors(n_neighbors=7).fit(X).kneighbors_graph().toarray()
    assert not W.toarray()[(near + near.T) == 0].any()
    d, index = NearestNeighbors(n_neighbors=7).fit(X).kneighbors()
    directed = np.zeros((60, 60))
    np.put_along_axis(directed, index, fuzzy_weights(d), 1)
    either = 1 - (1 - directed) * (1 - directed.T)
    np.testing.assert_allclose(W.toarray(), either, atol=1e-6)


@pytest.mark.nightly  # numba compiles for minutes
def test_the_graph_is_nearly_that_of_umap():
    umap = pytest.importorskip("umap.umap_")
    X, _ = planted(120)
    # UMAP counts a row among its own neighbours.
    theirs = umap.fuzzy_simplicial_set(X, 16, np.random.RandomState(0), "euclidean")[0]
    ours = fuzzy_neighbor_graph(X, 15).toarray()
    theirs = theirs.toarray()
    assert ((ours > 0) == (theirs > 0)).mean() > 0.99
    assert np.corrcoef(ours[ours > 0], theirs[ours > 0])[0, 1] > 0.95


def test_a_row_far_away_leaves_the_others_their_neighbors():
    X, _ = planted(60)
    far = np.vstack([X, np.full(6, 1e7)])
    alone, beside = fuzzy_neighbor_graph(X, 7), fuzzy_neighbor_graph(far, 7)
    among = beside.toarray()[:60, :60]
    # The far row raises the smallest bandwidth: the order of neighbours is the same.
    assert ((among > 0) == (alone.toarray() > 0)).all()


def dense_shared(W):
    """What ``shared_neighbor_graph`` says, for all pairs at once."""
    rows = W.toarray() + np.eye(len(W.toarray()))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    S = np.where(W.toarray() > 0, (rows @ rows.T) ** 2, 0)
    S /= S.max(1, keepdims=True)
    S = np.maximum(S, S.T)
    return np.where(S < 1e-3, 0, S)


@pytest.mark.parametrize("block", [1, 1024])
def test_shared_neighbors_are_those_of_dense_matrices(block, monkeypatch):
    monkeypatch.setattr("deepcluster_sk.solvers._neighbor_graph.BLOCK_ROWS", block)
    W = fuzzy_neighbor_graph(planted(80)[0], 6)
    S = shared_neighbor_graph(W)
    np.testing.assert_allclose(S.toarray(), dense_shared(W), atol=1e-12)
    np.testing.assert_allclose(S.max(axis=1).toarray(), 1)


def test_an_edge_between_two_cliques_is_weak():
    W = np.kron(np.eye(2), 1 - np.eye(8))
    W[7, 8] = W[8, 7] = 1
    S = shared_neighbor_graph(sparse.csr_array(W)).toarray()
    inside = S[W > 0][S[W > 0] != S[7, 8]]
    assert 0 < S[7, 8] < 0.1 * inside.min()


def test_memberships_are_the_same_dense_and_sparse(monkeypatch):
    partitions = [np.array([0, 1, 1, 2]), np.array([2, 2, 0, 1])]
    dense = _neighbors._memberships(partitions, 3)
    expected = np.hstack([np.eye(3)[labels] for labels in partitions])
    np.testing.assert_array_equal(dense, expected)
    monkeypatch.setattr(_neighbors, "MOST_DENSE", 2)
    table = _neighbors._memberships(partitions, 3)
    assert sparse.issparse(table)
    np.testing.assert_array_equal(table.toarray(), expected)
    rows = planted(400, 8)[1]
    found = [rows, (rows + 1) % 8, np.where(rows == 3, 4, rows)]
    partition = KMeans(8, n_init=5, random_state=0).fit_predict
    again = partition(_neighbors._memberships(found, 8))
    monkeypatch.undo()
    assert adjusted_rand_score(again, partition(_neighbors._memberships(found, 8))) == 1


# --- embeddings -----------------------------------------------------------------------


def graph(n=120, k=3, seed=0):
    W = fuzzy_neighbor_graph(planted(n, k, seed, cluster_std=3.0)[0], 8)
    return W, shared_neighbor_graph(W)


def loss_of(code, W):
    return float(neighbor_loss(torch.tensor(code), torch.from_numpy(W.toarray())))


def test_an_embedding_lowers_its_loss():
    W, _ = graph()
    rng = np.random.RandomState(0)
    for start in (rng.normal(size=(120, 2)), spectral_coordinates(W, 2, rng)):
        code = neighbor_embedding(W, start, 100, 0)
        assert loss_of(code, W) < loss_of(start.astype(np.float32), W)


def test_an_embedding_follows_from_its_seed_alone():
    _, S = graph()
    start = np.random.RandomState(0).normal(size=(120, 3))
    before, state = start.copy(), torch.random.get_rng_state()
    codes = [neighbor_embedding(S, start, 20, seed) for seed in (0, 0, 1)]
    assert (torch.random.get_rng_state() == state).all()
    np.testing.assert_array_equal(start, before)
    np.testing.assert_array_equal(codes[0], codes[1])
    assert not (codes[0] == codes[2]).all()
    np.testing.assert_array_equal(
        neighbor_embedding(S, start, 0, 0), start.astype(np.float32)
    )


def test_an_epoch_of_an_embedding_is_that_of_a_loop():
    _, S = graph()
    start = np.random.RandomState(0).normal(size=(120, 3)).astype(np.float32)
    edges = sparse.triu(S).tocoo()
    generator = torch.Generator().manual_seed(5)
    share = torch.from_numpy(edges.data).float()
    drawn = (torch.rand(len(share), generator=generator) < share / share.max()).numpy()
    pairs = list(zip(*(c[drawn].tolist() for c in edges.coords), strict=True))
    ends = [i for i, _ in pairs] + [j for _, j in pairs]
    others = torch.randint(120, (5 * len(ends),), generator=generator).tolist()
    step = np.zeros((120, 3))
    for i, j in pairs:
        apart = (start[i] - start[j]).astype(float)
        pull = np.clip(2 * apart / (1 + apart @ apart), -4, 4)
        step[i] -= pull
        step[j] += pull
    for i, j in zip(5 * ends, others, strict=True):
        apart = (start[i] - start[j]).astype(float)
        squared = apart @ apart
        step[i] += np.clip(2 * apart / ((0.001 + squared) * (1 + squared)), -4, 4)
    np.testing.assert_allclose(
        neighbor_embedding(S, start, 1, 5), start + np.clip(step, -4, 4), atol=1e-3
    )


@pytest.mark.parametrize("n", [60, 600])  # all eigenvectors, and some
def test_spectral_coordinates_are_eigenvectors(n):
    _, S = graph(n, k=1)
    found = spectral_coordinates(S, 2, np.random.RandomState(0))
    assert np.abs(found).max() == pytest.approx(10)
    root = np.sqrt(S.sum(axis=1))
    normalized = S.toarray() / root[:, None] / root
    values = np.linalg.eigvalsh(normalized)[::-1][1:3]
    for vector, value in zip(found.T, values, strict=True):
        residual = np.linalg.norm(normalized @ vector - value * vector)
        assert residual < 1e-2 * np.linalg.norm(vector)
        assert abs(vector @ root) < 1e-2 * np.linalg.norm(vector) * np.linalg.norm(root)


@pytest.mark.parametrize("n_parts", [2, 4, 9])
def test_parts_of_a_graph_start_and_stay_apart(n_parts):
    S = sparse.csr_array(np.kron(np.eye(n_parts), 1 - np.eye(10)))
    part = np.repeat(np.arange(n_parts), 10)
    start = spectral_coordinates(S, 2, np.random.RandomState(0))
    code = neighbor_embedding(
        S, start + 1e-3 * np.arange(20).reshape(10, 2)[part], 50, 0
    )
    assert np.isfinite(code).all()
    found = KMeans(n_parts, n_init=20, random_state=0).fit_predict(code)
    assert adjusted_rand_score(part, found) == 1


# --- the code and its clusters --------------------------------------------------------


def embedded(X, k, h=3, m=10, seed=0):
    X = torch.from_numpy(np.asarray(X, dtype=np.float32))
    return embed_neighbors(X, m, h, k, np.random.RandomState(seed))


@pytest.mark.parametrize("seed", range(3))
def test_planted_clusters_are_found_and_apart(seed):
    X, y = planted(seed=seed)
    code, labels = embedded(X, 3)
    assert code.shape == (150, 3) and code.dtype == np.float32
    assert adjusted_rand_score(y, labels) == 1
    assert (np.diff(np.bincount(labels)) <= 0).all()
    means = np.stack([code[labels == j].mean(0) for j in range(3)])
    squared = np.square(code[:, None] - means).sum(2)
    assert (squared.argmin(1) == labels).mean() > 0.99
    assert squared[np.arange(150), labels].mean() == pytest.approx(1, rel=1e-3)


def test_a_code_without_clusters_has_variance_one():
    code, labels = embedded(planted()[0], None)
    assert labels is None
    np.testing.assert_allclose(code.mean(0), 0, atol=1e-5)
    assert np.square(code).sum(1).mean() == pytest.approx(1, rel=1e-4)


@pytest.mark.rounding
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e20])
def test_the_scale_does_not_matter(scale):
    X, y = planted()
    assert adjusted_rand_score(y, embedded(scale * X, 3)[1]) == 1


@pytest.mark.parametrize("k", [None, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_few_rows_have_a_code(n, k):
    if k is not None and k > n:
        pytest.skip("more clusters than rows are refused before")
    for X in (planted()[0][:n], np.ones((n, 2)), np.arange(float(n))[:, None]):
        for h in (1, 12):
            code, labels = embedded(X, k, h)
            assert code.shape == (n, h)
            assert np.isfinite(code).all() and np.abs(code).max() < 100
            if k is not None:
                assert labels.shape == (n,) and set(labels) <= set(range(k))


def test_as_many_clusters_as_rows():
    code, labels = embedded(planted()[0][:20], 20)
    assert sorted(labels) == list(range(20))
    assert 0.5 < np.square(code - code.mean(0)).sum(1).mean() ** 0.5 < 2


@pytest.mark.parametrize("n", [50, 500])
def test_equal_rows_have_a_code(n):
    for X in (np.full((n, 3), 0.1), np.repeat(planted()[0][:2], n // 2, axis=0)):
        code, labels = embedded(X, 2)
        assert np.isfinite(code).all() and len(labels) == n
    assert adjusted_rand_score(np.repeat([0, 1], n // 2), labels) == 1


# --- the criterion --------------------------------------------------------------------


class Output:
    def __init__(self, embedding):
        self.embedding = embedding


def test_code_target_is_the_relative_error_of_codes_that_have_one():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(6, 2, generator=generator)
    code = torch.randn(9, 2, generator=generator)
    position = torch.tensor([-1, 3, 0, -1, 5, 1, 2, -1, 4])
    criterion = CodeTarget(target, 0.5, position)
    known = position >= 0
    error = (code[known] - target[position[known]]).square().sum(1).mean()
    expected = 0.5 * error / target.var(0, unbiased=False).sum()
    found = criterion(Output(code), None, torch.arange(9))["neighbors"]
    torch.testing.assert_close(found, expected)
    # The terms of parts of a batch, weighted by their sizes, add up to its own.
    parts = [torch.tensor([0, 3, 7]), torch.tensor([1, 2, 4, 5, 6, 8])]
    terms = [criterion(Output(code[i]), None, i)["neighbors"] for i in parts]
    assert terms[0] == 0
    torch.testing.assert_close((3 * terms[0] + 6 * terms[1]) / 9, expected)
    # The unit of codes does not matter.
    scaled = CodeTarget(7 * target, 0.5, position)
    torch.testing.assert_close(
        scaled(Output(7 * code), None, torch.arange(9))["neighbors"], expected
    )
    plain = CodeTarget(target)(Output(target), None, torch.arange(6))
    assert plain["neighbors"] == 0


def test_a_single_code_can_be_a_target():
    term = CodeTarget(torch.ones(1, 2))(
        Output(torch.zeros(1, 2)), None, torch.tensor([0])
    )
    assert term["neighbors"] == 2


# --- phases ---------------------------------------------------------------------------


class OnSome(BaseDeepEstimator):
    """An autoencoder that is trained on the last rows only, until it is good."""

    random_state = 0

    def __init__(self, bound=0.0, seen=None):
        self.bound = bound
        self.seen = seen

    def _module_spec(self, n_features):
        sizes = {"n_features": n_features, "hidden_layer_sizes": (), "latent_dim": 1}
        return MLPAutoencoder, sizes

    def _phases(self, run):
        rows = Rows(run.rows.X[-7:].numpy(), run.rows.device)

        class Seeing(Reconstruction):
            def forward(self, output, x, index, seen=self.seen):
                seen.append((x, index))
                return super().forward(output, x, index)

        stop = StopBelow("reconstruction", self.bound)
        yield Phase("some", Seeing(), 200, rows=rows, callbacks=[stop], lr=0.01)
        yield Phase("all", Seeing(), 1)

    def _row_objective(self, module, x):
        return (module(x).reconstruction - x).square().mean(1)


def test_a_phase_can_have_its_own_rows():
    X = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    seen = []
    model = OnSome(seen=seen).fit(X)
    assert model.n_epochs_ == {"some": 200, "all": 1}
    for x, index in seen[:-1]:
        assert sorted(index.tolist()) == list(range(7))
        np.testing.assert_array_equal(x.numpy(), X[-7:][index])
    assert len(seen[-1][0]) == 30


def test_stop_below_ends_a_phase_at_its_bound():
    X = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    losses = [row["loss"] for row in OnSome(seen=[]).fit(X).history_[:-1]]
    bound = (min(losses) + losses[0]) / 2
    model = OnSome(bound, seen=[]).fit(X)
    assert model.stop_reason_ == {"some": "learned", "all": "max_epochs"}
    below = np.flatnonzero(np.array(losses) < bound)
    assert model.n_epochs_["some"] == below[0] + 1


# --- estimators -----------------------------------------------------------------------


@every
def test_clusters_are_found_without_labels(Estimator):
    X, y = planted()
    model = Estimator(3, **SMALL).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1
    again = Estimator(3, **SMALL).fit(X, np.arange(150) % 2)
    np.testing.assert_array_equal(model.labels_, again.labels_)
    assert model.objective_ == again.objective_


@every
def test_rings_are_found_where_kmeans_fails(Estimator):
    X, y = make_circles(300, factor=0.4, noise=0.03, random_state=0)
    by_kmeans = KMeans(2, n_init=10, random_state=0).fit_predict(X)
    assert adjusted_rand_score(y, by_kmeans) < 0.1
    # Of two values none can be spared: a masked row may be of either ring.
    model = Estimator(2, latent_dim=3, lr=1e-3, mask_rate=0.0, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9


@pytest.mark.parametrize("Estimator", [IDEC, DCN, PCX])
def test_codes_stay_where_their_neighbors_put_them(Estimator):
    X, _ = planted()
    settings = {**SMALL, "max_epochs": 20, "tol": 0, "lr": 0.01}
    held = Estimator(3, **settings).fit(X)
    free = Estimator(3, neighbor_weight=0, **settings).fit(X)
    assert "neighbors" in held.history_[-1]
    assert "neighbors" not in free.history_[-1]
    # Some of PCX's values are masked.
    assert held.history_[-1]["neighbors"] < 0.25


@every
def test_rows_beyond_the_first_ones(Estimator, monkeypatch):
    monkeypatch.setattr(_first_clusters, "START_ROWS", 90)
    X, y = planted(300)
    model = Estimator(3, batch_size=64, **SMALL).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1
    assert np.isfinite([row["loss"] for row in model.history_]).all()


def test_rows_on_disk_and_in_a_stream(monkeypatch, tmp_path):
    monkeypatch.setattr(_first_clusters, "START_ROWS", 90)
    X, y = planted(300)
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = PCX(3, batch_size=64, **SMALL).fit(stored)
    assert adjusted_rand_score(y, model.labels_) == 1
    stream = PCX(3, batch_size=64, **SMALL)
    for part in (slice(0, 150), slice(150, 300)):
        stream.partial_fit(stored[part])
    assert adjusted_rand_score(y, stream.predict(X)) == 1


@every
@pytest.mark.parametrize("init", ["auto", "mixture", "k-means"])
@pytest.mark.parametrize("pretraining", ["neighbors", "end-to-end"])
def test_every_start_finds_blobs(Estimator, init, pretraining):
    X, y = planted(90)
    model = Estimator(3, init=init, pretraining=pretraining, **SMALL).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1
    held = pretraining == "neighbors" and init == "auto" and Estimator is not DEC
    assert ("neighbors" in model.history_[-1]) == held


@pytest.mark.parametrize(
    "settings",
    [
        {"latent_dim": 1},
        {"latent_dim": 200},
        {"n_neighbors": 2},
        {"n_neighbors": 1000},
        {"n_init": 2},
        {"pretrain_epochs": 40},
        {"augmentation": lambda x, generator: x + 0.01},
        {"architecture": lambda d, h: MLPAutoencoder(d, h, (16,))},
        {"precision": "bfloat16"},
    ],
    ids=lambda s: next(iter(s)) + str(next(iter(s.values())))[:6],
)
def test_settings_work_with_neighbors(settings):
    X, y = planted(90)
    settings = {**SMALL, "lr": 0.01, **settings}
    if "architecture" in settings:
        settings["hidden_layer_sizes"] = None
    model = IDEC(3, **settings).fit(X)
    found = adjusted_rand_score(y, model.labels_)
    assert found == 1 if settings.get("n_neighbors") != 2 else found > 0.3


def test_images_have_neighbors_too():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = 0.1 * rng.random((60, 1, 8, 8))
    X[y == 0, :, :4] += 1
    X[y == 1, :, :, :4] += 1
    settings = {**SMALL, "architecture": "conv", "image_shape": (1, 8, 8)}
    settings |= {"hidden_layer_sizes": (4,), "lr": 0.01}
    model = DEC(2, **settings).fit(X.reshape(60, -1))
    assert adjusted_rand_score(y, model.labels_) == 1


def bars(n=120, seed=0):
    """Images of a horizontal or a vertical bar somewhere in an 8 x 8 image."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = 0.05 * rng.random((n, 8, 8))
    for image, upright in zip(X, y, strict=True):
        i, j = rng.integers(0, 8, 2)
        (image.T if upright else image)[i, [j, (j + 1) % 8, (j + 2) % 8]] += 1
    return X.reshape(n, -1), y


class Roll:
    """Moves images by a random number of pixels, around their borders."""

    def __call__(self, x, generator):
        moves = torch.randint(8, (len(x), 2), generator=generator).tolist()
        images = x.view(-1, 8, 8)
        rolled = [z.roll(m, (0, 1)) for z, m in zip(images, moves, strict=True)]
        return torch.stack(rolled).flatten(1)


def test_moved_rows_meet_their_neighbors():
    X, y = bars()
    settings = {**SMALL, "hidden_layer_sizes": (128,), "lr": 0.003}
    still = DEC(2, **settings).fit(X)
    assert adjusted_rand_score(y, still.labels_) < 0.5
    moved = DEC(2, augmentation=Roll(), **settings).fit(X)
    assert adjusted_rand_score(y, moved.labels_) > 0.8


@every
def test_the_type_of_the_data_does_not_matter(Estimator):
    X = np.round(10 * planted(90)[0])
    models = [
        Estimator(3, **SMALL).fit(X.astype(dtype))
        for dtype in (np.float32, np.float64, np.int64)
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.labels_, models[0].labels_)
        assert model.objective_ == models[0].objective_


def test_global_generators_are_left_alone():
    X, _ = planted(60)
    torch.manual_seed(0)
    np.random.seed(0)
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    a = DEC(3, **SMALL).fit(X)
    assert (torch.random.get_rng_state() == state).all()
    assert (np.random.get_state()[1] == numpy_state).all()
    torch.manual_seed(1)
    np.random.seed(1)
    np.testing.assert_array_equal(a.transform(X), DEC(3, **SMALL).fit_transform(X))


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
@every
def test_equal_rows_are_clustered_without_other_warnings(Estimator):
    settings = {**SMALL, "pretrain_epochs": 3}
    for X in (np.ones((40, 3)), np.repeat([[0.0], [1.0]], 20, axis=0)):
        labels = Estimator(2, **settings).fit(X).labels_
        assert len(labels) == 40
    for n, k in ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (4, 4)):
        X = planted()[0][:n]
        assert len(set(Estimator(k, **settings).fit(X).labels_)) <= k


# --- widths of the network ------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "width"),
    [
        (1, 128),
        (1000, 128),
        (1001, 256),
        (10_000, 256),
        (10_001, 512),
        (10**6, 512),
    ],
)
def test_more_rows_have_a_wider_network(n, width):
    assert DEC()._default_layer_sizes(n, 5) == (width, width)


def test_the_widths_are_an_attribute(tmp_path):
    X, _ = planted(60)
    settings = {"max_epochs": 1, "pretrain_epochs": 1, "random_state": 0}
    model = DEC(3, **settings).fit(X)
    assert model.hidden_layer_sizes is None
    assert model.hidden_layer_sizes_ == (128, 128)
    model.save(tmp_path / "model")
    again = deepcluster_sk.load(tmp_path / "model")
    assert tuple(again.hidden_layer_sizes_) == (128, 128)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    model.set_params(hidden_layer_sizes=[7]).fit(X)
    assert model.hidden_layer_sizes_ == (7,)
    # A stream goes on with the network of its first batch.
    stream = PCX(3, **settings).partial_fit(X)
    assert stream.partial_fit(np.tile(X, (20, 1))).hidden_layer_sizes_ == (128, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.save(tmp_path / "stream")
    again = deepcluster_sk.load(tmp_path / "stream").partial_fit(X)
    assert tuple(again.hidden_layer_sizes_) == (128, 128)
