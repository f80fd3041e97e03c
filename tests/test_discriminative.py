import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

import deepcluster_sk
from deepcluster_sk import DiscriminativeClustering
from deepcluster_sk._training._callbacks import CosineDecay, WeightSchedule
from deepcluster_sk._training._checkpoint import _text
from deepcluster_sk._training._data import NeighborOrder
from deepcluster_sk.losses import anchor_similarity_loss, between_cluster_loss
from deepcluster_sk.modules import FullyConvAutoencoder, PooledConvAutoencoder
from deepcluster_sk.solvers import _neighbor_graph
from deepcluster_sk.solvers._neighbor_graph import (
    PairMask,
    anchor_edges,
    anchor_mask,
    edges_of_pairs,
    nearest_neighbors,
    pairs_of_batch,
)
from deepcluster_sk.solvers._spherical_kmeans import (
    mean_directions,
    spherical_kmeans,
)

K = 3


def small(**params):
    defaults = {
        "latent_dim": 8,
        "hidden_layer_sizes": (16,),
        "metric": "euclidean",
        "pretrain_epochs": 30,
        "stage_one_epochs": 5,
        "max_epochs": 10,
        "lr": 1e-2,
        "tol": 0.0,
        "device": "cpu",
        "random_state": 0,
    }
    return DiscriminativeClustering(**{"n_clusters": K, **defaults, **params})


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(150, n_features=5, centers=K, random_state=0)
    return (X / 10).astype(np.float32), y


@pytest.fixture(scope="module")
def fitted(blobs):
    return small().fit(blobs[0])


# --- anchors ------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbors_by_blocks_are_those_of_all_pairs(metric, monkeypatch):
    monkeypatch.setattr(_neighbor_graph, "BLOCK_ROWS", 7)
    x = np.random.RandomState(0).randn(30, 4)
    distance, index = nearest_neighbors(torch.tensor(x), 3, metric)
    if metric == "cosine":
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        pairs = 1 - unit @ unit.T
    else:
        pairs = ((x[:, None] - x) ** 2).sum(2)
    np.fill_diagonal(pairs, np.inf)
    assert_array_equal(index, pairs.argsort(1)[:, :3])
    assert_allclose(distance, np.sort(pairs, axis=1)[:, :3], atol=1e-9)
    assert nearest_neighbors(torch.tensor(x[:2]), 3, metric)[1].tolist() == [[1], [0]]


def test_anchors_are_the_nearest_edges():
    distance = torch.tensor([[1.0, 5.0], [2.0, 6.0], [4.0, 8.0], [3.0, 7.0]])
    index = torch.tensor([[1, 2], [0, 3], [3, 0], [2, 1]])
    kept = anchor_edges(distance, index, 0.5, local=False)
    assert kept.tolist() == [[1, -1], [0, -1], [3, -1], [2, -1]]
    kept = anchor_edges(distance, index, 0.25, local=False)
    assert kept.tolist() == [[1, -1], [0, -1], [-1, -1], [-1, -1]]


def test_local_distances_give_every_cluster_anchors():
    rng = np.random.RandomState(0)
    x = np.concatenate([rng.randn(40, 3), 100 + 20 * rng.randn(40, 3)])
    graph = nearest_neighbors(torch.tensor(x), 5, "euclidean")
    plain = anchor_edges(*graph, 0.3, local=False) >= 0
    local = anchor_edges(*graph, 0.3, local=True) >= 0
    assert plain.sum() == local.sum() == 120
    assert plain[40:].sum() == 0
    assert local[40:].sum() > 40


@pytest.mark.parametrize("x", [np.zeros((6, 2)), np.ones((6, 2)), np.ones((1, 2))])
def test_rows_without_direction_or_distance_have_finite_anchors(x):
    for metric in ("cosine", "euclidean"):
        graph = nearest_neighbors(torch.tensor(x), 2, metric)
        assert torch.isfinite(graph[0]).all()
        edges = anchor_edges(*graph, 0.5, local=True)
        assert (edges >= 0).sum() == (6 if len(x) > 1 else 0)


