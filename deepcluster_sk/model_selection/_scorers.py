"""Criteria as scorers of scikit-learn's searches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _num_samples

from deepcluster_sk._estimator._decorators import validate_params
from deepcluster_sk.model_selection._criteria import (
    CRITERIA,
    MAX_ROWS,
    in_space,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _score(estimator, X, y=None, *, criterion, space):
    rows = np.arange(min(_num_samples(X), MAX_ROWS))
    if criterion == "stability":
        return _stability(estimator, X)
    X = _safe_indexing(X, rows)
    labels = np.asarray(estimator.predict(X))
    n_clusters = len(np.unique(labels))
    return judge(criterion, in_space(estimator, X, space), labels, n_clusters)


def _stability(estimator, X):
    order = np.random.RandomState(0).permutation(_num_samples(X))
    half, rest = (_safe_indexing(X, part) for part in np.array_split(order, 2))
    other = clone(estimator).fit(half)
    return float(adjusted_rand_score(estimator.predict(rest), other.predict(rest)))


@validate_params(
    {
        "name": [StrOptions(set(CRITERIA))],
        "space": [StrOptions({"input", "embedding"})],
    },
    prefer_skip_nested_validation=True,
)
def get_scorer(
    name: Literal[
        "stability", "silhouette", "calinski_harabasz", "neighbors", "evidence"
    ],
    *,
    space: Literal["input", "embedding"] = "input",
) -> Callable[..., Any]:
    """A scorer that reads no labels, for `GridSearchCV` and its like.

    Parameters
    ----------
    name : {"stability", "silhouette", "calinski_harabasz", "neighbors", "evidence"}
        What is computed of held-out rows, the higher the better:

        - "stability": adjusted Rand index, in [-0.5, 1], between the fitted estimator
          and a clone fitted to half of the held-out rows, on the other half. Costs
          another fit.
        - "silhouette": in [-1, 1], see :func:`deepcluster_sk.metrics.silhouette`.
        - "calinski_harabasz": at least 0, see
          :func:`sklearn.metrics.calinski_harabasz_score`.
        - "neighbors": at most 1, see
          :func:`deepcluster_sk.metrics.neighbor_agreement`.
        - "evidence": log-evidence per row of Gaussian clusters, and of a graph of
          neighbours with edges within clusters; without bounds.

        All but the first are computed of at most 2000 rows, which bounds their cost.
    space : {"input", "embedding"}, default="input"
        Whether distances are those of the rows or of their `transform`. Values in
        embeddings of different estimators are hard to compare: the one that
        contracts the most looks best.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)`` returns a float; y is not read.

    Raises
    ------
    ValueError
        If the name is not known.

    See Also
    --------
    NumberOfClustersSearch : Corrects for what data without clusters show; only so
        can numbers of clusters be compared fairly.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from deepcluster_sk.model_selection import get_scorer
    >>> X, _ = load_iris(return_X_y=True)
    >>> search = GridSearchCV(
    ...     KMeans(3, random_state=0),
    ...     {"init": ["random", "k-means++"]},
    ...     scoring=get_scorer("silhouette"),
    ... )
    >>> search.fit(X).cv_results_["mean_test_score"].shape
    (2,)
    """
    return partial(_score, criterion=name, space=space)
