"""Codes that express one another: ``||Z - C Z||²``, C given or trained."""

import numpy as np
import torch
from scipy import sparse
from torch import nn

from deepcluster_sk.criteria._base import Criterion


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
        self.entries = []

    def set_expression(self, C):
        """Take the C that holds until the next call, sparse or not, (n, n)."""
        C = sparse.csr_array(C)
        self.entries = [C.data, C.indices, C.indptr]  # plain data, for checkpoints

    def forward(self, output, x, index):
        """The term "self_expression"."""
        n, own = len(self._X), index.cpu().numpy()
        C = sparse.csr_array(tuple(self.entries), shape=(n, n))[own]
        others = np.setdiff1d(C.indices, own)
        module, Z = output.module, output.module.expressed_codes(output.code)
        coefficients = torch.from_numpy(C[:, np.r_[own, others]].toarray()).to(Z)
        error = Z
        if len(others):
            rows = self._X[torch.from_numpy(others).to(index.device)]
            Z = torch.cat([Z, module.expressed_codes(module.encode(rows))])
        error = error - coefficients @ Z
        return {"self_expression": self.weight * error.square().sum(1).mean()}


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
