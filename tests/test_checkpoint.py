"""A fit that was killed goes on and ends as if nothing had happened."""

import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from instances import SMALL
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from test_persistence import Network, assert_same, public_attributes

import deepcluster_sk
from deepcluster_sk._training import _checkpoint
from deepcluster_sk._training._checkpoint import FIT
from deepcluster_sk.exceptions import ClusterCollapseWarning, ConvergenceError
from deepcluster_sk.io._safetensors import read

KEEPING = {name: e for name, e in SMALL.items() if "checkpoint" in e.get_params()}
every = pytest.mark.parametrize(
    "estimator", [pytest.param(e, id=name) for name, e in KEEPING.items()]
)
pytestmark = pytest.mark.filterwarnings(
    "ignore::deepcluster_sk.exceptions.ClusterCollapseWarning"
)


@pytest.fixture
def always(monkeypatch):
    """Note every epoch, however long that takes."""
    monkeypatch.setattr(_checkpoint, "PAUSE", 0)


class Interrupt(Callback):
    """Ctrl-C when an epoch begins, after some others."""

    def __init__(self, after):
        self.left = iter(range(after))  # no data, so that it is not restored

    def on_epoch_begin(self, net, **kwargs):
        if next(self.left, None) is None:
            raise KeyboardInterrupt


def interrupted_fit(estimator, X, step, callbacks=list):
    """Fit for some epochs, again and again, until it is done."""
    n_interrupts = 0
    while True:
        part = clone(estimator).set_params(callbacks=[*callbacks(), Interrupt(step)])
        try:
            return part.fit(X), n_interrupts
        except KeyboardInterrupt:
            n_interrupts += 1
        with pytest.raises(NotFittedError):
            part.transform(X)


def assert_same_fit(again, fitted):
    assert_same(public_attributes(again), public_attributes(fitted))
    assert_same(dict(again.module_.state_dict()), dict(fitted.module_.state_dict()))


@every
def test_a_fit_goes_on_after_each_interrupt(estimator, blobs, tmp_path, always):
    X = blobs[0]
    estimator = clone(estimator).set_params(n_init=2, batch_size=35)
    fitted = clone(estimator).fit(X)
    estimator.set_params(checkpoint=tmp_path / "new" / "folder")
    again, n_interrupts = interrupted_fit(estimator, X, 3)
    assert_same_fit(again, fitted)
    assert not list((tmp_path / "new" / "folder").iterdir())
    if not hasattr(estimator, "solver") or not estimator._uses_exact_solver():
        assert n_interrupts >= fitted.n_iter_ // 3


@pytest.mark.parametrize("name", ["IDEC", "PCX", "ConvTransformClustering"])
def test_a_fit_goes_on_after_interrupts_in_every_epoch(name, blobs, tmp_path, always):
    X = blobs[0]
    estimator = clone(SMALL[name]).set_params(batch_size=35)
    fitted = clone(estimator).fit(X)
    again, n_interrupts = interrupted_fit(
        estimator.set_params(checkpoint=tmp_path), X, 1
    )
    assert_same_fit(again, fitted)
    assert n_interrupts == fitted.n_iter_ - 1


