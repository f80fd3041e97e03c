import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

from deepcluster_sk import DCN
from deepcluster_sk.cluster.dcn import _KMeansFriendly
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.modules import CentroidAutoencoder

SMALL = {
    "latent_dim": 3,
    "hidden_layer_sizes": (8,),
    "pretrain_epochs": 50,
    "max_epochs": 6,
    "lr": 1e-2,
    "random_state": 0,
}


def mean_square(X):
    """Of what differs from the medians: the unit of the reconstruction error."""
    return float(((X - np.sort(X, axis=0)[(len(X) - 1) // 2]) ** 2).mean())


@pytest.fixture(scope="module")
def X():
    X, _ = make_blobs(60, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    return (X / 3).astype(np.float32)


def test_batch_moves_the_centers_as_the_rule_for_one_sample_does():
    generator = torch.Generator().manual_seed(0)
    module = CentroidAutoencoder(
        3, False, n_features=4, latent_dim=2, hidden_layer_sizes=()
    )
    module.centers.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [90.0, 90.0]]))
    labels = torch.tensor([0, 1, 0, 1, 0, 2, 2, 1])
    criterion = _KMeansFriendly(labels.clone(), module.centers, 0.5)
    x = torch.randn(5, 4, generator=generator)
    index = torch.tensor([6, 1, 4, 0, 3])
    centers, counts = module.centers.clone(), [3, 3, 2]
    with torch.no_grad():
        code = module.encode(x)
    nearest = (code[:, None] - centers).square().sum(-1).argmin(1)
    expected = centers.clone()
    for z, j in zip(code, nearest, strict=True):  # the paper's loop
        counts[j] += 1
        expected[j] += (z - expected[j]) / counts[j]

    output = module(x)
    terms = criterion(output, x, index)
    with torch.no_grad():
        criterion.observe(output, x, index)
    # The loss takes assignments and centres as they were.
    distance = (code - centers[labels[index]]).square().sum(1).mean()
    torch.testing.assert_close(terms["clustering"].detach(), 0.25 * distance)
    torch.testing.assert_close(module.centers, expected)
    assert criterion.counts.tolist() == counts
    assert not torch.equal(expected[:2], centers[:2])
    assert torch.equal(module.centers[2], centers[2])  # got nothing
    assert torch.equal(criterion.memory.labels[index], nearest)
    untouched = torch.tensor([2, 5, 7])
    assert torch.equal(criterion.memory.labels[untouched], labels[untouched])


def test_one_step_follows_the_gradient_of_the_loss(X):
    lr, before = 0.1, {}

    class Keep(Callback):
        def on_train_begin(self, net, **kwargs):
            before["module"] = pickle.loads(pickle.dumps(net.module_))
            before["labels"] = net.criterion_.criteria[1].memory.labels.clone()

    model = DCN(
        3,
        **{**SMALL, "max_epochs": 1, "pretrain_epochs": 0, "lr": lr},
        pretraining="end-to-end",
        clustering_weight=0.7,
        optimizer=torch.optim.SGD,  # plain: the change is the gradient
        callbacks=[Keep()],
    ).fit(X)
    module, x = before["module"].double(), torch.from_numpy(X).double()
    z = module.encode(x)
    distance = (z - module.centers[before["labels"]]).square().sum(1).mean()
    error = (module.decode(z) - x).square().mean() / mean_square(X)
    (error + 0.35 * distance).backward()
    after = dict(model.module_.named_parameters())
    for name, parameter in module.named_parameters():
        step = (after[name].double() - parameter).detach()
        gradient = parameter.grad
        rounding = torch.finfo(torch.float32).eps * parameter.norm()
        miss = (step + lr * gradient).norm()
        assert miss <= 1e-3 * lr * gradient.norm() + rounding, name
    row = model.history_[-1]
    assert row["reconstruction"] == pytest.approx(error.item(), rel=1e-5)
    assert row["clustering"] == pytest.approx(0.35 * distance.item(), rel=1e-4)
    assert row["loss"] == row["reconstruction"] + row["clustering"]


def test_labels_and_score_come_from_the_predict_path(X):
    model = DCN(3, **SMALL, batch_size=16).fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    assert model.score(X) == -model.objective_
    code = model.transform(X)
    distance = ((code[:, None] - model.cluster_centers_) ** 2).sum(-1)
    np.testing.assert_array_equal(model.labels_, distance.argmin(1))
    error = ((model.reconstruct(X) - X) ** 2).mean() / mean_square(X)
    expected = error + 0.05 * distance.min(1).mean()
    assert model.objective_ == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        model.inverse_transform(code), model.reconstruct(X), atol=1e-6
    )


def test_history(X):
    model = DCN(3, **SMALL, batch_size=16, tol=0).fit(X)
    rows = [row for row in model.history_ if row["phase"] == "cluster"]
    names = ["neighbors", "reconstruction", "clustering"]
    for row in rows:
        assert set(row) == {"phase", "epoch", "loss", "label_change", *names}
        assert row["loss"] == pytest.approx(sum(row[name] for name in names))
    assert model.n_iter_ == len(model.history_) == 56


def test_training_stops_when_labels_are_stable(X):
    model = DCN(3, **{**SMALL, "max_epochs": 50}, tol=0.9).fit(X)
    assert model.n_iter_ == SMALL["pretrain_epochs"] + 5


def test_dead_cluster_is_started_again(X):
    class Kill(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "cluster":
                net.module_.centers[1] = 1e4
                net.criterion_.criteria[1].memory.labels[:] = 0

    model = DCN(3, **SMALL, tol=0, callbacks=[Kill()])
    with pytest.warns(ClusterCollapseWarning, match="lost all its") as record:
        model.fit(X)
    assert record[0].filename == __file__
    assert np.abs(model.cluster_centers_).max() < 1e3


def test_one_cluster_and_as_many_as_samples(X):
    one = DCN(1, **SMALL).fit(X)
    assert not one.labels_.any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        many = DCN(20, **SMALL).fit(X[:20])
    assert np.isfinite(many.cluster_centers_).all()
    assert len(set(many.labels_)) > 5


@pytest.mark.parametrize("pretraining", ["end-to-end", "layerwise"])
def test_same_seed_same_result(pretraining, X):
    settings = {**SMALL, "pretraining": pretraining, "batch_size": 16}
    a, b = (DCN(3, **settings).fit(X) for _ in range(2))
    np.testing.assert_array_equal(a.transform(X), b.transform(X))
    assert a.history_ == b.history_


def test_convolutional_network(X):
    model = DCN(
        3,
        latent_dim=2,
        architecture="conv",
        hidden_layer_sizes=(4, 5),
        image_shape=(1, 6, 6),
        pretrain_epochs=2,
        max_epochs=2,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model.fit(np.tile(X, (1, 6)))
    assert model.reconstruct(np.tile(X, (1, 6))).shape == (60, 36)
    assert model.transform(np.tile(X, (1, 6))).shape == (60, 2)


def test_finds_separate_blobs():
    X, y = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = DCN(3, **{**SMALL, "max_epochs": 20}).fit(X / 3)
    assert adjusted_rand_score(y, model.labels_) == 1
