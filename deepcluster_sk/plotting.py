"""Displays of fitted estimators, in the manner of scikit-learn's.

A display holds data (`__init__`), can be computed from an estimator
(`from_estimator`), and draws itself (`plot`). Matplotlib is imported when something
is drawn, not before.
"""

from numbers import Integral, Number

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support

__all__ = [
    "DenoisingDisplay",
    "EmbeddingDisplay",
    "LossDisplay",
    "ObjectiveMismatchDisplay",
]

# M. A. Petroff, "Accessible Color Sequences for Data Visualization", 2021
# (arXiv:2107.02270): ten colours told apart under the common colour-vision deficiencies
_COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
# Clusters 11 to 20 take the colours of the first ten again, in another shape, and so on
_MARKERS = ("o", "^", "s", "D", "v")
_MAX_LEGEND_ENTRIES = 24


def _pyplot(caller):
    """Import pyplot on first use, with scikit-learn's message where it is missing."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt

    return plt


def _new_axes(caller, ax):
    """Return `ax`, or the axes of a new figure that makes room for what is outside."""
    plt = _pyplot(caller)
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def _check_method(estimator, name, caller):
    """Return a method of the estimator, or say which one is missing."""
    method = getattr(estimator, name, None)
    if method is None:
        raise AttributeError(
            f"{caller} needs an estimator with the method '{name}'. Got "
            f"{type(estimator).__name__}, which has none."
        )
    return method


def _check_table(values, name):
    return check_array(values, dtype=np.float64, input_name=name)


def _check_labels(labels, n_samples, name="labels"):
    """Return the labels, and their distinct values with -1 (unlabelled) first."""
    labels = np.asarray(labels)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"{name} must have shape ({n_samples},), one label a row. Got shape "
            f"{labels.shape}."
        )
    return labels, np.unique(labels)


def _style(value, index):
    """Colour and marker of the `index`-th group; grey crosses for the unlabelled."""
    if isinstance(value, Number) and value == -1:
        return {"color": "0.6", "marker": "x"}
    return {
        "color": _COLORS[index % len(_COLORS)],
        "marker": _MARKERS[index // len(_COLORS) % len(_MARKERS)],
    }


def _styles(values):
    """Styles of the distinct labels; -1 takes no colour from the others."""
    values = values.tolist()
    shift = int(-1 in values)
    return [_style(value, i - shift) for i, value in enumerate(values)]


def _crowding(n_samples):
    """Marker size and opacity that keep n points readable."""
    return {
        "s": float(np.clip(20000 / n_samples, 6, 30)),
        "alpha": float(np.clip(40 / np.sqrt(n_samples), 0.3, 0.8)),
        "linewidths": 0 if n_samples > 200 else 0.5,
        "rasterized": n_samples > 5000,  # keeps vector files small
    }


def _principal_axes(X):
    """Mean, two leading principal axes (2, d) and their shares of the variance.

    A free-standing eigendecomposition, since constant data (share 0 here) would raise a
    division warning in scikit-learn's.
    """
    mean = X.mean(axis=0)
    eigenvalues, axes = np.linalg.eigh((X - mean).T @ (X - mean))
    axes = axes[:, :-3:-1].T
    # the sign is arbitrary: let the largest loading be positive
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.where(largest < 0, -1, 1)
    total = eigenvalues.clip(0).sum()
    shares = eigenvalues[:-3:-1].clip(0) / (total if total > 0 else 1)
    return mean, axes, shares


def _planar(X, names, *others):
    """Bring tables to two columns: as they are, or on the principal axes of `X`.

    Returns the tables and the two axis labels. One column is drawn against the row
    number.
    """
    if X.shape[1] == 1:
        rows = np.arange(len(X), dtype=np.float64)
        tables = [np.column_stack([Z[:, 0], rows[: len(Z)]]) for Z in (X, *others)]
        return tables, [names[0], "row"]
    if X.shape[1] == 2:
        return [X, *others], list(names)
    mean, axes, shares = _principal_axes(X)
    tables = [(Z - mean) @ axes.T for Z in (X, *others)]
    return tables, [
        f"PC {i + 1} ({100 * share:.0f} %)" for i, share in enumerate(shares)
    ]


def _scatter_groups(ax, points, labels, values, name, kwargs):
    """One scatter a label, in the colours of `_styles`. Returns the collections."""
    drawn = []
    for value, style in zip(values, _styles(values), strict=True):
        group = points[labels == value]
        options = {**_crowding(len(points)), **style, **kwargs}
        unlabelled = style["marker"] == "x"
        if unlabelled:
            options["linewidths"] = 0.8
        # a number needs a noun ("cluster 3"), a name does not ("Adelie")
        text = str(value) if isinstance(value, str) else f"{name} {value}".strip()
        text = "unlabelled" if unlabelled else text
        drawn.append(ax.scatter(group[:, 0], group[:, 1], label=text, **options))
    return drawn


def _outside_legend(ax, handles=None, **kwargs):
    """Put a legend to the right of the axes, its markers large and opaque."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    legend = ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        frameon=False,
        ncols=1 + (len(handles) - 1) // 12,
        **kwargs,
    )
    for handle in legend.legend_handles:
        handle.set_alpha(1)
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([30])
    return legend


