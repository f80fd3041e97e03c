"""Hard data to draw: values x scale x dtype x layout x container, and bad values."""

import tempfile
from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import strategies as st
from scipy import sparse

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = (*INTEGERS, "bool", "float16", "float32", "float64", "longdouble", "object")
VALUES = (
    "normal",
    "blobs",
    "constant",
    "zeros",
    "duplicates",
    "nearly equal",
    "one-hot",
    "constant column",
    "outlier",
    "offset",
    "line",
    "far away",
)
LAYOUTS = ("C", "F", "strided", "reversed", "read-only", "transposed view")
DENSE = ("array", "list", "pandas", "polars", "memmap", "subclass", "no mask")
SPARSE = ("csr_matrix", "csr_array", "csc_matrix", "csc_array", "coo_array")
# What must be refused, and in which words.
REFUSED = {
    "nan": "NaN",
    "inf": "infinity",
    "-inf": "infinity",
    "beyond float32": "infinity or a value too large",
    "text": "could not convert",
    "bytes": "could not convert",
    "None": "NaN",
    "nested": "inhomogeneous|sequence",
    "complex": "Complex data not supported",
    "1-D": "1D array",
    "scalar": "scalar array|0D|Expected 2D",
    "3-D": "dim 3",
    "no rows": "0 sample",
    "no columns": "0 feature",
    "dates": "holds dates",
    "pandas dates": "holds dates",
    "polars dates": "holds dates",
    "durations": "holds dates",
    "masked": "masked entries",
    "huge integer": "an integer that is too large",
    "pandas NA": "NaN",
    "polars null": "NaN",
    "words": "could not convert",
    "categories": "could not convert",
    "ragged": "inhomogeneous",
    **dict.fromkeys(SPARSE, "Sparse data was passed"),
}


@dataclass(frozen=True)
class Case:
    """One matrix, described so that it can be printed and pinned."""

    values: str = "normal"
    n: int = 12
    d: int = 3
    exponent: int = 0
    dtype: str = "float64"
    layout: str = "C"
    container: str = "array"
    seed: int = 0

    def matrix(self):
        """The matrix in its dtype, C-contiguous."""
        rng = np.random.default_rng(self.seed)
        X = _VALUES[self.values](rng, self.n, self.d)
        if self.dtype in INTEGERS:
            low, high = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
            X = np.rint(X * 10.0 ** min(abs(self.exponent), 12) * 10)
            # The largest float64 below the largest integer.
            return np.clip(X, low, np.nextafter(float(high), 0)).astype(self.dtype)
        if self.dtype == "bool":
            return X > np.median(X)
        X = X * 10.0**self.exponent
        if self.dtype == "float16":
            return np.clip(X, -6e4, 6e4).astype("float16")
        return X.astype(self.dtype)

    def data(self):
        """The matrix in its layout and container."""
        return _CONTAINERS[self.container](_LAYOUTS[self.layout](self.matrix()))


_VALUES = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "blobs": lambda rng, n, d: (
        np.eye(3, d)[np.arange(n) % 3] * 6 + rng.normal(size=(n, d))
    ),
    "constant": lambda rng, n, d: np.full((n, d), 1.7),
    "zeros": lambda rng, n, d: np.zeros((n, d)),
    "duplicates": lambda rng, n, d: rng.normal(size=(2, d))[rng.integers(2, size=n)],
    "nearly equal": lambda rng, n, d: 1 + 1e-6 * rng.normal(size=(n, d)),
    "one-hot": lambda rng, n, d: np.eye(d)[rng.integers(d, size=n)],
    "constant column": lambda rng, n, d: np.c_[
        rng.normal(size=(n, d - 1)), np.full(n, 3.0)
    ],
    "outlier": lambda rng, n, d: np.r_[
        rng.normal(size=(n - 1, d)), np.full((1, d), 1e6)
    ],
    "offset": lambda rng, n, d: 1e3 + rng.normal(size=(n, d)),
    "far away": lambda rng, n, d: 1e9 + rng.normal(size=(n, d)),
    "line": lambda rng, n, d: np.outer(np.arange(n), np.arange(1, d + 1)) / n,
}


def _strided(X):
    wide = np.zeros((2 * len(X), 3 * X.shape[1]), dtype=X.dtype)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def _read_only(X):
    X.flags.writeable = False
    return X