def test_mask_of_a_batch_is_a_part_of_the_whole():
    rng = np.random.RandomState(0)
    x = torch.tensor(rng.randn(20, 3))
    edges = anchor_edges(*nearest_neighbors(x, 4, "cosine"), 0.5, local=True)
    whole = anchor_mask(edges, 20)
    assert not whole.diagonal().any()
    assert_array_equal(whole, whole.T)
    pairs = {(i, j) for i, row in enumerate(edges.tolist()) for j in row if j >= 0}
    assert whole.sum() == len(pairs | {(j, i) for i, j in pairs})
    pair_mask = PairMask(edges)
    for seed in range(3):  # what one batch leaves behind must not reach the next
        index = torch.tensor(np.random.RandomState(seed).permutation(20)[:8])
        assert_array_equal(pair_mask(x[index], index), whole[index][:, index])


def test_anchors_of_batches_come_from_the_batch():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.4, 1.0]])
    model = small(anchors="batch", metric="cosine", n_neighbors=1, anchor_fraction=0.5)
    mask = pairs_of_batch(model._edges, x, torch.tensor([5, 9, 2, 7]))
    assert mask.nonzero().tolist() == [[0, 1], [1, 0]]


def test_order_is_a_permutation_that_keeps_anchors_together():
    rng = np.random.RandomState(0)
    x = torch.tensor(rng.randn(400, 3))
    edges = anchor_edges(*nearest_neighbors(x, 5, "cosine"), 0.5, local=True)
    mask = anchor_mask(edges, 400)
    order = NeighborOrder(edges)
    generator = torch.Generator().manual_seed(0)
    first, second = order(generator), order(generator)
    assert (first != second).any()
    for permutation in (first, second):
        assert_array_equal(permutation.sort().values, np.arange(400))
        kept = sum(mask[part][:, part].sum() for part in permutation.split(40))
        # A random order would keep a tenth.
        assert kept > 0.3 * mask.sum()


# --- anchors that are given ---------------------------------------------------


def test_edges_of_pairs_join_the_pairs_and_no_others():
    rng = np.random.RandomState(0)
    pairs = rng.randint(20, size=(30, 2))
    pairs = np.vstack([pairs, pairs[:5, ::-1], [[7, 7]]])
    edges = edges_of_pairs(pairs, 20)
    expected = np.zeros((20, 20), dtype=bool)
    for i, j in pairs:
        if i != j:
            expected[i, j] = expected[j, i] = True
    assert_array_equal(anchor_mask(edges, 20), expected)
    for i, row in enumerate(edges.tolist()):  # both ends know of a pair
        assert [j for j in row if j >= 0] == np.flatnonzero(expected[i]).tolist()
    assert edges_of_pairs(np.zeros((0, 2), int), 4).shape == (4, 0)


def pairs_of_labels(y, share, seed=0):
    """Some pairs of rows of one class: what a user may know."""
    i, j = np.nonzero(np.triu(y[:, None] == y, 1))
    chosen = np.random.RandomState(seed).rand(len(i)) < share
    return np.column_stack([i, j])[chosen]


def as_matrix(pairs, n):
    values = np.ones(len(pairs))
    return sparse.csr_matrix((values, (pairs[:, 1], pairs[:, 0])), (n, n))


