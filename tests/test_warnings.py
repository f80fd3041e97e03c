"""Warnings name the line of the user, however that line led to them."""

import doctest
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from instances import CLUSTERERS, SMALL
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.solvers import self_expression

CALLS = {
    "fit": lambda e, X: e.fit(X),
    "fit_predict": lambda e, X: e.fit_predict(X),
    "fit_transform": lambda e, X: e.fit_transform(X),
    "pipeline": lambda e, X: make_pipeline(FunctionTransformer(), e).fit(X),
    "pipeline.fit_transform": lambda e, X: make_pipeline(
        FunctionTransformer(), e
    ).fit_transform(X),
    "partial_fit": lambda e, X: e.partial_fit(X),
}


def equal_rows():
    """Rows that are all equal: at least one cluster of three gets none."""
    return np.full((30, 4), 3.0)


def lost_digits():
    """Seconds since 1970, which differ in digits that float32 has not."""
    noise = np.random.RandomState(0).normal(size=(40, 4))
    return 1.7e9 + noise


def ours(caught):
    kinds = (ClusterCollapseWarning, DataConversionWarning, ConvergenceWarning)
    return [w for w in caught if issubclass(w.category, kinds)]


@pytest.mark.parametrize(
    ("estimator", "call"),
    [
        pytest.param(e, call, id=f"{name}-{call}")
        for name, e in SMALL.items()
        for call in CALLS
        if "pipeline" in call or hasattr(e, call)
    ],
)
def test_warnings_of_fits_name_the_line_that_called(estimator, call):
    seen = set()
    for X in (equal_rows(), lost_digits()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            CALLS[call](clone(estimator), X)
        for warning in ours(caught):
            assert warning.filename == __file__, warning.message
            seen.add(warning.category)
    assert DataConversionWarning in seen


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("TensorizedAutoencoder-exact", "threading"),
        ("TensorizedAutoencoder-exact", "loky"),
        ("DCN", "loky"),
    ],
)
def test_warnings_of_runs_at_once_name_the_line_that_called(name, backend):
    estimator = clone(CLUSTERERS[name]).set_params(n_init=2)
    with (
        joblib.parallel_config(backend, n_jobs=2),
        pytest.warns(ClusterCollapseWarning) as caught,
    ):
        estimator.fit(equal_rows())
    assert {w.filename for w in ours(caught)} == {__file__}


def test_warnings_of_solvers_name_the_line_that_called():
    with pytest.warns(ConvergenceWarning, match="self_expression left") as caught:
        self_expression(np.random.RandomState(0).normal(size=(9, 30)), 1e-13, tol=1e-15)
    assert [w.filename for w in caught] == [__file__]


SCRIPT = """
import numpy
from deepcluster_sk import TensorizedAutoencoder
TensorizedAutoencoder(3, random_state=0).fit(numpy.ones((9, 2)))
"""


@pytest.mark.parametrize("arguments", [[], ["-c"]])
def test_code_that_has_no_file_is_named(arguments):
    given = [*arguments, SCRIPT] if arguments else ["-"]
    done = subprocess.run(
        [sys.executable, *given],
        input=None if arguments else SCRIPT,
        capture_output=True,
        text=True,
        check=True,
    )
    where = "<string>" if arguments else "<stdin>"
    assert f"{where}:4: ClusterCollapseWarning" in done.stderr


DOCTEST = """
>>> import numpy
>>> from deepcluster_sk import TensorizedAutoencoder
>>> TensorizedAutoencoder(3, random_state=0).fit(numpy.ones((9, 2))).n_iter_ > 0
True
"""


def test_doctests_are_named():
    names = {"__name__": "deepcluster_sk.dec"}  # as in the doctests of a module
    test = doctest.DocTestParser().get_doctest(DOCTEST, names, "example", None, 0)
    with pytest.warns(ClusterCollapseWarning) as caught:
        assert doctest.DocTestRunner().run(test).failed == 0
    assert {w.filename for w in ours(caught)} == {"<doctest example[2]>"}