_LAYOUTS = {
    "C": lambda X: X,
    "F": np.asfortranarray,
    "strided": _strided,
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": _read_only,
    "transposed view": lambda X: X.T.copy().T,
}


class _Subclass(np.ndarray):
    """An ndarray with a name."""


def _memmap(X):
    if X.dtype.hasobject:  # cannot lie on a disk
        return X
    with tempfile.NamedTemporaryFile(prefix="trust") as file:
        on_disk = np.memmap(file, dtype=X.dtype, mode="w+", shape=X.shape)
    on_disk[:] = X
    return on_disk


def _frame(X):
    # Half-precision, long and object columns are the business of the frame.
    return pd.DataFrame(X.copy(), columns=[f"c{i}" for i in range(X.shape[1])])


def _polars(X):
    columns = {}
    for i in range(X.shape[1]):
        column = X[:, i]
        wide = column.dtype == np.longdouble or column.dtype.hasobject
        columns[f"c{i}"] = column.astype(float) if wide else column.copy()
    return pl.DataFrame(columns)


_CONTAINERS = {
    "array": lambda X: X,
    "list": lambda X: X.tolist(),
    "pandas": _frame,
    "polars": _polars,
    "memmap": _memmap,
    "subclass": lambda X: X.view(_Subclass),
    "no mask": np.ma.masked_array,
}


def refused(kind, n=12, d=3):
    """Data of a kind that must be refused."""
    X = np.random.default_rng(0).normal(size=(n, d))
    if kind in SPARSE:
        return getattr(sparse, kind)(np.round(X))
    bad = {
        "nan": np.nan,
        "inf": np.inf,
        "-inf": -np.inf,
        "beyond float32": 1e39,
        "complex": 1j,
        "text": "seven",
        "bytes": b"seven",
        "None": None,
        "nested": [1.0, 2.0],
    }
    dates = np.full((n, d), np.datetime64("2020-01-01", "ns"))
    if kind in bad:
        floats = kind in ("nan", "inf", "-inf", "beyond float32")
        X = X.astype(complex if kind == "complex" else float if floats else object)
        X[n // 2, d // 2] = bad[kind]
        return X
    return {
        "1-D": X[:, 0],
        "scalar": np.float64(3.0),
        "3-D": X[None],
        "no rows": X[:0],
        "no columns": X[:, :0],
        "dates": dates,
        "pandas dates": pd.DataFrame(dates),
        "polars dates": pl.DataFrame(dict.fromkeys("abc"[:d], dates[:, 0])),
        "durations": dates - dates[0],
        "masked": np.ma.masked_less(X, 0),
        "huge integer": [[10**400] * d] * n,
        "pandas NA": pd.DataFrame(X.round()).astype("Int64").mask(X > 0),
        "polars null": pl.DataFrame({c: [1, None] * (n // 2) for c in "abc"[:d]}),
        "words": pd.DataFrame(np.full((n, d), "seven")),
        "categories": pd.DataFrame(np.full((n, d), "a")).astype("category"),
        "ragged": [[1.0] * d] * (n - 1) + [[1.0] * (d + 1)],
    }[kind]


# Of anything that ``y`` may be.
TARGETS = {
    "none": lambda n: None,
    "labels": lambda n: np.arange(n) % 2,
    "nan": lambda n: np.full(n, np.nan),
    "text": lambda n: np.array(["a"] * n),
    "objects": lambda n: [object()] * n,
    "wrong length": lambda n: np.arange(n + 3),
    "matrix": lambda n: np.ones((n, 2)),
    "a word": lambda n: "y",
}


@st.composite
def cases(draw, n_columns=None):
    """Any matrix of real, finite numbers."""
    # Drawn from the plain to the odd: that is where shrinking leads.
    return Case(
        values=draw(st.sampled_from(VALUES)),
        n=draw(st.integers(1, 14)),
        d=n_columns or draw(st.integers(1, 4)),
        exponent=draw(st.just(0) | st.integers(-20, 20)),
        dtype=draw(st.sampled_from(("float32", "float64", *DTYPES))),
        layout=draw(st.sampled_from(LAYOUTS)),
        container=draw(st.sampled_from(DENSE)),
        seed=draw(st.integers(0, 3)),
    )