def test_given_anchors_enter_the_loss(blobs):
    """Eq. 5 with the given pairs, on the codes before the first step."""
    X, y = blobs
    pairs = pairs_of_labels(y, 0.02)
    seen = []

    class Codes(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "pretrain":
                net.module_.eval()
                seen.append(net.module_.encode(torch.from_numpy(X)).detach())

    model = small(
        anchors=pairs, pretrain_epochs=1, max_epochs=1, lr=1e-9, callbacks=[Codes()]
    ).fit(X)
    mask = torch.zeros(len(X), len(X), dtype=torch.bool)
    mask[pairs[:, 0], pairs[:, 1]] = mask[pairs[:, 1], pairs[:, 0]] = True
    expected = anchor_similarity_loss(seen[0], mask, 0.1)
    assert_allclose(model.history_[0]["discrimination"], float(expected), rtol=1e-4)


def test_pairs_and_matrices_say_the_same(blobs):
    X, y = blobs
    pairs = pairs_of_labels(y, 0.02)
    quick = {"pretrain_epochs": 3, "max_epochs": 3}
    fits = [
        small(anchors=anchors, **quick).fit(X).transform(X)
        for anchors in (pairs, pairs.tolist(), as_matrix(pairs, len(X)))
    ]
    for other in fits[1:]:
        assert_array_equal(other, fits[0])
    own = small(**quick).fit(X).transform(X)
    assert (own != fits[0]).any()


def test_what_is_known_of_pairs_finds_clusters_that_neighbours_do_not_show():
    """Neighbours in X are those of its noise: the features that tell are small."""
    rng = np.random.RandomState(0)
    y = np.arange(120) % K
    X = np.column_stack([np.eye(K)[y], 3 * rng.randn(120, 4)]).astype(np.float32)
    known = small(anchors=pairs_of_labels(y, 0.3), pretrain_epochs=60).fit(X)
    guessed = small(pretrain_epochs=60).fit(X)
    found, missed = (adjusted_rand_score(y, m.labels_) for m in (known, guessed))
    assert found > 0.9
    assert missed < 0.5


def test_without_any_anchor_all_codes_part(blobs):
    X, _ = blobs
    none = small(anchors=np.zeros((0, 2), int), pretrain_epochs=5).fit(X)
    assert none.history_[4]["discrimination"] > 0


@pytest.mark.parametrize(
    "anchors",
    [
        [[0, 150]],
        [[-1, 2]],
        [[0.5, 1.0]],
        [[0, 1, 2]],
        [0, 1],
        sparse.eye(149, format="csr"),
        "nowhere",
    ],
)
def test_anchors_that_name_no_rows_are_refused(anchors, blobs, untrained):
    with pytest.raises(ValueError, match="The 'anchors' parameter of Discriminative"):
        small(anchors=anchors).fit(blobs[0])


def test_given_anchors_in_files_and_checkpoints(blobs, tmp_path):
    X, y = blobs
    pairs = pairs_of_labels(y, 0.02)
    quick = {"pretrain_epochs": 1, "max_epochs": 1}
    fitted = small(anchors=pairs, **quick).fit(X)
    fitted.save(tmp_path / "pairs")
    again = deepcluster_sk.load(tmp_path / "pairs")
    assert_array_equal(again.anchors, pairs)
    assert_array_equal(again.transform(X), fitted.transform(X))
    fitted = small(anchors=as_matrix(pairs, len(X)), **quick).fit(X)
    fitted.save(tmp_path / "matrix")
    with pytest.raises(ValueError, match="pass anchors="):
        deepcluster_sk.load(tmp_path / "matrix")
    again = deepcluster_sk.load(tmp_path / "matrix", anchors="data")
    assert_array_equal(again.transform(X), fitted.transform(X))
    # A fit goes on only with the same pairs: of large arrays repr shows the ends.
    one, other = np.zeros((5000, 2), int), np.zeros((5000, 2), int)
    other[2500] = 1, 2
    assert repr(one) == repr(other)
    assert _text(one) != _text(other) and _text(one) == _text(one.copy())
    texts = [_text(as_matrix(pairs[:n], len(X))) for n in (5, 6, 5)]
    assert texts[0] == texts[2] != texts[1]


# --- losses and training ------------------------------------------------------


def test_worst_pair_is_the_worst_pair():
    """Its value is the largest of all pairs, and only its members get a gradient."""
    z = torch.tensor(np.random.RandomState(0).randn(12, 3), requires_grad=True)
    labels = torch.arange(12) % 4
    unit = (z / z.norm(dim=1, keepdim=True)).detach().numpy()
    pairs = {
        (a, b): np.mean(
            [
                abs(unit[i] @ unit[j])
                for i in range(12)
                for j in range(12)
                if labels[i] == a and labels[j] == b
            ]
        )
        for a in range(4)
        for b in range(a)
    }
    loss = between_cluster_loss(z, labels, 4)
    assert_allclose(loss.item(), max(pairs.values()))
    loss.backward()
    worst = max(pairs, key=pairs.get)
    moved = set(labels[z.grad.abs().sum(1) > 0].tolist())
    assert moved == set(worst)


def test_objective_is_equation_11_by_loops(blobs, fitted, monkeypatch):
    X, _ = blobs
    monkeypatch.setattr(_neighbor_graph, "BLOCK_ROWS", 40)
    Z = fitted.transform(X).astype(np.float64)
    labels, centers = fitted.labels_, fitted.cluster_centers_
    n = len(X)
    clustering = -np.mean([Z[i] @ centers[labels[i]] for i in range(n)])
    within = -sum(
        np.mean(
            [
                Z[i] @ Z[j]
                for i in range(n)
                for j in range(n)
                if labels[i] == labels[j] == k
            ]
        )
        for k in range(K)
    )
    between = max(
        np.mean(
            [
                abs(Z[i] @ Z[j])
                for i in range(n)
                for j in range(n)
                if labels[i] == a and labels[j] == b
            ]
        )
        for a in range(K)
        for b in range(a)
    )
    error = ((fitted.reconstruct(X) - X) ** 2).sum(1).mean()
    expected = clustering + 0.3 * within + between + 0.001 * error
    assert_allclose(-fitted.score(X), expected, rtol=1e-5)


def test_history_has_the_stages_and_their_weighted_terms(fitted):
    names = {
        "pretrain": {"discrimination"},
        "stage I": {"clustering", "discrimination"},
        "stage II": {"clustering", "within", "between"},
    }
    phases = [row["phase"] for row in fitted.history_]
    assert phases == ["pretrain"] * 30 + ["stage I"] * 5 + ["stage II"] * 5
    known = {"phase", "epoch", "loss", "cosine", "n_changed"}
    for row in fitted.history_:
        terms = set(row) - known
        assert terms == names[row["phase"]] | {"reconstruction"}
        assert_allclose(sum(row[name] for name in terms), row["loss"], rtol=1e-6)
    assert fitted.history_[29]["loss"] < fitted.history_[0]["loss"]


def test_weights_reach_their_terms(blobs):
    X, _ = blobs
    weights = {"discriminative_weight": 2.0, "between_weight": 3.0, "within_weight": 0}
    plain = small(stage_one_epochs=1, pretrain_epochs=1, lr=1e-12).fit(X).history_
    other = small(stage_one_epochs=1, pretrain_epochs=1, lr=1e-12, **weights)
    other = other.fit(X).history_
    assert_allclose(other[1]["discrimination"], 2 * plain[1]["discrimination"])
    assert_allclose(other[2]["between"], 3 * plain[2]["between"], rtol=1e-6)
    assert other[2]["within"] == 0 != plain[2]["within"]


def test_weight_of_the_pairs_may_change_over_stage_one(blobs):
    X, _ = blobs
    seen = []

    class Watch(Callback):
        def on_batch_begin(self, net, training, **kwargs):
            loss = net.criterion_.criteria[0]
            seen.append((net.phase_.name, loss.weights.get("discrimination")))

    settings = {"pretrain_epochs": 1, "callbacks": [Watch()]}
    small(discriminative_weight=(4, 1), stage_one_epochs=4, **settings).fit(X)
    weights = [weight for phase, weight in seen if phase == "stage I"]
    assert_allclose(weights, [4, 3, 2, 1])
    assert {weight for phase, weight in seen if phase == "pretrain"} == {1.0}
    both = [
        small(discriminative_weight=w, pretrain_epochs=2).fit(X).transform(X)
        for w in (2.0, (2, 2))
    ]
    assert_array_equal(*both)
    assert WeightSchedule(None, "x", 1, 2, 3).get_params()["epochs"] == 3


def test_a_schedule_goes_on_where_a_fit_was_killed(blobs, tmp_path):
    X, _ = blobs

    class Killed(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if net.phase_.name == "stage I" and len(net.history) == 4:
                raise KeyboardInterrupt

    settings = {"discriminative_weight": (4, 1), "pretrain_epochs": 3}
    settings |= {"anchors": [(0, 1), (5, 9)], "checkpoint": tmp_path / "folder"}
    with pytest.raises(KeyboardInterrupt):
        small(callbacks=[Killed()], **settings).fit(X)
    resumed = small(**settings).fit(X)
    whole = small(**{**settings, "checkpoint": None}).fit(X)
    assert resumed.history_ == whole.history_
    assert_array_equal(resumed.transform(X), whole.transform(X))


@pytest.mark.parametrize("weight", [(1, 2, 3), (-1, 2), ("a", "b"), ()])
def test_weights_that_are_no_pair_are_refused(weight, blobs, untrained):
    with pytest.raises(ValueError, match=r"'discriminative_weight' .* two of them"):
        small(discriminative_weight=weight).fit(blobs[0])


def test_pretraining_ends_when_the_pairs_stand_still(blobs):
    X, _ = blobs
    model = small(pretrain_tol=1e-2).fit(X)
    n = model.n_epochs_["pretrain"]
    assert model.stop_reason_["pretrain"] == "tol"
    assert 2 <= n < 30
    losses = [row["discrimination"] for row in model.history_[:n]]
    changes = np.abs(np.diff(losses))
    assert changes[-1] < 1e-2 and (changes[:-1] >= 1e-2).all()
    assert small(pretrain_tol=0.0).fit(X).n_epochs_["pretrain"] == 30


@pytest.mark.parametrize("anchors", ["data", "batch"])
def test_separate_clusters_are_found(blobs, anchors):
    X, y = blobs
    model = small(anchors=anchors, batch_size=75).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.95
    assert_array_equal(model.labels_, model.predict(X))
    assert model.score(X) == -model.objective_


@pytest.mark.rounding
def test_embedding_and_centroids_are_directions(blobs, fitted):
    Z = fitted.transform(blobs[0])
    assert_allclose(np.linalg.norm(Z, axis=1), 1, rtol=1e-5)
    assert_allclose(np.linalg.norm(fitted.cluster_centers_, axis=1), 1, rtol=1e-5)
    assert_array_equal(fitted.labels_, (Z @ fitted.cluster_centers_.T).argmax(1))
    means = mean_directions(
        torch.from_numpy(Z), torch.from_numpy(fitted.labels_).long(), torch.zeros(K, 8)
    )
    # After each epoch the centroids are those of the rows' present codes.
    assert_allclose(fitted.cluster_centers_, means, atol=1e-5)


def test_training_starts_from_directions_that_are_spread(blobs):
    """Without it the random network's codes of all rows have nearly one direction."""
    X = blobs[0] + 10  # far from the origin, as data may be
    model = small(pretrain_epochs=1, stage_one_epochs=1, max_epochs=1, lr=1e-9).fit(X)
    Z = model.transform(X)
    cosine = np.abs(Z @ Z.T)[~np.eye(len(X), dtype=bool)]
    # 8 dimensions, of which few carry much: random directions would have 0.28.
    assert cosine.mean() < 0.6
    assert np.linalg.norm(Z.mean(axis=0)) < 0.3


def test_width_of_the_code_follows_the_number_of_clusters(blobs):
    model = small(latent_dim="auto", pretrain_epochs=1, max_epochs=1).fit(blobs[0])
    assert model.transform(blobs[0]).shape == (len(blobs[0]), 6 * K)
    assert len(model.get_feature_names_out()) == 6 * K
    assert model.cluster_centers_.shape == (K, 6 * K)


def test_stages_end_when_the_cosine_stands_still(blobs):
    X, _ = blobs
    model = small(tol=2.0).fit(X)  # no change is as large
    assert [row["phase"] for row in model.history_[30:]] == ["stage I", "stage II"]


def test_learning_rate_falls_to_zero():
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append((net.phase_.name, net.optimizer_.param_groups[0]["lr"]))

    rng = np.random.RandomState(0)
    small(pretrain_epochs=4, callbacks=[Watch()]).fit(rng.rand(9, 2))
    pretrain = [lr for phase, lr in seen if phase == "pretrain"]
    expected = 1e-2 * 0.5 * (1 + np.cos(np.pi * np.arange(4) / 4))
    assert_allclose(pretrain, expected)
    for stage in ("stage I", "stage II"):
        assert_allclose(next(lr for phase, lr in seen if phase == stage), 1e-2)
    assert CosineDecay(4).get_params() == {"epochs": 4}


def test_one_cluster_and_as_many_as_rows(blobs):
    X, _ = blobs
    model = small(n_clusters=1).fit(X)
    assert_array_equal(model.labels_, 0)
    assert np.isfinite(model.objective_)
    with pytest.raises(ValueError, match="should be >= n_clusters"):
        small(n_clusters=11).fit(X[:10])


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_as_many_clusters_as_rows(blobs):
    model = small(n_clusters=9, lr=1e-4, pretrain_epochs=1).fit(blobs[0][:9])
    assert len(np.unique(model.labels_)) >= 8


def test_same_seed_same_fit_and_no_rows_in_pickles(blobs, fitted):
    X, _ = blobs
    again = small().fit(X)
    assert_array_equal(again.labels_, fitted.labels_)
    assert_array_equal(again.transform(X), fitted.transform(X))
    large = small(pretrain_epochs=1, max_epochs=1).fit(np.tile(X, (8, 1)))
    few = small(pretrain_epochs=1, max_epochs=1).fit(X)
    size = [len(pickle.dumps(m)) - m.labels_.nbytes for m in (few, large)]
    assert size[1] < size[0] + 1000


# --- parts --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (1, 1, 9), (2, 2, 3)])
def test_convolutions_fit_any_image(shape):
    n_features = int(np.prod(shape))
    module = PooledConvAutoencoder(n_features, 6, (4, 5, 5), shape)
    x = torch.randn(7, n_features)
    embedding, reconstruction = module(x)
    assert embedding.shape == (7, 6) and reconstruction.shape == x.shape
    reconstruction.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "width", "channels", "paper", "most"),
    [
        ((1, 28, 28), 60, (6, 8), 3200, 4000),
        ((1, 32, 32), 150, (6, 8), 7500, 9000),
        ((1, 32, 32), 150, (14, 19), 7500, 9000),
        ((3, 32, 32), 500, (14, 19), 12500, 13000),
    ],
)
def test_the_small_network_has_few_parameters(shape, width, channels, paper, most):
    network = FullyConvAutoencoder(int(np.prod(shape)), width, channels, shape)
    count = sum(p.numel() for p in network.parameters())
    assert count <= most
    assert abs(count - paper) < 0.03 * paper or count < paper
    kinds = {type(m) for m in network.modules()}
    assert torch.nn.Linear not in kinds
    # Three layers there and three back.
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == 6


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (1, 1, 9), (2, 2, 3)])
@pytest.mark.parametrize("width", [1, 7, 8, 18])
def test_the_small_network_fits_any_image_and_code(shape, width):
    n_features = int(np.prod(shape))
    module = FullyConvAutoencoder(n_features, width, (4, 5), shape)
    channels, height, side = module.code_shape
    assert height == side and channels * side**2 == width
    x = torch.randn(7, n_features)
    embedding, reconstruction = module(x)
    assert embedding.shape == (7, width) and reconstruction.shape == x.shape
    reconstruction.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_the_small_network_has_two_hidden_layers():
    X = np.random.RandomState(0).rand(9, 16)
    settings = {"architecture": "fully-conv", "image_shape": (1, 4, 4)}
    with pytest.raises(ValueError, match="two hidden layers"):
        small(hidden_layer_sizes=(4, 4, 4), **settings).fit(X)
    with pytest.raises(ValueError, match=r"'fully-conv' of .* needs image_shape"):
        small(architecture="fully-conv").fit(X)
    with pytest.raises(ValueError, match="'architecture' parameter of DEC"):
        deepcluster_sk.DEC(2, architecture="fully-conv", image_shape=(1, 4, 4)).fit(X)


