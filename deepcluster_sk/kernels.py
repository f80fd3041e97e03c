r"""Kernels between the samples of a batch, for vectors and for feature maps.

Pure functions on tensors. Every kernel is Gaussian in some squared distance,

.. math:: K_{ij} = \exp(-d_{ij}^2 / 2\sigma^2),
          \qquad \sigma^2 = w \cdot \operatorname{median}_{i<j} d_{ij}^2,

with a width that follows the batch and is treated as a constant by autograd.
"""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

__all__ = ["gaussian_kernel", "tensor_distance", "tensor_kernel"]

# Added to the Gram matrix of the rows, relative to the mean of its diagonal. It decides
# what counts as rank: a direction of singular value s (relative to the root mean
# square) enters a projector with weight s² / (s² + 1e-10). Directions down to s = 1e-3
# are kept to 1e-4; the rounding noise of float32 rows (s² about 4e-15) is left out to
# 1e-4; and weights change with s by at most 1 / sqrt(1e-10).
_RIDGE = 1e-10
# The same for tensors that are (nearly) zero: 1 / sqrt(1e-24) is finite in float32.
_RIDGE_FLOOR = 1e-24

# Devices of Apple know float32 only.
_WITHOUT_FLOAT64 = {"mps"}

# Work is cut so that one piece stays near the cache and half of a symmetric matrix is
# never computed: rows of a block of products, columns of a projector. In one piece,
# 120 samples of (20, 640) rows take two to four times as long.
_BLOCK_ROWS = 360
_PROJECTOR_COLUMNS = 100

# Floors of the squared kernel width: absolute, as in the paper's code, and relative to
# the mean |a|². A distance |a|² + |b|² - 2ab below that is rounding in float32, and
# where the median is, as in a batch most of which coincides, 1 / sigma² amplifies it.
_MIN_SQUARED_WIDTH = 1e-9
_MIN_RELATIVE_WIDTH = 1e-4


def gaussian_kernel(x: torch.Tensor, relative_width: float = 0.15) -> torch.Tensor:
    r"""Gaussian kernel of the Euclidean distance, with a width taken from the batch.

    Parameters
    ----------
    x : torch.Tensor of shape (n, d) or (n, D1, ..., DM)
        The samples. More than one dimension per sample is flattened, which gives the
        "naïve kernel" of the paper.
    relative_width : float, default=0.15
        :math:`\sigma^2` as a multiple of the median squared distance; above 0.

    Returns
    -------
    kernel : torch.Tensor of shape (n, n)
        Symmetric, in [0, 1], ones on the diagonal.

    Raises
    ------
    ValueError
        If `x` has fewer than two dimensions or `relative_width` is not positive.

    Notes
    -----
    Eq. 9 and 10 of [1]_. The paper sets :math:`\sigma` to 15 % of the median distance;
    its authors' code sets :math:`\sigma^2` to 15 % of the median *squared* distance,
    and it is the code that gave the published figures. The median is the lower one and
    runs over the pairs of distinct samples. :math:`\sigma^2` is not allowed below 1e-9
    nor below 1e-4 of the mean squared distance to the batch's mean, so a batch of equal
    samples has a kernel of ones and finite gradients. Permuting the entries of all
    samples alike changes nothing (Eq. 11).

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.kernels import gaussian_kernel
    >>> kernel = gaussian_kernel(torch.tensor([[0.0], [1.0], [2.0]]))
    >>> [[round(v, 3) for v in row] for row in kernel.tolist()]
    [[1.0, 0.036, 0.0], [0.036, 1.0, 0.036], [0.0, 0.036, 1.0]]
    """
    _check_batch(x, "x")
    flat = x.flatten(1)
    # Distances do not see a common offset, but |x|² + |y|² - 2xy loses digits to it.
    flat = flat - flat.mean(0)
    return _kernel_of_gram(flat @ flat.T, relative_width)


