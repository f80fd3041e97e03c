"""What a training step costs through the library, beside a loop written by hand.

``python -m benchmarks.speed_step``. All contenders train the same network on the
digits in batches of 256 with Adam, in one process and turn by turn, so that a busy
machine disturbs all alike. A step's cost is marginal: a long run minus a short one,
divided by the steps between, so what happens once a fit does not count.
"""

from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNet
from torch import nn

from benchmarks._harness import Benchmark, Job
from benchmarks._tables import markdown_table
from deepcluster_sk import Autoencoder, TensorizedAutoencoder

BATCH = 256
LOOP, LIBRARY, SKORCH = "hand-written loop", "Autoencoder", "skorch as it comes"
# The side of the square float32 matrices whose product is the machine's rate.
GEMM, GEMM_SIDE = "GEMM GFLOP/s", 2048


def perceptron(sizes):
    """Mirrored perceptron as Autoencoder builds it: ReLU, linear code and output."""
    layers = []
    for half in (sizes, sizes[::-1]):
        for n_in, n_out in pairwise(half[:-1]):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        layers.append(nn.Linear(half[-2], half[-1]))
    return nn.Sequential(*layers)


def train_by_hand(X, sizes, epochs, seed):
    """Train with the loop of a careful person: slices of a permutation, fused Adam."""
    torch.manual_seed(seed)
    module = perceptron(sizes)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    X = torch.from_numpy(X)
    for _ in range(epochs):
        total = 0.0
        for index in torch.randperm(len(X)).tensor_split(-(-len(X) // BATCH)):
            x = X[index]
            optimizer.zero_grad(set_to_none=True)
            loss = (module(x) - x).square().mean()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(x)
        (total / len(X)).item()


def train_library(X, sizes, epochs, seed):
    """Train by ``Autoencoder.fit``."""
    Autoencoder(
        latent_dim=sizes[-1],
        hidden_layer_sizes=sizes[1:-1],
        batch_size=BATCH,
        max_epochs=epochs,
        tol=0,
        device="cpu",
        random_state=seed,
    ).fit(X)


def train_skorch(X, sizes, epochs, seed):
    """Train by skorch's NeuralNet and its DataLoader, printing off."""
    torch.manual_seed(seed)
    NeuralNet(
        perceptron(sizes),
        nn.MSELoss,
        optimizer=partial(torch.optim.Adam, fused=True),
        lr=1e-3,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        max_epochs=epochs,
        verbose=0,
    ).fit(X, X)


def train_tensorized(k, X, sizes, epochs, seed):
    """Train k stacked autoencoders by the gradient solver."""
    TensorizedAutoencoder(
        k,
        latent_dim=sizes[-1],
        hidden_layer_sizes=sizes[1:-1],
        solver="gradient",
        batch_size=BATCH,
        pretrain_epochs=0,
        max_epochs=epochs,
        tol=0,
        device="cpu",
        random_state=seed,
    ).fit(X)


def gemm_rate():
    """Billions of float32 operations a second in a product of large matrices."""
    a, b = torch.rand(2, GEMM_SIDE, GEMM_SIDE)
    seconds = []
    for _ in range(3):
        start = perf_counter()
        a @ b
        seconds.append(perf_counter() - start)
    return 2e-9 * GEMM_SIDE**3 / min(seconds)


def step_operations(sizes, n_rows):
    """Operations in the products of a step of an autoencoder."""
    widths = [a * b for half in (sizes, sizes[::-1]) for a, b in pairwise(half)]
    # Forth, back to the weights, and back to the inputs of all layers but the first.
    return 2 * n_rows * (3 * sum(widths) - widths[0])


def interleaved(contenders, X, sizes, epochs, n_repeats):
    """Milliseconds a step of each contender: a list of ``n_repeats``, taken in turn."""
    n_steps = (epochs[1] - epochs[0]) * -(-len(X) // BATCH)
    figures = {name: [] for name in contenders}
    for train in contenders.values():  # warm up
        train(X, sizes, epochs[0], seed=0)
    for repeat in range(n_repeats):
        figures.setdefault(GEMM, []).append(gemm_rate())
        names = list(contenders)
        for name in names if repeat % 2 else names[::-1]:
            times = []
            for n_epochs in epochs:
                start = perf_counter()
                contenders[name](X, sizes, n_epochs, seed=repeat)
                times.append(perf_counter() - start)
            figures[name].append(1e3 * (times[1] - times[0]) / n_steps)
    return figures


def jobs(options):
    """One job a network: the contenders must take turns within it."""
    digits = (load_digits().data / 16).astype(np.float32)
    eight = np.ascontiguousarray(digits[:, 20:28])
    plain = {LOOP: train_by_hand, LIBRARY: train_library, SKORCH: train_skorch}
    counts = {f"TAE, k = {k}": partial(train_tensorized, k) for k in (1, 10)}
    repeats = 5 if options.quick else 15
    for method, contenders, X, sizes, epochs, n_repeats in (
        ("one", plain, digits, (64, 64, 10), (5, 65), repeats),
        ("one", plain, digits, (64, 500, 500, 2000, 10), (1, 4), min(repeats, 7)),
        ("k", counts, eight, (8, 16, 1), (5, 65), repeats),
        ("k", counts, digits, (64, 64, 10), (5, 35), repeats),
    ):
        run = partial(interleaved, contenders, X, sizes, epochs, n_repeats)
        settings = {"repeats": n_repeats, "threads": torch.get_num_threads()}
        n_rows = len(X) / -(-len(X) // BATCH)
        settings["operations"] = step_operations(sizes, n_rows)
        yield Job("-".join(map(str, sizes)), method, 0, run, settings)


def share_of_gemm(operations, milliseconds, rates):
    """Median rate of a step's products, as a share of the machine's rate."""
    return f"{np.median(1e-6 * operations / milliseconds / rates):.0%}"


def report(records, options):
    """Median milliseconds a step, and ratios to the first contender."""
    rows = []
    for record in records:
        times = {
            name: np.array(found)
            for name, found in record["result"].items()
            if name not in ("seconds", GEMM)
        }
        rates = np.array(record["result"][GEMM])
        operations = record["settings"]["operations"]
        first = next(iter(times.values()))
        for name, found in times.items():
            low, middle, high = np.percentile(found, [25, 50, 75])
            rows.append(
                [
                    record["data"],
                    name,
                    f"{middle:.3f}",
                    f"{low:.3f} - {high:.3f}",
                    f"{middle / np.median(first):.2f}",
                    f"{np.median(found / first):.2f}",
                    share_of_gemm(operations, found, rates)
                    if record["method"] == "one"
                    else "",
                ]
            )
    header = ["network", "trained by", "ms a step", "quartiles", "ratio", "paired"]
    header.append("of GEMM")
    table = markdown_table(header, rows, n_left=2)
    return (
        "# Cost of a training step\n\nDigits (for 8-16-1 eight of the pixels), batches "
        "of 256, CPU. ratio: of the medians, to the first row of the network; paired: "
        "median of the ratios within a turn; of GEMM: the rate of the step's products, "
        "as if it did nothing else, by that of the product of two square matrices of "
        f"side {GEMM_SIDE} in the same turn.\n\n{table}"
    )


BENCHMARK = Benchmark("speed_step", jobs, report)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
