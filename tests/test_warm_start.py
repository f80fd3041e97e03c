"""``warm_start``: a second fit goes on from the one before."""

import pickle

import numpy as np
import pytest
import torch
from instances import SMALL
from sklearn.base import clone
from sklearn.datasets import make_blobs
from skorch.callbacks import Callback

import deepcluster_sk
from deepcluster_sk.exceptions import ConvergenceError
from deepcluster_sk.initialization import _centers, _neighbors

NAMES = [name for name, e in SMALL.items() if "warm_start" in e.get_params()]
ONE_OF_EACH = sorted({type(SMALL[name]): name for name in reversed(NAMES)}.values())
every = pytest.mark.parametrize("name", NAMES)
of_each = pytest.mark.parametrize("name", ONE_OF_EACH)


class AtTheStart(Callback):
    """Keeps the weights that each phase starts from."""

    def on_train_begin(self, net, X=None, y=None):
        if not hasattr(self, "seen"):
            self.seen = []
        weights = {n: t.clone() for n, t in net.module_.state_dict().items()}
        self.seen.append((net.phase_.name, weights))


def blobs(n=60, d=4, seed=0):
    centers = np.random.RandomState(0).uniform(-9, 9, size=(3, d))
    X, _ = make_blobs(n, centers=centers, random_state=seed)
    return X.astype(np.float32)


def fitted(name, X, **parameters):
    return clone(SMALL[name]).set_params(warm_start=True, **parameters).fit(X)


def weights_of(model):
    return {n: t.clone() for n, t in model.module_.state_dict().items()}


def assert_equal(one, other):
    assert list(one) == list(other)
    for name in one:
        assert torch.equal(one[name], other[name]), name


@every
def test_a_second_fit_starts_from_the_weights_of_the_first(name):
    X, start = blobs(), AtTheStart()
    model = fitted(name, X)
    before, phases = weights_of(model), list(model.n_epochs_)
    model.set_params(callbacks=[start], tol=0.0).fit(X)
    if name.startswith("DynAE"):  # which may place its centres as a phase begins
        del start.seen[0][1]["centers"], before["centers"]
    assert_equal(start.seen[0][1], before)
    # The others prepare it; so few epochs are not enough for DKM to get there.
    last = "cluster" if name == "DKM" else phases[-1]
    assert [phase for phase, _ in start.seen] == [last]
    after = weights_of(model)
    assert any(not torch.equal(before[n], after[n]) for n in before)


@every
def test_history_goes_on(name):
    X = blobs()
    model = fitted(name, X)
    history, n_iter, epochs = model.history_, model.n_iter_, dict(model.n_epochs_)
    last = "cluster" if name == "DKM" else list(epochs)[-1]
    model.set_params(max_epochs=3, tol=0.0).fit(X)
    assert model.history_[:n_iter] == history
    assert model.n_iter_ == n_iter + 3 == len(model.history_)
    assert model.n_epochs_ == {**epochs, last: epochs.get(last, 0) + 3}
    assert set(model.stop_reason_) == set(model.n_epochs_)


@pytest.mark.parametrize("name", [n for n in ONE_OF_EACH if n != "Autoencoder"])
def test_nothing_is_prepared_again(name, monkeypatch):
    X = blobs()
    model = fitted(name, X)

    def refuse(*arguments):
        raise AssertionError("the clusters are known")

    for module in (_neighbors, _centers):
        for function in ("embed_neighbors", "kmeans_start", "mixture_start"):
            if hasattr(module, function):
                monkeypatch.setattr(module, function, refuse)
    model.fit(X)
    with pytest.raises(AssertionError, match="the clusters are known"):
        model.set_params(warm_start=False).fit(X)


@of_each
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_other_rows_of_the_same_features(name):
    model = fitted(name, blobs(), n_init=2, hidden_layer_sizes=None)
    n_iter, sizes = model.n_iter_, model.hidden_layer_sizes_
    X = blobs(1100, seed=1)  # for so many the network would be wider
    model.set_params(max_epochs=1).fit(X)
    assert model.n_iter_ == n_iter + 1  # one run, whatever n_init
    assert model.hidden_layer_sizes_ == sizes
    if hasattr(model, "labels_"):
        np.testing.assert_array_equal(model.labels_, model.predict(X))


@of_each
@pytest.mark.parametrize(
    ("parameters", "d", "message"),
    [
        ({}, 5, "X has 5 features, but .* is expecting 4 features as input"),
        ({"n_clusters": 2}, 4, "goes on with the fitted network"),
        ({"latent_dim": 3}, 4, "parameters now ask for another one: '.*' of shape"),
        ({"checkpoint": "folder"}, 4, "what was fitted before is not in the folder"),
        ({"lr": 1e30}, 4, None),
    ],
)
def test_what_is_refused_or_fails_leaves_what_was_fitted(name, parameters, d, message):
    X = blobs()
    model = fitted(name, X)
    if not set(parameters) <= set(model.get_params()):
        pytest.skip("no clusters")
    before, answers = dict(vars(model)), model.transform(X)
    model.set_params(**parameters)
    with pytest.raises(
        ConvergenceError if message is None else ValueError, match=message
    ):
        model.fit(blobs(d=d))
    after = {**vars(model), **{p: before[p] for p in parameters}}
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    np.testing.assert_array_equal(model.transform(X), answers)


@of_each
def test_files_and_pickles_go_on_alike(name, tmp_path):
    X = blobs()
    model = fitted(name, X)
    model.save(tmp_path / "model")
    others = deepcluster_sk.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))
    model.fit(X)
    for other in others:
        assert other.fit(X).n_iter_ == model.n_iter_
        assert_equal(weights_of(other), weights_of(model))


@of_each
def test_without_it_a_fit_starts_anew(name):
    X = blobs()
    model = clone(SMALL[name]).fit(X)
    before, history = weights_of(model), model.history_
    assert model.fit(X).history_ == history
    assert_equal(weights_of(model), before)


@pytest.mark.parametrize("name", ["DEC", "IDEC", "DCN"])
def test_the_number_that_was_found_stays(name):
    X = blobs()
    model = fitted(name, X, n_clusters="auto")
    k = model.n_clusters_
    assert model.fit(blobs(60, seed=3)).n_clusters_ == k == len(model.cluster_centers_)
    model.set_params(n_clusters=k).fit(X)
    with pytest.raises(ValueError, match=f"which has {k} clusters. Got n_clusters="):
        model.set_params(n_clusters=k + 1).fit(X)


def test_the_loss_goes_on_falling():
    X = blobs()
    model = fitted("Autoencoder", X, tol=0.0, max_epochs=30)
    first = [row["loss"] for row in model.history_]
    second = [row["loss"] for row in model.fit(X).history_[30:]]
    assert second[0] < np.median(first)
    assert second[-1] < first[-1]
