"""Clusterers compared over several sets of data: tables and a picture of records.

Two peers are what every method is measured against: k-means, and UMAP followed by
k-means. All figures of a method on a set of data are means over its seeds.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.stats import rankdata, spearmanr

from benchmarks._harness import group, values
from benchmarks._tables import markdown_table

KMEANS, UMAP_KMEANS = "k-means", "UMAP + k-means"
REFERENCES = (KMEANS, UMAP_KMEANS)
# How far below UMAP + k-means a mean NMI still counts as no worse.
TOLERANCE = 0.005
SCORES = {"acc": "ACC", "nmi": "NMI", "ari": "ARI"}
# A picture goes down to so much below the lower of the two.
SHOWN_BELOW = 0.25
YES, NO = "✓", "–"
# Colours that can be told apart, one a kind of marker; peers are drawn hollow.
COLORS = (
    "#bd1f01",
    "#3f90da",
    "#e88b00",
    "#832db6",
    "#008f6b",
    "#a96b59",
    "#e0569b",
    "#5b6fd6",
    "#7a8b00",
    "#00a0b4",
    "#717581",
    "#b9ac70",
)
MARKERS = "osD^v<>Phd*X"


def table_of_set(records):
    """Markdown table of the methods on one set of data, by NMI.

    Means and standard deviations; the best of a column is bold, references are in
    italics.

    Parameters
    ----------
    records : list of dict
        All of the same data.

    Returns
    -------
    str
    """
    found = {method: m for (method,), m in group(records, "method").items()}
    best = {s: max(mean(m, s) for m in found.values()) for s in SCORES}
    rows = []
    for method in sorted(found, key=lambda name: -mean(found[name], "nmi")):
        members = found[method]
        row = [f"*{method}*" if method in REFERENCES else method]
        for score in SCORES:
            text = with_deviation(values(members, score))
            row.append(f"**{text}**" if mean(members, score) == best[score] else text)
        row += [written_cost(members), f"{mean(members, 'growth_mib'):.0f}"]
        rows.append(row)
    return markdown_table(["method", *SCORES.values(), "CPU s", "MiB"], rows)


def mean(records, metric):
    """Mean of a figure over records, nan without any."""
    figures = values(records, metric)
    return float(figures.mean()) if len(figures) else float("nan")


def with_deviation(figures):
    """Write ``mean ± deviation``, or the figure if there is only one."""
    text = f"{figures.mean():.3f}"
    return text if len(figures) == 1 else f"{text} ± {figures.std(ddof=1):.3f}"


def cost(records):
    """Mean processor seconds, or wall seconds if some record has no others."""
    figures = values(records, "cpu_seconds")
    return mean(records, "cpu_seconds" if len(figures) == len(records) else "seconds")


def written_cost(records):
    """The cost, marked where it is wall seconds: of one thread, these are no fewer."""
    bound = "" if len(values(records, "cpu_seconds")) == len(records) else "≤ "
    return f"{bound}{cost(records):.2f}"


def known_cells(found):
    """Mean NMI and cost by set of data and method.

    Parameters
    ----------
    found : dict of (data, method) to list of dict

    Returns
    -------
    nmi, cost : dict of (data, method) to float
    """
    return (
        {key: mean(members, "nmi") for key, members in found.items()},
        {key: cost(members) for key, members in found.items()},
    )


def marks_table(found, methods, sets):
    """Markdown table of where methods are no worse than k-means and than UMAP.

    A cell has a mark for k-means, then one for UMAP + k-means less the tolerance.

    Parameters
    ----------
    found : dict of (data, method) to list of dict
    methods, sets : sequence of str
        Rows and columns; without records they are left out.

    Returns
    -------
    str
    """
    nmi, seconds = known_cells(found)
    sets = [data for data in sets if any(key[0] == data for key in nmi)]
    rows = []
    for method in methods:
        cells = []
        counts = {name: [] for name in (KMEANS, UMAP_KMEANS, "time")}
        for data in sets:
            marks = []
            for rival, tolerance in ((KMEANS, 0), (UMAP_KMEANS, TOLERANCE)):
                if {(data, method), (data, rival)} <= nmi.keys():
                    # A rounding error is no difference.
                    gap = nmi[data, rival] - tolerance - nmi[data, method]
                    counts[rival].append(gap <= 1e-9)
                    marks.append(YES if gap <= 1e-9 else NO)
                else:
                    marks.append(" ")
            if marks[1] in (YES, NO):
                in_time = seconds[data, method] <= seconds[data, UMAP_KMEANS]
                counts["time"].append(marks[1] == YES and in_time)
            cells.append(" ".join(marks).strip())
        if any(cells):
            numbers = [f"{sum(c)} of {len(c)}" if c else "" for c in counts.values()]
            rows.append([method, *cells, *numbers])
    header = ["method", *sets, KMEANS, f"{UMAP_KMEANS} - {TOLERANCE}", "in its time"]
    return markdown_table(header, rows)


def standings_table(found, methods, sets):
    """Markdown table of mean NMI over sets, mean rank, and time beside UMAP.

    Parameters
    ----------
    found : dict of (data, method) to list of dict
    methods, sets : sequence of str

    Returns
    -------
    str
        Methods with records on all sets first, by mean NMI. Only they have a rank.
    """
    nmi, seconds = known_cells(found)
    sets = [data for data in sets if any(key[0] == data for key in nmi)]
    on = {m: [data for data in sets if (data, m) in nmi] for m in methods}
    complete = [m for m in methods if len(on[m]) == len(sets)]
    scores = np.array([[nmi[data, m] for m in complete] for data in sets])
    ranks = dict(zip(complete, rankdata(-scores, axis=1).mean(axis=0), strict=True))
    over = {m: np.mean([nmi[data, m] for data in on[m]]) for m in methods if on[m]}
    rows = []
    for method in sorted(over, key=lambda m: (m not in ranks, -over[m])):
        row = [f"*{method}*" if method in REFERENCES else method, str(len(on[method]))]
        row.append(f"{over[method]:.3f}")
        shared = [data for data in on[method] if (data, UMAP_KMEANS) in nmi]
        if shared:
            rival = np.mean([nmi[data, UMAP_KMEANS] for data in shared])
            own = np.mean([nmi[data, method] for data in shared])
            times = [seconds[d, method] / seconds[d, UMAP_KMEANS] for d in shared]
            row += [f"{rival:.3f}", f"{own - rival:+.3f}"]
            row.append(f"{np.exp(np.mean(np.log(times))):.2f}")
        else:
            row += [""] * 3
        rows.append([*row, f"{ranks[method]:.1f}" if method in ranks else ""])
    header = ["method", "sets", "mean NMI", "that of UMAP", "difference"]
    return markdown_table([*header, "CPU s by UMAP's", "mean rank"], rows)


def objective_table(found, methods, sets):
    """Markdown table of the rank correlation of objective and NMI over seeds.

    Parameters
    ----------
    found : dict of (data, method) to list of dict
    methods, sets : sequence of str

    Returns
    -------
    str
        A cell is empty where a figure is the same for all seeds.
    """
    rows = []
    for method in methods:
        cells = [rank_correlation(found.get((data, method), ())) for data in sets]
        if not np.isnan(cells).all():
            texts = ["" if np.isnan(c) else f"{c:+.2f}" for c in cells]
            rows.append([method, *texts, f"{np.nanmean(cells):+.2f}"])
    if not rows:
        return "No objectives are on record, or none that differ between seeds."
    return markdown_table(["method", *sets, "mean"], rows)


def rank_correlation(records):
    """Spearman's, of objective and NMI; nan where one of them does not vary."""
    pairs = [
        (record["result"]["objective"], record["result"]["nmi"])
        for record in records
        if "objective" in record["result"]
    ]
    if len(pairs) < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant figure: nan
        return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def lowest_shown(scores):
    """What a panel reaches down to, so that one failure does not flatten the rest."""
    known = [scores[name] for name in REFERENCES if name in scores] or scores.values()
    return max(min(scores.values()), min(known) - SHOWN_BELOW)


