"""Runs, searches and predictions on the workers of joblib and Dask."""

import pickle

import dask
import dask.array as da
import joblib
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster
from dask.sizeof import sizeof
from instances import SMALL
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from test_persistence import assert_same, public_attributes

from deepcluster_sk._estimator._multistart import _run_elsewhere
from deepcluster_sk.exceptions import ClusterCollapseWarning, ConvergenceError

THREADS = {"backend": "threading", "n_jobs": 2}
# Every array is mapped, as large ones are.
PROCESSES = {"backend": "loky", "n_jobs": 2, "max_nbytes": 1}
every = pytest.mark.parametrize(
    "estimator", [pytest.param(e, id=name) for name, e in SMALL.items()]
)


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each a process."""
    local = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    )
    with local, Client(local):
        yield local


def assert_same_runs(estimator, X, **backend):
    expected = clone(estimator).set_params(n_init=2).fit(X)
    with joblib.parallel_config(**backend):
        fitted = clone(estimator).set_params(n_init=2).fit(X)
    assert_same(public_attributes(fitted), public_attributes(expected))
    if hasattr(expected, "module_"):
        assert_same(
            dict(fitted.module_.state_dict()), dict(expected.module_.state_dict())
        )


# --- runs ---------------------------------------------------------------------------


@every
def test_runs_on_dask_are_those_of_a_row(estimator, blobs, cluster):
    assert_same_runs(estimator, blobs[0], backend="dask")


@pytest.mark.parametrize("name", ["IDEC", "SparseSubspaceClustering"])
def test_runs_in_threads_are_those_of_a_row(name, blobs):
    assert_same_runs(SMALL[name], blobs[0], **THREADS)


@pytest.mark.parametrize("name", ["IDEC", "PCX", "SparseSubspaceClustering"])
def test_runs_in_processes_are_those_of_a_row(name, blobs):
    assert_same_runs(SMALL[name], blobs[0], **PROCESSES)


@pytest.mark.parametrize("backend", [PROCESSES, {"backend": "dask"}])
def test_data_on_disk_give_the_same_runs(backend, blobs, tmp_path, cluster):
    np.save(tmp_path / "X.npy", blobs[0])
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_same_runs(clone(SMALL["PCX"]).set_params(batch_size=40), X, **backend)


def test_dask_knows_that_rows_are_large(blobs):
    X = np.tile(blobs[0], (5, 1))
    for name in ("IDEC", "SparseSubspaceClustering"):
        assert sizeof(SMALL[name]._prepare(X)) > X.nbytes


def test_a_run_travels_without_the_data(blobs):
    X = np.tile(blobs[0], (100, 1))
    model = clone(SMALL["Autoencoder"])
    model._validate_training_data(X)
    run = _run_elsewhere(model, model._prepare(X), None, 0)
    assert len(pickle.dumps(run)) < X.nbytes / 2


def test_warnings_of_runs_reach_the_user(blobs):
    X = np.repeat(blobs[0][:2], 20, axis=0)  # two places for three clusters
    model = clone(SMALL["DCN"]).set_params(n_init=2)
    with joblib.parallel_config(**PROCESSES), pytest.warns(ClusterCollapseWarning) as w:
        model.fit(X)
    again = [one for one in w if "was re-seeded" in str(one.message)]
    assert len(again) == 2
    assert {one.filename for one in again} == {__file__}


def test_a_run_that_diverges_ends_the_fit(blobs):
    model = clone(SMALL["Autoencoder"]).set_params(n_init=2, optimizer="sgd", lr=1e30)
    with joblib.parallel_config(**PROCESSES), pytest.raises(ConvergenceError):
        model.fit(blobs[0])
    assert not hasattr(model, "net_")


class Names(Callback):
    """Remembers in whose hands it was."""

    def __init__(self, seen):
        self.seen = seen

    def on_train_begin(self, net, **kwargs):
        self.seen.append(net.phase_.name)


def test_callbacks_are_copied_but_in_a_row(blobs):
    callback = Names([])
    model = clone(SMALL["Autoencoder"]).set_params(n_init=2)
    model.callbacks = [callback]
    with joblib.parallel_config(**THREADS):
        model.fit(blobs[0])
    assert callback.seen == []
    model.fit(blobs[0])
    assert callback.seen == ["reconstruction"] * 2


def test_callbacks_that_cannot_travel_are_refused(blobs):
    stuck = Names([])
    stuck.generator = (row for row in ())
    model = clone(SMALL["Autoencoder"]).set_params(n_init=2)
    model.callbacks = [stuck]
    with joblib.parallel_config(**PROCESSES), pytest.raises(TypeError, match="pickle"):
        model.fit(blobs[0])


def test_a_fit_with_a_checkpoint_keeps_to_its_process(blobs, tmp_path):
    seen = []
    model = clone(SMALL["Autoencoder"]).set_params(n_init=2, checkpoint=tmp_path)
    model.callbacks = [Names(seen)]
    with joblib.parallel_config(**PROCESSES):
        model.fit(blobs[0])
    assert len(seen) == 2
    assert not list(tmp_path.iterdir())


# --- searches -----------------------------------------------------------------------


def test_a_search_on_dask_finds_the_same(blobs, cluster):
    model = make_pipeline(StandardScaler(), clone(SMALL["IDEC"]).set_params(n_init=2))
    grid = {"idec__clustering_weight": [0.1, 1.0]}
    expected = GridSearchCV(model, grid, cv=2).fit(blobs[0])
    with joblib.parallel_config(backend="dask"):
        search = GridSearchCV(model, grid, cv=2).fit(blobs[0])
    for name in ("split0_test_score", "split1_test_score"):
        assert_same(search.cv_results_[name], expected.cv_results_[name])
    assert search.best_params_ == expected.best_params_
    assert_same(
        search.best_estimator_.predict(blobs[0]),
        expected.best_estimator_.predict(blobs[0]),
    )


# --- predictions --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["IDEC", "DDC", "PCX", "TensorizedAutoencoder-exact"])
@pytest.mark.rounding
def test_predictions_over_dask_arrays(name, blobs):
    model = clone(SMALL[name]).fit(blobs[0])
    X = np.random.RandomState(0).permutation(np.tile(blobs[0], (30, 1)))
    array = da.from_array(X, chunks=(512, -1))
    with dask.config.set(scheduler="threads", num_workers=2):
        labels = array.map_blocks(model.predict, dtype=np.int32, drop_axis=1)
        codes = array.map_blocks(
            model.transform, dtype=np.float32, chunks=(array.chunks[0], (2,))
        )
        assert_same(labels.compute(), model.predict(X))
        assert_allclose(codes.compute(), model.transform(X), rtol=1e-5, atol=1e-5)
        if hasattr(model, "predict_proba"):
            soft = array.map_blocks(
                model.predict_proba, dtype=np.float32, chunks=(array.chunks[0], (3,))
            )
            assert soft.shape == (2700, 3)
            assert_allclose(soft.compute(), model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("name", ["IDEC", "PCX"])
def test_a_fit_takes_a_dask_array(name, blobs):
    array = da.from_array(blobs[0], chunks=(20, -1))
    fitted, expected = (clone(SMALL[name]).fit(X) for X in (array, blobs[0]))
    assert_same(public_attributes(fitted), public_attributes(expected))


def test_chunks_of_some_columns_are_refused(blobs):
    model = clone(SMALL["IDEC"]).fit(blobs[0])
    array = da.from_array(blobs[0], chunks=(30, 2))
    with pytest.raises(ValueError, match="X has 2 features"):
        array.map_blocks(model.transform, dtype=np.float32).compute()
