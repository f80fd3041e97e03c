"""Which partition is the best, without labels."""

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import trapezoid
from scipy.stats import invgamma, multivariate_t, norm
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import mutual_info_score

from deepcluster_sk.solvers._neighbor_graph import fuzzy_neighbor_graph
from deepcluster_sk.solvers._partitions import (
    best_partition,
    conductance,
    edge_information,
    gaussian_evidence,
)


def random_graph(n=12, seed=0, density=0.4):
    """Symmetric weights without a diagonal, and labels of three clusters."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < density), 1)
    return sparse.csr_array(upper + upper.T), rng.integers(0, 3, n)


# --- evidence of Gaussians ------------------------------------------------------------


def prior(X, k):
    """Degrees of freedom, strength of the mean, centre and scatter."""
    p = X.shape[1]
    return p + 2, 0.1, X.mean(0), np.diag(X.var(0) * k ** (-2 / p))


def by_predictions(X, labels, k):
    """The same, as the product of what each row is given those before it."""
    n, p = X.shape
    total = 0.0
    for j in np.unique(labels):
        freedom, strength, center, scatter = prior(X, k)
        rows = X[labels == j]
        for x in rows:
            df = freedom - p + 1
            shape = scatter * (strength + 1) / (strength * df)
            total += multivariate_t(center, shape, df).logpdf(x)
            shift = x - center
            scatter = scatter + strength / (strength + 1) * np.outer(shift, shift)
            center = center + shift / (strength + 1)
            strength, freedom = strength + 1, freedom + 1
        total += len(rows) * np.log(len(rows) / n)
    return total / n


@pytest.mark.parametrize("p", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 3, 4])  # of four clusters one is empty
def test_evidence_is_the_product_of_predictions(p, k):
    rng = np.random.default_rng(p)
    X = rng.normal(size=(14, p)) * rng.uniform(0.1, 10, p)
    labels = rng.permutation(np.arange(14) % min(k, 3))
    expected = by_predictions(X, labels, k)
    assert gaussian_evidence(X, labels, k) == pytest.approx(expected, rel=1e-9)


def test_evidence_is_the_integral_over_means_and_variances():
    X = np.array([[0.3], [-1.0], [0.9]])
    freedom, strength, center, scatter = prior(X, 1)
    # In logarithms of the variance, and in deviations of the mean.
    log_variance, deviation = np.linspace(-8, 12, 2001), np.linspace(-40, 40, 4001)
    v = np.exp(log_variance)[:, None]
    mean = center[0] + deviation * v**0.5
    density = norm(center[0], (v / strength) ** 0.5).pdf(mean)
    density *= invgamma(freedom / 2, scale=scatter[0, 0] / 2).pdf(v)
    for x in X[:, 0]:
        density *= norm(mean, v**0.5).pdf(x)
    of_variance = trapezoid(density, deviation) * v[:, 0] ** 1.5
    integral = trapezoid(of_variance, log_variance)
    found = gaussian_evidence(X, np.zeros(3, int), 1)
    assert found == pytest.approx(np.log(integral) / 3, abs=1e-5)


def test_evidence_of_constant_rows_is_finite():
    for X in (np.ones((5, 2)), np.column_stack([np.ones(5), np.arange(5.0)])):
        assert np.isfinite(gaussian_evidence(X, np.array([0, 0, 1, 1, 1]), 3))


# --- graphs ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_information_of_edges_is_that_of_their_ends(seed):
    W, labels = random_graph(seed=seed)
    W.data[:] = 1
    i, j = W.tocoo().coords
    expected = mutual_info_score(labels[i], labels[j])
    assert edge_information(W, labels, 4) == pytest.approx(expected, abs=1e-12)


def test_information_counts_weights_as_edges():
    W, labels = random_graph()
    W.data = np.round(5 * W.data)
    i, j = (np.repeat(c, W.tocoo().data.astype(int)) for c in W.tocoo().coords)
    expected = mutual_info_score(labels[i], labels[j])
    assert edge_information(W, labels, 3) == pytest.approx(expected, abs=1e-12)


def test_information_of_perfect_clusters_is_their_entropy():
    W = sparse.csr_array(np.kron(np.eye(3), 1 - np.eye(4)))
    labels = np.repeat([0, 1, 2], 4)
    assert edge_information(W, labels, 3) == pytest.approx(np.log(3))
    assert edge_information(W, np.zeros(12, int), 3) == pytest.approx(0)


def test_conductance_by_hand():
    # A path of four rows; the edge in the middle is cut.
    W = sparse.csr_array(np.diag([1.0, 0.5, 2.0], 1) + np.diag([1.0, 0.5, 2.0], -1))
    labels = np.array([0, 0, 1, 1])
    assert conductance(W, labels, 2) == pytest.approx((0.5 / 2.5 + 0.5 / 4.5) / 2)
    assert conductance(W, labels, 3) == conductance(W, labels, 2)
    assert conductance(W, np.zeros(4, int), 1) == 0
    assert conductance(W, np.arange(4), 4) == 1


def test_numbers_of_clusters_do_not_matter():
    W, labels = random_graph()
    X = np.random.default_rng(0).normal(size=(12, 2))
    order = np.array([3, 1, 0, 2])
    for score, data in (
        (gaussian_evidence, X),
        (edge_information, W),
        (conductance, W),
    ):
        expected = score(data, labels, 4)
        assert score(data, order[labels], 4) == pytest.approx(expected, abs=1e-12)


# --- the choice -----------------------------------------------------------------------


def worse(y, k, rng):
    """Partitions that merge and cut, move a part of the rows, or know nothing."""
    merged = np.where(y == k - 1, 0, y)
    merged[rng.permutation(np.flatnonzero(y == 0))[: (y == 0).sum() // 2]] = k - 1
    moved = np.where(rng.random(len(y)) < 0.2, (y + 1) % k, y)
    return [merged, moved, rng.integers(0, k, len(y))]


@pytest.mark.parametrize("seed", range(4))
def test_the_planted_partition_is_the_best(seed):
    rng = np.random.default_rng(seed)
    mixture = make_blobs(240, 5, centers=4, cluster_std=1.5, random_state=seed)
    rings = make_circles(240, factor=0.4, noise=0.03, random_state=seed)
    for (X, y), k in ((mixture, 4), (rings, 2)):
        W = fuzzy_neighbor_graph(X, 10)
        candidates = [*worse(y, k, rng), y]
        assert best_partition(candidates, X, W, k, 10) == 3
        assert best_partition(candidates[::-1], X, W, k, 10) == 0
        again = [rng.permutation(k)[labels] for labels in candidates]
        assert best_partition(again, X, W, k, 10) == 3


def test_rings_are_better_than_the_halves_of_kmeans():
    X, y = make_circles(300, factor=0.4, noise=0.03, random_state=0)
    halves = (X[:, 0] > 0).astype(int)
    assert best_partition([halves, y], X, fuzzy_neighbor_graph(X, 15), 2, 15) == 1


def test_all_clusters_are_used_where_some_partition_does():
    X = np.random.default_rng(0).normal(size=(200, 3))
    W = fuzzy_neighbor_graph(X, 10)
    alone = np.zeros(200, int)
    cut = (X[:, 0] > 0).astype(int)
    assert gaussian_evidence(X, alone, 2) > gaussian_evidence(X, cut, 2)
    assert best_partition([alone, cut], X, W, 2, 10) == 1
    assert best_partition([alone, alone], X, W, 2, 10) == 0
