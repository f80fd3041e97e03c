import pickle
from functools import partial

import numpy as np
import pytest
import torch
from planted import hard_data, planted_subspaces, rises
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from skorch.callbacks import Callback

from deepcluster_sk import DeepSubspaceClustering, SparseSubspaceClustering
from deepcluster_sk.cluster import deep_subspace
from deepcluster_sk.criteria import (
    SolvedSelfExpression,
    TrainedSelfExpression,
    _self_expression,
)
from deepcluster_sk.datasets import load_coil20
from deepcluster_sk.metrics import clustering_accuracy
from deepcluster_sk.modules import SubspaceAutoencoder
from deepcluster_sk.solvers._subspaces import (
    affinity,
    fit_subspaces,
    self_expression_of,
    subspace_residuals,
)

PENALTIES = ["l1", "elasticnet", "l2", "nuclear"]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("seed", range(2))
def test_planted_subspaces_are_found(penalty, seed):
    # The nuclear norm takes a singular value decomposition an iteration.
    X, y = planted_subspaces(seed, n=40 if penalty == "nuclear" else 100)
    model = SparseSubspaceClustering(5, penalty=penalty, random_state=0)
    assert adjusted_rand_score(y, model.fit_predict(X)) == 1.0
    assert model.components_.shape == (5, 4, 50)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.rounding
def test_the_scale_of_the_data_does_not_matter(scale):
    X, _ = planted_subspaces(n=20)
    reference = SparseSubspaceClustering(5, random_state=0).fit(X)
    scaled = SparseSubspaceClustering(5, random_state=0).fit(scale * X)
    assert adjusted_rand_score(reference.labels_, scaled.labels_) == 1.0
    assert scaled.objective_ == pytest.approx(reference.objective_, rel=1e-3)


def test_new_points_join_their_subspace():
    X, y = planted_subspaces(n=110)
    train = np.arange(len(X)) % 110 < 100
    model = SparseSubspaceClustering(5, random_state=0).fit(X[train])
    both = np.r_[model.labels_, model.predict(X[~train])]
    assert adjusted_rand_score(np.r_[y[train], y[~train]], both) == 1.0
    # Noise has 46 of its 50 dimensions outside the subspace.
    assert -model.score(X[~train]) == pytest.approx(46 * 0.01**2, rel=0.2)


@pytest.mark.parametrize("name", hard_data())
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_refinements_do_not_raise_the_objective(name):
    X = hard_data()[name]
    model = SparseSubspaceClustering(
        4, subspace_dim=2, max_iter=20, tol=0, normalize=False, random_state=0
    ).fit(X)
    size = np.square(X).sum(1).mean()
    losses = [row["loss"] for row in model.history_ if row["phase"] == "subspaces"]
    assert len(losses) == 20
    assert (np.diff(losses) <= 1e-12 * size).all(), rises(model.history_, "subspaces")


def parallel_lines(seed):
    """Three parallel lines in a plane in space, with noise."""
    rng = np.random.default_rng(seed)
    along, across = np.linalg.qr(rng.normal(size=(3, 2)))[0].T
    points = 3 * np.repeat([-1, 0, 1], 50)[:, None] * across
    X = points + rng.uniform(-2, 2, size=(150, 1)) * along
    return X + 0.1 * rng.normal(size=X.shape), np.repeat(np.arange(3), 50)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.rounding
def test_affine_subspaces_of_few_features_are_found(seed):
    X, y = parallel_lines(seed)
    model = SparseSubspaceClustering(3, random_state=0).fit(X)
    linear = SparseSubspaceClustering(3, affine=False, random_state=0).fit(X)
    found = adjusted_rand_score(y, model.labels_)
    assert found > 0.9 > adjusted_rand_score(y, linear.labels_)
    assert model.transform(X).shape == (150, 4)
    moved = SparseSubspaceClustering(3, random_state=0).fit(X + 50)
    assert adjusted_rand_score(model.labels_, moved.labels_) > 0.99


def test_affine_rows_have_a_constant_as_long_as_they_are():
    X, _ = parallel_lines(0)
    model = SparseSubspaceClustering(3, normalize=False, random_state=0).fit(X)
    Z = model.transform(X).astype(np.float64)
    assert Z[:, :3] == pytest.approx(X - X.mean(0), abs=1e-5)
    assert Z[:, 3] ** 2 == pytest.approx(np.square(X - X.mean(0)).sum(1).mean())
    projected = SparseSubspaceClustering(3, latent_dim=2, affine=True).fit(X)
    assert projected.transform(X).shape == (150, 2)
    assert SparseSubspaceClustering(3, latent_dim=2).fit(X).transform(X).shape[1] == 2


