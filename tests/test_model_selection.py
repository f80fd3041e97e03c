"""The search for the number of clusters, label-free scores and scorers."""

import numpy as np
import pytest
from instances import CHECKED, CLUSTERERS
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics
from sklearn.base import clone
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from benchmarks._planted import mixture, structureless
from deepcluster_sk import TensorizedAutoencoder
from deepcluster_sk.metrics import neighbor_agreement, silhouette, stability_score
from deepcluster_sk.model_selection import NumberOfClustersSearch, get_scorer
from deepcluster_sk.model_selection._trials import Reference

CRITERIA = ("stability", "neighbors", "silhouette", "calinski_harabasz", "evidence")
KMEANS = KMeans(n_init=5)


@pytest.fixture(scope="module")
def three():
    return mixture(3, 3)


@pytest.fixture(scope="module")
def fitted(three):
    return NumberOfClustersSearch(KMEANS, range(2, 6), random_state=0).fit(three)


# --- what is found --------------------------------------------------------------------


@pytest.mark.nightly
def test_planted_numbers_are_found():
    counts = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12)
    found = [
        NumberOfClustersSearch(KMEANS, range(2, 15), random_state=0)
        .fit(mixture(200 + i, k))
        .n_clusters_
        for i, k in enumerate(counts)
    ]
    assert np.equal(found, counts).sum() >= 9, found


@pytest.mark.nightly
def test_no_structure_is_found_where_there_is_none():
    found = [
        NumberOfClustersSearch(KMEANS, random_state=0)
        .fit(structureless(50 + i))
        .n_clusters_
        for i in range(10)
    ]
    assert np.equal(found, 1).sum() >= 9, found


@pytest.mark.parametrize("criterion", [*CRITERIA, "consensus"])
def test_every_criterion_finds_three(three, criterion):
    search = NumberOfClustersSearch(
        KMEANS, range(2, 6), criterion=criterion, n_splits=3, random_state=0
    )
    assert search.fit(three).n_clusters_ == 3
    assert search.n_clusters_by_criterion_[criterion] == 3


def chosen(stability, neighbors, deviation):
    """What "stability" takes of candidates 2, 3, ... with these results."""
    search = NumberOfClustersSearch(KMEANS, n_splits=4)
    search.cv_results_ = {
        "n_clusters": np.arange(2, 2 + len(stability)),
        "score_stability": np.array(stability),
        "std_stability": np.zeros(len(stability)),
        "mean_reference_stability": np.zeros(len(stability)),
        "score_neighbors": np.array(neighbors),
        "std_neighbors": np.full(len(stability), deviation),
        "structure": np.full(len(stability), 9.0),
    }
    return search._choose("stability")


def test_of_stable_numbers_the_smallest_is_taken_that_is_as_good_as_the_best():
    stability = [0.98, 1.0, 0.97, 0.5, np.nan]
    assert chosen(stability, [0.40, 0.50, 0.52, 0.9, np.nan], 0.0) == 4
    assert chosen(stability, [0.40, 0.50, 0.52, 0.9, np.nan], 0.05) == 3
    assert chosen(stability, [0.40, 0.50, 0.52, 0.9, np.nan], 0.3) == 2


@pytest.mark.parametrize("seed", [50, 51])
def test_one_cluster_is_an_answer(seed):
    search = NumberOfClustersSearch(KMEANS, [2, 3, 4], random_state=0)
    X = structureless(seed)
    assert search.fit(X).n_clusters_ == 1
    assert_array_equal(search.labels_, 0)
    assert_array_equal(search.predict(X[:5]), 0)


def test_without_candidates_one_is_left(three):
    search = NumberOfClustersSearch(KMEANS, 1, random_state=0).fit(three)
    assert search.n_clusters_ == 1
    assert {values.shape for values in search.cv_results_.values()} == {(0,)}


@pytest.mark.parametrize("name", sorted(CLUSTERERS.keys() & CHECKED.keys()))
def test_every_clusterer_can_be_searched(name, blobs):
    search = NumberOfClustersSearch(
        CLUSTERERS[name], 3, n_splits=2, random_state=0
    ).fit(blobs[0])
    assert search.n_clusters_ in (1, 3)
    assert len(np.unique(search.labels_)) <= 3
    assert np.isfinite(search.cv_results_["mean_stability"]).all()
    assert search.transform(blobs[0]).shape[0] == len(blobs[0])


