"""Sparse matrices on a device."""

import numpy as np
import torch
from scipy import sparse

from ._arrays import like, on_host

# Numbers that a product holds at once.
BLOCK_NUMBERS = 2**26


class SparseMatrix:
    """Entries of a sparse matrix, as tensors of a device.

    torch's own sparse layouts are not known to every device. Sums are those of
    ``index_put_``, which adds in the same order every time.

    Parameters
    ----------
    rows, columns : Tensors of shape (nnz,), int64
    values : Tensor of shape (nnz,)
    shape : tuple of int
    """

    def __init__(self, rows, columns, values, shape):
        self.rows, self.columns, self.values = rows, columns, values
        self.shape = shape

    @classmethod
    def of_scipy(cls, C, x):
        """A sparse array of SciPy where the tensor x is."""
        C = sparse.coo_array(C)
        rows, columns = (like(index.astype(np.int64), x) for index in C.coords)
        return cls(rows, columns, like(C.data, x), C.shape)

    def to_scipy(self):
        """The same as csr_array, in float64."""
        entries = on_host(self.values), (on_host(self.rows), on_host(self.columns))
        C = sparse.csr_array(entries, self.shape)
        C.sort_indices()
        return C

    @property
    def T(self):
        """Its transpose."""
        return SparseMatrix(self.columns, self.rows, self.values, self.shape[::-1])

    def __abs__(self):
        return SparseMatrix(self.rows, self.columns, abs(self.values), self.shape)

    def squared(self):
        """Squares of the entries."""
        return SparseMatrix(self.rows, self.columns, self.values**2, self.shape)

    def __matmul__(self, Z):
        """Product with a dense tensor, ``(n, h)``."""
        out = Z.new_zeros(self.shape[0], Z.shape[1])
        step = max(1, BLOCK_NUMBERS // Z.shape[1])
        for entries in zip(
            self.rows.split(step),
            self.columns.split(step),
            self.values.split(step),
            strict=True,
        ):
            rows, columns, values = entries
            out.index_put_((rows,), values[:, None] * Z[columns], accumulate=True)
        return out

    def sum(self, axis):
        """Sums of the columns (0) or rows (1)."""
        found = self.values.new_zeros(self.shape[1 - axis])
        index = self.columns if axis == 0 else self.rows
        return found.index_put_((index,), self.values, accumulate=True)


def identity_minus(C):
    """``I - C`` of a sparse self-expression, whose diagonal is empty.

    Parameters
    ----------
    C : csr_array or SparseMatrix of shape (n, n)

    Returns
    -------
    M : csr_array or SparseMatrix of shape (n, n)
    """
    if not isinstance(C, SparseMatrix):
        C = sparse.csr_array(C)
        return (sparse.eye_array(C.shape[0], format="csr") - C).tocsr()
    diagonal = torch.arange(C.shape[0], device=C.rows.device)
    rows = torch.cat([C.rows, diagonal])
    columns = torch.cat([C.columns, diagonal])
    ones = torch.ones_like(diagonal, dtype=C.values.dtype)
    return SparseMatrix(rows, columns, torch.cat([-C.values, ones]), C.shape)


def is_sparse(C):
    """Whether C is a sparse matrix, of SciPy or on a device."""
    return isinstance(C, SparseMatrix) or sparse.issparse(C)


def host_matrix(C):
    """The same matrix as csr_array or ndarray."""
    return C.to_scipy() if isinstance(C, SparseMatrix) else on_host(C)


def entries_of(C):
    """The entries of a matrix, but for zeros of a sparse one."""
    if isinstance(C, SparseMatrix):
        return C.values
    return C.data if sparse.issparse(C) else C