def tensor_kernel(y: torch.Tensor, relative_width: float = 0.15) -> torch.Tensor:
    r"""Gaussian kernel of :func:`tensor_distance`: the product of kernels over modes.

    Parameters
    ----------
    y : torch.Tensor of shape (n, D1, ..., DM)
        The samples, for instance the feature maps (n, channels, height, width) of a
        convolutional block.
    relative_width : float, default=0.15
        :math:`\sigma^2` as a multiple of the median squared distance; above 0.

    Returns
    -------
    kernel : torch.Tensor of shape (n, n)
        Symmetric, in [0, 1], ones on the diagonal.

    Raises
    ------
    ValueError
        If `y` has fewer than two dimensions or `relative_width` is not positive.

    Notes
    -----
    Eq. 12 and 13 of [1]_: one :math:`\sigma` serves all modes, so the product of the
    kernels is the kernel of the summed distance. The median is taken as in
    :func:`gaussian_kernel`; :math:`\sigma^2` is not allowed below 1e-4 of the mean
    summed rank, which keeps rounding out of a batch of equal samples.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    The kernel compares subspaces, so the scale of a sample does not matter:

    >>> import torch
    >>> from deepcluster_sk.kernels import tensor_kernel
    >>> maps = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> maps[1] = 5 * maps[0]
    >>> kernel = tensor_kernel(maps)
    >>> bool(kernel[0, 1] > 0.999), bool(kernel[0, 2] < 0.1)
    (True, True)
    """
    return _kernel_of_gram(_tensor_gram(y), relative_width)


def tensor_distance(y: torch.Tensor) -> torch.Tensor:
    r"""Squared distance between tensors as subspaces, summed over their modes.

    Parameters
    ----------
    y : torch.Tensor of shape (n, D1, ..., DM)
        The samples. M = 1 (vectors) is allowed.

    Returns
    -------
    distance : torch.Tensor of shape (n, n)
        Symmetric, at least 0, zeros on the diagonal.

    Raises
    ------
    ValueError
        If `y` has fewer than two dimensions.

    Notes
    -----
    Eq. 14 to 17 of [1]_. The mode-m matricisation :math:`Y^{(m)}` has :math:`D_m` rows
    of length :math:`D_{-m}`, the product of the other dimensions. With :math:`\Pi_X`
    the orthogonal projector on the span of its rows, :math:`r_X` the rank and
    :math:`V_X` an orthonormal basis (as rows),

    .. math:: \|\Pi_X - \Pi_Y\|_F^2 = r_X + r_Y - 2\|V_X V_Y^T\|_F^2,

    which is the paper's :math:`2(D_m - \|V_X V_Y^T\|_F^2)` at full rank and stays a
    squared distance below it (constant channels, all-zero samples).

    A mode with :math:`D_m \ge D_{-m}` is skipped: there the rows span everything, and
    the distance is zero whatever the sample. Where that leaves no mode, as for vectors,
    samples are compared by the line they span, :math:`2(1 - \cos^2)`.

    No singular value decomposition is taken: with
    :math:`YY^T + \varepsilon I = LL^T`, :math:`V = L^{-1}Y`. The small ridge makes the
    projector a smooth function of :math:`Y` at any rank, so gradients are finite
    everywhere; second derivatives are not available.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    Parallel vectors span the same line, orthogonal ones are as far apart as it gets:

    >>> import torch
    >>> from deepcluster_sk.kernels import tensor_distance
    >>> distance = tensor_distance(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]))
    >>> [[round(v, 4) for v in row] for row in distance.tolist()]
    [[0.0, 0.0, 2.0], [0.0, 0.0, 2.0], [2.0, 2.0, 0.0]]
    """
    return _distance_of_gram(_tensor_gram(y))


def _check_batch(x, name):
    if x.dim() < 2:
        raise ValueError(
            f"{name} must be of shape (n, d) or (n, D1, ..., DM), one sample per row; "
            f"got shape {tuple(x.shape)}."
        )


