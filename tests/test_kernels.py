import itertools

import numpy as np
import pytest
import torch

from deepcluster_sk import kernels
from deepcluster_sk.kernels import gaussian_kernel, tensor_distance, tensor_kernel


def _normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def _low_rank(*shape, seed=0):
    """Channels that are combinations of two, so that mode 1 has rank 2."""
    n, channels, *rest = shape
    mixing = _normal(n, channels, 2, seed=seed)
    return torch.einsum("ncr,nr...->nc...", mixing, _normal(n, 2, *rest, seed=seed + 1))


def _relu_sparse(*shape, seed=0):
    """Few active entries, a dead channel throughout and one all-zero sample."""
    y = torch.relu(_normal(*shape, seed=seed) - 0.5)
    y[:, 1] = 0
    y[2] = 0
    return y


def _duplicated(*shape, seed=0):
    """Equal channels within a sample, and equal samples."""
    y = _normal(*shape, seed=seed)
    y[:, 1] = y[:, 0]
    y[1] = y[0]
    return y


TENSORS = {
    "random": _normal(5, 3, 4, 5),
    "low rank": _low_rank(5, 4, 4, 5),
    "ReLU-sparse": _relu_sparse(5, 3, 6, 6),
    "duplicated": _duplicated(5, 3, 4, 4),
    "zero": torch.zeros(3, 2, 3, 3, dtype=torch.float64),
    "one sample": _normal(1, 2, 3, 3),
    "matrices": _normal(5, 3, 7),
    "square matrices": _normal(5, 4, 4),
    "rank 4": _normal(4, 2, 3, 2, 4),
    "vectors": _normal(6, 4),
    "scalars": _normal(4, 1),
    "wide projectors": _normal(4, 16, 15, 15),
}


# --- Independent definitions ---------------------------------------------------------


def svd_projector(rows):
    _, values, basis = np.linalg.svd(rows, full_matrices=False)
    kept = basis[values > 1e-5 * max(values.max(), 1e-300)]
    return kept.T @ kept


def svd_distance(y):
    y = y.double().numpy()
    sets = [
        np.moveaxis(y, m, 1).reshape(len(y), y.shape[m], -1) for m in range(1, y.ndim)
    ]
    sets = [s for s in sets if s.shape[1] < s.shape[2]] or [y.reshape(len(y), 1, -1)]
    distance = np.zeros((len(y), len(y)))
    for rows in sets:
        projectors = [svd_projector(x) for x in rows]
        for i, j in itertools.product(range(len(y)), repeat=2):
            distance[i, j] += np.sum((projectors[i] - projectors[j]) ** 2)
    return distance


def loop_gaussian(x, relative_width):
    x = x.double().numpy().reshape(len(x), -1)
    distance = np.array([[np.sum((a - b) ** 2) for a in x] for b in x])
    return kernel_of(distance, relative_width)


