import pickle
import warnings
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from skorch.callbacks import Callback

from deepcluster_sk import PCX
from deepcluster_sk._training import _data, _net
from deepcluster_sk._training._data import (
    Batches,
    OutOfCoreBatches,
    OutOfCoreRows,
    Rows,
)
from deepcluster_sk.cluster.pcx import _ExemplarLoss
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.initialization._centers import kmeans_start
from deepcluster_sk.modules import ExemplarAutoencoder, ExemplarOutput
from deepcluster_sk.solvers._running_averages import running_averages
from deepcluster_sk.solvers._weighted_kmeans import weighted_kmeans

K = 3


def small(**params):
    defaults = {
        "latent_dim": 2,
        "hidden_layer_sizes": (16,),
        "mask_rate": 0.0,
        "pretraining": "end-to-end",
        "pretrain_epochs": 5,
        "max_epochs": 6,
        "burn_in_epochs": 3,
        "batch_size": 64,
        "lr": 1e-2,
        "tol": 0.0,
        "device": "cpu",
        "random_state": 0,
    }
    return PCX(**{"n_clusters": K, **defaults, **params})


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(150, n_features=5, centers=K, random_state=0)
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def fitted(blobs):
    return small().fit(blobs[0])


class Spy(Callback):
    """Calls a function when a phase begins."""

    def __init__(self, phase, function):
        self.phase = phase
        self.function = function

    def on_train_begin(self, net, **kwargs):
        if net.phase_.name == self.phase:
            self.function(net)


# --- moving averages ----------------------------------------------------------


def test_running_averages_match_the_closed_form():
    """κ^T μ_0 + (1 - κ) Σ κ^(T-1-t) mean_t, over the batches that have the cluster."""
    rng = np.random.RandomState(0)
    start, start_sizes, decay = rng.randn(K, 2), rng.rand(K) * 10, 0.9
    batches = [(rng.randn(7, 2), rng.randint(K, size=7)) for _ in range(20)]
    batches[3] = (batches[3][0], np.zeros(7, dtype=int))  # clusters 1, 2 absent
    centers, sizes = torch.tensor(start), torch.tensor(start_sizes)
    for z, labels in batches:
        centers, sizes = running_averages(
            centers, sizes, torch.tensor(z), torch.tensor(labels), decay
        )
    for k in range(K):
        means = [z[labels == k].mean(0) for z, labels in batches if (labels == k).any()]
        powers = decay ** np.arange(len(means))[::-1, None]
        expected = decay ** len(means) * start[k] + (1 - decay) * (powers * means).sum(
            0
        )
        assert_allclose(centers[k], expected, atol=1e-6)
        counts = np.array([(labels == k).sum() for _, labels in batches])
        powers = decay ** np.arange(20)[::-1]
        expected = decay**20 * start_sizes[k] + (1 - decay) * (powers * counts).sum()
        assert_allclose(sizes[k], expected, atol=1e-6)


def test_decay_by_size_is_equation_6_as_printed():
    """c_k = (ρ μ_k + η1 / n Σ δ z) / (ρ + η1 / n Σ δ), whatever η1."""
    rng = np.random.RandomState(0)
    z, labels = rng.randn(12, 2), np.array([0] * 7 + [1] * 5)
    centers, sizes = rng.randn(K, 2), rng.rand(K)
    moved, counted = running_averages(
        *map(torch.tensor, (centers, sizes, z, labels)), 0.9, by_size=True
    )
    for eta in (0.01, 3.0):
        rho = 0.9 / (1 - 0.9) * eta / K  # a cluster of average size keeps 0.9
        for k in range(K):
            own = z[labels == k]
            above = rho * centers[k] + eta / 12 * own.sum(0)
            assert_allclose(moved[k], above / (rho + eta / 12 * len(own)))
    assert_allclose(counted, 0.9 * sizes + 0.1 * np.bincount(labels, minlength=K))


