"""How time and memory grow with rows, features and clusters.

``python -m benchmarks.scale``. Every clusterer with its default parameters, but one
epoch of each phase, one sweep and one run, so that what is measured is an epoch and all
that is done once. The rows are planted mixtures, in a file that is mapped into memory.
A series goes from small to large and ends where a fit announces that it will take long,
is refused, or, by what the smaller ones took, would take more than ten minutes.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from warnings import catch_warnings, simplefilter

import numpy as np
from skorch.callbacks import Callback

import deepcluster_sk
from benchmarks._harness import Benchmark, FitTime, Job, PeakMemory
from benchmarks._tables import markdown_table
from benchmarks.peers import OURS
from deepcluster_sk.exceptions import LongFitWarning

# Rows, features and clusters of each series; the first one has the size in question.
SERIES = {
    "rows": [(n, 64, 100) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "features": [(10_000, d, 10) for d in (16, 64, 256, 1024)],
    "clusters": [(10_000, 64, k) for k in (2, 10, 100, 1000)],
}
QUICK = {
    "rows": [(n, 8, 4) for n in (200, 400, 800)],
    "features": [(200, d, 4) for d in (4, 8, 16)],
    "clusters": [(200, 8, k) for k in (2, 4, 8)],
}
VARIED = {"rows": 0, "features": 1, "clusters": 2}
ONE_EPOCH = {
    "max_epochs": 1,
    "pretrain_epochs": 1,
    "stage_one_epochs": 1,
    "burn_in_epochs": 0,
    "max_iter": 1,
    "n_init": 1,
}
# A fit that would take longer than this is not started.
MOST_SECONDS = 600
CHUNK = 100_000
# Memory that a fit of a million rows may need, in MiB.
MEMORY_BAR = 4096
# What grows no faster than n log n has an exponent of at most 1.1 in this range.
STEEP = 1.15
REPORT = """\
Processor seconds of a fit of one epoch a phase, on one thread, with all that is done
once. In brackets: growth of the resident memory in MiB, the mapped file included.
exponent: slope of the logarithm of the seconds against that of the size, between the
two largest; it is below 1 where what is done once, or for a sample of the rows, takes
most of the time, and bold where time grows faster than n log n.

## Rows

{d} features, {k} clusters. rows/s: of the last epoch of clustering with the most rows.
Memory: whether that fit stays below {bar:,} MiB.

{rows}

## Features

{n:,} rows, {few} clusters.

{features}

## Clusters

{n:,} rows, {d} features.

{clusters}

## Where a series ended

