"""Time and memory of sparse self-expression on a planted union of subspaces.

Run as ``python -m benchmarks.self_expression``; prints a Markdown table. Every
row of it is measured in a process of its own, so that the peak memory is that run's.
"""

import argparse
import multiprocessing
import resource
import sys
import time

import numpy as np

from deepcluster_sk.solvers import self_expression


def planted(n, width=50, subspaces=10, dim=5, noise=0.01, seed=0):
    """Return unit-norm samples near `subspaces` random subspaces, with labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % subspaces
    bases = [np.linalg.qr(rng.normal(size=(width, dim)))[0].T for _ in range(subspaces)]
    Z = np.einsum("ni,nij->nj", rng.normal(size=(n, dim)), np.stack(bases)[labels])
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    Z += noise * rng.normal(size=Z.shape)
    return Z, labels


def worst_violation(Z, C, l1, ridge, block=500):
    """Largest violation of the optimality conditions, relative to l1."""
    worst = 0.0
    for start in range(0, Z.shape[0], block):
        rows = slice(start, start + block)
        c = C[rows].toarray()
        g = -2.0 * (Z[rows] - c @ Z) @ Z.T + 2.0 * ridge * c
        off = np.where(
            c != 0.0, np.abs(g + l1 * np.sign(c)), np.maximum(np.abs(g) - l1, 0.0)
        )
        own = np.arange(c.shape[0])
        off[own, start + own] = 0.0
        worst = max(worst, off.max())
    return worst / l1


def measure(n, penalty, alpha):
    """Return one row of the table."""
    Z, labels = planted(n)
    begin = time.perf_counter()
    C = self_expression(Z, alpha, penalty)
    seconds = time.perf_counter() - begin
    unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss: bytes or KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    ratio = 1.0 if penalty == "l1" else 0.9
    violation = worst_violation(Z, C, ratio * alpha, 0.5 * (1.0 - ratio) * alpha)
    row, column = C.nonzero()
    inside = abs(C.data[labels[row] == labels[column]]).sum() / abs(C.data).sum()
    return (
        f"| {n} | {penalty} | {alpha:g} | {seconds:.1f} | {peak:.0f} "
        f"| {C.nnz / n:.1f} | {inside:.3f} | {violation:.1e} |"
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 5000, 10000])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.02, 0.2])
    args = parser.parse_args()
    print("| n | R | alpha | seconds | peak RSS, MB | entries a row ", end="")
    print("| weight inside the subspace | violation |")
    print("|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for n in args.sizes:
        for penalty in ("l1", "elasticnet"):
            for alpha in args.alphas:
                with context.Pool(1) as pool:
                    row = pool.apply(measure, (n, penalty, alpha))
                print(row, flush=True)


if __name__ == "__main__":
    main()
