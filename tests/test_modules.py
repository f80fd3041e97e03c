import itertools

import pytest
import torch
from torch import nn

from deepcluster_sk.modules import (
    ConvAutoencoder,
    FeatureMapAutoencoder,
    MLPAutoencoder,
    RectifiedMLPAutoencoder,
    StackedMLP,
    StackedModule,
    StackedProjection,
    build_autoencoder,
    n_map_values,
)


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 28, 28), (1, 5, 7), (2, 1, 1)])
@pytest.mark.parametrize("channels", [(4,), (4, 8), (4, 8, 16), ()])
def test_conv_autoencoder_returns_the_shape_it_was_given(image_shape, channels):
    d = torch.Size(image_shape).numel()
    network = ConvAutoencoder(d, 3, channels, image_shape)
    output = network(torch.randn(6, d))
    assert output.embedding.shape == (6, 3)
    assert output.reconstruction.shape == (6, d)


def test_mlp_has_linear_code_and_output():
    torch.manual_seed(0)
    network = MLPAutoencoder(5, 2, (7, 3))
    widths = [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]
    assert widths == [7, 3, 2, 3, 7, 5]
    output = network(torch.randn(200, 5))
    assert (output.embedding < 0).any()
    assert (output.reconstruction < 0).any()


def one_of(stack, j):
    """The j-th network of a StackedMLP, built from plain linear layers."""
    layers = []
    for layer in itertools.chain(stack.encoder, stack.decoder):
        if isinstance(layer, nn.ReLU):
            layers.append(layer)
            continue
        plain = nn.Linear(*layer.weight.shape[1:])
        with torch.no_grad():
            plain.weight.copy_(layer.weight[j].T)
            plain.bias.copy_(layer.bias[j, 0])
        layers.append(plain)
    return nn.Sequential(*layers)


def test_stacked_mlp_equals_separate_networks():
    torch.manual_seed(0)
    stack = StackedMLP(3, 5, 2, (7,))
    x = torch.randn(3, 11, 5)
    output = stack(x)
    for j in range(3):
        torch.testing.assert_close(output.reconstruction[j], one_of(stack, j)(x[j]))


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_stacked_module_equals_separate_networks(architecture):
    torch.manual_seed(0)
    copies = []

    def build():
        copies.append(build_autoencoder(12, 2, architecture, (4,), (1, 3, 4)))
        return copies[-1]

    stack = StackedModule(3, build)
    x = torch.randn(3, 6, 12, requires_grad=True)
    output = stack(x)
    for j in range(3):
        expected = copies[j](x[j])
        torch.testing.assert_close(output.embedding[j], expected.embedding)
        torch.testing.assert_close(output.reconstruction[j], expected.reconstruction)
    # Training moves every copy.
    output.reconstruction.square().sum().backward()
    assert all(p.grad.flatten(1).abs().sum(1).gt(0).all() for p in stack.parameters())


def test_projection_is_orthonormal_and_spans_its_weight():
    torch.manual_seed(0)
    stack = StackedProjection(4, 6, 3)
    with torch.no_grad():
        stack.weight.add_(torch.randn_like(stack.weight))
    basis = stack.basis()
    torch.testing.assert_close(basis @ basis.mT, torch.eye(3).expand(4, 3, 3))
    within = stack.weight @ basis.mT @ basis
    torch.testing.assert_close(within, stack.weight, rtol=1e-4, atol=1e-5)


class NoDecoder(nn.Module):
    def __init__(self, n_features, latent_dim):
        super().__init__()

    def encode(self, x):
        return x


class WrongShape(NoDecoder):
    def decode(self, embedding):
        return embedding


def test_a_users_network_is_checked_with_words():
    with pytest.raises(TypeError, match="NoDecoder has no decode"):
        build_autoencoder(4, 2, NoDecoder)
    message = r"WrongShape: encode must return shape \(n, 2\).* returned \(2, 4\)"
    with pytest.raises(ValueError, match=message):
        build_autoencoder(4, 2, WrongShape)


class Plain(nn.Module):
    """A user's autoencoder."""

    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.down = nn.Linear(n_features, latent_dim)
        self.up = nn.Linear(latent_dim, n_features)

    def encode(self, x):
        return self.down(x)

    def decode(self, z):
        return self.up(z)