def test_fit_moves_centroids_and_sizes_by_the_averages(blobs):
    X, _ = blobs
    seen = {}

    def look(net):
        module = net.module_
        with torch.no_grad():
            z = module.encode(torch.from_numpy(X))
            seen.update(
                z=z.numpy(),
                labels=module.nearest(z).numpy(),
                centers=module.centers.numpy().copy(),
                sizes=module.sizes.numpy().copy(),
            )

    model = small(
        batch_size=150, max_epochs=1, decay=0.75, callbacks=[Spy("burn-in", look)]
    ).fit(X)
    assert_allclose(seen["sizes"].sum(), 150)
    means = [seen["z"][seen["labels"] == k].mean(0) for k in range(K)]
    counts = np.bincount(seen["labels"], minlength=K)
    expected = 0.75 * seen["centers"] + 0.25 * np.array(means)
    assert_allclose(model.cluster_centers_, expected, atol=1e-5)
    assert_allclose(model.cluster_sizes_, 0.75 * seen["sizes"] + 0.25 * counts)


def test_centroids_can_move_after_the_step(blobs):
    """With the codes of the new weights, in the clusters of before (Algorithm 1)."""
    X, _ = blobs
    seen = {}

    def look(net):
        seen["labels"] = net.criterion_.criteria[0].fixed_labels.numpy()
        seen["centers"] = net.module_.centers.numpy().copy()

    model = small(
        batch_size=150,
        max_epochs=1,
        lr=0.1,
        decay=0.75,
        centroid_update="after-step",
        callbacks=[Spy("burn-in", look)],
    ).fit(X)
    z, labels = model.transform(X), seen["labels"]
    means = np.array([z[labels == k].mean(0) for k in range(K)])
    expected = 0.75 * seen["centers"] + 0.25 * means
    found = model.cluster_centers_
    # Clusters may be numbered anew at the end.
    order = [int(np.square(found - c).sum(1).argmin()) for c in expected]
    assert_allclose(found[order], expected, rtol=1e-4, atol=1e-4)


def test_the_random_start_is_that_of_the_paper(blobs):
    """Glorot's uniform distribution, and nothing before the joint training."""
    X, _ = blobs
    seen = []
    spy = Spy("burn-in", lambda net: seen.append(deepcopy(net.module_)))
    settings = {"hidden_layer_sizes": (50, 40), "latent_dim": 10}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model = small(init="random", callbacks=[spy], **settings).fit(X)
    assert [row["phase"] for row in model.history_] == ["burn-in"] * 3 + [
        "exemplars"
    ] * 3
    module = seen[0]
    assert module.code_scale == 1
    weights = [p.detach() for p in module.parameters() if p.ndim > 1]
    matrices = [*weights, module.centers]
    shapes = [tuple(matrix.shape) for matrix in matrices]
    assert shapes.count((10, 20)) == 1  # the centroid-integration unit
    assert shapes[-1] == (K, 10) and len(shapes) == 8
    for matrix in matrices:
        bound = (6 / sum(matrix.shape)) ** 0.5
        assert 0.8 * bound < matrix.abs().max() <= bound
        assert abs(float(matrix.std()) / (bound / 3**0.5) - 1) < 0.25
    assert_allclose(module.sizes, 50 / K)  # rows in a batch, as many in each cluster


def test_weights_are_drawn_otherwise_by_default(blobs):
    """Torch's weights, and the unit that does nothing."""
    sizes = {"n_features": 5, "latent_dim": 2, "hidden_layer_sizes": (4,)}
    torch.manual_seed(0)
    module = ExemplarAutoencoder(K, 5.0, **sizes)
    torch.manual_seed(0)
    drawn = ExemplarAutoencoder(K, 5.0, glorot=True, **sizes)
    assert_array_equal(module.fusion.weight.detach(), torch.eye(2, 4))
    assert not torch.equal(drawn.fusion.weight, module.fusion.weight)
    assert_array_equal(module.centers, torch.zeros(K, 2))


def test_centroids_are_not_trained(fitted):
    names = [name for name, _ in fitted.module_.named_parameters()]
    assert not any("center" in name or "size" in name for name in names)


@pytest.mark.parametrize(("init", "keeps"), [("mixture", True), ("k-means", False)])
def test_first_clusters_are_kept_while_it_burns_in(blobs, monkeypatch, init, keeps):
    X, _ = blobs
    odd = torch.from_numpy(np.random.RandomState(0).permutation(len(X)) % K)

    def place(run, n_clusters, init):
        codes = run.apply(run.module.encode)
        return torch.stack([codes[odd == k].mean(0) for k in range(K)]), odd

    monkeypatch.setattr("deepcluster_sk.cluster.pcx.place_centers", place)
    seen = []
    spy = Spy(
        "exemplars", lambda net: seen.append(net.criterion_.criteria[0].fixed_labels)
    )
    held = Spy(
        "burn-in", lambda net: seen.append(net.criterion_.criteria[0].fixed_labels)
    )
    small(init=init, callbacks=[held, spy]).fit(X)
    assert seen[-1] is None
    assert (seen[0] is not None) == keeps
    if keeps:
        assert_array_equal(seen[0], odd)


