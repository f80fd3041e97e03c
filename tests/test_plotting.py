import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from deepcluster_sk.plotting import (
    DenoisingDisplay,
    EmbeddingDisplay,
    LossDisplay,
    ObjectiveMismatchDisplay,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Halves(BaseEstimator):
    """Two clusters by the sign of the first feature; the embedding is a slice."""

    def __init__(self, width=2):
        self.width = width
        self.cluster_centers_ = np.array([[-1.0] * width, [1.0] * width])

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X)[:, : self.width]

    def predict(self, X):
        return (np.asarray(X)[:, 0] > 0).astype(int)

    def denoise(self, X):
        self.seen_ = X
        return np.round(np.asarray(X))


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 5)) * [3, 2, 1, 1, 1]


def drawn(display):
    """All points of the scatters of a display, in drawing order."""
    return np.vstack([artist.get_offsets() for artist in display.scatters_])


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_embedding_of_width_2_is_drawn_as_it_is(X):
    display = EmbeddingDisplay.from_estimator(Halves(), X)
    labels = Halves().predict(X)
    for j, scatter in enumerate(display.scatters_):
        np.testing.assert_array_equal(scatter.get_offsets(), X[labels == j, :2])
    np.testing.assert_array_equal(display.centers_.get_offsets(), [[-1, -1], [1, 1]])
    assert texts(display.legend_) == ["cluster 0", "cluster 1", "centre"]
    assert display.ax_.get_xlabel() == "embedding 1"
    assert display.figure_ is display.ax_.figure
    colors = {tuple(scatter.get_facecolor()[0]) for scatter in display.scatters_}
    assert len(colors) == 2


def test_embedding_of_more_dimensions_is_drawn_on_principal_components(X):
    display = EmbeddingDisplay.from_estimator(Halves(width=5), X)
    eigenvalues = np.linalg.eigvalsh(np.cov(X.T))[::-1]
    variances = drawn(display).var(axis=0, ddof=1)
    np.testing.assert_allclose(variances, eigenvalues[:2])
    share = 100 * eigenvalues[0] / eigenvalues.sum()
    assert display.ax_.get_xlabel() == f"PC 1 ({share:.0f} %)"
    assert display.ax_.get_ylabel().startswith("PC 2 (")
    # centres are projected like the points: those that are points lie on them
    display = EmbeddingDisplay(X, [0] * 60, centers=X[:3]).plot()
    np.testing.assert_allclose(display.centers_.get_offsets(), drawn(display)[:3])


def test_embedding_of_width_1_is_drawn_as_strips(X):
    display = EmbeddingDisplay.from_estimator(Halves(width=1), X)
    labels = Halves().predict(X)
    for j, scatter in enumerate(display.scatters_):
        x, height = scatter.get_offsets().T
        np.testing.assert_array_equal(x, X[labels == j, 0])
        assert np.abs(height - j).max() < 0.5
    ticks = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert ticks == ["cluster 0", "cluster 1"]
    segments = display.centers_.get_segments()
    assert [segment[0, 0] for segment in segments] == [-1, 1]


def test_embedding_labels_may_be_classes_names_and_unlabelled(X):
    display = EmbeddingDisplay.from_estimator(Halves(), X, np.arange(60) % 3 - 1)
    assert texts(display.legend_)[:3] == ["unlabelled", "class 0", "class 1"]
    plain = EmbeddingDisplay(X[:, :2], np.arange(60) % 2).plot()
    # unlabelled samples take no colour from the others
    np.testing.assert_array_equal(
        display.scatters_[1].get_facecolor()[0, :3],
        plain.scatters_[0].get_facecolor()[0, :3],
    )
    names = np.array(["Gentoo", "Adelie"])[np.arange(60) % 2]
    display = EmbeddingDisplay(X[:, :2], names).plot()
    assert texts(display.legend_) == ["Adelie", "Gentoo"]


