"""Codes that express one another: ``||Z - C Z||²`` and its gradient through both Z."""

import numpy as np
import torch
from scipy import sparse

from deepcluster_sk.criteria._base import Criterion


def _torch_csr(C):
    """A SciPy matrix as a sparse float32 tensor."""
    parts = (torch.from_numpy(p.astype(np.int64)) for p in (C.indptr, C.indices))
    return torch.sparse_csr_tensor(
        *parts, torch.from_numpy(C.data.astype(np.float32)), C.shape
    )


class SolvedSelfExpression(Criterion):
    """The mean squared distance of each code to what the others make of it; C is given.

    Parameters
    ----------
    rows : Rows
        All training rows, of which C takes some beside those of a batch.
    weight : float
        Multiplies the term.
    normalize : bool
        Whether codes are taken at unit norm.
    """

    def __init__(self, rows, weight, normalize):
        super().__init__()
        self.weight, self.normalize = weight, normalize
        self._rows, self._expression = rows, None

    def set_expression(self, C):
        """Take the self-expression, ``(n, n)``, that holds until the next call."""
        self._expression = sparse.csr_array(C)