def _kernel_of_gram(gram, relative_width):
    """exp(-d² / 2σ²), σ² relative to the median d² over pairs of distinct samples."""
    if not relative_width > 0:
        raise ValueError(f"relative_width must be above 0; got {relative_width!r}.")
    distance = _distance_of_gram(gram)
    n = len(gram)
    floor = _MIN_RELATIVE_WIDTH * gram.detach().diagonal().mean()
    squared_width = floor.clamp_min(_MIN_SQUARED_WIDTH)
    if n > 1:
        i, j = torch.triu_indices(n, n, 1, device=gram.device)
        median = distance.detach()[i, j].median()
        squared_width = squared_width.maximum(relative_width * median)
    return torch.exp(-distance / (2 * squared_width))


def _distance_of_gram(gram):
    """Squared distances |a|² + |b|² - 2ab; the diagonal is exactly zero."""
    norm = gram.diagonal()
    return (norm[:, None] + norm - 2 * gram).clamp_min(0)


def _tensor_gram(y):
    """Inner products of the samples' projectors, summed over modes."""
    _check_batch(y, "y")
    return sum(_ProjectorGram.apply(rows) for rows in _row_sets(y))


def _row_sets(y):
    """Return the matricisations whose row space tells samples apart, (n, D, E) each."""
    matrices = [
        y.movedim(m, 1).flatten(2) for m in range(1, y.dim() if y.dim() > 2 else 1)
    ]
    return [rows for rows in matrices if rows.shape[1] < rows.shape[2]] or [
        y.flatten(1).unsqueeze(1)
    ]


class _ProjectorGram(torch.autograd.Function):
    """Inner products ⟨P_i, P_j⟩ of the projectors on the row spaces of (n, D, E) rows.

    With P = Yᵀ(YYᵀ + εI)⁻¹Y and a symmetric cotangent S of P,

        ⟨S, dP⟩ = 2⟨L⁻ᵀ(K - HV), dY⟩ - tr(L⁻ᵀHL⁻¹) dε,   K = VS,  H = KVᵀ,

    and ε = ridge ‖Y‖² / D. Writing it out costs three small products; letting autograd
    go through the contractions would keep and revisit every (nD, nD) intermediate.
    """

    @staticmethod
    def forward(ctx, rows):
        basis, inverse_factor = _whiten(rows)
        # ⟨P_i, P_j⟩ = ‖V_i V_jᵀ‖² takes n²D²E multiplications, or n²E² from the
        # projectors themselves.
        ctx.by_blocks = rows.shape[1] ** 2 <= rows.shape[2]
        products = _gram_by_blocks if ctx.by_blocks else _gram_by_projectors
        gram, parts = products(basis)
        ctx.save_for_backward(rows, basis, inverse_factor, *parts)
        return gram

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rows, basis, inverse_factor, *parts = ctx.saved_tensors
        weights = grad + grad.T  # the cotangent of P_i is Σ_j weights_ij P_j
        pull = _pull_by_blocks if ctx.by_blocks else _pull_by_projectors
        pulled = pull(basis, weights, parts)  # K, (n, D, E)
        inner = pulled @ basis.mT  # H, (n, D, D)
        tangent = torch.baddbmm(pulled, inner, basis, alpha=-1)
        through_ridge = (inner * (inverse_factor @ inverse_factor.mT)).sum((1, 2))
        through_ridge *= _RIDGE / rows.shape[1]
        return 2 * (inverse_factor.mT @ tangent - through_ridge[:, None, None] * rows)


