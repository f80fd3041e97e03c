"""Reconstruction errors, of one autoencoder and of one per cluster."""

import torch


def mean_squared_error(reconstruction, x):
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


def tensorized_cost(embedding, reconstruction, x, code_penalty):
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


def simplex_projection(x):
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
