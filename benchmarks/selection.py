"""How many clusters, and which result to trust: criteria without labels.

``python -m benchmarks.selection``. First, how often `NumberOfClustersSearch` and
``n_clusters="auto"`` find the number of clusters: on planted mixtures of 2 to 30
Gaussians of unequal sizes, on clouds without clusters, and on the sets of data of the
other suites. Then, how well criteria rank clusterings: all clusterers of this library
and k-means are fitted with the true number of clusters, and Spearman's rank correlation
of each criterion with NMI says whether the highest value has the best labels. Labels
score; they never fit or choose.

The search has k-means inside (``n_init=5``), or `DEC` where the table says so. The fits
that are ranked have small budgets: the defaults of what has no epochs, and at most 20
epochs of clustering. Pretraining has its default.
"""

import warnings
from functools import partial

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

import deepcluster_sk
from benchmarks._harness import Benchmark, Job, group
from benchmarks._planted import mixture, structureless
from benchmarks._tables import markdown_table
from benchmarks.companion import Checkpoints
from benchmarks.peers import OURS, data_sets
from deepcluster_sk import DEC
from deepcluster_sk.metrics import stability_score
from deepcluster_sk.model_selection import NumberOfClustersSearch, get_scorer

PLANTED = (2, 3, 4, 5, 6, 8, 10, 12)
MANY = (20, 30)  # with 40 rows a cluster
EPOCHS = 20
# Rows of the larger sets, drawn once.
MOST_ROWS = 2000
SEARCHED = (
    "stability",
    "neighbors",
    "silhouette",
    "calinski_harabasz",
    "evidence",
    "consensus",
)
AUTO = "auto"
IN_BOTH_SPACES = ("silhouette", "calinski_harabasz", "neighbors")
RANKED = {
    "stability": "stability",
    "evidence": "evidence",
    **{f"{name}, X": name.replace("_", "-") + " of X" for name in IN_BOTH_SPACES},
    **{
        f"{name}, code": name.replace("_", "-") + " in the code"
        for name in IN_BOTH_SPACES
    },
    "objective": "objective",
    "slope": "R-OFM slope",
    "r2": "R-OFM R²",
}
# What is averaged as ranks: each believes in something else.
CONSENSUS = ("stability", "neighbors, X", "silhouette, X", "evidence")
WANTED = 0.6
REPORT = """\
## How often the number is found

Planted mixtures: {planted} Gaussians of unit covariance in 2 to 10 dimensions, at
distances over 6, sizes up to 1:5. Candidates are 2 to 14, and 2 to 35 where there are
20 clusters or more. Without clusters: uniform boxes and single Gaussians; the right
answer is 1.

{counts}

## Sets of data

What was found, over the seeds. Classes are no clusters: two species may be one cloud,
and a digit may be written in two ways.

{sets}

## Does a criterion rank clusterings?

Spearman's rank correlation with NMI, over {methods} clusterers with the true number of
clusters, each the mean of its seeds. "of X": distances are those of the rows; "in the
code": those of `transform`. Objectives have other units in each method; R-OFM is the
slope, or R², of the silhouette against the reconstruction error over the epochs of
clustering, and is left out where fewer than five clusterers have four such epochs.
"consensus" is the mean rank by stability, and by neighbours, silhouette and evidence of
X. The last column says on how many sets the correlation is at least {wanted}.

{ranking}

The same over all fits, seeds apart:

{runs}

What the choice costs: NMI of the clusterer that a criterion puts first, and the best.

{chosen}

{advice}"""
ADVICE = """\
## What to use

- For the number of clusters `criterion="stability"`, the default: where clusters are
  well separated nearly all criteria agree; where there are none it says so.
- Between clusterers, with the number given, the evidence of Gaussian clusters and of
  edges between neighbours, `get_scorer("evidence")`. `DEC` and its kin choose their
  first clusters by it among several, so that they start with an advantage.
- Do not compare objectives of different methods, nor values in their codes: a code that
  contracts the most looks best.
- Nothing is to be believed where criteria disagree about which clusterer is the best,
  or where the number found is the largest candidate. Then several groupings are there,
  and which of them is wanted no criterion without labels can know.
"""


# --- the number of clusters -----------------------------------------------------------


