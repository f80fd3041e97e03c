"""A variational autoencoder whose prior is a mixture of Gaussians."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from deepcluster_sk.losses import gaussian_divergence, mixture_assignment
from deepcluster_sk.modules._centroids import CentroidAutoencoder, reorder
from deepcluster_sk.modules._output import LazyOutput

# Shares and variances of clusters start as if each had so many rows more, of the pooled
# variance: one of few rows would have none.
PSEUDO_ROWS = 10
# Of the pooled variance, that of a row's code at the start: training makes it wider
# where the decoder does not mind.
POSTERIOR_SHARE = 0.1
# Smallest variances at the start: of the code, relative to that of all rows, and of the
# noise, relative to the mean square of the data.
LEAST_SPREAD, LEAST_NOISE = 1e-3, 1e-4
LOG_2_PI = math.log(2 * math.pi)


class VariationalOutput(LazyOutput):
    """What a variational autoencoder says about a batch, on demand.

    ``code`` and ``embedding`` are the means of the rows' Gaussians.

    Parameters
    ----------
    module : VariationalAutoencoder
        The network.
    x : Tensor of shape (n, d)
        The batch that the module sees.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import VariationalAutoencoder
    >>> output = VariationalAutoencoder(3, n_features=4, latent_dim=2)(torch.ones(5, 4))
    >>> output.code.shape, output.log_variance.shape, output.assignment.shape
    (torch.Size([5, 2]), torch.Size([5, 2]), torch.Size([5, 3]))
    """

    @cached_property
    def log_variance(self) -> Any:
        """Logarithm of the variances of each row's Gaussian, ``(n, h)``."""
        return self.module.log_variance(*self._encoded)

    @cached_property
    def log_assignment(self) -> torch.Tensor:
        """Logarithm of the probability of each cluster, ``(n, k)``."""
        return self.module.log_assign(self.code, self.log_variance)

    @cached_property
    def assignment(self) -> torch.Tensor:
        """Probability of each cluster, ``(n, k)``."""
        return self.log_assignment.exp()


