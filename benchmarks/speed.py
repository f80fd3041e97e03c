"""Time of whole fits and of predict, beside ClustPy and a loop written by hand.

``python -m benchmarks.speed``. ClustPy is installed by
``pip install -c constraints.txt -e ".[peers-clustpy]"`` (torchvision, which it needs:
see ``benchmarks/_clustpy.py``); without it only this library and the loop are measured,
and the report says so.

Contenders train the same network for the same number of epochs in batches of 256, in
one process and turn by turn, so that a busy machine disturbs all alike. All start from
k-means in the code of an autoencoder. No method stops early, but for "here, stopping",
which has the default ``tol``; ClustPy cannot. The large network, which is bound by
arithmetic, also runs with
``precision="bfloat16"``. A fit is the whole call: what happens once (first clusters,
the last assignment) counts, and is also shown apart. The loop trains the autoencoder
for as many epochs in all and does nothing else. The number of threads is that of torch;
set ``OMP_NUM_THREADS=1`` for one.
"""

from functools import partial
from time import perf_counter
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import deepcluster_sk
from benchmarks import _clustpy
from benchmarks._harness import Benchmark, Job, PeakMemory, values
from benchmarks._stopwatch import Stopwatch
from benchmarks._tables import markdown_table
from benchmarks.speed_step import train_by_hand
from deepcluster_sk._estimator._network_base import BaseDeepClusterer
from deepcluster_sk._training import _net, _run
from deepcluster_sk.cluster import discriminative
from deepcluster_sk.datasets import load_mnist_test
from deepcluster_sk.initialization import _centers, _neighbors, _pretraining
from deepcluster_sk.metrics import clustering_accuracy

SMALL, LARGE = (64,), (500, 500, 2000)
LATENT, BATCH = 10, 256
# Epochs of pretraining and of clustering, None for the defaults.
DIGITS_EPOCHS, MNIST_EPOCHS = (100, 100), (3, 3)
# ClustPy's predict encodes all rows at once and keeps what a gradient would need:
# 24 kB a row of the large network, so a million rows do not fit into 16 GB.
PREDICT_ROWS = {SMALL: 1_000_000, LARGE: 100_000}
# Also in ClustPy.
RACED = ("DEC", "IDEC", "DCN")
PROFILED = ("DEC", "IDEC", "DCN", "PCX", "DDC", "DiscriminativeClustering")
OURS, STOPPING, CLUSTPY, LOOP = "here", "here, stopping", "ClustPy", "loop"
BF16 = "here, bf16"
# How many times faster than ClustPy a fit should be, and predict.
BARS = {
    "digits": {"DEC": 2, "IDEC": 2, "DCN": 4},
    "MNIST test": dict.fromkeys(("DEC", "IDEC", "DCN"), 1.3),
}
PREDICT_BAR, SHARE_BAR = 5, 0.10

NETWORK, GRAPH, EMBEDDING = "training steps", "graph", "embedding of the graph"
START, TARGETS = "first clusters", "targets, callbacks"
FINAL, HISTORY, REST = "last assignment", "history", "rest"
ITEMS = {
    NETWORK: [(_net.ClusterNet, "run_single_epoch")],
    GRAPH: [(_neighbors, "neighbor_graphs")],
    EMBEDDING: [
        (_neighbors, "free_embedding"),
        (_neighbors, "spectral_coordinates"),
    ],
    START: [
        (_pretraining, "standardize_data"),
        (_pretraining, "whiten_code"),
        (_neighbors, "embed_neighbors"),
        (_centers, "mixture_start"),
        (KMeans, "fit"),
        (discriminative, "standardize_data"),
        (discriminative, "whiten_code"),
        (discriminative, "spherical_kmeans"),
    ],
    TARGETS: [(_net.ClusterNet, "notify")],
    FINAL: [(BaseDeepClusterer, "_evaluate")],
    HISTORY: [(_net.ClusterNet, "_record_epoch"), (_run, "history_rows")],
}
# What both libraries find clusters with.
CLUSTERING = [(KMeans, "fit"), (_centers, "mixture_start")]
REPORT = """\
## Whole fits

Seconds, medians of the turns. faster: ClustPy's median by ours, for as many epochs,
with early stopping and (\\*) with the setting `precision="bfloat16"`; bar: what it
should be at least; by loop: ours by that of the loop; start: the seconds within k-means
and mixtures, on one side and on the other. Networks are named without the input.

{fits}

## predict

Float32 rows of 64 features. MiB: growth of the resident memory.

{predict}

## Where the time of a fit goes

Default parameters, networks and epochs. Parts without those of others that they call;
"rest" is all outside the named parts. The largest part that is not training should be
below {share:.0%}: it cannot be where the clusters are found in the graph of neighbours,
and training the network is what is left to do.

{profile}

{missing}"""