def kernel_of(distance, relative_width):
    pairs = sorted(distance[np.triu_indices(len(distance), 1)])
    sigma2 = relative_width * pairs[(len(pairs) - 1) // 2]  # the lower median
    return np.exp(-distance / (2 * sigma2))


# --- Gaussian kernel -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 3), (5, 2, 3, 3)])
@pytest.mark.parametrize("relative_width", [0.15, 1.0])
def test_gaussian_kernel_matches_numpy_loop(shape, relative_width):
    x = _normal(*shape)
    np.testing.assert_allclose(
        gaussian_kernel(x, relative_width).numpy(),
        loop_gaussian(x, relative_width),
        rtol=1e-6,
        atol=1e-12,
    )


def test_gaussian_kernel_of_offset_float32_keeps_its_digits():
    x = _normal(8, 5)
    shifted = (x + 1000).float()
    np.testing.assert_allclose(
        gaussian_kernel(shifted).numpy(), loop_gaussian(shifted, 0.15), atol=1e-4
    )


def test_gaussian_kernel_ignores_scale_offset_and_rotation():
    x = _normal(6, 3)
    rotation = torch.linalg.qr(_normal(3, 3, seed=1)).Q
    torch.testing.assert_close(
        gaussian_kernel(100 * x @ rotation + 5), gaussian_kernel(x)
    )


@pytest.mark.parametrize("kernel", [gaussian_kernel, tensor_kernel])
def test_kernel_gradient_matches_finite_differences(kernel):
    # Autograd holds the width constant, differences do not: so only the first sample
    # moves, far enough out for the median to stay with a pair of the others.
    others = _normal(8, 2, 3, 3, seed=1)
    first = (4 * _normal(1, 2, 3, 3, seed=2)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: kernel(torch.cat([x, others]), 1.0), (first,)
    )


def test_no_gradient_flows_through_the_width():
    # Scaling the batch scales the width with it, so the kernel does not change; with a
    # constant width it does, and that is the gradient wanted here.
    x = _normal(5, 3).requires_grad_()
    kernel = gaussian_kernel(x, 0.5)
    kernel.sum().backward()
    distance = torch.cdist(x.detach(), x.detach()) ** 2
    two_sigma2 = -distance[0, 1] / kernel[0, 1].detach().log()
    weights = -kernel.detach() / two_sigma2
    expected = 4 * (weights.sum(1)[:, None] * x.detach() - weights @ x.detach())
    torch.testing.assert_close(x.grad, expected)


# --- Tensor distance and kernel ------------------------------------------------------


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_tensor_distance_matches_svd_definition(name, dtype):
    y = TENSORS[name].to(dtype)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5
    distance = tensor_distance(y)
    assert distance.dtype == dtype
    expected = svd_distance(y)
    np.testing.assert_allclose(
        distance.numpy(), expected, rtol=tolerance, atol=tolerance * expected.max()
    )


@pytest.mark.parametrize("chunk", [1, 3, 10_000])
def test_chunks_and_routes_agree(monkeypatch, chunk):
    # The same numbers whether by blocks or by projectors, in one piece or in many.
    basis = kernels._whiten(_normal(7, 3, 8))[0]
    weights = _normal(7, 7, seed=1)
    weights = weights + weights.T
    projectors = basis.mT @ basis
    expected_gram = torch.einsum("ief,jef->ij", projectors, projectors)
    expected_pull = basis @ torch.einsum("ij,jef->ief", weights, projectors)
    monkeypatch.setattr(kernels, "_BLOCK_ROWS", 3 * chunk)
    monkeypatch.setattr(kernels, "_PROJECTOR_COLUMNS", chunk)
    for by in ("blocks", "projectors"):
        gram, parts = getattr(kernels, f"_gram_by_{by}")(basis)
        pulled = getattr(kernels, f"_pull_by_{by}")(basis, weights, parts)
        torch.testing.assert_close(gram, expected_gram)
        torch.testing.assert_close(pulled, expected_pull)


@pytest.mark.parametrize("name", ["random", "matrices", "rank 4", "vectors"])
def test_tensor_distance_gradient_matches_finite_differences(name):
    y = TENSORS[name].clone().requires_grad_()
    assert torch.autograd.gradcheck(tensor_distance, (y,))


def test_projector_route_gradient_matches_finite_differences():
    y = _normal(3, 3, 5).requires_grad_()  # 3² > 5
    assert torch.autograd.gradcheck(tensor_distance, (y,))


def test_gradient_at_low_rank_follows_the_tangent():
    # Along rank-preserving directions the distance is differentiable in the SVD
    # definition too: the gradient must give that derivative.
    mixing, parts = _normal(4, 3, 2), _normal(4, 2, 9, seed=1)
    step = _normal(4, 2, 9, seed=2)
    y = (mixing @ parts).requires_grad_()
    cotangent = _normal(4, 4, seed=3)
    (tensor_distance(y) * cotangent).sum().backward()
    slope = (y.grad * (mixing @ step)).sum()
    h = 1e-5
    ahead, behind = (svd_distance(mixing @ (parts + s * step)) for s in (h, -h))
    expected = ((ahead - behind) / (2 * h) * cotangent.numpy()).sum()
    np.testing.assert_allclose(float(slope), expected, rtol=1e-4)


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
@pytest.mark.parametrize("kernel", [gaussian_kernel, tensor_kernel])
def test_values_and_gradients_are_finite(name, scale, kernel):
    y = (scale * TENSORS[name]).float().requires_grad_()
    value = kernel(y)
    (value * _normal(*value.shape, dtype=torch.float32)).sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("kernel", [gaussian_kernel, tensor_kernel])
def test_kernels_are_kernels(kernel):
    matrix = kernel(TENSORS["random"])
    torch.testing.assert_close(matrix, matrix.T)
    assert (matrix.diagonal() == 1).all()
    assert ((matrix >= 0) & (matrix <= 1)).all()
    assert torch.linalg.eigvalsh(matrix).min() > -1e-12


def test_tensor_kernel_is_the_kernel_of_the_distance():
    y = TENSORS["random"]
    np.testing.assert_allclose(
        tensor_kernel(y, 0.4).numpy(), kernel_of(svd_distance(y), 0.4), rtol=1e-6
    )


def test_tensor_distance_depends_on_the_row_spaces_only():
    y = _normal(5, 3, 8)  # mode 1 alone counts
    mixing = torch.eye(3, dtype=torch.float64) + _normal(5, 3, 3, seed=1) / 4
    torch.testing.assert_close(tensor_distance(mixing @ y), tensor_distance(y))


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_tensor_distance_ignores_scale(scale):
    y = TENSORS["ReLU-sparse"]
    torch.testing.assert_close(tensor_distance(scale * y), tensor_distance(y))
    # ... hence moving along the sample itself changes nothing, ridge included.
    y = TENSORS["low rank"].clone().requires_grad_()
    (tensor_distance(y) * _normal(5, 5)).sum().backward()
    along = (y.grad * y.detach()).flatten(1).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along))