def test_embedding_tells_twenty_clusters_apart(X):
    X = np.tile(X, (2, 1))[:100]
    display = EmbeddingDisplay(X, np.arange(100) % 20).plot()
    styles = {
        (tuple(artist.get_facecolor()[0]), len(artist.get_paths()[0].vertices))
        for artist in display.scatters_
    }
    assert len(styles) == 20
    assert display.legend_._ncols == 2
    assert EmbeddingDisplay(X, np.arange(100) % 50).plot().legend_ is None
    assert EmbeddingDisplay(X, np.arange(100) % 3).plot(legend=False).legend_ is None


def test_embedding_markers_shrink_with_the_number_of_samples():
    few, many = (
        EmbeddingDisplay(np.zeros((n, 2)), np.zeros(n)).plot().scatters_[0]
        for n in (50, 20_000)
    )
    assert many.get_sizes()[0] < few.get_sizes()[0]
    assert many.get_alpha() < few.get_alpha()
    forced = EmbeddingDisplay(np.zeros((9, 2)), np.zeros(9)).plot(s=99, alpha=1)
    assert forced.scatters_[0].get_sizes()[0] == 99


def test_embedding_of_a_pipeline_and_given_axes(X):
    pipeline = make_pipeline(FunctionTransformer(), Halves())
    _, axes = plt.subplots(1, 2)
    display = EmbeddingDisplay.from_estimator(pipeline, X, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.centers_ is not None
    assert not axes[0].collections


def test_embedding_leaves_out_centers_of_another_space(X):
    estimator = Halves()
    estimator.cluster_centers_ = np.zeros((2, 5))
    assert EmbeddingDisplay.from_estimator(estimator, X).centers_ is None


def test_the_samples_are_drawn_where_each_cluster_has_its_own_embedding(X):
    estimator = Halves(width=1)
    estimator.n_features_in_ = 2
    estimator.cluster_centers_ = np.array([[-1.0, 0.0], [1.0, 0.5]])
    pipeline = make_pipeline(FunctionTransformer(lambda Z: 3 * Z[:, 1:3]), estimator)
    display = EmbeddingDisplay.from_estimator(pipeline, X)
    labels = pipeline.predict(X)
    for j, scatter in enumerate(display.scatters_):
        np.testing.assert_array_equal(scatter.get_offsets(), 3 * X[labels == j, 1:3])
    centers = display.centers_.get_offsets()
    np.testing.assert_array_equal(centers, estimator.cluster_centers_)
    assert display.ax_.get_ylabel() == "feature 2"
    estimator.feature_names_in_ = np.array(["length", "depth"], dtype=object)
    display = EmbeddingDisplay.from_estimator(pipeline, X)
    assert display.ax_.get_xlabel() == "length"
    display = EmbeddingDisplay.from_estimator(pipeline, X, space="embedding")
    assert display.ax_.get_xlabel() == "embedding"
    assert display.centers_ is None
    # What is asked for is drawn, too, where "auto" would not.
    display = EmbeddingDisplay.from_estimator(Halves(), X[:, :2] * 2, space="data")
    assert display.ax_.get_xlabel() == "feature 1"
    with pytest.raises(ValueError, match="'space' parameter of EmbeddingDisplay"):
        EmbeddingDisplay.from_estimator(Halves(), X, space="code")


def test_embedding_that_is_constant_is_drawn():
    display = EmbeddingDisplay(np.ones((4, 3)), [0, 0, 1, 1]).plot()
    np.testing.assert_allclose(drawn(display), 0, atol=1e-12)
    assert display.ax_.get_xlabel() == "PC 1 (0 %)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.zeros((4, 2)), [0, 1]),
            r"labels must have shape \(4,\).*Got shape \(2,\)",
        ),
        ((np.zeros((4, 2)), [0] * 4, np.zeros((2, 3))), "2 columns. Got 3"),
        ((np.full((4, 2), np.nan), [0] * 4), "Input embedding contains NaN"),
    ],
)
def test_embedding_refuses_what_does_not_match(arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay(*arguments).plot()


def test_displays_name_the_missing_method(X):
    with pytest.raises(
        AttributeError, match=r"method 'transform'. Got SimpleNamespace"
    ):
        EmbeddingDisplay.from_estimator(SimpleNamespace(), X)
    with pytest.raises(AttributeError, match="method 'denoise'"):
        DenoisingDisplay.from_estimator(SimpleNamespace(), X)
    with pytest.raises(AttributeError, match="attribute 'history_'"):
        LossDisplay.from_estimator(SimpleNamespace())


def test_denoising_of_images():
    X = np.random.default_rng(0).integers(0, 9, size=(20, 12)).astype(float)
    display = DenoisingDisplay.from_estimator(
        Halves(), X, np.arange(20), n_images=4, image_shape=(1, 3, 4), random_state=0
    )
    assert display.axes_.shape == (3, 4)
    shown = [0, 6, 13, 19]
    for column, i in enumerate(shown):
        clean, noisy, denoised = (
            ax.images[0].get_array() for ax in display.axes_[:, column]
        )
        np.testing.assert_array_equal(clean, X[i].reshape(3, 4))
        np.testing.assert_array_equal(noisy, display.noisy[i].reshape(3, 4))
        np.testing.assert_array_equal(denoised, X[i].reshape(3, 4))
    assert [ax.get_title() for ax in display.axes_[0]] == [str(i) for i in shown]
    assert display.noisy_mse_ == pytest.approx(0.01, rel=0.3)
    assert display.denoised_mse_ == 0
    assert display.axes_[0, 0].get_ylabel() == "clean"
    assert display.axes_[1, 0].get_ylabel() == f"noisy\nMSE {display.noisy_mse_:.3g}"
    assert display.axes_[2, 0].get_ylabel() == "denoised\nMSE 0"
    limits = {ax.images[0].get_clim() for ax in display.axes_.flat}
    assert limits == {(0, 8)}


def test_denoising_of_colour_images_and_the_estimators_own_shape():
    X = np.random.default_rng(0).uniform(0, 5, size=(3, 27))
    estimator = Halves()
    estimator.image_shape = (3, 3, 3)
    display = DenoisingDisplay.from_estimator(estimator, X, random_state=0)
    assert display.axes_.shape == (3, 3)  # three rows of X: three images, not ten
    image = display.axes_[0, 0].images[0].get_array()
    assert image.shape == (3, 3, 3)
    assert image.min() >= 0
    assert image.max() <= 1
    scaled = (X[0].reshape(3, 3, 3) - X.min()) / np.ptp(X)
    np.testing.assert_allclose(image, scaled.transpose(1, 2, 0))


def test_denoising_of_a_table_of_two_features(X):
    y = np.arange(60) % 2
    display = DenoisingDisplay.from_estimator(
        Halves(), X[:, :2], y, noise_std=0.3, random_state=0
    )
    assert display.axes_.shape == (3,)
    panels = (X[:, :2], display.noisy, display.denoised)
    for ax, table in zip(display.axes_, panels, strict=True):
        for j in range(2):
            points = ax.collections[j].get_offsets()
            np.testing.assert_array_equal(points, table[y == j])
    assert len({ax.get_xlim() for ax in display.axes_}) == 1
    assert len({ax.get_ylim() for ax in display.axes_}) == 1
    assert display.axes_[0].get_xlabel() == "feature 1"
    assert display.noisy_mse_ == pytest.approx(0.09, rel=0.3)
    expected = np.mean((np.round(display.noisy) - X[:, :2]) ** 2)
    assert display.denoised_mse_ == pytest.approx(expected)


@pytest.mark.parametrize("n_features", [1, 5])
def test_denoising_of_tables_of_other_widths(X, n_features):
    X = X[:, :n_features]
    display = DenoisingDisplay(X, X + 1, X).plot()
    clean, noisy, denoised = (ax.collections[0].get_offsets() for ax in display.axes_)
    np.testing.assert_array_equal(clean, denoised)
    # one projection for all three: a constant shift stays one
    shift = noisy - clean
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape))
    label = display.axes_[0].get_xlabel()
    assert label == "feature 1" if n_features == 1 else label.startswith("PC 1")


