"""Search for the number of clusters."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.stats import rankdata
from sklearn.base import (
    BaseEstimator,
    ClusterMixin,
    MetaEstimatorMixin,
)
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm.auto import tqdm

from deepcluster_sk._estimator._decorators import available_if, fit_context
from deepcluster_sk._estimator._documentation import DocumentationLinkMixin
from deepcluster_sk.exceptions import warn
from deepcluster_sk.model_selection._criteria import CRITERIA
from deepcluster_sk.model_selection._trials import (
    MAX_SEED,
    Reference,
    make,
    parameter_of,
    run_trial,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Standard deviations of the references by which a partition must be better than they.
# Data without clusters reach 3.3 in 44 draws, fifty rows of three blobs 4.7.
STRUCTURE = 4.0
# What tells structure: both hardly vary among samples, unlike stability. The first
# sees clusters of any shape, the second also those of a few dozen rows.
OF_STRUCTURE = ("neighbors", "silhouette")
# A difference in stability that does not matter.
STABILITY_TOLERANCE = 0.05


def _has_transform(search):
    return hasattr(getattr(search, "best_estimator_", search.estimator), "transform")


class NumberOfClustersSearch(
    DocumentationLinkMixin, MetaEstimatorMixin, ClusterMixin, BaseEstimator
):
    """Search for the number of clusters, without labels.

    Each number is tried on halves of the data, and judged on rows that the fits did
    not see, by how much better it does than on data of the same covariance without
    clusters. That there are no clusters is a possible answer. See the :ref:`user guide
    <number_of_clusters>`.

    Parameters
    ----------
    estimator : estimator
        A clusterer with `predict` and the parameter `n_clusters` (or `n_components`,
        which mixtures have), of any library, or a pipeline that ends in one.
    n_clusters : int or array-like of int, default=(2, 3, 4, 5, 6, 7, 8, 9, 10)
        The candidates, of which 1 always is one. An int k stands for 1 and k.
    criterion : {"stability", "neighbors", "silhouette", "calinski_harabasz", \
            "evidence", "consensus"}, default="stability"
        What decides among two clusters and more:

        - "stability": whether fits to disjoint halves agree on a third part, see
          :func:`~deepcluster_sk.metrics.stability_score`, corrected for the
          reference's. Of all numbers that are as stable as the best, up to 0.05 or a
          standard error of the index, the one that "neighbors" prefers, or the
          smallest that is within a standard error of it [2]_. Needs a clusterer that
          finds its optimum (``n_init``).
        - "neighbors": how many near neighbours are in the same cluster, see
          :func:`~deepcluster_sk.metrics.neighbor_agreement`, minus the reference's.
          Tends to large numbers where clusters touch.
        - "silhouette": minus the reference's. Believes in round clusters.
        - "calinski_harabasz": logarithm of its ratio to the reference's. Believes in
          round clusters.
        - "evidence": of Gaussian clusters in the 10 leading principal axes, and of
          edges between neighbours; minus the reference's.
        - "consensus": the best mean rank by the five.
    n_splits : int, default=5
        Number of random splits into two fifths of the rows, two fifths and a fifth.
    space : {"input", "embedding"}, default="input"
        Where distances are measured: between rows, or between their `transform`.
        Embeddings differ between candidates, and one that contracts more looks better.
    random_state : int, RandomState instance or None, default=None
        Determines the splits, the references, and the `random_state` of the estimator
        and its steps where that is None. Pass an int for the same result at every call.
    n_jobs : int or None, default=None
        Number of joblib workers for the trials, one a number and split. None means 1
        unless in a :obj:`joblib.parallel_backend` context. The result does not depend
        on it.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    n_clusters_ : int
        The number that was found; 1 means no structure.
    n_clusters_by_criterion_ : dict of str to int
        What each criterion would have found.
    best_estimator_ : estimator
        Fitted to all rows, with that number.
    labels_ : ndarray of shape (n_samples,)
        Its labels of the training data.
    cv_results_ : dict of ndarrays of shape (n_candidates,)
        A row for each candidate but 1, in ascending order; NaN where one could not be
        fitted. The columns:

        - "n_clusters", and "mean_fit_time", in seconds;
        - for each criterion but "consensus", here of "stability": "mean_stability" and
          "std_stability" over splits, "mean_reference_stability" and
          "std_reference_stability", the larger ones of the two references, and
          "score_stability", the first corrected for the reference;
        - "score_consensus": minus the mean rank;
        - "structure": by how many standard deviations of the references they are
          surpassed, in near neighbours or the silhouette, whichever is larger.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where all are strings.

    See Also
    --------
    get_scorer : The criteria for `GridSearchCV`, to compare other parameters.
    deepcluster_sk.plotting.NumberOfClustersDisplay : Draws the criteria.

    Notes
    -----
    Data without clusters are drawn twice for each split, from a Gaussian and from a
    uniform box, both of the covariance of X, as in the gap statistic [1]_. The number
    that the criterion prefers is accepted if near neighbours, or the silhouette, are
    better than on these by more than 4 of their standard deviations; otherwise the
    answer is 1.

    The cost is that of ``6 * n_splits`` fits to two fifths of the rows for each
    candidate, of which all criteria are computed (of at most 2000 rows), and of one
    fit to all. Warnings of the trials are not shown, those of the last fit are.

    `y` is not read.

    References
    ----------
    .. [1] R. Tibshirani, G. Walther and T. Hastie. Estimating the number of clusters
       in a data set via the gap statistic. Journal of the Royal Statistical Society B
       63 (2001).
    .. [2] L. Breiman, J. H. Friedman, R. A. Olshen and C. J. Stone. Classification and
       regression trees. Wadsworth, 1984. The rule of one standard error.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from deepcluster_sk.model_selection import NumberOfClustersSearch
    >>> X, _ = make_blobs(300, centers=4, cluster_std=0.5, random_state=3)
    >>> search = NumberOfClustersSearch(KMeans(n_init=5), range(2, 7), random_state=0)
    >>> search.fit(X).n_clusters_
    4
    >>> noise, _ = make_blobs(300, centers=1, random_state=0)
    >>> search.fit(noise).n_clusters_
    1
    """

    _parameter_constraints = {  # noqa: RUF012  scikit-learn's protocol
        "estimator": [HasMethods(["fit", "predict"])],
        "n_clusters": [Interval(Integral, 1, None, closed="left"), "array-like", range],
        "criterion": [StrOptions({*CRITERIA, "consensus"})],
        "n_splits": [Interval(Integral, 2, None, closed="left")],
        "space": [StrOptions({"input", "embedding"})],
        "random_state": ["random_state"],
        "n_jobs": [None, Integral],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any,
        n_clusters: int | ArrayLike = tuple(range(2, 11)),
        *,
        criterion: Literal[
            "stability",
            "neighbors",
            "silhouette",
            "calinski_harabasz",
            "evidence",
            "consensus",
        ] = "stability",
        n_splits: int = 5,
        space: Literal["input", "embedding"] = "input",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_clusters = n_clusters
        self.criterion = criterion
        self.n_splits = n_splits
        self.space = space
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # The estimator inside is validated by its own fit.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find the number of clusters, and fit the estimator with it to all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers; at least five rows.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted search.

        Raises
        ------
        ValueError
            If X or a parameter is refused, or no candidate could be fitted.
        """
        parameter_of(self.estimator)
        candidates = self._candidates()
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=5)
        random_state = check_random_state(self.random_state)
        *seeds, last = random_state.randint(MAX_SEED, size=self.n_splits + 1).tolist()
        self.cv_results_ = self._try(X, candidates, seeds)
        found = {name: self._choose(name) for name in (*CRITERIA, "consensus")}
        self.n_clusters_by_criterion_ = found
        self.n_clusters_ = found[self.criterion]
        self.best_estimator_ = make(self.estimator, self.n_clusters_, last).fit(X)
        labels = getattr(self.best_estimator_, "labels_", None)
        self.labels_ = self.best_estimator_.predict(X) if labels is None else labels
        return self

    def _candidates(self):
        """Distinct numbers of at least two, ascending; 1 needs no trial."""
        given = np.unique(self.n_clusters)
        if (
            not np.issubdtype(given.dtype, np.integer)
            or given.size == 0
            or given[0] < 1
        ):
            raise ValueError(
                "n_clusters must be integers of at least 1. Got "
                f"{self.n_clusters!r} instead."
            )
        return given[given > 1].tolist()

    def _try(self, X, candidates, seeds):
        reference = Reference.of(X)
        trials = Parallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(run_trial)(self.estimator, X, reference, k, self.space, seed)
            for k in candidates
            for seed in seeds
        )
        n_trials = len(candidates) * len(seeds)
        shown = {"total": n_trials, "unit": "trial", "disable": not self.verbose}
        trials = list(tqdm(trials, desc="number of clusters", **shown))
        by_candidate = [
            trials[i : i + len(seeds)] for i in range(0, n_trials, len(seeds))
        ]
        errors = [
            next((trial.error for trial in part if trial.error), "")
            for part in by_candidate
        ]
        if errors and all(errors):
            raise ValueError(f"No candidate could be fitted: {errors[0]}")
        for k, error in zip(candidates, errors, strict=True):
            if error:
                warn(f"{k} clusters could not be fitted: {error}", FitFailedWarning)
        shape = len(candidates), len(seeds)
        values = np.reshape([t.values for t in trials], (*shape, 3, len(CRITERIA)))
        times = np.reshape([trial.fit_time for trial in trials], shape)
        return {
            "n_clusters": np.array(candidates, dtype=int),
            "mean_fit_time": times.mean(axis=1),
            **_summary(values),
        }

    def _choose(self, criterion):
        """The number that a criterion prefers, or 1 if it shows no structure."""
        results = self.cv_results_
        if len(results["n_clusters"]) == 0:
            return 1
        if criterion == "stability":
            best = self._best_of_the_stable()
        else:
            score = results[f"score_{criterion}"]
            if criterion != self.criterion and np.isnan(score).all():
                return 1  # nobody asked for it
            best = int(np.nanargmax(score))
        if results["structure"][best] <= STRUCTURE:
            return 1
        return int(results["n_clusters"][best])

    def _best_of_the_stable(self):
        # All numbers that cut nothing in two are stable, the right one and less.
        neighbors = self.cv_results_["score_neighbors"]
        neighbors = np.where(self._as_stable_as_the_best(), neighbors, -np.inf)
        best = int(neighbors.argmax())
        # What is within the noise is no reason for another cluster.
        error = self.cv_results_["std_neighbors"][best] / np.sqrt(self.n_splits)
        return int(np.argmax(neighbors >= neighbors[best] - error))

    def _as_stable_as_the_best(self):
        results = self.cv_results_
        score = results["score_stability"]
        best = int(np.nanargmax(score))
        error = results["std_stability"][best] / np.sqrt(self.n_splits)
        unexplained = np.maximum(1 - results["mean_reference_stability"], 1e-3)
        return score >= score[best] - max(error, STABILITY_TOLERANCE) / unexplained

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Cluster of each row, by the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Their clusters.
        """
        X = self._validated(X)
        return self.best_estimator_.predict(X)

    @available_if(_has_transform)
    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Embedding of each row, by the best estimator, if it has one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components)
            Whatever `transform` of the estimator returns.
        """
        X = self._validated(X)
        return self.best_estimator_.transform(X)

    @available_if(_has_transform)
    def fit_transform(self, X: ArrayLike, y: object = None) -> NDArray[Any]:
        """Find the number of clusters, and embed the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers; at least five rows.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components)
            What `fit` and then `transform` return.
        """
        return self.fit(X).transform(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if _has_transform(self):
            tags.transformer_tags = get_tags(self.estimator).transformer_tags
        return tags

    def _validated(self, X):
        check_is_fitted(self)
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=False)


