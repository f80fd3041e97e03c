"""Time of training on an accelerator, beside the CPU of the same machine.

``python -m benchmarks.device``, or ``make benchmarks-gpu``. The device is the one that
``device="auto"`` takes; where that is the CPU there is nothing to do, and the report
says so. Each method trains a small and a large network on the digits, on both devices
in turn; ClustPy's methods of the same names, where it is installed, train as many
epochs of the same network on the device. A fit is made with few and with more epochs:
the difference is what epochs take, and the rest of the fit is what happens once. The
share of the device's rate is that of its own product of large float32 matrices.
"""

from functools import partial
from time import perf_counter
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from sklearn.datasets import load_digits

import deepcluster_sk
from benchmarks import _clustpy
from benchmarks._harness import Benchmark, Job
from benchmarks._tables import markdown_table
from deepcluster_sk._training._data import resolve_device

METHODS = ("DEC", "IDEC", "DCN", "PCX", "DDC", "DiscriminativeClustering")
NETWORKS = {"64": (64,), "500-500-2000": (500, 500, 2000)}
BATCH, LATENT = 256, 10
# Epochs of the two fits; those of pretraining are none.
FEW, MORE = 2, 12
CPU, CLUSTPY = "cpu", "ClustPy"


def synchronize(device):
    """Wait until a device has done what it was told."""
    if torch.device(device).type not in ("cpu", "meta"):
        torch.accelerator.synchronize()


def rate_of_products(device, size=4096, repeats=5):
    """Multiplications a second in a product of large matrices."""
    x = torch.ones(size, size, device=device)
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        start = perf_counter()
        x @ x
        synchronize(device)
        seconds.append(perf_counter() - start)
    return size**3 / min(seconds)


def ours(method, sizes, epochs, device, seed):
    """One of this library's methods, without pretraining."""
    model = getattr(deepcluster_sk, method)(
        10,
        hidden_layer_sizes=sizes,
        batch_size=BATCH,
        pretrain_epochs=0,
        max_epochs=epochs,
        tol=0,
        device=device,
        random_state=seed,
    )
    if "pretraining" in model.get_params():
        model.set_params(pretraining=None if method == "DDC" else "end-to-end")
    return model


def theirs(method, sizes, epochs, device, seed, n_features):
    """ClustPy's method with the same network, without pretraining."""
    return _clustpy.make(
        method,
        10,
        n_features,
        sizes,
        latent_dim=LATENT,
        batch_size=BATCH,
        pretrain_epochs=0,
        max_epochs=epochs,
        random_state=seed,
        device=device,
    )


def fit_seconds(model, device, X):
    """Seconds of a fit."""
    synchronize(device)
    start = perf_counter()
    with catch_warnings():
        # Without pretraining; only the times matter.
        simplefilter("ignore")
        model.fit(X)
    synchronize(device)
    return perf_counter() - start


def compare(method, sizes, device, repeats, X, seed, epochs=(FEW, MORE)):
    """Times of both devices in turn: an epoch's, and what is done once."""
    figures, few, more = {}, *epochs
    makers = {name: partial(ours, method, sizes, device=name) for name in (CPU, device)}
    if method in _clustpy.METHODS and _clustpy.is_installed():
        makers[CLUSTPY] = partial(
            theirs, method, sizes, device=device, n_features=X.shape[1]
        )
    places = {name: device if name == CLUSTPY else name for name in makers}
    for name, make in makers.items():  # what a first call compiles or loads
        fit_seconds(make(epochs=1, seed=seed), places[name], X)
    for repeat in range(repeats):
        for name in list(makers)[:: -1 if repeat % 2 else 1]:
            short, long = (
                fit_seconds(makers[name](epochs=n, seed=seed), places[name], X)
                for n in epochs
            )
            epoch = (long - short) / (more - few)
            figures.setdefault(f"epoch, {name}", []).append(epoch)
            figures.setdefault(f"once, {name}", []).append(short - few * epoch)
    module = makers[CPU](epochs=1, seed=seed).fit(X[:20]).module_
    # Forward, and twice as much backward.
    n_weights = sum(p.numel() for p in module.parameters())
    figures["multiplications"] = 3 * n_weights * len(X)
    return figures


def jobs(options):
    """A job for each method and network, and one for each device's rate."""
    device = str(resolve_device("auto"))
    if device == CPU:
        return
    X = (load_digits().data / 16).astype(np.float32)
    repeats = 1 if options.quick else 5
    for name in (CPU, device):
        run = partial(lambda name: {"rate": rate_of_products(name)}, name)
        yield Job("products", name, 0, run, {"device": name})
    for network, sizes in NETWORKS.items():
        for method in METHODS:
            run = partial(compare, method, sizes, device, repeats, X, 0)
            yield Job(network, method, 0, run, {"device": device, "repeats": repeats})


def report(records, options):
    """Medians, the speed-up, and the share of the device's rate."""
    rates = {r["method"]: r["result"]["rate"] for r in records if "rate" in r["result"]}
    rows = []
    for record in records:
        found, device = record["result"], record["settings"]["device"]
        if "rate" in found:
            continue
        here, there = (np.median(found[f"epoch, {name}"]) for name in (CPU, device))
        share = found["multiplications"] / there / rates[device]
        once = np.median(found[f"once, {device}"])
        peer = np.median(found.get(f"epoch, {CLUSTPY}", np.nan))
        rows.append(
            [
                record["data"],
                record["method"],
                device,
                f"{here:.4f}",
                f"{there:.4f}",
                f"{here / there:.1f}",
                f"{once:.2f}",
                f"{share:.1%}",
                "" if np.isnan(peer) else f"{peer / there:.1f}",
            ]
        )
    header = ["hidden layers", "method", "device", "epoch on the CPU, s", "there, s"]
    header += ["times as fast", "once, s", "share of its rate", "ClustPy there / ours"]
    return "# Device\n\n" + markdown_table(header, rows, n_left=3)


BENCHMARK = Benchmark("device", jobs, report)

if __name__ == "__main__":
    if resolve_device("auto").type == CPU:
        raise SystemExit("torch finds no accelerator here: there is nothing to compare")
    raise SystemExit(BENCHMARK.main())