def searched(load, n_clusters, estimator, n_splits, seed):
    """What each criterion finds."""
    search = NumberOfClustersSearch(
        estimator, n_clusters, n_splits=n_splits, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(search.fit(load()).n_clusters_by_criterion_)


def counted(load, seed):
    """What "auto" finds; it is known before the training, which is cut short."""
    short = {"pretrain_epochs": 1, "max_epochs": 1, "hidden_layer_sizes": (8,)}
    model = DEC("auto", max_clusters=40, random_state=seed, **short)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # centres without rows, for want of training
        return {AUTO: model.fit(load()).n_clusters_}


def numbers(options):
    """Name, true number, loader, candidates and splits of what is searched."""
    few = options.quick
    for seed in options.seeds:
        for k in PLANTED[:2] if few else PLANTED:
            load = partial(mixture, 500 + 100 * seed + k, k)
            yield f"planted, {k}", k, seed, load, range(2, 5 if few else 15)
        for kind in (0, 1):
            load = partial(structureless, 500 + 2 * seed + kind)
            name = ("one Gaussian", "uniform")[kind]
            yield name, 1, seed, load, range(2, 5 if few else 11)
        for k in () if few else MANY:
            load = partial(mixture, 500 + 100 * seed + k, k, rows_per_cluster=40)
            yield f"planted, {k}", k, seed, load, range(2, 36)


def number_jobs(options):
    """Searches and counts, the quick ones first."""
    quick = KMeans(n_init=5)
    for name, k, seed, load, candidates in numbers(options):
        setting = {"true": k}
        search = partial(searched, load, candidates, quick, 5, seed)
        yield Job(name, "search with k-means", seed, search, setting)
        yield Job(name, AUTO, seed, partial(counted, load, seed), setting)
    for seed in options.seeds:
        for name, load, k in small_sets(options):
            rows = partial(rows_of, load)
            setting = {"true": k}
            yield Job(name, AUTO, seed, partial(counted, rows, seed), setting)
            if name in ("COIL-20", MNIST):
                continue  # hundreds of features, and hundreds of fits
            candidates = range(2, 15 if name == "digits" else 11)
            search = partial(searched, rows, candidates, quick, 5, seed)
            yield Job(name, "search with k-means", seed, search, setting)


def rows_of(load):
    """Rows without their labels."""
    return load()[0]


# --- the ranking of clusterings -------------------------------------------------------

MNIST = f"MNIST test, {MOST_ROWS} rows"


def some_rows(load):
    """At most so many rows, drawn at random."""
    X, y = load()
    rows = np.random.default_rng(0).permutation(len(X))[:MOST_ROWS]
    return X[rows], y[rows]


def small_sets(options):
    """Sets of the suite `peers`, the largest cut down."""
    for name, load, k in data_sets(options):
        if name == "MNIST test":
            name, load = MNIST, partial(some_rows, load)
        yield name, load, k


def make(method, k, seed):
    """A clusterer of small budget."""
    if method == "k-means":
        return KMeans(k, n_init=10, random_state=seed)
    model = getattr(deepcluster_sk, method)(k, random_state=seed)
    if "max_epochs" in model.get_params():
        model.set_params(max_epochs=EPOCHS)
    return model


def judged(load, method, k, seed):
    """Criteria of a clustering, and its NMI."""
    X, y = load()
    model = make(method, k, seed)
    again = clone(model)  # without the callback, which cannot be cloned
    spy = Checkpoints(getattr(model, "_assign", None), y, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "callbacks" in model.get_params():
            model.set_params(callbacks=[spy])
        labels = model.fit(X).labels_
        found = {"nmi": normalized_mutual_info_score(y, labels)}
        for name in IN_BOTH_SPACES:
            found[f"{name}, X"] = get_scorer(name)(model, X)
            found[f"{name}, code"] = get_scorer(name, space="embedding")(model, X)
        found["evidence"] = get_scorer("evidence")(model, X)
        found["stability"] = stability_score(again, X, n_splits=1, random_state=seed)
        found["objective"] = float(-getattr(model, "objective_", np.nan))
        if spy.seconds:
            mismatch = spy.figures()
            for name in ("slope", "r2"):
                found[name] = mismatch.get(f"unlabelled {name}")
    return {name: v for name, v in found.items() if v is not None and np.isfinite(v)}


def ranking_jobs(options):
    """All clusterers on all sets."""
    setting = {"max_epochs": EPOCHS}
    for seed in options.seeds:
        for name, load, k in small_sets(options):
            for method in ("k-means", *OURS):
                run = partial(judged, load, method, k, seed)
                yield Job(name, method, seed, run, setting)


def slow_jobs(options):
    """The search with a network inside."""
    if options.quick:
        return
    load = next(load for name, load, _ in small_sets(options) if name == "digits")
    run = partial(searched, partial(rows_of, load), range(6, 15), DEC(), 2, 0)
    setting = {"true": 10, "candidates": [6, 14], "n_splits": 2}
    yield Job("digits", "search with DEC", 0, run, setting)


def jobs(options):
    """Numbers, rankings, and what takes long."""
    yield from number_jobs(options)
    yield from ranking_jobs(options)
    yield from slow_jobs(options)


# --- the report -----------------------------------------------------------------------


def found_by(records, criterion):
    """True and found numbers, of records that have this criterion."""
    return [
        (r["settings"]["true"], r["result"][criterion])
        for r in records
        if criterion in r["result"]
    ]


def share(pairs, far):
    """How many are off by that much, of how many."""
    return f"{sum(far(abs(found - true)) for true, found in pairs)} of {len(pairs)}"


def counts_table(records):
    """Found, one off, further off; and 1 where there are no clusters."""
    planted = [r for r in records if r["data"].startswith("planted")]
    few = [r for r in planted if r["settings"]["true"] not in MANY]
    many = [r for r in planted if r["settings"]["true"] in MANY]
    none = [r for r in records if r["settings"]["true"] == 1]
    rows = []
    for criterion in (*SEARCHED, AUTO):
        row = [criterion.replace("_", "-")]
        pairs = found_by(few, criterion)
        for far in (lambda d: d == 0, lambda d: d == 1, lambda d: d > 1):
            row.append(share(pairs, far))
        pairs = found_by(many, criterion)
        row += [share(pairs, lambda d: d == 0), share(pairs, lambda d: d <= 1)]
        rows.append([*row, share(found_by(none, criterion), lambda d: d == 0)])
    rows = [row for row in rows if any(cell != "0 of 0" for cell in row[1:])]
    header = ["criterion", "2 to 12: found", "one off", "further"]
    header += ["20, 30: found", "at most one off", "none: says 1"]
    return markdown_table(header, rows)


def sets_table(records):
    """What was found on real data."""
    real = [r for r in records if not r["data"].startswith("planted")]
    real = [r for r in real if r["settings"]["true"] > 1]
    rows = []
    for (data, method), members in group(real, "data", "method").items():
        true = members[0]["settings"]["true"]
        for criterion in (*SEARCHED, AUTO):
            found = sorted(f for _, f in found_by(members, criterion))
            if found:
                name = criterion.replace("_", "-")
                how = (
                    "DEC" if criterion == AUTO else method.removeprefix("search with ")
                )
                shown = ", ".join(map(str, found))
                rows.append([data, how, name, str(true), shown])
    return markdown_table(["data", "with", "criterion", "classes", "found"], rows, 3)


def columns_of(records, over_methods):
    """Criterion to values, and "nmi", of the fits on one set of data."""
    groups = (
        group(records, "method").values() if over_methods else [[r] for r in records]
    )
    names = ["nmi", *RANKED]
    table = np.array(
        [
            [np.mean([r["result"].get(n, np.nan) for r in members]) for n in names]
            for members in groups
        ]
    )
    columns = dict(zip(names, table.T, strict=True))
    ranks = [rankdata(columns[name]) for name in CONSENSUS]
    columns["consensus"] = np.mean(ranks, axis=0)
    return columns


def correlation(criterion, nmi):
    """Spearman's, of what is known; nan of fewer than five, or without variation."""
    known = np.isfinite(criterion) & np.isfinite(nmi)
    if known.sum() < 5 or np.ptp(criterion[known]) == 0 or np.ptp(nmi[known]) == 0:
        return np.nan
    return float(spearmanr(criterion[known], nmi[known]).statistic)


def ranking_table(by_set, over_methods):
    """Criteria in rows, sets in columns."""
    rows = []
    for criterion, name in {"consensus": "consensus", **RANKED}.items():
        values = []
        for records in by_set.values():
            columns = columns_of(records, over_methods)
            values.append(correlation(columns[criterion], columns["nmi"]))
        if np.isnan(values).all():
            continue
        shown = ["" if np.isnan(v) else f"{v:+.2f}" for v in values]
        enough = sum(v >= WANTED for v in values)
        of = np.isfinite(values).sum()
        rows.append([name, *shown, f"{np.nanmean(values):+.2f}", f"{enough} of {of}"])
    header = ["criterion", *by_set, "mean", f"at least {WANTED}"]
    return markdown_table(header, rows)


def chosen_table(by_set):
    """NMI of what a criterion puts first."""
    rows = []
    for criterion, name in {"consensus": "consensus", **RANKED}.items():
        row = [name]
        for records in by_set.values():
            columns = columns_of(records, over_methods=True)
            values = columns[criterion]
            if np.isfinite(values).sum() < 5:
                row.append("")
            else:
                row.append(f"{columns['nmi'][np.nanargmax(values)]:.3f}")
        if any(row[1:]):
            rows.append(row)
    nmi = [columns_of(r, over_methods=True)["nmi"] for r in by_set.values()]
    rows.append(["*median clusterer*", *(f"{np.median(v):.3f}" for v in nmi)])
    rows.append(["*best clusterer*", *(f"{v.max():.3f}" for v in nmi)])
    return markdown_table(["criterion", *by_set], rows)


def report(records, options):
    """Tables of what was found, and of how criteria rank."""
    counts = [r for r in records if "true" in r["settings"]]
    fits = [r for r in records if "true" not in r["settings"]]
    by_set = {data: members for (data,), members in group(fits, "data").items()}
    return REPORT.format(
        planted=", ".join(map(str, (*PLANTED, *MANY))),
        counts=counts_table(counts),
        sets=sets_table(counts),
        methods=len({r["method"] for r in fits}),
        wanted=WANTED,
        ranking=ranking_table(by_set, over_methods=True) if by_set else "",
        runs=ranking_table(by_set, over_methods=False) if by_set else "",
        chosen=chosen_table(by_set) if by_set else "",
        advice=ADVICE,
    )


BENCHMARK = Benchmark("selection", jobs, report, threads=1)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
