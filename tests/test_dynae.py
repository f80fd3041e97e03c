import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

from deepcluster_sk import DynAE
from deepcluster_sk.augmentation import RandomAffine
from deepcluster_sk.cluster.dynae import (
    _Conflicts,
    _Construction,
    confident_labels,
    place_centers,
)
from deepcluster_sk.modules import StudentTAutoencoder

SMALL = {
    "latent_dim": 3,
    "hidden_layer_sizes": (8,),
    "pretrain_epochs": 50,
    "max_epochs": 6,
    "lr": 1e-2,
    "random_state": 0,
}
SIZES = {"n_features": 4, "latent_dim": 2, "hidden_layer_sizes": (3,)}


@pytest.fixture(scope="module")
def X():
    X, _ = make_blobs(60, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    return (X / 3).astype(np.float32)


def numpy_labels(code, centers, beta1, beta2):
    labels = []
    for z in code:
        kernel = np.array([1 / (1 + np.sum((z - mu) ** 2)) for mu in centers])
        q = kernel / kernel.sum()
        order = np.argsort(q)
        first, second = q[order[-1]], q[order[-2]]
        clear = first > beta1 and first - second > beta2
        labels.append(order[-1] if clear else -1)
    return np.array(labels)


class Looks(Callback):
    """Keeps what the clustering knew at its start and after every epoch."""

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
        (conflicts,) = [c for _, c in net.callbacks_ if isinstance(c, _Conflicts)]
        criterion = net.criterion_.criteria[0]
        module = net.module_
        self.found.append(
            {
                "code": net.apply(module.encode, self.rows).double().numpy(),
                "centers": module.centers.double().numpy().copy(),
                "labels": criterion.labels.numpy().copy(),
                "decoded": criterion.decoded.numpy().copy(),
                "again": module.autoencoder.decode(module.centers).detach().numpy(),
                "n": conflicts.n_conflicted,
                "betas": (conflicts.beta1, conflicts.beta2),
            }
        )


@pytest.fixture(scope="module")
def followed(X):
    looks = Looks()
    # Far from tight clusters, so that conflicts last.
    settings = {**SMALL, "pretrain_epochs": 0, "max_epochs": 12}
    settings.update(pretraining="end-to-end", init="k-means", batch_size=16, tol=0)
    model = DynAE(3, **settings, confidence=2.0, callbacks=[looks]).fit(X)
    return model, looks.found


def test_labels_are_those_of_the_bounds_on_the_whole_data(followed):
    _, found = followed
    seen = set()
    for look in found:
        expected = numpy_labels(look["code"], look["centers"], *look["betas"])
        np.testing.assert_array_equal(look["labels"], expected)
        seen.add((expected == -1).all() or (expected >= 0).all())
    assert False in seen  # some look had both kinds
    assert len(found) == 13


def test_bounds_fall_and_centers_move_where_conflicts_do_not_become_fewer(followed):
    model, found = followed
    beta1, beta2 = 2 / 3, 1 / 3
    falls = iter([0.2, *(0.2 * 0.3**i for i in range(13))])  # 0.3 * 2 / 3, twice
    before, n_falls = len(found[0]["labels"]), 0
    centers = None
    for look in found:
        at = beta1, beta2
        n = (numpy_labels(look["code"], look["centers"], *at) == -1).sum()
        if look["betas"] != pytest.approx(at):
            fall = next(falls)
            beta1, beta2 = beta1 - fall, beta2 - fall
            n_falls += 1
            assert look["n"] >= before
        else:
            # The centres are those that were looked with.
            assert look["n"] == n < before
            if centers is not None:
                np.testing.assert_array_equal(look["centers"], centers)
        assert look["betas"] == pytest.approx((beta1, beta2))
        before, centers = look["n"], look["centers"]
    assert 0 < n_falls < len(found)
    rows = [row for row in model.history_ if row["phase"] == "cluster"]
    shares = [look["n"] / 60 for look in found[1:]]
    assert [row["conflicted"] for row in rows] == pytest.approx(shares)


def test_centers_are_codes_of_rows_and_what_the_decoder_makes_of_them(followed):
    _, found = followed
    for look in found:
        np.testing.assert_allclose(look["decoded"], look["again"], atol=1e-6)
    distance = ((found[0]["code"][:, None] - found[0]["centers"]) ** 2).sum(-1)
    assert (distance.min(0) == 0).all()


@pytest.mark.parametrize("beta1", [0.2, 0.5, 0.9])
def test_confident_labels_match_a_loop(beta1):
    generator = torch.Generator().manual_seed(0)
    q = torch.softmax(2 * torch.randn(40, 4, generator=generator), 1)
    labels = confident_labels(q, beta1, 0.1)
    for row, label in zip(q.tolist(), labels.tolist(), strict=True):
        first, second = sorted(row, reverse=True)[:2]
        clear = first > beta1 and first - second > 0.1
        assert label == (row.index(first) if clear else -1)
    assert confident_labels(torch.ones(3, 1), beta1, 0.1).tolist() == [0, 0, 0]


def test_centers_go_to_the_row_nearest_to_the_mean():
    class Run:
        module = StudentTAutoencoder(3, trainable=False, **SIZES)
        n_reseeded = 0

    module, run = Run.module, Run()
    code = torch.tensor([[0.0, 0], [1, 0], [5, 0], [9, 9], [9, 9.5], [9, 11], [30, 0]])
    module.centers.copy_(torch.tensor([[0.0, 0], [9, 9], [500, 500]]))
    place_centers(run, code)
    # Of (0, 0), (1, 0) and (5, 0) the mean is (2, 0); (30, 0) is the farthest one.
    assert module.centers[1].tolist() != [30, 0]
    assert module.centers[2].tolist() == [30, 0]
    assert run.n_reseeded == 1
    place_centers(run, code)
    assert module.centers.tolist() == [[1, 0], [9, 9.5], [30, 0]]
    assert run.n_reseeded == 1


def test_loss_of_a_tiny_network_by_hand():
    torch.manual_seed(0)
    module = StudentTAutoencoder(3, trainable=False, **SIZES)
    module.set_origin_and_scale(torch.tensor([1.0, 0.0, 2.0, 0.0]), torch.tensor(2.0))
    module.centers.copy_(torch.randn(3, 2))
    criterion = _Construction(8, module, 0.7)
    criterion.labels.copy_(torch.tensor([0, -1, 2, 1, -1, 2, 0, 0]))
    criterion.decoded.copy_(torch.randn(3, 4))
    x, index = torch.randn(5, 4), torch.tensor([6, 1, 4, 3, 2])
    terms = criterion(module(x), x, index)
    rows = (x.numpy() - module.origin.numpy()) / 2
    code = module.encode(x).detach().numpy()
    restored = module.autoencoder.decode(torch.from_numpy(code)).detach().numpy()
    error, distance = 0, 0
    for i, label in enumerate([0, -1, -1, 1, 2]):
        target = rows[i] if label == -1 else criterion.decoded[label].numpy()
        error += np.sum((restored[i] - target) ** 2) / 4 / 5
        if label != -1:
            distance += np.sum((code[i] - module.centers[label].numpy()) ** 2) / 5
    assert terms["reconstruction"].item() == pytest.approx(error, rel=1e-5)
    assert terms["clustering"].item() == pytest.approx(0.7 * distance, rel=1e-5)


def test_labels_and_score_come_from_the_predict_path(X):
    model = DynAE(3, **SMALL, clustering_weight=0.3).fit(X)
    code = model.transform(X)
    distance = ((code[:, None] - model.cluster_centers_) ** 2).sum(-1)
    np.testing.assert_array_equal(model.labels_, distance.argmin(1))
    kernel = 1 / (1 + distance)
    proba = kernel / kernel.sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-5)
    assert model.score(X) == -model.objective_
    decoded = model.inverse_transform(model.cluster_centers_)[model.labels_]
    median = np.sort(X, axis=0)[(len(X) - 1) // 2]
    error = ((model.reconstruct(X) - decoded) ** 2).mean() / ((X - median) ** 2).mean()
    expected = error + 0.3 * distance.min(1).mean()
    assert model.objective_ == pytest.approx(expected, rel=1e-4)


def test_ends_when_hardly_any_row_is_conflicted():
    X, y = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = DynAE(3, **{**SMALL, "max_epochs": 60}).fit(X / 3)
    assert adjusted_rand_score(y, model.labels_) == 1
    assert model.stop_reason_["cluster"] == "tol"
    assert model.history_[-1]["conflicted"] < 0.01
    assert all(row.get("conflicted", 1) >= 0.01 for row in model.history_[:-1])


def test_moved_images_and_convolutions(X):
    images = np.tile(X, (1, 6))[:, :35]
    model = DynAE(
        3,
        latent_dim=3,
        architecture="conv",
        hidden_layer_sizes=(4, 5),
        image_shape=(1, 7, 5),
        augmentation=RandomAffine((1, 7, 5)),
        pretraining="end-to-end",
        init="k-means",
        pretrain_epochs=2,
        max_epochs=2,
        random_state=0,
    )
    first, second = model.fit(images).transform(images), model.fit_transform(images)
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(model.objective_)
