"""k autoencoders as one batched computation, for the tensorized autoencoder."""

from __future__ import annotations

import copy
import itertools
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import nn

from deepcluster_sk.losses import tensorized_cost
from deepcluster_sk.modules._autoencoders import (
    AutoencoderOutput,
    build_autoencoder,
)
from deepcluster_sk.modules._centroids import reorder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class StackedProjection(nn.Module):
    """Linear autoencoders, k of them: encoders U_j of orthonormal rows, decoders U_jᵀ.

    This is the linear case of the paper: ``U_j U_jᵀ = I`` and ``V_j = U_jᵀ``.
    Without that constraint the penalty on the code could be evaded by shrinking
    the encoder and growing the decoder. A free weight W is turned into
    U = L⁻¹ W with W Wᵀ = L Lᵀ, which spans the same rows and costs one h x h
    Cholesky factor a cluster.

    Parameters
    ----------
    n_clusters, n_features, latent_dim : int
        Number k of autoencoders, and widths d of a row and h of a code.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import StackedProjection
    >>> stack = StackedProjection(3, n_features=4, latent_dim=2)
    >>> stack.encode(torch.zeros(3, 5, 4)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(self, n_clusters: int, n_features: int, latent_dim: int) -> None:
        super().__init__()
        weight = torch.empty(n_clusters, n_features, latent_dim)
        nn.init.normal_(weight)
        self.weight = nn.Parameter(torch.linalg.qr(weight).Q.mT.contiguous())

    def basis(self) -> torch.Tensor:
        """Orthonormal rows U, ``(k, h, d)``."""
        gram = self.weight @ self.weight.mT  # (k, h, h)
        # _ex: a weight that has diverged shows as a NaN loss, not as a LinAlgError.
        factor = torch.linalg.cholesky_ex(gram).L
        return torch.linalg.solve_triangular(factor, self.weight, upper=False)

    def prepare_export(self) -> None:
        """Compute the basis once and for all, of a copy that is written to a file."""
        basis = self.basis().detach()
        self.basis = lambda: basis

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``(k, n, h)`` of inputs ``(k, n, d)``."""
        return x @ self.basis().transpose(-2, -1)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstructions ``(k, n, d)`` of codes ``(k, n, h)``."""
        return embedding @ self.basis()

    def forward(self, x: torch.Tensor) -> AutoencoderOutput:
        """Code and reconstruction, with the basis computed once."""
        basis = self.basis()
        embedding = x @ basis.transpose(-2, -1)
        return AutoencoderOutput(embedding, embedding @ basis)


class StackedLinear(nn.Module):
    """k linear layers as one batched product, initialised as ``nn.Linear``."""

    def __init__(self, n_clusters, n_in, n_out, bias=True):
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(
            torch.empty(n_clusters, n_in, n_out).uniform_(-bound, bound)
        )
        self.bias = None
        if bias:
            self.bias = nn.Parameter(
                torch.empty(n_clusters, 1, n_out).uniform_(-bound, bound)
            )

    def forward(self, x):
        """``(k, n, n_in) -> (k, n, n_out)``."""
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


class StackedShallow(nn.Module):
    """Autoencoders of two layers without biases, k of them, nothing tied.

    The networks of the paper's experiments: ``f(g(x)) = V a(U x)`` with free weights U
    and V and, for a, the identity or ReLU.

    Parameters
    ----------
    n_clusters, n_features, latent_dim : int
        Number k of autoencoders, and widths d of a row and h of a code.
    rectified : bool, default=False
        Whether a is ReLU.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import StackedShallow
    >>> stack = StackedShallow(3, n_features=4, latent_dim=2, rectified=True)
    >>> output = stack(torch.randn(3, 5, 4))
    >>> bool((output.embedding >= 0).all()), output.reconstruction.shape
    (True, torch.Size([3, 5, 4]))
    """

    def __init__(
        self, n_clusters: int, n_features: int, latent_dim: int, rectified: bool = False
    ) -> None:
        super().__init__()
        self.encoder = StackedLinear(n_clusters, n_features, latent_dim, bias=False)
        self.decoder = StackedLinear(n_clusters, latent_dim, n_features, bias=False)
        self.rectified = rectified

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``(k, n, h)`` of inputs ``(k, n, d)``."""
        embedding = self.encoder(x)
        return embedding.relu() if self.rectified else embedding

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstructions ``(k, n, d)`` of codes ``(k, n, h)``."""
        return self.decoder(embedding)

    def forward(self, x: torch.Tensor) -> AutoencoderOutput:
        """Code and reconstruction."""
        embedding = self.encode(x)
        return AutoencoderOutput(embedding, self.decode(embedding))


def _stacked_perceptron(n_clusters, sizes):
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [StackedLinear(n_clusters, n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class StackedMLP(nn.Module):
    """Mirrored perceptrons, k of them, ReLU between layers, linear code and output.

    Parameters
    ----------
    n_clusters, n_features, latent_dim : int
        Number k of autoencoders, and widths d of a row and h of a code.
    hidden_layer_sizes : sequence of int
        Widths of each encoder's hidden layers; the decoders mirror them.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import StackedMLP
    >>> stack = StackedMLP(3, n_features=4, latent_dim=2, hidden_layer_sizes=(8,))
    >>> stack(torch.zeros(3, 5, 4)).reconstruction.shape
    torch.Size([3, 5, 4])
    """

    def __init__(
        self,
        n_clusters: int,
        n_features: int,
        latent_dim: int,
        hidden_layer_sizes: Sequence[int],
    ) -> None:
        super().__init__()
        sizes = [n_features, *hidden_layer_sizes, latent_dim]
        self.encoder = _stacked_perceptron(n_clusters, sizes)
        self.decoder = _stacked_perceptron(n_clusters, sizes[::-1])

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``(k, n, h)`` of inputs ``(k, n, d)``."""
        return self.encoder(x)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstructions ``(k, n, d)`` of codes ``(k, n, h)``."""
        return self.decoder(embedding)

    def forward(self, x: torch.Tensor) -> AutoencoderOutput:
        """Code and reconstruction."""
        embedding = self.encode(x)
        return AutoencoderOutput(embedding, self.decode(embedding))


class StackedModule(nn.Module):
    """Copies of any autoencoder, k of them, run as one through ``torch.vmap``.

    Linear layers become batched products and convolutions grouped ones. Layers
    that keep running statistics, such as batch normalisation, cannot be stacked
    this way and are refused.

    Parameters
    ----------
    n_clusters : int
        Number of copies k.
    build : callable
        Returns a freshly initialised autoencoder at each call.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import MLPAutoencoder, StackedModule
    >>> stack = StackedModule(3, lambda: MLPAutoencoder(4, 2, (8,)))
    >>> stack.encode(torch.zeros(3, 5, 4)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(self, n_clusters: int, build: Callable[..., Any]) -> None:
        super().__init__()
        copies = [build() for _ in range(n_clusters)]
        if next(copies[0].buffers(), None) is not None:
            raise ValueError(
                "An architecture with buffers (such as the running statistics of batch "
                "normalisation) cannot be stacked; use layers without them, such as "
                "torch.nn.GroupNorm."
            )
        self.names = [name for name, _ in copies[0].named_parameters()]
        self.stacked = nn.ParameterList(
            torch.stack([dict(c.named_parameters())[name].detach() for c in copies])
            for name in self.names
        )
        # In a tuple, so that its (unused) parameters are not registered here.
        self.skeleton = (copy.deepcopy(copies[0]).to("meta"),)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the copies too, which are not registered as children."""
        self.skeleton[0].train(mode)
        return super().train(mode)

    def prepare_export(self) -> None:
        """Run copy by copy from now on: tracing does not know ``torch.vmap``."""
        copies = []
        for j in range(len(self.stacked[0])):
            one = copy.deepcopy(self.skeleton[0]).to_empty(device="cpu")
            values = [parameter.detach()[j] for parameter in self.stacked]
            one.load_state_dict(dict(zip(self.names, values, strict=True)))
            copies.append(one.requires_grad_(False))

        def run(method, x):
            return torch.stack([getattr(one, method)(x[j]) for j, one in each])

        each = list(enumerate(copies))
        self._run = run

    def _run(self, method, x):
        def one(parameters, x):
            return torch.func.functional_call(
                _Method(self.skeleton[0], method), parameters, (x,)
            )

        named = {
            f"module.{n}": p for n, p in zip(self.names, self.stacked, strict=True)
        }
        return torch.vmap(one, randomness="different")(named, x)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``(k, n, h)`` of inputs ``(k, n, d)``."""
        return self._run("encode", x)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Reconstructions ``(k, n, d)`` of codes ``(k, n, h)``."""
        return self._run("decode", embedding)

    def forward(self, x: torch.Tensor) -> AutoencoderOutput:
        """Code and reconstruction."""
        embedding = self.encode(x)
        return AutoencoderOutput(embedding, self.decode(embedding))


class _Method(nn.Module):
    """A module whose forward is the given method of another one."""

    def __init__(self, module, method):
        super().__init__()
        self.module = module
        self.method = method

    def forward(self, x):
        return getattr(self.module, self.method)(x)


class TensorizedOutput:
    """What a tensorized autoencoder returns for a batch of n rows.

    Parameters
    ----------
    embedding : Tensor of shape (k, n, h)
        Codes by every cluster.
    reconstruction : Tensor of shape (k, n, d)
        Reconstructions by every cluster.
    code_penalty : float or Tensor of shape (k, h)
        λ of Eq. 2, of all or of each direction.

    Attributes
    ----------
    cost : Tensor of shape (n, k)
        Once ``cost_of`` was asked for it.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import TensorizedOutput
    >>> output = TensorizedOutput(torch.ones(3, 5, 2), torch.zeros(3, 5, 4), -0.5)
    >>> output.cost_of(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        embedding: torch.Tensor,
        reconstruction: torch.Tensor,
        code_penalty: float | torch.Tensor,
    ) -> None:
        self.embedding = embedding
        self.reconstruction = reconstruction
        self.code_penalty = code_penalty
        self.cost = None

    def cost_of(self, x: torch.Tensor) -> torch.Tensor:
        """Cost of each row under each cluster (the bracket of Eq. 2), ``(n, k)``."""
        self.cost = tensorized_cost(
            self.embedding, self.reconstruction, x, self.code_penalty
        )
        return self.cost


class TensorizedModule(nn.Module):
    """Cluster centres and one autoencoder a cluster on the centred data.

    Parameters
    ----------
    n_clusters, n_features, latent_dim : int
        Number k of clusters, and widths d of a row and h of a code.
    stack : torch.nn.Module
        The k autoencoders: ``encode``, ``decode`` and ``forward`` on ``(k, n, .)``.
    code_penalty : float
        λ of Eq. 2, until ``set_density`` gives each direction its own.
    mixture : bool, default=False
        Whether clusters are those of a mixture of densities: the objective of a row
        then is that of all of them, not of the best.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import StackedProjection, TensorizedModule
    >>> module = TensorizedModule(3, 4, 2, StackedProjection(3, 4, 2), -0.5)
    >>> labels, cost, code, reconstruction = module.choose(torch.randn(5, 4))
    >>> labels.shape, code.shape
    (torch.Size([5]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        n_clusters: int,
        n_features: int,
        latent_dim: int,
        stack: torch.nn.Module,
        code_penalty: float,
        mixture: bool = False,
    ) -> None:
        super().__init__()
        self.stack = stack
        self.mixture = mixture
        self.register_buffer("centers", torch.zeros(n_clusters, n_features))
        self.register_buffer(
            "code_penalty", torch.full((n_clusters, latent_dim), float(code_penalty))
        )
        # Of the noise, the unit of the cost where clusters are densities.
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("log_determinant", torch.zeros(n_clusters))
        # What a difference of costs is divided by to be one of log-probabilities.
        self.register_buffer("temperature", torch.full((), 2.0))
        # What the decoder multiplies each value of the code by: below 1 where the
        # inputs are noisy.
        self.register_buffer("shrinkage", torch.ones(n_clusters, latent_dim))

    @torch.no_grad()
    def set_projections(self, centers: NDArray[Any], bases: NDArray[Any]) -> None:
        """Give each cluster a centre and orthonormal directions, ``(k, h, d)``."""
        self.centers.copy_(torch.from_numpy(centers))
        k, h, d = bases.shape
        if h != self.code_penalty.shape[1]:  # the width was found
            self.stack = StackedProjection(k, d, h).to(self.centers)
            self.code_penalty = self.code_penalty[:, :1].repeat(1, h)
            self.shrinkage = self.shrinkage[:, :1].repeat(1, h)
        self.stack.weight.copy_(torch.from_numpy(bases.copy()))

    @torch.no_grad()
    def set_shrinkage(self, variances: NDArray[Any], noise_variance: float) -> None:
        """Decode for inputs with noise: the linear least squares of x from x + ε.

        With ``z = U (x + ε - C)`` and directions along which x varies independently,
        the regression of ``x - C`` on z is ``Uᵀ diag(v / (v + noise_variance)) z``.

        Parameters
        ----------
        variances : ndarray of shape (k, h)
            v, those of x along the directions of each cluster.
        noise_variance : float
            Variance of each value of ε, above 0.
        """
        share = variances / (variances + noise_variance)
        self.shrinkage.copy_(torch.from_numpy(share))

    def set_temperature(self, objective: float) -> None:
        """Turn costs into probabilities by the noise that the objective tells.

        With one λ for all, costs over σ² are minus twice the logarithms of Gaussian
        densities but for a constant, and σ² is likeliest as the mean of the best cost
        over the number of features.

        Parameters
        ----------
        objective : float
            That mean.
        """
        noise_variance = abs(objective) / self.centers.shape[1]
        tiny = torch.finfo(self.temperature.dtype).tiny
        self.temperature.fill_(max(2 * noise_variance, tiny))

    @torch.no_grad()
    def set_density(
        self, code_penalty: NDArray[Any], noise_variance: float, constant: Any
    ) -> None:
        """Make the cost of a row minus twice the logarithm of a Gaussian density.

        Parameters
        ----------
        code_penalty : ndarray of shape (k, h), float64
            λ of each direction, below 0: the variance along it is
            ``-noise_variance / λ``.
        noise_variance : float
            Variance along all other directions.
        constant : float or ndarray of shape (k,)
            Added to the cost.
        """
        penalty = torch.from_numpy(code_penalty)
        self.code_penalty.copy_(penalty)
        self.deviation.fill_(noise_variance**0.5)
        n_features = self.centers.shape[1]
        shape = n_features * math.log(2 * math.pi * noise_variance)
        constant = torch.as_tensor(constant, dtype=torch.double)
        self.log_determinant.copy_(shape - (-penalty).log().sum(1) + constant)

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        of_clusters = self.centers, self.code_penalty, self.log_determinant
        reorder(order, *of_clusters, self.shrinkage, *self.stack.parameters())

    def forward(self, x: torch.Tensor) -> TensorizedOutput:
        """Codes ``(k, n, h)`` and reconstructions ``(k, n, d)`` by every cluster."""
        centers = self.centers.unsqueeze(1)  # (k, 1, d)
        embedding, residual = self.stack(x - centers)
        return TensorizedOutput(embedding, residual + centers, self.code_penalty)

    def _costs(self, output, x):
        # Squares of large values do not fit into float32: units come first.
        units = (
            v / self.deviation for v in (output.embedding, output.reconstruction, x)
        )
        return tensorized_cost(*units, self.code_penalty) + self.log_determinant

    def costs(self, x: torch.Tensor) -> torch.Tensor:
        """Cost of each row under each cluster, ``(n, k)``."""
        return self._costs(self(x), x)

    def assign(self, x: torch.Tensor) -> torch.Tensor:
        """Probability of each cluster for each row, ``(n, k)``."""
        costs = self.costs(x)
        return ((costs.amin(1, keepdim=True) - costs) / self.temperature).softmax(1)

    def objective(self, x: torch.Tensor) -> torch.Tensor:
        """Cost of each row under the best cluster, or under the mixture, ``(n,)``."""
        if not self.mixture:
            return self.choose(x)[1]
        return -2 * (-self.costs(x) / 2).logsumexp(1)

    def choose(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Chosen cluster and its cost, code and reconstruction for each row."""
        output = self(x)
        cost, label = self._costs(output, x).min(1)  # (n,)
        rows = torch.arange(x.shape[0], device=x.device)
        return (
            label,
            cost,
            output.embedding[label, rows],
            output.reconstruction[label, rows],
        )

    def denoise(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruction of each row by its cluster, for inputs with noise."""
        output, rows = self(x), torch.arange(x.shape[0], device=x.device)
        label = self._costs(output, x).argmin(1)
        shrunk = output.embedding * self.shrinkage[:, None]  # (k, n, h)
        return self.stack.decode(shrunk)[label, rows] + self.centers[label]


def build_tensorized_autoencoder(
    n_clusters: int,
    n_features: int,
    latent_dim: int,
    architecture: Literal["mlp", "conv"] | Callable[..., Any],
    hidden_layer_sizes: Sequence[int] | None,
    image_shape: Sequence[int] | None,
    code_penalty: float,
    code_layer: Literal["orthonormal", "linear", "relu"] = "orthonormal",
    mixture: bool = False,
) -> TensorizedModule:
    """Make k autoencoders: orthogonal projections where everything is linear.

    Parameters
    ----------
    n_clusters, n_features, latent_dim : int
        Number k of autoencoders, and widths of a row and of a code.
    architecture : {"mlp", "conv"} or callable
        As for :func:`build_autoencoder`.
    hidden_layer_sizes : sequence of int or None
        Of each encoder; an empty one makes autoencoders whose only layer is the code.
    image_shape : tuple (C, H, W) or None
        Needed by "conv".
    code_penalty : float
        λ of Eq. 2.
    code_layer : {"orthonormal", "linear", "relu"}, default="orthonormal"
        What an autoencoder without other layers is: a :class:`StackedProjection`, or a
        :class:`StackedShallow` without or with ReLU.
    mixture : bool, default=False
        As for :class:`TensorizedModule`.

    Returns
    -------
    module : TensorizedModule
        With centres at the origin.

    Examples
    --------
    >>> from deepcluster_sk.modules import build_tensorized_autoencoder
    >>> module = build_tensorized_autoencoder(3, 4, 2, "mlp", (), None, -0.5)
    >>> type(module.stack).__name__
    'StackedProjection'
    """
    sizes = n_clusters, n_features, latent_dim
    if architecture == "mlp" and len(hidden_layer_sizes) == 0:
        if code_layer == "orthonormal":
            stack = StackedProjection(*sizes)
        else:
            stack = StackedShallow(*sizes, rectified=code_layer == "relu")
    elif architecture == "mlp":
        stack = StackedMLP(*sizes, hidden_layer_sizes)
    else:
        build = partial(
            build_autoencoder,
            n_features,
            latent_dim,
            architecture,
            hidden_layer_sizes,
            image_shape,
        )
        stack = StackedModule(n_clusters, build)
    return TensorizedModule(*sizes, stack, code_penalty, mixture)
