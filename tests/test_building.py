"""A method of one's own is a whole estimator, and written in few lines."""

import ast
import inspect
import pickle
from pathlib import Path

import numpy as np
import own_method
import pytest
from numpy.testing import assert_array_equal
from own_method import OwnMethod
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

SOURCE = Path(own_method.__file__).read_text("utf-8")


@pytest.fixture(scope="module")
def fitted(blobs):
    return OwnMethod(random_state=0, max_epochs=30).fit(blobs[0])


@parametrize_with_checks([OwnMethod()])
def test_check_estimator(estimator, check):
    check(estimator)


def test_it_is_short_and_needs_nothing_private():
    tree = ast.parse(SOURCE)
    # Without docstrings and blank lines.
    code = ast.unparse(ast.Module(tree.body[1:], [])).splitlines()
    assert len([line for line in SOURCE.splitlines()[1:] if line]) <= 60
    assert len([line for line in code if line]) <= 60
    sources = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert sources == {"deepcluster_sk.building"}
    parameters = list(inspect.signature(OwnMethod).parameters)
    assert parameters == ["n_clusters", "latent_dim", "max_epochs", "random_state"]


def test_it_finds_clusters_and_predicts(fitted, blobs):
    X, y = blobs
    assert adjusted_rand_score(y, fitted.labels_) > 0.9
    assert_array_equal(fitted.predict(X), fitted.labels_)
    assert_array_equal(clone(fitted).fit_predict(X), fitted.labels_)
    assert fitted.score(X) == -fitted.objective_
    phases = [row["phase"] for row in fitted.history_]
    assert phases == ["pretrain"] * 30 + ["cluster"] * 30


def test_centers_are_those_of_the_embedding(fitted, blobs):
    X, _ = blobs
    assert fitted.cluster_centers_.shape == (3, 2)
    distance = fitted.transform(X)[:, None] - fitted.cluster_centers_
    assert_array_equal((distance**2).sum(2).argmin(1), fitted.labels_)
    rows = fitted.inverse_transform(fitted.cluster_centers_)
    assert_array_equal(fitted.predict(rows).shape, (3,))


def test_it_pickles(fitted, blobs):
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.transform(blobs[0]), fitted.transform(blobs[0]))
    assert_array_equal(again.cluster_centers_, fitted.cluster_centers_)


def test_what_overflows_gets_no_label(fitted):
    with pytest.raises(ValueError, match="Row 0 of X is beyond float32"):
        fitted.predict(np.full((2, 4), 3e38))
