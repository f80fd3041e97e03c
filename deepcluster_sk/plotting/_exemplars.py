"""The display of what clusters are: decoded centroids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ExemplarDisplay"]

# Lines of more features than that hide one another.
MAX_PROFILE_FEATURES = 20


def _typical_rows(estimator, X, labels, clusters):
    """The row of each cluster that is nearest to the mean of its embedding."""
    X = check_array(X, input_name="X")
    embedding = estimator.transform(X)
    typical = []
    for cluster in clusters:
        (members,) = np.nonzero(labels == cluster)
        codes = embedding[members].astype(np.float64)
        distance = np.square(codes - codes.mean(axis=0)).sum(axis=1)
        typical.append(members[distance.argmin()])
    return X[typical]


class ExemplarDisplay:
    """Exemplars of clusters: as images, as profiles or as a map of the features.

    Without images, few features are drawn as a line for each cluster, more than 20 as
    a map with a row for each cluster: ten lines of 64 values would hide one another.

    Parameters
    ----------
    exemplars : array-like of shape (n_clusters, n_features)
        One row a cluster, in the units of the data.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row as an image, with 1 or 3 channels; None draws profiles or a
        map.
    counts : array-like of shape (n_clusters,) or None, default=None
        Numbers of samples, shown beside the clusters.
    feature_names : array-like of str of shape (n_features,) or None, default=None
        Ticks of profiles and maps; None numbers the features.
    clusters : array-like of shape (n_clusters,) or None, default=None
        The cluster that each row is an exemplar of; None numbers the rows.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of matplotlib Axes
        One an image; a single one for profiles and maps.

    See Also
    --------
    ExemplarDisplay.from_estimator : Show the exemplars of a fitted estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.plotting import ExemplarDisplay
    >>> display = ExemplarDisplay(np.eye(4), image_shape=(1, 2, 2)).plot()
    >>> display.axes_.shape
    (4,)
    """

    def __init__(
        self,
        exemplars: ArrayLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        counts: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        clusters: ArrayLike | None = None,
    ) -> None:
        self.exemplars = exemplars
        self.image_shape = image_shape
        self.counts = counts
        self.feature_names = feature_names
        self.clusters = clusters

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        X: ArrayLike | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        axes: Any | None = None,
        **kwargs: Any,
    ) -> Self:
        """Show the exemplars of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted, with ``exemplars_``, such as :class:`~deepcluster_sk.PCX`; or, where
            there are samples, with ``predict`` and ``transform``.
        X : array-like of shape (n_samples, n_features) or None, default=None
            Samples that are counted beside the clusters; None counts those of the
            training. If the estimator has no exemplars, the exemplar of a cluster is
            the sample that is nearest to the mean of its embedding. A cluster without
            samples is left out then.
        image_shape : tuple of int (C, H, W) or None, default=None
            None takes the estimator's; profiles are drawn if it has none.
        axes : matplotlib Axes, array of them or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Passed to ``imshow`` (images and maps) or ``plot`` (profiles).

        Returns
        -------
        display : ExemplarDisplay
            The display, drawn.

        Raises
        ------
        AttributeError
            If the estimator has no exemplars, and there are no samples.

        Examples
        --------
        >>> from deepcluster_sk import TensorizedAutoencoder
        >>> from deepcluster_sk.plotting import ExemplarDisplay
        >>> X = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [8.0, 0.0], [9.0, 0.0]]
        >>> model = TensorizedAutoencoder(2, random_state=0).fit(X)
        >>> ExemplarDisplay.from_estimator(model, X).counts
        array([3, 2])
        """
        check_is_fitted(estimator)
        if X is None and not hasattr(estimator, "exemplars_"):
            raise AttributeError(
                f"{cls.__name__}.from_estimator needs an estimator with 'exemplars_', "
                f"or samples X. Got {type(estimator).__name__}, which has none."
            )
        labels = estimator.labels_ if X is None else estimator.predict(X)
        if hasattr(estimator, "exemplars_"):
            exemplars = estimator.exemplars_
            clusters = np.arange(len(exemplars))
        else:
            clusters = np.unique(labels)
            exemplars = _typical_rows(estimator, X, labels, clusters)
        if image_shape is None:
            image_shape = getattr(estimator, "image_shape", None)
        display = cls(
            exemplars,
            image_shape=image_shape,
            counts=(labels == clusters[:, None]).sum(axis=1),
            feature_names=getattr(estimator, "feature_names_in_", None),
            clusters=clusters,
        )
        return display.plot(axes=axes, **kwargs)

    def plot(self, axes: Any | None = None, **kwargs: Any) -> Self:
        """Draw the exemplars.

        Parameters
        ----------
        axes : matplotlib Axes, array of them or None, default=None
            One for profiles or a map, one a cluster for images; None makes a figure.
        **kwargs : dict
            Passed to ``imshow`` (images and maps) or ``plot`` (profiles).

        Returns
        -------
        display : ExemplarDisplay
            The display itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        exemplars = check_array(self.exemplars, input_name="exemplars")
        clusters = range(len(exemplars)) if self.clusters is None else self.clusters
        titles = [f"cluster {k}" for k in clusters]
        if self.counts is not None:
            titles = [f"{t} ({n})" for t, n in zip(titles, self.counts, strict=True)]
        if self.image_shape is not None:
            self._plot_images(exemplars, titles, axes, kwargs)
        elif exemplars.shape[1] > MAX_PROFILE_FEATURES:
            self._plot_map(exemplars, titles, axes, kwargs)
        else:
            self._plot_profiles(exemplars, titles, axes, kwargs)
        self.figure_ = self.axes_.flat[0].figure
        return self

    def _plot_images(self, exemplars, titles, axes, kwargs):
        shape = tuple(self.image_shape)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(
                "The 'image_shape' parameter of ExemplarDisplay must be (C, H, W) with "
                f"1 or 3 channels. Got {self.image_shape!r} instead."
            )
        if np.prod(shape) != exemplars.shape[1]:
            raise ValueError(
                f"image_shape={shape} of ExemplarDisplay means rows of "
                f"{np.prod(shape)} values, but exemplars have {exemplars.shape[1]}."
            )
        images = exemplars.reshape(-1, *shape).transpose(0, 2, 3, 1)
        low, high = images.min(), images.max()
        if shape[0] == 3:
            # Matplotlib wants colours in [0, 1]: one scale for all exemplars.
            images = (images - low) / max(high - low, np.finfo(images.dtype).tiny)
        else:
            images = images[..., 0]
            kwargs = {"cmap": "gray", "vmin": low, "vmax": high, **kwargs}
        self.axes_ = self._image_axes(axes, len(images))
        for ax, image, title in zip(self.axes_, images, titles, strict=True):
            ax.imshow(image, **kwargs)
            ax.set_title(title, fontsize="small")
            ax.set_axis_off()

    @staticmethod
    def _image_axes(axes, n):
        import matplotlib.pyplot as plt

        if axes is not None:
            axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
            if len(axes) != n:
                raise ValueError(f"{n} exemplars need {n} axes. Got {len(axes)}.")
            return axes
        n_columns = min(n, 5)
        n_rows = -(-n // n_columns)
        _, grid = plt.subplots(
            n_rows,
            n_columns,
            figsize=(1.2 * n_columns, 1.4 * n_rows),
            squeeze=False,
            layout="constrained",
        )
        for ax in grid.ravel()[n:]:
            ax.remove()
        return grid.ravel()[:n]

    @staticmethod
    def _single_axes(axes):
        import matplotlib.pyplot as plt

        if axes is None:
            _, axes = plt.subplots(layout="constrained")
        return np.atleast_1d(np.asarray(axes, dtype=object)).ravel()[0]

    def _plot_map(self, exemplars, titles, axes, kwargs):
        ax = self._single_axes(axes)
        image = ax.imshow(
            exemplars, **{"aspect": "auto", "interpolation": "none", **kwargs}
        )
        ax.figure.colorbar(image, ax=ax, label="value")
        ax.set_yticks(range(len(titles)), titles)
        self._name_features(ax, exemplars.shape[1])
        self.axes_ = np.array([ax], dtype=object)

    def _name_features(self, ax, n_features):
        if self.feature_names is not None:
            names = list(self.feature_names)
            ax.set_xticks(range(n_features), names, rotation=45, ha="right")
        else:
            ax.set_xlabel("feature")

    def _plot_profiles(self, exemplars, titles, axes, kwargs):
        ax = self._single_axes(axes)
        position = np.arange(exemplars.shape[1])
        for row, title in zip(exemplars, titles, strict=True):
            ax.plot(position, row, **{"marker": "o", "label": title, **kwargs})
        self._name_features(ax, exemplars.shape[1])
        ax.set_ylabel("value")
        ax.legend()
        self.axes_ = np.array([ax], dtype=object)