# --- the loss -----------------------------------------------------------------


def _output(rng, n=12, h=2, d=4):
    z = torch.tensor(rng.randn(n, h))
    centers = torch.tensor(rng.randn(K, h))
    assignment = torch.softmax(-(torch.cdist(z, centers) ** 2), 1)
    labels = assignment.argmax(1)
    sizes = torch.bincount(labels, minlength=K).double()
    error = torch.tensor(rng.rand(n, d))
    module = SimpleNamespace(
        centers=centers,
        sizes=sizes,
        relative_error=lambda x, embedding, reduction, labels: getattr(
            error, reduction
        )(),
    )
    return ExemplarOutput(z, assignment, module), labels, error


def test_plain_loss_is_equation_9():
    output, labels, error = _output(np.random.RandomState(0))
    loss = _ExemplarLoss(K, 0.3, 0.7, smoothing=None, decay=None)
    terms = loss(output, None, None)
    centers = output.module.centers.numpy()
    z, a = output.embedding.numpy(), output.assignment.numpy()
    clustering = sum(
        ((z[i] - centers[k]) ** 2).sum() for i, k in enumerate(labels)
    ) / len(z)
    entropy = -sum(v * np.log(v) for v in a.ravel()) / len(z)
    assert_allclose(terms["clustering"], 0.3 * clustering)
    assert_allclose(terms["entropy"], 0.7 * entropy)
    assert_allclose(terms["reconstruction"], error.mean())


def test_rows_are_held_in_their_first_clusters():
    output, nearest, _ = _output(np.random.RandomState(0))
    index = torch.arange(12).flip(0)
    first = torch.tensor([0, 1, 2, -1] * 3, dtype=torch.int32)
    loss = _ExemplarLoss(K, 1.0, 0.0, smoothing=None, decay=0.5, fixed_labels=first)
    z, centers = output.embedding.numpy(), output.module.centers.numpy().copy()
    terms = loss(output, None, index)
    loss.observe(output, None, index)
    labels = [
        int(first[i]) if first[i] >= 0 else int(n)
        for i, n in zip(index, nearest, strict=True)
    ]
    expected = np.mean([((z[i] - centers[k]) ** 2).sum() for i, k in enumerate(labels)])
    assert_allclose(terms["clustering"], expected)
    means = [z[np.array(labels) == k].mean(0) for k in range(K)]
    assert_allclose(output.module.centers, (centers + means) / 2)


def test_reweighted_loss_is_equation_12():
    """With true sizes and no smoothing: the mean of the clusters' variances."""
    output, labels, _ = _output(np.random.RandomState(1), n=30)
    counts = np.bincount(labels, minlength=K)
    assert counts.min() >= 1 and counts.min() < counts.max()
    loss = _ExemplarLoss(K, 1.0, 0.0, smoothing=1e-12, decay=None)
    z, centers = output.embedding.numpy(), output.module.centers.numpy()
    variances = [
        ((z[labels == k] - centers[k]) ** 2).sum() / counts[k] for k in range(K)
    ]
    assert_allclose(
        loss(output, None, None)["clustering"], np.mean(variances), atol=1e-6
    )
    # Eq. 14 keeps the total and moves the sizes together.
    smoothed = (counts + 5) * counts.sum() / (counts.sum() + 5 * K)
    weights = smoothed.mean() / smoothed
    expected = sum(
        w * v * c for w, v, c in zip(weights, variances, counts, strict=True)
    )
    loss = _ExemplarLoss(K, 1.0, 0.0, smoothing=5.0, decay=None)
    clustering = loss(output, None, None)["clustering"]
    assert_allclose(clustering, expected / len(z), atol=1e-6)


