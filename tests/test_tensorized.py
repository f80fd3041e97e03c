import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import TensorizedAutoencoder, datasets
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.solvers._local_pca import (
    LocalPCA,
    first_minimum,
    leading_directions,
    local_pca,
    reseed_empty,
    shared_noise,
)


def planted(n=80, d=8, h=2, k=3, noise=0.05, seed=0):
    """Clusters around separate h-dimensional planes."""
    rng = np.random.RandomState(seed)
    X, y = [], []
    for j in range(k):
        basis = np.linalg.qr(rng.randn(d, h))[0]
        X.append(
            6 * rng.randn(d)
            + rng.randn(n, h) * [2, 1.5, 1][:h] @ basis.T
            + noise * rng.randn(n, d)
        )
        y += [j] * n
    return np.vstack(X).astype(np.float32), np.array(y)


def angle_to_cluster_pca(model, X):
    """Largest principal angle between an encoder and the PCA of its cluster."""
    h = model.latent_dim_
    angles = []
    for j, components in enumerate(model.components_):
        expected = PCA(h).fit(X[model.labels_ == j]).components_
        angles.append(subspace_angles(components.T, expected.T).max())
    return max(angles)


def penguins():
    X, y = datasets.load_penguins(return_X_y=True)
    return X / X.max(0), y


# --- the theorem ----------------------------------------------------------------


