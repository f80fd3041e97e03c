"""All clusterers of this library beside their peers, on six sets of real data.

``python -m benchmarks.peers``. The packages that are compared with are installed by
``pip install -c constraints.txt -e ".[peers-umap,peers-clustpy,peers-gemclus]"``; each
may be missing, and is left out then; the report says so. UMAP is followed by k-means
and by scikit-learn's HDBSCAN (which finds its own number of clusters; noise counts as
one more). ClustPy's DEC, IDEC, DCN, DKM and VaDE get the network of their papers,
500-500-2000-10, 100 epochs of pretraining and 100 of clustering in batches of 256, and
keep their own defaults otherwise (torchvision, which they need, and what VaDE gets for
values beyond [0, 1]: see ``benchmarks/_clustpy.py``).
GemClus is represented by its perceptron with the MMD objective, in batches of 256 as
here: with all rows at once, its default, an epoch compares all pairs of rows (six
minutes on the digits).

Everything else has its default parameters and the true number of clusters, but
spectral clustering, which gets the graph of nearest neighbours. Penguins, iris and wine
are standardised, images divided by their largest value. Labels score; they neither fit
nor choose. Each fit has one thread. Its processor time is that of the process and of
those it starts, without what UMAP compiles in its first fits. Memory is the growth of
the resident memory while a method fits.
"""

import warnings
from functools import cache, partial
from importlib.util import find_spec

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.cluster import HDBSCAN, KMeans, SpectralClustering
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import deepcluster_sk
from benchmarks import _clustpy
from benchmarks._comparison import (
    KMEANS,
    TOLERANCE,
    UMAP_KMEANS,
    draw_nmi_by_cost,
    marks_table,
    objective_table,
    standings_table,
    table_of_set,
)
from benchmarks._harness import (
    Benchmark,
    FitTime,
    Job,
    PeakMemory,
    group,
    scaled,
    values,
)
from benchmarks._tables import markdown_table
from deepcluster_sk.datasets import load_coil20, load_mnist_test, load_penguins
from deepcluster_sk.metrics import clustering_accuracy

OURS = [
    name
    for name in deepcluster_sk.__all__
    if isinstance(getattr(deepcluster_sk, name), type)
    and issubclass(getattr(deepcluster_sk, name), ClusterMixin)
]
GEMCLUS = "GemClus MLPMMD"
PEERS = [
    KMEANS,
    "Gaussian mixture",
    "spectral clustering",
    UMAP_KMEANS,
    "UMAP + HDBSCAN",
    *[f"ClustPy {method}" for method in _clustpy.METHODS],
    GEMCLUS,
]
DATA = ("penguins", "iris", "wine", "digits", "COIL-20", "MNIST test")
QUICK_EPOCHS = 2
REPORT = """\
![NMI against CPU seconds of every method and peer, a panel a set of data]({picture})

Every point is the mean over the seeds. The grey lines are at the NMI of k-means and of
UMAP followed by k-means, both labelled. Points that are far below are drawn at the
lower edge. Where a record has no processor seconds, its wall seconds are shown.

## Over all sets of data

Mean NMI over the sets that a method has records on, and of UMAP followed by k-means on
the same ones. CPU s by UMAP's: processor seconds divided by those of UMAP followed by
k-means, the geometric mean over the sets. Mean rank: among the methods with records on
all sets, 1 is the best.

{standings}

## At least as good as k-means, and as UMAP

The first mark of a cell says whether the mean NMI of a method is at least that of
k-means, the second whether it is at least that of UMAP followed by k-means less
{tolerance}; then the numbers of sets. "in its time": also in no more processor seconds
than UMAP followed by k-means took.

{marks}

Which method is the best on a set of data cannot be known without labels.

What is known about those that stay below:

- Defaults know nothing of images: all networks here are dense. What convolutions and
  moved images bring is on the page of the suite `exemplars`.
- Codes of `DeepSubspaceClustering` drift towards one direction in long training. Its
  subspaces contain the origin: few features, as of iris, leave little to tell apart.
- The filters of `ConvTransformClustering` are held by a log-determinant alone, not by a
  decoder. Of COIL-20 it sees 32 principal directions.
- The loss of `DDC` wants clusters of equal size, and may leave a start of unequal ones.
- `DiscriminativeClustering` makes most pairs orthogonal. Of three clusters a third of
  the pairs are in the same one, and are pushed apart all the same.
- `TensorizedAutoencoder` takes more directions than the 59 rows a cluster of wine can
  tell apart: a start with a lower criterion may have fewer right labels.
- `DeepDictionaryClustering` has as many atoms as COIL-20 has clusters. One holds the
  mean, so that one centre is missing at the start.

## Sets of data one by one

Mean and standard deviation over the seeds, by NMI; the best are bold, k-means and UMAP
followed by k-means in italics. CPU s: processor seconds of the fit, or wall seconds
after "≤" where a record has no others. MiB: growth of the resident memory.

{tables}

## Does the objective choose well?

The lowest `objective_` decides among the runs of `n_init`. Spearman's rank correlation
of objective and NMI over the seeds: -1 where a lower objective always has a higher NMI.
With three seeds it can take few values, and chance makes any of them: it means little.
Where all seeds have the same NMI, or all the same objective, there is none.

{objectives}

## Methods that exist on both sides

Medians of this library divided by those of ClustPy: above 1 is better for ACC and NMI,
below 1 for time and memory. Both have their own defaults of pretraining; ClustPy's
network is the one named above.

{ratios}

## Left out

{missing}"""


