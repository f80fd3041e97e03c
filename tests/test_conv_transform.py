import numpy as np
import pytest
import torch
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
    for shape in ((1, 8, 8), None):
        model = ConvTransformClustering(4, image_shape=shape, random_state=0).fit(X)
        assert adjusted_rand_score(y, model.labels_) > 0.95
        assert model.transform(X).shape == (80, 10)
        assert [r["phase"] for r in model.history_][29:31] == ["pretrain", "clustering"]


def test_training_lowers_the_loss():
    X, _ = images()
    model = ConvTransformClustering(4, image_shape=(1, 8, 8), tol=0, random_state=0)
    losses = [r["loss"] for r in model.fit(X).history_]
    assert losses[29] < losses[0]
    assert losses[-1] < losses[30]


def test_a_shape_that_cannot_be_is_refused(untrained):
    with pytest.raises(ValueError, match="rows of 9 values, but X has 4"):
        ConvTransformClustering(2, image_shape=(1, 3, 3)).fit(np.ones((5, 4)))