class EmbeddingDisplay:
    """Scatter plot of an embedding, coloured by cluster or by class.

    An embedding of width 2 is drawn as it is, a wider one on its two leading principal
    components, and one of width 1 as a strip of jittered points per label. It is
    recommended to use :meth:`from_estimator`.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, latent_dim)
        The embedded samples.

    labels : array-like of shape (n_samples,)
        The cluster or class of each sample, of any dtype. -1 means unlabelled and is
        drawn as grey crosses.

    centers : array-like of shape (n_clusters, latent_dim), default=None
        Cluster centres in the embedding, drawn in black.

    label_name : str, default="cluster"
        What a label is called in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the embedding.

    figure_ : matplotlib Figure
        Figure containing the axes.

    scatters_ : list of matplotlib PathCollection
        The points, one collection for each label in sorted order.

    centers_ : matplotlib artist or None
        The centres.

    legend_ : matplotlib Legend or None
        The legend.

    See Also
    --------
    EmbeddingDisplay.from_estimator : Draw the embedding of a fitted estimator.

    References
    ----------
    M. A. Petroff, "Accessible Color Sequences for Data Visualization",
    arXiv:2107.02270, 2021 (the colours).

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.plotting import EmbeddingDisplay
    >>> embedding = np.array([[0.0, 0.0], [0.1, 0.2], [3.0, 3.0], [3.1, 2.9]])
    >>> display = EmbeddingDisplay(embedding, labels=[0, 0, 1, 1]).plot()
    >>> display.ax_.get_xlabel()
    'embedding 1'
    """

    def __init__(self, embedding, labels, centers=None, *, label_name="cluster"):
        self.embedding = embedding
        self.labels = labels
        self.centers = centers
        self.label_name = label_name

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, label_name=None, ax=None, legend=None, **kwargs
    ):
        """Draw the embedding that a fitted estimator gives to `X`.

        Parameters
        ----------
        estimator : fitted estimator or Pipeline
            Its `transform` is the embedding. Its `cluster_centers_`, if it has any of
            the embedding's width, are drawn too.

        X : array-like of shape (n_samples, n_features)
            The samples.

        y : array-like of shape (n_samples,), default=None
            Labels that colour the samples. None takes the predicted clusters.

        label_name : str, default=None
            What a label is called in the legend. None means "cluster" for predicted
            clusters and "class" for `y`.

        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.

        legend : bool, default=None
            Whether to draw a legend. None draws one for up to 24 labels.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : :class:`EmbeddingDisplay`
            The display, drawn.

        Raises
        ------
        AttributeError
            If the estimator lacks `transform`, or `predict` where `y` is None.

        Examples
        --------
        >>> from sklearn.decomposition import PCA
        >>> from deepcluster_sk.datasets import load_penguins
        >>> from deepcluster_sk.plotting import EmbeddingDisplay
        >>> X, y = load_penguins(return_X_y=True)
        >>> embedder = PCA(2).fit(X)
        >>> display = EmbeddingDisplay.from_estimator(embedder, X, y)
        >>> [text.get_text() for text in display.legend_.get_texts()]
        ['class 0', 'class 1', 'class 2']
        """
        caller = f"{cls.__name__}.from_estimator"
        _pyplot(caller)  # before the work, not after it
        embedding = _check_table(
            _check_method(estimator, "transform", caller)(X), "embedding"
        )
        if y is None:
            labels = _check_method(estimator, "predict", caller)(X)
        else:
            labels = y
        if label_name is None:
            label_name = "cluster" if y is None else "class"
        last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        centers = getattr(last, "cluster_centers_", None)
        if centers is not None and np.shape(centers)[1:] != embedding.shape[1:]:
            centers = None
        display = cls(embedding, labels, centers, label_name=label_name)
        return display.plot(ax=ax, legend=legend, **kwargs)

    def plot(self, ax=None, *, legend=None, **kwargs):
        """Draw the embedding.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.

        legend : bool, default=None
            Whether to draw a legend, to the right of the axes. None draws one for up to
            24 labels.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`, over the defaults, which
            adapt size and opacity to the number of samples.

        Returns
        -------
        display : :class:`EmbeddingDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If the shapes of `embedding`, `labels` and `centers` do not match.
        """
        embedding = _check_table(self.embedding, "embedding")
        labels, values = _check_labels(self.labels, len(embedding))
        centers = np.empty((0, embedding.shape[1]))
        if self.centers is not None:
            centers = _check_table(self.centers, "centers")
            if centers.shape[1] != embedding.shape[1]:
                raise ValueError(
                    f"centers must have the embedding's {embedding.shape[1]} columns. "
                    f"Got {centers.shape[1]}."
                )
        ax = _new_axes(f"{type(self).__name__}.plot", ax)
        self.ax_, self.figure_, self.legend_ = ax, ax.figure, None
        if legend is None:
            legend = len(values) <= _MAX_LEGEND_ENTRIES
        if embedding.shape[1] == 1:
            self._plot_strips(embedding[:, 0], labels, values, centers[:, 0], kwargs)
            handles = [] if self.centers_ is None else [self.centers_]
        else:
            self._plot_plane(embedding, labels, values, centers, kwargs)
            handles = self.scatters_.copy()
            if self.centers_ is not None:
                handles.append(self.centers_)
        if legend and handles:
            self.legend_ = _outside_legend(ax, handles)
        return self

    def _plot_plane(self, embedding, labels, values, centers, kwargs):
        names = ["embedding 1", "embedding 2"]
        (points, centers), axis_names = _planar(embedding, names, centers)
        self.scatters_ = _scatter_groups(
            self.ax_, points, labels, values, self.label_name, kwargs
        )
        self.centers_ = None
        if len(centers):
            self.centers_ = self.ax_.scatter(
                centers[:, 0],
                centers[:, 1],
                s=90,
                marker="X",
                color="black",
                edgecolors="white",
                label="centre",
                zorder=3,
            )
        self.ax_.set(xlabel=axis_names[0], ylabel=axis_names[1])

    def _plot_strips(self, embedding, labels, values, centers, kwargs):
        # One strip a label, the jitter fixed: two drawings of one display are the same.
        heights = np.searchsorted(values, labels)
        jitter = np.random.default_rng(0).uniform(-0.35, 0.35, size=len(labels))
        points = np.column_stack([embedding, heights + jitter])
        self.scatters_ = _scatter_groups(
            self.ax_, points, labels, values, self.label_name, kwargs
        )
        self.centers_ = None
        if len(centers):
            self.centers_ = self.ax_.vlines(
                centers,
                -0.5,
                len(values) - 0.5,
                colors="black",
                linestyles="dashed",
                linewidths=1,
                label="centre",
            )
        ticks = [artist.get_label() for artist in self.scatters_]
        self.ax_.set_yticks(range(len(values)), ticks)
        self.ax_.set_ylim(len(values) - 0.5, -0.5)  # the first label on top
        self.ax_.set_xlabel("embedding")


