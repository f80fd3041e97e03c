"""What fitted estimators, and progress bars, say of the phases of a fit."""

import pickle

import joblib
import pytest
from instances import SMALL
from numpydoc.docscrape import ClassDoc
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping

import deepcluster_sk
from deepcluster_sk import (
    SparseSubspaceClustering,
)
from deepcluster_sk._training._net import StopTraining
from deepcluster_sk.initialization._neighbors import SMALL_ERROR

REASONS = {
    "max_epochs",
    "max_iter",
    "tol",
    "unchanged",
    "learned",
    "solved",
    "callback",
}
every = pytest.mark.parametrize(
    "estimator", [pytest.param(e, id=name) for name, e in SMALL.items()]
)
pytestmark = pytest.mark.filterwarnings(
    "ignore::deepcluster_sk.exceptions.ClusterCollapseWarning"
)


def said(model):
    return model.n_epochs_, model.stop_reason_


@every
def test_every_phase_has_a_length_and_a_reason(estimator, blobs):
    model = clone(estimator).fit(blobs[0])
    assert list(model.n_epochs_) == list(model.stop_reason_)
    assert sum(model.n_epochs_.values()) == model.n_iter_
    for phase, n_epochs in model.n_epochs_.items():
        rows = [row for row in model.history_ if row["phase"] == phase]
        assert n_epochs == len(rows) == rows[-1]["epoch"]
    assert set(model.stop_reason_.values()) <= REASONS


@every
def test_they_survive_pickles_and_files(estimator, blobs, tmp_path):
    model = clone(estimator).fit(blobs[0])
    assert said(pickle.loads(pickle.dumps(model))) == said(model)
    model.save(tmp_path / "model")
    assert said(deepcluster_sk.load(tmp_path / "model")) == said(model)


@every
def test_progress_bars_end_with_the_reason(estimator, blobs, capfd):
    model = clone(estimator).set_params(verbose=1, n_init=1).fit(blobs[0])
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    for phase, reason in model.stop_reason_.items():
        bars = [line for line in lines if line.startswith(f"{phase}:")]
        if reason != "solved":  # that has rows, or nothing to count
            assert f"stop_reason={reason}]" in bars[-1]


@every
@pytest.mark.parametrize("verbose", [1, 2])
def test_bars_show_the_loss_and_then_its_terms(estimator, verbose, blobs, capfd):
    model = clone(estimator).set_params(verbose=verbose, n_init=1).fit(blobs[0])
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    for phase, reason in model.stop_reason_.items():
        if reason == "solved":
            continue
        row = [row for row in model.history_ if row["phase"] == phase][-1]
        names = [name for name in row if name not in ("phase", "epoch")]
        names = names if verbose == 2 else ["loss"]
        said = ", ".join(f"{name}={row[name]:.4g}" for name in names)
        # The bar of a run that was not kept may be the last.
        bars = [line for line in lines if line.startswith(f"{phase}:")]
        assert any(f", {said}, stop_reason={reason}]" in bar for bar in bars)


@pytest.mark.parametrize(
    ("name", "params", "part"),
    [
        ("DEC", {}, "embedding of neighbours"),
        ("DEC", {"n_clusters": "auto"}, "number of clusters"),
        ("DDC", {"pretraining": "neighbors"}, "embedding of neighbours"),
        ("DiscriminativeClustering", {}, "neighbours of rows"),
        ("SparseSubspaceClustering", {}, "self-expression of rows"),
    ],
)
def test_bars_show_what_is_between_the_phases(name, params, part, blobs, capfd):
    clone(SMALL[name]).set_params(verbose=1, **params).fit(blobs[0])
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    assert any(line.startswith(f"{part}: 100%") for line in lines)


@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_they_are_those_of_the_best_run(backend, blobs):
    model = clone(SMALL["DCN"]).set_params(n_init=3, max_epochs=30)
    alone = clone(model).fit(blobs[0])
    with joblib.parallel_config(backend, n_jobs=2):
        assert said(model.fit(blobs[0])) == said(alone)
    assert sum(model.n_epochs_.values()) == len(model.history_)


