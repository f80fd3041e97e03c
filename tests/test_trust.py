"""Hard to break: any data gives a result or an error that says what is wrong.

Hypothesis draws an estimator and data. ``--hypothesis-profile=thorough`` looks
for longer, and elsewhere each time; see CONTRIBUTING.md.
"""

import os
import pickle
import re
import subprocess
import sys
import time
import traceback
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from instances import CLUSTERERS, GRADIENT, SMALL
from sklearn.base import clone, is_clusterer
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from trust_cases import REFUSED, SPARSE, TARGETS, Case, cases, refused

import deepcluster_sk
from deepcluster_sk import DDC
from deepcluster_sk.exceptions import ClusterCollapseWarning, ConvergenceError

# Squares of larger values, or of sums of them, may be beyond float32.
LARGE = 1e15
SECONDS = 20
METHODS = (
    "transform",
    "predict",
    "predict_proba",
    "score",
    "score_samples",
    "denoise",
    "reconstruct",
)
estimators = st.sampled_from(sorted(SMALL))


def make(name, n_clusters):
    estimator = clone(SMALL[name])
    if is_clusterer(estimator):
        estimator.set_params(n_clusters=n_clusters)
    return estimator


@cache
def fitted(name, exponent=0):
    """A fitted estimator, its data and the largest of their values."""
    X = Case("blobs", 14, 3, exponent).data()
    model, error, _ = attempt(make(name, 3).fit, X)
    assert error is None, error
    return model, np.abs(X).max()


def as_float32(case):
    """The plain matrix that an estimator should see."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(case.matrix().astype(np.float32))


def model_is_wider(estimator, X):
    """Whether more components are asked for than there are features."""
    return not hasattr(estimator, "architecture") and estimator.latent_dim > X.shape[1]


def reasons(estimator, X):
    """Pattern of the error that fitting this data may meet; None: it must work."""
    k = getattr(estimator, "n_clusters", 1)
    needs_two = isinstance(estimator, DDC)
    holds = {
        "infinity or a value too large": not np.isfinite(X).all(),
        rf"n_samples={len(X)} should be >= n_clusters={k}": len(X) < k,
        "n_samples=1 should be >= 2": needs_two and len(X) < 2,
        "must be at most n_features": model_is_wider(estimator, X),
        "[sS]cale the data": np.abs(X).max() > LARGE,
    }
    return "|".join(pattern for pattern, met in holds.items() if met) or None


def attempt(function, *args):
    """The result, or the error if a user can read it, and the warnings of ours."""
    start, error, result = time.process_time(), None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "X (has|does not have valid) feature names")
        warnings.simplefilter("always", ClusterCollapseWarning)
        warnings.simplefilter("always", DataConversionWarning)
        try:
            result = function(*args)
        except (ValueError, TypeError, ConvergenceError) as raised:
            check_origin(raised)
            error = raised
    assert time.process_time() - start < SECONDS
    return result, error, {warning.category for warning in caught}


def check_origin(error):
    """An error of ours, or of scikit-learn's validation: not from somewhere within."""
    frames = [f.f_code for f, _ in traceback.walk_tb(error.__traceback__)]
    ours = [code for code in frames if "/deepcluster_sk/" in code.co_filename]
    assert ours
    validation = {"check_data", "_check_by_blocks", "inverse_transform"}
    if frames[-1] != ours[-1] and ours[-1].co_name not in validation:
        raise AssertionError("an error from within") from error


def expect(error, pattern):
    """Fail with the error itself unless it says what it should."""
    if pattern is None or not re.search(pattern, str(error)):
        raise error


def content(data):
    """What a container holds, to be compared with later."""
    array = np.asarray(data)
    return array.dtype, array.shape, array.tolist()