{ends}
"""


class EpochSeconds(Callback):
    """Processor seconds of the last epoch; it changes nothing."""

    seconds = None

    def on_epoch_begin(self, net, **kwargs):
        """Start the clock."""
        self.start = process_time()

    def on_epoch_end(self, net, **kwargs):
        """Stop it."""
        self.seconds = process_time() - self.start


def write_mixture(path, n, d, k):
    """Rows of k Gaussians in a file; returns them, mapped into memory."""
    rng = np.random.default_rng(0)
    centers = 2 * rng.normal(size=(k, d))
    shape = (n, d)
    X = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)
    for start in range(0, n, CHUNK):
        rows = min(CHUNK, n - start)
        X[start : start + rows] = centers[rng.integers(k, size=rows)]
        X[start : start + rows] += rng.normal(size=(rows, d)).astype(np.float32)
    X.flush()
    return np.load(path, mmap_mode="r")


def short_model(method, k):
    """A method with its default parameters, but one epoch, sweep and run."""
    model = getattr(deepcluster_sk, method)(k, random_state=0)
    known = model.get_params()
    return model.set_params(**{n: v for n, v in ONE_EPOCH.items() if n in known})


def measure_fit(method, n, d, k):
    """Fit once; seconds, memory, and how fast the last epoch was."""
    model, epoch = short_model(method, k), EpochSeconds()
    if "callbacks" in model.get_params():
        model.set_params(callbacks=[epoch])
    with TemporaryDirectory() as folder:
        X = write_mixture(Path(folder) / "rows.npy", n, d, k)
        with catch_warnings():
            simplefilter("ignore")
            simplefilter("error", LongFitWarning)
            with PeakMemory() as memory, FitTime() as time:
                model.fit(X)
    rate = n / epoch.seconds if epoch.seconds else None
    return {"cpu_seconds": time.cpu_seconds, "mib": memory.growth, "rate": rate}


def expected_seconds(sizes, seconds, following):
    """Of the following size, by the growth between the two before; at least linear."""
    if not seconds:
        return 0.0
    growth = 1.0
    if len(seconds) > 1:
        growth = max(1.0, slope(sizes[-2:], seconds[-2:]))
    return seconds[-1] * (following / sizes[-1]) ** growth


def slope(sizes, seconds):
    """Exponent: of the straight line through logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure_series(method, series, varied):
    """Fit from small to large, until it takes too long."""
    found = {"sizes": [], "cpu_seconds": [], "mib": [], "rate": None, "end": ""}
    for n, d, k in series:
        size = (n, d, k)[VARIED[varied]]
        expected = expected_seconds(found["sizes"], found["cpu_seconds"], size)
        if expected > MOST_SECONDS:
            found["end"] = f"{size:,} would take about {expected:,.0f} s"
            break
        try:
            fit = measure_fit(method, n, d, k)
        except (LongFitWarning, MemoryError, ValueError) as error:
            found["end"] = f"{size:,}: {error}"
            break
        found["sizes"].append(size)
        found["cpu_seconds"].append(fit["cpu_seconds"])
        found["mib"].append(fit["mib"])
        found["rate"] = fit["rate"]
    return found


def jobs(options):
    """Three series of every clusterer."""
    for varied, series in (QUICK if options.quick else SERIES).items():
        for method in OURS:
            run = partial(measure_series, method, series, varied)
            yield Job(varied, method, 0, run, {"sizes": series})


def growth_table(records, varied):
    """Seconds and memory of each size, and the exponent."""
    records = [r for r in records if r["data"] == varied]
    if not records:
        return "Nothing on record."
    column = VARIED[varied]
    sizes = [size[column] for size in records[0]["settings"]["sizes"]]
    header = ["method", *[f"{size:,}" for size in sizes], "exponent"]
    if varied == "rows":
        header += ["rows/s", "memory"]
    rows = []
    for record in records:
        found = record["result"]
        by_size = dict(
            zip(
                found["sizes"],
                zip(found["cpu_seconds"], found["mib"], strict=True),
                strict=True,
            )
        )
        cells = [
            "{:.1f} ({:.0f})".format(*by_size[size]) if size in by_size else "—"
            for size in sizes
        ]
        row = [record["method"], *cells, exponent(found)]
        if varied == "rows":
            row += [f"{found['rate']:,.0f}" if found["rate"] else "", ""]
            if sizes[-1] in by_size:
                row[-1] = "yes" if found["mib"][-1] < MEMORY_BAR else "no"
        rows.append(row)
    return markdown_table(header, rows)


def exponent(found):
    """Between the two largest sizes, marked where it is above that of n log n."""
    if len(found["sizes"]) < 2:
        return ""
    value = slope(found["sizes"][-2:], found["cpu_seconds"][-2:])
    return f"**{value:.2f}**" if value > STEEP else f"{value:.2f}"


def report(records, options):
    """Three tables, and why series ended."""
    ends = [
        f"- {r['method']}, {r['data']}: {r['result']['end']}"
        for r in records
        if r["result"]["end"]
    ]
    series = QUICK if options.quick else SERIES
    return REPORT.format(
        **{varied: growth_table(records, varied) for varied in series},
        n=series["features"][0][0],
        d=series["rows"][0][1],
        k=series["rows"][0][2],
        few=series["features"][0][2],
        bar=MEMORY_BAR,
        ends="\n".join(ends) or "None.",
    )


BENCHMARK = Benchmark("scale", jobs, report, threads=1)

if __name__ == "__main__":
    BENCHMARK.main()
