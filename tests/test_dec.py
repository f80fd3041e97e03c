import itertools
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk import DCN, DDC, DEC, DEPICT, IDEC
from deepcluster_sk._training import _callbacks
from deepcluster_sk._training._data import Rows
from deepcluster_sk._training._net import ClusterNet
from deepcluster_sk.cluster import dec, depict
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.kernels import gaussian_kernel, tensor_kernel
from deepcluster_sk.losses import cauchy_schwarz_loss

SMALL = {
    "latent_dim": 3,
    "hidden_layer_sizes": (8, 6),
    "pretrain_epochs": 50,
    "max_epochs": 6,
    "lr": 1e-2,
    "random_state": 0,
}
BOTH = pytest.mark.parametrize("Estimator", [DEC, IDEC])


def mean_square(X):
    """Of what differs from the medians: the unit of the reconstruction error."""
    return float(((X - np.sort(X, axis=0)[(len(X) - 1) // 2]) ** 2).mean())


@pytest.fixture(scope="module")
def X():
    X, _ = make_blobs(60, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    return (X / 3).astype(np.float32)


class Spy(Callback):
    """Keeps what the criterion and the module were at the start of each phase."""

    def __init__(self):
        self.targets = []

    def on_train_begin(self, net, X=None, y=None):
        if net.phase_.name == "cluster":
            embedding = net.apply(net.module_.encode, X).double().numpy()
            centers = net.module_.centers.detach().double().numpy()
            target = net.criterion_.criteria[0].target.double().numpy()
            self.targets.append((embedding, centers.copy(), target.copy()))


class AfterEveryEpoch(Spy):
    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        self.on_train_begin(net, dataset_train)


def numpy_assignment(embedding, centers):
    distance = ((embedding[:, None] - centers) ** 2).sum(-1)
    q = 1 / (1 + distance)
    return q / q.sum(1, keepdims=True)


def numpy_target(q):
    p = q**2 / q.sum(0)
    return p / p.sum(1, keepdims=True)


@BOTH
def test_target_is_that_of_the_whole_data(Estimator, X):
    # More batches than one, so a target by batch would differ.
    spy = AfterEveryEpoch()
    Estimator(3, **SMALL, batch_size=16, tol=0, callbacks=[spy]).fit(X)
    assert len(spy.targets) == 1 + SMALL["max_epochs"]
    for embedding, centers, target in spy.targets:
        expected = numpy_target(numpy_assignment(embedding, centers))
        np.testing.assert_allclose(target, expected, atol=1e-6)


def test_target_stays_between_refreshes(X):
    spy = AfterEveryEpoch()
    model = DEC(3, **SMALL, tol=0, update_interval=3, callbacks=[spy]).fit(X)
    targets = [target for _, _, target in spy.targets]  # at the start, after epoch 1...
    same = [np.array_equal(a, b) for a, b in itertools.pairwise(targets)]
    assert same == [True, True, False, True, True, False]
    rows = [row for row in model.history_ if row["phase"] == "cluster"]
    assert ["label_change" in row for row in rows] == [False, False, True] * 2


@BOTH
def test_first_centers_are_kmeans_on_the_code(Estimator, X):
    spy = Spy()
    Estimator(3, init="k-means", **SMALL, callbacks=[spy]).fit(X)
    embedding, centers, _ = spy.targets[0]
    nearest = ((embedding[:, None] - centers) ** 2).sum(-1).argmin(1)
    for j in range(3):
        np.testing.assert_allclose(
            centers[j], embedding[nearest == j].mean(0), rtol=1e-4, atol=1e-5
        )


@BOTH
def test_labels_and_score_come_from_the_predict_path(Estimator, X):
    model = Estimator(3, **SMALL).fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    proba = model.predict_proba(X)
    np.testing.assert_array_equal(model.labels_, proba.argmax(1))
    np.testing.assert_allclose(
        proba,
        numpy_assignment(
            model.transform(X).astype(float), model.cluster_centers_.astype(float)
        ),
        atol=1e-5,
    )
    assert model.score(X) == -model.objective_
    p, q = numpy_target(proba.astype(float)), proba.astype(float)
    expected = (p * np.log(p / q)).sum(1).mean()
    if Estimator is IDEC:
        error = ((model.reconstruct(X) - X) ** 2).mean() / mean_square(X)
        expected = 0.1 * expected + error
    assert model.objective_ == pytest.approx(expected, rel=1e-5)


@BOTH
@pytest.mark.parametrize("companion", [None, "naive"])
def test_terms_add_up_to_the_loss(Estimator, companion, X):
    model = Estimator(3, **SMALL, companion=companion, companion_weight=0.5).fit(X)
    rows = [row for row in model.history_ if row["phase"] == "cluster"]
    names = {"clustering"}
    names |= {"neighbors", "reconstruction"} if Estimator is IDEC else set()
    names |= {"companion"} if companion else set()
    for row in rows:
        assert set(row) == {"phase", "epoch", "loss", "label_change"} | names
        assert row["loss"] == pytest.approx(sum(row[name] for name in names))


@BOTH
@pytest.mark.parametrize("companion", ["naive", "tensor"])
@pytest.mark.parametrize("weighting", ["constant", "linear", "exponential"])
def test_companions_enter_with_their_weights(Estimator, companion, weighting, X):
    # One full batch and a step of almost nothing: the recorded term is that of the
    # module as it is at the end.
    settings = {**SMALL, "max_epochs": 1, "lr": 1e-12, "pretrain_epochs": 0}
    chosen = {
        "companion": companion,
        "companion_weight": 0.3,
        "companion_weighting": weighting,
    }
    model = Estimator(3, **settings, **chosen).fit(X)
    x = model.module_.standardize(torch.from_numpy(X))
    first = torch.relu(model.module_.autoencoder.encoder[0](x))
    second = torch.relu(model.module_.autoencoder.encoder[2](first))
    blocks = [first, second, torch.from_numpy(model.transform(X))]
    kernel = {"naive": gaussian_kernel, "tensor": tensor_kernel}[companion]
    omega = {
        "constant": [1, 1, 1],
        "linear": [1 / 3, 2 / 3, 1],
        "exponential": [100, 10, 1],
    }[weighting]
    assignment = torch.from_numpy(model.predict_proba(X))
    expected = 0.3 * sum(
        w * cauchy_schwarz_loss(assignment, kernel(block))
        for w, block in zip(omega, blocks, strict=True)
    )
    row = model.history_[-1]
    assert row["companion"] == pytest.approx(expected.item(), rel=1e-4)
    plain = Estimator(3, **settings).fit(X)
    difference = row["loss"] - plain.history_[-1]["loss"]
    assert difference == pytest.approx(expected.item(), rel=1e-3)
    assert model.objective_ - plain.objective_ == pytest.approx(
        expected.item(), rel=1e-3
    )


@BOTH
def test_one_step_follows_the_gradient_of_the_loss(Estimator, X):
    spy = Spy()
    lr = 0.1
    before = {}

    class Keep(Callback):
        def on_train_begin(self, net, **kwargs):
            before["module"] = pickle.loads(pickle.dumps(net.module_))

        def on_train_end(self, net, **kwargs):  # before clusters get their numbers
            before["trained"] = pickle.loads(pickle.dumps(net.module_))

    Estimator(
        3,
        **{**SMALL, "max_epochs": 1, "pretrain_epochs": 0, "lr": lr},
        pretraining="end-to-end",
        optimizer=torch.optim.SGD,  # plain: the change is the gradient
        callbacks=[spy, Keep()],
    ).fit(X)
    module, x = before["module"].double(), torch.from_numpy(X).double()
    p = torch.from_numpy(spy.targets[0][2])
    z = module.encode(x)
    q = 1 / (1 + (z[:, None] - module.centers).square().sum(-1))
    q = q / q.sum(1, keepdim=True)
    loss = (p * (p / q).log()).sum(1).mean()
    if Estimator is IDEC:
        error = (module.decode(z) - x).square().mean()
        loss = 0.1 * loss + error / mean_square(X)
    loss.backward()
    rate = lr / 10 if Estimator is IDEC else lr  # the first step of ten
    moved = 0
    after = dict(before["trained"].named_parameters())
    for name, parameter in module.named_parameters():
        step = (after[name].double() - parameter).detach()
        if parameter.grad is None:
            assert not step.any()
            continue
        moved += 1
        gradient = parameter.grad
        error = (step + rate * gradient).norm()
        rounding = torch.finfo(torch.float32).eps * parameter.norm()
        assert error <= 1e-3 * rate * gradient.norm() + rounding, name
    assert moved == (13 if Estimator is IDEC else 7)  # DEC leaves its decoder alone


@BOTH
def test_dead_cluster_is_started_again(Estimator, X):
    class Kill(Callback):
        """Send a centre where no row is, once the first target is made."""

        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "cluster":
                with torch.no_grad():
                    net.module_.centers[1] = 1e4

    model = Estimator(3, **{**SMALL, "pretrain_epochs": 100}, tol=0, callbacks=[Kill()])
    with pytest.warns(ClusterCollapseWarning, match="lost all its") as record:
        model.fit(X)
    assert record[0].filename == __file__
    assert np.abs(model.cluster_centers_).max() < 1e3


@BOTH
def test_training_stops_when_labels_are_stable(Estimator, X):
    model = Estimator(3, **{**SMALL, "max_epochs": 50}, tol=0.5).fit(X)
    changes = [row.get("label_change") for row in model.history_]
    assert changes[-1] < 0.5
    assert len(changes) < SMALL["pretrain_epochs"] + 50


@BOTH
def test_one_cluster_and_as_many_as_samples(Estimator, X):
    one = Estimator(1, **SMALL).fit(X)
    assert not one.labels_.any()
    assert np.all(one.predict_proba(X) == 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        many = Estimator(20, **SMALL).fit(X[:20])
    assert np.isfinite(many.predict_proba(X)).all()
    assert len(set(many.labels_)) > 1
    with pytest.raises(ValueError, match="n_samples=20 should be >= n_clusters=21"):
        Estimator(21, **SMALL).fit(X[:20])


@BOTH
@pytest.mark.parametrize(
    "extra",
    [{}, {"pretraining": "layerwise"}, {"companion": "tensor", "batch_size": 16}],
)
def test_same_seed_same_result_and_global_generators_untouched(Estimator, extra, X):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    a, b = (Estimator(3, **SMALL, **extra).fit(X) for _ in range(2))
    np.testing.assert_array_equal(a.transform(X), b.transform(X))
    assert a.history_ == b.history_
    assert torch.equal(torch.get_rng_state(), state)
    other = Estimator(3, **{**SMALL, "random_state": 1}, **extra).fit(X)
    assert not np.array_equal(a.transform(X), other.transform(X))


def test_n_init_keeps_the_lowest_objective(X):
    random = np.random.RandomState(5)
    single = [DEC(3, **{**SMALL, "random_state": random}).fit(X) for _ in range(3)]
    best = DEC(3, **{**SMALL, "random_state": np.random.RandomState(5)}, n_init=3)
    objectives = [model.objective_ for model in single]
    assert best.fit(X).objective_ == min(objectives)
    assert len(set(objectives)) == 3


@pytest.mark.parametrize("Estimator", [DEC, IDEC, DCN, DDC])
def test_pickle_does_not_grow_with_the_data(Estimator, X):
    settings = {**SMALL, "max_epochs": 2, "pretrain_epochs": 1}
    if Estimator is DDC:
        settings["reconstruction_weight"] = 0.1

    def size(n):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClusterCollapseWarning)
            model = Estimator(3, **settings).fit(np.tile(X, (n, 1)))
        del model.labels_
        return len(pickle.dumps(model))

    assert size(20) < size(1) + 200


def test_layerwise_pretraining_trains_one_stage_after_the_other(X):
    weights = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "pretrain":
                self.on_train_end(net)

        def on_train_end(self, net, **kwargs):
            encoder = net.module_.autoencoder.encoder
            weights.append([layer.weight.clone() for layer in encoder[::2]])

    model = DEC(3, **SMALL, pretraining="layerwise", callbacks=[Watch()]).fit(X)
    phases = list(dict.fromkeys(row["phase"] for row in model.history_))
    layers = [f"pretrain layer {i}" for i in (1, 2, 3)]
    assert phases == [*layers, "pretrain", "cluster"]
    assert [row["phase"] for row in model.history_].count(layers[0]) == 25
    for depth in (1, 2):  # after layer 1, training the next leaves the others alone
        same = [
            torch.equal(a, b)
            for a, b in zip(weights[depth - 1], weights[depth], strict=True)
        ]
        assert same == [i != depth for i in range(3)]
    losses = [r["loss"] for r in model.history_ if r["phase"] == layers[0]]
    assert losses[-1] < losses[0]


@BOTH
@pytest.mark.parametrize("pretraining", ["end-to-end", "layerwise"])
def test_convolutional_network(Estimator, pretraining, X):
    images = np.tile(X, (1, 6))[:, :35]
    model = Estimator(
        3,
        latent_dim=3,
        architecture="conv",
        hidden_layer_sizes=(4, 5),
        image_shape=(1, 7, 5),
        companion="tensor",
        pretraining=pretraining,
        pretrain_epochs=2,
        max_epochs=2,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model.fit(images)
    x = torch.from_numpy(images)
    code, blocks = model.module_.encode_with_blocks(x)
    assert [tuple(block.shape[1:]) for block in blocks] == [(4, 4, 3), (5, 2, 2), (3,)]
    np.testing.assert_allclose(code.detach(), model.transform(images), atol=1e-5)
    for _, up in reversed(model.module_.autoencoder.stages):
        code = up(code)
    rows = code * model.module_.scale + model.module_.origin
    expected = model.module_.decode(torch.from_numpy(model.transform(images)))
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-4)


def test_finds_separate_blobs():
    X, y = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = DEC(3, **{**SMALL, "max_epochs": 20}).fit(X / 3)
    assert adjusted_rand_score(y, model.labels_) == 1


class Plain(nn.Module):
    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.encode_layer = nn.Linear(n_features, latent_dim)
        self.decode_layer = nn.Linear(latent_dim, n_features)

    def encode(self, x):
        return self.encode_layer(x)

    def decode(self, z):
        return self.decode_layer(z)


class WithBlocks(Plain):
    def encode_with_blocks(self, x):
        z = self.encode(x)
        return z, [z]


def test_architecture_without_declarations_is_refused_where_they_are_needed(
    X, monkeypatch
):
    settings = {**SMALL, "hidden_layer_sizes": None, "architecture": Plain}
    DEC(3, **settings).fit(X)
    with monkeypatch.context() as patch:
        patch.setattr(ClusterNet, "partial_fit", lambda *_: pytest.fail("trained"))
        check_refusals(X, settings)
    settings["architecture"] = WithBlocks
    model = DEC(3, **settings, companion="naive").fit(X)
    assert model.history_[-1]["companion"] > 0


def check_refusals(X, settings):
    with pytest.raises(ValueError, match=r"companion='naive'.*encode_with_blocks"):
        DEC(3, **settings, companion="naive").fit(X)
    with pytest.raises(ValueError, match=r"pretraining='layerwise'.*stages"):
        DEC(3, **settings, pretraining="layerwise").fit(X)


def test_objective_with_companions_ignores_the_order_in_memory(X):
    # Sorted rows: consecutive batches would hold one cluster each.
    model = DEC(3, **SMALL, companion="naive", batch_size=16).fit(X)
    assert model.score(X) == -model.objective_
    seen = []

    def see(output, x, index):
        seen.append(x)
        return {"sum": x.sum()}

    model.net_.mean_loss(see, X)
    assert [len(x) for x in seen] == [15] * 4
    assert not torch.equal(torch.cat(seen), Rows(X, torch.device("cpu")).X)
    assert torch.equal(
        torch.cat(seen).sort(0).values, torch.from_numpy(X).sort(0).values
    )


def test_learning_rate_of_idec_rises_in_the_first_steps_of_clustering(X):
    rates = []

    class Rates(Callback):
        def on_grad_computed(self, net, **kwargs):
            if net.phase_.name == "cluster":
                rates.append(net.optimizer_.param_groups[0]["lr"])

    def at_half_the_rate(parameters, lr):
        return torch.optim.Adam(parameters, lr=lr / 2)

    small = {"hidden_layer_sizes": (8,), "pretrain_epochs": 2, "random_state": 0}
    small |= {"optimizer": at_half_the_rate, "pretraining": "end-to-end"}
    batch_size = -(-len(X) // 4)  # the rise goes on in the third epoch
    IDEC(
        2, max_epochs=4, tol=0, batch_size=batch_size, callbacks=[Rates()], **small
    ).fit(X)
    expected = 5e-4 * np.minimum(np.arange(1, 17) / 10, 1)
    np.testing.assert_allclose(rates, expected)


@pytest.mark.parametrize("Estimator", [DEC, IDEC, DEPICT])
def test_what_is_computed_of_all_rows_in_blocks_is_the_same(
    Estimator, monkeypatch, blobs
):
    short = {"hidden_layer_sizes": (8,), "pretrain_epochs": 2, "max_epochs": 3}
    model = Estimator(3, random_state=0, **short).fit(blobs[0])
    for module in (_callbacks, dec, depict):
        monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    again = clone(model).fit(blobs[0])
    assert_array_equal(again.transform(blobs[0]), model.transform(blobs[0]))
    assert again.objective_ == pytest.approx(model.objective_, rel=1e-12)
