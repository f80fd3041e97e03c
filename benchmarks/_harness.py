"""What every benchmark shares: jobs, records that survive a killed run, reports.

A benchmark lists its jobs and turns their records into a report::

    def jobs(options):
        yield Job("iris", "k-means", seed=0, run=lambda: {"ari": 0.73})

    def report(records, options):
        return results_table(records, {"ari": "ARI"})

    BENCHMARK = Benchmark("example", jobs, report)

    if __name__ == "__main__":
        BENCHMARK.main()

Each finished job is one line of ``<output>/example.jsonl``. A job whose line is
there is not run again, so a killed run goes on where it was.
"""

import argparse
import csv
import ctypes
import gc
import json
import os
import platform
import re
import resource
import sys
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import sklearn
import skorch
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import deepcluster_sk
from benchmarks._tables import markdown_table
from deepcluster_sk.datasets._images import DATA_HOME_VARIABLE

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Job:
    """One fit, or one timing.

    Parameters
    ----------
    data, method : str
        What appears in the report.
    seed : int
    run : callable
        Returns the figures: a dict of numbers (or of lists of numbers). A "seconds"
        among them replaces the wall time of the call.
    settings : dict, default={}
        Whatever else tells this job from others, as JSON can hold it.
    """

    data: str
    method: str
    seed: int
    run: Callable
    settings: dict = field(default_factory=dict)

    @property
    def key(self):
        """Identity of the job among the records."""
        return record_key(vars(self))


def record_key(record):
    """Identity of a record: what was run, not what came out."""
    names = ("data", "method", "seed", "settings")
    return json.dumps([record[name] for name in names], sort_keys=True)