def test_self_expression_of_history_is_that_of_the_affinity():
    X, _ = planted_subspaces(n=20)
    model = SparseSubspaceClustering(5, affinity_mass=1.0, random_state=0).fit(X)
    first = model.history_[0]
    A = model.affinity_matrix_
    assert (A != A.T).nnz == 0
    assert A.diagonal().max() == 0
    # ||C||_1 is half the sum of |C| + |C|ᵀ; λ is alpha * 2 max |z_i . z_j|.
    Z = X / np.linalg.norm(X, axis=1, keepdims=True)
    products = np.abs(Z @ Z.T)
    np.fill_diagonal(products, 0)
    weight = 0.1 * 2 * np.median(products.max(1))
    assert first["penalty"] == pytest.approx(weight * A.sum() / 2 / len(X), rel=1e-4)


def test_affinity_keeps_the_largest_entries_of_each_row():
    C = sparse.csr_array([[0.0, -6.0, 3.0, 1.0], [1.0, 0, 0, 0], [0] * 4, [0] * 4])
    kept = affinity(C, 0.6).toarray()
    assert kept[0].tolist() == [0, 7, 0, 0]
    assert affinity(C, 0.61).toarray()[0].tolist() == [0, 7, 3, 0]
    assert affinity(C, 1.0).toarray()[0].tolist() == [0, 7, 3, 1]
    assert affinity(C.toarray(), 0.9).toarray()[0].tolist() == [0, 7, 3, 0]


def test_subspaces_of_given_labels_and_their_residuals():
    X, y = planted_subspaces(noise=0.0)
    bases = fit_subspaces(X, y, 6, "auto", np.random.RandomState(0))
    assert bases.shape == (6, 4, 50)
    assert (bases[5] == 0).all()  # an empty cluster attracts nothing
    residuals = subspace_residuals(X, bases)
    assert residuals[np.arange(len(X)), y].max() < 1e-20
    assert residuals[:, 5] == pytest.approx(np.square(X).sum(1))


def test_affinity_matrix_stays_at_home():
    X, _ = planted_subspaces(n=10)
    model = SparseSubspaceClustering(5, random_state=0).fit(X)
    assert model.affinity_matrix_.shape == (50, 50)
    assert not hasattr(pickle.loads(pickle.dumps(model)), "affinity_matrix_")


def test_too_many_samples_for_a_dense_method_are_refused():
    X = np.ones((30_000, 1))
    model = SparseSubspaceClustering(2, penalty="nuclear")
    with pytest.raises(MemoryError, match="Use 'l1' or 'elasticnet'"):
        model.fit(X)


def test_widths_that_cannot_be_are_refused(untrained):
    X, _ = planted_subspaces(n=2)
    with pytest.raises(ValueError, match=r"latent_dim=51 .* at most n_features=50"):
        SparseSubspaceClustering(2, latent_dim=51).fit(X)
    with pytest.raises(ValueError, match=r"subspace_dim=4 .* embedding, 3"):
        SparseSubspaceClustering(2, latent_dim=3, subspace_dim=4).fit(X)


