import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import ConvTransformClustering
from deepcluster_sk.cluster.conv_transform import _CodeLoss, _ConvTransform


def module(**changes):
    settings = {
        "n_features": 16,
        "latent_dim": 3,
        "n_clusters": 2,
        "filters": (9,),
        "kernel_size": 3,
        "image_shape": (1, 4, 4),
        "sparsity_weight": 0.3,
        "kmeans_weight": 0.5,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _ConvTransform(**{**settings, **changes})


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