def check_results(model, X, n_rows, pattern=None):
    """All that a fitted model says about data is finite and fits together."""
    said = {}
    before = content(X)
    for method in METHODS:
        if not hasattr(model, method):
            continue
        result, error, _ = attempt(getattr(model, method), X)
        if error is not None:
            expect(error, pattern)
            continue
        said[method] = result
        assert np.isfinite(result).all(), method
        if method == "score":
            continue
        assert len(result) == n_rows, method
        assert result.dtype == (np.int32 if method == "predict" else np.float32), method
    assert content(X) == before
    if "predict" in said:
        labels = said["predict"]
        assert labels.shape == (n_rows,)
        assert 0 <= labels.min() <= labels.max() < model.n_clusters
    if "predict_proba" in said:
        proba = said["predict_proba"]
        assert proba.shape == (n_rows, model.n_clusters)
        assert proba.min() >= 0
        np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
        chosen = proba[np.arange(n_rows), said["predict"]]
        np.testing.assert_allclose(chosen, proba.max(1), rtol=1e-6)
    return said


def same(said, other):
    return said.keys() == other.keys() and all(
        np.array_equal(said[method], other[method]) for method in said
    )


@given(estimators, st.integers(1, 6), cases(), st.sampled_from(sorted(TARGETS)))
@example("DCN", 1, Case("normal", 1, 1, 0, "float32", "reversed"), "none")
def test_fit_gives_a_result_or_a_clear_error(name, k, case, target):
    X, data = as_float32(case), case.data()
    before = content(data)
    model = make(name, k)
    _, error, warned = attempt(model.fit, data, TARGETS[target](case.n))
    assert content(data) == before
    pattern = reasons(model, X)
    if error is not None:
        expect(error, pattern)
        assert not [n for n in vars(model) if n.endswith("_")]
        return
    for row in model.history_:
        assert np.isfinite([v for v in row.values() if not isinstance(v, str)]).all()
    said = check_results(model, data, case.n, pattern)
    assert said["score"] == pytest.approx(-model.objective_, rel=1e-5)
    if is_clusterer(model):
        assert np.array_equal(said["predict"], model.labels_)
        used = len(np.unique(model.labels_))
        assert used == k or ClusterCollapseWarning in warned
    assert not re.search("n_samples|infinity", pattern or "")
    plain = make(name, k)
    assert attempt(plain.fit, X)[1] is None
    assert same(said, check_results(plain, X, case.n, pattern))


@given(estimators, st.sampled_from([0, -20, 10]), cases(n_columns=3))
@example("DCN", 0, Case("normal", 1, 3, 0, "float32", "reversed"))
def test_new_data_gives_a_result_or_a_clear_error(name, exponent, case):
    model, size = fitted(name, exponent)
    X, data = as_float32(case), case.data()
    pattern = None
    if not np.isfinite(X).all():
        pattern = "infinity or a value too large"
    elif np.abs(X).max() > LARGE * min(size, 1):
        pattern = "Scale the data"
    said = check_results(model, data, case.n, pattern)
    assert same(said, check_results(model, X, case.n, pattern))
    if hasattr(model, "inverse_transform") and "transform" in said:
        decoded, error, _ = attempt(model.inverse_transform, said["transform"])
        if error is not None:
            expect(error, pattern)
        else:
            assert np.isfinite(decoded).all()


@given(
    st.sampled_from(["PCX", "PCX-imbalanced"]),
    st.integers(1, 4),
    st.lists(cases(n_columns=3), min_size=1, max_size=3),
)
def test_a_stream_of_any_batches_keeps_a_whole_model(name, k, batches):
    model, largest, unit = make(name, k), 0, 1
    for case in batches:
        X, data = as_float32(case), case.data()
        before = content(data)
        was_fitted = hasattr(model, "net_")
        _, error, _ = attempt(model.partial_fit, data)
        assert content(data) == before
        largest = max(largest, np.abs(X).max())
        pattern = reasons(model, X)
        if not was_fitted:
            unit = np.ptp(X, axis=0).max() or 1
        else:
            # Units are those of the first batch, which a later one may be far from.
            far = largest > 1e4 * unit
            pattern = "infinity|[sS]cale the data" if far else None
        if error is not None:
            expect(error, pattern)
            kept = was_fitted and isinstance(error, ValueError)
            assert hasattr(model, "net_") == kept
            assert kept or not [n for n in vars(model) if n.endswith("_")]
        elif np.isfinite(X).all():
            check_results(model, data, case.n, pattern)


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_is_no_matrix_of_numbers_is_refused(kind):
    for name in SMALL:
        unfitted, (model, _) = make(name, 3), fitted(name)
        for method in ("fit", "partial_fit", "predict", "transform", "score"):
            bound = getattr(unfitted if "fit" in method else model, method, None)
            if bound is None or (kind in SPARSE and unfitted._accepts_sparse):
                continue
            _, error, warned = attempt(bound, refused(kind))
            assert error is not None, (name, method)
            expect(error, REFUSED[kind])
            assert not warned
        assert not [n for n in vars(unfitted) if n.endswith("_")]
        if hasattr(model, "inverse_transform"):
            _, error, _ = attempt(model.inverse_transform, refused(kind, d=2))
            assert error is not None, name
            expect(error, REFUSED[kind])