def environment():
    """Versions and machine, as far as they decide figures and times."""
    return {
        "deepcluster_sk": deepcluster_sk.__version__,
        "torch": torch.__version__,
        "skorch": skorch.__version__,
        "sklearn": sklearn.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


class FitTime:
    """Wall and processor seconds of a block.

    ``cpu_seconds`` are those of all threads of the process, and of the processes that
    it started and waited for. Other work on the machine makes a block take longer, but
    adds little to them.
    """

    def __enter__(self):
        self._start = perf_counter(), _processor_seconds()
        return self

    def __exit__(self, *exception):
        self.seconds = perf_counter() - self._start[0]
        self.cpu_seconds = _processor_seconds() - self._start[1]


def _processor_seconds():
    """Of this process, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


@contextmanager
def thread_limit(number):
    """Inside the block, torch, BLAS and OpenMP have this many threads, or as before."""
    if number is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


class PeakMemory:
    """Peak resident memory of a block in MiB; on Linux of the block alone.

    Elsewhere the peak since the process began is all that the system tells. Memory
    that was freed before is given back first, so that ``growth``, the peak minus what
    was resident at the start, is what the block needed.
    """

    def __enter__(self):
        gc.collect()
        with suppress(OSError, AttributeError):  # glibc has it
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        self.start = _resident()
        return self

    def __exit__(self, *exception):
        peak = _resident()
        self.mib = round(peak / 1024)
        self.growth = (peak - self.start) / 1024


def _resident():
    """Largest resident memory, in KiB, since the peak was reset."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kib / 1024 if sys.platform == "darwin" else kib  # bytes there


class Records:
    """Lines of JSON in a file, one a finished job."""

    def __init__(self, path):
        self.path = path
        self.records = []
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        whole, _, torn = text.rpartition("\n")
        if torn:  # the run was killed while it wrote
            os.truncate(path, len(whole.encode()) + bool(whole))
        self.records = [json.loads(line) for line in whole.splitlines() if line]

    def append(self, record):
        """Add a record; one write, on disk before this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(record) + "\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
        self.records.append(record)

    def forget(self, unwanted):
        """Remove the records for which ``unwanted(record)`` is true."""
        self.records = [record for record in self.records if not unwanted(record)]
        if self.path.exists():
            lines = [json.dumps(record) + "\n" for record in self.records]
            draft = self.path.with_suffix(".part")
            draft.write_text("".join(lines), encoding="utf-8")
            draft.replace(self.path)


@dataclass
class Benchmark:
    """A named list of jobs and the report that is made of their records.

    Parameters
    ----------
    name : str
        Names the files in the results folder.
    jobs : callable
        ``jobs(options)`` yields the jobs. Building one must be cheap: those that
        are done are built too.
    report : callable
        ``report(records, options)`` returns Markdown, and may save figures with
        ``options.figure(name)``.
    threads : int, default=None
        Number of threads of all jobs; None leaves it.
    """

    name: str
    jobs: Callable
    report: Callable
    threads: int | None = None

    def main(self, arguments=None):
        """Run what is missing and write the report; returns the number of failures."""
        options = parse(self.name, arguments)
        stem = options.output / options.stem
        jobs = list(self.jobs(options))
        chosen = choose(jobs, options)
        store = Records(stem.with_suffix(".jsonl"))
        if options.fresh and not options.report:
            store.forget(lambda record: options.chooses(**record))
        done = {record_key(record) for record in store.records}
        n_failed, wanted = 0, done
        if not options.report:
            missing = [job for job in chosen if job.key not in done]
            with thread_limit(self.threads):
                n_failed = run_all(missing, store)
            wanted = {job.key for job in jobs}
        records = [r for r in store.records if record_key(r) in wanted]
        if records:
            text = f"{self.report(records, options)}\n\n{footnote(records)}\n"
            stem.with_suffix(".md").write_text(text, encoding="utf-8")
            print(text)
        return n_failed


def parse(name, arguments):
    """Options of the command line, the same for every benchmark."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description="Finished jobs are kept: run again to go on, or with --fresh.",
    )
    parser.add_argument(
        "--data-home",
        default=os.environ.get(DATA_HOME_VARIABLE),
        help=f"folder of image data (default: ${DATA_HOME_VARIABLE}); without "
        "it, what needs it is left out",
    )
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to SEEDS - 1")
    parser.add_argument("--quick", action="store_true", help="one seed, smaller")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="forget finished jobs, those of --data and --methods if these are given",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="run nothing, and report all that is on record, also of packages that are "
        "not installed",
    )
    for name_of, example in (("data", "penguins,iris"), ("methods", "DEC,k-means")):
        parser.add_argument(
            f"--{name_of}",
            type=_names,
            help=f"run these only, such as {example} (a name with a comma in double "
            "quotes); the report has all that is on record",
        )
    parser.add_argument("--output", type=Path, default=RESULTS, help="results folder")
    options = parser.parse_args(arguments)
    options.chooses = lambda data, method, **others: (
        data in (options.data or [data]) and method in (options.methods or [method])
    )
    options.stem = f"{name}-quick" if options.quick else name
    options.seeds = range(1 if options.quick else options.seeds)
    options.figure = lambda part="": options.output / f"{options.stem}{part}.png"
    return options


