"""A planted union of linear subspaces, which subspace clustering must recover."""

import numpy as np


def planted_subspaces(seed=0, n=100, k=5, dim=4, width=50, noise=0.01):
    """``(X, y)``: k random subspaces, n unit-norm points each, with noise."""
    rng = np.random.default_rng(seed)
    X = []
    for _ in range(k):
        basis = np.linalg.qr(rng.normal(size=(width, dim)))[0].T
        rows = rng.normal(size=(n, dim)) @ basis
        X.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    X = np.vstack(X)
    return X + noise * rng.normal(size=X.shape), np.repeat(np.arange(k), n)


def hard_data():
    """Data on which block updates go wrong first, by name."""
    rng = np.random.default_rng(0)
    random = rng.normal(size=(30, 5))
    return {
        "random": random,
        "positive": np.abs(random),
        "collinear": np.outer(rng.normal(size=30), rng.normal(size=5)),
        "duplicated": np.repeat(random[:6], 5, axis=0),
        "constant": np.full((30, 5), 3.0),
        "zero": np.zeros((30, 5)),
        "large": 1e12 * random,
        "small": 1e-12 * random,
    }


def rises(history, phase):
    """Relative rises of the loss between rows of a phase; none is wanted."""
    losses = np.array([row["loss"] for row in history if row["phase"] == phase])
    return np.diff(losses) / np.maximum(np.abs(losses[:-1]), 1e-300)
