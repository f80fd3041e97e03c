"""Performance against auxiliary loss, with the regression between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk.plotting._common import COLORS, new_axes, pyplot

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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
    ObjectiveMismatchDisplay.from_estimator : The same, with a loss term of a fit.

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
        auxiliary_loss: ArrayLike,
        performance: ArrayLike,
        result: object,
        *,
        auxiliary_name: str = "auxiliary loss",
        performance_name: str = "performance",
    ) -> None:
        self.auxiliary_loss = auxiliary_loss
        self.performance = performance
        self.result = result
        self.auxiliary_name = auxiliary_name
        self.performance_name = performance_name

    @classmethod
    def from_values(
        cls,
        auxiliary_loss: ArrayLike,
        performance: ArrayLike,
        degree: int = 2,
        *,
        auxiliary_name: str = "auxiliary loss",
        performance_name: str = "performance",
        ax: Any = None,
        colorbar: bool = True,
        **kwargs: Any,
    ) -> Self:
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
        from deepcluster_sk.metrics import objective_mismatch

        pyplot(f"{cls.__name__}.from_values")
        display = cls(
            auxiliary_loss,
            performance,
            objective_mismatch(auxiliary_loss, performance, degree=degree),
            auxiliary_name=auxiliary_name,
            performance_name=performance_name,
        )
        return display.plot(ax=ax, colorbar=colorbar, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        performance: str | ArrayLike,
        degree: int = 2,
        *,
        term: str = "reconstruction",
        phase: str | None = None,
        performance_name: str | None = None,
        ax: Any = None,
        colorbar: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Take the auxiliary loss of each epoch from a fitted estimator, and draw it.

        Parameters
        ----------
        estimator : fitted estimator
            Its `history_` has the loss terms of each epoch.

        performance : str or array-like of shape (n_epochs,)
            The clustering performance after each epoch of the phase: the name under
            which a callback has recorded it in `history_`, or the values.

        degree : int, default=2
            Degree of the polynomial, as in
            :func:`deepcluster_sk.metrics.objective_mismatch`.

        term : str, default="reconstruction"
            The loss term that is the auxiliary loss; its axis is called so.

        phase : str, default=None
            The phase of training. None takes the last one.

        performance_name : str, default=None
            What the performance is called on its axis. None takes the recorded name, or
            "performance".

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

        Raises
        ------
        ValueError
            If the phase has no such term, or `performance` has not one value for each
            epoch of it.

        Examples
        --------
        >>> from deepcluster_sk import IDEC
        >>> from deepcluster_sk.plotting import ObjectiveMismatchDisplay
        >>> small = {"hidden_layer_sizes": (4,), "latent_dim": 1, "max_epochs": 4}
        >>> model = IDEC(2, **small, tol=0, random_state=0)
        >>> model = model.fit([[0.0], [1.0], [8.0], [9.0]])
        >>> display = ObjectiveMismatchDisplay.from_estimator(
        ...     model, performance=[0.5, 0.6, 0.7, 0.8], degree=1
        ... )
        >>> display.ax_.get_xlabel()
        'reconstruction'
        """
        caller = f"{cls.__name__}.from_estimator"
        check_is_fitted(estimator)
        history = estimator.history_
        phase = history[-1]["phase"] if phase is None else phase
        rows = [row for row in history if row["phase"] == phase]
        recorded = isinstance(performance, str)
        for name in (term, performance) if recorded else (term,):
            if not rows or name not in rows[0]:
                known = {row["phase"]: sorted(row) for row in history}
                raise ValueError(
                    f"{caller} finds no {name!r} in the phase {phase!r}. The history "
                    f"of {type(estimator).__name__} has {known}."
                )
        if performance_name is None:
            performance_name = performance if recorded else "performance"
        if recorded:
            performance = [row[performance] for row in rows]
        loss = [row[term] for row in rows]
        if len(loss) != len(performance):
            raise ValueError(
                f"{caller} needs a performance for each of the {len(loss)} epochs of "
                f"the phase {phase!r}. Got {len(performance)}."
            )
        return cls.from_values(
            loss,
            performance,
            degree,
            auxiliary_name=term,
            performance_name=performance_name,
            ax=ax,
            colorbar=colorbar,
            **kwargs,
        )

    def plot(self, ax: Any = None, *, colorbar: bool = True, **kwargs: Any) -> Self:
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
        ax = new_axes(f"{type(self).__name__}.plot", ax)
        self.ax_, self.figure_ = ax, ax.figure
        order = np.arange(1, len(loss) + 1)
        options = {"c": order, "cmap": "cividis", "s": 25, **kwargs}
        self.scatter_ = ax.scatter(loss, performance, **options)
        grid = np.linspace(loss.min(), loss.max(), 200)
        (self.line_,) = ax.plot(
            grid,
            self.result.predict(grid),
            color=COLORS[2],
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