class DenoisingDisplay:
    """Clean, noisy and denoised samples beside one another.

    Images are drawn as a grid of three rows, tables as three scatter plots with shared
    axes: of the two features, or of the two leading principal components of the clean
    samples where there are more. It is recommended to use :meth:`from_estimator`.

    Parameters
    ----------
    clean : array-like of shape (n_samples, n_features)
        The samples.

    noisy : array-like of shape (n_samples, n_features)
        The samples with noise.

    denoised : array-like of shape (n_samples, n_features)
        What the estimator makes of the noisy samples.

    image_shape : tuple of int, default=None
        (C, H, W) with 1 or 3 channels, or (H, W), if the samples are images. None
        draws a table.

    labels : array-like of shape (n_samples,), default=None
        Labels that colour the points of a table or head the images.

    feature_names : sequence of str, default=None
        Names of the features of a table.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (3, n_images) or (3,)
        The axes: a row each for clean, noisy and denoised images, or a panel each.

    figure_ : matplotlib Figure or SubFigure
        Figure containing the axes.

    noisy_mse_, denoised_mse_ : float
        Mean squared error, over all samples and features, of the noisy and of the
        denoised samples against the clean ones.

    See Also
    --------
    DenoisingDisplay.from_estimator : Add noise to samples and let an estimator
        remove it.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.plotting import DenoisingDisplay
    >>> clean = np.zeros((5, 2))
    >>> display = DenoisingDisplay(clean, clean + 0.2, clean + 0.1).plot()
    >>> round(display.noisy_mse_, 3), round(display.denoised_mse_, 3)
    (0.04, 0.01)
    """

    def __init__(
        self,
        clean,
        noisy,
        denoised,
        image_shape=None,
        labels=None,
        *,
        feature_names=None,
    ):
        self.clean = clean
        self.noisy = noisy
        self.denoised = denoised
        self.image_shape = image_shape
        self.labels = labels
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        noise_std=0.1,
        n_images=10,
        image_shape=None,
        random_state=None,
        fig=None,
        axes=None,
        **kwargs,
    ):
        """Add Gaussian noise to `X` and draw how a fitted estimator removes it.

        Parameters
        ----------
        estimator : fitted estimator
            Its `denoise` is called with the noisy samples.

        X : array-like of shape (n_samples, n_features)
            The clean samples.

        y : array-like of shape (n_samples,), default=None
            Labels that colour the points of a table or head the images.

        noise_std : float, default=0.1
            Standard deviation of the noise, in the units of `X`.

        n_images : int, default=10
            Number of images drawn, spread evenly over the rows of `X`. The errors are
            of all rows.

        image_shape : tuple of int, default=None
            (C, H, W) with 1 or 3 channels, or (H, W), if the samples are images. None
            takes the estimator's own `image_shape`, and without one draws a table.

        random_state : int, RandomState instance or None, default=None
            Determines the noise. Pass an int for the same picture at every call.

        fig : matplotlib Figure or SubFigure, default=None
            Empty figure to draw on. None makes a new one.

        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, of shape (3, n_images) for images and (3,) for a table.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.imshow` or
            :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : :class:`DenoisingDisplay`
            The display, drawn.

        Raises
        ------
        AttributeError
            If the estimator lacks `denoise`.

        ValueError
            If `noise_std` is negative, or as :meth:`plot` does.

        Examples
        --------
        >>> from deepcluster_sk.plotting import DenoisingDisplay
        >>> class Shrink:
        ...     def denoise(self, X):
        ...         return 0.9 * X
        >>> display = DenoisingDisplay.from_estimator(
        ...     Shrink(), [[0.0, 1.0], [1.0, 0.0]], random_state=0
        ... )
        >>> display.axes_.shape
        (3,)
        """
        caller = f"{cls.__name__}.from_estimator"
        _pyplot(caller)
        denoise = _check_method(estimator, "denoise", caller)
        if not isinstance(noise_std, Number) or not 0 <= noise_std < np.inf:
            raise ValueError(f"noise_std must be a float >= 0. Got {noise_std!r}.")
        if image_shape is None:
            image_shape = getattr(estimator, "image_shape", None)
        clean = _check_table(X, "X")
        rng = check_random_state(random_state)
        noisy = clean + rng.normal(0, noise_std, size=clean.shape)
        columns = X.columns if hasattr(X, "iloc") else None
        if columns is None:
            denoised = denoise(noisy)
        else:
            # a frame in, a frame on: an estimator fitted with names wants them
            denoised = denoise(type(X)(noisy, columns=columns))
        display = cls(
            clean,
            noisy,
            denoised,
            image_shape,
            y,
            feature_names=None if columns is None else [str(name) for name in columns],
        )
        return display.plot(fig=fig, axes=axes, n_images=n_images, **kwargs)

    def plot(self, fig=None, axes=None, *, n_images=10, **kwargs):
        """Draw the clean, noisy and denoised samples.

        Parameters
        ----------
        fig : matplotlib Figure or SubFigure, default=None
            Empty figure to draw on. None makes a new one.

        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, of shape (3, n_images) for images and (3,) for a table. At
            most one of `fig` and `axes` may be given.

        n_images : int, default=10
            Number of images drawn, spread evenly over the rows; at most n_samples.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.imshow` or
            :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : :class:`DenoisingDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If the three tables differ in shape, `image_shape` does not match them,
            `axes` has another shape than is drawn, or both `fig` and `axes` are given.
        """
        clean = _check_table(self.clean, "clean")
        noisy = _check_table(self.noisy, "noisy")
        denoised = _check_table(self.denoised, "denoised")
        for name, table in (("noisy", noisy), ("denoised", denoised)):
            if table.shape != clean.shape:
                raise ValueError(
                    f"{name} must have the shape of clean, {clean.shape}. Got "
                    f"{table.shape}."
                )
        labels = self.labels
        if labels is not None:
            labels, _ = _check_labels(labels, len(clean))
        if fig is not None and axes is not None:
            raise ValueError("Give fig or axes, not both: axes bring their figure.")
        if self.image_shape is not None and (
            not isinstance(n_images, Integral) or n_images < 1
        ):
            raise ValueError(f"n_images must be an int >= 1. Got {n_images!r}.")
        self.noisy_mse_ = float(np.mean((noisy - clean) ** 2))
        self.denoised_mse_ = float(np.mean((denoised - clean) ** 2))
        titles = (
            "clean",
            f"noisy\nMSE {self.noisy_mse_:.3g}",
            f"denoised\nMSE {self.denoised_mse_:.3g}",
        )
        tables = (clean, noisy, denoised)
        if self.image_shape is None:
            self._plot_tables(tables, labels, titles, fig, axes, kwargs)
        else:
            self._plot_images(tables, labels, titles, fig, axes, n_images, kwargs)
        return self

    def _make_axes(self, fig, axes, n_rows, n_columns, size, **kwargs):
        """Return the (n_rows, n_columns) axes: the user's, or new ones on a figure."""
        if axes is not None:
            axes = np.asarray(axes)
            expected = (n_rows, n_columns) if n_rows > 1 else (n_columns,)
            if axes.shape != expected:
                raise ValueError(
                    f"axes must have shape {expected}. Got shape {axes.shape}."
                )
            axes = axes.reshape(n_rows, n_columns)
        else:
            if fig is None:
                plt = _pyplot(f"{type(self).__name__}.plot")
                fig = plt.figure(figsize=size, layout="constrained")
            axes = fig.subplots(n_rows, n_columns, squeeze=False, **kwargs)
        self.figure_ = axes.flat[0].figure
        return axes

    def _plot_images(self, tables, labels, titles, fig, axes, n_images, kwargs):
        shape = tuple(self.image_shape)
        channels = shape[0] if len(shape) == 3 else 1
        n, n_features = tables[0].shape
        possible = len(shape) in (2, 3) and channels in (1, 3)
        if not possible or np.prod(shape) != n_features:
            raise ValueError(
                "image_shape must be (C, H, W) with 1 or 3 channels, or (H, W), and "
                f"hold the {n_features} features of a row. Got {self.image_shape}."
            )
        n_images = min(n_images, n)
        shown = np.linspace(0, n - 1, n_images).round().astype(int)
        # One scale for all three rows, that of the clean images: noise must not dim
        # the others.
        low, high = tables[0].min(), tables[0].max()
        size = (max(0.9 * n_images, 2.5) + 0.8, 3.1)
        self.axes_ = self._make_axes(fig, axes, 3, n_images, size)
        for row, table, title in zip(self.axes_, tables, titles, strict=True):
            images = table[shown].reshape(n_images, channels, *shape[-2:])
            for ax, image in zip(row, images, strict=True):
                if channels == 1:
                    options = {"cmap": "gray", "vmin": low, "vmax": high, **kwargs}
                    ax.imshow(image[0], **options)
                else:
                    scaled = (image - low) / (high - low if high > low else 1)
                    ax.imshow(scaled.clip(0, 1).transpose(1, 2, 0), **kwargs)
                ax.set(xticks=[], yticks=[])
            row[0].set_ylabel(
                title, rotation="horizontal", ha="right", va="center", labelpad=6
            )
        if labels is not None:
            for ax, i in zip(self.axes_[0], shown, strict=True):
                ax.set_title(str(labels[i]), fontsize="medium")

    def _plot_tables(self, tables, labels, titles, fig, axes, kwargs):
        clean, noisy, denoised = tables
        names = self.feature_names
        if names is None:
            names = [f"feature {i + 1}" for i in range(clean.shape[1])]
        elif len(names) != clean.shape[1]:
            raise ValueError(
                f"feature_names must hold {clean.shape[1]} names. Got {len(names)}."
            )
        tables, axis_names = _planar(clean, names, noisy, denoised)
        shared = axes is None
        sharing = {"sharex": True, "sharey": True}
        axes = self._make_axes(fig, axes, 1, 3, (10, 3.6), **sharing)
        self.axes_ = axes[0]
        if labels is None:
            labels, name = np.zeros(len(clean), dtype=int), ""
        else:
            name = "label"
        values = np.unique(labels)
        for ax, table, title in zip(self.axes_, tables, titles, strict=True):
            drawn = _scatter_groups(ax, table, labels, values, name, kwargs)
            ax.set_title(title.replace("\n", ", "))
            ax.set_xlabel(axis_names[0])
        self.axes_[0].set_ylabel(axis_names[1])
        if not shared:
            # the user's axes: join their limits without joining the axes for good
            points = np.vstack(tables)
            margin = 0.05 * np.ptp(points, axis=0) + 1e-12
            low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
            for ax in self.axes_:
                ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        if 1 < len(values) <= _MAX_LEGEND_ENTRIES:
            _outside_legend(self.axes_[-1], drawn)


