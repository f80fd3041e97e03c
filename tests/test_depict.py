import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

from deepcluster_sk import DEPICT
from deepcluster_sk.cluster.depict import _NoisyAssignment
from deepcluster_sk.criteria import drop_values
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.modules import SoftmaxAutoencoder

SMALL = {
    "latent_dim": 3,
    "hidden_layer_sizes": (8, 6),
    "pretrain_epochs": 50,
    "max_epochs": 6,
    "lr": 1e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def X():
    X, _ = make_blobs(60, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    return (X / 3).astype(np.float32)


def numpy_assignment(embedding, module):
    weight = module.output.weight.detach().double().numpy()
    bias = module.output.bias.detach().double().numpy()
    p = np.exp(embedding @ weight.T + bias)
    return p / p.sum(1, keepdims=True)


def numpy_target(p, kind):
    q = np.zeros_like(p)
    for i in range(len(p)):
        for k in range(p.shape[1]):
            if kind == "balanced":
                q[i, k] = p[i, k] / sum(p[:, k]) ** 0.5
            else:
                q[i, k] = p[i, k] ** 2 / sum(p[:, k])
        q[i] /= sum(q[i])
    return q


class Spy(Callback):
    """Keeps the target, and what it should be, when it is renewed."""

    def __init__(self):
        self.found = []

    def on_train_begin(self, net, X=None, y=None):
        if net.phase_.name == "cluster":
            self.rows = X
            self.look(net)

    def on_epoch_end(self, net, **kwargs):
        if net.phase_.name == "cluster":
            self.look(net)

    def look(self, net):
        code = net.apply(net.module_.encode, self.rows).double().numpy()
        target = net.criterion_.criteria[0].target.double().numpy().copy()
        self.found.append((target, numpy_assignment(code, net.module_)))


@pytest.mark.parametrize("kind", ["balanced", "sharpened"])
def test_target_is_that_of_the_whole_data(kind, X):
    # More batches than one, so a target by batch would differ.
    spy = Spy()
    DEPICT(3, **SMALL, target=kind, batch_size=16, tol=0, callbacks=[spy]).fit(X)
    assert len(spy.found) == 1 + SMALL["max_epochs"]
    for target, assignment in spy.found:
        np.testing.assert_allclose(target, numpy_target(assignment, kind), atol=1e-5)
        np.testing.assert_allclose(target.sum(1), 1, atol=1e-6)


def test_loss_of_a_tiny_network_by_hand():
    torch.manual_seed(0)
    sizes = {"n_features": 4, "latent_dim": 2, "hidden_layer_sizes": (3,)}
    module = SoftmaxAutoencoder(3, **sizes)
    module.set_origin_and_scale(torch.tensor([1.0, 0.0, 2.0, 0.0]), torch.tensor(2.0))
    generator = torch.Generator().manual_seed(5)
    rate, weight = 0.4, 0.7
    criterion = _NoisyAssignment(8, 3, generator, rate, weight)
    criterion.target.copy_(torch.softmax(torch.randn(8, 3), 1))
    x, index = torch.randn(5, 4), torch.tensor([6, 1, 4, 0, 3])
    terms = criterion(module(x), x, index)

    masks = torch.Generator().manual_seed(5)  # the same two draws, in order
    first = drop_values(torch.ones(5, 4), rate, masks).numpy()
    second = drop_values(torch.ones(5, 3), rate, masks).numpy()
    assert 0 < (first == 0).mean() < 1

    def linear(layer, rows):
        return rows @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    def relu(rows):
        return np.maximum(rows, 0)

    encoder, decoder = module.autoencoder.encoder, module.autoencoder.decoder
    rows = (x.numpy() - module.origin.numpy()) / 2
    clean = relu(linear(encoder[0], rows))
    noisy = relu(linear(encoder[0], rows * first))
    code = linear(encoder[2], noisy * second)
    decoded = relu(linear(decoder[0], code))
    restored = linear(decoder[2], decoded)
    p = numpy_assignment(code, module)
    q = criterion.target[index].numpy()
    cross, errors = 0, 0
    for i in range(5):
        cross -= sum(q[i, k] * np.log(p[i, k]) for k in range(3)) / 5
        errors += sum((rows[i] - restored[i]) ** 2) / 4 / 5
        errors += sum((clean[i] - decoded[i]) ** 2) / 3 / 5
    assert terms["clustering"].item() == pytest.approx(cross, rel=1e-5)
    assert terms["reconstruction"].item() == pytest.approx(weight * errors, rel=1e-5)


def test_softmax_starts_as_the_posterior_of_equal_gaussians(X):
    spy = Spy()
    model = DEPICT(
        3, **SMALL, callbacks=[spy], init="k-means", pretraining="end-to-end"
    )

    class Start(Callback):
        def on_train_begin(self, net, X=None, y=None):
            if net.phase_.name == "cluster":
                self.code = net.apply(net.module_.encode, X).double().numpy()
                self.centers = net.module_.centers.double().numpy().copy()

    start = Start()
    model.set_params(callbacks=[start, spy]).fit(X)
    distance = ((start.code[:, None] - start.centers) ** 2).sum(-1)
    variance = distance.min(1).mean() / 3
    density = np.exp(-distance / (2 * variance))
    expected = density / density.sum(1, keepdims=True)
    np.testing.assert_allclose(spy.found[0][1], expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["balanced", "sharpened"])
def test_labels_centers_and_score_come_from_the_predict_path(kind, X):
    model = DEPICT(3, **SMALL, target=kind, reconstruction_weight=0.3).fit(X)
    p = model.predict_proba(X).astype(float)
    np.testing.assert_array_equal(model.labels_, p.argmax(1))
    code = model.transform(X)
    expected = numpy_assignment(code.astype(float), model.module_)
    np.testing.assert_allclose(p, expected, atol=1e-5)
    centers = p.T @ code / p.sum(0)[:, None]
    np.testing.assert_allclose(model.cluster_centers_, centers, atol=1e-4)
    assert model.score(X) == -model.objective_
    module, x = model.module_, torch.from_numpy(X)
    with torch.no_grad():
        rows = module.standardize(x)
        blocks = [rows]
        for layer in (0, 2):
            blocks.append(module.autoencoder.encoder[layer](blocks[-1]).relu())
        hidden = torch.from_numpy(code)
        errors = []
        for block, layer in zip(blocks[::-1], (0, 2, 4), strict=True):
            hidden = module.autoencoder.decoder[layer](hidden)
            hidden = hidden if layer == 4 else hidden.relu()
            errors.append(float((hidden - block).square().mean()))
    p = expected
    cross = -(numpy_target(p, kind) * np.log(p)).sum(1).mean()
    assert model.objective_ == pytest.approx(cross + 0.3 * sum(errors), rel=1e-4)


@pytest.mark.parametrize("pretraining", ["neighbors", "end-to-end", "layerwise"])
def test_convolutional_network(pretraining, X):
    images = np.tile(X, (1, 6))[:, :35]
    model = DEPICT(
        3,
        latent_dim=3,
        architecture="conv",
        hidden_layer_sizes=(4, 5),
        image_shape=(1, 7, 5),
        pretraining=pretraining,
        pretrain_epochs=2,
        max_epochs=2,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model.fit(images)
    assert model.predict_proba(images).shape == (60, 3)
    assert model.reconstruct(images).shape == images.shape
    assert np.isfinite(model.objective_)


def test_without_noise_the_loss_is_that_of_the_clean_network(X):
    # One full batch and a step of almost nothing: the recorded terms are those of the
    # module as it is at the end.
    settings = {**SMALL, "max_epochs": 1, "lr": 1e-12, "pretrain_epochs": 0}
    settings.update(pretraining="end-to-end", reconstruction_weight=0.3)
    model = DEPICT(3, **settings, dropout_rate=0).fit(X)
    assert model.history_[-1]["loss"] == pytest.approx(model.objective_, rel=1e-5)
    noisy = DEPICT(3, **settings, dropout_rate=0.5).fit(X)
    assert noisy.objective_ == pytest.approx(model.objective_, rel=1e-5)
    assert noisy.history_[-1]["loss"] > model.history_[-1]["loss"]


def test_finds_separate_blobs():
    X, y = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = DEPICT(3, **{**SMALL, "max_epochs": 20}).fit(X / 3)
    assert adjusted_rand_score(y, model.labels_) == 1


def test_a_cluster_that_dies_gets_half_of_the_largest(X):
    class Kill(Callback):
        """Lets no row go to cluster 1, before the target is made."""

        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "neighbors":
                place = net.module_.place_clusters

                def and_kill(*args):
                    place(*args)
                    with torch.no_grad():
                        net.module_.output.bias[1] = -1e4

                net.module_.place_clusters = and_kill

            if net.phase_.name == "cluster":
                del net.module_.place_clusters

    model = DEPICT(3, **SMALL, callbacks=[Kill()])
    with pytest.warns(ClusterCollapseWarning, match="re-seeded"):
        model.fit(X)
    assert len(np.unique(model.labels_)) == 3