def test_denoising_of_a_frame_keeps_its_names(X):
    pd = pytest.importorskip("pandas")
    estimator = Halves()
    frame = pd.DataFrame(X[:, :2], columns=["length", "depth"])
    display = DenoisingDisplay.from_estimator(estimator, frame, random_state=0)
    assert list(estimator.seen_.columns) == ["length", "depth"]
    assert display.axes_[0].get_xlabel() == "length"
    assert display.axes_[0].get_ylabel() == "depth"


def test_denoising_noise_follows_its_seed(X):
    first, again, other = (
        DenoisingDisplay.from_estimator(Halves(), X, random_state=seed).noisy
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_denoising_draws_on_what_it_is_given(X):
    fig = plt.figure()
    assert DenoisingDisplay(X, X, X).plot(fig=fig).figure_ is fig
    fig, axes = plt.subplots(3, 2)
    display = DenoisingDisplay(X, X, X, image_shape=(1, 5)).plot(axes=axes, n_images=2)
    assert display.figure_ is fig
    assert all(len(ax.images) == 1 for ax in axes.flat)
    fig, axes = plt.subplots(1, 3)
    display = DenoisingDisplay(X, X + 9, X).plot(axes=axes)
    assert len({ax.get_xlim() for ax in axes}) == 1
    with pytest.raises(ValueError, match="fig or axes, not both"):
        display.plot(fig=fig, axes=axes)
    with pytest.raises(
        ValueError, match=r"axes must have shape \(3,\). Got shape \(2,"
    ):
        display.plot(axes=axes[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noisy": np.zeros((3, 6))}, r"noisy must have the shape of clean, \(4, 6\)"),
        ({"image_shape": (2, 2)}, r"hold the 6 features of a row. Got \(2, 2\)"),
        ({"image_shape": (2, 1, 3)}, "1 or 3 channels"),
        ({"image_shape": (6,)}, "image_shape must be"),
        ({"labels": [0]}, r"labels must have shape \(4,\)"),
        ({"feature_names": ["a"]}, "must hold 6 names. Got 1"),
    ],
)
def test_denoising_refuses_what_does_not_match(change, message):
    tables = {name: np.zeros((4, 6)) for name in ("clean", "noisy", "denoised")}
    with pytest.raises(ValueError, match=message):
        DenoisingDisplay(**{**tables, **change}).plot()


def test_denoising_refuses_bad_numbers(X):
    with pytest.raises(ValueError, match=r"noise_std must be a float >= 0. Got -1"):
        DenoisingDisplay.from_estimator(Halves(), X, noise_std=-1)
    with pytest.raises(ValueError, match=r"n_images must be an int >= 1. Got 0"):
        DenoisingDisplay(X, X, X, image_shape=(1, 5)).plot(n_images=0)


HISTORY = [
    {"phase": "pretrain", "epoch": 1, "loss": 2.0, "dur": 0.1},
    {"phase": "pretrain", "epoch": 2, "loss": 1.5, "dur": 0.1},
    {"phase": "centres", "epoch": 1, "loss": 1.4},
    {"phase": "cluster", "epoch": 1, "loss": 1.0, "entropy": -0.5},
    {"phase": "cluster", "epoch": 2, "loss": 0.9, "entropy": -0.6, "note": "x"},
]


def test_loss_draws_a_line_a_term_interrupted_between_phases():
    display = LossDisplay.from_estimator(SimpleNamespace(history_=HISTORY))
    assert list(display.lines_) == ["loss", "entropy"]
    x, y = display.lines_["loss"].get_data()
    np.testing.assert_array_equal(x, [1, 2, 2.5, 3, 3.5, 4, 5])
    np.testing.assert_array_equal(y, [2, 1.5, np.nan, 1.4, np.nan, 1, 0.9])
    y = display.lines_["entropy"].get_ydata()
    np.testing.assert_array_equal(y[-2:], [-0.5, -0.6])
    assert np.isnan(y[:-2]).all()
    # a phase of one epoch is a point, and nothing else has a marker
    assert display.lines_["loss"].get_markevery() == [3]
    assert display.lines_["entropy"].get_markevery() == []
    assert texts(display.legend_) == ["loss", "entropy"]
    names = [text.get_text() for text in display.ax_.texts]
    assert names == ["pretrain", "centres", "cluster"]
    assert len(display.ax_.patches) == 1  # every other phase is shaded
    assert display.ax_.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([1, 0.5, 0.2], "linear"),
        ([1, 0.1, 0.001], "log"),
        ([1, 0.001, 0], "symlog"),
        ([100, 1, -0.1], "symlog"),
        ([1, np.nan, 0.5], "linear"),
        ([0, 0, 0], "linear"),
    ],
)
def test_loss_chooses_a_scale(losses, scale):
    history = [{"phase": "fit", "epoch": i, "loss": v} for i, v in enumerate(losses)]
    display = LossDisplay(history).plot()
    assert display.ax_.get_yscale() == scale
    display.figure_.canvas.draw()  # a bad scale shows (and warns) only here
    for forced in ("linear", "symlog"):
        display = LossDisplay(history).plot(yscale=forced)
        assert display.ax_.get_yscale() == forced