def test_orthogonal_transforms_of_a_mode_change_no_distance():
    y = TENSORS["random"]
    rotation = torch.linalg.qr(_normal(4, 4, seed=1)).Q
    rotated = torch.einsum("nchw,gh->ncgw", y, rotation)
    torch.testing.assert_close(tensor_distance(rotated), tensor_distance(y))


def test_permuting_samples_permutes_the_distance():
    y, order = TENSORS["random"], torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        tensor_distance(y[order]), tensor_distance(y)[order][:, order]
    )


def test_full_rank_distance_is_the_formula_of_the_paper():
    y = _normal(2, 3, 9)
    basis = torch.linalg.qr(y.mT).Q  # columns
    expected = 2 * (3 - (basis[0].T @ basis[1]).square().sum())
    torch.testing.assert_close(tensor_distance(y)[0, 1], expected, rtol=1e-6, atol=0)


def test_vectors_are_compared_by_angle():
    y = TENSORS["vectors"]
    cosine = torch.nn.functional.normalize(y) @ torch.nn.functional.normalize(y).T
    torch.testing.assert_close(
        tensor_distance(y), 2 * (1 - cosine**2), rtol=1e-6, atol=1e-6
    )


def test_equal_samples_are_at_distance_zero():
    distance = tensor_distance(TENSORS["duplicated"])
    assert distance[0, 1] < 1e-12
    assert distance[0, 2] > 0.1


def test_dead_channels_and_samples_get_no_gradient():
    y = TENSORS["ReLU-sparse"].float().requires_grad_()
    tensor_distance(y.flatten(2)).square().sum().backward()  # mode 1 alone
    assert (y.grad[:, 1] == 0).all()
    assert (y.grad[2] == 0).all()
    assert (y.grad[0, 0] != 0).any()


def test_nan_gives_nan():
    y = TENSORS["random"].clone()
    y[1, 0, 0, 0] = torch.nan
    assert tensor_distance(y)[1].isnan().any()


# --- Degenerate batches --------------------------------------------------------------


@pytest.mark.parametrize("kernel", [gaussian_kernel, tensor_kernel])
@pytest.mark.parametrize("n", [1, 4])
def test_constant_batch_has_a_kernel_of_ones(kernel, n):
    x = _normal(1, 2, 3, 3).float().expand(n, 2, 3, 3).clone().requires_grad_()
    value = kernel(x)
    value.sum().backward()
    torch.testing.assert_close(value, torch.ones(n, n))
    assert x.grad.abs().max() < 1e-2


def test_batch_most_of_which_coincides():
    # The median is zero here; the width falls back on the mean.
    x = torch.zeros(6, 2)
    x[5] = torch.tensor([3.0, 4.0])
    x.requires_grad_()
    kernel = gaussian_kernel(x)
    kernel.sum().backward()
    assert (kernel[:5, :5] == 1).all()
    assert (kernel[5, :5] == 0).all()
    assert x.grad.abs().max() < 1e-3


@pytest.mark.parametrize("function", [gaussian_kernel, tensor_kernel, tensor_distance])
def test_refuses_a_batch_without_features(function):
    with pytest.raises(ValueError, match=r"must be of shape .* got shape \(3,\)"):
        function(torch.zeros(3))


@pytest.mark.parametrize("kernel", [gaussian_kernel, tensor_kernel])
@pytest.mark.parametrize("relative_width", [0, -1.0, float("nan")])
def test_refuses_a_width_that_is_not_positive(kernel, relative_width):
    with pytest.raises(ValueError, match="relative_width must be above 0"):
        kernel(torch.eye(3), relative_width)