def ours(method, n_clusters, sizes, epochs, seed):
    """One of this library's methods; ``epochs=None`` leaves the defaults."""
    model = getattr(deepcluster_sk, method)(
        n_clusters, device="cpu", random_state=seed, hidden_layer_sizes=sizes
    )
    if epochs is not None:
        model.set_params(pretrain_epochs=epochs[0], max_epochs=epochs[1])
        # What the others do, too.
        if method == "DDC":
            model.set_params(pretraining=None)
        elif "pretraining" in model.get_params():
            model.set_params(pretraining="end-to-end", init="k-means")
    return model


def theirs(method, n_clusters, n_features, sizes, epochs, seed):
    """ClustPy's method with the same network and as many epochs."""
    return _clustpy.make(
        method,
        n_clusters,
        n_features,
        sizes,
        latent_dim=LATENT,
        batch_size=BATCH,
        pretrain_epochs=epochs[0],
        max_epochs=epochs[1],
        random_state=seed,
    )


class Loop:
    """The loop written by hand, for as many epochs in all."""

    def __init__(self, sizes, epochs, seed):
        self.settings = (sizes, sum(epochs), seed)

    def fit(self, X):
        """Train the autoencoder only."""
        sizes, epochs, seed = self.settings
        train_by_hand(X, (X.shape[1], *sizes, LATENT), epochs, seed)
        return self


def contenders(method, n_clusters, n_features, sizes):
    """Name and maker, called with epochs and a seed, of all that can be run here."""

    def here(epochs, seed, **settings):
        model = ours(method, n_clusters, sizes, epochs, seed)
        return model.set_params(latent_dim=LATENT, batch_size=BATCH, **settings)

    makers = {OURS: partial(here, tol=0), LOOP: partial(Loop, sizes)}
    if sizes == LARGE:
        makers[BF16] = partial(here, tol=0, precision="bfloat16")
    else:
        makers[STOPPING] = here
    if _clustpy.is_installed():
        makers[CLUSTPY] = partial(theirs, method, n_clusters, n_features, sizes)
    return makers


def in_turns(makers, n_repeats):
    """Yield the number of the turn and the name of who is on, in changing order."""
    for repeat in range(n_repeats):
        names = list(makers)
        for name in names if repeat % 2 else names[::-1]:
            yield repeat, name


def race(load, method, sizes, epochs, n_repeats):
    """Seconds, accuracy and seconds of clustering of each contender's fits."""
    X, y = load()
    makers = contenders(method, len(np.unique(y)), X.shape[1], sizes)
    watch = Stopwatch([(*target, "clustering") for target in CLUSTERING])
    figures = {}
    with catch_warnings():
        simplefilter("ignore")  # collapsed clusters
        for maker in makers.values():  # warm up
            maker((1, 1), 0).fit(X)
        for repeat, name in in_turns(makers, n_repeats):
            model = makers[name](epochs, repeat)
            with watch.running():
                model.fit(X)
            found = {"": watch.seconds["all"], " start": watch.seconds["clustering"]}
            if name != LOOP:
                found[" acc"] = clustering_accuracy(y, model.labels_)
            for key, value in found.items():
                figures.setdefault(name + key, []).append(value)
    return figures