@pytest.mark.parametrize(("tol", "least"), [(0.0, 30), (1e-3, 5), (1.01, 5)])
def test_training_ends_when_labels_are_still(blobs, tol, least):
    model = small(max_epochs=33, tol=tol).fit(blobs[0])
    rows = [row for row in model.history_ if row["phase"] == "exemplars"]
    changes = [row["label_change"] for row in rows]
    assert model.n_epochs_["burn-in"] == 3  # whatever tol is
    assert least <= len(rows) <= 30
    if model.stop_reason_["exemplars"] == "tol":
        assert max(changes[-5:]) < tol
        others = (changes[i : i + 5] for i in range(len(changes) - 5))
        assert all(max(some) >= tol for some in others)  # and not before
    else:
        assert len(rows) == 30
    assert (model.stop_reason_["exemplars"] == "tol") == (tol > 0)


def test_entropy_and_weights_wait_for_the_end_of_the_burn_in(blobs):
    X, _ = blobs
    X = np.concatenate([X, X[:1].repeat(150, 0)])  # one cluster is large
    plain = small(temperature=0.1).fit(X).history_
    weighted = small(temperature=0.1, imbalanced=True).fit(X).history_
    assert [row["phase"] for row in plain[5:]] == ["burn-in"] * 3 + ["exemplars"] * 3
    assert [row["entropy"] for row in plain[5:8]] == [0, 0, 0]
    assert all(row["entropy"] > 0 for row in plain[8:])
    assert plain[:5] == weighted[:5]
    # On these data both find the same centres, so that the start does not differ.
    for row, other in zip(plain[5:8], weighted[5:8], strict=True):
        assert_allclose(row["loss"], other["loss"], rtol=1e-3)
    assert plain[8]["clustering"] != weighted[8]["clustering"]


@pytest.mark.parametrize("imbalanced", [False, True])
def test_objective_is_the_loss_and_minus_the_score(blobs, imbalanced):
    X, _ = blobs
    model = small(imbalanced=imbalanced).fit(X)
    for row in model.history_[5:]:
        terms = row["reconstruction"] + row["clustering"] + row["entropy"]
        assert_allclose(terms, row["loss"], rtol=1e-6)
    assert model.score(X) == -model.objective_
    x = torch.from_numpy(X)
    with torch.no_grad():  # this moves the centroids
        terms = model._criterion()(model.module_(x), x, torch.arange(len(x)))
    assert_allclose(sum(terms.values()), model.objective_, rtol=1e-5)


# --- the centroid-integration unit and the exemplars --------------------------


def test_codes_start_at_unit_distance_from_their_centroids(blobs):
    X, _ = blobs
    model = small(pretrain_epochs=50, max_epochs=1, lr=1e-12)
    for factor in (1, 1000):  # whatever the scale of X
        model.fit(factor * X)
        z = model.transform(factor * X)
        distance = ((z - model.cluster_centers_[model.labels_]) ** 2).sum(1)
        assert_allclose(distance.mean(), 1, rtol=0.02)
    row = small(clustering_weight=0.7, lr=1e-12, max_epochs=1).fit(X).history_[-1]
    assert_allclose(row["clustering"], 0.7, rtol=0.02)


def test_unit_starts_as_a_no_op_and_stays_one_in_pretraining(blobs):
    module = ExemplarAutoencoder(
        K, 5.0, n_features=5, latent_dim=2, hidden_layer_sizes=(4,)
    )
    torch.nn.init.normal_(module.centers)
    z = torch.randn(6, 2)
    with torch.no_grad():
        assert_array_equal(module.decode(z), module.autoencoder.decode(z))
    weights = []
    spy = Spy("burn-in", lambda net: weights.append(net.module_.fusion.weight.clone()))
    model = small(callbacks=[spy]).fit(blobs[0])
    assert_array_equal(weights[0].detach(), torch.eye(2, 4))
    after = model.module_.fusion.weight.detach()
    assert (after[:, 2:] != 0).all()  # the centroids have come in


def test_exemplars_are_rows_in_the_units_of_X(blobs):
    X, y = blobs
    model = small(pretrain_epochs=100, max_epochs=60, burn_in_epochs=30).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1
    assert model.exemplars_.shape == (K, 5)
    means = np.array([X[model.labels_ == k].mean(0) for k in range(K)])
    spread = np.linalg.norm(means[:, None] - means, axis=2)
    closest = spread[spread > 0].min()
    assert np.linalg.norm(model.exemplars_ - means, axis=1).max() < closest / 4


