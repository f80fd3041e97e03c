"""Criteria that several methods share. Each maps a batch to a dict of loss terms."""

import torch
from torch import nn

from deepcluster_sk.kernels import gaussian_kernel, tensor_kernel
from deepcluster_sk.losses import cauchy_schwarz_loss, mean_squared_error

COMPANION_KERNELS = {"naive": gaussian_kernel, "tensor": tensor_kernel}
COMPANION_WEIGHTINGS = {
    # ω(b) of block b = 1, ..., B
    "constant": lambda b, n_blocks: 1.0,
    "linear": lambda b, n_blocks: b / n_blocks,
    "exponential": lambda b, n_blocks: 10.0 ** (n_blocks - b),
}


class Reconstruction(nn.Module):
    """Mean squared reconstruction error, over samples and features.

    Parameters
    ----------
    weight : float, default=1.0
        Multiplies the term.
    """

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight

    def forward(self, output, x, index):
        """The term "reconstruction"."""
        error = mean_squared_error(output.reconstruction, x)
        return {"reconstruction": self.weight * error}


class Companion(nn.Module):
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

    References
    ----------
    .. [1] D. J. Trosten et al. Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering. Pattern Recognition 149 (2024).
    """

    def __init__(self, kernel, weight, weighting):
        super().__init__()
        self.kernel = COMPANION_KERNELS[kernel]
        self.weight = weight
        self.weighting = COMPANION_WEIGHTINGS[weighting]

    def forward(self, output):
        """The weighted term of a batch."""
        n_blocks = len(output.blocks)
        return self.weight * sum(
            self.weighting(b, n_blocks)
            * cauchy_schwarz_loss(output.assignment, self.kernel(block))
            for b, block in enumerate(output.blocks, start=1)
        )


class DenoisingStage(nn.Module):
    """Greedy pretraining of one stage of an autoencoder, as in DEC's authors' code.

    The stage's input and its output are both corrupted by dropout, and the stage's
    own decoder must return the clean input. Other stages get no gradient.

    Parameters
    ----------
    depth : int
        Position of the stage, from the input inwards.
    generator : torch.Generator
        Source of the noise.
    rate : float, default=0.2
        Share of the values set to zero.
    """

    def __init__(self, depth, generator, rate=0.2):
        super().__init__()
        self.depth = depth
        self.generator = generator
        self.rate = rate

    def forward(self, output, x, index):
        """The term "reconstruction", of the stage's input."""
        stages = output.module.autoencoder.stages
        with torch.no_grad():
            for down, _ in stages[: self.depth]:
                x = down(x)
        down, up = stages[self.depth]
        restored = up(self._drop(down(self._drop(x))))
        return {"reconstruction": mean_squared_error(restored, x)}

    def _drop(self, x):
        kept = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self.generator)
        return x * kept / (1 - self.rate)