@pytest.mark.parametrize("architecture", ["mlp", "conv", Plain])
def test_coordinates_of_the_code_can_be_changed_again_and_again(architecture):
    torch.manual_seed(0)
    module = build_autoencoder(
        12, 3, architecture, hidden_layer_sizes=(4,), image_shape=(1, 4, 3)
    )
    x = torch.randn(5, 12)
    expected, reconstruction = module.encode(x), module.decode(module.encode(x))
    for _ in range(3):
        shift = torch.randn(3, dtype=torch.double)
        forth = torch.randn(3, 3, dtype=torch.double) + 3 * torch.eye(3)
        module.rebase(shift, forth, torch.linalg.inv(forth))
        expected = ((expected.double() - shift) @ forth).float()
    code = module.encode(x)
    torch.testing.assert_close(code, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        module.decode(code), reconstruction, rtol=1e-4, atol=1e-4
    )


class Staged(nn.Module):
    """A user's network that declares what it is made of."""

    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(n_features, 5), nn.Tanh())
        self.second = nn.Linear(5, latent_dim)
        self.third = nn.Sequential(nn.Linear(latent_dim, 5), nn.Tanh())
        self.last = nn.Linear(5, n_features)
        self.stages = ((self.first, self.last), (self.second, self.third))

    def encode(self, x):
        return self.second(self.first(x))

    def decode(self, embedding):
        return self.last(self.third(embedding))


class Whole(Staged):
    """The same network, which declares nothing."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        del self.stages


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["mlp", "conv", Staged, Whole])
def test_passes_through_the_stages_are_those_of_encode_and_decode(
    architecture, precision
):
    torch.manual_seed(0)
    sizes = {"hidden_layer_sizes": (4, 5), "image_shape": (1, 5, 7)}
    network = build_autoencoder(35, 3, architecture, **sizes, precision=precision)
    change = torch.randn(3, 3, dtype=torch.double)
    network.rebase(change[0], change, change.inverse())
    x = torch.randn(6, 35)
    seen = []

    def note(values):
        seen.append(values)
        return values

    code, blocks = network.encode_with_blocks(x)
    torch.testing.assert_close(network.encode_corrupted(x, note), code)
    torch.testing.assert_close(network.encode(x), code)
    # What each stage sees without noise, and what the decoder makes of that.
    decoded = network.decode_with_blocks(code)
    assert len(seen) == len(decoded) == max(len(network.stages), 1)
    torch.testing.assert_close(decoded[0], network.decode(code))
    for clean, value, made in zip([x, *blocks[:-1]], seen, decoded, strict=True):
        torch.testing.assert_close(clean, value.float())
        assert made.shape == clean.shape
    zeroed = network.encode_corrupted(x, torch.zeros_like)
    torch.testing.assert_close(zeroed, zeroed[:1].expand_as(zeroed))


@pytest.mark.parametrize("shape", [(1, 9, 12), (2, 8, 7)])
def test_feature_maps_are_a_code_and_the_way_back(shape):
    channels, kernels, n_features = (3, 5), (5, 3), torch.Size(shape).numel()
    width = n_map_values(channels, shape)
    assert width == 5 * -(-shape[1] // 4) * -(-shape[2] // 4)
    network = FeatureMapAutoencoder(n_features, width, channels, kernels, shape)
    x = torch.randn(6, n_features)
    code = network.encode(x)
    assert code.shape == (6, width)
    assert (code >= 0).all()
    first, second = (layer for layer in network.down if hasattr(layer, "weight"))
    relu, conv = torch.nn.functional.relu, torch.nn.functional.conv2d
    maps = relu(conv(x.view(6, *shape), first.weight, first.bias, 2, 2))
    maps = relu(conv(maps, second.weight, second.bias, 2, 1))
    torch.testing.assert_close(code, maps.flatten(1))
    assert network.decode(code).shape == x.shape
    network.up[-1].bias.data.fill_(-100.0)
    assert (network.decode(code) < 0).all()  # the last layer is linear
    with pytest.raises(ValueError, match=f"latent_dim=7 must be .* {width}"):
        FeatureMapAutoencoder(n_features, 7, channels, kernels, shape)
    with pytest.raises(ValueError, match="must be odd"):
        FeatureMapAutoencoder(n_features, width, channels, [4] * len(kernels), shape)


def test_a_rectified_code_is_that_of_a_perceptron_without_its_negative_part():
    network = RectifiedMLPAutoencoder(4, 3, (8,))
    x = torch.randn(5, 4)
    assert torch.equal(network.encode(x), network.encoder(x).relu())
    torch.testing.assert_close(
        network(x).reconstruction, network.decoder(network.encode(x))
    )
