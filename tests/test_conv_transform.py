import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import ConvTransformClustering
from deepcluster_sk.cluster.conv_transform import _CodeLoss
from deepcluster_sk.modules._conv_transform import ConvTransform


def module(**changes):
    settings = {
        "n_features": 16,
        "latent_dim": 3,
        "n_clusters": 2,
        "filters": (9,),
        "kernel_size": 3,
        "pooling": True,
        "activation": "selu",
        "image_shape": (1, 4, 4),
        "sparsity_weight": 0.3,
        "kmeans_weight": 0.5,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvTransform(**{**settings, **changes})


def test_penalty_is_that_of_the_singular_values():
    net = module(filters=(4, 6))
    expected = 0.0
    for layer in net.convolutions:
        T = layer.weight.detach().flatten(1).double()
        singular = torch.linalg.svdvals(T)
        expected += (T.square().sum() - singular.log().sum()).item()
    assert net.penalty().item() == pytest.approx(expected, rel=1e-5)


def test_the_value_of_the_best_code_is_no_higher_than_of_any_other():
    net = module()
    generator = torch.Generator().manual_seed(0)
    net.centers.normal_(generator=generator)
    e = torch.randn(5, 3, generator=generator)
    best = net.code_values(e)

    grid = torch.cartesian_prod(*[torch.linspace(-3, 3, 61)] * 3)
    for j in range(2):
        for i in range(5):
            found = (grid - e[i]).square().sum(1) + 0.3 * grid.abs().sum(1)
            found = found + 0.5 * (grid - net.centers[j]).square().sum(1)
            # The grid has a spacing of 0.1: 1.5 * 3 * 0.05² above, at the most.
            assert best[i, j] <= found.min() + 1e-5
            assert best[i, j] >= found.min() - 0.03


def test_codes_belong_to_samples_not_to_positions_in_the_batch():
    net = module()
    loss = _CodeLoss(net, torch.arange(12.0).reshape(4, 3), 0.1)
    output = loss.codes.detach()[[3, 1]]
    assert loss(output, None, torch.tensor([3, 1]))["transform"] == 0
    assert loss(output, None, torch.tensor([0, 1]))["transform"] > 0
    assert [name for name, _ in loss.named_parameters()] == ["codes"]


def images(n=20):
    """Bright bars at four places, with noise."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), n)
    X = 0.2 * rng.normal(size=(4 * n, 8, 8))
    X[np.arange(4 * n), 2 * y] += 1
    return X.reshape(len(X), -1), y


def test_images_and_series_are_clustered():
    X, y = images()
    for shape in ((1, 8, 8), (1, 1, 64), None):
        model = ConvTransformClustering(4, image_shape=shape, random_state=0).fit(X)
        assert adjusted_rand_score(y, model.labels_) > 0.95
        assert model.transform(X).shape == (80, 10)
        assert [r["phase"] for r in model.history_][29:31] == ["pretrain", "clustering"]


def table(n_features, seed=0):
    """Three round clusters that touch, in columns without an order."""
    rng = np.random.default_rng(seed)
    X = np.vstack(
        [
            rng.normal(size=n_features) * 1.5 + rng.normal(size=(60, n_features))
            for _ in range(3)
        ]
    )
    return X.astype(np.float32), np.repeat(np.arange(3), 60)


def test_filters_of_a_table_start_as_each_feature_and_its_negative():
    net = module(filters=(11, 4), image_shape=(5, 1, 1), n_features=5, kernel_size=3)
    before = net.convolutions[0].weight.detach().clone()
    net.pair_filters()
    weight = net.convolutions[0].weight.detach()
    assert weight.shape == (11, 5, 1, 1)
    assert torch.equal(weight[:10, :, 0, 0], torch.cat([torch.eye(5), -torch.eye(5)]))
    assert torch.equal(weight[10:], before[10:])


def test_the_order_of_the_columns_of_a_table_does_not_matter():
    X, y = table(8)
    order = np.random.default_rng(1).permutation(8)
    model = ConvTransformClustering(3, random_state=0)
    labels, moved = (model.fit(x).labels_ for x in (X, X[:, order]))
    assert adjusted_rand_score(labels, moved) > 0.9
    kmeans = KMeans(3, n_init=10, random_state=0).fit(X).labels_
    assert adjusted_rand_score(y, labels) > adjusted_rand_score(y, kmeans) - 0.05


@pytest.mark.parametrize(
    ("n_features", "sizes", "n_channels"),
    [
        (8, None, 8),
        (8, (10,), 5),
        (8, (1,), 1),
        (8, (40, 6), 8),
        (90, None, 32),
        (90, (200,), 32),
    ],
)
def test_a_wide_table_is_seen_by_its_principal_directions(
    n_features, sizes, n_channels
):
    X, _ = table(n_features)
    model = ConvTransformClustering(
        3, hidden_layer_sizes=sizes, pretrain_epochs=2, max_epochs=2, random_state=0
    ).fit(X)
    assert model.hidden_layer_sizes_ == (sizes or (2 * n_channels,))
    assert model.module_.image_shape == (n_channels, 1, 1)
    directions = model.module_.directions
    if n_channels == n_features:
        assert directions is None
    else:
        expected = PCA(n_channels).fit(X).components_
        assert subspace_angles(directions.numpy().T, expected.T).max() < 1e-2


def test_training_lowers_the_loss():
    X, _ = images()
    model = ConvTransformClustering(4, image_shape=(1, 8, 8), tol=0, random_state=0)
    losses = [r["loss"] for r in model.fit(X).history_]
    assert losses[29] < losses[0]
    assert losses[-1] < losses[30]


def test_a_shape_that_cannot_be_is_refused(untrained):
    with pytest.raises(ValueError, match="rows of 9 values, but X has 4"):
        ConvTransformClustering(2, image_shape=(1, 3, 3)).fit(np.ones((5, 4)))


AS_ON_THE_SLIDES = {"latent_dim": None, "pooling": False, "activation": "identity"}


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 1, 16)])
@pytest.mark.parametrize("filters", [(6,), (6, 4)])
def test_feature_maps_of_full_width_are_a_chain_of_products(shape, filters):
    """T_2 * (T_1 * x), each convolution by the products of its filters and patches."""
    n_features = int(np.prod(shape))
    net = module(
        **AS_ON_THE_SLIDES, n_features=n_features, filters=filters, image_shape=shape
    )
    x = torch.randn(3, n_features, generator=torch.Generator().manual_seed(0))
    maps = x.unflatten(1, shape).double().numpy()
    for layer in net.convolutions:
        T = layer.weight.detach().double().numpy()
        up, left = T.shape[2] // 2, T.shape[3] // 2
        padded = np.pad(maps, ((0, 0), (0, 0), (up, up), (left, left)))
        maps = np.zeros((3, len(T), *shape[1:]))
        for i, j in np.ndindex(*shape[1:]):
            patch = padded[:, :, i : i + T.shape[2], j : j + T.shape[3]]
            maps[:, :, i, j] = np.einsum("ncij,mcij->nm", patch, T)
    assert net.encode(x).detach().numpy() == pytest.approx(
        maps.reshape(3, -1), abs=1e-5
    )
    assert net.centers.shape == (2, filters[-1] * np.prod(shape[1:]))


def test_gradients_of_the_slides_objective():
    """Sum over samples of ||T x - z||² + s ||z||_1 + w ||z - c||², and the penalty."""
    net = module(**AS_ON_THE_SLIDES, filters=(9, 12)).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 16, generator=generator, dtype=torch.double)
    codes = net.encode(x).detach()
    loss = _CodeLoss(net, codes + torch.rand_like(codes), 0.3)
    net.centers.copy_(torch.rand_like(net.centers))
    loss.clusters = True
    index = torch.tensor([4, 1, 0, 3, 2])

    def value(*parameters):
        return sum(loss(net(x[index]), x[index], index).values())

    parameters = [*net.parameters(), loss.codes]
    assert torch.autograd.gradcheck(value, parameters, rtol=1e-3)
    fit = (net(x) - loss.codes).square().sum()
    size = 0.3 * loss.codes.abs().sum()
    apart = 0.5 * (loss.codes - net.centers[loss.labels]).square().sum()
    expected = (fit + size + apart) / 5 + 0.3 * net.penalty()
    assert value().item() == pytest.approx(expected.item())


def test_without_a_weight_of_kmeans_the_nearest_centre_decides():
    """As with a weight that is nearly zero."""
    nets = [module(kmeans_weight=w) for w in (0.0, 1e-3)]
    centers = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    for net in nets:
        net.centers.copy_(centers)
    e = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    slope = (nets[1].code_values(e) - nets[0].code_values(e)) / 1e-3
    torch.testing.assert_close(slope, nets[0].distances(e), rtol=0.01, atol=0.01)

    X, y = images()
    model = ConvTransformClustering(
        4, image_shape=(1, 8, 8), kmeans_weight=0, random_state=0
    ).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.95


@pytest.mark.parametrize("filters", [(12,), (12, 12)])
def test_images_are_clustered_by_maps_of_full_width(filters):
    X, y = images()
    model = ConvTransformClustering(
        4,
        hidden_layer_sizes=filters,
        image_shape=(1, 8, 8),
        random_state=0,
        **AS_ON_THE_SLIDES,
    ).fit(X)
    assert model.transform(X).shape == (80, 12 * 64)
    assert model.latent_dim_ == 12 * 64
    assert adjusted_rand_score(y, model.labels_) > 0.95
