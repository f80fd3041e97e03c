"""The display of what clusters are: decoded centroids."""

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

__all__ = ["ExemplarDisplay"]


class ExemplarDisplay:
    """Exemplars of clusters, as images or as profiles over the features.

    Parameters
    ----------
    exemplars : array-like of shape (n_clusters, n_features)
        One row a cluster, in the units of the data.
    image_shape : tuple of int (C, H, W) or None, default=None
        How to read a row as an image, with 1 or 3 channels; None draws profiles.
    counts : array-like of shape (n_clusters,) or None, default=None
        Numbers of samples, shown beside the clusters.
    feature_names : array-like of str of shape (n_features,) or None, default=None
        Ticks of profiles; None numbers the features.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of matplotlib Axes
        One an image; a single one for profiles.

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

    def __init__(self, exemplars, *, image_shape=None, counts=None, feature_names=None):
        self.exemplars = exemplars
        self.image_shape = image_shape
        self.counts = counts
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, estimator, *, image_shape=None, axes=None, **kwargs):
        """Show the exemplars of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted, with ``exemplars_``, such as :class:`~deepcluster_sk.PCX`.
        image_shape : tuple of int (C, H, W) or None, default=None
            None takes the estimator's; profiles are drawn if it has none.
        axes : matplotlib Axes, array of them or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Passed to ``imshow`` (images) or ``plot`` (profiles).

        Returns
        -------
        display : ExemplarDisplay
            The display, drawn.

        Raises
        ------
        AttributeError
            If the estimator has no exemplars.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "exemplars_"):
            raise AttributeError(
                f"{cls.__name__}.from_estimator needs an estimator with 'exemplars_'. "
                f"Got {type(estimator).__name__}, which has none."
            )
        if image_shape is None:
            image_shape = getattr(estimator, "image_shape", None)
        display = cls(
            estimator.exemplars_,
            image_shape=image_shape,
            counts=np.bincount(estimator.labels_, minlength=len(estimator.exemplars_)),
            feature_names=getattr(estimator, "feature_names_in_", None),
        )
        return display.plot(axes=axes, **kwargs)

    def plot(self, axes=None, **kwargs):
        """Draw the exemplars.

        Parameters
        ----------
        axes : matplotlib Axes, array of them or None, default=None
            One for profiles, one a cluster for images; None makes a figure.
        **kwargs : dict
            Passed to ``imshow`` (images) or ``plot`` (profiles).

        Returns
        -------
        display : ExemplarDisplay
            The display itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        exemplars = check_array(self.exemplars, input_name="exemplars")
        titles = [f"cluster {k}" for k in range(len(exemplars))]
        if self.counts is not None:
            titles = [f"{t} ({n})" for t, n in zip(titles, self.counts, strict=True)]
        if self.image_shape is None:
            self._plot_profiles(exemplars, titles, axes, kwargs)
        else:
            self._plot_images(exemplars, titles, axes, kwargs)
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
        n_columns = min(n, 10)
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

    def _plot_profiles(self, exemplars, titles, axes, kwargs):
        import matplotlib.pyplot as plt

        if axes is None:
            _, axes = plt.subplots(layout="constrained")
        ax = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()[0]
        position = np.arange(exemplars.shape[1])
        for row, title in zip(exemplars, titles, strict=True):
            ax.plot(position, row, **{"marker": "o", "label": title, **kwargs})
        if self.feature_names is not None:
            ax.set_xticks(position, list(self.feature_names), rotation=45, ha="right")
        else:
            ax.set_xlabel("feature")
        ax.set_ylabel("value")
        ax.legend()
        self.axes_ = np.array([ax], dtype=object)
