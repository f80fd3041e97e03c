"""Tables of numbers: reading them from files, and their columns."""

import csv
import difflib
import gzip
import io
import sys
import zlib
from itertools import islice
from pathlib import Path

import numpy as np

BLOCK_ROWS = 65536
STANDARD_INPUT = Path("-")
# How a file begins that numpy.save has written.
NPY_MAGIC = b"\x93NUMPY"


class UsageError(Exception):
    """What the user can put right: printed as it is, without a traceback."""


def read(path):
    """Read a table.

    Parameters
    ----------
    path : Path
        Its suffix tells the format.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        From a .npy file, an array on disk.
    names : list of str
        Names of the columns; their numbers where the file has none.
    """
    if path == STANDARD_INPUT:
        name, reader = "standard input", _read_standard_input
    else:
        name, reader = path, READERS.get(suffix(path))
        if reader is None:
            raise UsageError(
                f"{path}: cannot tell the format. The name must end in one of "
                f"{', '.join(READERS)}, or be - for standard input."
            )
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file.")
    try:
        X, names = reader(path)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UsageError(f"{name}: cannot be read: {error}") from error
    if X.size == 0:
        raise UsageError(f"{name} holds no rows.")
    return X, names


def suffix(path):
    """The suffix that tells the format, with that of a compressed file: .csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return "".join(suffixes if suffixes[-1:] == [".gz"] else suffixes[-1:])


def _read_standard_input(path):
    return _parse_csv(sys.stdin.read().removeprefix("\ufeff"), "standard input")


def _read_csv(path):
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    delimiter = "\t" if suffix(path).startswith(".tsv") else None
    with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
        return _parse_csv(file.read(), path, delimiter)


def _delimiter(text, n_lines=20):
    """What separates fields: as many in each of the first lines, and the most."""
    lines = [line for line in islice(io.StringIO(text), n_lines) if line.strip()]
    scores = {}
    for mark in ",;\t":
        counts = [len(row) for row in csv.reader(lines, delimiter=mark)]
        scores[mark] = (len(set(counts)) == 1 and counts[0] > 1, max(counts, default=0))
    return max(scores, key=scores.get)


def _parse_csv(text, name, delimiter=None):
    delimiter = delimiter or _delimiter(text)
    number = _number
    if delimiter == ";":  # in use where the comma marks decimals
        number = _number_with_comma
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    if not rows:
        return np.empty((0, 0)), []
    width = len(rows[0])
    for position, row in enumerate(rows, start=1):
        if len(row) != width:
            raise UsageError(
                f"{name}: record {position} has {len(row)} fields, the first {width}."
            )
    names = list(map(str, range(width)))
    if any(number(cell) is None for cell in rows[0]):
        names, rows = rows[0], rows[1:]
    # Words stay: their column may yet be dropped.
    columns = [list(map(number, column)) for column in zip(*rows, strict=True)]
    X = np.empty((len(rows), width), dtype=object)
    for i, column in enumerate(columns):
        X[:, i] = column
    return X, names


def _number(cell):
    """Value of a cell, NaN for an empty one and None for a word."""
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        return None


def _number_with_comma(cell):
    return _number(cell if "." in cell else cell.replace(",", ".", 1))


def _read_npy(path):
    with path.open("rb") as file:
        if file.read(len(NPY_MAGIC)) != NPY_MAGIC:
            raise UsageError(
                f"{path} is no array that numpy.save wrote, whatever its name says. "
                "If it is a text, call it .csv."
            )
        file.seek(0)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            header = np.lib.format.read_array_header_2_0
        if header(file)[2].hasobject:
            raise UsageError(f"{path} must hold real numbers. Got Python objects.")
    X = np.load(path, mmap_mode="r", allow_pickle=False)
    if X.ndim != 2:
        raise UsageError(
            f"{path} must hold rows and columns. Got an array of shape {X.shape}; "
            "reshape images to one row each, and tell their shape by "
            "--set image_shape=C,H,W."
        )
    if X.dtype.kind not in "biuf":
        raise UsageError(f"{path} must hold real numbers. Got dtype {X.dtype}.")
    return X, list(map(str, range(X.shape[1])))


def _read_parquet(path):
    need("pyarrow", "reading Parquet", "parquet")
    frame = need("pandas", "reading Parquet", "parquet").read_parquet(path)
    X = np.empty(frame.shape, dtype=object)
    for i in range(frame.shape[1]):
        column = frame.iloc[:, i]
        numeric = column.dtype.kind in "biuf" or column.isna().all()
        X[:, i] = column.to_numpy(np.float64, na_value=np.nan) if numeric else None
    return X, [str(name) for name in frame.columns]


def need(package, what, extra):
    """Import a package, or say which extra brings it."""
    try:
        return __import__(package)
    except ImportError as error:
        raise UsageError(
            f"{what} needs the package {package}: "
            f"pip install 'deepcluster_sk[{extra}]'."
        ) from error


READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".csv.gz": _read_csv,
    ".tsv.gz": _read_csv,
    ".npy": _read_npy,
    ".parquet": _read_parquet,
}


def choose_columns(X, names, wanted):
    """The columns that a model was fitted to, by name and in their order.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    names : list of str
        Names of the columns.
    wanted : list of str
        Names of those that the model knows.

    Returns
    -------
    X : ndarray of shape (n_samples, n_wanted)
    names : list of str
    """
    if names == wanted:
        return X, names
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UsageError(
            f"the model was fitted to {listing(wanted)}; there is no "
            f"{listing(missing)}. There are {', '.join(names)}."
        )
    return X[:, [names.index(name) for name in wanted]], wanted


def drop_columns(X, names, dropped):
    """Leave columns out and see that the others are numbers.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        With None for what is no number.
    names : list of str
        Names of the columns.
    dropped : list of str
        Names or numbers of those to leave out.

    Returns
    -------
    X : ndarray of shape (n_samples, n_kept)
    names : list of str
    """
    positions = set()  # in the table as it was read, whatever is left out before
    for name in dropped:
        if name in names:
            positions.add(names.index(name))
        elif name.isdecimal() and int(name) < len(names):
            positions.add(int(name))
        else:
            raise UsageError(
                f"there is no column {name!r} to drop. {suggestion(name, names)}"
                f"There are {', '.join(names)}."
            )
    if positions:  # X may be an array on disk
        X = np.delete(X, sorted(positions), axis=1)
        names = [name for i, name in enumerate(names) if i not in positions]
    if X.shape[1] == 0:
        raise UsageError("no column is left.")
    if X.dtype == object:
        words = [
            name
            for name, column in zip(names, X.T, strict=True)
            if any(value is None for value in column)
        ]
        if words:
            options = " ".join(f"--drop {name!r}" for name in words)
            raise UsageError(
                f"not all values are numbers in {listing(words)}. Leave out with "
                f"{options}, or encode as numbers."
            )
        X = X.astype(np.float64)
    return X, names


def check_finite(X, names):
    """Refuse missing and infinite values, and say where they are.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    names : list of str
        Names of the columns.
    """
    for start in range(0, len(X), BLOCK_ROWS):  # X may be larger than memory
        bad = ~np.isfinite(X[start : start + BLOCK_ROWS])
        if not bad.any():
            continue
        row = start + int(bad.any(axis=1).argmax())
        columns = [names[i] for i in np.flatnonzero(bad.any(axis=0))]
        raise UsageError(
            f"missing or infinite values in {listing(columns)}; the first in row "
            f"{row + 1} of the data. Remove these rows, or fill the values in."
        )


def listing(names, most=8):
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"column {shown}" if len(names) == 1 else f"columns {shown}"


def suggestion(name, known):
    """What may have been meant, as the beginning of a sentence; empty if unclear."""
    lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"Did you mean {lower[found[0]]!r}? " if found else ""
