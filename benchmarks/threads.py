"""Whether the number of threads suits the size of the work.

``python -m benchmarks.threads``. Small fits take turns between torch's default number
of threads and one, beside a process that keeps a core busy: the library should choose
so that the default costs nothing. The steps of a large network take turns between two
threads and one, with nothing beside them that this program started. Processor time is
what a machine that others use says best; seconds are its wall time.
"""

import subprocess
import sys
import warnings
from contextlib import contextmanager
from functools import partial
from time import perf_counter, process_time

import numpy as np
import torch
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import scale
from skorch.callbacks import Callback
from threadpoolctl import threadpool_limits

from benchmarks._harness import Benchmark, Job
from benchmarks._tables import markdown_table
from deepcluster_sk import DEC, IDEC, TensorizedAutoencoder
from deepcluster_sk.exceptions import ClusterCollapseWarning

BESIDE, FREE = "beside a busy core", "free"
LARGE = "DEC, 500-500-2000-10"
ONE, SEVERAL = "one thread", "several threads"
# What the default may cost small fits, and what two threads must gain large steps.
MOST, LEAST = 1.25, 1.3


@contextmanager
def busy_core():
    """Keep one core busy inside the block, from another process."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def limited_to(number):
    """Give torch, OpenMP and the BLAS at most so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


def timed(call):
    """Seconds and processor seconds of a call."""
    start, processor = perf_counter(), process_time()
    call()
    return perf_counter() - start, process_time() - processor


class StepTimes(Callback):
    """Seconds and processor seconds of each step, and the threads it has."""

    def on_train_begin(self, net, **kwargs):
        """Forget a phase before."""
        self.steps, self.threads = [], set()

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        """Start the clocks."""
        self.started = perf_counter(), process_time()
        self.threads.add(torch.get_num_threads())

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        """Read the clocks."""
        start, processor = self.started
        self.steps.append((perf_counter() - start, process_time() - processor))


def digits():
    """Digits, pixels in [0, 1]."""
    return (load_digits().data / 16).astype(np.float32)


def fit_idec(seed, epochs):
    """IDEC on the wine data, one hidden layer of 64."""
    X = scale(load_wine().data)
    IDEC(
        3,
        hidden_layer_sizes=(64,),
        pretrain_epochs=epochs,
        max_epochs=epochs,
        tol=0,
        device="cpu",
        random_state=seed,
    ).fit(X)


def fit_tensorized(seed, epochs):
    """The default TensorizedAutoencoder on the digits."""
    TensorizedAutoencoder(device="cpu", random_state=seed).fit(digits())


def fit_dec(seed, epochs):
    """DEC on the digits, two hidden layers of 64."""
    DEC(
        10,
        hidden_layer_sizes=(64, 64),
        pretrain_epochs=epochs,
        max_epochs=epochs,
        tol=0,
        device="cpu",
        random_state=seed,
    ).fit(digits())


SMALL = {
    "IDEC on wine, 64": fit_idec,
    "TensorizedAutoencoder on digits": fit_tensorized,
    "DEC on digits, 64-64": fit_dec,
}


def fits(fit, epochs, repeats):
    """Times of small fits beside a busy core: lists, taken in turn."""
    several = torch.get_num_threads()
    figures = {}
    with busy_core():
        fit(0, epochs)  # warm up
        for repeat in range(repeats):
            turns = [(ONE, 1), (SEVERAL, several)]
            for name, number in turns if repeat % 2 else turns[::-1]:
                with limited_to(number):
                    seconds, processor = timed(partial(fit, repeat, epochs))
                figures.setdefault(name, []).append(seconds)
                figures.setdefault(f"{name}, processor", []).append(processor)
    return figures


def steps(epochs, repeats):
    """Times of a step of the papers' network: medians, and the best, in turn."""
    X = digits()[:1024]
    figures = {}
    for repeat in range(repeats):
        turns = [(ONE, 1), (SEVERAL, 2)]
        for name, number in turns if repeat % 2 else turns[::-1]:
            times = StepTimes()
            model = DEC(
                10,
                hidden_layer_sizes=(500, 500, 2000),
                pretrain_epochs=0,
                max_epochs=epochs,
                tol=0,
                device="cpu",
                callbacks=[times],
                random_state=repeat,
            )
            with limited_to(number), warnings.catch_warnings():
                # Without pretraining; only the times matter.
                warnings.simplefilter("ignore", ClusterCollapseWarning)
                model.fit(X)
            if times.threads != {number}:
                raise RuntimeError(f"a step had {times.threads} of {number}")
            seconds, processor = np.array(times.steps[1:]).T
            figures.setdefault(name, []).append(float(np.median(seconds)))
            figures.setdefault(f"{name}, best", []).append(float(seconds.min()))
            figures.setdefault(f"{name}, processor", []).append(
                float(np.median(processor))
            )
    return figures


def jobs(options):
    """A job for each small fit and one for the large network's steps."""
    several = torch.get_num_threads()
    repeats = 3 if options.quick else 11
    for name, fit in SMALL.items():
        settings = {"repeats": repeats, "threads": several}
        run = partial(fits, fit, 5 if options.quick else 20, repeats)
        yield Job(BESIDE, name, 0, run, settings)
    settings = {"repeats": repeats, "threads": 2}
    run = partial(steps, 3, repeats)
    yield Job(FREE, LARGE, 0, run, settings)


def report(records, options):
    """Medians, and the ratio of turns to the turns beside them."""
    rows = []
    for record in records:
        found = record["result"]
        one, several = np.array(found[ONE]), np.array(found[SEVERAL])
        processor = np.array(found[f"{SEVERAL}, processor"]) / np.array(
            found[f"{ONE}, processor"]
        )
        ratio = np.median(several / one)
        best = np.min(found.get(f"{SEVERAL}, best", several)) / np.min(
            found.get(f"{ONE}, best", one)
        )
        limit = MOST if record["data"] == BESIDE else 1 / LEAST
        rows.append(
            [
                record["data"],
                record["method"],
                str(record["settings"]["threads"]),
                f"{np.median(one):.4f}",
                f"{np.median(several):.4f}",
                f"{ratio:.2f}",
                f"{best:.2f}",
                f"{np.median(processor):.2f}",
                f"{limit:.2f}",
                "yes" if ratio <= limit else "no",
            ]
        )
    header = ["machine", "work", "threads", "s with one", "s with several", "paired"]
    header += ["best", "processor", "at most", "holds"]
    table = markdown_table(header, rows, n_left=2)
    return (
        "# Threads\n\nFits, and steps at batch 256, with torch's default number of "
        "threads (or two) and with one, in turn. paired: median of the ratios of the "
        "wall times, several to one, within a turn; best: ratio of the smallest wall "
        "times; processor: as paired, of processor time. What holds is asked of "
        f"the paired ratio.\n\n{table}"
    )


BENCHMARK = Benchmark("threads", jobs, report)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