# Powers of two: not even the last digit may differ.
@pytest.mark.parametrize("exponent", [-100, 100])
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in CLUSTERERS
        if not name.startswith(("Tensorized", "DDC", "Discriminative"))
    ],
)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
@pytest.mark.rounding
def test_scale_does_not_matter_to_methods_that_choose_their_units(name, exponent):
    X = Case("blobs", 30, 3).data().astype(np.float32)
    expected = make(name, 3).fit(X)
    scaled = make(name, 3).fit(np.ldexp(X, exponent))
    assert np.array_equal(scaled.labels_, expected.labels_)
    assert np.array_equal(scaled.predict(np.ldexp(X, exponent)), scaled.labels_)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_digits_that_float32_does_not_have_are_announced(name):
    blobs = Case("blobs").data()
    with pytest.warns(DataConversionWarning, match="too few to tell its rows apart"):
        make(name, 3).fit(blobs + 1e9)
    lost = np.array([[2**60 + i, i] for i in range(9)])
    with pytest.warns(DataConversionWarning, match="sklearn.preprocessing"):
        make(name, 3).fit(lost * [1, 0])
    for told in (blobs, np.full((9, 3), 0.1), lost * [0, 1]):
        assert DataConversionWarning not in attempt(make(name, 3).fit, told)[2]


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_a_graph_without_a_best_cut_is_always_cut_alike():
    X = Case("one-hot", 13, 2, seed=1).data()
    model = make("DeepTransformClustering-deep", 2)
    labels = [model.fit(X).labels_.tolist() for _ in range(8)]
    assert labels == 8 * labels[:1]


@pytest.mark.parametrize(
    "name", ["TensorizedAutoencoder-exact", "DeepTransformClustering"]
)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_many_equal_rows_of_many_features(name):
    X = np.ones((401, 401))
    assert np.isfinite(make(name, 2).fit(X).transform(X)).all()


class FirstBad(Callback):
    """Remember the phase and epoch of the first batch whose loss is not finite."""

    def on_batch_end(self, net, **kwargs):
        loss = net.history[-1, "batches", -1, "train_loss"]
        if not np.isfinite(loss) and not hasattr(self, "when_"):
            self.when_ = net.phase_.name, len(net.history)


@pytest.mark.parametrize("lr", [1e6, 1e30])
@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_divergence_ends_in_the_epoch_in_which_it_begins(name, lr, blobs):
    watch = FirstBad()
    model = clone(SMALL[name]).set_params(
        optimizer="sgd", lr=lr, max_epochs=30, tol=0, callbacks=[watch]
    )
    try:
        model.fit(blobs[0])
    except ConvergenceError as error:
        phase, epoch = watch.when_
        assert f"in phase {phase!r}, epoch {epoch}, the loss term" in str(error)
        assert not [n for n in vars(model) if n.endswith("_")]
    else:  # orthonormal weights, or gradients that are clipped
        assert lr < 1e30
        assert name.startswith("DDC") or name == "TensorizedAutoencoder-linear-gradient"
        assert not hasattr(watch, "when_")
        check_results(model, blobs[0], 90)