def test_closed_forms_go_on_from_run_to_run(blobs, tmp_path, monkeypatch):
    X = blobs[0]
    model = clone(SMALL["TensorizedAutoencoder-exact"]).set_params(n_init=9)
    fitted = clone(model).fit(X)
    n_calls = 0

    def solve(*args):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 7:
            raise KeyboardInterrupt
        return solve_run(*args)

    solve_run = deepcluster_sk.TensorizedAutoencoder._solve
    monkeypatch.setattr(deepcluster_sk.TensorizedAutoencoder, "_solve", solve)
    model.set_params(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clone(model).fit(X)
    assert_same_fit(clone(model).fit(X), fitted)
    # Runs 7 to 9, and the best of the first six once more.
    assert n_calls == 7 + 1 + 3


def test_progress_is_that_of_the_whole_phase(blobs, tmp_path, always, capfd):
    X = blobs[0]
    model = clone(SMALL["Autoencoder"]).set_params(checkpoint=tmp_path, verbose=1)
    assert interrupted_fit(model, X, 3)[1] == 1
    assert "5/5" in capfd.readouterr().err


# --- whose state is noted -----------------------------------------------------------


class Wandering(deepcluster_sk.DCN):
    """A method whose callback draws, remembers and revives."""

    def _phases(self, run):
        class Wander(Callback):
            def on_train_begin(self, net, **kwargs):
                self.place_ = torch.zeros(2)
                self.generator_ = torch.Generator().manual_seed(0)

            def on_epoch_end(self, net, **kwargs):
                run.n_reseeded += 1
                step = run.random_state.normal()
                self.place_ += step + torch.rand(2, generator=self.generator_)
                net.history.record("place", float(self.place_[0]))

        for phase in super()._phases(run):
            yield replace(phase, callbacks=[*phase.callbacks, Wander()])


def test_callbacks_of_a_method_and_the_run_go_on(blobs, tmp_path, always):
    X = blobs[0]
    settings = {"hidden_layer_sizes": (), "latent_dim": 2, "tol": 0}
    method = Wandering(3, **settings, pretrain_epochs=2, max_epochs=4, random_state=0)
    with pytest.warns(ClusterCollapseWarning, match="6 times"):
        fitted = clone(method).fit(X)
    assert len({row["place"] for row in fitted.history_}) == 6
    method.set_params(checkpoint=str(tmp_path))
    with pytest.warns(ClusterCollapseWarning, match="6 times"):
        again, _ = interrupted_fit(method, X, 2)
    assert_same_fit(again, fitted)


def user_callbacks():
    """Callbacks of skorch with a state that decides what happens."""
    return [
        LRScheduler("StepLR", step_size=5, gamma=0.5),
        EarlyStopping(
            monitor="train_loss", patience=4, threshold=0.1, load_best=True, sink=len
        ),
    ]


def test_callbacks_of_the_users_go_on(blobs, tmp_path, always):
    X = blobs[0]
    model = deepcluster_sk.Autoencoder(
        hidden_layer_sizes=(8,),
        latent_dim=2,
        max_epochs=40,
        tol=0,
        lr=0.03,
        random_state=0,
    )
    fitted = clone(model).set_params(callbacks=user_callbacks()).fit(X)
    assert 8 < fitted.n_iter_ < 40
    model.set_params(checkpoint=tmp_path)
    again, n_interrupts = interrupted_fit(model, X, 3, user_callbacks)
    assert_same_fit(again, fitted)
    assert n_interrupts > 1


class Dropout(Network):
    """A network that draws random numbers in training."""

    def encode(self, x):
        return self.encoder(torch.nn.functional.dropout(x, 0.5, self.training))


def test_a_network_of_the_users_goes_on(blobs, tmp_path, always):
    X = blobs[0]
    model = clone(SMALL["PCX"]).set_params(
        architecture=Dropout, optimizer=torch.optim.Adagrad, batch_size=40
    )
    fitted = clone(model).fit(X)
    model.set_params(checkpoint=tmp_path)
    assert_same_fit(interrupted_fit(model, X, 1)[0], fitted)

    class Other(Network):
        """Another network of the same name."""

        def __init__(self, n_features, latent_dim):
            super().__init__(n_features, latent_dim)
            self.more = torch.nn.Linear(2, 2)

    Other.__qualname__ = "Dropout"
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[Interrupt(3)]).fit(X)
    with pytest.raises(ValueError, match=r"phase-0.safetensors does not fit"):
        clone(model).set_params(architecture=Other).fit(X)


def test_data_on_disk_go_on(blobs, tmp_path, always):
    path = tmp_path / "X.npy"
    np.save(path, blobs[0])
    X = np.load(path, mmap_mode="r")
    model = clone(SMALL["PCX"]).set_params(batch_size=40)
    fitted = clone(model).fit(X)
    model.set_params(checkpoint=tmp_path / "folder")
    assert_same_fit(interrupted_fit(model, X, 3)[0], fitted)


def test_without_a_seed_the_runs_go_on_all_the_same(blobs, tmp_path, always):
    X = blobs[0]
    model = clone(SMALL["Autoencoder"]).set_params(random_state=None, n_init=2)
    model.set_params(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[Interrupt(7)]).fit(X)
    seeds = read(tmp_path / "fit.safetensors", FIT)["seeds"]
    again = clone(model).fit(X)
    assert again.net_.seed in seeds
    # A RandomState is left where it would be.
    rng = np.random.RandomState(1)
    model.set_params(random_state=rng, checkpoint=None).fit(X)
    left = np.random.RandomState(1)
    left.randint(2**31 - 1, size=2)
    assert rng.get_state()[2] == left.get_state()[2]


# --- real deaths --------------------------------------------------------------------

KILLED = """
import os, signal, sys
import numpy
from skorch.callbacks import Callback
from deepcluster_sk import DCN
from deepcluster_sk._training import _checkpoint
from deepcluster_sk.io import _safetensors as _container
_checkpoint.PAUSE = 0
folder, where, when = sys.argv[1], sys.argv[2], int(sys.argv[3])
calls = iter(range(when))

def die():
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)

class Death(Callback):
    def on_batch_begin(self, net, **kwargs):
        die()

def deadly(function):
    def call(*args):
        die()
        return function(*args)
    return call

callbacks = [Death()] if where == "batch" else None
if where != "batch":
    setattr(_container.os, where, deadly(getattr(os, where)))
X = numpy.load(folder + "/X.npy")
DCN(3, latent_dim=2, hidden_layer_sizes=(8,), pretrain_epochs=2, max_epochs=4, tol=0,
    batch_size=35, random_state=0, checkpoint=folder + "/checkpoint", n_init=2,
    callbacks=callbacks).fit(X)
"""