def test_exact_solver_meets_theorem_2_2():
    X, y = planted()
    model = TensorizedAutoencoder(3, latent_dim=2, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1
    assert angle_to_cluster_pca(model, X) < 1e-3
    for j in range(3):
        mean = X[model.labels_ == j].mean(0)
        assert_allclose(model.cluster_centers_[j], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("assignment", ["lloyd", "projected", "constrained"])
@pytest.mark.rounding
def test_gradient_solver_agrees_with_the_exact_one(assignment):
    X, _ = planted()
    common = {"latent_dim": 2, "code_penalty": -0.1, "random_state": 0}
    exact = TensorizedAutoencoder(3, **common).fit(X)
    trained = TensorizedAutoencoder(
        3, solver="gradient", assignment=assignment, **common
    ).fit(X)
    assert adjusted_rand_score(exact.labels_, trained.labels_) == 1
    assert angle_to_cluster_pca(trained, X) < 5e-2
    assert trained.objective_ == pytest.approx(exact.objective_, rel=1e-2)


@pytest.mark.parametrize("code_penalty", [-1.0, -0.5, -0.1, 0.0, "auto"])
@pytest.mark.parametrize("kind", ["digits", "random", "collinear", "duplicated"])
def test_exact_objective_never_rises(code_penalty, kind):
    rng = np.random.RandomState(0)
    X = {
        "digits": load_digits(return_X_y=True)[0],
        "random": rng.randn(60, 5),
        "collinear": rng.randn(60, 1) @ rng.randn(1, 5),
        "duplicated": np.repeat(rng.randn(6, 5), 10, axis=0),
    }[kind]
    labels = rng.randint(7, size=len(X))
    history = local_pca(X.astype(float), labels, 7, 2, code_penalty, 100, rng)[2]
    losses = np.array([row["loss"] for row in history])
    assert (np.diff(losses) <= 1e-10 * np.abs(losses[0])).all()
    assert history[-1]["n_changed"] == 0


@pytest.mark.rounding
def test_penalty_of_minus_one_is_k_means():
    X = load_iris().data
    model = TensorizedAutoencoder(3, code_penalty=-1, n_init=20, random_state=0).fit(X)
    kmeans = KMeans(3, n_init=20, random_state=0).fit(X)
    assert model.objective_ == pytest.approx(kmeans.inertia_ / len(X), rel=1e-5)
    assert adjusted_rand_score(kmeans.labels_, model.labels_) == 1


def test_objective_against_a_loop():
    X, _ = planted(n=20)
    model = TensorizedAutoencoder(
        3, latent_dim=2, code_penalty=-0.3, random_state=0
    ).fit(X)
    total = 0
    for x in X.astype(float):
        brackets = []
        for center, U in zip(model.cluster_centers_, model.components_, strict=True):
            code = U @ (x - center)
            residual = x - center - U.T @ code
            brackets.append(residual @ residual + 0.3 * code @ code)
        total += min(brackets)
    assert model.objective_ == pytest.approx(total / len(X), rel=1e-5)


@pytest.mark.parametrize("shape", [(50, 6), (3, 6), (700, 500), (60, 500), (2, 500)])
def test_leading_directions_span_the_leading_singular_vectors(shape):
    rng = np.random.RandomState(0)
    h = 3
    scale = np.r_[10.0, 7, 4, np.ones(shape[1] - 3)]
    R = rng.randn(*shape) * scale
    U = leading_directions(R, h, rng)
    assert_allclose(U @ U.T, np.eye(h), atol=1e-8)
    expected = np.linalg.svd(R)[2][: min(h, shape[0])]
    assert subspace_angles(expected.T, U.T).max() < 1e-6


def test_empty_clusters_take_the_worst_rows_of_others():
    labels = np.array([0, 0, 0, 1])
    cost = np.array([0.1, 5.0, 0.2, 9.0])  # row 3 is alone in its cluster
    assert reseed_empty(labels, cost, 3) == 1
    assert labels.tolist() == [0, 2, 0, 1]
    assert reseed_empty(np.zeros(4, int), np.zeros(4), 3) == 0


# --- penalties found by the likelihood -------------------------------------------


def blobs(n=60, d=5, k=3, seed=0):
    """Round clusters that touch."""
    rng = np.random.RandomState(seed)
    X = np.vstack([1.5 * rng.randn(d) + rng.randn(n, d) for _ in range(k)])
    return X.astype(np.float32), np.repeat(np.arange(k), n)


def test_objective_is_the_bayesian_information_criterion_of_gaussians():
    X, _ = planted(n=40, noise=0.5)
    n, d = X.shape
    model = TensorizedAutoencoder(3, latent_dim=2, random_state=0).fit(X)
    densities = []
    for j in range(3):
        U, variances = model.components_[j], -1 / model.code_penalty_[j] - 1
        covariance = model.noise_variance_ * (np.eye(d) + U.T * variances @ U)
        normal = multivariate_normal(model.cluster_centers_[j], covariance)
        densities.append(normal.logpdf(X))
    densities = np.array(densities)
    assert (densities.argmax(0) == model.labels_).all()
    # Of each cluster the centre, two orthonormal directions and their variances.
    n_free = 3 * (d + (d - 1) + (d - 2) + 2) + 1
    criterion = -2 * densities.max(0).mean() + n_free * np.log(n) / n
    assert model.objective_ == pytest.approx(criterion, rel=1e-4)
    assert model.score(X) == pytest.approx(-criterion, rel=1e-4)


def test_found_noise_is_the_likeliest():
    rng = np.random.RandomState(0)
    for h, n_rest in [(1, 3), (3, 1), (2, 0), (4, 20)]:
        variances = np.exp(2 * rng.randn(4, h))
        shares, residual = rng.dirichlet(np.ones(4)), np.exp(rng.randn())

        def cost(b, s=variances, w=shares, residual=residual, n_rest=n_rest):
            a = s.clip(b, 10 * b)
            rest = n_rest * (np.log(b) + residual / b)
            return rest + w @ (np.log(a) + s / a).sum(1)

        found = shared_noise(variances, shares, residual, n_rest)
        grid = np.exp(np.linspace(-8, 8, 4001))
        assert cost(found) <= min(map(cost, grid)) + 1e-12
    assert shared_noise(np.zeros((2, 1)), np.full(2, 0.5), 0.0, 3) == 0


def test_penalties_keep_to_their_bounds():
    X, _ = planted()
    model = TensorizedAutoencoder(3, random_state=0).fit(X)
    assert model.latent_dim_ == 2
    assert_allclose(model.code_penalty_, -0.1)  # 1,600 times as variable as the noise
    given = TensorizedAutoencoder(3, code_penalty=-0.3, random_state=0).fit(X)
    assert given.latent_dim_ == 1
    assert_allclose(given.code_penalty_, np.full((3, 1), -0.3))
    assert not hasattr(given, "noise_variance_")


def test_round_clusters_are_those_of_k_means():
    X, y = blobs()
    model = TensorizedAutoencoder(3, random_state=0).fit(X)
    kmeans = KMeans(3, n_init=10, random_state=0).fit(X)
    assert adjusted_rand_score(kmeans.labels_, model.labels_) == 1
    assert_allclose(model.code_penalty_, -np.ones((3, 1)))
    assert model.transform(X).shape == (180, 1)
    within = kmeans.inertia_ / X.size
    assert model.noise_variance_ == pytest.approx(within, rel=1e-4)
    one_for_all = TensorizedAutoencoder(3, code_penalty=-0.1, random_state=0).fit(X)
    found, fixed = (adjusted_rand_score(y, m.labels_) for m in (model, one_for_all))
    assert found > fixed + 0.05


@pytest.mark.parametrize("init", ["k-means++", "random", "labels"])
def test_width_is_found_from_any_start(init):
    X, y = planted(n=60, h=3)
    known = np.where(np.arange(len(y)) % 5, -1, y)
    model = TensorizedAutoencoder(3, init=init, random_state=0).fit(X, known)
    assert model.latent_dim_ == 3
    assert model.components_.shape == (3, 3, 8)
    assert model.get_feature_names_out().shape == (3,)
    assert adjusted_rand_score(y, model.labels_) == 1


@pytest.mark.parametrize("n_features", [1, 2])
def test_narrow_data_have_a_width(n_features):
    X, _ = blobs(d=n_features)
    for width in ("auto", n_features):
        model = TensorizedAutoencoder(3, latent_dim=width, random_state=0).fit(X)
        assert 1 <= model.latent_dim_ <= n_features
        assert np.isfinite(model.objective_)


def test_wide_data_start_from_k_means_alone(monkeypatch):
    starts = []
    initial_labels = TensorizedAutoencoder._initial_labels

    def counted(self, X, run):
        starts.append(self.init)
        return initial_labels(self, X, run)

    monkeypatch.setattr(TensorizedAutoencoder, "_initial_labels", counted)
    X, _ = planted(n=20, d=10)  # two samples for each cluster and feature
    TensorizedAutoencoder(3, random_state=0).fit(X)
    assert starts == []
    TensorizedAutoencoder(3, init="random", n_init=2, random_state=0).fit(X)
    TensorizedAutoencoder(3, n_init=1, random_state=0).fit(X[:, :5])
    TensorizedAutoencoder(3, code_penalty=-0.1, n_init=1, random_state=0).fit(X)
    assert starts == ["random", "random", "k-means++", "k-means++"]


def test_first_minimum_stops_after_the_second_rise():
    seen = []

    def fit(value):
        seen.append(value)
        return LocalPCA(None, None, [], None, 1.0, value, 0)

    assert first_minimum(map(fit, [5, 3, 4, 2, 3, 6, 0])).criterion == 2
    assert seen == [5, 3, 4, 2, 3, 6]


# --- clustering -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "k"),
    [
        (datasets.make_parallel, 2),
        (datasets.make_orthogonal, 2),
        (datasets.make_lines_3d, 3),
    ],
)
def test_toy_clusters_are_found(make, k):
    X, y = make(random_state=0)
    model = TensorizedAutoencoder(k, n_init=10, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) >= 0.97


def test_triangle_is_clustered_to_the_optimum():
    # At the optimum two of the 150 points are on the wrong side: an ARI of .96. The
    # true labels have a higher objective, so no search can be expected to find them.
    X, y = datasets.make_triangle(random_state=0)
    model = TensorizedAutoencoder(
        3, latent_dim=1, code_penalty=-0.1, n_init=10, random_state=0
    ).fit(X)
    truth = local_pca(X, y, 3, 1, -0.1, 1, np.random.RandomState(0))[2][0]["loss"]
    assert model.objective_ < truth
    assert adjusted_rand_score(y, model.labels_) >= 0.95


def test_penguins_with_defaults():
    X, y = penguins()
    for seed in range(3):
        model = TensorizedAutoencoder(3, random_state=seed).fit(X)
        assert adjusted_rand_score(y, model.labels_) >= 0.95


@pytest.mark.parametrize(
    ("load", "worst"),
    [(load_iris, 0.85), (load_wine, 0.70), (load_breast_cancer, 0.64)],
)
def test_standardised_tables_with_defaults(load, worst):
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    for seed in range(3):
        model = TensorizedAutoencoder(len(set(y)), random_state=seed).fit(X)
        assert adjusted_rand_score(y, model.labels_) >= worst


def test_iris_and_wine():
    X, y = load_iris(return_X_y=True)
    model = TensorizedAutoencoder(3, latent_dim=2, random_state=0).fit(X / X.max(0))
    assert adjusted_rand_score(y, model.labels_) >= 0.90
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = TensorizedAutoencoder(
        3, latent_dim=2, code_penalty=-0.5, random_state=0
    ).fit(X)
    assert adjusted_rand_score(y, model.labels_) >= 0.82


@pytest.mark.parametrize("assignment", ["lloyd", "projected", "constrained"])
@pytest.mark.parametrize(
    "make",
    [
        datasets.make_parallel,
        datasets.make_orthogonal,
        datasets.make_triangle,
        datasets.make_lines_3d,
    ],
)
def test_assignments_become_hard(assignment, make):
    X, y = make(random_state=0)
    model = TensorizedAutoencoder(
        len(set(y)), solver="gradient", assignment=assignment, random_state=0
    ).fit(X)
    start = next(row for row in model.history_ if row["phase"] == "tensorized")
    assert model.history_[-1]["hardness"] > 0.99
    if assignment != "lloyd":
        assert start["hardness"] < model.history_[-1]["hardness"]


# --- starts ---------------------------------------------------------------------


def test_a_few_labels_start_the_clusters_and_name_them():
    X, y = penguins()
    known = np.full(len(y), -1)
    for species in range(3):
        known[np.flatnonzero(y == species)[:3]] = species
    model = TensorizedAutoencoder(3, init="labels", random_state=0).fit(X, known)
    assert (model.labels_ == y).mean() > 0.95


def test_labels_are_ignored_by_other_starts():
    X, _ = penguins()
    plain = TensorizedAutoencoder(3, random_state=0).fit(X)
    given = TensorizedAutoencoder(3, random_state=0).fit(X, ["nonsense"])
    assert (plain.labels_ == given.labels_).all()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs y"),
        ([0, 1] * 10, "3 classes; y has 2 besides -1"),
        ([0, 1, 2], "inconsistent numbers of samples"),
    ],
)
def test_labels_that_cannot_start_are_refused(y, message, untrained):
    X = np.random.RandomState(0).randn(20, 3)
    with pytest.raises(ValueError, match=message):
        TensorizedAutoencoder(3, init="labels").fit(X, y)


