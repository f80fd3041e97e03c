from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import DBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk.plotting import AgreementDisplay

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)) + 9 * np.eye(3)[np.repeat([0, 1, 2], 20)]
TRUE = np.repeat([0, 1, 2], 20)
ONE_MOVED = np.where(np.arange(60) == 7, 1, TRUE)
LABELS = {
    "random": RNG.integers(3, size=60),
    "true": TRUE,
    "other numbers": (2 - TRUE) * 10,
    "one moved": ONE_MOVED,
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_the_matrix_has_the_rand_index_of_each_pair():
    display = AgreementDisplay(LABELS).plot()
    assert sorted(display.names_) == sorted(LABELS)
    expected = [
        [adjusted_rand_score(LABELS[a], LABELS[b]) for a in display.names_]
        for b in display.names_
    ]
    assert_allclose(display.agreement_, expected, atol=1e-12)
    assert_array_equal(display.im_.get_array(), display.agreement_)
    assert display.text_[0, 0].get_text() == "1.00"
    ticks = [text.get_text() for text in display.axes_[0].get_yticklabels()]
    assert ticks == display.names_
    assert len(display.axes_) == 1 and display.scatter_ is None


def test_those_that_agree_are_next_to_one_another():
    order = AgreementDisplay(LABELS).plot().names_
    assert abs(order.index("true") - order.index("other numbers")) == 1
    assert order.index("random") in (0, 3)


def test_the_agreement_of_a_row_is_the_mean_jaccard_index_of_its_clusters():
    display = AgreementDisplay(LABELS).plot()
    for i in range(len(TRUE)):
        mine = [set(np.flatnonzero(found == found[i])) for found in LABELS.values()]
        index = [len(a & b) / len(a | b) for a, b in combinations(mine, 2)]
        assert display.row_agreement_[i] == pytest.approx(np.mean(index))


def test_disputed_rows_are_named():
    labels = {"true": TRUE, "one moved": ONE_MOVED}
    display = AgreementDisplay(labels, X).plot(marker="s")
    assert_array_equal(display.disputed_, [7])
    assert display.row_agreement_[7] == pytest.approx(1 / 40)
    shown = display.scatter_
    assert_array_equal(shown.get_array(), np.sort(display.row_agreement_)[::-1])
    assert_allclose(shown.get_offsets()[-1], _on_axes(X)[7], atol=1e-8)
    assert display.axes_[1].get_title() == "rows"
    assert display.figure_ is display.axes_[0].figure


def _on_axes(X):
    """Principal coordinates, with the signs of the display."""
    pca = PCA(2).fit(X)
    axes = pca.components_
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1)
    return (X - pca.mean_) @ (axes * np.sign(largest)).T


def test_equal_clusterings_agree_on_all_rows():
    display = AgreementDisplay({"a": TRUE, "b": TRUE + 4}).plot()
    assert_array_equal(display.row_agreement_, 1)
    assert len(display.disputed_) == 0


def test_fitted_estimators_are_compared_on_rows():
    estimators = {
        "k-means": KMeans(3, n_init=1, random_state=0).fit(X[::2]),
        "DBSCAN": DBSCAN(3).fit(X),
    }
    figure, axes = plt.subplots(1, 2)
    display = AgreementDisplay.from_estimators(estimators, X, axes=axes)
    assert display.figure_ is figure
    predicted = estimators["k-means"].predict(X)
    index = adjusted_rand_score(predicted, estimators["DBSCAN"].labels_)
    assert display.agreement_[0, 1] == pytest.approx(index)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"at least two clusterings.* Got 1"):
        AgreementDisplay({"a": TRUE}).plot()
    with pytest.raises(ValueError, match=r"labels\['b'\] must have shape \(60,\)"):
        AgreementDisplay({"a": TRUE, "b": TRUE[:5]}).plot()
    with pytest.raises(ValueError, match=r"X has 5 rows, and labels are of 60"):
        AgreementDisplay({"a": TRUE, "b": TRUE}, X[:5]).plot()
    with pytest.raises(ValueError, match=r"There must be 1 of axes. Got 2"):
        AgreementDisplay({"a": TRUE, "b": TRUE}).plot(axes=plt.subplots(1, 2)[1])
    with pytest.raises(NotFittedError):
        AgreementDisplay.from_estimators({"a": KMeans(), "b": KMeans()}, X)
    with pytest.raises(AttributeError, match=r"method 'predict'. Got PCA"):
        AgreementDisplay.from_estimators({"a": PCA().fit(X), "b": PCA().fit(X)}, X)
