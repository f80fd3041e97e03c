"""Rows of ``history_``."""

from collections import Counter

import numpy as np


def history_rows(history, phase):
    """Rows of ``history_`` for one phase, from skorch's history."""
    rows = []
    for epoch, recorded in enumerate(history, start=1):
        row = {"phase": phase, "epoch": epoch, "loss": recorded["train_loss"]}
        for name, value in recorded.items():
            if np.isscalar(value) and name not in ("train_loss", "train_batch_count"):
                row[name] = value
        rows.append(row)
    return rows


def count_epochs(history):
    """Number of epochs or sweeps of each phase, from rows of ``history_``."""
    return dict(Counter(row["phase"] for row in history))
