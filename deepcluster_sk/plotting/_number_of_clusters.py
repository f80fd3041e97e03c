"""Criteria for the number of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk.plotting._common import COLORS, outside_legend, pyplot

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_TITLES = {
    "calinski_harabasz": "Calinski-Harabasz",
    "neighbors": "near neighbours",
}


class NumberOfClustersDisplay:
    """Criteria against the number of clusters, and which number was chosen.

    It is recommended to use :meth:`from_estimator`.

    Parameters
    ----------
    results : dict of ndarrays of shape (n_candidates,)
        With the keys "n_clusters" and, for each criterion, "mean_<name>" and
        "std_<name>"; and "mean_reference_<name>" and "std_reference_<name>" where
        data without clusters are compared with. NaN where nothing was measured.

    n_clusters : int, default=None
        The number that was chosen; 1 means no structure. None marks none.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_criteria,)
        One for each criterion.

    figure_ : matplotlib Figure
        Figure containing the axes.

    lines_ : dict of str to matplotlib Line2D
        The line of each criterion.

    bands_ : dict of str to matplotlib PolyCollection
        The shade of one standard deviation about each line.

    chosen_ : list of matplotlib Line2D
        The marks of the chosen number, one in each axes; empty if there is none.

    legend_ : matplotlib Legend
        The legend, beside the last axes.

    See Also
    --------
    deepcluster_sk.model_selection.NumberOfClustersSearch : Measures the criteria.

    Examples
    --------
    >>> from deepcluster_sk.plotting import NumberOfClustersDisplay
    >>> results = {
    ...     "n_clusters": [2, 3, 4],
    ...     "mean_stability": [0.8, 1.0, 0.7],
    ...     "std_stability": [0.1, 0.0, 0.1],
    ... }
    >>> display = NumberOfClustersDisplay(results, n_clusters=3).plot()
    >>> sorted(display.lines_)
    ['stability']
    """

    def __init__(self, results: dict[str, Any], n_clusters: int | None = None) -> None:
        self.results = results
        self.n_clusters = n_clusters

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        criteria: list[str] | None = None,
        axes: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the results of a fitted search.

        Parameters
        ----------
        estimator : fitted NumberOfClustersSearch
            Search with `cv_results_` and `n_clusters_`.

        criteria : list of str, default=None
            The criteria to draw. None draws all.

        axes : array-like of matplotlib Axes, default=None
            One for each criterion. None makes a new figure.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot` for the criteria.

        Returns
        -------
        display : :class:`NumberOfClustersDisplay`
            The display, drawn.

        Raises
        ------
        AttributeError
            If the estimator is no search for the number of clusters.
        """
        check_is_fitted(estimator)
        for name in ("cv_results_", "n_clusters_"):
            if not hasattr(estimator, name):
                raise AttributeError(
                    f"{cls.__name__}.from_estimator needs a fitted search with the "
                    f"attribute '{name}'. Got {type(estimator).__name__}, which has "
                    "none."
                )
        display = cls(estimator.cv_results_, estimator.n_clusters_)
        return display.plot(criteria=criteria, axes=axes, **kwargs)

    def plot(
        self,
        *,
        criteria: list[str] | None = None,
        axes: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the criteria.

        Parameters
        ----------
        criteria : list of str, default=None
            The criteria to draw. None draws all.

        axes : array-like of matplotlib Axes, default=None
            One for each criterion. None makes a new figure.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot` for the criteria.

        Returns
        -------
        display : :class:`NumberOfClustersDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If a criterion is not in the results, or there are not as many axes as
            criteria.
        """
        criteria = self._check_criteria(criteria)
        self.axes_ = self._check_axes(axes, len(criteria))
        self.figure_ = self.axes_[0].figure
        self.lines_, self.bands_, self.chosen_ = {}, {}, []
        k = np.asarray(self.results["n_clusters"])
        for name, ax in zip(criteria, self.axes_, strict=True):
            if f"mean_reference_{name}" in self.results:
                style = {"color": "0.5", "linestyle": "--", "linewidth": 1}
                self._curve(ax, k, f"reference_{name}", style, "without clusters")
            style = {"color": COLORS[0], "marker": "o", "markersize": 4, **kwargs}
            self.lines_[name], self.bands_[name] = self._curve(
                ax, k, name, style, "data"
            )
            if self.n_clusters is not None:
                what = "1, no structure" if self.n_clusters == 1 else self.n_clusters
                style = {"color": "0.4", "linestyle": ":", "zorder": 0}
                style["label"] = f"chosen: {what}"
                self.chosen_.append(ax.axvline(self.n_clusters, **style))
            first = min(k.min(), self.n_clusters or k.min())
            ax.set(
                title=_TITLES.get(name, name),
                xlabel="n_clusters",
                xlim=(first - 0.5, k.max() + 0.5),
            )
            ax.xaxis.get_major_locator().set_params(integer=True)
        self.legend_ = outside_legend(self.axes_[-1])
        return self

    def _curve(self, ax, k, name, style, label):
        mean = np.asarray(self.results[f"mean_{name}"], dtype=np.float64)
        std = np.asarray(self.results[f"std_{name}"], dtype=np.float64)
        (line,) = ax.plot(k, mean, **{"label": label, **style})
        shade = {"color": line.get_color(), "alpha": 0.2, "linewidth": 0}
        return line, ax.fill_between(k, mean - std, mean + std, **shade)

    def _check_criteria(self, criteria):
        known = [
            key.removeprefix("mean_")
            for key in self.results
            if key.startswith("mean_")
            and f"std_{key.removeprefix('mean_')}" in self.results
            and not key.startswith("mean_reference_")
        ]
        criteria = known if criteria is None else criteria
        if isinstance(criteria, str) or not criteria or {*criteria} - {*known}:
            raise ValueError(
                f"criteria must be a list of names in the results, which have {known}. "
                f"Got {criteria!r}."
            )
        return list(criteria)

    def _check_axes(self, axes, n_criteria):
        if axes is None:
            plt = pyplot(f"{type(self).__name__}.plot")
            _, axes = plt.subplots(
                1,
                n_criteria,
                figsize=(2 + 2.4 * n_criteria, 2.8),
                layout="constrained",
                squeeze=False,
            )
        axes = np.ravel(axes)
        if len(axes) != n_criteria:
            raise ValueError(
                f"There must be one of axes for each of {n_criteria} criteria. Got "
                f"{len(axes)}."
            )
        return axes
