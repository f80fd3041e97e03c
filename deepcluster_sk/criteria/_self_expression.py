"""Codes that express one another: ``||Z - C Z||²``, C given or trained."""

import numpy as np
import torch
from scipy import sparse
from torch import nn

from deepcluster_sk.criteria._base import Criterion
from deepcluster_sk.solvers._sparse_matrix import host_matrix

# A row of C with a larger share of entries makes it a dense matrix on a device.
DENSE_SHARE = 0.25


class SolvedSelfExpression(Criterion):
    """Mean squared distance of each code to what the others make of it; C is given.

    The gradient goes through both Z. What the rows of a batch are made of is encoded
    with them, so that the mean over batches is the whole term, and its gradient that
    of the whole.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        All training rows.
    weight : float
        Multiplies the term.
    """

    def __init__(self, X, weight):
        super().__init__()
        self.weight = weight
        self._X = X  # named so that checkpoints leave it out
        self.set_expression(sparse.csr_array((len(X), len(X))))

    def set_expression(self, C):
        """Take the C that holds until the next call, sparse or not, (n, n)."""
        C = sparse.csr_array(host_matrix(C))
        self.entries = [C.data, C.indices, C.indptr]  # plain data, for checkpoints
        self._on_device = None

    def forward(self, output, x, index):
        """The term "self_expression"."""
        module, Z = output.module, output.module.expressed_codes(output.code)
        if self._X.device.type == "cpu":
            expressed = self._expressed_on_host(module, Z, index)
        else:
            expressed = self._expressed_on_device(module, Z, index)
        return {"self_expression": self.weight * (Z - expressed).square().sum(1).mean()}

    def _matrix(self):
        return sparse.csr_array(tuple(self.entries), shape=(len(self._X),) * 2)

    def _expressed_on_host(self, module, Z, index):
        """C Z for the rows of a batch; what several of them need is encoded once."""
        own = index.numpy()
        C = self._matrix()[own]
        others = np.setdiff1d(C.indices, own)
        coefficients = torch.from_numpy(C[:, np.r_[own, others]].toarray()).to(Z)
        if len(others):
            rows = self._X[torch.from_numpy(others)]
            Z = torch.cat([Z, module.expressed_codes(module.encode(rows))])
        return coefficients @ Z

    def _expressed_on_device(self, module, Z, index):
        """The same, with shapes that do not depend on which rows are in the batch.

        The device need not tell the host what they are: it would wait for the answer.
        What several rows need may be encoded several times, or more than they need.
        """
        if self._on_device is None:
            self._on_device = self._padded(Z)
        coefficients, neighbors = self._on_device
        coefficients, X = coefficients[index], self._X
        near = None if neighbors is None else neighbors[index]  # (b, m)
        if near is None or near.numel() >= len(X):
            codes = module.expressed_codes(module.encode(X)).index_copy(0, index, Z)
            if near is None:
                return coefficients @ codes
            codes = codes[near]
        else:
            codes = module.expressed_codes(module.encode(X[near.flatten()]))
            codes = codes.view(*near.shape, -1)
            position = torch.full((len(X),), -1, device=index.device)
            position[index] = torch.arange(len(index), device=index.device)
            position = position[near]
            own = (position >= 0)[:, :, None]
            codes = torch.where(own, Z[position.clamp(min=0)], codes)
        return (coefficients[:, :, None] * codes).sum(1)

    def _padded(self, Z):
        """C on the device: coefficients and neighbours of each row, ``(n, m)``.

        Rows of fewer neighbours are filled up with themselves, times zero. A C of which
        a row has many entries is taken as it is, ``(n, n)``, without neighbours.
        """
        C = self._matrix()
        sizes = np.diff(C.indptr)
        n, m = len(sizes), max(1, sizes.max(initial=0))
        if m > DENSE_SHARE * n:
            return torch.from_numpy(C.astype(np.float32).toarray()).to(Z), None
        row = np.repeat(np.arange(n), sizes)
        column = np.arange(C.nnz) - np.repeat(C.indptr[:-1], sizes)
        coefficients = np.zeros((n, m), dtype=np.float32)
        neighbors = np.repeat(np.arange(n)[:, None], m, axis=1)
        coefficients[row, column], neighbors[row, column] = C.data, C.indices
        coefficients = torch.from_numpy(coefficients).to(Z)
        return coefficients, torch.from_numpy(neighbors).to(Z.device)


class TrainedSelfExpression(Criterion):
    """Reconstruction from codes that express one another by weights of the network.

    These are the terms of deep subspace clustering networks: the decoder is given
    ``C Z``, and C is a parameter, whose diagonal has no effect.

    Parameters
    ----------
    n_samples : int
        Number n of training rows, all of which must be in each batch.
    weight : float
        Multiplies the two terms of the self-expression.
    penalty_weight : float
        λ.
    l1_ratio : float
        Share of ``||C||_1`` in the penalty; the rest is ``||C||² / 2``, or, where it is
        0, ``||C||²``.
    """

    compares_rows = True

    def __init__(self, n_samples, weight, penalty_weight, l1_ratio):
        super().__init__()
        self.weight, self.penalty_weight = weight, penalty_weight
        self.l1_ratio = l1_ratio
        self.coefficients = nn.Parameter(torch.zeros(n_samples, n_samples))

    def expression(self):
        """C: the coefficients, with a zero diagonal."""
        return self.coefficients - self.coefficients.diagonal().diag()

    def penalty(self, C):
        """R(C), as :func:`deepcluster_sk.solvers.self_expression` defines it."""
        if self.l1_ratio == 0:
            return C.square().sum()
        ridge = 0.5 * (1 - self.l1_ratio) * C.square().sum()
        return self.l1_ratio * C.abs().sum() + ridge

    def forward(self, output, x, index):
        """The terms "reconstruction", "self_expression", "expression_penalty"."""
        order = index.argsort()
        code, module, C = output.code[order], output.module, self.expression()
        Z = module.expressed_codes(code)
        expressed = C @ Z
        decoded = module.codes_of_expressed(expressed, code)
        size = self.penalty_weight * self.penalty(C) / len(C)
        return {
            "reconstruction": module.relative_error(x[order], decoded, "mean"),
            "self_expression": self.weight * (Z - expressed).square().sum(1).mean(),
            "expression_penalty": self.weight * size,
        }