def test_reasons_tell_tolerance_from_length(blobs):
    small = clone(SMALL["Autoencoder"]).set_params(max_epochs=200, lr=1e-9)
    assert small.fit(blobs[0]).stop_reason_ == {"reconstruction": "tol"}
    assert small.n_epochs_["reconstruction"] < 200
    small.set_params(tol=0, max_epochs=30).fit(blobs[0])
    assert said(small) == ({"reconstruction": 30}, {"reconstruction": "max_epochs"})


@pytest.mark.parametrize("name", ["DEC", "IDEC"])
def test_a_clustering_of_one_epoch_can_be_seen(name, blobs):
    model = clone(SMALL[name]).set_params(tol=1).fit(blobs[0])
    assert model.n_iter_ == 3
    assert model.n_epochs_ == {"neighbors": 2, "cluster": 1}
    assert model.stop_reason_ == {"neighbors": "max_epochs", "cluster": "tol"}
    model.set_params(tol=0).fit(blobs[0])
    assert model.n_epochs_["cluster"] == model.max_epochs
    assert model.stop_reason_["cluster"] == "max_epochs"


def test_a_code_that_is_learned_ends_its_phase(blobs):
    model = clone(SMALL["DEC"]).set_params(tol=0, pretrain_epochs="auto", lr=0.01)
    model.fit(blobs[0])
    assert model.stop_reason_["neighbors"] == "learned"
    losses = [r["neighbors"] for r in model.history_ if r["phase"] == "neighbors"]
    assert losses[-1] < SMALL_ERROR <= min(losses[:-1])
    assert model.stop_reason_["settle"] == "max_epochs"


def test_closed_forms_have_reasons(blobs):
    exact = clone(SMALL["TensorizedAutoencoder-exact"]).fit(blobs[0])
    assert exact.stop_reason_ == {"sweep": "unchanged"}
    exact.set_params(max_epochs=1, init="random", n_init=1).fit(blobs[0])
    assert said(exact) == ({"sweep": 1}, {"sweep": "max_epochs"})
    model = SparseSubspaceClustering(3, max_iter=50, random_state=0).fit(blobs[0])
    assert model.stop_reason_ == {"self-expression": "solved", "subspaces": "tol"}
    model.set_params(tol=0, max_iter=2).fit(blobs[0])
    assert model.n_epochs_ == {"self-expression": 1, "subspaces": 2}
    assert model.stop_reason_["subspaces"] == "max_iter"


class Enough(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise StopTraining


@pytest.mark.parametrize(
    "callback",
    [Enough(), EarlyStopping("train_loss", patience=1, threshold=0.9, sink=len)],
)
def test_callbacks_of_the_users_are_a_reason(callback, blobs):
    model = clone(SMALL["Autoencoder"]).set_params(callbacks=[callback])
    model.fit(blobs[0])
    assert model.stop_reason_ == {"reconstruction": "callback"}
    assert model.n_epochs_["reconstruction"] < 5


def test_streams_count_their_batches(blobs):
    X = blobs[0]
    model = clone(SMALL["PCX"])
    for n in (1, 2, 3):
        model.partial_fit(X)
        assert said(model) == (
            {"neighbors": 2, "stream": n},
            {"neighbors": "max_epochs", "stream": "max_epochs"},
        )
    model = clone(SMALL["PCX"]).fit(X)
    before = said(model)
    model.partial_fit(X)
    assert said(model) == (
        {**before[0], "stream": 1},
        {**before[1], "stream": "max_epochs"},
    )


@pytest.mark.parametrize("name", ["n_epochs_", "stop_reason_"])
def test_they_are_documented_alike(name):
    texts = {
        "\n".join(attribute.desc)
        for estimator in {type(e) for e in SMALL.values()}
        for attribute in ClassDoc(estimator)["Attributes"]
        if attribute.name == name
    }
    assert len(texts) == 1
    if name == "stop_reason_":
        assert all(f'"{reason}"' in next(iter(texts)) for reason in REASONS)