@pytest.mark.parametrize(
    ("where", "when"), [("batch", 10), ("fsync", 5), ("replace", 13)]
)
def test_a_killed_process_leaves_what_the_next_one_needs(where, when, blobs, tmp_path):
    X = blobs[0]
    np.save(tmp_path / "X.npy", X)
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), where, str(when)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    folder = tmp_path / "checkpoint"
    assert (folder / "fit.safetensors").exists()
    model = clone(SMALL["DCN"]).set_params(tol=0, batch_size=35, n_init=2)
    fitted = clone(model).fit(X)
    begun = []

    class Count(Callback):
        def on_epoch_begin(self, net, **kwargs):
            begun.append(net.history)

    model.set_params(checkpoint=folder, callbacks=[Count()])
    assert_same_fit(model.fit(X), fitted)
    assert len(begun) < 2 * fitted.n_iter_
    assert not list(folder.iterdir())


# --- which checkpoints are used -----------------------------------------------------


@pytest.fixture
def left(blobs, tmp_path, always):
    """An estimator with the checkpoint of a fit that was interrupted."""
    model = clone(SMALL["DCN"]).set_params(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[Interrupt(4)]).fit(blobs[0])
    return model


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"lr": 0.01}, r"lr \(0\.001 there, 0\.01 here\)"),
        ({"n_clusters": 4, "n_init": 2}, r"n_clusters \(3 .*, n_init \(1 there"),
        ({"architecture": Network}, r"architecture \('mlp' there, Network here\)"),
        ({"random_state": 1}, "random_state"),
    ],
)
def test_the_checkpoint_of_other_parameters_is_refused(left, parameters, match, blobs):
    with pytest.raises(ValueError, match=f"another fit: it differs in {match}"):
        clone(left).set_params(**parameters).fit(blobs[0])
    assert_same_fit(clone(left).fit(blobs[0]), clone(SMALL["DCN"]).fit(blobs[0]))


def test_the_checkpoint_of_another_fit_is_refused(left, blobs, monkeypatch):
    X = blobs[0]
    other = X.copy()
    other[-1, -1] += 1
    with pytest.raises(ValueError, match=r"SHA-256 of X \(\w+ there, \w+ here\)\. Let"):
        clone(left).fit(other)
    with pytest.raises(ValueError, match=r"shape of X \(\(90, 4\) there, \(89, 4\)"):
        clone(left).fit(X[:-1])
    with pytest.raises(ValueError, match=r"estimator \(DCN there, DEC here\)"):
        clone(SMALL["DEC"]).set_params(checkpoint=left.checkpoint).fit(X)
    monkeypatch.setattr(_checkpoint, "__version__", "0")
    with pytest.raises(ValueError, match=r"deepcluster_sk \(.*, 0 here\)"):
        clone(left).fit(X)


def test_known_labels_are_part_of_a_fit(blobs, tmp_path, always):
    X, y = blobs
    model = clone(SMALL["TensorizedAutoencoder-mlp"])
    model.set_params(checkpoint=tmp_path, init="labels")
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[Interrupt(4)]).fit(X, y)
    with pytest.raises(ValueError, match=r"differs in SHA-256 of y"):
        clone(model).fit(X, np.where(np.arange(90) < 9, -1, y))


def test_a_damaged_checkpoint_is_refused(left, blobs, tmp_path):
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        with pytest.raises(ValueError, match=f"{path} is damaged"):
            clone(left).fit(blobs[0])
        path.write_bytes(data)
    assert_same_fit(clone(left).fit(blobs[0]), clone(SMALL["DCN"]).fit(blobs[0]))


def test_only_our_files_are_removed(left, blobs, tmp_path):
    (tmp_path / "fit.safetensors").unlink()  # phases without a fit belong to none
    (tmp_path / "notes.txt").write_text("the user's")
    stale = tmp_path / "run-7-phase-0.safetensors.12345678.tmp"
    stale.write_bytes(b"half a file")
    assert_same_fit(clone(left).fit(blobs[0]), clone(SMALL["DCN"]).fit(blobs[0]))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_fit_that_diverges_leaves_no_checkpoint(left, blobs, tmp_path):
    left.set_params(checkpoint=tmp_path / "other", optimizer="sgd", lr=1e30)
    with pytest.raises(ConvergenceError):
        left.fit(blobs[0])
    assert not list((tmp_path / "other").iterdir())


def test_noting_takes_little_of_the_time(blobs, tmp_path, monkeypatch):
    clock = iter(range(100_000))
    monkeypatch.setattr(_checkpoint, "monotonic", lambda: next(clock))
    written = []

    def write(path, *args):
        written.append(path)

    monkeypatch.setattr(_checkpoint, "write", write)
    clone(SMALL["Autoencoder"]).set_params(
        max_epochs=100, tol=0, checkpoint=tmp_path
    ).fit(blobs[0])
    # Noting takes a second of this clock, as does looking at it after an epoch.
    assert len(written) == 2 + 1 + 100 // (_checkpoint.PAUSE + 1) + 1
    with pytest.raises(ValueError, match="'checkpoint' parameter of Autoencoder"):
        clone(SMALL["Autoencoder"]).set_params(checkpoint=1).fit(blobs[0])
