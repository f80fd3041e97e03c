"""Unsupervised companion objectives, for any method with soft assignments."""

import numbers
from functools import partial

from sklearn.utils._param_validation import Interval, StrOptions

from deepcluster_sk.criteria._base import Criterion
from deepcluster_sk.kernels import gaussian_kernel, tensor_kernel
from deepcluster_sk.losses import cauchy_schwarz_loss

KERNELS = {"naive": gaussian_kernel, "tensor": tensor_kernel}
WEIGHTINGS = {
    # ω(b) of block b = 1, ..., B
    "constant": lambda b, n_blocks: 1.0,
    "linear": lambda b, n_blocks: b / n_blocks,
    "exponential": lambda b, n_blocks: 10.0 ** (n_blocks - b),
}
COMPANION_CONSTRAINTS = {
    "companion": [StrOptions(set(KERNELS)), None],
    "companion_weight": [Interval(numbers.Real, 0, None, closed="left")],
    "companion_weighting": [StrOptions(set(WEIGHTINGS))],
}


class Companion(Criterion):
    """Unsupervised companion objectives: clusters should separate in every block.

    ``weight * sum_b ω(b) d_cs(A, K_b)``, with A the soft assignments, not detached,
    and K_b the kernel of the outputs of block b (Eq. 2 and 3 of [1]_).

    Parameters
    ----------
    kernel : {"naive", "tensor"}
        The Gaussian kernel of flattened blocks or the tensor kernel.
    weight : float
        λ.
    weighting : {"constant", "linear", "exponential"}
        ω.
    relative_width : float
        σ² as a multiple of the median squared distance.
    blocks : sequence of int or None
        Numbers b of the blocks that have one, from 1; None for all of them.

    References
    ----------
    .. [1] D. J. Trosten et al. Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering. Pattern Recognition 149 (2024).
    """

    def __init__(self, kernel, weight, weighting, relative_width, blocks):
        super().__init__()
        self.kernel = partial(KERNELS[kernel], relative_width=relative_width)
        self.blocks = blocks
        self.weight = weight
        self.weighting = WEIGHTINGS[weighting]

    compares_rows = True

    def forward(self, output, x, index):
        """The term "companion"."""
        n_blocks, assignment = len(output.blocks), output.assignment
        total = sum(
            self.weighting(b, n_blocks)
            * cauchy_schwarz_loss(assignment, self.kernel(block))
            for b, block in enumerate(output.blocks, start=1)
            if self.blocks is None or b in self.blocks
        )
        return {"companion": self.weight * total}


def companion_of(estimator, relative_width=0.15, blocks=None):
    """The companion objectives that an estimator's parameters ask for, or None.

    Parameters
    ----------
    estimator : BaseDeepEstimator
    relative_width : float, default=0.15
        σ² as a multiple of the median squared distance.
    blocks : sequence of int or None, default=None
        Numbers of the blocks that have one, from 1; None for all of them.

    Returns
    -------
    companion : Companion or None
    """
    if estimator.companion is None:
        return None
    weights = estimator.companion_weight, estimator.companion_weighting
    return Companion(estimator.companion, *weights, relative_width, blocks)


def check_blocks(estimator, module, n_features, blocks=None):
    """Refuse companions of blocks that an architecture does not declare.

    Parameters
    ----------
    estimator : BaseDeepEstimator
    module : torch.nn.Module
        Its network.
    n_features : int
        Width of a row.
    blocks : sequence of int or None, default=None
        Numbers of the blocks that should have companions; None for all of them.
    """
    if estimator.companion is None:
        return
    module.eval()
    x = next(module.parameters()).new_zeros(2, n_features)
    n_blocks = len(module.encode_with_blocks(x)[1])
    if not n_blocks:
        raise ValueError(
            f"companion={estimator.companion!r} of {type(estimator).__name__} needs an "
            "architecture with the method encode_with_blocks(x), which returns the "
            "code and a list with the output of each block."
        )
    known = range(1, n_blocks + 1)
    if blocks is not None and not (
        len(blocks)
        and all(isinstance(b, numbers.Integral) and b in known for b in blocks)
    ):
        raise ValueError(
            f"The 'companion_blocks' parameter of {type(estimator).__name__} must hold "
            f"integers from 1 to {n_blocks}, the number of blocks of the encoder. Got "
            f"{blocks!r} instead."
        )