def ours(name, n_clusters, epochs, seed):
    """One of this library's clusterers; ``epochs=None`` leaves the defaults."""
    model = getattr(deepcluster_sk, name)(n_clusters, random_state=seed)
    if epochs is not None:
        known = {"max_epochs", "pretrain_epochs"} & set(model.get_params())
        model.set_params(**dict.fromkeys(known, epochs))
    return model


def clustpy(name, X, n_clusters, epochs, seed):
    """ClustPy's method of this name, with the network of the paper."""
    return _clustpy.make(
        name,
        n_clusters,
        X.shape[1],
        (500, 500, 2000),
        latent_dim=10,
        pretrain_epochs=epochs or 100,
        max_epochs=epochs or 100,
        batch_size=256,
        random_state=seed,
        unit_interval=bool(X.min() >= 0 and X.max() <= 1),
    )


def umap(clusterer, seed):
    """UMAP in its default two dimensions, then a clusterer."""
    from umap import UMAP

    warm_up_umap()
    return make_pipeline(UMAP(random_state=seed), clusterer)


@cache
def warm_up_umap():
    """Compile what UMAP needs for few rows, and its search for neighbours of many."""
    from umap import UMAP

    rows = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    for approximate in (False, True):
        UMAP(random_state=0, force_approximation_algorithm=approximate).fit(rows)


def gemclus(n_clusters, n_samples, epochs, seed):
    """GemClus' perceptron with the MMD objective."""
    from gemclus.mlp import MLPMMD

    length = {} if epochs is None else {"max_iter": epochs}
    size = min(256, n_samples)
    return MLPMMD(n_clusters, batch_size=size, random_state=seed, **length)


def make(method, X, n_clusters, epochs, seed):
    """The estimator behind a name of the report."""
    k = n_clusters
    if method in OURS:
        return ours(method, k, epochs, seed)
    if method.startswith("ClustPy "):
        return clustpy(method.split()[1], X, k, epochs, seed)
    makers = {
        KMEANS: lambda: KMeans(k, n_init=10, random_state=seed),
        "Gaussian mixture": lambda: GaussianMixture(k, random_state=seed),
        "spectral clustering": lambda: SpectralClustering(
            k, affinity="nearest_neighbors", random_state=seed
        ),
        UMAP_KMEANS: lambda: umap(KMeans(k, n_init=10, random_state=seed), seed),
        "UMAP + HDBSCAN": lambda: umap(HDBSCAN(copy=True), seed),
        GEMCLUS: lambda: gemclus(k, len(X), epochs, seed),
    }
    return makers[method]()


def installed():
    """Names of the contenders that can be run here."""
    needs = {"UMAP": find_spec("umap"), "GemClus": find_spec("gemclus")}
    needs["ClustPy"] = _clustpy.is_installed()
    return [name for name in OURS + PEERS if needs.get(name.split()[0], True)]


