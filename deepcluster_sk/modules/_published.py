"""Networks of published subspace clustering, for which the code is a hidden layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from deepcluster_sk.modules._autoencoders import Autoencoder, MLPAutoencoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class RectifiedMLPAutoencoder(MLPAutoencoder):
    """A perceptron whose code has passed the activation too: ``φ(W_2 φ(W_1 x))``.

    Parameters
    ----------
    n_features, latent_dim : int
        Widths of a row and of its code.
    hidden_layer_sizes : sequence of int
        Widths of the encoder's hidden layers; the decoder mirrors them.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import RectifiedMLPAutoencoder
    >>> network = RectifiedMLPAutoencoder(4, 2, hidden_layer_sizes=(8,))
    >>> bool((network.encode(torch.randn(3, 4)) >= 0).all())
    True
    """

    def __init__(
        self, n_features: int, latent_dim: int, hidden_layer_sizes: Sequence[int]
    ) -> None:
        super().__init__(n_features, latent_dim, hidden_layer_sizes)
        self.stages = ()  # which know of no activation after the last

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row, not negative."""
        return super().encode(x).relu()


class FeatureMapAutoencoder(Autoencoder):
    """Strided convolutions whose last feature maps are the code, and the way back.

    Each layer halves height and width, rounding up, and is followed by ReLU, in the
    decoder too, but for its last layer.

    Parameters
    ----------
    n_features : int
        Width of a row; the product of ``image_shape``.
    latent_dim : int
        Width of the code; that of the last feature maps, see :func:`n_map_values`.
    channels : sequence of int
        Number of feature maps of each layer.
    kernel_sizes : sequence of int
        Side of the filters of each layer; odd.
    image_shape : tuple of int (C, H, W)
        How to read a row as an image.

    Raises
    ------
    ValueError
        If ``latent_dim`` is another width, or a side of filters is even.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import FeatureMapAutoencoder
    >>> network = FeatureMapAutoencoder(
    ...     64, 48, channels=(3,), kernel_sizes=(3,), image_shape=(1, 8, 8)
    ... )
    >>> network.encode(torch.zeros(5, 64)).shape
    torch.Size([5, 48])
    """

    def __init__(
        self,
        n_features: int,
        latent_dim: int,
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        image_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        if any(kernel % 2 == 0 for kernel in kernel_sizes):
            raise ValueError(f"kernel_sizes must be odd. Got {tuple(kernel_sizes)}.")
        self.image_shape = tuple(image_shape)
        down, up = [], []
        before, *sides = self.image_shape
        for after, kernel in zip(channels, kernel_sizes, strict=True):
            shape = {"kernel_size": kernel, "stride": 2, "padding": kernel // 2}
            down += [nn.Conv2d(before, after, **shape), nn.ReLU()]
            odd_one_out = tuple(1 - side % 2 for side in sides)
            back = nn.ConvTranspose2d(
                after, before, output_padding=odd_one_out, **shape
            )
            up = [back, nn.ReLU(), *up]
            before, sides = after, [-(-side // 2) for side in sides]
        self.code_shape = (before, *sides)
        if latent_dim != math.prod(self.code_shape):
            raise ValueError(
                f"latent_dim={latent_dim} must be the width of the feature maps, "
                f"{math.prod(self.code_shape)}."
            )
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up[:-1])

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Feature maps of each row, flattened."""
        return self.down(x.unflatten(-1, self.image_shape)).flatten(1)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, flattened to rows."""
        return self.up(embedding.unflatten(-1, self.code_shape)).flatten(1)


def n_map_values(channels: Sequence[int], image_shape: tuple[int, ...]) -> int:
    """Width of the code of a :class:`FeatureMapAutoencoder`.

    Parameters
    ----------
    channels : sequence of int
        Number of feature maps of each layer.
    image_shape : tuple of int (C, H, W)
        Shape of the images.

    Returns
    -------
    width : int
        Number of values of the last feature maps.

    Examples
    --------
    >>> from deepcluster_sk.modules import n_map_values
    >>> n_map_values((10, 20, 30), (1, 48, 42))
    1080
    """
    height, width = image_shape[1:]
    for _ in channels:
        height, width = -(-height // 2), -(-width // 2)
    return channels[-1] * height * width
