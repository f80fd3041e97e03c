"""The encoders of divergence-based clustering, made of blocks with batch norm."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import interpolate

from deepcluster_sk.modules._autoencoders import Autoencoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class NormalizedMLPAutoencoder(Autoencoder):
    """Linear, ReLU and batch norm, layer after layer; the decoder mirrors them.

    The last layer's output is the code. Every layer is a block.

    Parameters
    ----------
    n_features : int
        Width of a row.
    sizes : sequence of int
        Widths of the layers, at least one.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import NormalizedMLPAutoencoder
    >>> code, blocks = NormalizedMLPAutoencoder(4, (8, 2)).encode_with_blocks(
    ...     torch.randn(3, 4)
    ... )
    >>> [tuple(block.shape) for block in blocks]
    [(3, 8), (3, 2)]
    """

    def __init__(self, n_features: int, sizes: Sequence[int]) -> None:
        super().__init__()
        sizes = [n_features, *sizes]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.BatchNorm1d(b))
            for a, b in itertools.pairwise(sizes)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Linear(b, a), nn.ReLU()) if i else nn.Linear(b, a)
            for i, (a, b) in enumerate(itertools.pairwise(sizes))
        )
        self.stages = tuple(zip(self.down, self.up, strict=True))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.encode_with_blocks(x)[0]

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code."""
        for up in reversed(self.up):
            embedding = up(embedding)
        return embedding


class ResizeTo(nn.Module):
    """Nearest-neighbour resizing of images to a given height and width."""

    def __init__(self, size):
        super().__init__()
        self.size = tuple(size)

    def forward(self, x):
        """``(n, c, h, w) -> (n, c, *size)``."""
        return interpolate(x, self.size)


class BlockConvAutoencoder(Autoencoder):
    """The convolutional encoder of the companion objectives' paper, and a mirror.

    The first block is two 5 x 5 convolutions, each next one a 2 x 2 max-pooling and
    two 3 x 3 convolutions; ReLU follows the first convolution of a block, batch
    norm and ReLU the second; a last max-pooling and flattening give the code.
    Convolutions are not padded, as in the paper, except where a side of the image
    is too short for it (below 20 pixels with two blocks): then zeros keep its size.
    The decoder resizes to nearest neighbours where the encoder pools.

    Parameters
    ----------
    n_features : int
        Width of a row; must be the product of ``image_shape``.
    channels : sequence of int
        Channels of each block, at least one block.
    image_shape : tuple of int (C, H, W)
        How to read a row as an image.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import BlockConvAutoencoder
    >>> network = BlockConvAutoencoder(784, channels=(4, 8), image_shape=(1, 28, 28))
    >>> code, blocks = network.encode_with_blocks(torch.randn(3, 784))
    >>> [tuple(block.shape) for block in blocks]
    [(3, 4, 20, 20), (3, 8, 3, 3)]
    """

    def __init__(
        self, n_features: int, channels: Sequence[int], image_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        size = tuple(image_shape[1:])
        self.padded = not self._fits(min(size), len(channels))
        pool = nn.MaxPool2d(2, ceil_mode=self.padded)
        n_in, down, up = image_shape[0], [], []
        for b, n_out in enumerate(channels):
            kernel = 3 if b else 5
            padding = kernel // 2 if self.padded else 0
            shape = {"kernel_size": kernel, "padding": padding}
            first = b == 0
            last = b == len(channels) - 1
            before = size
            if not first:
                size = self._halved(size)
            size = tuple(side - 2 * (kernel - 1 - 2 * padding) for side in size)
            down.append(
                nn.Sequential(
                    nn.Unflatten(1, tuple(image_shape))
                    if first
                    else nn.MaxPool2d(2, ceil_mode=self.padded),
                    nn.Conv2d(n_in, n_out, **shape),
                    nn.ReLU(),
                    nn.Conv2d(n_out, n_out, **shape),
                    nn.BatchNorm2d(n_out),
                    nn.ReLU(),
                    pool if last else nn.Identity(),
                )
            )
            up.append(
                nn.Sequential(
                    ResizeTo(size) if last else nn.Identity(),
                    nn.ConvTranspose2d(n_out, n_out, **shape),
                    nn.ReLU(),
                    nn.ConvTranspose2d(n_out, n_in, **shape),
                    nn.Flatten() if first else nn.ReLU(),
                    nn.Identity() if first else ResizeTo(before),
                )
            )
            n_in = n_out
        self.code_shape = (n_in, *self._halved(size))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)

    @staticmethod
    def _fits(side, n_blocks):
        for b in range(n_blocks):
            side = side // 2 - 4 if b else side - 8
        return side >= 2

    def _halved(self, size):
        # Padded convolutions leave a pixel at least, so does rounding up.
        return tuple((side + self.padded) // 2 for side in size)

    def encode_with_blocks(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Code of each row and the blocks' feature maps, the last of them pooled."""
        blocks = []
        for down in self.down:
            x = down(x)
            blocks.append(x)
        return x.flatten(1), blocks

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.encode_with_blocks(x)[0]

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, flattened to rows."""
        x = embedding.unflatten(1, self.code_shape)
        for up in reversed(self.up):
            x = up(x)
        return x


class BottleneckConvAutoencoder(Autoencoder):
    """A convolutional encoder of blocks with a narrow linear code behind it.

    The encoder and the decoder are those of :class:`BlockConvAutoencoder`. Between them
    stand a linear layer down to the code and one with ReLU back up. It can be the
    ``architecture`` of a method whose clusters are in a narrow code.

    Parameters
    ----------
    n_features : int
        Width of a row; must be the product of ``image_shape``.
    latent_dim : int
        Width of the code.
    channels : sequence of int
        Channels of each block, at least one block.
    image_shape : tuple of int (C, H, W)
        How to read a row as an image.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import BottleneckConvAutoencoder
    >>> network = BottleneckConvAutoencoder(784, 10, (4, 8), image_shape=(1, 28, 28))
    >>> code, blocks = network.encode_with_blocks(torch.randn(3, 784))
    >>> code.shape, [tuple(block.shape) for block in blocks]
    (torch.Size([3, 10]), [(3, 4, 20, 20), (3, 8, 3, 3)])
    """

    def __init__(
        self,
        n_features: int,
        latent_dim: int,
        channels: Sequence[int],
        image_shape: Sequence[int],
    ) -> None:
        super().__init__()
        self.network = BlockConvAutoencoder(n_features, channels, image_shape)
        c, h, w = self.network.code_shape
        self.to_code = nn.Linear(c * h * w, latent_dim)
        self.from_code = nn.Sequential(nn.Linear(latent_dim, c * h * w), nn.ReLU())

    def encode_with_blocks(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Code of each row and the feature maps of the blocks."""
        wide, blocks = self.network.encode_with_blocks(x)
        return self.to_code(wide), blocks

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.encode_with_blocks(x)[0]

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, flattened to rows."""
        return self.network.decode(self.from_code(embedding))
