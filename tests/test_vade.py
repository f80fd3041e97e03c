import warnings

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback

from deepcluster_sk import VaDE
from deepcluster_sk.cluster.vade import _EvidenceBound
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.modules import VariationalAutoencoder

SMALL = {
    "latent_dim": 2,
    "hidden_layer_sizes": (8,),
    "pretrain_epochs": 50,
    "max_epochs": 6,
    "lr": 1e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def X():
    X, _ = make_blobs(60, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    return (X / 3).astype(np.float32)


@pytest.fixture(scope="module")
def unit(X):
    """The same with values from 0 to 1."""
    return ((X - X.min()) / (X.max() - X.min())).astype(np.float32)


def weights(model):
    """The parameters and buffers of a module, in double precision."""
    state = model.module_.state_dict()
    return {name: value.double().numpy() for name, value in state.items()}


def perceptron(w, part, x):
    """One hidden layer of ReLU; the hidden layer and the output."""
    hidden = x @ w[f"autoencoder.{part}.0.weight"].T + w[f"autoencoder.{part}.0.bias"]
    hidden = np.maximum(hidden, 0)
    last = w[f"autoencoder.{part}.2.weight"].T, w[f"autoencoder.{part}.2.bias"]
    return hidden, hidden @ last[0] + last[1]


def log_normal(x, mean, variance):
    """Log-density of independent Gaussians, summed over the last axis."""
    log = np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance
    return -np.broadcast_to(log, np.broadcast_shapes(x.shape, mean.shape)).sum(-1) / 2


def bound_by_hand(w, x, likelihood, codes):
    """The evidence bound of one row.

    ``codes(mean, deviation)`` are those over which the reconstruction is averaged.
    """
    hidden, mean = perceptron(w, "encoder", (x - w["origin"]) / w["scale"])
    log_variance = hidden @ w["spread.weight"].T + w["spread.bias"]
    variance = np.exp(log_variance)
    expected = []
    for z in codes(mean, np.sqrt(variance)):
        decoded = perceptron(w, "decoder", z)[1]
        if likelihood == "gaussian":
            noise = np.exp(w["log_noise"]) * w["scale"] ** 2
            decoded = decoded * w["scale"] + w["origin"]
            expected.append(log_normal(x, decoded, noise))
        else:
            p = 1 / (1 + np.exp(-decoded))
            expected.append((x * np.log(p) + (1 - x) * np.log(1 - p)).sum())
    shares = np.exp(w["log_weights"]) / np.exp(w["log_weights"]).sum()
    divergence = []
    for center, log in zip(w["centers"], w["center_log_variances"], strict=True):
        terms = log - log_variance + (variance + (mean - center) ** 2) / np.exp(log) - 1
        divergence.append(terms.sum() / 2)
    gamma = shares * np.exp(-np.array(divergence))
    gamma /= gamma.sum()
    price = (gamma * (divergence + np.log(gamma / shares))).sum()
    return np.mean(expected) - price, gamma


def on_axes(mean, deviation):
    """Points of a Gaussian at sqrt(h) standard deviations on its axes."""
    for axis in np.eye(len(mean)) * np.sqrt(len(mean)):
        yield mean + axis * deviation
        yield mean - axis * deviation


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_score_samples_is_the_evidence_bound_by_hand(likelihood, X, unit):
    data = X if likelihood == "gaussian" else unit
    model = VaDE(3, **SMALL, likelihood=likelihood).fit(data)
    w = weights(model)
    found = model.score_samples(data[:10])
    for i, x in enumerate(data[:10].astype(float)):
        bound, gamma = bound_by_hand(w, x, likelihood, on_axes)
        assert found[i] == pytest.approx(bound, rel=1e-5, abs=1e-5)
        np.testing.assert_allclose(model.predict_proba(data)[i], gamma, atol=1e-5)
    assert model.score(data) == pytest.approx(model.score_samples(data).mean())
    assert model.score(data) == -model.objective_


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_points_on_the_axes_stand_for_draws(likelihood, X, unit):
    data = X if likelihood == "gaussian" else unit
    model = VaDE(3, **SMALL, likelihood=likelihood).fit(data)
    w, noise = weights(model), np.random.default_rng(0).normal(size=(4000, 2))
    for i, x in enumerate(data[:5].astype(float)):
        drawn, _ = bound_by_hand(
            w, x, likelihood, lambda mean, deviation: mean + noise * deviation
        )
        assert model.score_samples(data[i : i + 1])[0] == pytest.approx(drawn, abs=0.2)


def linear(k=3, d=4, seed=0):
    """A module with a linear decoder, under which rows are a mixture of Gaussians."""
    module = VariationalAutoencoder(
        k, n_features=d, latent_dim=2, hidden_layer_sizes=()
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator).mul_(0.5)
        module.set_origin_and_scale(torch.arange(d) / 2, torch.tensor(1.5))
    return module


def exact_log_likelihood(module, x):
    """Of a linear decoder: each cluster is a Gaussian of the data, too."""
    w = {name: value.numpy() for name, value in module.state_dict().items()}
    A = w["scale"] * w["autoencoder.decoder.0.weight"]
    b = w["scale"] * w["autoencoder.decoder.0.bias"] + w["origin"]
    noise = np.exp(w["log_noise"]) * w["scale"] ** 2 * np.eye(len(b))
    shares = w["log_weights"] - logsumexp(w["log_weights"])
    parts = [
        share + multivariate_normal(A @ c + b, A * np.exp(log) @ A.T + noise).logpdf(x)
        for share, c, log in zip(
            shares, w["centers"], w["center_log_variances"], strict=True
        )
    ]
    return logsumexp(parts, axis=0)


def test_the_bound_is_below_the_likelihood():
    x = np.random.default_rng(0).normal(size=(50, 4))
    for seed in range(5):
        module = linear(seed=seed)
        with torch.no_grad():
            bound = module.evidence_bound(torch.from_numpy(x)).numpy()
        assert (bound <= exact_log_likelihood(module, x)).all()


def test_the_bound_is_the_likelihood_where_the_encoder_is_exact():
    """One cluster, and a decoder whose columns are orthogonal."""
    module = linear(k=1)
    with torch.no_grad():
        decoder, encoder = module.autoencoder.decoder[0], module.autoencoder.encoder[0]
        decoder.weight.copy_(torch.linalg.qr(decoder.weight)[0] * torch.tensor([2, 1]))
        W, noise = decoder.weight, module.log_noise.exp()
        prior = module.center_log_variances[0].exp()
        precision = 1 / prior + W.square().sum(0) / noise  # that of the posterior
        encoder.weight.copy_((W / noise / precision).T)
        offset = module.centers[0] / prior - decoder.bias @ W / noise
        encoder.bias.copy_(offset / precision)
        module.spread.weight.zero_()
        module.spread.bias.copy_(-precision.log())
        x = np.random.default_rng(0).normal(size=(50, 4))
        bound = module.evidence_bound(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(bound, exact_log_likelihood(module, x), atol=1e-10)


def test_one_draw_of_the_loss_is_unbiased_for_a_linear_decoder():
    module, generator = linear(), torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, generator=generator, dtype=torch.float64).expand(20_000, 4)
    labels = torch.zeros(1, dtype=torch.long)
    terms = _EvidenceBound(labels, 3, generator)(module(x), x, None)
    found = -float(sum(terms.values()).detach())
    with torch.no_grad():
        bound = float(module.evidence_bound(x[:1]))
    assert found == pytest.approx(bound, rel=0.01)


def test_history_is_the_bound_and_the_neighbours(X):
    model = VaDE(3, **SMALL, tol=0).fit(X)
    rows = [row for row in model.history_ if row["phase"] == "cluster"]
    names = ["reconstruction", "clustering", "neighbors"]
    for row in rows:
        assert set(row) == {"phase", "epoch", "loss", "label_change", *names}
    last = rows[-1]
    found = last["reconstruction"] + last["clustering"]
    assert found == pytest.approx(model.objective_, abs=1.0)


def test_the_scale_of_the_data_does_not_matter(X):
    settings = {**SMALL, "pretraining": "end-to-end"}
    model, other = VaDE(3, **settings).fit(X), VaDE(3, **settings).fit(8 * X)
    np.testing.assert_array_equal(other.labels_, model.labels_)
    assert other.noise_variance_ == pytest.approx(64 * model.noise_variance_, rel=0.01)
    # Densities are those in the units of X.
    shift = X.shape[1] * np.log(8)
    assert other.objective_ == pytest.approx(model.objective_ + shift, abs=0.1)


def test_noise_is_learned(X):
    """Its variance tends to the squared error of reconstruction."""
    settings = {**SMALL, "max_epochs": 300, "tol": 0}
    model = VaDE(3, **settings, neighbor_weight=0).fit(X)
    w = weights(model)
    error = []
    for x in X.astype(float):
        hidden, mean = perceptron(w, "encoder", (x - w["origin"]) / w["scale"])
        variance = np.exp(hidden @ w["spread.weight"].T + w["spread.bias"])
        decoded = [perceptron(w, "decoder", z)[1] for z in on_axes(mean, variance**0.5)]
        rows = np.array(decoded) * w["scale"] + w["origin"]
        error.append(((rows - x) ** 2).mean())
    assert model.noise_variance_ == pytest.approx(np.mean(error), rel=0.2)


def test_the_mixture_is_an_attribute(X, unit):
    model = VaDE(3, **SMALL).fit(X)
    assert model.weights_.shape == (3,)
    assert model.weights_.sum() == pytest.approx(1)
    assert model.covariances_.shape == model.cluster_centers_.shape == (3, 2)
    assert (model.covariances_ > 0).all()
    np.testing.assert_allclose(
        model.covariances_, np.exp(weights(model)["center_log_variances"]), rtol=1e-6
    )
    assert VaDE(3, **SMALL, likelihood="bernoulli").fit(unit).noise_variance_ is None


def test_samples_are_of_the_clusters_that_they_say():
    X, _ = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = VaDE(3, **{**SMALL, "max_epochs": 50}).fit(X)
    rows, clusters = model.sample(2000)
    assert rows.shape == (2000, 6) and rows.dtype == np.float32
    assert (model.predict(rows) == clusters).mean() > 0.95
    shares = np.bincount(clusters, minlength=3) / 2000
    np.testing.assert_allclose(shares, model.weights_, atol=0.04)
    for j in range(3):
        expected = model.inverse_transform(model.cluster_centers_[j : j + 1])[0]
        np.testing.assert_allclose(rows[clusters == j].mean(0), expected, atol=0.5)
    np.testing.assert_array_equal(model.sample(3)[0], model.sample(3)[0])
    assert model.sample()[0].shape == (1, 6)
    with pytest.raises(NotFittedError):
        VaDE().sample()
    with pytest.raises(ValueError, match="n_samples"):
        model.sample(0)


def test_bernoulli_is_for_probabilities(X, unit, untrained):
    with pytest.raises(ValueError, match="for values from 0 to 1, but those of X go"):
        VaDE(3, **SMALL, likelihood="bernoulli").fit(X)


def test_bernoulli_decodes_probabilities(unit):
    model = VaDE(3, **SMALL, likelihood="bernoulli").fit(unit)
    decoded = model.inverse_transform(100 * model.cluster_centers_)
    assert ((decoded >= 0) & (decoded <= 1)).all()
    assert np.square(model.reconstruct(unit) - unit).mean() < unit.var(0).mean()


def test_dead_cluster_is_started_again(X):
    class Kill(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "cluster":
                with torch.no_grad():
                    net.module_.centers[1] = 1e4

    model = VaDE(3, **SMALL, tol=0, callbacks=[Kill()])
    with pytest.warns(ClusterCollapseWarning, match="lost all its"):
        model.fit(X)
    assert np.abs(model.cluster_centers_).max() < 1e3
    assert len(set(model.labels_)) == 3


def test_the_start_is_the_first_clusters(X):
    class Keep(Callback):
        def on_train_begin(self, net, X=None, **kwargs):
            if net.phase_.name == "cluster":
                self.code = net.apply(net.module_.encode, X).numpy()
                self.module = {
                    n: p.clone() for n, p in net.module_.state_dict().items()
                }
                self.labels = net.criterion_.criteria[0].memory.labels.numpy().copy()

    keep = Keep()
    VaDE(3, **SMALL, callbacks=[keep]).fit(X)
    sizes = np.bincount(keep.labels)
    pooled = np.zeros(2)
    for j in range(3):
        own = keep.code[keep.labels == j]
        np.testing.assert_allclose(keep.module["centers"][j], own.mean(0), atol=1e-5)
        pooled += ((own - own.mean(0)) ** 2).sum(0) / len(X)
    for j in range(3):
        own = keep.code[keep.labels == j]
        variance = (len(own) * own.var(0) + 10 * pooled) / (len(own) + 10)
        found = keep.module["center_log_variances"][j].exp()
        np.testing.assert_allclose(found, variance, rtol=1e-3)
    shares = (sizes + 10) / (sizes + 10).sum()
    np.testing.assert_allclose(keep.module["log_weights"].exp(), shares, rtol=1e-5)
    np.testing.assert_allclose(
        keep.module["spread.bias"].exp(), 0.1 * pooled, rtol=1e-3
    )


@pytest.mark.parametrize("init", ["mixture", "k-means"])
def test_the_start_of_the_paper(init, X):
    settings = {**SMALL, "pretraining": "layerwise", "init": init}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model = VaDE(3, **settings).fit(X)
    assert "pretrain layer 2" in model.n_epochs_
    assert "neighbors" not in model.history_[-1]


def test_convolutional_network(X):
    data = np.tile(X, (1, 6))
    settings = {**SMALL, "pretrain_epochs": 2, "max_epochs": 2}
    settings |= {"architecture": "conv", "hidden_layer_sizes": (4, 5)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model = VaDE(3, **settings, image_shape=(1, 6, 6)).fit(data)
    assert model.module_.spread.in_features == 5 * 2 * 2  # the last hidden layer
    assert model.sample(4)[0].shape == (4, 36)
    assert np.isfinite(model.score_samples(data)).all()


def test_finds_separate_blobs():
    X, y = make_blobs(120, n_features=6, centers=3, random_state=1)
    model = VaDE(3, **{**SMALL, "max_epochs": 20}).fit(X / 3)
    assert adjusted_rand_score(y, model.labels_) == 1
