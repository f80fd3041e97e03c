import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

from deepcluster_sk import DDC
from deepcluster_sk._training._callbacks import ClipGradients
from deepcluster_sk.augmentation import RandomAffine
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.initialization import _neighbors
from deepcluster_sk.kernels import gaussian_kernel, tensor_kernel
from deepcluster_sk.losses import (
    assignment_orthogonality,
    cauchy_schwarz_loss,
    simplex_corner_loss,
)
from deepcluster_sk.modules import BlockConvAutoencoder, DivergenceModule

SMALL = {
    "pretraining": None,
    "latent_dim": 6,
    "hidden_layer_sizes": (8, 7),
    "max_epochs": 20,
    "lr": 1e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def X():
    X, _ = make_blobs(60, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    return (X / 3).astype(np.float32)


def direct_terms(module, x):
    code, blocks = module.encode_with_blocks(x)
    hidden = module.hidden(code)
    assignment = torch.softmax(module.output(hidden), 1)
    kernel = gaussian_kernel(hidden)
    terms = {
        "divergence": cauchy_schwarz_loss(assignment, kernel),
        "orthogonality": assignment_orthogonality(assignment),
        "corner": simplex_corner_loss(assignment, kernel),
    }
    return terms, assignment, code, blocks


class Keep(Callback):
    def on_train_begin(self, net, **kwargs):
        self.module_ = pickle.loads(pickle.dumps(net.module_))

    def on_train_end(self, net, **kwargs):  # before clusters get their numbers
        self.trained_ = pickle.loads(pickle.dumps(net.module_))


@pytest.mark.parametrize("companion", ["naive", "tensor"])
@pytest.mark.parametrize("reconstruction_weight", [0.0, 0.2])
def test_one_step_follows_the_gradient_of_the_loss(companion, reconstruction_weight, X):
    lr, keep = 0.1, Keep()
    model = DDC(
        3,
        **{**SMALL, "max_epochs": 1, "lr": lr},
        reconstruction_weight=reconstruction_weight,
        companion=companion,
        companion_weight=0.3,
        companion_weighting="linear",
        optimizer=torch.optim.SGD,  # plain: the change is the gradient
        callbacks=[keep],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model.fit(X)
    module, x = keep.module_, torch.from_numpy(X)
    module.train()
    terms, assignment, code, blocks = direct_terms(module, x)
    kernel = {"naive": gaussian_kernel, "tensor": tensor_kernel}[companion]
    assert len(blocks) == 2
    terms["companion"] = 0.3 * sum(
        w * cauchy_schwarz_loss(assignment, kernel(block))
        for w, block in zip([0.5, 1], blocks, strict=True)
    )
    if reconstruction_weight:
        error = (module.decode(code) - x).square().mean()
        terms["reconstruction"] = reconstruction_weight * error
    sum(terms.values()).backward()

    row = model.history_[-1]
    assert set(row) == {"phase", "epoch", "loss", "label_change", *terms}
    for name, value in terms.items():
        assert row[name] == pytest.approx(value.item(), rel=1e-4), name
    assert row["loss"] == pytest.approx(sum(row[name] for name in terms))
    after, moved = dict(keep.trained_.named_parameters()), 0
    for name, parameter in module.named_parameters():
        step = (after[name] - parameter).detach()
        if parameter.grad is None:
            assert ".up." in name and not step.any()
            continue
        moved += step.any().item()
        gradient = parameter.grad
        assert (step + lr * gradient).norm() <= 1e-3 * lr * gradient.norm() + 1e-6, name
    assert moved >= 10


def test_objective_is_the_mean_loss_of_batches_in_evaluation_mode(X):
    model = DDC(3, **SMALL, companion="naive", batch_size=25).fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    np.testing.assert_array_equal(model.labels_, model.predict_proba(X).argmax(1))
    assert model.score(X) == -model.objective_
    seen = []

    def see(output, x, index):
        seen.append(x)
        return {"sum": x.sum()}

    model.net_.mean_loss(see, X)
    assert [len(x) for x in seen] == [20, 20, 20]
    assert not torch.equal(torch.cat(seen), torch.from_numpy(X))  # not as they came
    losses = []
    for x in seen:
        terms, assignment, _, blocks = direct_terms(model.module_, x)
        companion = sum(
            cauchy_schwarz_loss(assignment, gaussian_kernel(block)) for block in blocks
        )
        losses.append(sum(terms.values()).item() + 0.01 * companion.item())
    assert model.objective_ == pytest.approx(np.mean(losses), rel=1e-5)


def test_embedding_is_the_normalised_hidden_vector(X):
    model = DDC(3, **SMALL).fit(X)
    embedding = model.transform(X)
    assert embedding.shape == (60, 6)
    logits = model.module_.output(torch.from_numpy(embedding))
    proba = torch.softmax(logits, 1).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-6)


def test_prediction_of_a_row_does_not_depend_on_others(X):
    model = DDC(3, **SMALL).fit(X)
    # Its position in a chunk may still move the last digit.
    np.testing.assert_allclose(
        model.predict_proba(X)[3:4], model.predict_proba(X[3:4]), rtol=1e-6
    )


def test_decoder_only_where_it_is_trained(X):
    plain = DDC(3, **SMALL).fit(X)
    assert not hasattr(plain, "reconstruct")
    assert not hasattr(plain, "score_samples")
    with_decoder = DDC(3, **SMALL, reconstruction_weight=1.0).fit(X)
    error = ((with_decoder.reconstruct(X) - X) ** 2).mean(1)
    np.testing.assert_allclose(-with_decoder.score_samples(X), error, rtol=1e-4)
    assert error.mean() < X.var()
    pretrained = DDC(3, **SMALL, pretrain_epochs=2).fit(X)
    phases = [row["phase"] for row in pretrained.history_]
    assert phases.count("pretrain") == 2
    assert phases.index("cluster") == 2


def test_splitting_a_cluster_halves_it_and_leaves_the_others(X):
    torch.manual_seed(0)
    module = DivergenceModule(4, 6, 5, hidden_layer_sizes=(8,)).eval()
    with torch.no_grad():
        module.output.bias[2] = -1e3  # dead
        hidden = module.encode(torch.from_numpy(X))
        before = module.assign(hidden).argmax(1)
        largest = before.bincount().argmax()
        rows = before == largest
        module.split_cluster(2, hidden[rows])
        after = module.assign(hidden).argmax(1)
    assert not (before == 2).any()
    share = (after[rows] == 2).double().mean()
    assert 0.25 < share < 0.75
    others = (before != largest) & (after != 2)
    assert torch.equal(after[others], before[others])


def test_dead_cluster_is_started_again(X):
    class Kill(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 5:
                with torch.no_grad():
                    net.module_.output.bias[1] = -1e3

    model = DDC(3, **SMALL, tol=0, callbacks=[Kill()])
    with pytest.warns(ClusterCollapseWarning, match="lost all its") as record:
        model.fit(X)
    assert record[0].filename == __file__
    assert set(model.labels_) == {0, 1, 2}


def test_training_stops_when_labels_are_stable(X):
    model = DDC(3, **{**SMALL, "max_epochs": 100}, tol=0.2).fit(X)
    changes = [row["label_change"] for row in model.history_]
    assert 10 <= len(changes) < 100
    assert max(changes[-10:]) < 0.2
    assert changes[0] == 1  # nobody had a label


def test_gradients_are_clipped_one_by_one():
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    parameters[0].grad = torch.tensor([30.0, 40.0])
    parameters[1].grad = torch.tensor([3.0, 4.0])
    named = [("a", parameters[0]), ("b", parameters[1])]
    ClipGradients(10.0).on_grad_computed(None, named)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([6.0, 8.0]))
    torch.testing.assert_close(parameters[1].grad, torch.tensor([3.0, 4.0]))


def test_one_cluster_and_as_many_as_samples(X):
    one = DDC(1, **SMALL).fit(X)
    assert not one.labels_.any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        many = DDC(20, **SMALL).fit(X[:20])
    assert np.isfinite(many.predict_proba(X)).all()
    assert len(set(many.labels_)) > 1


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"pretraining": "end-to-end"}, "'pretraining'"),
        ({"n_neighbors": 1}, "'n_neighbors'"),
        ({"hidden_layer_sizes": ()}, "'hidden_layer_sizes'.*at least one"),
        ({"batch_size": 2}, "'batch_size'"),
        ({"companion": "cosine"}, "'companion'"),
        ({"n_clusters": 61}, "n_samples=60 should be >= n_clusters=61"),
    ],
)
def test_impossible_parameters_are_refused(settings, match, X, untrained):
    with pytest.raises(ValueError, match=match):
        DDC(**{**SMALL, **settings}).fit(X)


