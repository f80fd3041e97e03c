"""Reconstruction errors, of a whole autoencoder or of one of its stages."""

from __future__ import annotations

from typing import Any

import torch

from deepcluster_sk.criteria._base import Criterion
from deepcluster_sk.losses import mean_squared_error


def kept_values(x, rate, generator):
    """Factors of dropout: zero at random, and the others so that their mean is 1.

    Parameters
    ----------
    x : Tensor
        Of the shape, the type and the device that the factors shall have.
    rate : float
        Probability of a zero, in [0, 1).
    generator : torch.Generator
        Source of the choice.
    """
    # Half the time of bernoulli_ on a CPU, where it is a tenth of a small step.
    kept = torch.empty_like(x).uniform_(generator=generator).lt_(1 - rate)
    return kept.div_(1 - rate)


def drop_values(x, rate, generator):
    """Set values to zero at random, and scale the others up: dropout with a generator.

    Parameters
    ----------
    x : Tensor
    rate : float
        Probability of each value to be dropped, in [0, 1).
    generator : torch.Generator
        Source of the choice.
    """
    return x if rate == 0 else x * kept_values(x, rate, generator)


class Reconstruction(Criterion):
    """Mean squared reconstruction error, over samples and features.

    Parameters
    ----------
    weight : float, default=1.0
        Multiplies the term.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.building import Reconstruction
    >>> from deepcluster_sk.modules import AutoencoderOutput
    >>> output = AutoencoderOutput(None, torch.zeros(2, 3))
    >>> Reconstruction(weight=0.5)(output, torch.ones(2, 3), None)
    {'reconstruction': tensor(0.5000)}
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(
        self, output: Any, x: torch.Tensor, index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The term "reconstruction"."""
        error = mean_squared_error(output.reconstruction, x)
        return {"reconstruction": self.weight * error}


class SquaredError(Criterion):
    """Squared reconstruction error, summed over features and averaged over samples.

    Parameters
    ----------
    weight : float
        Multiplies the term.
    """

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, output, x, index):
        """The term "reconstruction"."""
        error = (output.reconstruction - x).square().sum(1).mean()
        return {"reconstruction": self.weight * error}


class RelativeReconstruction(Criterion):
    """Mean squared reconstruction error in the units of a ``CentroidAutoencoder``.

    The error is 1 for an autoencoder that always returns the origin, the median of
    the data, whatever the scale and the number of features.

    Parameters
    ----------
    weight : float, default=1.0
        Multiplies the term.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.building import RelativeReconstruction
    >>> from deepcluster_sk.modules import CentroidAutoencoder
    >>> module = CentroidAutoencoder(3, False, n_features=4, latent_dim=2)
    >>> x = torch.randn(5, 4)
    >>> list(RelativeReconstruction()(module(x), x, None))
    ['reconstruction']
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(
        self, output: Any, x: torch.Tensor, index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The term "reconstruction"."""
        error = output.module.relative_error(x, output.code, "mean")
        return {"reconstruction": self.weight * error}


class DenoisingStage(Criterion):
    """Greedy pretraining of one stage of an autoencoder, as in DEC's authors' code.

    The stage's input and its output are both corrupted by dropout, and the stage's
    own decoder must return the clean input. Other stages get no gradient. One dropout
    mask is drawn for the whole batch, so the criterion is given all of its rows.

    Parameters
    ----------
    depth : int
        Position of the stage, from the input inwards.
    generator : torch.Generator
        Source of the noise.
    rate : float
        Share of the values set to zero.
    """

    compares_rows = True

    def __init__(self, depth, generator, rate):
        super().__init__()
        self.depth = depth
        self.generator = generator
        self.rate = rate

    def forward(self, output, x, index):
        """The term "reconstruction", of the stage's input."""
        stages = output.module.autoencoder.stages
        x = output.module.standardize(x)
        with torch.no_grad():
            for down, _ in stages[: self.depth]:
                x = down(x)
        down, up = stages[self.depth]
        restored = up(self._drop(down(self._drop(x))))
        return {"reconstruction": mean_squared_error(restored, x)}

    def _drop(self, x):
        return drop_values(x, self.rate, self.generator)
