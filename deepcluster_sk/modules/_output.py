"""What a module returns for a batch."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class LazyOutput:
    """What a module says about a batch, each part computed when first asked for.

    So a criterion without a reconstruction term pays for no decoder, and one
    without companions for no head before its time.

    Parameters
    ----------
    module : torch.nn.Module
        Has ``encode_with_blocks``, ``embed`` (from the encoder's code to the
        embedding), ``decode`` and, for soft assignments, ``assign``.
    x : Tensor of shape (n, d)
        The batch that the module sees.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import CentroidAutoencoder, LazyOutput
    >>> module = CentroidAutoencoder(3, False, n_features=4, latent_dim=2)
    >>> output = LazyOutput(module, torch.zeros(5, 4))
    >>> output.embedding.shape  # nothing is decoded
    torch.Size([5, 2])
    """

    def __init__(self, module: torch.nn.Module, x: torch.Tensor) -> None:
        self.module = module
        self.x = x

    @cached_property
    def _encoded(self):
        return self.module.encode_with_blocks(self.x)

    @property
    def code(self) -> torch.Tensor:
        """What the encoder makes of each row, ``(n, c)``."""
        return self._encoded[0]

    @property
    def blocks(self) -> list[torch.Tensor]:
        """Outputs of the encoder's blocks, a list of tensors ``(n, ...)``."""
        return self._encoded[1]

    @cached_property
    def embedding(self) -> torch.Tensor:
        """Embedding of each row, ``(n, h)``."""
        return self.module.embed(self.code)

    @cached_property
    def assignment(self) -> torch.Tensor:
        """Soft assignment of each row, ``(n, k)``."""
        return self.module.assign(self.embedding)

    @cached_property
    def log_assignment(self) -> torch.Tensor:
        """Its logarithm, from a module with ``log_assign``, ``(n, k)``."""
        return self.module.log_assign(self.embedding)

    @cached_property
    def reconstruction(self) -> torch.Tensor:
        """Reconstruction of each row, ``(n, d)``."""
        return self.module.decode(self.code)
