"""Record what every estimator computes, to compare two commits bit for bit.

A change that only moves code must not move a bit of the results. Run on the commit
before it, and after it::

    python tests/fingerprints.py before.json
    python tests/fingerprints.py after.json --compare before.json

The small instances of all common tests are fitted to the penguins and to some digits.
Labels, embedding and objective are recorded as SHA-256 digests of their bytes. Results
of two machines may differ in their last digits, so both runs must be on one machine.
"""

import argparse
import hashlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from instances import SMALL
from sklearn.base import clone
from sklearn.datasets import load_digits

from deepcluster_sk.datasets import load_penguins


def data_sets():
    """Name and rows of each set of data."""
    X = load_penguins().data
    yield "penguins", X / X.max(axis=0)
    yield "digits", load_digits().data[:400] / 16


def digest(values):
    """SHA-256 of the bytes of an array."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def fingerprint(estimator, X):
    """Digests of what a fit gives, for one estimator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = clone(estimator).fit(X)
        found = {"objective": float(model.objective_).hex()}
        found["embedding"] = digest(model.transform(X))
        if hasattr(model, "labels_"):
            found["labels"] = digest(model.labels_.astype(np.int64))
    return found


def differences(before, after):
    """Yield where two records differ, and what only one of them has."""
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield f"{name}: only {'after' if name in after else 'before'}"
        elif before[name] != after[name]:
            parts = [k for k in before[name] if before[name][k] != after[name].get(k)]
            yield f"{name}: {', '.join(parts)} differ"


def main(arguments=None):
    """Write the record, and compare it with another; returns the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the record to write")
    parser.add_argument("--compare", type=Path, help="an earlier record")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record = {
        f"{name} on {data}": fingerprint(estimator, X)
        for data, X in data_sets()
        for name, estimator in SMALL.items()
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.compare is None:
        return 0
    before = json.loads(options.compare.read_text(encoding="utf-8"))
    found = list(differences(before, record))
    print("\n".join(found) or f"all {len(record)} fits are the same to the bit")
    return len(found)


if __name__ == "__main__":
    sys.exit(bool(main()))
