"""Convolutional autoencoders with pooling, for discriminative clustering."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import interpolate

from deepcluster_sk.modules._autoencoders import Autoencoder

if TYPE_CHECKING:
    from collections.abc import Sequence


def _block(n_in, n_out):
    """Convolution, ReLU, batch normalisation, in the order of the paper."""
    return [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(n_out)]


class PooledConvAutoencoder(Autoencoder):
    """Convolution, ReLU, batch normalisation and max-pooling; mirrored by upsampling.

    Each layer halves height and width, rounding up, so that any image fits. A last
    convolution as large as what is left (a linear layer) makes the code. The
    decoder repeats pixels (nearest neighbour) and convolves.

    Parameters
    ----------
    n_features : int
        Width of a row; must be the product of ``image_shape``.
    latent_dim : int
        Width of the code.
    hidden_layer_sizes : sequence of int
        Channels of the encoder's convolutions; the decoder mirrors them.
    image_shape : tuple of int (C, H, W)
        How to read a row as an image.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import PooledConvAutoencoder
    >>> network = PooledConvAutoencoder(64, 2, (4,), image_shape=(1, 8, 8))
    >>> network.decode(network.encode(torch.randn(3, 64))).shape
    torch.Size([3, 64])
    """

    def __init__(
        self,
        n_features: int,
        latent_dim: int,
        hidden_layer_sizes: Sequence[int],
        image_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        channels = [image_shape[0], *hidden_layer_sizes]
        sides = [tuple(image_shape[1:])]
        down = []
        for n_in, n_out in itertools.pairwise(channels):
            down += [*_block(n_in, n_out), nn.MaxPool2d(2, ceil_mode=True)]
            sides.append(tuple((side + 1) // 2 for side in sides[-1]))
        self.down = nn.Sequential(*down)
        self.code_shape = (channels[-1], *sides[-1])
        n_code = channels[-1] * sides[-1][0] * sides[-1][1]
        self.to_code = nn.Linear(n_code, latent_dim)
        self.from_code = nn.Linear(latent_dim, n_code)
        self.sides = sides[-2::-1]
        up = [
            nn.Sequential(*_block(n_in, n_out))
            for n_in, n_out in itertools.pairwise(channels[:0:-1])
        ]
        if hidden_layer_sizes:
            up.append(nn.Conv2d(channels[1], channels[0], 3, padding=1))
        self.up = nn.ModuleList(up)
        # On a CPU, a step takes half as long as with the channels outermost.
        self.to(memory_format=torch.channels_last)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.to_code(self.down(x.unflatten(-1, self.image_shape)).flatten(1))

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, flattened to rows."""
        image = self.from_code(embedding).unflatten(-1, self.code_shape)
        for side, layer in zip(self.sides, self.up, strict=True):
            image = layer(interpolate(image, size=side, mode="nearest"))
        return image.flatten(1)


class FullyConvAutoencoder(Autoencoder):
    """Convolutions and pooling only: the code is a small image of many channels.

    The network of section 3.3 of Tzoreff et al. (2018), whose channels are not told.
    Three layers of convolution, ReLU, batch normalisation and max-pooling; three of
    nearest-neighbour upsampling and convolution back. The first two layers halve height
    and width, rounding up; the third pools what is left to ``side`` x ``side`` pixels
    of ``latent_dim / side²`` channels. ``side`` is the largest that divides so and is
    no larger than what is left. Without dense layers there are few parameters: 3,262
    for images of 28 x 28 and a code of 60 with the default channels.

    Parameters
    ----------
    n_features : int
        Width of a row; must be the product of ``image_shape``.
    latent_dim : int
        Width of the code.
    hidden_layer_sizes : sequence of int
        Channels of the first two convolutions.
    image_shape : tuple of int (C, H, W)
        How to read a row as an image.

    Raises
    ------
    ValueError
        If ``hidden_layer_sizes`` are not two.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import FullyConvAutoencoder
    >>> network = FullyConvAutoencoder(784, 60, (6, 8), image_shape=(1, 28, 28))
    >>> network.code_shape
    (15, 2, 2)
    >>> sum(p.numel() for p in network.parameters())
    3262
    >>> network = FullyConvAutoencoder(3072, 500, (14, 19), image_shape=(3, 32, 32))
    >>> sum(p.numel() for p in network.parameters())  # in colour
    12645
    """

    def __init__(
        self,
        n_features: int,
        latent_dim: int,
        hidden_layer_sizes: Sequence[int],
        image_shape: Sequence[int],
    ) -> None:
        super().__init__()
        if len(hidden_layer_sizes) != 2:
            raise ValueError(
                "architecture='fully-conv' has two hidden layers; got "
                f"hidden_layer_sizes={tuple(hidden_layer_sizes)}."
            )
        self.image_shape = tuple(image_shape)
        channels, size = self.image_shape[0], self.image_shape[1:]
        halved = [tuple(-(-side // 2**i) for side in size) for i in range(3)]
        side = max(s for s in range(1, min(halved[2]) + 1) if latent_dim % s**2 == 0)
        self.code_shape = (latent_dim // side**2, side, side)
        first, second = hidden_layer_sizes
        self.down = nn.Sequential(
            *_block(channels, first),
            nn.MaxPool2d(2, ceil_mode=True),
            *_block(first, second),
            nn.MaxPool2d(2, ceil_mode=True),
            *_block(second, self.code_shape[0]),
            nn.AdaptiveMaxPool2d(side),
        )
        self.sides = halved[::-1]
        self.up = nn.ModuleList(
            [
                nn.Sequential(*_block(self.code_shape[0], second)),
                nn.Sequential(*_block(second, first)),
                nn.Conv2d(first, channels, 3, padding=1),
            ]
        )
        self.to(memory_format=torch.channels_last)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.down(x.unflatten(-1, self.image_shape)).flatten(1)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, flattened to rows."""
        image = embedding.unflatten(-1, self.code_shape)
        for side, layer in zip(self.sides, self.up, strict=True):
            image = layer(interpolate(image, size=side, mode="nearest"))
        return image.flatten(1)
