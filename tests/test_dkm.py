import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

from deepcluster_sk import DKM
from deepcluster_sk.cluster.dkm import ALPHAS
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.losses import soft_kmeans_loss

SMALL = {
    "latent_dim": 3,
    "hidden_layer_sizes": (8,),
    "pretrain_epochs": 50,
    "max_epochs": 6,
    "lr": 1e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def X():
    X, _ = make_blobs(60, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    return (X / 3).astype(np.float32)


def phase(model, name):
    return [row for row in model.history_ if row["phase"] == name]


def test_the_schedule_is_that_of_the_paper():
    alpha, expected = 0.1, []
    for n in range(1, 41):
        alpha *= 2 ** (1 / np.log(n) ** 2) if n > 1 else 1
        expected.append(alpha)
    np.testing.assert_allclose(ALPHAS, expected)


def test_alpha_grows_and_then_stays(X):
    model = DKM(3, **{**SMALL, "max_epochs": 90}, update_interval=2, tol=0).fit(X)
    annealing = phase(model, "anneal")
    assert len(annealing) == 80
    found = [row["alpha"] for row in annealing]
    np.testing.assert_allclose(found, np.repeat(ALPHAS, 2))
    assert [row["alpha"] for row in phase(model, "cluster")] == [ALPHAS[-1]] * 10
    assert float(model.module_.alpha) == pytest.approx(ALPHAS[-1])


def test_training_stops_only_with_the_last_alpha(X):
    model = DKM(3, **{**SMALL, "max_epochs": 90}, tol=0.9).fit(X)
    assert model.n_epochs_["anneal"] == len(ALPHAS)
    assert model.n_epochs_["cluster"] == 5
    assert model.stop_reason_["cluster"] == "tol"


def test_short_training_ends_with_the_alpha_that_it_came_to(X):
    model = DKM(3, **SMALL).fit(X)
    assert "cluster" not in model.n_epochs_
    assert float(model.module_.alpha) == pytest.approx(ALPHAS[5])
    z = model.transform(X).astype(float)[:, None]
    distance = ((z - model.cluster_centers_) ** 2).sum(2)
    weight = np.exp(-ALPHAS[5] * (distance - distance.min(1, keepdims=True)))
    weight /= weight.sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), weight, atol=1e-5)
    # What was minimised, with this α.
    error = ((model.reconstruct(X) - X) ** 2).mean()
    error /= ((X - np.sort(X, axis=0)[(len(X) - 1) // 2]) ** 2).mean()
    expected = error + 0.1 * (weight * distance).sum(1).mean()
    assert model.objective_ == pytest.approx(expected, rel=1e-4)


def test_a_fixed_alpha_is_not_annealed(X):
    model = DKM(3, **SMALL, alpha=1000.0).fit(X)
    assert "anneal" not in model.n_epochs_
    assert {row["alpha"] for row in phase(model, "cluster")} == {1000.0}
    # So large that the softmax is the choice of the nearest centre.
    z = model.transform(X)[:, None]
    distance = ((z - model.cluster_centers_) ** 2).sum(2).min(1).mean()
    loss = soft_kmeans_loss(
        torch.from_numpy(z[:, 0]), torch.from_numpy(model.cluster_centers_), 1000.0
    )
    assert float(loss) == pytest.approx(distance, rel=1e-3)


def test_one_step_moves_network_and_centers_along_the_gradient(X):
    lr, before = 1e-3, {}

    class Keep(Callback):
        def on_train_begin(self, net, **kwargs):
            module = net.module_
            before.update({n: p.detach().clone() for n, p in module.named_parameters()})

    model = DKM(
        3,
        **{**SMALL, "max_epochs": 1, "pretrain_epochs": 0, "lr": lr},
        pretraining="end-to-end",
        clustering_weight=0.7,
        alpha=0.3,
        optimizer=torch.optim.SGD,  # plain: the change is the gradient
        callbacks=[Keep()],
    ).fit(X)
    module, x = model.module_.double(), torch.from_numpy(X).double()
    after = {n: p.detach().clone() for n, p in module.named_parameters()}

    def loss(moved):
        module.load_state_dict(moved, strict=False)
        with torch.no_grad():
            z = module.encode(x).numpy()
            error = module.relative_error(x, module.encode(x)).mean().item()
        distance = ((z[:, None] - module.centers.detach().numpy()) ** 2).sum(2)
        weight = np.exp(-0.3 * distance)
        weight /= weight.sum(1, keepdims=True)
        return error + 0.7 * (weight * distance).sum(1).mean()

    start = {n: p.double() for n, p in before.items()}
    rng = np.random.default_rng(0)
    for name in ("centers", "autoencoder.encoder.2.weight"):
        direction = torch.from_numpy(rng.normal(size=start[name].shape))
        step, h = (after[name] - start[name]) / lr, 1e-4
        slopes = [
            loss({**start, name: start[name] + sign * h * direction})
            for sign in (1, -1)
        ]
        slope = (slopes[0] - slopes[1]) / (2 * h)
        assert float((step * direction).sum()) == pytest.approx(-slope, rel=1e-2), name
        assert abs(slope) > 1e-3


def test_dead_cluster_is_started_again(X):
    class Kill(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "anneal":
                with torch.no_grad():
                    net.module_.centers[1] = 1e4

    model = DKM(3, **SMALL, callbacks=[Kill()])
    with pytest.warns(ClusterCollapseWarning, match="lost all its"):
        model.fit(X)
    assert np.abs(model.cluster_centers_).max() < 1e3
    assert len(set(model.labels_)) == 3


def test_the_start_of_the_paper(X):
    """Without pretraining, and from k-means of a pretrained code."""
    settings = {**SMALL, "pretraining": "end-to-end", "init": "k-means"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        annealed = DKM(3, **{**settings, "pretrain_epochs": 0}).fit(X)
    assert list(annealed.n_epochs_) == ["anneal"]
    pretrained = DKM(3, **settings, alpha=1000.0).fit(X)
    assert list(pretrained.n_epochs_) == ["pretrain", "cluster"]


def test_finds_separate_blobs():
    X, y = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = DKM(3, **{**SMALL, "max_epochs": 20}).fit(X / 3)
    assert adjusted_rand_score(y, model.labels_) == 1
