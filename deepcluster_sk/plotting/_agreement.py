"""How far several clusterings of the same rows agree."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk.plotting._common import (
    check_labels,
    check_method,
    check_table,
    crowding,
    planar,
    pyplot,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

# Rows whose agreement is below this are listed as disputed.
DISPUTED = 0.5


class AgreementDisplay:
    """Which methods, or runs, find the same clusters, and on which rows they differ.

    The left axes show the adjusted Rand index of each pair of clusterings, in an order
    that puts those next to one another that agree. The right axes show the rows in the
    plane of their two leading principal axes, darker where the clusterings differ.

    It is recommended to use :meth:`from_estimators`.

    Parameters
    ----------
    labels : mapping of str to array-like of shape (n_samples,)
        Clusters of the same rows, found by two methods or more, by their names. What
        the numbers of the clusters are does not matter.

    X : array-like of shape (n_samples, n_features), default=None
        The rows, or their embedding. None leaves out the right axes.

    Attributes
    ----------
    names_ : list of str of length n_methods
        Names in the order in which they are drawn, that of a hierarchical clustering
        with average linkage.

    agreement_ : ndarray of shape (n_methods, n_methods)
        Adjusted Rand index of each pair, in that order: 1 where two clusterings are the
        same, 0 on average where they are unrelated.

    row_agreement_ : ndarray of shape (n_samples,)
        Mean over all pairs of clusterings of the Jaccard index of the two clusters that
        a row is in: rows in both of them, divided by rows in either. In (0, 1], and 1
        where all put a row together with the same others.

    disputed_ : ndarray of shape (n_disputed,)
        Indices of the rows whose agreement is below 0.5, the lowest first.

    figure_ : matplotlib Figure
        Figure containing the axes.

    axes_ : ndarray of matplotlib Axes of shape (1,) or (2,)
        The axes of the matrix and, if there is X, those of the rows.

    im_ : matplotlib AxesImage
        The matrix.

    text_ : ndarray of matplotlib Text of shape (n_methods, n_methods)
        Its values.

    scatter_ : matplotlib PathCollection or None
        The rows.

    See Also
    --------
    sklearn.metrics.adjusted_rand_score : The index of a pair.
    deepcluster_sk.metrics.stability_score : Agreement of fits to different rows.

    Examples
    --------
    >>> from deepcluster_sk.plotting import AgreementDisplay
    >>> labels = {"A": [0, 0, 1, 1, 1], "B": [1, 1, 0, 0, 2]}
    >>> display = AgreementDisplay(labels).plot()
    >>> display.row_agreement_.round(2)
    array([1.  , 1.  , 0.67, 0.67, 0.33])
    >>> display.disputed_
    array([4])
    """

    def __init__(
        self, labels: Mapping[str, ArrayLike], X: ArrayLike | None = None
    ) -> None:
        self.labels = labels
        self.X = X

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any],
        X: ArrayLike,
        *,
        axes: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Compare fitted clusterers on the same rows.

        Parameters
        ----------
        estimators : mapping of str to fitted clusterer
            Two or more, by their names. Rows are given to `predict`; an estimator that
            has none must have been fitted to X, and its `labels_` are taken.

        X : array-like of shape (n_samples, n_features)
            Rows.

        axes : array-like of two matplotlib Axes, default=None
            None makes a new figure.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter` for the rows.

        Returns
        -------
        display : :class:`AgreementDisplay`
            The display, drawn.

        Raises
        ------
        AttributeError
            If an estimator has neither `predict` nor `labels_`.
        ValueError
            If there are fewer than two estimators, or `labels_` are not those of X.
        """
        labels = {}
        for name, estimator in estimators.items():
            check_is_fitted(estimator)
            if not hasattr(estimator, "predict") and hasattr(estimator, "labels_"):
                labels[name] = estimator.labels_
                continue
            caller = f"{cls.__name__}.from_estimators"
            labels[name] = check_method(estimator, "predict", caller)(X)
        return cls(labels, X).plot(axes=axes, **kwargs)

    def plot(self, *, axes: ArrayLike | None = None, **kwargs: Any) -> Self:
        """Draw the matrix, and the rows if there are any.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Those of the matrix and, if there is X, those of the rows. None makes a new
            figure.

        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.scatter` for the rows.

        Returns
        -------
        display : :class:`AgreementDisplay`
            The display itself.

        Raises
        ------
        ValueError
            If there are fewer than two clusterings, they are not of the same rows, or
            the number of axes is wrong.
        """
        labels = self._check_labels()
        X = None if self.X is None else check_table(self.X, "X")
        if X is not None and len(X) != len(labels[0]):
            raise ValueError(
                f"X has {len(X)} rows, and labels are of {len(labels[0])}."
            )
        agreement = agreement_of(labels)
        order = order_by_agreement(agreement)
        names = list(self.labels)
        self.names_ = [names[i] for i in order]
        self.agreement_ = agreement[np.ix_(order, order)]
        self.row_agreement_ = row_agreement_of(labels)
        disputed = np.argsort(self.row_agreement_, kind="stable")
        self.disputed_ = disputed[self.row_agreement_[disputed] < DISPUTED]
        self.axes_ = self._check_axes(axes, 1 if X is None else 2)
        self.figure_ = self.axes_[0].figure
        self._draw_matrix(self.axes_[0])
        self.scatter_ = None
        if X is not None:
            self._draw_rows(self.axes_[1], X, kwargs)
        return self

    def _draw_matrix(self, ax: Axes) -> None:
        n = len(self.names_)
        self.im_ = ax.imshow(self.agreement_, vmin=0, vmax=1, cmap="Blues")
        self.text_ = np.empty((n, n), dtype=object)
        size = float(np.clip(60 / n, 5, 9))
        for (i, j), value in np.ndenumerate(self.agreement_):
            color = "white" if value > 0.6 else "black"
            style = {"ha": "center", "va": "center", "color": color, "fontsize": size}
            self.text_[i, j] = ax.text(j, i, f"{value:.2f}", **style)
        ax.set_xticks(range(n), self.names_, rotation=90)
        ax.set_yticks(range(n), self.names_)
        ax.set_title("adjusted Rand index")

    def _draw_rows(self, ax: Axes, X: NDArray[np.float64], kwargs: Any) -> None:
        (points,), axis_names = planar(X, [f"feature {i}" for i in range(X.shape[1])])
        # The rows in question are few, and are drawn last.
        order = np.argsort(-self.row_agreement_, kind="stable")
        style = {**crowding(len(X)), "alpha": 0.9, "cmap": "viridis", **kwargs}
        style = {"c": self.row_agreement_[order], "vmin": 0, "vmax": 1, **style}
        self.scatter_ = ax.scatter(points[order, 0], points[order, 1], **style)
        self.figure_.colorbar(self.scatter_, ax=ax, label="agreement")
        ax.set(title="rows", xlabel=axis_names[0], ylabel=axis_names[1])

    def _check_labels(self):
        if len(self.labels) < 2:
            raise ValueError(
                "labels must be of at least two clusterings, by their names. Got "
                f"{len(self.labels)}."
            )
        n = len(np.ravel(next(iter(self.labels.values()))))
        return [check_labels(v, n, f"labels[{k!r}]")[0] for k, v in self.labels.items()]

    def _check_axes(self, axes, n_axes):
        if axes is None:
            plt = pyplot(f"{type(self).__name__}.plot")
            side = float(np.clip(0.45 * len(self.names_) + 1.6, 3, 9))
            shape = (side * n_axes + n_axes - 1, side)
            axes = plt.subplots(1, n_axes, figsize=shape, layout="constrained")[1]
        axes = np.ravel(axes)
        if len(axes) != n_axes:
            raise ValueError(f"There must be {n_axes} of axes. Got {len(axes)}.")
        return axes


def agreement_of(labels):
    """Adjusted Rand index of each pair of m clusterings, ``(m, m)``."""
    agreement = np.eye(len(labels))
    for i, j in combinations(range(len(labels)), 2):
        value = adjusted_rand_score(labels[i], labels[j])
        agreement[i, j] = agreement[j, i] = value
    return agreement


def order_by_agreement(agreement):
    """An order of the clusterings in which those that agree are neighbours."""
    distance = squareform(1 - agreement, checks=False)
    return leaves_list(linkage(distance, "average", optimal_ordering=True))


def row_agreement_of(labels):
    """Mean Jaccard index of the two clusters of each row, over all pairs, ``(n,)``."""
    total = np.zeros(len(labels[0]))
    codes = [np.unique(found, return_inverse=True)[1] for found in labels]
    pairs = list(combinations(codes, 2))
    for first, second in pairs:
        both = contingency_matrix(first, second).astype(np.float64)
        either = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
        total += (both / either)[first, second]
    return total / len(pairs)
