"""Mixtures side by side, against scikit-learn's, one at a time."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from deepcluster_sk.solvers import _mixture
from deepcluster_sk.solvers._mixture import Mixtures, Prior

K, N_STEPS, N_STARTS = 4, 7, 3


@pytest.fixture
def rows():
    """Four clusters of different shapes, 300 x 3, not centred."""
    rng = np.random.default_rng(0)
    parts = [
        rng.normal(size=(75, 3)) @ rng.normal(size=(3, 3)) + 3 * rng.normal(size=3)
        for _ in range(K)
    ]
    return np.concatenate(parts) + 5


def one_row_each(rows, seed):
    """What scikit-learn's init_params="random_from_data" draws."""
    share = torch.zeros(len(rows), K, dtype=torch.double)
    chosen = np.random.RandomState(seed).choice(len(rows), K, replace=False)
    share[chosen, np.arange(K)] = 1
    return share


def prior_of(rows):
    """The prior, and the words in which scikit-learn is told the same."""
    mean, scale = rows.mean(0), 20 * np.cov(rows.T)
    prior = Prior(torch.from_numpy(mean), 0.1, torch.from_numpy(scale), 8.0, 2.0)
    words = {
        "mean_prior": mean,
        "mean_precision_prior": prior.mean_precision,
        "covariance_prior": scale,
        "degrees_of_freedom_prior": prior.degrees_of_freedom,
        "weight_concentration_prior": prior.concentration,
        "weight_concentration_prior_type": "dirichlet_distribution",
    }
    return prior, words


def side_by_side(rows, n_steps=N_STEPS):
    """Mixtures after some steps, and their bounds."""
    starts = [one_row_each(rows, seed) for seed in range(N_STARTS)]
    mixtures = Mixtures(torch.from_numpy(rows), prior_of(rows)[0], starts)
    for _ in range(n_steps):
        entropy = mixtures.step()
    return mixtures, mixtures.bound(entropy)


@pytest.mark.rounding
def test_each_mixture_is_that_of_sklearn(rows):
    mixtures, bounds = side_by_side(rows)
    labels = mixtures.predict(torch.from_numpy(rows))
    for seed in range(N_STARTS):
        reference = BayesianGaussianMixture(
            n_components=K,
            **prior_of(rows)[1],
            reg_covar=0,
            max_iter=N_STEPS,
            tol=0,
            init_params="random_from_data",
            random_state=seed,
        )
        with pytest.warns(ConvergenceWarning):
            reference.fit(rows)
        for name in ("means", "covariances"):
            found = getattr(mixtures, name)[:, seed]
            np.testing.assert_allclose(found, getattr(reference, f"{name}_"))
        assert bounds[seed].item() == pytest.approx(reference.lower_bound_)
        np.testing.assert_array_equal(labels[seed], reference.predict(rows))


@pytest.mark.rounding
def test_blocks_of_rows_change_nothing(rows, monkeypatch):
    whole, bounds = side_by_side(rows)
    monkeypatch.setattr(_mixture, "BLOCK_VALUES", 400)
    monkeypatch.setattr(_mixture, "BLOCK_ROWS", 1)
    parts, bounds_of_parts = side_by_side(rows)
    assert len(parts._blocks(parts.X)) > 10
    torch.testing.assert_close(parts.means, whole.means)
    torch.testing.assert_close(bounds_of_parts, bounds)


def test_the_bound_never_falls(rows):
    mixtures, bound = side_by_side(rows, n_steps=1)
    for _ in range(30):
        before, bound = bound, mixtures.bound(mixtures.step())
        assert (bound - before).min() > -1e-8


@pytest.mark.rounding
def test_the_one_kept_goes_on_as_it_would_have(rows):
    kept, _ = side_by_side(rows)
    kept.keep(1)
    entropy = kept.step()
    whole, bounds = side_by_side(rows, N_STEPS + 1)
    torch.testing.assert_close(kept.means, whole.means[:, 1:2])
    torch.testing.assert_close(kept.bound(entropy), bounds[1:2])


def test_an_empty_cluster_stays_finite(rows):
    start = torch.zeros(len(rows), K, dtype=torch.double)
    start[:, 0] = 1
    mixtures = Mixtures(torch.from_numpy(rows), prior_of(rows)[0], [start])
    bound = mixtures.bound(mixtures.step())
    assert bound.isfinite().all()
    assert mixtures.covariances.isfinite().all()