def _whiten(rows):
    """V = L⁻¹Y with YYᵀ + εI = LLᵀ, and L⁻¹: bases (n, D, E), factors (n, D, D).

    In float64: squaring the condition number leaves float32 no digits, and rounding
    errors of V along a direction without variance come back 1e5 times larger in the
    gradient. At (120, 32, 20, 20) this is a tenth of the whole time.
    """
    # Where there is no float64, this one step visits the CPU.
    device = "cpu" if rows.device.type in _WITHOUT_FLOAT64 else rows.device
    exact = rows.to(device).double()
    gram = exact @ exact.mT
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += _RIDGE * diagonal.mean(1, keepdim=True) + _RIDGE_FLOOR
    # cholesky_ex: NaN rows must give NaN, not an error; nothing else can fail here.
    factor = torch.linalg.cholesky_ex(gram).L
    identity = torch.eye(len(factor[0]), dtype=factor.dtype, device=device)
    inverse = torch.linalg.solve_triangular(
        factor, identity.expand_as(factor), upper=False
    )
    return (inverse @ exact).to(rows), inverse.to(rows)


def _sample_chunks(n, n_rows):
    step = max(1, _BLOCK_ROWS // n_rows)
    return [(start, min(start + step, n)) for start in range(0, n, step)]


def _gram_by_blocks(basis):
    """‖V_i V_jᵀ‖² for all pairs, and the products V_i V_jᵀ of the upper triangle."""
    n, n_rows, _ = basis.shape
    gram = basis.new_empty(n, n)
    blocks = []
    for a, b in _sample_chunks(n, n_rows):
        block = basis[a:b].flatten(0, 1) @ basis[a:].flatten(0, 1).T
        squares = block.square().view(b - a, n_rows, n - a, n_rows).sum((1, 3))
        gram[a:b, a:] = squares
        gram[a:, a:b] = squares.T
        blocks.append(block)
    return gram, blocks


def _pull_by_blocks(basis, weights, blocks):
    """V_i Σ_j weights_ij P_j = Σ_j weights_ij (V_i V_jᵀ) V_j."""
    n, n_rows, n_columns = basis.shape
    pulled = basis.new_zeros(basis.shape)
    for (a, b), block in zip(_sample_chunks(n, n_rows), blocks, strict=True):
        weighted = (
            block.view(b - a, n_rows, n - a, n_rows) * weights[a:b, None, a:, None]
        )
        weighted = weighted.view(block.shape)
        pulled[a:b].view(-1, n_columns).addmm_(weighted, basis[a:].flatten(0, 1))
        below = weighted[:, (b - a) * n_rows :].T  # the mirror image of what lies right
        pulled[b:].view(-1, n_columns).addmm_(below, basis[a:b].flatten(0, 1))
    return pulled


def _column_chunk_pairs(basis):
    """Pairs of column ranges (c, d) with c <= d: half of a symmetric projector."""
    n_chunks = -(-basis.shape[2] // _PROJECTOR_COLUMNS)
    chunks = basis.tensor_split(n_chunks, dim=2)
    for c, left in enumerate(chunks):
        for d in range(c, n_chunks):
            yield c, d, left, chunks[d]


def _gram_by_projectors(basis):
    """⟨P_i, P_j⟩ of the projectors VᵀV, and these: half of each, (n, E²/2) in parts."""
    gram = basis.new_zeros(len(basis), len(basis))
    parts = []
    for c, d, left, right in _column_chunk_pairs(basis):
        part = left.mT @ right
        flat = part.flatten(1)
        gram.addmm_(flat, flat.T, alpha=1 if c == d else 2)
        parts.append(part)
    return gram, parts


def _pull_by_projectors(basis, weights, parts):
    """V_i Σ_j weights_ij P_j, one pair of column ranges at a time."""
    pulled = torch.zeros_like(basis)
    ranges = pulled.tensor_split(-(-basis.shape[2] // _PROJECTOR_COLUMNS), dim=2)
    for (c, d, left, right), part in zip(
        _column_chunk_pairs(basis), parts, strict=True
    ):
        mixed = (weights @ part.flatten(1)).view_as(part)
        ranges[d].baddbmm_(left, mixed)
        if c < d:
            ranges[c].baddbmm_(right, mixed.mT)
    return pulled
