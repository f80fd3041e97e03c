import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from deepcluster_sk.model_selection import NumberOfClustersSearch
from deepcluster_sk.plotting import NumberOfClustersDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def search():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2)) + 9 * np.repeat([[0, 0], [1, 0], [0, 1]], 50, axis=0)
    model = NumberOfClustersSearch(KMeans(n_init=5), [2, 3, 4], random_state=0)
    return model.fit(X)


def test_criteria_are_drawn_and_the_choice_is_marked(search):
    display = NumberOfClustersDisplay.from_estimator(search)
    assert len(display.axes_) == len(display.lines_) == len(display.chosen_) == 5
    results = search.cv_results_
    for name, line in display.lines_.items():
        assert_array_equal(line.get_xdata(), [2, 3, 4])
        assert_array_equal(line.get_ydata(), results[f"mean_{name}"])
        shade = display.bands_[name].get_paths()[0].vertices
        edge = results[f"mean_{name}"] + results[f"std_{name}"]
        assert {*edge} <= {*shade[:, 1]}
    assert {*display.chosen_[0].get_xdata()} == {3}
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == ["without clusters", "data", "chosen: 3"]
    assert display.figure_ is display.axes_[0].figure


def test_no_structure_is_said_and_in_sight(search):
    display = NumberOfClustersDisplay(search.cv_results_, 1).plot(
        criteria=["stability"]
    )
    assert display.axes_[0].get_xlim()[0] < 1
    assert display.legend_.get_texts()[-1].get_text() == "chosen: 1, no structure"


def test_gaps_and_lacks_are_drawn():
    results = {
        "n_clusters": [2, 3, 4],
        "mean_a": [1.0, np.nan, 3.0],
        "std_a": [0.1, np.nan, 0.2],
    }
    display = NumberOfClustersDisplay(results).plot(color="red")
    assert display.chosen_ == []
    assert len(display.axes_[0].get_lines()) == 1
    assert display.lines_["a"].get_color() == "red"


def test_axes_are_used_and_wrong_arguments_refused(search):
    _, axes = plt.subplots(2)
    display = NumberOfClustersDisplay.from_estimator(
        search, criteria=["silhouette", "evidence"], axes=axes
    )
    assert display.axes_[1] is axes[1]
    with pytest.raises(ValueError, match="axes for each of 5 criteria"):
        NumberOfClustersDisplay.from_estimator(search, axes=axes)
    for wrong in (["beauty"], "silhouette", []):
        with pytest.raises(ValueError, match="criteria must be a list of names"):
            NumberOfClustersDisplay.from_estimator(search, criteria=wrong)
    with pytest.raises(AttributeError, match=r"'cv_results_'\. Got KMeans"):
        NumberOfClustersDisplay.from_estimator(KMeans(2).fit([[0.0], [1.0]]))
    with pytest.raises(NotFittedError):
        NumberOfClustersDisplay.from_estimator(NumberOfClustersSearch(KMeans()))