def test_coil20_is_clustered_better_than_by_umap_and_kmeans():
    try:
        X, y = load_coil20(return_X_y=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    model = SparseSubspaceClustering(20, latent_dim=20, random_state=0).fit(X)
    assert clustering_accuracy(y, model.labels_) > 0.8


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_deep_planted_subspaces_are_found(seed, penalty):
    X, y = planted_subspaces(seed)
    model = DeepSubspaceClustering(
        5,
        latent_dim=25,
        hidden_layer_sizes=(),
        penalty=penalty,
        lr=1e-2,
        pretrain_epochs=30,
        max_epochs=10,
        random_state=0,
    ).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.95
    phases = [row["phase"] for row in model.history_]
    assert phases == ["pretrain"] * 30 + ["self-expression"] * 10


def test_training_draws_codes_to_their_expression():
    X, _ = planted_subspaces(n=20, noise=0.05)
    errors = {}
    for weight in (0.0, 100.0):
        model = DeepSubspaceClustering(
            5,
            latent_dim=25,
            hidden_layer_sizes=(),
            subspace_weight=weight,
            lr=1e-2,
            pretrain_epochs=20,
            max_epochs=30,
            random_state=0,
        ).fit(X)
        Z = model.transform(X).astype(np.float64)
        Z /= np.linalg.norm(Z, axis=1, keepdims=True)
        bases = model.components_.astype(np.float64)
        errors[weight] = subspace_residuals(Z, bases[:, :4]).min(1).mean()
    assert errors[100.0] < 0.6 * errors[0.0]


def test_deep_objective_is_reconstruction_and_residual():
    X, _ = planted_subspaces(n=10)
    model = DeepSubspaceClustering(
        5,
        latent_dim=8,
        hidden_layer_sizes=(16,),
        subspace_weight=3.0,
        pretrain_epochs=3,
        max_epochs=3,
        random_state=0,
    ).fit(X)
    Z = model.transform(X)
    Z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    residuals = subspace_residuals(Z, model.components_)
    assert (residuals.argmin(1) == model.labels_).all()
    # Relative to the mean square of what differs from the medians.
    reconstruction = -model.score_samples(X).mean() / float(model.module_.scale) ** 2
    assert model.objective_ == pytest.approx(
        reconstruction + 3 * residuals.min(1).mean(), rel=1e-4
    )


def prototypes_with_much_in_common():
    """Ten noisy copies of each of 40 rows that hardly differ, as faces of people."""
    rng = np.random.RandomState(0)
    base = 0.15 * rng.normal(size=(30, 1024)) / np.sqrt(30)
    common = 0.5 + 0.1 * rng.normal(size=1024)
    rows = np.repeat(common + rng.normal(size=(40, 30)) @ base, 10, axis=0)
    rows += 0.5 * rng.normal(size=(400, 30)) @ base
    return rows + 0.02 * rng.normal(size=rows.shape), np.repeat(np.arange(40), 10)


@pytest.mark.parametrize(("scale", "origin"), [(1, 0), (1e3, 1e3)])
def test_what_rows_have_in_common_does_not_hide_the_clusters(scale, origin):
    """It took all of the code: codes of one direction, which are one cluster."""
    X, y = prototypes_with_much_in_common()
    model = DeepSubspaceClustering(
        40,
        hidden_layer_sizes=(200, 200, 800),
        pretrain_epochs=40,
        max_epochs=1,
        random_state=0,
    ).fit(scale * X + origin)
    Z = model.transform(scale * X + origin)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    assert np.abs(Z @ Z.T).min() < 0.1
    assert normalized_mutual_info_score(y, model.labels_) > 0.95


def test_long_training_at_the_default_weight_keeps_the_clusters():
    """Codes do become more alike, see the user guide; the clusters must stay."""
    X, y = prototypes_with_much_in_common()
    model = DeepSubspaceClustering(
        40, pretrain_epochs=40, max_epochs=200, tol=0, random_state=0
    ).fit(X)
    assert model.n_epochs_["self-expression"] == 200
    assert normalized_mutual_info_score(y, model.labels_) > 0.95


def test_deep_subspaces_of_images():
    X = np.random.default_rng(0).uniform(size=(30, 64))
    model = DeepSubspaceClustering(
        2,
        latent_dim=4,
        architecture="conv",
        image_shape=(1, 8, 8),
        hidden_layer_sizes=(4, 8),
        pretrain_epochs=1,
        max_epochs=1,
        random_state=0,
    )
    assert (model.fit(X).predict(X) == model.labels_).all()


def test_lines_through_the_origin_of_a_plane_are_linear_subspaces():
    rng = np.random.default_rng(0)
    angles = np.repeat(np.deg2rad([0, 60, 120]), 50)
    X = rng.normal(size=(150, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    y = np.repeat(np.arange(3), 50)
    for settings in ({"affine": False}, {"subspace_dim": 1}):
        labels = SparseSubspaceClustering(3, random_state=0, **settings).fit_predict(X)
        assert adjusted_rand_score(y, labels) == 1


def test_dimension_of_affine_subspaces_counts_the_constant():
    X = np.random.default_rng(0).normal(size=(30, 3))
    model = SparseSubspaceClustering(2, affine=True, subspace_dim=4, random_state=0)
    assert model.fit(X).transform(X).shape == (30, 4)
    with pytest.raises(ValueError, match="at most the width of the embedding, 4"):
        model.set_params(subspace_dim=5).fit(X)


# --- the objective of deep subspace clustering, and its gradient --------------------


def small_network(normalize):
    """A module of double precision, rows, and a self-expression with few entries."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = SubspaceAutoencoder(
            2,
            normalize=normalize,
            n_features=6,
            latent_dim=4,
            hidden_layer_sizes=(5,),
        ).double()
    rng = np.random.default_rng(0)
    module.set_origin_and_scale(torch.zeros(6), torch.tensor(0.7))
    C = rng.normal(size=(12, 12)) * (rng.uniform(size=(12, 12)) < 0.3)
    np.fill_diagonal(C, 0)
    return module, torch.from_numpy(rng.normal(size=(12, 6))), C


def codes_by_hand(module, X):
    """Codes as they express one another, in NumPy, from the module's weights."""
    first, last = module.autoencoder.encoder[0], module.autoencoder.encoder[2]
    weights = [p.detach().numpy() for p in (*first.parameters(), *last.parameters())]
    hidden = np.maximum(X / 0.7 @ weights[0].T + weights[1], 0)
    Z = hidden @ weights[2].T + weights[3]
    return Z / np.linalg.norm(Z, axis=1, keepdims=True) if module.normalize else Z


def number(function):
    """Value of a function, of numbers or of tensors, as a number."""
    with torch.no_grad():
        return float(function())


def error_of_gradient(value, parameters, reference=None, n=60, step=1e-6):
    """Distance to central differences of ``reference()``, relative to their length.

    In some entries of each parameter; the reference is ``value`` itself by default.
    """
    rng, reference = np.random.default_rng(0), reference or value
    gradients = torch.autograd.grad(value(), parameters)
    found, expected = [], []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        flat = parameter.data.view(-1)
        for i in rng.permutation(len(flat))[:n]:
            before = float(flat[i])
            flat[i] = before + step
            above = number(reference)
            flat[i] = before - step
            expected.append((above - number(reference)) / (2 * step))
            flat[i] = before
            found.append(float(gradient.flatten()[i]))
    error = np.linalg.norm(np.subtract(found, expected))
    return error / np.linalg.norm(expected)


@pytest.mark.parametrize("where", ["host", "device, dense", "device, padded"])
@pytest.mark.parametrize("normalize", [True, False])
def test_solved_expression_has_the_true_gradient_over_batches_of_any_size(
    normalize, where, monkeypatch
):
    """Through both Z of ||Z - C Z||²: that of the codes by hand, by differences."""
    module, X, C = small_network(normalize)
    if where != "host":
        there = SolvedSelfExpression._expressed_on_device
        monkeypatch.setattr(SolvedSelfExpression, "_expressed_on_host", there)
        share = float(where == "device, padded")
        monkeypatch.setattr(_self_expression, "DENSE_SHARE", share)
    loss = SolvedSelfExpression(X, weight=3.0)
    loss.set_expression(C)

    def by_hand():
        Z = codes_by_hand(module, X.numpy())
        return 3 * np.square(Z - C @ Z).sum(1).mean()

    def over(batches):
        terms = [
            len(batch) / 12 * loss(module(X[batch]), X[batch], batch)["self_expression"]
            for batch in batches
        ]
        return sum(terms)

    order = torch.from_numpy(np.random.default_rng(1).permutation(12))
    parameters = list(module.autoencoder.encoder.parameters())
    for size in (12, 5, 1):
        loss.set_expression(C)
        batches = order.split(size)
        assert number(partial(over, batches)) == pytest.approx(by_hand())
        error = error_of_gradient(partial(over, batches), parameters, by_hand)
        assert error < 1e-3


@pytest.mark.parametrize("l1_ratio", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_trained_expression_is_the_objective_of_dsc_net(l1_ratio, normalize):
    """Its value by hand; the gradient in C and in all weights by differences."""
    module, X, C = small_network(normalize)
    loss = TrainedSelfExpression(12, 3.0, 0.2, l1_ratio).double()
    coefficients = C + np.diag(np.arange(12.0))  # a diagonal that must not count
    loss.coefficients.data.copy_(torch.from_numpy(coefficients))
    index = torch.from_numpy(np.random.default_rng(1).permutation(12))

    def value():
        return sum(loss(module(X[index]), X[index], index).values())

    Z = codes_by_hand(module, X.numpy())
    expressed = C @ Z
    if normalize:
        lengths = module.encode(X).norm(dim=1, keepdim=True).detach().numpy()
        expressed = lengths * expressed
    decoded = module.decode(torch.from_numpy(expressed)).detach()
    penalty = l1_ratio * np.abs(C).sum() + (1 - l1_ratio) / 2 * np.square(C).sum()
    if l1_ratio == 0:
        penalty = np.square(C).sum()
    expected = float((decoded - X).square().mean()) / 0.7**2
    expected += 3 * (np.square(Z - C @ Z).sum() + 0.2 * penalty) / 12
    assert number(value) == pytest.approx(expected)

    parameters = [loss.coefficients, *module.parameters()]
    assert error_of_gradient(value, parameters) < 1e-3
    assert (torch.autograd.grad(value(), loss.coefficients)[0].diagonal() == 0).all()


def at_45_degrees(seed, noise=0.05, n=100, k=5, dim=4, width=50):
    """Subspaces with all principal angles between two being 45°."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(width, (k + 1) * dim)))[0].T
    shared, own = directions[:dim], directions[dim:].reshape(k, dim, width)
    share = np.cos(np.pi / 4)  # of products of unit vectors, which are its cosine
    bases = np.sqrt(share) * shared + np.sqrt(1 - share) * own
    X = np.vstack([rng.normal(size=(n, dim)) @ basis for basis in bases])
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X + noise * rng.normal(size=X.shape), np.repeat(np.arange(k), n)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"self_expression": "trained"},
        {"self_expression": "trained", "penalty": "l2"},
    ],
    ids=["solved", "trained-l1", "trained-l2"],
)
def test_subspaces_at_45_degrees_are_found_with_a_network_of_relu(settings):
    X, y = at_45_degrees(0)
    model = DeepSubspaceClustering(
        5, hidden_layer_sizes=(100,), random_state=0, **settings
    ).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
    # 500 rows are 2 batches: 200 epochs for 400 steps.
    assert model.n_epochs_ == {"pretrain": 200, "self-expression": 50}


def test_trained_expression_takes_all_rows_at_once_and_is_what_is_cut():
    X, _ = planted_subspaces(n=12)
    sizes = []

    class Sizes(Callback):
        def on_batch_end(self, net, batch, **kwargs):
            sizes.append((net.phase_.name, len(batch[1])))

    model = DeepSubspaceClustering(
        5,
        latent_dim=8,
        hidden_layer_sizes=(16,),
        self_expression="trained",
        penalty="l2",
        affinity_mass=1.0,
        batch_size=20,
        pretrain_epochs=2,
        max_epochs=3,
        callbacks=[Sizes()],
        random_state=0,
    ).fit(X)
    assert set(sizes) == {("pretrain", 20), ("self-expression", 60)}
    assert model.affinity_matrix_.shape == (60, 60)
    assert model.affinity_matrix_.diagonal().max() == 0
    # Three steps of Adam move an entry by 3 lr at the most, from zero.
    assert 0 < model.affinity_matrix_.max() <= 2 * 3.01e-3
    assert set(model.history_[-1]) >= {"reconstruction", "expression_penalty"}


def test_what_cannot_be_trained_is_refused(untrained):
    X, _ = planted_subspaces(n=4)
    model = DeepSubspaceClustering(2, self_expression="trained", penalty="nuclear")
    with pytest.raises(
        ValueError, match=r"penalty='nuclear' .* self_expression='solved'"
    ):
        model.fit(X)
    with pytest.raises(MemoryError, match='self_expression="trained" of Deep'):
        model.set_params(penalty="l2").fit(np.ones((30_000, 4)))


def test_the_weight_of_the_penalty_is_held_while_training(monkeypatch):
    weights = []

    def note(Z, weight, *others):
        weights.append(weight)
        return self_expression_of(Z, weight, *others)

    monkeypatch.setattr(deep_subspace, "self_expression_of", note)
    X, _ = planted_subspaces(n=12)
    DeepSubspaceClustering(
        5, latent_dim=8, pretrain_epochs=2, max_epochs=20, random_state=0
    ).fit(X)
    assert len(weights) == 5
    assert len(set(weights)) == 1
