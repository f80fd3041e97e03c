import itertools
import math

import numpy as np
import pytest
import torch

from deepcluster_sk.metrics import (
    clustering_accuracy,
    feature_drift,
    objective_mismatch,
)

# --- Clustering accuracy -------------------------------------------------------------


def brute_force_accuracy(y_true, y_pred):
    """Best share over all injective maps from clusters to classes."""
    classes, clusters = sorted(set(y_true)), sorted(set(y_pred))
    classes += [None] * len(clusters)  # a cluster may stay without a class
    best = 0
    for chosen in itertools.permutations(classes, len(clusters)):
        names = dict(zip(clusters, chosen, strict=True))
        pairs = zip(y_true, y_pred, strict=True)
        best = max(best, sum(names[cluster] == label for label, cluster in pairs))
    return best / len(y_true)


@pytest.mark.parametrize("n_classes, n_clusters", [(3, 3), (4, 2), (2, 4), (1, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_matches_brute_force(n_classes, n_clusters, seed):
    rng = np.random.RandomState(seed)
    y_true, y_pred = rng.randint(n_classes, size=12), rng.randint(n_clusters, size=12)
    assert clustering_accuracy(y_true, y_pred) == pytest.approx(
        brute_force_accuracy(y_true.tolist(), y_pred.tolist())
    )


def test_accuracy_ignores_the_names_of_labels():
    y_true = np.array(["cat", "dog", "dog", "eel", "eel", "eel"])
    y_pred = np.array([7, -1, -1, 100, 100, 7])
    assert clustering_accuracy(y_true, y_pred) == pytest.approx(5 / 6)
    assert clustering_accuracy(y_true, y_true) == 1
    assert clustering_accuracy(y_true, np.zeros(6)) == pytest.approx(3 / 6)
    assert isinstance(clustering_accuracy(y_true, y_pred), float)


def test_accuracy_is_symmetric():
    y_true, y_pred = [0, 0, 1, 2, 2], [1, 1, 1, 0, 3]
    assert clustering_accuracy(y_true, y_pred) == clustering_accuracy(y_pred, y_true)


@pytest.mark.parametrize(
    "y_true, y_pred, message",
    [
        ([], [], "0 sample"),
        ([0, 1], [0], "inconsistent numbers of samples"),
        ([[0, 1], [1, 0]], [0, 1], "1d array"),
    ],
)
def test_accuracy_refuses(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        clustering_accuracy(y_true, y_pred)


# --- Objective mismatch --------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_mismatch_recovers_a_polynomial(degree):
    loss = np.linspace(0.5, 3, 30)
    beta = np.array([0.3, -0.7, 0.2, 0.05])[: degree + 1]
    powers = np.stack([loss**i for i in range(degree + 1)])
    mismatch = objective_mismatch(loss, beta @ powers, degree=degree)
    slope = np.mean(sum(i * beta[i] * loss ** (i - 1) for i in range(1, degree + 1)))
    np.testing.assert_allclose(mismatch.coefficients, beta, rtol=1e-9, atol=1e-9)
    assert mismatch.slope == pytest.approx(slope, rel=1e-9)
    assert mismatch.r2 == pytest.approx(1, abs=1e-12)


def test_mismatch_matches_least_squares_on_noise():
    rng = np.random.RandomState(0)
    loss, performance = rng.rand(50), rng.rand(50)
    mismatch = objective_mismatch(loss, performance)
    design = np.stack([np.ones(50), loss, loss**2], axis=1)
    beta = np.linalg.solve(design.T @ design, design.T @ performance)
    residual = performance - design @ beta
    np.testing.assert_allclose(mismatch.coefficients, beta, rtol=1e-6)
    np.testing.assert_allclose(mismatch.predict(loss), design @ beta, rtol=1e-9)
    assert mismatch.slope == pytest.approx(np.mean(beta[1] + 2 * beta[2] * loss))
    r2 = 1 - residual @ residual / np.sum((performance - performance.mean()) ** 2)
    assert mismatch.r2 == pytest.approx(r2)
    assert 0 <= mismatch.r2 < 0.5


def test_mismatch_of_a_loss_that_hardly_moves():
    # Powers of 1000 + [0, 1e-3] are collinear to all digits of a naive fit.
    step = np.linspace(0, 1e-3, 20)
    performance = 0.5 - 100 * step + 2e4 * step**2
    mismatch = objective_mismatch(1000 + step, performance)
    assert mismatch.slope == pytest.approx(np.mean(-100 + 4e4 * step), rel=1e-4)
    assert mismatch.r2 == pytest.approx(1, abs=1e-8)
    np.testing.assert_allclose(mismatch.predict(1000 + step), performance, atol=1e-6)


def test_mismatch_slope_scales_like_a_derivative():
    rng = np.random.RandomState(0)
    loss, performance = rng.rand(20), rng.rand(20)
    mismatch = objective_mismatch(loss, performance)
    scaled = objective_mismatch(10 * loss + 3, 5 * performance - 1)
    assert scaled.slope == pytest.approx(mismatch.slope / 2)
    assert scaled.r2 == pytest.approx(mismatch.r2)


def test_mismatch_of_a_constant_performance():
    mismatch = objective_mismatch([1, 2, 3, 4], [0.5] * 4)
    assert mismatch.slope == pytest.approx(0, abs=1e-12)
    assert math.isnan(mismatch.r2)
    assert mismatch.coefficients.shape == (3,)


def test_mismatch_is_immutable_and_shows_its_figures():
    mismatch = objective_mismatch([1, 2, 3], [3, 2, 1])
    with pytest.raises(AttributeError):
        mismatch.slope = 0
    assert repr(mismatch).startswith("ObjectiveMismatch(slope=-1.0")


@pytest.mark.parametrize(
    "loss, performance, degree, message",
    [
        ([1, 2, 3], [1, 2], 2, "inconsistent numbers of samples"),
        ([1, 2, np.nan], [1, 2, 3], 1, "auxiliary_loss contains NaN"),
        ([1, 2, 3], [1, np.inf, 3], 1, "performance contains NaN or infinity"),
        ([1, 2, 3], [1, 2, 3], 0, "degree must be an integer of at least 1; got 0"),
        ([1, 2, 3], [1, 2, 3], 1.5, "degree must be"),
        ([1, 2, 3], [1, 2, 3], True, "degree must be"),
        ([1, 1, 2, 2], [1, 2, 3, 4], 2, "at least 3 distinct values.*got 2"),
        ([], [], 2, "at least 3 distinct"),
        ([[1, 2], [3, 4]], [1, 2], 1, "1d array"),
    ],
)
def test_mismatch_refuses(loss, performance, degree, message):
    with pytest.raises(ValueError, match=message):
        objective_mismatch(loss, performance, degree=degree)


# --- Feature drift -------------------------------------------------------------------


@pytest.fixture
def module():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
        )


def _output(module):
    return module(torch.linspace(-1, 1, 15).view(5, 3))


def test_drift_is_the_cosine_of_the_gradients(module):
    def loss_a(module):
        return _output(module).square().mean()

    def loss_b(module):
        return _output(module)[:, 0].exp().mean()

    gradients = []
    for loss in (loss_a, loss_b):
        module.zero_grad()
        loss(module).backward()
        gradients.append(
            np.concatenate([p.grad.numpy().ravel() for p in module.parameters()])
        )
    a, b = gradients
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert abs(expected) < 0.99
    drift = feature_drift(module, loss_a(module), loss_b(module))
    assert drift == pytest.approx(expected, rel=1e-5)


def test_drift_ignores_positive_factors_and_follows_signs(module):
    loss = _output(module).square().mean()
    assert feature_drift(module, loss, 1e-3 * loss) == pytest.approx(1)
    assert feature_drift(module, loss, -5 * loss) == pytest.approx(-1)


def test_drift_leaves_grad_and_graph_alone(module):
    first, *others = module.parameters()
    first.grad = torch.full_like(first, 7.0)
    output = _output(module)
    loss = output.square().mean()
    feature_drift(module, loss, output.sum())
    assert (first.grad == 7).all()
    assert all(p.grad is None for p in others)
    loss.backward()  # the graph is still there
    assert all(p.grad is not None for p in others)


def test_drift_counts_unused_parameters_as_zero():
    module = torch.nn.ModuleDict(
        {name: torch.nn.Linear(1, 1, bias=False) for name in "ab"}
    )
    a, b = (module[name].weight.sum() for name in "ab")
    assert feature_drift(module, a, b) == 0
    assert feature_drift(module, a, a + b) == pytest.approx(1 / math.sqrt(2))


def test_drift_ignores_frozen_parameters(module):
    module[0].requires_grad_(False)
    output = _output(module)
    drift = feature_drift(module, output.sum(), output.square().sum())
    frozen = torch.nn.ModuleList([module[2]])
    assert drift == feature_drift(frozen, output.sum(), output.square().sum())


def test_drift_without_a_gradient_is_undefined(module):
    elsewhere = torch.ones(1, requires_grad=True).sum()
    assert math.isnan(feature_drift(module, _output(module).sum(), elsewhere))


def test_drift_refuses(module):
    output = _output(module)
    with pytest.raises(ValueError, match="no parameter that requires"):
        feature_drift(torch.nn.Tanh(), output.sum(), output.sum())
    with pytest.raises(ValueError, match=r"loss_a must be a scalar.*\(5, 2\)"):
        feature_drift(module, output, output.sum())
    with pytest.raises(ValueError, match=r"loss_b must .* requires_grad=False"):
        feature_drift(module, output.sum(), torch.tensor(1.0))