class VariationalAutoencoder(CentroidAutoencoder):
    """A variational autoencoder and a mixture of Gaussians in its code, as of VaDE.

    A row has a Gaussian of diagonal covariance in the code: its mean is the code of the
    autoencoder, its log-variances are a linear map of the encoder's last hidden layer,
    or of the code where that is not known. The clusters are Gaussians too.

    Parameters
    ----------
    n_clusters : int
        Number k of Gaussians.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Of the data given a code: Gaussian noise of one trainable variance around what
        is decoded, or Bernoulli with what is decoded, in [0, 1], as probabilities.
    **autoencoder : dict
        Arguments of :func:`build_autoencoder`.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.modules import VariationalAutoencoder
    >>> module = VariationalAutoencoder(3, n_features=4, latent_dim=2)
    >>> module.evidence_bound(torch.zeros(5, 4)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        n_clusters: int,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        **autoencoder: Any,
    ) -> None:
        super().__init__(n_clusters, trainable=True, **autoencoder)
        self.likelihood = likelihood
        width = autoencoder["latent_dim"]
        self.center_log_variances = nn.Parameter(torch.zeros(n_clusters, width))
        self.log_weights = nn.Parameter(torch.zeros(n_clusters))
        self.log_noise = nn.Parameter(torch.zeros(()))
        with torch.no_grad():
            self.autoencoder.eval()
            x = torch.zeros(2, autoencoder["n_features"])
            hidden = self._hidden(*self.autoencoder.encode_with_blocks(x))
            self.autoencoder.train()
        self.spread = nn.Linear(hidden.shape[1], width)

    @staticmethod
    def _hidden(code, blocks):
        """What the log-variances are computed from: the last block before the code."""
        if blocks and blocks[-1].shape == code.shape:  # most networks count the code
            blocks = blocks[:-1]
        return (blocks[-1] if blocks else code).flatten(1)

    def forward(self, x: torch.Tensor) -> Any:
        """Gaussian, assignment and reconstruction of each row, on demand."""
        return VariationalOutput(self, x)

    def reorder_clusters(self, order: torch.Tensor) -> None:
        """Number the clusters anew: j becomes what ``order[j]`` was."""
        reorder(order, self.centers, self.center_log_variances, self.log_weights)

    def log_variance(self, code: torch.Tensor, blocks: Any) -> Any:
        """Logarithm of the variances of each row's Gaussian, ``(n, h)``."""
        return self.spread(self._hidden(code, blocks))

    def divergence(self, mean: Any, log_variance: Any) -> Any:
        """Divergence of each row's Gaussian from each cluster's, ``(n, k)``."""
        return gaussian_divergence(
            mean, log_variance, self.centers, self.center_log_variances
        )

    def log_assign(self, mean: Any, log_variance: Any) -> torch.Tensor:
        """Logarithm of the probability of each cluster, ``(n, k)``."""
        divergence = self.divergence(mean, log_variance)
        return mixture_assignment(divergence, self.log_weights, log=True)

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Mean of the data given each code."""
        if self.likelihood == "bernoulli":
            return self.autoencoder.decode(embedding).sigmoid()
        return super().decode(embedding)

    def relative_error(
        self, x: torch.Tensor, embedding: torch.Tensor, reduction: str = "none"
    ) -> torch.Tensor:
        """Squared error of each value, in squared units of ``scale``, ``(n, d)``."""
        if self.likelihood == "bernoulli":
            error = self.decode(embedding) - x
            error = (error / self.scale).square()
            return error.mean() if reduction == "mean" else error
        return super().relative_error(x, embedding, reduction)

    def noise_variance(self) -> Any:
        """Variance of the noise of a Gaussian likelihood, in squared units of X."""
        return self.log_noise.exp() * self.scale.square()

    def log_likelihood(self, x: torch.Tensor, code: torch.Tensor) -> Any:
        """Logarithm of the density, or probability, of rows given codes, ``(n,)``."""
        if self.likelihood == "bernoulli":
            logits = self.autoencoder.decode(code)
            error = functional.binary_cross_entropy_with_logits
            return -error(logits, x, reduction="none").sum(1)
        squared = self.relative_error(x, code).sum(1) / self.log_noise.exp()
        log_variance = self.log_noise + 2 * self.scale.log() + LOG_2_PI
        return -(squared + x.shape[1] * log_variance) / 2

    def evidence_bound(self, x: torch.Tensor) -> Any:
        """Lower bound of the log-likelihood of each row, ``(n,)``, the same every time.

        The mean of the reconstruction term over a row's Gaussian is that over 2h points
        of it, on its axes at sqrt(h) standard deviations: for a linear decoder that
        mean is exact.
        """
        mean, blocks = self.encode_with_blocks(x)
        log_variance = self.log_variance(mean, blocks)
        likelihood, h = 0, mean.shape[1]
        for axis, step in zip(
            torch.eye(h).to(mean), (log_variance / 2).exp().T * h**0.5, strict=True
        ):
            step = step[:, None] * axis
            for code in (mean + step, mean - step):
                likelihood = likelihood + self.log_likelihood(x, code) / (2 * h)
        log_weights = self.log_weights.log_softmax(0)
        joint = log_weights - self.divergence(mean, log_variance)
        return likelihood + joint.logsumexp(1)

    @torch.no_grad()
    def start(
        self,
        code: torch.Tensor,
        labels: torch.Tensor,
        centers: torch.Tensor,
        error: torch.Tensor,
    ) -> None:
        """Let the mixture be that of clusters in the code, and rows' Gaussians narrow.

        Parameters
        ----------
        code : Tensor of shape (n, h)
            Of the training rows.
        labels : Tensor of shape (n,), int64
            Their clusters.
        centers : Tensor of shape (k, h)
            Centres of the clusters.
        error : Tensor of shape ()
            Mean squared error of the reconstruction, in squared units of ``scale``.
        """
        self.centers.copy_(centers)
        member = functional.one_hot(labels, len(centers)).to(code)
        squared = (code - centers[labels]).square()
        whole = (code - code.mean(0)).square().mean()
        least = LEAST_SPREAD * whole if whole > 0 else whole + 1
        pooled = squared.mean(0).clamp_min(least)
        sizes = member.sum(0) + PSEUDO_ROWS
        variances = (member.T @ squared + PSEUDO_ROWS * pooled) / sizes[:, None]
        self.center_log_variances.copy_(variances.clamp_min(least).log())
        self.log_weights.copy_((sizes / sizes.sum()).log())
        self.log_noise.copy_(error.clamp_min(LEAST_NOISE).log())
        self.spread.weight.zero_()
        self.spread.bias.copy_((POSTERIOR_SHARE * pooled).log())

    @torch.no_grad()
    def reseed(self, empty: torch.Tensor, codes: torch.Tensor) -> None:
        """Put empty clusters, ``(m,)``, to codes, ``(m, h)``, as an average cluster."""
        self.centers[empty] = codes
        self.center_log_variances[empty] = self.center_log_variances.mean(0)
        self.log_weights[empty] = self.log_weights.mean()