@pytest.mark.parametrize("architecture", ["conv", "fully-conv"])
def test_convolutions_learn_templates(architecture):
    rng = np.random.RandomState(0)
    y = np.arange(90) % K
    X = rng.rand(K, 36)[y] + 0.1 * rng.rand(90, 36)
    model = small(
        architecture=architecture,
        image_shape=(1, 6, 6),
        hidden_layer_sizes=None,
        metric="cosine",
    ).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.95
    assert model.reconstruct(X).shape == X.shape


def test_spherical_kmeans_finds_directions_whatever_their_sign():
    rng = np.random.RandomState(0)
    axes = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0]])
    x = torch.nn.functional.normalize(
        axes[np.arange(60) % 3] + 0.1 * torch.tensor(rng.randn(60, 3)).float()
    )
    centers = spherical_kmeans(x, 3, rng)
    assert_allclose(centers.norm(dim=1), 1, rtol=1e-5)
    assert ((centers @ axes.T).max(0).values > 0.99).all()


@pytest.mark.parametrize(
    ("architecture", "pretrain", "stages"),
    [("mlp", 5e-4, 5e-4), ("conv", 2e-3, 2e-4), ("fully-conv", 1e-2, 1e-3)],
)
def test_default_learning_rates(architecture, pretrain, stages):
    seen = {}

    class Watch(Callback):
        def on_batch_begin(self, net, training, **kwargs):
            seen.setdefault(net.phase_.name, net.optimizer_.param_groups[0]["lr"])

    rows = np.random.RandomState(0).rand(9, 16)
    settings = {"architecture": architecture, "image_shape": (1, 4, 4), "lr": None}
    settings["hidden_layer_sizes"] = (8, 8)
    small(callbacks=[Watch()], **settings).fit(rows)
    assert_allclose(list(seen.values()), [pretrain, stages, stages])
