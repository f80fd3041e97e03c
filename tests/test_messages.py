"""What errors say, where it is the library that says it."""

import numpy as np
import pytest
from instances import SMALL
from sklearn.base import clone

TENSORIZED = "TensorizedAutoencoder-exact"
NETWORK, SOLVER = SMALL["DEC"], SMALL["SparseSubspaceClustering"]


@pytest.mark.parametrize("estimator", [NETWORK, SOLVER])
@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_columns_of_words_are_named(estimator, package):
    frame = pytest.importorskip(package).DataFrame(
        {"mass": [1.0, 2, 3, 4], "species": list("abca"), "island": list("xyzx")}
    )
    message = "Not all values are numbers in 'species', 'island'"
    with pytest.raises(ValueError, match=message):
        estimator.fit(frame)


def test_columns_of_dates_are_named():
    pandas = pytest.importorskip("pandas")
    day = pandas.date_range("2020-01-01", periods=4)
    frame = pandas.DataFrame({"mass": [1.0, 2, 3, 4], "day": day})
    with pytest.raises(TypeError, match="Not all values are numbers in 'day'"):
        NETWORK.fit(frame)


def test_missing_values_are_no_words():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"mass": [1.0, np.nan, 3, 4], "length": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        NETWORK.fit(frame)


@pytest.mark.parametrize("method", ["fit", "transform", "predict", "score"])
@pytest.mark.parametrize("estimator", [NETWORK, SOLVER])
def test_an_unknown_argument_is_refused_by_the_method(estimator, method):
    with pytest.raises(TypeError) as refused:
        getattr(estimator, method)(np.eye(4), sample_weight=np.ones(4))
    told = f"{method}() got an unexpected keyword argument 'sample_weight'"
    # No private class that defines the method is named.
    assert str(refused.value) in (told, f"{type(estimator).__name__}.{told}")


@pytest.mark.parametrize("name", ["DEC", "SparseSubspaceClustering", TENSORIZED])
@pytest.mark.parametrize("method", ["fit", "fit_predict", "fit_transform"])
def test_who_passes_weights_is_told_what_to_do(name, method):
    with pytest.raises(TypeError) as refused:
        getattr(SMALL[name], method)(np.eye(4), sample_weight=np.ones(4))
    (note,) = refused.value.__notes__
    assert "Keep each of them with a probability" in note
    # Only who passes weights, and what the note says can be done.
    with pytest.raises(TypeError) as refused:
        SMALL[name].fit(np.eye(4), weight=np.ones(4))
    assert not hasattr(refused.value, "__notes__")
    rng, w = np.random.default_rng(0), np.linspace(0, 2, 60)
    X, model = np.tile(9 * np.eye(3), (20, 1)) + rng.normal(size=(60, 3)), SMALL[name]
    model = clone(model).fit(X[rng.random(len(X)) < w / max(w)])
    assert model.predict(X).shape == (60,)