def test_codes_are_decoded_with_their_nearest_centroid(blobs, fitted):
    X, _ = blobs
    Z = fitted.transform(X)
    assert_allclose(fitted.inverse_transform(Z), fitted.reconstruct(X), atol=1e-5)
    assert_allclose(
        fitted.inverse_transform(fitted.cluster_centers_), fitted.exemplars_, atol=1e-5
    )
    module = fitted.module_
    with torch.no_grad():
        pairs = np.hstack([Z, fitted.cluster_centers_[fitted.labels_]])
        mixed = module.fusion(torch.from_numpy(pairs)) / module.code_scale
        decoded = module.autoencoder.decode(mixed) * module.scale + module.origin
    assert_allclose(fitted.inverse_transform(Z), decoded, atol=1e-4)
    with pytest.raises(ValueError, match="Z has 3 columns"):
        fitted.inverse_transform(np.zeros((1, 3)))


def test_probabilities_are_equation_2(blobs, fitted):
    X, _ = blobs
    z, centers = fitted.transform(X), fitted.cluster_centers_
    weights = np.exp(-5.0 * ((z[:, None] - centers) ** 2).sum(2).astype(np.float64))
    proba = fitted.predict_proba(X)
    assert proba.shape == (len(X), K)
    assert_allclose(proba, weights / weights.sum(1, keepdims=True), atol=1e-4)
    assert_array_equal(proba.argmax(1), fitted.predict(X))
    assert_array_equal(fitted.labels_, fitted.predict(X))


# --- clusters -----------------------------------------------------------------


def test_a_dead_cluster_is_started_again(blobs):
    def kill(net):
        net.module_.centers[0] = 1e3

    with pytest.warns(ClusterCollapseWarning, match="once"):
        model = small(callbacks=[Spy("exemplars", kill)]).fit(blobs[0])
    used = [row["n_used"] for row in model.history_ if row["phase"] == "exemplars"]
    assert used[:2] == [K - 1, K]
    assert len(np.unique(model.labels_)) == K


def test_a_stream_revives_clusters_that_stay_dead(blobs, monkeypatch):
    X, _ = blobs
    model = small(pretrain_epochs=50).partial_fit(X)
    model.module_.centers[0] = 1e3
    model.partial_fit(X)
    assert model.cluster_centers_[0, 0] == 1e3  # too few rows to tell
    monkeypatch.setattr("deepcluster_sk.cluster.pcx.START_ROWS", 100)
    with pytest.warns(ClusterCollapseWarning, match="once"):
        model = small(pretrain_epochs=50).partial_fit(X)
        model.module_.centers[0] = 1e3
        model.partial_fit(X)
    assert len(np.unique(model.partial_fit(X).labels_)) == K