def test_loss_draws_the_terms_asked_for():
    _, ax = plt.subplots()
    display = LossDisplay(HISTORY).plot(ax=ax, terms=["entropy", "dur"], linewidth=7)
    assert display.ax_ is ax
    assert list(display.lines_) == ["entropy", "dur"]
    assert display.lines_["dur"].get_linewidth() == 7


def test_loss_phase_names_do_not_cover_one_another():
    history = [
        {"phase": f"a long phase name {i}", "epoch": 1, "loss": 1.0} for i in range(8)
    ]
    display = LossDisplay(history).plot()
    display.figure_.canvas.draw()
    names = display.ax_.texts
    assert all(text.get_rotation() == 40 for text in names)
    # the distance between parallel slanted lines of text exceeds their height
    x = np.array(
        [text.get_transform().transform(text.get_position())[0] for text in names]
    )
    gap = np.diff(x).min() * np.sin(np.deg2rad(40))
    assert gap > names[0].get_fontsize() * display.figure_.dpi / 72


def test_loss_of_a_history_without_phases():
    display = LossDisplay([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]).plot()
    assert not display.ax_.texts
    np.testing.assert_array_equal(display.lines_["loss"].get_ydata(), [1, 0.5])


@pytest.mark.parametrize(
    ("history", "options", "message"),
    [
        ([], {}, "history must hold at least one epoch"),
        (HISTORY, {"terms": ["los"]}, r"terms must name numbers.*Got \['los'\]"),
        (HISTORY, {"terms": "loss"}, "terms must be a list of names"),
        (HISTORY, {"yscale": "cubic"}, "Got 'cubic' instead"),
        ([{"phase": "fit", "epoch": 1}], {}, "terms must name numbers"),
    ],
)
def test_loss_refuses_what_it_cannot_draw(history, options, message):
    with pytest.raises(ValueError, match=message):
        LossDisplay(history).plot(**options)


