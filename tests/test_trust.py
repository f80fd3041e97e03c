"""Hard to break: any data gives a result or an error that says what is wrong.

Hypothesis draws an estimator and data. ``--hypothesis-profile=thorough`` looks
for longer, and elsewhere each time; see CONTRIBUTING.md.
"""

import re
import time
import traceback
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from instances import CLUSTERERS, SMALL
from sklearn.base import clone, is_clusterer
from sklearn.exceptions import DataConversionWarning
from trust_cases import REFUSED, TARGETS, Case, cases, refused

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
    return estimator.latent_dim > X.shape[1] and not hasattr(estimator, "architecture")


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
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/deepcluster_sk/" in f.filename]
    assert ours
    validation = {"_check_data", "_check_streamed", "inverse_transform"}
    if frames[-1] != ours[-1] and ours[-1].name not in validation:
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


@given(estimators, st.sampled_from([0, -20, 10]), cases(columns=st.just(3)))
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
    st.lists(cases(columns=st.just(3)), min_size=1, max_size=3),
)
def test_a_stream_of_any_batches_keeps_a_whole_model(name, k, batches):
    model, largest = make(name, k), 0
    for case in batches:
        X, data = as_float32(case), case.data()
        before = content(data)
        was_fitted = hasattr(model, "net_")
        _, error, _ = attempt(model.partial_fit, data)
        assert content(data) == before
        largest = max(largest, np.abs(X).max())
        pattern = reasons(model, X)
        if was_fitted:
            # Units are those of the first batch, which a later one may be far from.
            pattern = "infinity|[sS]cale the data" if largest > 1e4 else None
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
        for method in ("fit", "partial_fit", *METHODS):
            bound = getattr(unfitted if "fit" in method else model, method, None)
            if bound is None:
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
        if not name.startswith(("Tensorized", "DDC", "DeepSubspace", "Discriminative"))
    ],
)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
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
