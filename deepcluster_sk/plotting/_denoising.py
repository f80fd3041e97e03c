"""Clean, noisy and denoised samples."""

from __future__ import annotations

from numbers import Integral, Number
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils import check_random_state

from deepcluster_sk.plotting._common import (
    MAX_LEGEND_ENTRIES,
    check_labels,
    check_method,
    check_table,
    outside_legend,
    planar,
    pyplot,
    scatter_groups,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


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
        clean: ArrayLike,
        noisy: ArrayLike,
        denoised: ArrayLike,
        image_shape: tuple[int, ...] | None = None,
        labels: ArrayLike | None = None,
        *,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.clean = clean
        self.noisy = noisy
        self.denoised = denoised
        self.image_shape = image_shape
        self.labels = labels
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        noise_std: float = 0.1,
        n_images: int = 10,
        image_shape: tuple[int, ...] | None = None,
        random_state: int | np.random.RandomState | None = None,
        fig: Any = None,
        axes: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
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
        pyplot(caller)
        denoise = check_method(estimator, "denoise", caller)
        if not isinstance(noise_std, Number) or not 0 <= noise_std < np.inf:
            raise ValueError(f"noise_std must be a float >= 0. Got {noise_std!r}.")
        if image_shape is None:
            image_shape = getattr(estimator, "image_shape", None)
        clean = check_table(X, "X")
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

    def plot(
        self,
        fig: Any = None,
        axes: ArrayLike | None = None,
        *,
        n_images: int = 10,
        **kwargs: Any,
    ) -> Self:
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
        clean = check_table(self.clean, "clean")
        noisy = check_table(self.noisy, "noisy")
        denoised = check_table(self.denoised, "denoised")
        for name, table in (("noisy", noisy), ("denoised", denoised)):
            if table.shape != clean.shape:
                raise ValueError(
                    f"{name} must have the shape of clean, {clean.shape}. Got "
                    f"{table.shape}."
                )
        labels = self.labels
        if labels is not None:
            labels, _ = check_labels(labels, len(clean))
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
                plt = pyplot(f"{type(self).__name__}.plot")
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
        tables, axis_names = planar(clean, names, noisy, denoised)
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
            drawn = scatter_groups(ax, table, labels, values, name, kwargs)
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
        if 1 < len(values) <= MAX_LEGEND_ENTRIES:
            outside_legend(self.axes_[-1], drawn)
