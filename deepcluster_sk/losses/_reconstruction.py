"""Reconstruction errors, of one autoencoder and of one per cluster."""

from __future__ import annotations

from typing import Any

import torch


def mean_squared_error(reconstruction: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Squared error averaged over all elements.

    The mean over features, not their sum, keeps the weight of other terms from
    depending on the width of the data.

    Parameters
    ----------
    reconstruction, x : torch.Tensor of shape (n, d)
        What was made and what should have been.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import mean_squared_error
    >>> mean_squared_error(torch.zeros(2, 2), torch.ones(2, 2))
    tensor(1.)
    """
    return (reconstruction - x).square().mean()


def layerwise_error(decoded: Any, clean: Any) -> torch.Tensor:
    r"""Squared errors of a decoder in every layer, each averaged over its elements.

    Parameters
    ----------
    decoded : sequence of torch.Tensor, each of shape (n, ...)
        What the decoder makes of the input of each layer of the encoder.
    clean : sequence of torch.Tensor, of the same shapes
        Those inputs, without noise: the data first.

    Returns
    -------
    loss : torch.Tensor, scalar
        At least 0.

    Notes
    -----
    The reconstruction loss of [1]_,
    :math:`\frac1n \sum_i \sum_l \frac{1}{|z_i^l|} \|z_i^l - \hat z_i^l\|^2`, with
    :math:`|z_i^l|` the number of elements of layer l.

    References
    ----------
    .. [1] K. Ghasedi Dizaji, A. Herandi, C. Deng, W. Cai and H. Huang, "Deep clustering
       via joint convolutional autoencoder embedding and relative entropy minimization",
       ICCV 2017.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import layerwise_error
    >>> zeros = [torch.zeros(2, 3), torch.zeros(2, 1, 4, 4)]
    >>> layerwise_error(zeros, [torch.ones(2, 3), torch.full((2, 1, 4, 4), 2.0)])
    tensor(5.)
    """
    pairs = zip(decoded, clean, strict=True)
    return sum(mean_squared_error(made, layer) for made, layer in pairs)


def construction_loss(
    reconstruction: torch.Tensor,
    x: torch.Tensor,
    decoded_centers: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    r"""Error of reconstructions, some of rows and some of the centres of clusters.

    A row with a label is to be decoded as the centre of its cluster is, another row as
    itself.

    Parameters
    ----------
    reconstruction, x : torch.Tensor of shape (n, d)
        What was made, and the rows.
    decoded_centers : torch.Tensor of shape (k, d)
        What the decoder makes of the centres.
    labels : torch.Tensor of shape (n,), int64
        Cluster of each row; -1 for a row without one.

    Returns
    -------
    loss : torch.Tensor, scalar
        Squared error, averaged over all rows and features.

    Notes
    -----
    The dynamic loss of [1]_: as more rows get labels it turns from reconstruction to
    the construction of centres.

    References
    ----------
    .. [1] N. Mrabah, N. M. Khan, R. Ksantini and Z. Lachiri, "Deep clustering with a
       dynamic autoencoder: from reconstruction towards centroids construction", Neural
       Networks 130 (2020).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import construction_loss
    >>> x, centers = torch.tensor([[1.0], [5.0]]), torch.tensor([[4.0]])
    >>> construction_loss(torch.zeros(2, 1), x, centers, torch.tensor([-1, 0]))
    tensor(8.5000)
    """
    target = torch.where((labels >= 0)[:, None], decoded_centers[labels], x)
    return mean_squared_error(reconstruction, target)


def tensorized_cost(
    embedding: torch.Tensor,
    reconstruction: torch.Tensor,
    x: torch.Tensor,
    code_penalty: float | torch.Tensor,
) -> torch.Tensor:
    """Cost of every sample under every cluster's autoencoder.

    The bracket of Eq. 2 of [1]_:
    ``||x_i - r_ij||² - code_penalty ||z_ij||²``, with the reconstruction
    ``r_ij = f_j(g_j(x_i - C_j)) + C_j`` and the code ``z_ij = g_j(x_i - C_j)``.

    Parameters
    ----------
    embedding : Tensor of shape (k, n, h)
        Codes.
    reconstruction : Tensor of shape (k, n, d)
        Reconstructions, centres added back.
    x : Tensor of shape (n, d)
        What should have been reconstructed.
    code_penalty : float or Tensor of shape (k, h)
        λ, of all or of each direction; the paper's experiments use -0.1.

    Returns
    -------
    cost : Tensor of shape (n, k)
        The bracket for each row and cluster.

    References
    ----------
    .. [1] P. Esser et al. Improved representation learning through tensorized
       autoencoders. AISTATS 2023.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import tensorized_cost
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> code = torch.tensor([[[2.0]]])
    >>> tensorized_cost(code, torch.zeros(1, 1, 2), x, code_penalty=-0.1)
    tensor([[5.4000]])
    """
    error = (x - reconstruction).square().sum(-1)
    if isinstance(code_penalty, torch.Tensor):
        code = (code_penalty[:, None] * embedding.square()).sum(-1)
    else:
        code = code_penalty * embedding.square().sum(-1)
    return (error - code).T


def simplex_projection(x: torch.Tensor) -> torch.Tensor:
    """Euclidean projection of each row onto the probability simplex.

    Parameters
    ----------
    x : Tensor of shape (n, k)
        Any real numbers.

    Returns
    -------
    projection : Tensor of shape (n, k)
        The nearest rows that are non-negative and sum to 1: ``max(x - t, 0)`` with
        the threshold t of each row found by sorting [1]_.

    References
    ----------
    .. [1] J. Duchi et al. Efficient projections onto the l1-ball for learning in
       high dimensions. ICML 2008.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import simplex_projection
    >>> simplex_projection(torch.tensor([[0.75, 0.75], [3.0, 0.0]]))
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """
    ordered = x.sort(dim=1, descending=True).values  # (n, k)
    position = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
    threshold = (ordered.cumsum(1) - 1) / position  # (n, k), for each support size
    support = (ordered > threshold).sum(1, keepdim=True)  # (n, 1), at least 1
    return (x - threshold.gather(1, support - 1)).clamp(min=0)
