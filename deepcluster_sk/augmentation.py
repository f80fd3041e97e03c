"""Random changes of rows that do not change what they show.

An augmentation is any callable ``augmentation(x, generator)``: it gets a batch, a
float32 tensor of shape ``(n, n_features)`` in the units of ``X`` and on the training
device, and returns one of the same shape, drawing from ``generator`` alone. Estimators
with a parameter ``augmentation`` train on what it returns.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import KW_ONLY, dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["RandomAffine"]


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, scale and shift each image by a little, at random.

    Parameters
    ----------
    image_shape : tuple of int (C, H, W)
        How to read a row as an image.
    rotation : float, default=10.0
        Largest angle, in degrees, in [0, 180].
    shift : float, default=0.1
        Largest shift, as a share of height and of width, in [0, 1].
    scale : float, default=0.0
        Largest relative change of size, in [0, 1).

    Raises
    ------
    ValueError
        If a parameter is out of its range, or, at the call, if rows are not as long
        as images.

    Notes
    -----
    Angle, shifts and size are uniform, and independent between images. Pixels are
    interpolated linearly; what comes in from outside is black (0).

    Rotations of 10 degrees and shifts of a tenth are those of [1]_.

    References
    ----------
    .. [1] X. Guo, E. Zhu, X. Liu and J. Yin. Deep embedded clustering with data
       augmentation. ACML 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.augmentation import RandomAffine
    >>> move = RandomAffine((1, 8, 8))
    >>> move(torch.rand(5, 64), torch.Generator().manual_seed(0)).shape
    torch.Size([5, 64])
    """

    image_shape: tuple[int, int, int]
    _: KW_ONLY
    rotation: float = 10.0
    shift: float = 0.1
    scale: float = 0.0

    def __post_init__(self):
        shape = tuple(self.image_shape)
        if len(shape) != 3 or not all(
            isinstance(side, numbers.Integral) and side >= 1 for side in shape
        ):
            raise ValueError(
                "image_shape of RandomAffine must be three positive integers "
                f"(C, H, W). Got {self.image_shape!r} instead."
            )
        for name, valid, range_ in (
            ("rotation", 0 <= self.rotation <= 180, "[0, 180]"),
            ("shift", 0 <= self.shift <= 1, "[0, 1]"),
            ("scale", 0 <= self.scale < 1, "[0, 1)"),
        ):
            if not valid:
                raise ValueError(
                    f"{name} of RandomAffine must be in the range {range_}. Got "
                    f"{getattr(self, name)!r} instead."
                )

    def __call__(
        self, x: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Changed copies of the rows of a batch, ``(n, C * H * W)``."""
        if x.shape[1] != math.prod(self.image_shape):
            raise ValueError(
                f"{self!r} means rows of {math.prod(self.image_shape)} values. "
                f"Got {x.shape[1]}."
            )
        images = x.unflatten(1, self.image_shape)
        draw = torch.empty(4, len(x), device=x.device).uniform_(
            -1, 1, generator=generator
        )
        angle = draw[0] * math.radians(self.rotation)
        size = 1 + draw[1] * self.scale
        cos, sin = angle.cos() / size, angle.sin() / size
        across, down = 2 * self.shift * draw[2], 2 * self.shift * draw[3]
        # Where each pixel comes from, in coordinates that run from -1 to 1 along both
        # sides, whatever their lengths.
        _, height, width = self.image_shape
        first = torch.stack([cos, -sin * (height / width), across], 1)
        second = torch.stack([sin * (width / height), cos, down], 1)
        grid = affine_grid(
            torch.stack([first, second], 1), list(images.shape), align_corners=False
        )
        return grid_sample(images, grid, align_corners=False).flatten(1)
