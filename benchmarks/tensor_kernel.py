"""Time of the tensor kernel, forward and backward, against the SVD route.

Run with ``python -m benchmarks.tensor_kernel``. The routes are timed in turn within
each round, so that a busy machine slows all of them alike; medians over the rounds, and
the median of the per-round ratios.
"""

import argparse
import statistics
import time

import torch

from deepcluster_sk.kernels import gaussian_kernel, tensor_distance, tensor_kernel

SHAPES = [(120, 32, 12, 12), (120, 32, 20, 20)]


def svd_distance(y):
    """Sum over modes of 2(D - ‖V_x V_yᵀ‖²), V from the singular value decomposition."""
    distance = 0
    for mode in range(1, y.dim()):
        rows = y.movedim(mode, 1).flatten(2)
        n, n_rows, n_columns = rows.shape
        if n_rows >= n_columns:
            continue
        basis = torch.linalg.svd(rows, full_matrices=False).Vh.flatten(0, 1)
        products = (basis @ basis.T).view(n, n_rows, n, n_rows)
        distance = distance + 2 * (n_rows - products.square().sum((1, 3)))
    return distance


def svd_kernel(y, relative_width=0.15):
    """Tensor kernel by the SVD route."""
    distance = svd_distance(y)
    width = relative_width * distance.detach().median()
    return torch.exp(-distance / (2 * width))


ROUTES = {"SVD": svd_kernel, "ours": tensor_kernel, "naive Gaussian": gaussian_kernel}


def time_once(kernel, y):
    """Seconds of one forward and backward pass."""
    y = y.clone().requires_grad_()
    start = time.perf_counter()
    kernel(y).sum().backward()
    return time.perf_counter() - start


def measure(shape, rounds):
    """Seconds per round for every route, interleaved."""
    y = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    times = {name: [] for name in ROUTES}
    for round_ in range(-2, rounds):  # two rounds to warm up
        for name, kernel in ROUTES.items():
            seconds = time_once(kernel, y)
            if round_ >= 0:
                times[name].append(seconds)
    exact = svd_distance(y.double())
    off = tensor_distance(y) - exact
    return times, float(off.abs().max() / exact.max())


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"torch {torch.__version__}, {args.threads} threads, float32, forward+backward"
    )
    print("\n| shape | route | median, ms | ratio to SVD | largest relative error |")
    print("|---|---|---|---|---|")
    for shape in SHAPES:
        times, error = measure(shape, args.rounds)
        for name, seconds in times.items():
            ratio = statistics.median(
                a / b for a, b in zip(seconds, times["SVD"], strict=True)
            )
            shown = f"{error:.0e}" if name == "ours" else ""
            median = 1e3 * statistics.median(seconds)
            print(f"| {shape} | {name} | {median:.0f} | {ratio:.2f} | {shown} |")


if __name__ == "__main__":
    main()