def fake_mismatch(auxiliary_loss, performance, degree):
    polynomial = np.polynomial.Polynomial.fit(auxiliary_loss, performance, degree)
    return SimpleNamespace(slope=-0.25, r2=0.5, predict=polynomial, degree=degree)


def test_mismatch_draws_points_and_regression():
    loss = np.array([3.0, 1.0, 2.0, 0.0])
    performance = 1 - 0.1 * loss**2
    result = fake_mismatch(loss, performance, 2)
    display = ObjectiveMismatchDisplay(loss, performance, result).plot()
    points = display.scatter_.get_offsets()
    np.testing.assert_array_equal(points, np.column_stack([loss, performance]))
    np.testing.assert_array_equal(display.scatter_.get_array(), [1, 2, 3, 4])
    x, y = display.line_.get_data()
    assert (x[0], x[-1]) == (0, 3)
    np.testing.assert_allclose(y, 1 - 0.1 * x**2, atol=1e-12)
    assert texts(display.ax_.get_legend()) == ["slope -0.25, R² 0.50"]
    assert display.colorbar_ is not None


def test_mismatch_from_values_fits_by_the_metric(monkeypatch):
    metrics = ModuleType("deepcluster_sk.metrics")
    metrics.objective_mismatch = fake_mismatch
    monkeypatch.setitem(sys.modules, "deepcluster_sk.metrics", metrics)
    _, ax = plt.subplots()
    display = ObjectiveMismatchDisplay.from_values(
        [1.0, 0.5, 0.0],
        [0.2, 0.4, 0.9],
        degree=1,
        ax=ax,
        colorbar=False,
        performance_name="accuracy",
    )
    assert display.result.degree == 1
    assert display.ax_ is ax
    assert display.colorbar_ is None
    assert ax.get_ylabel() == "accuracy"
    assert ax.get_xlabel() == "auxiliary loss"