def _summary(values):
    """Columns of all criteria, of values (candidates, splits, 3, criteria)."""
    mean, std = values.mean(axis=1), values.std(axis=1)  # (candidates, 3, criteria)
    results = {}
    for i, name in enumerate(CRITERIA):
        reference = mean[:, 1:, i].max(axis=1)
        results[f"mean_{name}"] = mean[:, 0, i]
        results[f"std_{name}"] = std[:, 0, i]
        results[f"mean_reference_{name}"] = reference
        results[f"std_reference_{name}"] = std[:, 1:, i].max(axis=1)
        results[f"score_{name}"] = _corrected(name, mean[:, 0, i], reference)
    ranks = [
        rankdata(-results[f"score_{name}"], method="min", nan_policy="omit")
        for name in CRITERIA
    ]
    results["score_consensus"] = -np.mean(ranks, axis=0)
    results["structure"] = np.max([_surplus(results, n) for n in OF_STRUCTURE], axis=0)
    return results


def _corrected(name, value, reference):
    if name == "stability":  # as an index is corrected for chance
        return (value - reference) / np.maximum(1 - reference, 1e-3)
    if name == "calinski_harabasz":  # has no upper bound
        tiny = np.finfo(np.float64).tiny
        return np.log(np.maximum(value, tiny)) - np.log(np.maximum(reference, tiny))
    return value - reference


def _surplus(results, name):
    """How many standard deviations of the references the data are above them."""
    std = results[f"std_reference_{name}"]
    # Of few splits a deviation may come out too small: not below that of all.
    std = np.maximum(std, np.sqrt(np.nanmean(std**2)) if len(std) else 0)
    surplus = results[f"mean_{name}"] - results[f"mean_reference_{name}"]
    return surplus / np.maximum(std, 1e-9)