def test_random_start_differs_and_works():
    X, y = planted()
    model = TensorizedAutoencoder(3, latent_dim=2, init="random", random_state=0)
    assert adjusted_rand_score(y, model.fit(X).labels_) == 1


# --- new points -----------------------------------------------------------------


def test_denoising_held_out_penguins_beats_pca_and_the_noise():
    X, _ = penguins()
    versus_pca, versus_noise = [], []
    for seed in range(5):
        rng = np.random.RandomState(seed)
        train, test = np.split(X[rng.permutation(len(X))], [len(X) // 2])
        noisy = test + 0.05 * rng.randn(*test.shape)
        model = TensorizedAutoencoder(3, random_state=seed).fit(train)
        pca = PCA(1).fit(train)
        error = np.square(model.denoise(noisy) - test).mean()
        projected = pca.inverse_transform(pca.transform(noisy))
        versus_pca.append(error / np.square(projected - test).mean())
        versus_noise.append(error / np.square(noisy - test).mean())
    assert np.median(versus_pca) <= 0.60
    assert np.median(versus_noise) <= 0.80


def test_reconstruction_of_new_points_goes_through_the_chosen_cluster():
    X, _ = planted()
    model = TensorizedAutoencoder(3, latent_dim=2, random_state=0).fit(X)
    new = X + 0.1 * np.random.RandomState(1).randn(*X.shape).astype(np.float32)
    label, code = model.predict(new), model.transform(new)
    U, C = model.components_[label], model.cluster_centers_[label]
    assert_allclose(code, np.einsum("nhd,nd->nh", U, new - C), rtol=1e-3, atol=1e-4)
    expected = np.einsum("nhd,nh->nd", U, code) + C
    assert_allclose(model.reconstruct(new), expected, rtol=1e-4, atol=1e-4)
    assert_allclose(model.denoise(new), expected, rtol=1e-4, atol=1e-4)
    score = -np.square(new - expected).mean(1)
    assert_allclose(model.score_samples(new), score, rtol=1e-3, atol=1e-6)


# --- other networks -------------------------------------------------------------


def test_nonlinear_clusters_lower_the_objective_of_linear_ones():
    X, _ = datasets.make_triangle(random_state=0)
    linear = TensorizedAutoencoder(3, code_penalty=0, random_state=0).fit(X)
    deep = TensorizedAutoencoder(
        3, code_penalty=0, hidden_layer_sizes=(16,), random_state=0
    ).fit(X)
    assert deep.objective_ < linear.objective_


def test_convolutional_clusters_on_images():
    X, y = load_digits(return_X_y=True)
    X = X[y < 3] / 16
    model = TensorizedAutoencoder(
        3,
        latent_dim=5,
        architecture="conv",
        image_shape=(1, 8, 8),
        max_epochs=30,
        random_state=0,
    ).fit(X)
    first, last = model.history_[0], model.history_[-1]
    assert last["reconstruction"] < 0.5 * first["reconstruction"]
    assert model.denoise(X).shape == X.shape
    assert not hasattr(model, "components_")


def test_positive_penalty_is_for_linear_autoencoders():
    X, _ = planted(n=10)
    with pytest.raises(ValueError, match="must be at most 0"):
        TensorizedAutoencoder(3, code_penalty=0.1, hidden_layer_sizes=(4,)).fit(X)
    TensorizedAutoencoder(3, code_penalty=0.1, random_state=0).fit(X)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_layer_sizes": (4,)},
        {"assignment": "projected"},
        {"architecture": "conv", "image_shape": (1, 2, 4)},
    ],
)
def test_exact_solver_says_what_it_needs(settings, untrained):
    X, _ = planted(n=10)
    with pytest.raises(ValueError, match=r"solver='exact'.* needs linear"):
        TensorizedAutoencoder(3, solver="exact", **settings).fit(X)