class MergeCenters(Callback):
    """As clusters begin to be learned, put all of them in the same place."""

    def on_epoch_begin(self, net, **kwargs):
        if net.phase_.name.startswith("pretrain") or hasattr(self, "done_"):
            return
        self.done_ = True
        module = net.module_
        with torch.no_grad():
            for tensor in (
                getattr(module, "centers", None),
                getattr(module, "projections", None),
                getattr(getattr(module, "output", None), "weight", None),
                getattr(getattr(module, "output", None), "bias", None),
            ):
                if tensor is not None:
                    tensor.copy_(tensor[:1].expand_as(tensor).clone())


@pytest.mark.parametrize("name", [n for n in CLUSTERERS if n in GRADIENT])
def test_clusters_that_fall_together_are_parted_or_announced(name, blobs):
    merge = MergeCenters()
    model = clone(SMALL[name]).set_params(callbacks=[merge])
    if name.startswith("PCX"):
        # Its centroids move by 0.5 % a batch: three batches are not enough to part.
        model.set_params(batch_size=16, max_epochs=60)
    _, error, warned = attempt(model.fit, blobs[0])
    assert error is None
    assert hasattr(merge, "done_")
    used = len(np.unique(model.labels_))
    assert used == 3 or ClusterCollapseWarning in warned
    # From rows that differ, methods that start clusters again get them all back.
    if name.startswith(("DCN", "DDC", "DEC", "IDEC", "PCX", "Discriminative")):
        assert used == 3


@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("n_distinct", [1, 2])
def test_fewer_distinct_rows_than_clusters_is_announced(name, n_distinct):
    X = np.repeat(np.eye(2, 3)[:n_distinct], 20, axis=0)
    model = clone(SMALL[name])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ClusterCollapseWarning)
        model.fit(X)
    assert f"uses {n_distinct} of 3 clusters" in str(caught[-1].message)
    # Equal rows are never told apart.
    assert len(np.unique(model.labels_)) == n_distinct


SCRIPT = """
import hashlib, pickle, sys, warnings
import numpy as np
from instances import SMALL
from sklearn.base import clone

def digest(model, X):
    parts = [model.transform(X), getattr(model, "labels_", np.zeros(0))]
    return hashlib.sha256(b"".join(np.ascontiguousarray(p) for p in parts)).hexdigest()

warnings.simplefilter("ignore")
X = np.load(sys.argv[1])
for name in sys.argv[2:]:
    model = clone(SMALL[name]).fit(X)
    print(name, digest(model, X), digest(pickle.loads(pickle.dumps(model)), X))
    print(name, digest(pickle.load(open(f"{sys.argv[1]}.{name}.pkl", "rb")), X))
"""


def test_another_process_finds_the_same(tmp_path, blobs):
    names = ["DEC", "PCX", "DDC", "TensorizedAutoencoder-exact", "Autoencoder"]
    names += ["SparseSubspaceClustering", "DeepDictionaryClustering-kmeans"]
    path = tmp_path / "X.npy"
    np.save(path, blobs[0])
    scope = {}
    exec(SCRIPT.split("warnings.simplefilter")[0], scope)
    expected = []
    for name in names:
        model = clone(SMALL[name]).fit(blobs[0])
        digest = scope["digest"](model, blobs[0])
        expected += [f"{name} {digest} {digest}", f"{name} {digest}"]
        Path(f"{path}.{name}.pkl").write_bytes(pickle.dumps(model))
    package = Path(deepcluster_sk.__file__).parents[1]
    folders = [str(Path(__file__).parent), str(package)]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.split("\n")[:-1] == expected, result.stderr


@pytest.mark.parametrize("name", ["IDEC", "SparseSubspaceClustering"])
def test_grid_search_in_other_processes_finds_the_same(name, blobs):
    grid = {"n_clusters": [2, 3]}
    here, there = (
        GridSearchCV(SMALL[name], grid, cv=2, n_jobs=n, error_score="raise")
        for n in (1, 2)
    )
    here.fit(blobs[0])
    there.fit(blobs[0])
    scores = [search.cv_results_["mean_test_score"] for search in (here, there)]
    assert np.array_equal(*scores)
    assert np.array_equal(here.predict(blobs[0]), there.predict(blobs[0]))