def predict(sizes, n_rows, n_repeats):
    """Seconds and MiB of predicting many rows by DEC."""
    X, _ = digits()
    makers = contenders("DEC", 10, X.shape[1], sizes)
    makers = {name: makers[name] for name in (OURS, CLUSTPY) if name in makers}
    rows = np.tile(X, (-(-n_rows // len(X)), 1))[:n_rows]
    figures = {}
    with catch_warnings():
        simplefilter("ignore")
        models = {name: maker((1, 1), 0).fit(X) for name, maker in makers.items()}
        for _, name in in_turns(models, n_repeats):
            with PeakMemory() as memory:
                start = perf_counter()
                models[name].predict(rows)
                seconds = perf_counter() - start
            figures.setdefault(name, []).append(seconds)
            figures.setdefault(f"{name} MiB", []).append(memory.growth)
    return figures


def profile(load, method, epochs):
    """Share of each item in the time of a fit of the default network."""
    X, y = load()
    k = len(np.unique(y))
    watch = Stopwatch(
        [(*target, name) for name, targets in ITEMS.items() for target in targets]
    )
    with catch_warnings():
        simplefilter("ignore")
        ours(method, k, None, epochs, 0).fit(X[:200])  # warm up
        model = ours(method, k, None, epochs, 0)
        with watch.running():
            model.fit(X)
    total = watch.seconds["all"]
    shares = {name: watch.seconds[name] / total for name in ITEMS}
    shares[REST] = 1 - sum(shares.values())
    return {"fit": total, **shares}


def digits():
    """Digits, from 0 to 1."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def mnist(home):
    """MNIST's test images, from 0 to 1."""
    X, y = load_mnist_test(home, return_X_y=True)
    return X / np.float32(255), y


def name_of(sizes):
    """A network, from its first hidden layer to the code."""
    return "-".join(map(str, (*sizes, LATENT)))


def job(part, data, method, run, **settings):
    """A job of one of the three parts of the report."""
    settings |= {"part": part, "threads": torch.get_num_threads()}
    return Job(data, method, 0, run, settings)


def jobs(options):
    """Fits and predictions beside ClustPy, then shares of the time of fits."""
    quick = options.quick
    sets = [("digits", digits, SMALL, (2, 2) if quick else DIGITS_EPOCHS, 5)]
    profiles = [("digits", digits, (2, 2) if quick else None)]
    if options.data_home and not quick:
        load = partial(mnist, options.data_home)
        sets.append(("MNIST test", load, LARGE, MNIST_EPOCHS, 3))
        profiles.append(("MNIST test", load, None))
    for data, load, sizes, epochs, repeats in sets:
        repeats = 1 if quick else repeats
        for method in RACED:
            yield job(
                "fit",
                data,
                method,
                partial(race, load, method, sizes, epochs, repeats),
                network=name_of(sizes),
                epochs=epochs,
                repeats=repeats,
            )
    for sizes, n_rows in PREDICT_ROWS.items():
        n_rows, repeats = (1000, 1) if quick else (n_rows, 5)
        run = partial(predict, sizes, n_rows, repeats)
        yield job("predict", "digits", "DEC", run, network=name_of(sizes), rows=n_rows)
    for data, load, epochs in profiles:
        for method in PROFILED:
            run = partial(profile, load, method, epochs)
            yield job("profile", data, method, run, epochs=epochs)


def report(records, options):
    """Three tables."""
    parts = {"fit": [], "predict": [], "profile": []}
    for record in records:
        parts[record["settings"]["part"]].append(record)
    compared = [r for r in parts["fit"] + parts["predict"] if CLUSTPY in r["result"]]
    return REPORT.format(
        fits=fits_table(parts["fit"]),
        predict=predict_table(parts["predict"]),
        profile=profile_table(parts["profile"]),
        share=SHARE_BAR,
        missing="" if compared else "ClustPy was not installed: it is left out.",
    ).rstrip()


def median(record, name):
    """Median of a figure's turns; nan without any."""
    found = record["result"].get(name)
    return float(np.median(found)) if found else float("nan")


def known(text, value):
    """The figure in this format, or nothing where it is missing."""
    return "" if np.isnan(value) else text.format(value)


def fits_table(records):
    """Whole fits: seconds, ratios, accuracies."""
    rows = []
    for record in records:
        names = (OURS, STOPPING, BF16, CLUSTPY, LOOP)
        found = [median(record, name) for name in names]
        mine, stopping, bf16, other, loop = found
        rows.append(
            [
                f"{record['data']}, {record['settings']['network']}",
                record["method"],
                *(known("{:.2f}", value) for value in found),
                known("{:.2f}", other / mine),
                known("{:.2f}", other / stopping),
                known("{:.2f}", other / bf16),
                f"{BARS[record['data']][record['method']]}",
                known("{:.2f}", mine / loop),
                *(
                    known(text, median(record, f"{name} {figure}"))
                    for figure, text in (("acc", "{:.3f}"), ("start", "{:.2f}"))
                    for name in (OURS, CLUSTPY)
                ),
                known("{:.3f}", median(record, f"{BF16} acc")),
            ]
        )
    header = ["data, network", "method", OURS, STOPPING, BF16, CLUSTPY, LOOP]
    header += ["faster", "stopping faster", "bf16 faster (\\*)", "bar"]
    header += ["by loop", "ACC here", "ACC ClustPy", "start here", "start ClustPy"]
    header.append("ACC bf16")
    return markdown_table(header, rows, n_left=2)


def predict_table(records):
    """Predictions: seconds, ratio, memory."""
    rows = []
    for record in records:
        mine, other = median(record, OURS), median(record, CLUSTPY)
        rows.append(
            [
                record["settings"]["network"],
                f"{record['settings']['rows']:,}",
                *(known("{:.2f}", value) for value in (mine, other, other / mine)),
                f"{PREDICT_BAR}",
                *(
                    known("{:.0f}", median(record, f"{name} MiB"))
                    for name in (OURS, CLUSTPY)
                ),
            ]
        )
    header = ["network", "rows", OURS, CLUSTPY, "faster", "bar"]
    return markdown_table([*header, "MiB here", "MiB ClustPy"], rows)


def profile_table(records):
    """Shares of the time of a fit, and the largest that is not training."""
    rows = []
    for record in records:
        settings = record["settings"]
        shares = {name: values([record], name)[0] for name in (*ITEMS, REST)}
        largest = max((name for name in shares if name != NETWORK), key=shares.get)
        epochs = settings["epochs"]
        rows.append(
            [
                record["data"],
                record["method"],
                "default" if epochs is None else "+".join(map(str, epochs)),
                f"{values([record], 'fit')[0]:.2f}",
                *(f"{share:.1%}" for share in shares.values()),
                f"{largest} ({'above' if shares[largest] > SHARE_BAR else 'below'})",
            ]
        )
    header = ["data", "method", "epochs", "seconds", *ITEMS, REST]
    return markdown_table([*header, "largest"], rows, n_left=2)


BENCHMARK = Benchmark("speed", jobs, report)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