# Numbers that a history may carry beside the losses.
_NOT_LOSSES = frozenset(
    {"phase", "epoch", "dur", "duration", "time", "lr", "n_changed", "label_change"}
)


def _is_number(value):
    # np.bool_ is no Number; bool is one, but it is no loss
    return isinstance(value, Number) and not isinstance(value, bool)


class LossDisplay:
    """Loss terms by epoch, phase after phase.

    It is recommended to use :meth:`from_estimator`.

    Parameters
    ----------
    history : list of dict
        One entry an epoch, in order, with the keys "phase" (str) and "epoch" (int),
        and a number for each loss term. An entry may lack a term.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the losses.

    figure_ : matplotlib Figure
        Figure containing the axes.

    lines_ : dict of str to matplotlib Line2D
        The line of each term. It is interrupted between phases, whose objectives
        differ, and where the history lacks the term.

    legend_ : matplotlib Legend
        The legend.

    See Also
    --------
    LossDisplay.from_estimator : Draw the history of a fitted estimator.

    Examples
    --------
    >>> from deepcluster_sk.plotting import LossDisplay
    >>> history = [
    ...     {"phase": "pretrain", "epoch": 1, "loss": 2.0},
    ...     {"phase": "pretrain", "epoch": 2, "loss": 1.0},
    ...     {"phase": "cluster", "epoch": 1, "loss": 0.9, "clustering": 0.2},
    ... ]
    >>> display = LossDisplay(history).plot()
    >>> sorted(display.lines_)
    ['clustering', 'loss']
    """

    def __init__(self, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, terms=None, yscale="auto", **kwargs):
        """Draw the training history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            Estimator with a `history_`.

        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.

        terms : list of str, default=None
            The terms to draw. None draws every number in the history except the epoch,
            durations ("dur"), learning rates ("lr") and label changes.

        yscale : {"auto", "linear", "log", "symlog"}, default="auto"
            Scale of the losses, as in :meth:`plot`.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : :class:`LossDisplay`
            The display, drawn.

        Raises
        ------
        AttributeError
            If the estimator has no `history_`.
        """
        caller = f"{cls.__name__}.from_estimator"
        history = getattr(estimator, "history_", None)
        if history is None:
            raise AttributeError(
                f"{caller} needs a fitted estimator with the attribute 'history_'. Got "
                f"{type(estimator).__name__}, which has none."
            )
        return cls(history).plot(ax=ax, terms=terms, yscale=yscale, **kwargs)

    def plot(self, ax=None, *, terms=None, yscale="auto", **kwargs):
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.

        terms : list of str, default=None
            The terms to draw. None draws every number in the history except the epoch,
            durations ("dur"), learning rates ("lr") and label changes.

        yscale : {"auto", "linear", "log", "symlog"}, default="auto"
            Scale of the losses. "auto" is linear, or where the values span more than
            two orders of magnitude logarithmic, symmetrically if any is not positive.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : :class:`LossDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If the history is empty, a term is not in it, or `yscale` is unknown.
        """
        if yscale not in ("auto", "linear", "log", "symlog"):
            raise ValueError(
                "yscale must be 'auto', 'linear', 'log' or 'symlog'. Got "
                f"{yscale!r} instead."
            )
        history = [dict(entry) for entry in self.history]
        terms = self._check_terms(history, terms)
        spans = _phase_spans([entry.get("phase") for entry in history])
        ax = _new_axes(f"{type(self).__name__}.plot", ax)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, {}
        index = 0
        for term in terms:
            x, y = _interrupted_curve(history, spans, term)
            if term == "loss":
                style = {"color": "black", "linewidth": 3}  # seen behind another
            else:
                style = {"color": _COLORS[index % len(_COLORS)], "linewidth": 1.5}
                style["linestyle"] = ("-", "--", ":")[index // len(_COLORS) % 3]
                index += 1
            options = {
                **style,
                "marker": "o",
                "markersize": 5,
                "markevery": _isolated(y),
                "label": term,
                **kwargs,
            }
            (self.lines_[term],) = ax.plot(x, y, **options)
        self._set_scale(yscale)
        ax.set(xlabel="epoch", ylabel="loss", xlim=(0.5, len(history) + 0.5))
        ax.xaxis.get_major_locator().set_params(integer=True)
        self.legend_ = _outside_legend(ax, list(self.lines_.values()))
        for handle in self.legend_.legend_handles:
            handle.set_marker("")
        _mark_phases(ax, spans)
        return self

    def _check_terms(self, history, terms):
        if not history:
            raise ValueError("history must hold at least one epoch. Got an empty one.")
        known = list(
            dict.fromkeys(
                key
                for entry in history
                for key, value in entry.items()
                if _is_number(value) and key not in ("phase", "epoch")
            )
        )
        if terms is None:
            terms = [key for key in known if key not in _NOT_LOSSES]
        elif isinstance(terms, str):
            raise ValueError(f"terms must be a list of names. Got the str {terms!r}.")
        unknown = [term for term in terms if term not in known]
        if unknown or not terms:
            raise ValueError(
                f"terms must name numbers in the history, which has {known}. Got "
                f"{list(terms)}."
            )
        return list(terms)

    def _set_scale(self, yscale):
        values = np.concatenate([line.get_ydata() for line in self.lines_.values()])
        values = values[np.isfinite(values)]
        sizes = np.abs(values[values != 0])
        if yscale == "auto":
            wide = len(sizes) > 0 and sizes.max() > 100 * sizes.min()
            yscale = "linear"
            if wide:
                yscale = "log" if values.min() > 0 else "symlog"
        if yscale == "symlog":
            # linear up to the smaller values, so that a curve near zero keeps its form
            # (a power of ten: other thresholds get ticks on top of one another)
            typical = np.quantile(sizes, 0.1) if len(sizes) else 1.0
            threshold = 10.0 ** np.ceil(np.log10(typical))
            self.ax_.set_yscale("symlog", linthresh=threshold)
        else:
            self.ax_.set_yscale(yscale)


def _phase_spans(phases):
    """Split into runs of equal phases: (name, start, stop), epochs counted from 0."""
    starts = [i for i in range(len(phases)) if i == 0 or phases[i] != phases[i - 1]]
    return [
        (phases[start], start, stop)
        for start, stop in zip(starts, [*starts[1:], len(phases)], strict=True)
    ]


def _interrupted_curve(history, spans, term):
    """Epochs counted from 1 and values of a term, a NaN between any two phases."""
    x, y = [], []
    for _, start, stop in spans:
        if start:
            x.append(start + 0.5)
            y.append(np.nan)
        for i in range(start, stop):
            value = history[i].get(term)
            x.append(i + 1)
            y.append(float(value) if _is_number(value) else np.nan)
    return np.array(x), np.array(y)


def _isolated(y):
    """Find the values without a neighbour, where a line alone shows nothing."""
    known = np.r_[False, np.isfinite(y), False]
    return np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]).tolist()


def _mark_phases(ax, spans):
    """Shade every other phase and write the names above the axes."""
    spans = [span for span in spans if span[0] is not None]
    n_epochs = max((stop for _, _, stop in spans), default=0)
    width = ax.get_window_extent().width / ax.figure.dpi  # inches
    # A letter of the small font is about 0.085 inch wide.
    fits = all(
        len(str(name)) * 0.085 < (stop - start) / n_epochs * width
        for name, start, stop in spans
    )
    style = {"ha": "center"} if fits else {"ha": "left", "rotation": 40}
    position = -np.inf
    for i, (name, start, stop) in enumerate(spans):
        if i % 2:
            ax.axvspan(start + 0.5, stop + 0.5, color="0.92", linewidth=0, zorder=0)
        middle = (start + stop + 1) / 2
        if not fits:  # names of short phases side by side would cover one another
            middle = max(middle, position + 0.25 / width * n_epochs)
        position = middle
        ax.text(
            middle,
            1.015,
            str(name),
            transform=ax.get_xaxis_transform(),
            va="bottom",
            fontsize="small",
            rotation_mode="anchor",
            **style,
        )


class ObjectiveMismatchDisplay:
    """Performance against auxiliary loss, with the regression between them.

    Shows the regression-based measure of objective function mismatch (R-OFM). A curve
    that falls from left to right (negative slope) means that minimising the auxiliary
    loss goes with better clustering. It is recommended to use :meth:`from_values`.

    Parameters
    ----------
    auxiliary_loss : array-like of shape (n_checkpoints,)
        The auxiliary loss at checkpoints of training, in order.

    performance : array-like of shape (n_checkpoints,)
        The clustering performance at the same checkpoints, for instance the accuracy or
        the silhouette; larger is better.

    result : object
        The regression, as :func:`deepcluster_sk.metrics.objective_mismatch` returns
        it: with `slope`, `r2` and `predict(auxiliary_loss)`.

    auxiliary_name : str, default="auxiliary loss"
        What the auxiliary loss is called on its axis.

    performance_name : str, default="performance"
        What the performance is called on its axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.

    figure_ : matplotlib Figure
        Figure containing the axes.

    scatter_ : matplotlib PathCollection
        The checkpoints, from dark to bright in the order of training.

    line_ : matplotlib Line2D
        The regression polynomial over the range of the auxiliary loss.

    colorbar_ : matplotlib Colorbar or None
        The legend of the order.

    See Also
    --------
    ObjectiveMismatchDisplay.from_values : Fit the regression and draw it.

    References
    ----------
    D. J. Trosten, S. Løkse, R. Jenssen, M. Kampffmeyer, "Leveraging tensor kernels to
    reduce objective function mismatch in deep clustering", Pattern Recognition 149,
    2024, equations 19-21.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from deepcluster_sk.plotting import ObjectiveMismatchDisplay
    >>> result = SimpleNamespace(slope=-0.5, r2=1.0, predict=lambda a: 1 - 0.5 * a)
    >>> display = ObjectiveMismatchDisplay([1.0, 0.5, 0.0], [0.5, 0.75, 1.0], result)
    >>> display.plot().line_.get_label()
    'slope -0.5, R² 1.00'
    """

    def __init__(
        self,
        auxiliary_loss,
        performance,
        result,
        *,
        auxiliary_name="auxiliary loss",
        performance_name="performance",
    ):
        self.auxiliary_loss = auxiliary_loss
        self.performance = performance
        self.result = result
        self.auxiliary_name = auxiliary_name
        self.performance_name = performance_name

    @classmethod
    def from_values(
        cls,
        auxiliary_loss,
        performance,
        degree=2,
        *,
        auxiliary_name="auxiliary loss",
        performance_name="performance",
        ax=None,
        colorbar=True,
        **kwargs,
    ):
        """Fit the regression of the performance on the auxiliary loss and draw it.

        Parameters
        ----------
        auxiliary_loss : array-like of shape (n_checkpoints,)
            The auxiliary loss at checkpoints of training, in order.

        performance : array-like of shape (n_checkpoints,)
            The clustering performance at the same checkpoints.

        degree : int, default=2
            Degree of the polynomial, as in
            :func:`deepcluster_sk.metrics.objective_mismatch`.

        auxiliary_name : str, default="auxiliary loss"
            What the auxiliary loss is called on its axis.

        performance_name : str, default="performance"
            What the performance is called on its axis.

        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.

        colorbar : bool, default=True
            Whether to explain the colours, the order of the checkpoints.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : :class:`ObjectiveMismatchDisplay`
            The display, drawn.
        """
        from .metrics import objective_mismatch

        _pyplot(f"{cls.__name__}.from_values")
        display = cls(
            auxiliary_loss,
            performance,
            objective_mismatch(auxiliary_loss, performance, degree=degree),
            auxiliary_name=auxiliary_name,
            performance_name=performance_name,
        )
        return display.plot(ax=ax, colorbar=colorbar, **kwargs)

    def plot(self, ax=None, *, colorbar=True, **kwargs):
        """Draw the checkpoints and the regression.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.

        colorbar : bool, default=True
            Whether to explain the colours, the order of the checkpoints.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : :class:`ObjectiveMismatchDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If the two series are not finite, one-dimensional and of one length.
        """
        check = {"dtype": np.float64, "ensure_2d": False}
        loss = check_array(self.auxiliary_loss, input_name="auxiliary_loss", **check)
        performance = check_array(self.performance, input_name="performance", **check)
        for name, series in (("auxiliary_loss", loss), ("performance", performance)):
            if series.ndim != 1:
                raise ValueError(
                    f"{name} must have shape (n_checkpoints,). Got shape "
                    f"{series.shape}."
                )
        check_consistent_length(loss, performance)
        ax = _new_axes(f"{type(self).__name__}.plot", ax)
        self.ax_, self.figure_ = ax, ax.figure
        order = np.arange(1, len(loss) + 1)
        options = {"c": order, "cmap": "cividis", "s": 25, **kwargs}
        self.scatter_ = ax.scatter(loss, performance, **options)
        grid = np.linspace(loss.min(), loss.max(), 200)
        (self.line_,) = ax.plot(
            grid,
            self.result.predict(grid),
            color=_COLORS[2],
            linewidth=2,
            label=f"slope {self.result.slope:.3g}, R² {self.result.r2:.2f}",
        )
        ax.set(xlabel=self.auxiliary_name, ylabel=self.performance_name)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False)
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = ax.figure.colorbar(
                self.scatter_, ax=ax, label="checkpoint"
            )
        return self
