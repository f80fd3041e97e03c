"""The convolutional autoencoder of the tensorized autoencoder's experiments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from deepcluster_sk.modules._autoencoders import Autoencoder

if TYPE_CHECKING:
    import torch

# Side of all filters. Without padding each layer takes one less than it from a side.
KERNEL = 5


class UnpooledConvAutoencoder(Autoencoder):
    """Two convolutions of 5 x 5 without padding or pooling, and dense layers back.

    The encoder is two convolutions with ReLU and a dense layer; the decoder two dense
    layers with ReLU, which make 10 maps, and two transposed convolutions with ReLU
    between them. The output is linear, as centred images are negative in part.

    Parameters
    ----------
    n_features : int
        Width of a row; must be the product of ``image_shape``.
    latent_dim : int
        Width of the code.
    image_shape : tuple of int (C, H, W)
        How to read a row as an image, of 9 x 9 pixels at least.
    channels : tuple of int, default=(4, 8)
        Of the two convolutions; the first is that between the transposed ones too.
    width : int, default=400
        Of the dense layer of the decoder.
    maps : int, default=10
        That the decoder begins its convolutions with.

    Raises
    ------
    ValueError
        If the images are too small.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import UnpooledConvAutoencoder
    >>> network = UnpooledConvAutoencoder(784, 10, image_shape=(1, 28, 28))
    >>> network.map_shape
    (10, 20, 20)
    >>> network.decode(network.encode(torch.zeros(3, 784))).shape
    torch.Size([3, 784])
    """

    def __init__(
        self,
        n_features: int,
        latent_dim: int,
        image_shape: tuple[int, ...],
        channels: tuple[int, ...] = (4, 8),
        width: int = 400,
        maps: int = 10,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        n_channels, *size = self.image_shape
        left = [side - 2 * (KERNEL - 1) for side in size]
        if min(left) < 1:
            raise ValueError(
                f"image_shape={self.image_shape} is too small for two convolutions of "
                f"{KERNEL} x {KERNEL} pixels without padding."
            )
        first, second = channels
        self.map_shape = (maps, *left)
        n_values = math.prod(left)
        self.encoder = nn.Sequential(
            nn.Conv2d(n_channels, first, KERNEL),
            nn.ReLU(),
            nn.Conv2d(first, second, KERNEL),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * n_values, latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.ReLU(),
            nn.Linear(width, maps * n_values),
            nn.ReLU(),
            nn.Unflatten(1, self.map_shape),
            nn.ConvTranspose2d(maps, first, KERNEL),
            nn.ReLU(),
            nn.ConvTranspose2d(first, n_channels, KERNEL),
            nn.Flatten(),
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.encoder(x.unflatten(-1, self.image_shape))

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, flattened to rows."""
        return self.decoder(embedding)
