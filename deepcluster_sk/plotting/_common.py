"""What the displays share: colours, checks, projections and legends."""

from numbers import Number

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._optional_dependencies import check_matplotlib_support

# M. A. Petroff, "Accessible Color Sequences for Data Visualization", 2021
# (arXiv:2107.02270): ten colours told apart under the common colour-vision deficiencies
COLORS = (
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
MAX_LEGEND_ENTRIES = 24


def pyplot(caller):
    """Import pyplot on first use, with scikit-learn's message where it is missing."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt

    return plt


def new_axes(caller, ax):
    """Return `ax`, or the axes of a new figure that makes room for what is outside."""
    plt = pyplot(caller)
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def check_method(estimator, name, caller):
    """Return a method of the estimator, or say which one is missing."""
    method = getattr(estimator, name, None)
    if method is None:
        raise AttributeError(
            f"{caller} needs an estimator with the method '{name}'. Got "
            f"{type(estimator).__name__}, which has none."
        )
    return method


def check_table(values, name):
    return check_array(values, dtype=np.float64, input_name=name)


def check_labels(labels, n_samples, name="labels"):
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
        "color": COLORS[index % len(COLORS)],
        "marker": _MARKERS[index // len(COLORS) % len(_MARKERS)],
    }


def styles(values):
    """Styles of the distinct labels; -1 takes no colour from the others."""
    values = values.tolist()
    shift = int(-1 in values)
    return [_style(value, i - shift) for i, value in enumerate(values)]


def crowding(n_samples):
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


def planar(X, names, *others):
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


def scatter_groups(ax, points, labels, values, name, kwargs):
    """One scatter a label, in the colours of `styles`. Returns the collections."""
    drawn = []
    for value, style in zip(values, styles(values), strict=True):
        group = points[labels == value]
        options = {**crowding(len(points)), **style, **kwargs}
        unlabelled = style["marker"] == "x"
        if unlabelled:
            options["linewidths"] = 0.8
        # a number needs a noun ("cluster 3"), a name does not ("Adelie")
        text = str(value) if isinstance(value, str) else f"{name} {value}".strip()
        text = "unlabelled" if unlabelled else text
        drawn.append(ax.scatter(group[:, 0], group[:, 1], label=text, **options))
    return drawn


def outside_legend(ax, handles=None, **kwargs):
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
