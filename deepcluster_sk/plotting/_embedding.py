"""Scatter plot of an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from deepcluster_sk.plotting._common import (
    MAX_LEGEND_ENTRIES,
    check_labels,
    check_method,
    check_table,
    new_axes,
    outside_legend,
    planar,
    pyplot,
    scatter_groups,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def _n_features(estimator):
    return getattr(estimator, "n_features_in_", None)


def _seen_by_last(estimator, X):
    """The samples as the last step of a pipeline sees them."""
    if len(getattr(estimator, "steps", ())) < 2:
        return X
    return estimator[:-1].transform(X)


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

    axis_names : sequence of str, default=None
        What the columns of the embedding are called on the axes. None numbers them.

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

    def __init__(
        self,
        embedding: ArrayLike,
        labels: ArrayLike,
        centers: ArrayLike | None = None,
        *,
        label_name: str = "cluster",
        axis_names: Sequence[str] | None = None,
    ) -> None:
        self.embedding = embedding
        self.labels = labels
        self.centers = centers
        self.label_name = label_name
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        space: Literal["auto", "embedding", "data"] = "auto",
        label_name: str | None = None,
        ax: Any = None,
        legend: bool | None = None,
        **kwargs: Any,
    ) -> Self:
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

        space : {"auto", "embedding", "data"}, default="auto"
            What is drawn: the embedding, or the samples themselves, as the last step of
            a pipeline sees them. "auto" draws the samples where the cluster centres are
            of their width and not of the embedding's: each cluster has an embedding of
            its own then, as in :class:`~deepcluster_sk.TensorizedAutoencoder`, and two
            of them on top of one another say nothing.

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

        ValueError
            If `space` is none of the three.

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
        pyplot(caller)  # before the work, not after it
        if space not in ("auto", "embedding", "data"):
            raise ValueError(
                f"The 'space' parameter of {caller} must be 'auto', 'embedding' or "
                f"'data'. Got {space!r} instead."
            )
        embedding = check_table(
            check_method(estimator, "transform", caller)(X), "embedding"
        )
        if y is None:
            labels = check_method(estimator, "predict", caller)(X)
        else:
            labels = y
        if label_name is None:
            label_name = "cluster" if y is None else "class"
        last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        centers = getattr(last, "cluster_centers_", None)
        width = None if centers is None else np.shape(centers)[1]
        names = None
        if space == "auto" and width not in (None, embedding.shape[1]):
            space = "data" if width == _n_features(last) else "embedding"
        if space == "data":
            embedding = check_table(_seen_by_last(estimator, X), "X")
            names = getattr(last, "feature_names_in_", None)
            if names is None:
                names = [f"feature {i + 1}" for i in range(embedding.shape[1])]
        if width != embedding.shape[1]:
            centers = None
        display = cls(
            embedding, labels, centers, label_name=label_name, axis_names=names
        )
        return display.plot(ax=ax, legend=legend, **kwargs)

    def plot(
        self, ax: Any = None, *, legend: bool | None = None, **kwargs: Any
    ) -> Self:
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
        embedding = check_table(self.embedding, "embedding")
        labels, values = check_labels(self.labels, len(embedding))
        centers = np.empty((0, embedding.shape[1]))
        if self.centers is not None:
            centers = check_table(self.centers, "centers")
            if centers.shape[1] != embedding.shape[1]:
                raise ValueError(
                    f"centers must have the embedding's {embedding.shape[1]} columns. "
                    f"Got {centers.shape[1]}."
                )
        ax = new_axes(f"{type(self).__name__}.plot", ax)
        self.ax_, self.figure_, self.legend_ = ax, ax.figure, None
        if legend is None:
            legend = len(values) <= MAX_LEGEND_ENTRIES
        if embedding.shape[1] == 1:
            self._plot_strips(embedding[:, 0], labels, values, centers[:, 0], kwargs)
            handles = [] if self.centers_ is None else [self.centers_]
        else:
            self._plot_plane(embedding, labels, values, centers, kwargs)
            handles = self.scatters_.copy()
            if self.centers_ is not None:
                handles.append(self.centers_)
        if legend and handles:
            self.legend_ = outside_legend(ax, handles)
        return self

    def _names(self, n_columns):
        """What the first columns of the embedding are called."""
        if self.axis_names is not None:
            return list(self.axis_names)[:n_columns]
        if n_columns == 1:
            return ["embedding"]
        return [f"embedding {i + 1}" for i in range(n_columns)]

    def _plot_plane(self, embedding, labels, values, centers, kwargs):
        (points, centers), axis_names = planar(embedding, self._names(2), centers)
        self.scatters_ = scatter_groups(
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
        self.scatters_ = scatter_groups(
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
        self.ax_.set_xlabel(*self._names(1))
