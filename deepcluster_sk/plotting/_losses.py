"""Loss terms by epoch."""

from __future__ import annotations

from numbers import Number
from typing import Any, Literal, Self

import numpy as np

from deepcluster_sk.plotting._common import COLORS, new_axes, outside_legend

# Numbers that a history may carry beside the losses.
_NOT_LOSSES = frozenset(
    {"phase", "epoch", "dur", "duration", "time", "lr"}
    # What methods measure beside their losses.
    | {"n_changed", "label_change", "hardness", "cosine", "conflicted", "n_used"}
    | {"alpha"}
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

    def __init__(self, history: list[dict[str, Any]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Any = None,
        terms: list[str] | None = None,
        yscale: Literal["auto", "linear", "log", "symlog"] = "auto",
        **kwargs: Any,
    ) -> Self:
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

    def plot(
        self,
        ax: Any = None,
        *,
        terms: list[str] | None = None,
        yscale: Literal["auto", "linear", "log", "symlog"] = "auto",
        **kwargs: Any,
    ) -> Self:
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
        ax = new_axes(f"{type(self).__name__}.plot", ax)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, {}
        index = 0
        for term in terms:
            x, y = _interrupted_curve(history, spans, term)
            if term == "loss":
                style = {"color": "black", "linewidth": 3}  # seen behind another
            else:
                style = {"color": COLORS[index % len(COLORS)], "linewidth": 1.5}
                style["linestyle"] = ("-", "--", ":")[index // len(COLORS) % 3]
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
        self.legend_ = outside_legend(ax, list(self.lines_.values()))
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
