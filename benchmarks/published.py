"""PC-X as published, from random weights, beside the default.

``python -m benchmarks.published``. The recipe of the paper starts from weights and
centroids drawn at random and trains all of it jointly; the default starts from a code
in which neighbours are together. Every few epochs the clustering is scored: the classes
report, they choose nothing. The paper makes 1,000 passes over 70,000 images, 274,000
steps; each row says how many its own budget has.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score
from skorch.callbacks import Callback

from benchmarks._harness import Benchmark, FitTime, Job, group, results_table, scaled
from deepcluster_sk import PCX, recipes
from deepcluster_sk.datasets import load_mnist_test
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.metrics import clustering_accuracy
from deepcluster_sk.solvers._warnings import ignored_warnings

EVERY = 5
TERMS, LARGEST = ("reconstruction", "clustering"), "largest assignment"
FULL, SMALL = "recipes.pcx", "recipes.pcx, layers of 128 and 128"
DEFAULT = "PCX()"
PUBLISHED = {
    ("MNIST test", FULL, "acc"): ".975",
    ("MNIST test", FULL, "nmi"): ".935",
}
REPORT = """\
# PC-X as published

Median (mean ± deviation) over the seeds. Labels score; they never fit or choose. Rows
of the recipe have every setting of the paper but the number of epochs, and where they
say so narrower layers; the burn-in is a quarter of the epochs, as in the paper, which
trains on 70,000 images for 274,000 steps.

{table}

![Accuracy every five epochs]({figure})

Fig. 4 of the paper: the losses of each epoch, and the mean over the rows of their
largest assignment, max λ, which is to rise to nearly one after the burn-in.

![Losses and the mean of the largest assignment]({losses})

{curves}
"""


class Curve(Callback):
    """Score the clustering now and then; it reports, and changes nothing.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Classes.
    """

    def __init__(self, y):
        self.y = y
        self.epochs, self.acc, self.steps = [], [], 0
        self.terms = {name: [] for name in (*TERMS, LARGEST)}
        self.done = 0

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Count the steps, and score after the first epoch and every few."""
        self.steps += net.history[-1, "train_batch_count"]
        self.done += 1
        clustering = net.phase_.name in ("burn-in", "exemplars")
        if clustering and (self.done == 1 or self.done % EVERY == 0):
            module = net.module_
            found, labels = net.apply(lambda x: module(x).assignment.max(1), self.rows)
            self.epochs.append(self.done)
            self.acc.append(clustering_accuracy(self.y, labels.cpu().numpy()))
            self.terms[LARGEST].append(found.mean().item())
            for name in TERMS:
                self.terms[name].append(net.history[-1, name])

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Keep the rows that the phase trains on."""
        self.rows = X


def measure(load, model):
    """Fit and score; labels serve for scoring only."""
    X, y = load()
    curve = Curve(y)
    with FitTime() as time, ignored_warnings(ClusterCollapseWarning):
        labels = model.set_params(callbacks=[curve]).fit_predict(X)
    return {
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        "steps": curve.steps,
        "cpu_seconds": time.cpu_seconds,
        "curve": {
            "epochs": curve.epochs,
            "acc": np.round(curve.acc, 4).tolist(),
            **{n: np.round(part, 5).tolist() for n, part in curve.terms.items()},
        },
    }


def data_sets(options):
    """Yield name, loader, and epochs of the recipe in full and with small layers."""
    few = options.quick
    yield "digits", partial(scaled, load_digits), 2 if few else 200, 2 if few else 1000
    if options.data_home:
        load = partial(scaled, partial(load_mnist_test, options.data_home))
        yield "MNIST test", load, 2 if few else 60, 2 if few else 400


def jobs(options):
    """The default, the recipe with small layers, and the recipe."""
    for data, load, full, small in data_sets(options):
        for seed in options.seeds:
            common = {"random_state": seed, "device": "cpu"}
            narrow = {"hidden_layer_sizes": (128, 128)}
            models = {
                DEFAULT: PCX(10, **common),
                SMALL: recipes.pcx(10, max_epochs=small, **narrow, **common),
                FULL: recipes.pcx(10, max_epochs=full, **common),
            }
            if options.quick:
                models[DEFAULT].set_params(max_epochs=2, pretrain_epochs=2)
            for name, model in models.items():
                settings = {"epochs": model.max_epochs, "recipe": name}
                run = partial(measure, load, model)
                yield Job(data, name, seed, run, settings)


def sentences(records):
    """Where the curves are after a quarter, a half and all of the epochs."""
    lines = []
    for (data, method), members in group(records, "data", "method").items():
        if method == DEFAULT:
            continue
        for record in members:
            curve, epochs = record["result"]["curve"], record["settings"]["epochs"]
            at = [
                f"{np.interp(part * epochs, curve['epochs'], curve['acc']):.3f}"
                for part in (0.25, 0.5, 0.75, 1)
            ]
            lines.append(
                f"- {data}, {method}, seed {record['seed']}: accuracy {', '.join(at)} "
                f"after {epochs // 4}, {epochs // 2}, {3 * epochs // 4} and {epochs} "
                f"epochs."
            )
    return "\n".join(lines)


def draw(records, path):
    """Accuracy against epochs, a panel a data set."""
    sets = group(records, "data")
    figure, axes = plt.subplots(
        1, len(sets), figsize=(5 * len(sets), 3.6), squeeze=False, layout="constrained"
    )
    for ax, ((data,), members) in zip(axes[0], sets.items(), strict=True):
        colors = dict(zip((DEFAULT, SMALL, FULL), ("0.5", "C0", "C3"), strict=True))
        named = set()
        for record in members:
            curve, method = record["result"]["curve"], record["method"]
            label = None if method in named else method
            named.add(method)
            ax.plot(curve["epochs"], curve["acc"], color=colors[method], label=label)
        ax.set(title=data, xlabel="epochs, pretraining included", ylabel="accuracy")
        ax.set_xscale("log")
        ax.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_losses(records, path):
    """Losses and the mean of the largest assignment, a row of panels a recipe."""
    recipes_of = group([r for r in records if r["method"] != DEFAULT], "data", "method")
    if not recipes_of:
        return
    names = (*TERMS, LARGEST)
    figure, axes = plt.subplots(
        len(recipes_of),
        len(names),
        figsize=(4 * len(names), 2.8 * len(recipes_of)),
        squeeze=False,
        layout="constrained",
    )
    for row, ((data, method), members) in zip(axes, recipes_of.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            for record in members:
                curve = record["result"]["curve"]
                ax.plot(curve["epochs"], curve[name], color="C0")
            burn_in = members[0]["settings"]["epochs"] / 4
            ax.axvline(burn_in, color="0.6", linestyle="--", linewidth=1)
            ax.set(xlabel="epochs", ylabel=name)
        row[0].set_title(f"{data}, {method}", loc="left", fontsize="medium")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def report(records, options):
    """One table, the curves, and what they say in words."""
    figure, losses = options.figure("-curves"), options.figure("-losses")
    draw(records, figure)
    draw_losses(records, losses)
    metrics = {"acc": "ACC", "nmi": "NMI", "steps": "steps", "cpu_seconds": "CPU s"}
    table = results_table(
        records, metrics, PUBLISHED, digits={"steps": 0, "cpu_seconds": 0}
    )
    return REPORT.format(
        table=table,
        figure=figure.name,
        losses=losses.name,
        curves=sentences(records),
    )


BENCHMARK = Benchmark("published", jobs, report)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
