"""A small convolutional autoencoder with pooling, for discriminative clustering."""

import itertools

import torch
from torch import nn
from torch.nn.functional import interpolate

from deepcluster_sk.modules._autoencoders import Autoencoder


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

    def __init__(self, n_features, latent_dim, hidden_layer_sizes, image_shape):
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

    def encode(self, x):
        """Code of each row."""
        return self.to_code(self.down(x.unflatten(-1, self.image_shape)).flatten(1))

    def decode(self, embedding):
        """Reconstruction of each code, flattened to rows."""
        image = self.from_code(embedding).unflatten(-1, self.code_shape)
        for side, layer in zip(self.sides, self.up, strict=True):
            image = layer(interpolate(image, size=side, mode="nearest"))
        return image.flatten(1)