def looks_of(ours, peers):
    """Colour and marker of each name, no pair of them twice."""
    looks = {}
    for i, name in enumerate(ours):
        # With each round of the markers, other colours go with them.
        color = COLORS[(i + 5 * (i // len(MARKERS))) % len(COLORS)]
        looks[name] = {"facecolors": color, "edgecolors": color}
        looks[name]["marker"] = MARKERS[i % len(MARKERS)]
    for i, name in enumerate(peers):
        rest = COLORS[-1 - (i + 5 * (i // len(MARKERS))) % len(COLORS)]
        color = "black" if name in REFERENCES else rest
        looks[name] = {"facecolors": "none", "edgecolors": color}
        looks[name]["marker"] = MARKERS[i % len(MARKERS)]
    return looks


def _label_references(ax, points):
    """Write the names of the references at their points, away from each other."""
    highest = max((y for _, y in points.values()), default=0)
    for name, (x, y) in points.items():
        above = y == highest
        ax.axhline(y, color="0.8", linewidth=0.8, zorder=1)
        ax.annotate(
            name,
            (x, y),
            xytext=(-4, 6 if above else -6),
            textcoords="offset points",
            ha="left" if name == KMEANS else "center",
            va="bottom" if above else "top",
            fontsize=7.5,
            zorder=2,
        )


def draw_nmi_by_cost(found, ours, peers, sets, path):
    """Draw NMI against processor seconds, a panel a set of data.

    Points far below the references are drawn at the lower edge.

    Parameters
    ----------
    found : dict of (data, method) to list of dict
    ours, peers : sequence of str
        Drawn filled, and hollow.
    sets : sequence of str
    path : Path
    """
    nmi, seconds = known_cells(found)
    sets = [data for data in sets if any(key[0] == data for key in nmi)]
    looks = looks_of(ours, peers)
    n_columns = min(3, len(sets))
    n_rows = -(-len(sets) // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(8, 2.4 * n_rows + 2),
        squeeze=False,
        layout="constrained",
    )
    handles = {}
    for ax, data in zip(axes.flat, sets, strict=False):
        points = {
            name: (seconds[data, name], nmi[data, name])
            for name in looks
            if (data, name) in nmi
        }
        _label_references(
            ax, {name: points[name] for name in REFERENCES if name in points}
        )
        floor = lowest_shown({name: y for name, (_, y) in points.items()})
        for name, (x, y) in points.items():
            handles[name] = ax.scatter(
                x,
                max(y, floor),
                s=34,
                linewidths=1.4,
                zorder=3,
                label=name,
                **looks[name],
            )
        ax.set(xscale="log")
        ax.set_title(data, fontsize=10)
        ax.margins(y=0.12)
        ax.xaxis.set_major_locator(LogLocator(numticks=6))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(labelsize=8)
    for ax in axes.flat[len(sets) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("NMI (higher is better)", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("CPU seconds (left is better)", fontsize=9)
    shown = [handles[name] for name in looks if name in handles]
    figure.legend(
        handles=shown,
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
        title="filled: methods of this library; hollow: peers",
        title_fontsize=9,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)
