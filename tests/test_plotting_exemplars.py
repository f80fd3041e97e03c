import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from deepcluster_sk import DEC, PCX, Autoencoder
from deepcluster_sk.plotting import ExemplarDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def fit(X, **params):
    model = PCX(3, latent_dim=2, hidden_layer_sizes=(8,), random_state=0, **params)
    return model.set_params(pretrain_epochs=2, max_epochs=1, lr=1e-4).fit(X)


def test_images_show_the_exemplars_on_one_scale():
    rng = np.random.RandomState(0)
    model = fit(rng.rand(30, 12), image_shape=(1, 3, 4))
    display = ExemplarDisplay.from_estimator(model)
    assert len(display.axes_) == 3
    counts = np.bincount(model.labels_, minlength=3)
    for k, ax in enumerate(display.axes_):
        (image,) = ax.get_images()
        assert_array_equal(image.get_array(), model.exemplars_[k].reshape(3, 4))
        assert image.get_clim() == (model.exemplars_.min(), model.exemplars_.max())
        assert ax.get_title() == f"cluster {k} ({counts[k]})"
    assert display.figure_.axes == list(display.axes_)


def test_colours_have_their_channels_last():
    exemplars = np.random.RandomState(0).rand(2, 3 * 2 * 4)
    display = ExemplarDisplay(exemplars, image_shape=(3, 2, 4)).plot()
    drawn = display.axes_[1].get_images()[0].get_array()
    assert drawn.shape == (2, 4, 3)
    expected = (exemplars - exemplars.min()) / np.ptp(exemplars)
    np.testing.assert_allclose(
        drawn, expected[1].reshape(3, 2, 4).transpose(1, 2, 0), atol=1e-12
    )


def test_profiles_have_names():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.RandomState(0).rand(30, 2), columns=["mass", "length"])
    model = fit(X)
    ax = plt.subplots()[1]
    display = ExemplarDisplay.from_estimator(model, axes=ax)
    assert display.axes_[0] is ax and display.figure_ is ax.figure
    assert [t.get_text() for t in ax.get_xticklabels()] == ["mass", "length"]
    for line, exemplar in zip(ax.get_lines(), model.exemplars_, strict=True):
        assert_array_equal(line.get_ydata(), exemplar)


def test_many_features_are_a_map():
    exemplars = np.arange(3 * 21.0).reshape(3, 21)
    display = ExemplarDisplay(exemplars, counts=[5, 4, 3]).plot()
    (ax,) = display.axes_
    assert not ax.get_lines()
    assert_array_equal(ax.get_images()[0].get_array(), exemplars)
    titles = [tick.get_text() for tick in ax.get_yticklabels()]
    assert titles == ["cluster 0 (5)", "cluster 1 (4)", "cluster 2 (3)"]
    assert len(ExemplarDisplay(exemplars[:, :20]).plot().axes_[0].get_lines()) == 3


def test_samples_are_counted():
    X = np.random.RandomState(0).rand(30, 4)
    model = fit(X)
    display = ExemplarDisplay.from_estimator(model, X[:7])
    assert_array_equal(display.counts, np.bincount(model.labels_[:7], minlength=3))
    assert_array_equal(display.exemplars, model.exemplars_)


def test_without_exemplars_typical_samples_are_shown():
    X = np.array([[0, 0], [1, 0.1], [2, 0], [20, 0], [20, 1], [20, 5.0], [9, 30]])
    model = DEC(3, latent_dim=2, hidden_layer_sizes=(8,), random_state=0).fit(X)
    model.predict = lambda rows: np.array([0, 0, 0, 2, 2, 2, 1])[: len(rows)]
    model.transform = np.asarray
    display = ExemplarDisplay.from_estimator(model, X[:6])
    # The cluster without a sample is left out, and the others keep their numbers.
    assert_array_equal(display.exemplars, X[[1, 4]])
    titles = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert titles == ["cluster 0 (3)", "cluster 2 (3)"]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(NotFittedError):
        ExemplarDisplay.from_estimator(PCX())
    plain = Autoencoder(latent_dim=1, hidden_layer_sizes=(), max_epochs=1)
    with pytest.raises(AttributeError, match="Autoencoder, which has none"):
        ExemplarDisplay.from_estimator(plain.fit(np.eye(3)))
    with pytest.raises(ValueError, match=r"means rows of\s+8 values"):
        ExemplarDisplay(np.eye(4), image_shape=(1, 2, 4)).plot()
    with pytest.raises(ValueError, match="1 or 3 channels"):
        ExemplarDisplay(np.eye(4), image_shape=(2, 2, 1)).plot()
    with pytest.raises(ValueError, match=r"4 exemplars need 4 axes\. Got 1"):
        ExemplarDisplay(np.eye(4), image_shape=(1, 2, 2)).plot(axes=plt.gca())


def test_matplotlib_is_imported_late():
    code = "import sys, deepcluster_sk.plotting;sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