def test_mismatch_from_estimator_takes_a_term_of_the_last_phase():
    history = [
        {"phase": "pretrain", "epoch": 1, "reconstruction": 9.0},
        *(
            {"phase": "cluster", "epoch": i, "reconstruction": 3.0 - i, "kl": i}
            for i in (1, 2, 3)
        ),
    ]
    model = Halves()
    model.history_ = history
    draw = partial(ObjectiveMismatchDisplay.from_estimator, model, degree=1)
    display = draw([0.1, 0.2, 0.3], performance_name="silhouette")
    assert display.auxiliary_loss == [2.0, 1.0, 0.0]
    assert display.result.slope == pytest.approx(-0.1)
    assert display.ax_.get_xlabel() == "reconstruction"
    assert display.ax_.get_ylabel() == "silhouette"
    assert draw([1.0, 2.0, 1.5], term="kl").auxiliary_loss == [1, 2, 3]
    with pytest.raises(ValueError, match="each of the 1 epochs of the phase 'pretrain"):
        draw([0.1, 0.2], phase="pretrain")
    with pytest.raises(ValueError, match="no 'code' in the phase 'cluster'"):
        draw([0.1], term="code")
    with pytest.raises(ValueError, match="no 'acc' in the phase 'cluster'"):
        draw("acc")
    recorded = draw("kl")
    assert recorded.performance == [1, 2, 3]
    assert recorded.ax_.get_ylabel() == "kl"


@pytest.mark.parametrize(
    ("loss", "performance", "message"),
    [
        ([1.0, 2.0], [1.0], "inconsistent numbers of samples"),
        ([1.0, np.nan], [1.0, 2.0], "Input auxiliary_loss contains NaN"),
        (
            [[1.0], [2.0]],
            [1.0, 2.0],
            r"auxiliary_loss must have shape \(n_checkpoints,",
        ),
    ],
)
def test_mismatch_refuses_what_does_not_match(loss, performance, message):
    result = SimpleNamespace(slope=0, r2=0, predict=lambda a: a)
    with pytest.raises(ValueError, match=message):
        ObjectiveMismatchDisplay(loss, performance, result).plot()


def test_importing_the_module_does_not_import_matplotlib():
    import subprocess

    code = (
        "import sys, deepcluster_sk.plotting; "
        "sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
