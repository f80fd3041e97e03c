"""Autoencoders on rows of a matrix: multilayer perceptron and convolutional."""

from __future__ import annotations

import inspect
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ARCHITECTURES = ("mlp", "conv")
DEFAULT_HIDDEN = {"mlp": (500, 500, 2000), "conv": (32, 64, 128)}


class AutoencoderOutput(NamedTuple):
    """What an autoencoder returns for a batch of n rows.

    Parameters
    ----------
    embedding : Tensor of shape (n, h)
        Code of each row.
    reconstruction : Tensor of shape (n, d)
        What the decoder makes of it.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import MLPAutoencoder
    >>> output = MLPAutoencoder(4, 2, (8,))(torch.zeros(3, 4))
    >>> output.embedding.shape, output.reconstruction.shape
    (torch.Size([3, 2]), torch.Size([3, 4]))
    """

    embedding: Tensor  # (n, h)
    reconstruction: Tensor  # (n, d)


class Autoencoder(nn.Module):
    """What training and prediction expect of an autoencoder.

    A subclass defines ``encode``, ``(n, n_features) -> (n, latent_dim)``, and
    ``decode``, the way back.

    It may declare ``stages``: pairs (down, up) of modules, from the input inwards,
    such that ``encode`` is all the downs in order and ``decode`` all the ups in
    reverse. They are what greedy pretraining trains one by one, and the outputs of
    the downs are the blocks to which companion objectives attach. (A tuple, so that
    the parts are not registered twice.)

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import Autoencoder
    >>> class Halves(Autoencoder):
    ...     def encode(self, x):
    ...         return x[:, ::2]
    ...
    ...     def decode(self, embedding):
    ...         return embedding.repeat_interleave(2, dim=1)
    >>> Halves()(torch.tensor([[1.0, 1.0, 5.0, 5.0]])).reconstruction
    tensor([[1., 1., 5., 5.]])
    """

    stages = ()

    def encode_with_blocks(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Code of each row and the outputs of the encoder's blocks, code included."""
        if not self.stages:
            return self.encode(x), []
        blocks = []
        for down, _ in self.stages:
            x = down(x)
            blocks.append(x)
        return x, blocks

    def encode_corrupted(self, x: torch.Tensor, corrupt: Any) -> Any:
        """Code of each row, where every stage sees ``corrupt`` of its input.

        Without ``stages`` the encoder is one.
        """
        if not self.stages:
            return self.encode(corrupt(x))
        for down, _ in self.stages:
            x = down(corrupt(x))
        return x

    def decode_with_blocks(self, embedding: torch.Tensor) -> Any:
        """What the decoder makes of the input of each stage, the row itself first.

        Without ``stages`` a list of the reconstruction alone.
        """
        if not self.stages:
            return [self.decode(embedding)]
        blocks = []
        for _, up in reversed(self.stages):
            embedding = up(embedding)
            blocks.append(embedding)
        return blocks[::-1]

    def forward(self, x: torch.Tensor) -> AutoencoderOutput:
        """Encode and decode a batch of rows, ``(n, n_features)``."""
        embedding = self.encode(x)
        return AutoencoderOutput(embedding, self.decode(embedding))

    def rebase(
        self, shift: torch.Tensor, linear: torch.Tensor, inverse: torch.Tensor
    ) -> None:
        """Change the coordinates of the code; reconstructions stay.

        Parameters
        ----------
        shift : Tensor of shape (h,), float64
            Where the new origin lies.
        linear, inverse : Tensors of shape (h, h), float64
            A code c becomes ``(c - shift) @ linear``; ``inverse`` undoes it.
        """
        raise NotImplementedError


@torch.no_grad()
def rebase_layers(last, first, shift, linear, inverse):
    """Fold a change of coordinates into the linear layers on both sides of the code."""
    # On the CPU: not every device has float64.
    weight, bias = last.weight.cpu().double(), last.bias.cpu().double()
    last.weight.copy_(linear.T @ weight)
    last.bias.copy_((bias - shift) @ linear)
    weight, bias = first.weight.cpu().double(), first.bias.cpu().double()
    first.weight.copy_(weight @ inverse.T)
    first.bias.copy_(bias + weight @ shift)


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given sizes with ReLU between them, linear at the end.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output, at least two.

    Returns
    -------
    network : torch.nn.Sequential
        Maps ``(n, sizes[0])`` to ``(n, sizes[-1])``.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import perceptron
    >>> perceptron([4, 8, 2])(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class MLPAutoencoder(Autoencoder):
    """Mirrored multilayer perceptron, ReLU between layers, linear code and output.

    Parameters
    ----------
    n_features : int
        Width of a row.
    latent_dim : int
        Width of the code.
    hidden_layer_sizes : sequence of int
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty
        sequence gives a linear autoencoder.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import MLPAutoencoder
    >>> network = MLPAutoencoder(n_features=4, latent_dim=2, hidden_layer_sizes=(8,))
    >>> network.decode(network.encode(torch.zeros(3, 4))).shape
    torch.Size([3, 4])
    """

    def __init__(
        self, n_features: int, latent_dim: int, hidden_layer_sizes: Sequence[int]
    ) -> None:
        super().__init__()
        sizes = [n_features, *hidden_layer_sizes, latent_dim]
        self.encoder = perceptron(sizes)
        self.decoder = perceptron(sizes[::-1])
        depth = len(sizes) - 1
        self.stages = tuple(
            (self.encoder[2 * i : 2 * i + 2], self.decoder[2 * j : 2 * j + 2])
            for i, j in enumerate(reversed(range(depth)))
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.encoder(x)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code."""
        return self.decoder(embedding)

    def rebase(
        self, shift: torch.Tensor, linear: torch.Tensor, inverse: torch.Tensor
    ) -> None:
        """Change the coordinates of the code; reconstructions stay."""
        rebase_layers(self.encoder[-1], self.decoder[0], shift, linear, inverse)


class ConvAutoencoder(Autoencoder):
    """Strided convolutions down to a linear code, transposed ones back.

    Each layer halves height and width (rounding up) and is followed by ReLU; the
    layer next to the image sees 5 x 5 pixels, deeper ones 3 x 3. The output is
    linear, so that standardised or centred images can be matched.

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
    >>> from deepcluster_sk.modules import ConvAutoencoder
    >>> network = ConvAutoencoder(64, 2, (4, 8), image_shape=(1, 8, 8))
    >>> network.decode(network.encode(torch.zeros(3, 64))).shape
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
        heights, widths = [image_shape[1]], [image_shape[2]]
        down, up = [], []
        for i in range(len(hidden_layer_sizes)):
            kernel = 5 if i == 0 else 3
            shape = {"kernel_size": kernel, "stride": 2, "padding": kernel // 2}
            down += [nn.Conv2d(channels[i], channels[i + 1], **shape), nn.ReLU()]
            # Halving rounds up, so the way back must add the pixel of an even side.
            odd_one_out = (1 - heights[-1] % 2, 1 - widths[-1] % 2)
            heights.append((heights[-1] + 1) // 2)
            widths.append((widths[-1] + 1) // 2)
            up.append(
                nn.ConvTranspose2d(
                    channels[i + 1], channels[i], output_padding=odd_one_out, **shape
                )
            )
        self.code_shape = (channels[-1], heights[-1], widths[-1])
        n_code = channels[-1] * heights[-1] * widths[-1]
        self.down = nn.Sequential(*down)
        self.to_code = nn.Linear(n_code, latent_dim)
        self.from_code = nn.Linear(latent_dim, n_code)
        layers = []
        for layer in reversed(up):
            layers += [nn.ReLU(), layer]
        self.up = nn.Sequential(*layers)
        self.stages = self._paired(down, up)

    def _paired(self, down, up):
        """Each convolution with the transposed one that undoes it; the code last."""
        stages = [
            (nn.Sequential(*down[2 * i : 2 * i + 2]), nn.Sequential(layer, nn.ReLU()))
            for i, layer in enumerate(up)
        ]
        to_image = nn.Unflatten(1, self.code_shape)
        stages.append(
            (
                nn.Sequential(nn.Flatten(), self.to_code),
                nn.Sequential(self.from_code, to_image, nn.ReLU()),
            )
        )
        # Next to the data there are rows, and no ReLU on the way out.
        first, last = stages[0]
        stages[0] = (
            nn.Sequential(nn.Unflatten(1, self.image_shape), *first),
            nn.Sequential(*last[:-1], nn.Flatten()),
        )
        return tuple(stages)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self.to_code(self.down(x.unflatten(-1, self.image_shape)).flatten(1))

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code, flattened to rows."""
        return self.up(
            self.from_code(embedding).unflatten(-1, self.code_shape)
        ).flatten(1)

    def rebase(
        self, shift: torch.Tensor, linear: torch.Tensor, inverse: torch.Tensor
    ) -> None:
        """Change the coordinates of the code; reconstructions stay."""
        rebase_layers(self.to_code, self.from_code, shift, linear, inverse)


def build_autoencoder(
    n_features: int,
    latent_dim: int,
    architecture: Literal["mlp", "conv"] | Callable[..., Any] = "mlp",
    hidden_layer_sizes: Sequence[int] | None = None,
    image_shape: Sequence[int] | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> torch.nn.Module:
    """Make the autoencoder that an estimator's parameters describe.

    Parameters
    ----------
    n_features, latent_dim : int
        Widths of a row and of its code.
    architecture : {"mlp", "conv"} or callable, default="mlp"
        A callable is called as ``architecture(n_features, latent_dim)`` and must
        return a module with ``encode`` and ``decode`` on rows.
    hidden_layer_sizes : sequence of int or None, default=None
        Hidden widths ("mlp") or channels ("conv"); None takes the default of the
        architecture. Ignored for a callable.
    image_shape : tuple (C, H, W) or None, default=None
        Needed by "conv".
    precision : {"float32", "bfloat16"}, default="float32"
        See :class:`MixedPrecision`.

    Returns
    -------
    network : torch.nn.Module
        It has ``encode``, ``decode`` and ``rebase``.

    Raises
    ------
    TypeError
        If what a callable returns has no ``encode`` or no ``decode``.
    ValueError
        If its code or reconstruction has the wrong shape.

    Examples
    --------
    >>> from deepcluster_sk.modules import build_autoencoder
    >>> build_autoencoder(4, 2, hidden_layer_sizes=(8,)).encoder
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """
    if callable(architecture):
        network = _UserAutoencoder(architecture, n_features, latent_dim)
        return with_precision(network, precision)
    sizes = DEFAULT_HIDDEN[architecture] if hidden_layer_sizes is None else None
    sizes = tuple(hidden_layer_sizes) if sizes is None else sizes
    if architecture == "conv":
        network = ConvAutoencoder(n_features, latent_dim, sizes, image_shape)
    else:
        network = MLPAutoencoder(n_features, latent_dim, sizes)
    return with_precision(network, precision)


class MixedPrecision(Autoencoder):
    """An autoencoder whose products are computed in bfloat16.

    Weights and their gradients, what goes in and what comes out are float32: losses
    and distances, which live on small differences, never see fewer digits than the
    network itself has.

    Parameters
    ----------
    network : Autoencoder
        The autoencoder.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import MixedPrecision, MLPAutoencoder
    >>> network = MixedPrecision(MLPAutoencoder(4, 2, (8,)))
    >>> network.encode(torch.zeros(3, 4)).dtype
    torch.float32
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.stages = network.stages

    def _run(self, function, x):
        with torch.autocast(x.device.type, torch.bfloat16):
            return function(x)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Code of each row."""
        return self._run(self.network.encode, x).float()

    def encode_with_blocks(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Code of each row and the outputs of the encoder's blocks."""
        code, blocks = self._run(self.network.encode_with_blocks, x)
        return code.float(), [block.float() for block in blocks]

    def encode_corrupted(self, x: torch.Tensor, corrupt: Any) -> Any:
        """Code of each row, where every stage sees ``corrupt`` of its input."""
        encode = partial(self.network.encode_corrupted, corrupt=corrupt)
        return self._run(encode, x).float()

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each code."""
        return self._run(self.network.decode, embedding).float()

    def decode_with_blocks(self, embedding: torch.Tensor) -> Any:
        """What the decoder makes of the input of each stage, the row itself first."""
        blocks = self._run(self.network.decode_with_blocks, embedding)
        return [block.float() for block in blocks]

    def rebase(
        self, shift: torch.Tensor, linear: torch.Tensor, inverse: torch.Tensor
    ) -> None:
        """Change the coordinates of the code; reconstructions stay."""
        self.network.rebase(shift, linear, inverse)


def with_precision(network, precision):
    """The autoencoder, in :class:`MixedPrecision` for "bfloat16"."""
    return MixedPrecision(network) if precision == "bfloat16" else network


class _UserAutoencoder(Autoencoder):
    """Wrap a user's module: check it once, with words, before any training."""

    def __init__(self, architecture, n_features, latent_dim):
        super().__init__()
        self.network = architecture(n_features, latent_dim)
        self.stages = getattr(self.network, "stages", ())
        # Coordinates of the code: the user's own until they are changed.
        for name in ("shift", "linear", "inverse"):
            self.register_buffer(name, None)
        name = getattr(architecture, "__name__", repr(architecture))
        for method in ("encode", "decode"):
            if not inspect.ismethod(getattr(self.network, method, None)):
                raise TypeError(
                    f"architecture={name} must build a torch.nn.Module with the "
                    f"methods encode and decode; {type(self.network).__name__} has no "
                    f"{method}."
                )
        self.eval()
        with torch.no_grad():
            code = self.network.encode(torch.zeros(2, n_features))
            output = self.network.decode(code)
        self.train()
        for what, found, width in (
            ("encode", code, latent_dim),
            ("decode", output, n_features),
        ):
            if tuple(found.shape) != (2, width):
                raise ValueError(
                    f"architecture={name}: {what} must return shape (n, {width}) for n "
                    f"rows; for 2 rows it returned {tuple(found.shape)}."
                )

    def encode(self, x):
        """Code of each row."""
        return self._shifted(self.network.encode(x))

    def _shifted(self, code):
        return code if self.shift is None else (code - self.shift) @ self.linear

    def encode_corrupted(self, x, corrupt):
        """Code of each row, where every stage sees ``corrupt`` of its input."""
        if not self.stages:
            return self.encode(corrupt(x))
        return self._shifted(super().encode_corrupted(x, corrupt))

    def decode(self, embedding):
        """Reconstruction of each code."""
        return self.network.decode(self._unshifted(embedding))

    def _unshifted(self, embedding):
        if self.shift is None:
            return embedding
        return embedding @ self.inverse + self.shift

    def decode_with_blocks(self, embedding):
        """What the decoder makes of the input of each stage, the row itself first."""
        if self.stages:
            embedding = self._unshifted(embedding)
        return super().decode_with_blocks(embedding)

    def encode_with_blocks(self, x):
        """Code of each row, and the blocks if the user's module declares them."""
        if hasattr(self.network, "encode_with_blocks"):
            code, blocks = self.network.encode_with_blocks(x)
        elif self.stages:
            code, blocks = super().encode_with_blocks(x)
        else:
            return self.encode(x), []
        return self._shifted(code), blocks

    def rebase(self, shift, linear, inverse):
        """Change the coordinates of the code, on top of earlier changes."""
        if self.shift is not None:
            before = self.inverse.cpu().double()
            shift = self.shift.cpu().double() + shift @ before
            linear = self.linear.cpu().double() @ linear
            inverse = inverse @ before
        like = next(self.parameters())
        self.shift, self.linear = shift.to(like), linear.to(like)
        self.inverse = inverse.to(like)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        """Coordinates are there only where they were changed."""
        for name in ("shift", "linear", "inverse"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                stored = torch.empty_like(stored).to(next(self.parameters()))
            setattr(self, name, stored)
        super()._load_from_state_dict(state_dict, prefix, *args)