@cache
def warm_up():
    """What the first fit of a process loads is not to be timed."""
    rows = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    ours("IDEC", 2, 1, 0).fit(rows)


def measure(load, method, n_clusters, epochs, seed):
    """Fit on all rows and score; labels serve for scoring only."""
    X, y = load()
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        # Collapsed clusters, unconnected graphs, what peers say of each other.
        warnings.simplefilter("ignore")
        warm_up()
        model = make(method, X, n_clusters, epochs, seed)
        torch.set_num_threads(threads)  # UMAP changes it for all
        with PeakMemory() as memory, FitTime() as time:
            labels = model.fit_predict(X)
    torch.set_num_threads(threads)
    return {
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        "ari": adjusted_rand_score(y, labels),
        "seconds": time.seconds,
        "cpu_seconds": time.cpu_seconds,
        "growth_mib": memory.growth,
        **(described(model) if method in OURS else {}),
    }


def described(model):
    """Objective and size of a fitted estimator of this library, where it has them."""
    found = {}
    if hasattr(model, "objective_"):
        found["objective"] = float(model.objective_)
    if getattr(model, "hidden_layer_sizes_", None) is not None:
        found["hidden_layer_sizes"] = list(model.hidden_layer_sizes_)
    if hasattr(model, "module_"):
        found["n_parameters"] = sum(p.numel() for p in model.module_.parameters())
    return found


def standardized(load):
    """Measurements, each with mean 0 and variance 1."""
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), y


def data_sets(options):
    """Name, loader and number of classes of all data."""
    yield "penguins", partial(standardized, load_penguins), 3
    yield "iris", partial(standardized, load_iris), 3
    yield "wine", partial(standardized, load_wine), 3
    if options.quick:
        return
    yield "digits", partial(scaled, load_digits), 10
    if options.data_home:
        home = options.data_home
        yield "COIL-20", partial(scaled, partial(load_coil20, home)), 20
        yield "MNIST test", partial(scaled, partial(load_mnist_test, home)), 10


def jobs(options):
    """Every contender on every set of data."""
    epochs = QUICK_EPOCHS if options.quick else None
    for seed in options.seeds:
        for data, load, k in data_sets(options):
            for method in installed():
                run = partial(measure, load, method, k, epochs, seed)
                yield Job(data, method, seed, run, {"epochs": epochs})


def report(records, options):
    """A picture, tables over all sets of data and of each, and ratios."""
    found = group(records, "data", "method")
    sets = [data for data in DATA if any(key[0] == data for key in found)]
    by_data = group(records, "data")
    tables = [f"### {data}\n\n{table_of_set(by_data[data,])}" for data in sets]
    picture = options.figure()
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw_nmi_by_cost(found, OURS, PEERS, sets, picture)
    return REPORT.format(
        picture=picture.name,
        standings=standings_table(found, OURS + PEERS, sets),
        marks=marks_table(found, OURS, sets),
        tolerance=TOLERANCE,
        tables="\n\n".join(tables),
        objectives=objective_table(found, OURS, sets),
        ratios=ratios(found),
        missing=left_out(records),
    )


def ratios(found):
    """Table of this library's medians by ClustPy's."""
    rows = []
    for data in dict.fromkeys(data for data, _ in found):
        for method in _clustpy.METHODS:
            pair = found.get((data, method)), found.get((data, f"ClustPy {method}"))
            if None in pair:
                continue
            row = [data, method]
            for metric in ("acc", "nmi", "seconds", "growth_mib"):
                mine, theirs = (np.median(values(side, metric)) for side in pair)
                row.append(f"{mine / theirs:.2f}" if theirs > 0 else "")
            rows.append(row)
    header = ["data", "method", "ACC", "NMI", "time", "memory"]
    return markdown_table(header, rows, n_left=2)


def left_out(records):
    """Which contenders and data have no records."""
    methods = {record["method"] for record in records}
    data = {record["data"] for record in records}
    lines = [
        f"- {what}: {', '.join(missing)}."
        for what, missing in (
            (
                "Contenders without records",
                [m for m in OURS + PEERS if m not in methods],
            ),
            ("Data without records", [name for name in DATA if name not in data]),
        )
        if missing
    ]
    return "\n".join(lines) or "Nothing."


BENCHMARK = Benchmark("peers", jobs, report, threads=1)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