def test_smallest_batches_leave_no_row_alone(X):
    model = DDC(2, **{**SMALL, "max_epochs": 1}, batch_size=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        for n in range(2, 12):
            model.fit(X[:n])
            assert np.isfinite(model.objective_)


@pytest.mark.parametrize("companion", [None, "naive", "tensor"])
def test_same_seed_same_result(companion, X):
    a, b = (DDC(3, **SMALL, companion=companion).fit(X) for _ in range(2))
    np.testing.assert_array_equal(a.transform(X), b.transform(X))
    assert a.history_ == b.history_


def test_n_init_keeps_the_lowest_objective(X):
    random = np.random.RandomState(5)
    single = [DDC(3, **{**SMALL, "random_state": random}).fit(X) for _ in range(3)]
    best = DDC(3, **{**SMALL, "random_state": np.random.RandomState(5)}, n_init=3)
    objectives = [model.objective_ for model in single]
    assert best.fit(X).objective_ == min(objectives)
    assert len(set(objectives)) == 3


@pytest.mark.parametrize(
    ("shape", "padded", "blocks"),
    [
        ((1, 28, 28), False, [(32, 20, 20), (32, 3, 3)]),  # the paper's
        ((3, 20, 23), False, [(32, 12, 15), (32, 1, 1)]),
        ((1, 19, 28), True, [(32, 19, 28), (32, 5, 7)]),
        ((1, 8, 8), True, [(32, 8, 8), (32, 2, 2)]),
        ((1, 1, 3), True, [(32, 1, 3), (32, 1, 1)]),
    ],
)
def test_convolutional_encoder(shape, padded, blocks):
    network = BlockConvAutoencoder(int(np.prod(shape)), (32, 32), shape)
    assert network.padded == padded
    x = torch.randn(4, int(np.prod(shape)))
    code, outputs = network.encode_with_blocks(x)
    assert [tuple(block.shape[1:]) for block in outputs] == blocks
    assert torch.equal(code, outputs[-1].flatten(1))
    assert network.decode(code).shape == x.shape


def test_convolutional_network_end_to_end(X):
    images = np.tile(X, (1, 11))[:, :64]
    model = DDC(
        3,
        architecture="conv",
        image_shape=(1, 8, 8),
        hidden_layer_sizes=(4, 4),
        latent_dim=6,
        companion="tensor",
        reconstruction_weight=0.1,
        max_epochs=3,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model.fit(images)
    assert model.history_[-1]["companion"] > 0
    assert model.reconstruct(images).shape == images.shape
    np.testing.assert_array_equal(model.labels_, model.predict(images))


def test_finds_separate_blobs():
    X, y = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = DDC(3, **{**SMALL, "max_epochs": 60}, n_init=3).fit(X / 3)
    assert adjusted_rand_score(y, model.labels_) == 1


# --- from the clusters of neighbours --------------------------------------------------

NEIGHBORS = {**SMALL, "pretraining": "neighbors"}


class Start(Callback):
    """What clustering starts from."""

    def on_train_begin(self, net, X=None, y=None):
        if net.phase_.name == "cluster":
            self.proba_ = net.apply(lambda x: net.module_(x).assignment, X).numpy()
            self.lr_ = net.lr


def rings():
    X, y = make_circles(400, noise=0.05, factor=0.4, random_state=0)
    return X.astype(np.float32), y


def test_starts_from_the_clusters_of_neighbors():
    X, y = rings()
    start = Start()
    settings = {**NEIGHBORS, "hidden_layer_sizes": (64, 64), "callbacks": [start]}
    model = DDC(2, **settings).fit(X)
    assert list(model.n_epochs_) == ["neighbors", "cluster"]
    # Running means of batch norm are still on their way after so few steps.
    assert adjusted_rand_score(y, start.proba_.argmax(1)) > 0.7
    assert start.lr_ == pytest.approx(0.1 * SMALL["lr"])
    assert adjusted_rand_score(y, model.labels_) > 0.95
    alone = DDC(2, **{**settings, "pretraining": None}).fit(X)
    assert list(alone.n_epochs_) == ["cluster"]
    assert start.lr_ == SMALL["lr"]
    assert adjusted_rand_score(y, alone.labels_) < 0.9


def test_the_loss_decides_after_the_start(X):
    """The start leaves soft assignments, and the loss goes on from there."""
    start = Start()
    model = DDC(3, **NEIGHBORS, callbacks=[start]).fit(X)
    history = [row for row in model.history_ if row["phase"] == "cluster"]
    assert start.proba_.max(1).mean() < 0.99
    assert history[-1]["loss"] < history[0]["loss"]
    assert model.stop_reason_["neighbors"] == "learned"
    moved = np.abs(np.sort(model.predict_proba(X)) - np.sort(start.proba_))
    assert moved.max() > 0.01


@pytest.mark.rounding
def test_neither_origin_nor_scale_matters_after_neighbors(X):
    X = np.round(X * 16) / 16  # exact in float32, shifted and scaled by powers of 2
    settings = {**NEIGHBORS, "reconstruction_weight": 0.1, "pretrain_epochs": 2}
    a = DDC(3, **settings).fit(X)
    b = DDC(3, **settings).fit(1024 * X + 4096)
    np.testing.assert_array_equal(a.labels_, b.labels_)
    assert a.objective_ == pytest.approx(b.objective_, rel=1e-3)
    expected = 1024 * a.reconstruct(X) + 4096
    np.testing.assert_allclose(b.reconstruct(1024 * X + 4096), expected, rtol=1e-3)
    assert list(a.n_epochs_) == ["pretrain", "neighbors", "cluster"]


@pytest.mark.parametrize("companion", [None, "naive", "tensor"])
def test_neighbors_of_images_with_companions(companion, X):
    images = np.tile(X, (1, 11))[:, :64]
    model = DDC(
        3,
        **{**NEIGHBORS, "hidden_layer_sizes": (4, 4), "max_epochs": 2},
        architecture="conv",
        image_shape=(1, 8, 8),
        companion=companion,
        augmentation=RandomAffine((1, 8, 8)),
        precision="bfloat16",
    ).fit(images)
    assert len(set(model.labels_)) == 3
    assert ("companion" in model.history_[-1]) == (companion is not None)
    np.testing.assert_array_equal(model.labels_, model.predict(images))


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_neighbors_of_few_rows(n, X):
    model = DDC(2, **NEIGHBORS).fit(X[:n])
    assert np.isfinite(model.predict_proba(X)).all()


def test_only_some_rows_of_many_are_compared(X, monkeypatch):
    monkeypatch.setattr(_neighbors, "START_ROWS", 40)
    seen = []
    find = _neighbors.embed_neighbors
    monkeypatch.setattr(
        _neighbors, "embed_neighbors", lambda X, *a: seen.append(X) or find(X, *a)
    )
    model = DDC(3, **NEIGHBORS).fit(X)
    assert [len(rows) for rows in seen] == [40]
    assert len(model.labels_) == len(X)


# --- kernel width and blocks ----------------------------------------------------------


def kernel_by_loop(z, width, of):
    """The Gaussian kernel whose width is taken from the printed or the coded rule."""
    n = len(z)
    squares = np.array([[((a - b) ** 2).sum() for b in z] for a in z])
    pairs = np.sort([squares[i, j] for i in range(n) for j in range(i)])
    median = pairs[(len(pairs) - 1) // 2]
    sigma = width * np.sqrt(median) if of == "distances" else np.sqrt(width * median)
    return np.exp(-squares / (2 * sigma**2))


@pytest.mark.parametrize("of", ["squares", "distances"])
@pytest.mark.parametrize("width", [0.15, 0.6])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_kernels_are_as_wide_as_printed_or_as_coded(of, width, X):
    model = DDC(
        3,
        **{**SMALL, "max_epochs": 1},
        kernel_width=width,
        kernel_width_of=of,
        companion="naive",
        companion_weight=1.0,
        tol=0,
    ).fit(X)
    module, x = model.module_, torch.from_numpy(X)
    with torch.no_grad():
        _, assignment, code, blocks = direct_terms(module, x)
        kernels = [
            torch.from_numpy(kernel_by_loop(z.double().numpy(), width, of)).float()
            for z in (module.hidden(code), *blocks)
        ]
        expected = cauchy_schwarz_loss(assignment, kernels[0])
        expected += assignment_orthogonality(assignment)
        expected += simplex_corner_loss(assignment, kernels[0])
        expected += sum(cauchy_schwarz_loss(assignment, k) for k in kernels[1:])
    assert model.objective_ == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_the_printed_width_is_a_share_of_the_coded_one(X):
    printed = DDC(3, **SMALL, kernel_width=0.5, kernel_width_of="distances").fit(X)
    coded = DDC(3, **SMALL, kernel_width=0.25).fit(X)
    np.testing.assert_array_equal(printed.transform(X), coded.transform(X))
    default = DDC(3, **SMALL).fit(X)
    assert (default.transform(X) != coded.transform(X)).any()


@pytest.mark.parametrize("weighting", ["constant", "linear", "exponential"])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_companions_of_chosen_blocks_add_up(weighting, X):
    def first_loss(blocks):
        model = DDC(
            3,
            **{**SMALL, "max_epochs": 1},
            companion="naive",
            companion_weighting=weighting,
            companion_blocks=blocks,
        )
        return model.fit(X).history_[0]["companion"]

    first, second, both = map(first_loss, ([1], [2], [1, 2]))
    assert both == first_loss(None)
    # Before the first step all networks are the same.
    assert first + second == pytest.approx(both, rel=1e-5)
    assert min(first, second) > 0


@pytest.mark.parametrize("blocks", [[3], [0], [1.5], [-1, 1], []])
def test_blocks_that_are_not_there_are_refused(blocks, X):
    model = DDC(3, **SMALL, companion="naive", companion_blocks=blocks)
    with pytest.raises(ValueError, match="integers from 1 to 2"):
        model.fit(X)