def test_every_clusterer_can_have_one_cluster(blobs):
    for estimator in CLUSTERERS.values():
        labels = clone(estimator).set_params(n_clusters=1).fit_predict(blobs[0])
        assert {*labels} <= {0}, estimator


def test_mixtures_and_pipelines_are_searched(three):
    for estimator in (
        GaussianMixture(covariance_type="diag", n_init=5),
        make_pipeline(StandardScaler(), KMEANS),
        make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), KMEANS)),
    ):
        search = NumberOfClustersSearch(estimator, [2, 3], n_splits=2, random_state=0)
        assert search.fit(three).n_clusters_ == 3


def test_codes_can_be_judged(three):
    search = NumberOfClustersSearch(
        TensorizedAutoencoder(), [2, 3], n_splits=2, random_state=0
    )
    in_input = search.fit(three).cv_results_
    in_codes = search.set_params(space="embedding").fit(three).cv_results_
    assert_array_equal(in_input["mean_stability"], in_codes["mean_stability"])
    assert (in_input["mean_silhouette"] != in_codes["mean_silhouette"]).all()


# --- the contract ---------------------------------------------------------------------


@parametrize_with_checks([NumberOfClustersSearch(KMeans(n_init=2), [2, 3], n_splits=2)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_table_has_a_row_for_each_candidate(fitted):
    results = fitted.cv_results_
    assert_array_equal(results["n_clusters"], [2, 3, 4, 5])
    for name in CRITERIA:
        for kind in ("mean", "std", "mean_reference", "std_reference", "score"):
            assert np.isfinite(results[f"{kind}_{name}"]).all()
        assert (results[f"std_{name}"] >= 0).all()
    assert {values.shape for values in results.values()} == {(4,)}
    assert (results["mean_fit_time"] > 0).all()
    assert results["score_consensus"].argmax() == 1


def test_the_best_estimator_predicts(fitted, three):
    best = fitted.best_estimator_
    assert best.n_clusters == fitted.n_clusters_ == 3
    assert_array_equal(fitted.labels_, best.labels_)
    assert_array_equal(fitted.predict(three), best.predict(three))
    assert_array_equal(fitted.transform(three), best.transform(three))
    assert not hasattr(NumberOfClustersSearch(GaussianMixture()), "transform")


def test_two_workers_give_the_same_result(fitted, three):
    other = clone(fitted).set_params(n_jobs=2).fit(three)
    for name, values in fitted.cv_results_.items():
        if name != "mean_fit_time":
            assert_array_equal(values, other.cv_results_[name])
    assert_array_equal(fitted.labels_, other.labels_)


def test_labels_are_not_read(fitted, three):
    other = clone(fitted).fit(three, [object()] * len(three))
    assert_array_equal(
        other.cv_results_["mean_stability"], fitted.cv_results_["mean_stability"]
    )
    for criterion in CRITERIA:
        scorer = get_scorer(criterion)
        assert scorer(fitted, three, [object()] * len(three)) == scorer(fitted, three)


def test_seeds_of_the_estimator_are_kept(three):
    search = NumberOfClustersSearch(
        KMeans(n_init=1, random_state=7), [2, 3], n_splits=2
    ).fit(three)
    assert search.best_estimator_.random_state == 7
    assert isinstance(
        NumberOfClustersSearch(KMEANS, [2, 3], n_splits=2)
        .fit(three)
        .best_estimator_.random_state,
        int,
    )


def test_what_cannot_be_fitted_is_a_row_of_nan(three):
    search = NumberOfClustersSearch(KMEANS, [3, 500], n_splits=2, random_state=0)
    with pytest.warns(FitFailedWarning, match="500 clusters could not be fitted"):
        search.fit(three)
    assert search.n_clusters_ == 3
    for name in CRITERIA:
        assert_array_equal(np.isnan(search.cv_results_[f"mean_{name}"]), [False, True])
    with pytest.raises(ValueError, match="No candidate could be fitted: ValueError"):
        search.set_params(n_clusters=500).fit(three)


def test_wrong_arguments_are_refused(three):
    with pytest.raises(ValueError, match="integers of at least 1"):
        NumberOfClustersSearch(KMEANS, [2.5]).fit(three)
    with pytest.raises(ValueError, match="integers of at least 1"):
        NumberOfClustersSearch(KMEANS, []).fit(three)
    with pytest.raises(ValueError, match="'estimator' parameter"):
        NumberOfClustersSearch(AgglomerativeClustering()).fit(three)
    with pytest.raises(ValueError, match="needs a clusterer"):
        NumberOfClustersSearch(StandardScalerWithPredict()).fit(three)
    with pytest.raises(ValueError, match="'criterion' parameter"):
        NumberOfClustersSearch(KMEANS, criterion="accuracy").fit(three)
    with pytest.raises(NotFittedError):
        NumberOfClustersSearch(KMEANS).predict(three)


class StandardScalerWithPredict(StandardScaler):
    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def test_progress_is_shown(three, capsys):
    search = NumberOfClustersSearch(KMEANS, [2, 3], n_splits=2, random_state=0)
    search.fit(three)
    assert capsys.readouterr().err == ""
    search.set_params(verbose=1).fit(three)
    assert "4/4" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(500, 3), (20, 50)])