def test_code_wider_than_the_data_is_refused(untrained):
    with pytest.raises(ValueError, match=r"latent_dim=3 .*at most n_features=2"):
        TensorizedAutoencoder(2, latent_dim=3).fit(np.eye(5)[:, :2])


class Normalised(torch.nn.Module):
    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.down = torch.nn.Linear(n_features, latent_dim)
        self.up = torch.nn.Linear(latent_dim, n_features)
        self.norm = torch.nn.BatchNorm1d(latent_dim)

    def encode(self, x):
        return self.norm(self.down(x))

    def decode(self, embedding):
        return self.up(embedding)


def test_running_statistics_cannot_be_stacked_and_it_says_so():
    X, _ = planted(n=10)
    with pytest.raises(ValueError, match=r"batch\s+normalisation"):
        TensorizedAutoencoder(3, architecture=Normalised).fit(X)


def test_a_cluster_that_dies_in_training_is_started_again():
    # Twenty clusters at random on three distinct points: most can hold nothing.
    X = np.repeat(np.eye(3), 20, axis=0)
    model = TensorizedAutoencoder(
        20, solver="gradient", init="random", max_epochs=20, random_state=0
    )
    with pytest.warns(ClusterCollapseWarning) as caught:
        model.fit(X)
    messages = [str(warning.message) for warning in caught]
    assert any("lost all its samples and was re-seeded" in m for m in messages)
    assert np.isfinite(model.cluster_centers_).all()
    assert adjusted_rand_score(np.repeat(range(3), 20), model.labels_) > 0