def test_one_cluster_and_as_many_as_rows(blobs):
    X, _ = blobs
    assert_array_equal(small(n_clusters=1).fit_predict(X), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model = small(n_clusters=10, lr=1e-4).fit(X[:10])
    assert len(np.unique(model.labels_)) >= 9
    with pytest.raises(ValueError, match="should be >= n_clusters"):
        small(n_clusters=11).fit(X[:10])


def test_lowest_objective_is_kept(blobs):
    single = [small(random_state=np.random.RandomState(0)).fit(blobs[0])]
    several = small(n_init=3, random_state=np.random.RandomState(0)).fit(blobs[0])
    assert several.objective_ < single[0].objective_


def test_convolutions():
    rng = np.random.RandomState(0)
    X = rng.rand(K, 2 * 5 * 7)[np.arange(40) % K] + 0.01 * rng.rand(40, 2 * 5 * 7)
    model = small(
        architecture="conv",
        image_shape=(2, 5, 7),
        hidden_layer_sizes=(4, 4),
        lr=1e-4,
    ).fit(X)
    assert model.exemplars_.shape == (K, 70)
    assert model.reconstruct(X).shape == X.shape


def test_same_seed_same_fit(blobs, fitted):
    again = small().fit(blobs[0])
    assert_array_equal(again.labels_, fitted.labels_)
    assert_array_equal(again.exemplars_, fitted.exemplars_)
    assert again.history_ == fitted.history_


# --- out of core --------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path, blobs):
    """The same integers in memory and on disk."""
    X = (blobs[0] * 10).round().clip(-120, 120).astype(np.int8)
    mapped = np.memmap(tmp_path / "X", dtype=np.int8, mode="w+", shape=X.shape)
    mapped[:] = X
    mapped.flush()
    return X, np.memmap(tmp_path / "X", dtype=np.int8, mode="r", shape=X.shape)


class Disk:
    """Not an ndarray: shape, dtype, slices, and nothing larger than it may read."""

    def __init__(self, X):
        self.X = X
        self.shape, self.dtype = X.shape, X.dtype
        self.largest = 0

    def __getitem__(self, key):
        rows = self.X[key]
        self.largest = max(self.largest, len(rows))
        return rows.copy()


def test_a_memmap_gives_the_fit_of_an_array(on_disk):
    X, mapped = on_disk
    expected, model = small().fit(X), small().fit(mapped)
    assert_array_equal(model.labels_, expected.labels_)
    assert_array_equal(model.exemplars_, expected.exemplars_)
    assert model.objective_ == expected.objective_
    assert_array_equal(model.transform(mapped), expected.transform(X))
    assert_array_equal(model.predict_proba(mapped), expected.predict_proba(X))
    assert model.score(mapped) == expected.score(X)


def test_a_stream_is_read_in_pieces(on_disk, monkeypatch):
    X, _ = on_disk
    monkeypatch.setattr(_data, "BUFFER_BYTES", 5 * 40)
    monkeypatch.setattr(_data, "BLOCK_BYTES", 5 * 8)
    monkeypatch.setattr("deepcluster_sk._estimator._validation.BLOCK_BYTES", 5 * 8)
    start = "deepcluster_sk.initialization._first_clusters.START_ROWS"
    monkeypatch.setattr(start, 30)
    monkeypatch.setattr(_net, "INFERENCE_ROWS", 16)
    disk = Disk(X)
    model = small(batch_size=20).fit(disk)
    assert disk.largest <= 30
    assert_array_equal(model.labels_, model.predict(disk))
    assert disk.largest <= 30


def test_an_epoch_of_a_stream_is_a_shuffled_partition(on_disk, monkeypatch):
    X, mapped = on_disk
    monkeypatch.setattr(_data, "BUFFER_BYTES", 5 * 40)
    monkeypatch.setattr(_data, "BLOCK_BYTES", 5 * 8)
    rows = OutOfCoreRows(mapped, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    orders = []
    for _ in range(2):
        batches = list(OutOfCoreBatches(rows, 20, generator))
        for x, index in batches:
            assert x.dtype == torch.float32 and 15 <= len(x) <= 20
            assert_array_equal(x, X[index])
        orders.append(torch.cat([index for _, index in batches]).numpy())
        assert_array_equal(np.sort(orders[-1]), np.arange(len(X)))
        # Blocks from all over the data share a buffer.
        assert np.ptp(orders[-1][:40]) > 60
    assert (orders[0] != orders[1]).any()
    straight = torch.cat([index for _, index in OutOfCoreBatches(rows, 20)])
    assert_array_equal(straight, np.arange(len(X)))
    assert_array_equal(rows[torch.tensor([7, 3, 7])], X[[7, 3, 7]])


@pytest.mark.parametrize("batch_size", [20, 150, 1000])
def test_a_stream_that_fits_the_buffer_has_the_order_of_an_array(on_disk, batch_size):
    X, mapped = on_disk
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    memory = Rows(X.astype(np.float32), torch.device("cpu"))
    stream = OutOfCoreRows(mapped, torch.device("cpu"))
    for _ in range(2):
        pairs = zip(
            Batches(memory, batch_size, generators[0]),
            OutOfCoreBatches(stream, batch_size, generators[1]),
            strict=True,
        )
        for (x, index), (other, other_index) in pairs:
            assert_array_equal(index, other_index)
            assert_array_equal(x, other)


def test_bad_streams_are_refused_before_training(blobs, monkeypatch):
    X = blobs[0].copy()
    X[140, 2] = np.nan
    monkeypatch.setattr("deepcluster_sk._estimator._validation.BLOCK_BYTES", 5 * 4 * 8)
    model = small(callbacks=[Spy("pretrain", lambda net: pytest.fail("trained"))])
    with pytest.raises(ValueError, match="X contains NaN"):
        model.fit(Disk(X))
    assert not hasattr(model, "net_")
    good = small().fit(Disk(blobs[0]))
    with pytest.raises(ValueError, match="X contains NaN"):
        good.predict(Disk(X))
    with pytest.raises(ValueError, match="expecting 5 features"):
        good.predict(Disk(X[:, :4]))
    with pytest.raises(ValueError, match="0 sample"):
        small().fit(Disk(X[:0]))


# --- clusters of unequal size -------------------------------------------------


def unequal(seed, sizes=(400, 40, 40), width=6):
    """A broad large cluster, and two small ones near each other."""
    rng = np.random.RandomState(seed)
    centers = np.zeros((3, width))
    centers[1, 0], centers[2, :2] = 5.0, (5.0, 3.0)
    y = np.repeat(np.arange(3), sizes)
    deviations = np.array([1.0, 0.4, 0.4])[y, None]
    return centers[y] + deviations * rng.randn(len(y), width), y


def test_weighted_start_tells_small_clusters_apart():
    nmi = {"plain": [], "weighted": []}
    for seed in range(5):
        X, y = unequal(seed)
        codes, state = torch.tensor(X), np.random.RandomState(0)
        _, labels = kmeans_start(codes, 3, state)
        nmi["plain"].append(normalized_mutual_info_score(y, labels))
        centers, labels = weighted_kmeans(codes, 3, state, 5.0, 240)
        nmi["weighted"].append(normalized_mutual_info_score(y, labels))
        assert centers.shape == (3, 6)
    assert (np.array(nmi["weighted"]) > np.array(nmi["plain"]) + 0.1).all(), nmi


def test_imbalanced_beats_the_plain_loss_on_unequal_clusters():
    won = 0
    for seed in range(5):
        X, y = unequal(seed)
        nmi = [
            normalized_mutual_info_score(
                y,
                small(
                    latent_dim=6,
                    pretrain_epochs=20,
                    init="k-means",
                    imbalanced=imbalanced,
                    random_state=seed,
                ).fit_predict(X),
            )
            for imbalanced in (False, True)
        ]
        won += nmi[1] > nmi[0]
    assert won >= 4


# --- partial_fit --------------------------------------------------------------


def test_partial_fit_learns_from_a_stream(blobs):
    X, y = blobs
    model = small(pretrain_epochs=100)
    scores = []
    for _ in range(20):
        for part in np.array_split(np.arange(len(X)), 3):
            model.partial_fit(X[part])
            scores.append(model.score(X))
    assert adjusted_rand_score(y, model.predict(X)) == 1
    assert [row["phase"] for row in model.history_] == ["pretrain"] * 100 + [
        "stream"
    ] * 60
    assert model.n_iter_ == 160
    assert scores[-1] > scores[0]
    assert_array_equal(model.labels_, model.predict(X[part]))
    assert model.objective_ == -model.score(X[part])


def test_partial_fit_goes_on_with_the_optimizer(blobs):
    X, _ = blobs
    model = small()
    for calls in range(1, 4):
        model.partial_fit(X[:50])
        steps = [s["step"].item() for s in model.net_.optimizer_.state.values()]
        assert set(steps) == {calls}


def test_partial_fit_after_fit_continues(blobs):
    X, _ = blobs
    model = small().fit(X)
    before = model.exemplars_
    model.partial_fit(X)
    assert model.n_iter_ == 5 + 6 + 1
    assert 0 < np.abs(model.exemplars_ - before).max() < np.ptp(X)
    with pytest.raises(ValueError, match="expecting 5 features"):
        model.partial_fit(X[:, :4])
    fresh = small()
    with pytest.raises(ValueError, match="should be >= n_clusters"):
        fresh.partial_fit(X[:2])


def test_pickles_do_not_grow_with_the_data(blobs):
    X, _ = blobs
    size = {}
    for method in ("fit", "partial_fit"):
        for n in (1, 8):
            model = getattr(small(), method)(np.tile(X, (n, 1)))
            copy = pickle.loads(pickle.dumps(model))
            assert_array_equal(copy.predict(X), model.predict(X))
            size[n] = len(pickle.dumps(model)) - model.labels_.nbytes
        assert size[8] < size[1] + 1000
    assert_array_equal(copy.partial_fit(X).exemplars_, model.partial_fit(X).exemplars_)
