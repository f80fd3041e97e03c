"""Hartigans' dip, joining by it, and the number of clusters that a method finds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback

import deepcluster_sk
from benchmarks._planted import mixture, structureless
from deepcluster_sk import DCN, DEC, IDEC
from deepcluster_sk.solvers._dip import dip_between, dip_statistic, join_by_dip

SMALL = {
    "latent_dim": 2,
    "hidden_layer_sizes": (8,),
    "pretrain_epochs": 2,
    "max_epochs": 3,
    "random_state": 0,
}


# --- the dip --------------------------------------------------------------------------


def dip_by_linear_programs(x):
    """The definition: the nearest distribution function with its mode at each value."""
    x, counts = np.unique(x, return_counts=True)
    above = np.cumsum(counts) / counts.sum()
    below = above - counts / counts.sum()
    k, best = len(x), np.inf
    # Values of the function at x, of the mode from both sides; then the distance.
    unit = np.eye(k + 2)
    for mode in range(k):
        left, right = unit[: mode + 1], unit[mode + 1 : k + 1]
        rows, bounds = [left[-1] - right[0]], [0.0]

        def near(value, target, rows=rows, bounds=bounds):
            for sign in (1, -1):
                rows.append(sign * value - unit[-1])
                bounds.append(sign * target)

        for i in range(mode + 1):
            near(left[i], below[i])
            if i < mode:
                near(left[i], above[i])
        for i in range(mode, k):
            near(right[i - mode], above[i])
            if i > mode:
                near(right[i - mode], below[i])
        rising = np.diff(left, axis=0) / np.diff(x[: mode + 1])[:, None]
        falling = np.diff(right, axis=0) / np.diff(x[mode:])[:, None]
        slopes = [*-rising[:1], *-np.diff(rising, axis=0)]
        slopes += [*-falling[-1:], *np.diff(falling, axis=0)]
        rows += slopes
        bounds += [0.0] * len(slopes)
        free = [(None, None)] * (k + 1) + [(0, None)]
        best = min(best, linprog(unit[-1], np.array(rows), bounds, bounds=free).fun)
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["distinct", "tied", "two modes"])
def test_the_dip_is_the_distance_to_unimodal_functions(kind, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 14))
    x = rng.integers(0, 6, n).astype(float) if kind == "tied" else rng.normal(size=n)
    if kind == "two modes":
        x[: n // 2] += 4
    expected = max(dip_by_linear_programs(x), 1 / (2 * n))
    assert_allclose(dip_statistic(x), expected, atol=1e-8)


def test_the_dip_has_its_bounds_and_knows_no_unit():
    assert dip_statistic([3.0]) == 0.5
    assert dip_statistic(np.arange(50)) == pytest.approx(1 / 100)
    assert dip_statistic(np.repeat([0.0, 1.0], 50)) == pytest.approx(0.25)
    x = np.random.default_rng(0).normal(size=80)
    assert_allclose(dip_statistic(5 - 3 * x), dip_statistic(x), rtol=1e-9)


def test_under_one_mode_the_dip_falls_with_the_root_of_the_rows():
    rng = np.random.default_rng(0)
    means = [
        np.mean([np.sqrt(n) * dip_statistic(rng.uniform(size=n)) for _ in range(60)])
        for n in (40, 640)
    ]
    assert_allclose(means[1], means[0], rtol=0.15)


# --- joining --------------------------------------------------------------------------


def test_a_small_cluster_is_seen_beside_a_large_one():
    rng = np.random.default_rng(0)
    large, small = rng.normal(size=(2000, 2)), rng.normal((9, 0), size=(30, 2))
    assert_allclose(dip_between(large, small), dip_between(small, large))
    assert dip_between(large, small) > 0.8
    assert dip_between(large[:1000], large[1000:]) < 0.6
    assert dip_between(np.ones((3, 2)), np.ones((5, 2))) == 0


def test_pieces_of_one_cluster_are_joined():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [150, 60, 90])
    X = rng.normal(size=(300, 2)) + 9 * np.eye(3, 2)[y]
    pieces = 4 * y + rng.integers(0, 4, 300)
    joined = join_by_dip(X, pieces, 1.0)
    assert adjusted_rand_score(y, joined) == 1
    assert joined.min() == 0 and joined.max() == 2
    assert_array_equal(join_by_dip(X, pieces, np.inf), 0)
    assert len(np.unique(join_by_dip(X, pieces, -1.0))) == 12
    assert_array_equal(join_by_dip(X, np.full(300, 7), 1.0), 0)


# --- estimators -----------------------------------------------------------------------


@pytest.mark.parametrize("Estimator", [DEC, IDEC, DCN])
def test_the_number_of_clusters_is_found(Estimator):
    X = mixture(3, 3)
    model = Estimator("auto", **SMALL).fit(X)
    assert model.n_clusters_ == 3 == len(model.cluster_centers_)
    assert_array_equal(model.labels_, model.predict(X))
    assert Estimator(4, **SMALL).fit(X).n_clusters_ == 4
    few = Estimator("auto", max_clusters=2, **SMALL).fit(X)
    assert few.n_clusters_ <= 2


@pytest.mark.nightly
def test_planted_numbers_are_found_within_one():
    counts = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
    found = [
        DEC("auto", **SMALL).fit(mixture(200 + i, k)).n_clusters_
        for i, k in enumerate(counts)
    ]
    assert (np.abs(np.subtract(found, counts)) <= 1).sum() >= 8, found


def test_no_structure_is_one_cluster():
    model = DEC("auto", **SMALL).fit(structureless(52))
    assert model.n_clusters_ == 1
    assert_array_equal(model.labels_, 0)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 12])
def test_few_rows_are_one_cluster(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    assert DCN("auto", **SMALL).fit(X).n_clusters_ == 1


def test_all_runs_have_the_same_number():
    X = mixture(2, 4)
    model = DCN("auto", n_init=2, **SMALL).fit(X)
    assert model.n_clusters_ == 4


@parametrize_with_checks([DCN("auto", max_clusters=5, **SMALL)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


class Interrupt(Callback):
    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_a_fit_that_was_interrupted_goes_on_with_its_number(tmp_path):
    X = mixture(3, 3)
    model = DCN("auto", **{**SMALL, "random_state": None}, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[Interrupt()]).fit(X)
    assert list(tmp_path.iterdir())
    assert clone(model).fit(X).n_clusters_ == 3
    assert not list(tmp_path.iterdir())


def test_a_file_holds_the_number(tmp_path):
    X = mixture(3, 3)
    model = IDEC("auto", **SMALL).fit(X)
    model.save(tmp_path / "model.safetensors")
    again = deepcluster_sk.load(tmp_path / "model.safetensors")
    assert again.n_clusters == "auto" and again.n_clusters_ == 3
    assert_array_equal(again.predict(X), model.labels_)


def test_wrong_numbers_are_refused():
    X = np.zeros((5, 2))
    with pytest.raises(ValueError, match="'n_clusters' parameter"):
        DEC("many", **SMALL).fit(X)
    with pytest.raises(ValueError, match="'max_clusters' parameter"):
        DEC("auto", max_clusters=0, **SMALL).fit(X)
