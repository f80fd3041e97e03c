"""Fits to halves of the data, and of data of the same covariance without clusters."""

from time import perf_counter
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk.metrics import disjoint_parts
from deepcluster_sk.model_selection._criteria import (
    CRITERIA,
    MAX_ROWS,
    OF_A_PARTITION,
    in_space,
    judge,
)
from deepcluster_sk.solvers._warnings import ignored_warnings

MAX_SEED = np.iinfo(np.int32).max


class Reference(NamedTuple):
    """Mean and principal axes of the data, from which data without clusters are drawn.

    Two kinds, since neither stands for all: a Gaussian has no corners, but a uniform
    box has, and cuts between them are stable.
    """

    mean: np.ndarray  # (d,)
    axes: np.ndarray  # (r, d), as long as the deviation along them
    dtype: np.dtype

    @classmethod
    def of(cls, X):
        """Measure the data."""
        mean = X.mean(axis=0, dtype=np.float64)
        _, lengths, axes = np.linalg.svd(X - mean, full_matrices=False)
        return cls(mean, lengths[:, None] * axes / np.sqrt(len(X)), X.dtype)

    def draw(self, n_samples, random_state):
        """Two tables of shape (n_samples, d): Gaussian, and uniform in a box."""
        shape, edge = (n_samples, len(self.axes)), np.sqrt(3)
        for rows in (
            random_state.normal(size=shape),
            random_state.uniform(-edge, edge, shape),
        ):
            yield (self.mean + rows @ self.axes).astype(self.dtype)


class Trial(NamedTuple):
    """What one number of clusters showed on one split."""

    values: np.ndarray  # (3, criteria): of the data, and of both references
    fit_time: float  # seconds, mean of the fits to halves of the data
    error: str  # of what could not be fitted


def parameter_of(estimator):
    """Name of the parameter that is the number of clusters, in the last step."""
    prefix, last = "", estimator
    while hasattr(last, "steps"):
        name, last = last.steps[-1]
        prefix += f"{name}__"
    known = last.get_params() if hasattr(last, "get_params") else {}
    for name in ("n_clusters", "n_components"):  # mixtures have the latter
        if name in known and hasattr(last, "predict"):
            return prefix + name
    raise ValueError(
        "NumberOfClustersSearch needs a clusterer with the method 'predict' and the "
        f"parameter 'n_clusters', or a pipeline that ends in one. Got {estimator!r}."
    )


def make(estimator, n_clusters, seed):
    """A clone with that many clusters; seeds that are None are set."""
    estimator = clone(estimator)
    unset = {
        name: seed
        for name, value in estimator.get_params().items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    return estimator.set_params(**{parameter_of(estimator): n_clusters}, **unset)


def run_trial(estimator, X, reference, n_clusters, space, seed):
    """Fit to halves of the data and of both references, and judge the fits.

    All numbers of clusters get the same halves and references from the same seed.

    Parameters
    ----------
    estimator : estimator
    X : ndarray of shape (n_samples, n_features)
    reference : Reference
    n_clusters : int
    space : {"input", "embedding"}
    seed : int

    Returns
    -------
    trial : Trial
        With NaN where an estimator refused.
    """
    random_state = np.random.RandomState(seed)
    parts = disjoint_parts(len(X), random_state)
    seeds = random_state.randint(MAX_SEED, size=2)
    values, times = np.full((3, len(CRITERIA)), np.nan), []
    try:
        # Three hundred fits would say three hundred times what the last one will say.
        with ignored_warnings(Warning):
            for i, table in enumerate([X, *reference.draw(len(X), random_state)]):
                models = []
                for part, model_seed in zip(parts, seeds, strict=False):
                    start = perf_counter()
                    model = make(estimator, n_clusters, int(model_seed))
                    models.append(model.fit(table[part]))
                    times.append(perf_counter() - start)
                values[i] = _judge_pair(models, table, parts, n_clusters, space)
    except Exception as error:  # whatever it is, the other candidates go on
        return Trial(
            np.full_like(values, np.nan), np.nan, f"{type(error).__name__}: {error}"
        )
    return Trial(values, float(np.mean(times[:2])), "")


def _judge_pair(models, X, parts, n_clusters, space):
    """Criteria of two fits, each on rows that it did not see."""
    first, second, third = parts
    agreement = adjusted_rand_score(*(model.predict(X[third]) for model in models))
    found = []
    for model, other in zip(models, (second, first), strict=True):
        rows = X[np.concatenate([third, other])[:MAX_ROWS]]
        labels, Z = np.asarray(model.predict(rows)), in_space(model, rows, space)
        found.append([judge(name, Z, labels, n_clusters) for name in OF_A_PARTITION])
    return [agreement, *np.mean(found, axis=0)]