def _names(text):
    """Names between commas."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True))]


def choose(jobs, options):
    """The jobs that ``--data`` and ``--methods`` name; a name of none is an error."""
    for option, asked, known in (
        ("--data", options.data, [job.data for job in jobs]),
        ("--methods", options.methods, [job.method for job in jobs]),
    ):
        unknown = set(asked or ()) - set(known)
        if unknown:
            raise SystemExit(
                f"{option}: no job for {', '.join(sorted(unknown))}. "
                f"There are: {', '.join(dict.fromkeys(known))}."
            )
    return [job for job in jobs if options.chooses(job.data, job.method)]


def run_all(jobs, store):
    """Run jobs and append their records; a failure is shown and the rest goes on."""
    n_failed = 0
    with tqdm(jobs, unit="job", disable=not jobs) as bar:
        for job in bar:
            bar.set_description(f"{job.data}, {job.method}, seed {job.seed}")
            try:
                with PeakMemory() as memory:
                    start = perf_counter()
                    result = job.run()
                    seconds = perf_counter() - start
            except Exception:  # one method's failure must not cost a night's run
                n_failed += 1
                tqdm.write(f"FAILED: {job.key}\n{traceback.format_exc()}")
                continue
            store.append(
                {
                    "data": job.data,
                    "method": job.method,
                    "seed": job.seed,
                    "settings": job.settings,
                    "result": {"seconds": seconds, **result},
                    "peak_mib": memory.mib,
                    "environment": environment(),
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
    return n_failed


# Figures of quality: larger is better, or smaller.
DIRECTIONS = {"acc": 1, "nmi": 1, "ari": 1, "mse": -1}


def footnote(records):
    """State the versions and machines behind the figures."""
    seen = {json.dumps(record["environment"]) for record in records}
    lines = []
    for text in sorted(seen):
        env = json.loads(text)
        lines.append(", ".join(f"{k} {v}" for k, v in env.items() if v is not None))
    return "\n".join(f"Measured with {line}." for line in lines)


def scaled(load):
    """Images of a loader, with values from 0 to 1, and their classes."""
    X, y = load(return_X_y=True)
    return (X / X.max()).astype(np.float32), y


def group(records, *names):
    """Records by the values of these names, in the order of first appearance."""
    groups = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in names), []).append(record)
    return groups


def values(records, metric):
    """One figure of several records, without those that lack it."""
    found = [record["result"].get(metric) for record in records]
    return np.array([value for value in found if value is not None], dtype=float)


def spread(figures, digits=3):
    """Write ``median (mean ± deviation)``, or the figure if there is only one."""
    if len(figures) == 0:
        return ""
    median = f"{np.median(figures):.{digits}f}"
    if len(figures) == 1:
        return median
    deviation = np.std(figures, ddof=1)
    return f"{median} ({np.mean(figures):.{digits}f} ± {deviation:.{digits}f})"


def shortfalls(records, published, metric="acc"):
    """Markdown table of the methods whose median is below the figure of their paper.

    Parameters
    ----------
    records : list of dict
    published : dict of (data, method, metric) to str
        Figures of papers. What is not a plain number (a range, a figure of other
        data) is not compared.
    metric : str, default="acc"
        What is compared; larger is better.

    Returns
    -------
    str
    """
    rows, compared = [], False
    for (data, method), members in group(records, "data", "method").items():
        quoted = published.get((data, method, metric), "")
        if not re.fullmatch(r"\d*\.\d+", quoted):
            continue
        compared = True
        median = float(np.median(values(members, metric)))
        if median < float(quoted):
            gap = f"{float(quoted) - median:.3f}"
            rows.append([data, method, quoted, f"{median:.3f}", gap])
    if not compared:
        return "Nothing that a paper reports is on record."
    if not rows:
        return "None."
    header = ["data", "method", "published", "median here", "below by"]
    return markdown_table(header, rows, n_left=2)


def results_table(records, metrics, published=None, digits=None):
    """Markdown table: a row for each data set and method.

    Of the methods of a set of data the one with the best median is bold, for figures
    that have a direction; k-means, which all are measured against, is in italics.

    Parameters
    ----------
    records : list of dict
    metrics : dict of str to str
        Names of figures and what they are called in the header.
    published : dict of (data, method, metric) to str, default=None
        Figures of papers, put beside the measured ones.
    digits : dict of str to int, default=None
        Decimals of a metric, 3 unless given.

    Returns
    -------
    str
    """
    published, digits = published or {}, digits or {}
    quoted = {metric for _, _, metric in published}
    header = ["data", "method"]
    for metric, label in metrics.items():
        header += [label, f"published {label}"] if metric in quoted else [label]
    found = group(records, "data", "method")
    best = {
        (data, metric): best_of(found, data, metric)
        for data, _ in found
        for metric in metrics
    }
    rows = []
    for (data, method), members in found.items():
        row = [data, f"*{method}*" if method == "k-means" else method]
        for metric in metrics:
            cell = spread(values(members, metric), digits.get(metric, 3))
            row.append(f"**{cell}**" if method in best[data, metric] else cell)
            if metric in quoted:
                row.append(published.get((data, method, metric), ""))
        rows.append(row)
    return markdown_table(header, rows, n_left=2)


def best_of(found, data, metric):
    """Methods with the best median on a set of data; none where nothing is compared.

    Parameters
    ----------
    found : dict of (data, method) to list of dict
        Records.
    data, metric : str

    Returns
    -------
    set of str
    """
    sign = DIRECTIONS.get(metric)
    medians = {
        method: np.median(values(members, metric))
        for (of, method), members in found.items()
        if of == data and len(values(members, metric))
    }
    if sign is None or len(medians) < 2:
        return set()
    top = max(sign * median for median in medians.values())
    return {method for method, median in medians.items() if sign * median == top}