def test_references_have_the_covariance_of_the_data(shape):
    rng = np.random.default_rng(0)
    X = 5 + rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1]))
    for drawn in Reference.of(X).draw(200_000, np.random.RandomState(0)):
        scale = np.abs(np.cov(X.T)).max()
        assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.02 * scale)
        expected = np.cov(X.T, bias=True)
        assert_allclose(np.cov(drawn.T, bias=True), expected, atol=0.03 * scale)


# --- scores ---------------------------------------------------------------------------


def test_the_silhouette_of_all_rows_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(200, 3)), rng.integers(0, 4, 200)
    labels[0] = 9  # a cluster of one
    expected = metrics.silhouette_score(X, labels)
    assert_allclose(silhouette(X, labels), expected)
    assert_allclose(silhouette(X, labels, sample_size=None), expected)
    sampled = [silhouette(X, labels, sample_size=50, random_state=s) for s in range(80)]
    assert_allclose(np.mean(sampled), expected, atol=0.01)
    assert len({*sampled}) > 1
    assert silhouette(np.zeros((4, 1)), [0, 0, 1, 1]) == 0
    with pytest.raises(ValueError, match="at least 2 clusters"):
        silhouette(X, np.zeros(200))


def test_agreement_of_neighbors_is_corrected_for_chance():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2))
    labels = rng.choice(3, 1000, p=[0.7, 0.2, 0.1])
    assert abs(neighbor_agreement(X, labels)) < 0.02
    assert neighbor_agreement(X + 100 * labels[:, None], labels) == 1
    assert 0.5 < neighbor_agreement(X, X[:, 0] > 0) < 1
    assert neighbor_agreement(X, np.zeros(1000)) == 0
    some = neighbor_agreement(X, X[:, 0] > 0, sample_size=300, random_state=0)
    assert_allclose(some, neighbor_agreement(X, X[:, 0] > 0), atol=0.05)


def test_equal_rows_are_neighbors_but_not_their_own():
    X = np.repeat([[0.0], [1.0]], 20, axis=0)
    labels = np.r_[np.arange(20) % 2, np.arange(20) % 2]
    assert_allclose(
        neighbor_agreement(X, labels, n_neighbors=3, sample_size=None),
        neighbor_agreement(X, 1 - labels, n_neighbors=3, sample_size=None),
    )
    assert neighbor_agreement(X, labels, n_neighbors=19) < 0.01
    assert neighbor_agreement([[0.0], [1.0]], [0, 1]) == 0  # as all pairs


def test_stability_is_that_of_the_right_number(three):
    model = KMeans(3, n_init=5, random_state=0)
    assert stability_score(model, three, random_state=0) > 0.98
    assert stability_score(clone(model).set_params(n_clusters=6), three) < 0.9
    assert not hasattr(model, "labels_")
    with pytest.raises(ValueError, match="minimum of 5"):
        stability_score(model, three[:4])


# --- scorers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CRITERIA)
def test_scorers_work_in_grid_searches(name, three):
    grid = {"n_clusters": [3, 6]}
    search = GridSearchCV(
        KMeans(n_init=5, random_state=0), grid, scoring=get_scorer(name), cv=2
    )
    search.fit(three)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["n_clusters"] == 3


def test_scorers_know_their_names():
    with pytest.raises(ValueError, match="'name' parameter"):
        get_scorer("accuracy")


def test_a_scorer_can_look_at_codes(three):
    model = KMeans(3, n_init=5, random_state=0).fit(three)
    value = get_scorer("silhouette", space="embedding")(model, three)
    expected = metrics.silhouette_score(model.transform(three), model.labels_)
    assert_allclose(value, expected)
