from functools import partial

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
from deepcluster_sk.modules import (
    StackedModule,
    StackedShallow,
    UnpooledConvAutoencoder,
)
from deepcluster_sk.solvers._local_pca import (
    LocalPCA,
    first_minimum,
    leading_directions,
    local_pca,
    reseed_empty,
    shared_noise,
)
from deepcluster_sk.solvers._pca_mixture import pca_mixture


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


# --- the mixture of section 4 -----------------------------------------------------


def densities_of(model):
    """Weights and Gaussians that the fitted attributes of a mixture describe."""
    d = model.cluster_centers_.shape[1]
    for center, U, penalty in zip(
        model.cluster_centers_, model.components_, model.code_penalty_, strict=True
    ):
        covariance = model.noise_variance_ * (np.eye(d) + U.T * (-1 / penalty - 1) @ U)
        yield multivariate_normal(center, covariance)


@pytest.mark.parametrize("code_penalty", [-1.0, -0.3, "auto"])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("kind", ["digits", "random", "collinear", "duplicated"])
def test_log_likelihood_never_falls(code_penalty, width, kind):
    rng = np.random.RandomState(0)
    X = {
        "digits": load_digits(return_X_y=True)[0][:300],
        "random": rng.randn(60, 5),
        "collinear": rng.randn(60, 1) @ rng.randn(1, 5),
        "duplicated": np.repeat(rng.randn(6, 5), 10, axis=0),
    }[kind]
    labels = rng.randint(7, size=len(X))
    found = pca_mixture(X.astype(float), labels, 7, width, code_penalty, 30, rng)
    losses = np.array([row["loss"] for row in found.history])
    assert len(losses) == 30
    assert (np.diff(losses) <= 1e-9 * np.abs(losses).max()).all()
    assert losses[-1] < losses[0]
    for row in found.history:
        terms = [v for k, v in row.items() if k not in ("loss", "n_changed")]
        assert sum(terms) == pytest.approx(row["loss"], rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("code_penalty", [-0.3, "auto"])
def test_posterior_is_that_of_gaussians_with_weights(code_penalty):
    X, _ = blobs(n=60)
    X = X[:150] * [2, 1, 1, 1, 1]  # clusters of 60, 60 and 30
    n, d = X.shape
    model = TensorizedAutoencoder(
        3,
        latent_dim=2,
        assignment="posterior",
        code_penalty=code_penalty,
        tol=1e-9,
        random_state=0,
    ).fit(X)
    weights = model.assignment_.astype(float).mean(0)
    log_joint = np.array(
        [
            np.log(p) + normal.logpdf(X)
            for p, normal in zip(weights, densities_of(model), strict=True)
        ]
    ).T
    log_likelihood = np.log(np.exp(log_joint).sum(1))
    posterior = np.exp(log_joint - log_likelihood[:, None])
    assert_allclose(model.predict_proba(X), posterior, atol=1e-4)
    assert_allclose(model.assignment_, posterior, atol=1e-4)
    assert 0.05 < (posterior.max(1) < 0.999).mean()  # rows do lie between clusters
    objective = -2 * log_likelihood.mean()
    if code_penalty == "auto":
        n_free = 3 * (d + (d - 1) + (d - 2) + 2) + 1 + 2
        objective += n_free * np.log(n) / n
    assert model.objective_ == pytest.approx(objective, rel=1e-4)
    assert model.score(X) == pytest.approx(-objective, rel=1e-4)
    assert set(model.stop_reason_) == {"sweep"}


def test_each_step_of_the_mixture_is_a_maximum():
    """At the end no parameter near the found ones has a higher likelihood."""
    rng = np.random.RandomState(0)
    X, y = planted(n=30, d=4, h=1, noise=0.7)
    found = pca_mixture(X.astype(float), y, 3, 1, "auto", 2000, rng)

    def likelihood(centers, bases, penalties, noise, shares):
        total = 0
        for parameters in zip(centers, bases, penalties, shares, strict=True):
            center, U, penalty, share = parameters
            U = np.linalg.qr(U.T)[0].T
            covariance = noise * (np.eye(4) + U.T * (-1 / penalty - 1) @ U)
            density = multivariate_normal(center, covariance).pdf(X)
            total = total + share / shares.sum() * density
        return np.log(total).mean()

    best = [found.centers, found.bases, found.code_penalty]
    best += [found.noise_variance, found.shares]
    reached = likelihood(*best)
    assert reached == pytest.approx(-found.history[-1]["loss"] / 2)
    for scale in (1e-2, 1e-3):
        for _ in range(30):
            moved = [v * (1 + scale * rng.randn(*np.shape(v))) for v in best]
            moved[2] = moved[2].clip(-1, -0.1)
            assert likelihood(*moved) <= reached + 1e-8


def test_mixtures_and_hard_clusters_agree_where_clusters_are_apart():
    X, y = planted()
    hard = TensorizedAutoencoder(3, random_state=0).fit(X)
    soft = TensorizedAutoencoder(3, assignment="posterior", random_state=0).fit(X)
    assert adjusted_rand_score(y, soft.labels_) == 1
    assert soft.latent_dim_ == hard.latent_dim_ == 2
    assert_allclose(soft.assignment_.max(1), 1)
    assert_allclose(soft.cluster_centers_, hard.cluster_centers_, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"code_penalty": 0.0}, "must be below 0"),
        ({"solver": "gradient"}, "assignment='posterior' .* needs linear"),
        ({"hidden_layer_sizes": (4,)}, "assignment='posterior' .* needs linear"),
        ({"code_layer": "linear"}, "assignment='posterior' .* needs linear"),
    ],
)
def test_mixtures_say_what_they_need(settings, message, untrained):
    X, _ = planted(n=10)
    with pytest.raises(ValueError, match=message):
        TensorizedAutoencoder(3, assignment="posterior", **settings).fit(X)


# --- soft assignments -------------------------------------------------------------

KINDS = {
    "densities": {},
    "one penalty": {"code_penalty": -0.1},
    "k-means": {"code_penalty": -1},
    "positive penalty": {"code_penalty": 0.5},
    "posterior": {"assignment": "posterior"},
    "projected": {"assignment": "projected", "max_epochs": 10},
    "constrained": {"assignment": "constrained", "max_epochs": 10},
    "relu": {"code_layer": "relu", "max_epochs": 10},
    "hidden": {"hidden_layer_sizes": (8,), "max_epochs": 10},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_probabilities_sum_to_one_and_the_largest_is_the_label(kind):
    X, _ = penguins()
    model = TensorizedAutoencoder(3, **KINDS[kind], random_state=0).fit(X)
    new = X + 0.02 * np.random.RandomState(1).randn(*X.shape)
    for rows in (X, new, 100 * new):
        proba = model.predict_proba(rows)
        assert proba.shape == (len(X), 3)
        assert_allclose(proba.sum(1), 1, rtol=1e-5)
        assert (proba.argmax(1) == model.predict(rows)).all()
    S = model.assignment_
    assert S.shape == (len(X), 3) and S.min() >= 0
    assert_allclose(S.sum(1), 1, rtol=1e-5)
    # Of the last epoch, in which the networks still moved.
    assert (S.argmax(1) == model.labels_).mean() > 0.9


def test_probabilities_of_one_penalty_are_of_gaussians_of_the_likeliest_noise():
    X, _ = penguins()
    model = TensorizedAutoencoder(3, code_penalty=-0.2, random_state=0).fit(X)
    d = X.shape[1]
    noise = model.objective_ / d

    def minus_log_likelihood(b):
        brackets = model.objective_ / b
        return brackets + d * np.log(b)

    assert all(
        minus_log_likelihood(noise) < minus_log_likelihood(noise * f)
        for f in (0.9, 0.99, 1.01, 1.1)
    )
    densities = np.array(
        [
            multivariate_normal(
                center, noise * (np.eye(d) + U.T * (1 / 0.2 - 1) @ U)
            ).pdf(X)
            for center, U in zip(model.cluster_centers_, model.components_, strict=True)
        ]
    ).T
    expected = densities / densities.sum(1, keepdims=True)
    assert_allclose(model.predict_proba(X), expected, atol=1e-3)


def test_assignments_follow_the_numbers_of_clusters():
    X, y = planted(n=60)
    X = np.vstack([X[y == 0][:20], X[y == 1][:40], X[y == 2]])
    for assignment in ("lloyd", "posterior", "projected"):
        model = TensorizedAutoencoder(
            3, latent_dim=2, assignment=assignment, random_state=0
        ).fit(X)
        assert np.bincount(model.labels_).tolist() == [60, 40, 20]
        assert (model.assignment_.argmax(1) == model.labels_).all()


def test_options_on_s_are_soft_before_they_are_hard():
    X, _ = planted()
    model = TensorizedAutoencoder(
        3, solver="gradient", assignment="constrained", max_epochs=1, random_state=0
    ).fit(X)
    assert ((model.assignment_ > 0.01) & (model.assignment_ < 0.99)).any()
    assert model.history_[-1]["hardness"] == pytest.approx(
        model.assignment_.max(1).mean(), rel=1e-5
    )


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


def test_decoders_of_noisy_inputs_are_the_regression_of_x():
    """The closed form against least squares on many draws of the noise."""
    X, _ = planted(d=5, h=2, noise=0.3)
    noise_std = 0.8
    plain = TensorizedAutoencoder(3, latent_dim=2, random_state=0).fit(X)
    model = TensorizedAutoencoder(
        3, latent_dim=2, noise_std=noise_std, random_state=0
    ).fit(X)
    # Clusters do not move, nor codes.
    assert (model.labels_ == plain.labels_).all()
    assert_allclose(model.transform(X), plain.transform(X))
    rng = np.random.RandomState(0)
    for j in range(3):
        R = X[model.labels_ == j].astype(float) - model.cluster_centers_[j]
        U = model.components_[j].astype(float)
        R = np.tile(R, (2000, 1))
        codes = (R + noise_std * rng.randn(*R.shape)) @ U.T
        decoder = np.linalg.lstsq(codes, R, rcond=None)[0]  # (h, d)
        code = model.transform(X)[model.labels_ == j]
        expected = code @ decoder + model.cluster_centers_[j]
        found = model.denoise(X)[model.labels_ == j]
        assert_allclose(found, expected, atol=0.03)
        tied = plain.denoise(X)[model.labels_ == j]
        assert np.abs(tied - expected).max() > 0.1


@pytest.mark.parametrize("assignment", ["lloyd", "posterior"])
def test_noise_told_makes_denoising_better(assignment):
    X, _ = planted(n=400, noise=0.1)
    rng = np.random.RandomState(0)
    train, test = X[::2], X[1::2]
    noisy = test + rng.randn(*test.shape)

    def error(noise_std):
        model = TensorizedAutoencoder(
            3,
            latent_dim=2,
            assignment=assignment,
            noise_std=noise_std,
            random_state=0,
        ).fit(train)
        return np.square(model.denoise(noisy) - test).mean()

    assert error(1.0) < 0.9 * error(0.0)


# --- other networks -------------------------------------------------------------


@pytest.mark.parametrize(("code_layer", "rectified"), [("linear", 0), ("relu", 1)])
def test_shallow_networks_have_two_free_weights_and_no_bias(code_layer, rectified):
    X, _ = planted(n=20, d=6)
    model = TensorizedAutoencoder(
        3, latent_dim=2, code_layer=code_layer, max_epochs=5, random_state=0
    ).fit(X)
    stack = model.module_.stack
    shapes = [tuple(p.shape) for p in stack.parameters()]
    assert shapes == [(3, 6, 2), (3, 2, 6)]
    down, up = (p.detach().numpy() for p in stack.parameters())
    label = model.predict(X)
    centers = model.cluster_centers_[label]
    code = np.einsum("ndh,nd->nh", down[label], X - centers)
    code = np.maximum(code, 0) if rectified else code
    assert_allclose(model.transform(X), code, rtol=1e-3, atol=1e-4)
    decoded = np.einsum("nhd,nh->nd", up[label], code) + centers
    assert_allclose(model.reconstruct(X), decoded, rtol=1e-3, atol=1e-4)
    assert not hasattr(model, "components_")


def test_untied_linear_networks_come_to_the_principal_plane():
    X, y = planted()
    model = TensorizedAutoencoder(
        3,
        latent_dim=2,
        code_layer="linear",
        code_penalty=0,
        lr=3e-2,
        max_epochs=300,
        tol=0,
        random_state=0,
    ).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1
    for j in range(3):
        plane = PCA(2).fit(X[model.labels_ == j]).components_
        decoder = model.module_.stack.decoder.weight[j].detach().numpy()
        assert subspace_angles(plane.T, decoder.T).max() < 5e-2


def test_free_codes_evade_their_penalty_by_shrinking():
    """Why an orthonormal encoder is the default: Theorem 2.2 assumes one."""
    X, _ = planted()
    common = {"latent_dim": 2, "lr": 3e-2, "max_epochs": 300, "tol": 0}
    common |= {"code_penalty": -0.5, "random_state": 0}
    free = TensorizedAutoencoder(3, code_layer="linear", **common).fit(X)
    tied = TensorizedAutoencoder(3, solver="gradient", **common).fit(X)
    spread = [np.square(m.transform(X)).sum(1).mean() for m in (free, tied)]
    assert spread[0] < 0.5 * spread[1]


def test_layers_of_the_code_are_for_networks_without_others(untrained):
    X, _ = planted(n=10)
    with pytest.raises(ValueError, match=r"code_layer='relu'.* only layer is the code"):
        TensorizedAutoencoder(3, code_layer="relu", hidden_layer_sizes=(4,)).fit(X)
    with pytest.raises(ValueError, match=r"solver='exact'.* needs linear"):
        TensorizedAutoencoder(3, code_layer="linear", solver="exact").fit(X)
    with pytest.raises(ValueError, match="must be at most 0"):
        TensorizedAutoencoder(3, code_layer="linear", code_penalty=0.1).fit(X)


def test_shallow_stacks_match_linear_layers():
    stack = StackedShallow(2, n_features=5, latent_dim=3)
    x = torch.randn(2, 4, 5)
    for j in range(2):
        encoder = torch.nn.Linear(5, 3, bias=False)
        encoder.weight.data = stack.encoder.weight[j].T
        decoder = torch.nn.Linear(3, 5, bias=False)
        decoder.weight.data = stack.decoder.weight[j].T
        assert_allclose(
            stack(x).reconstruction[j].detach(),
            decoder(encoder(x[j])).detach(),
            rtol=1e-4,
            atol=1e-6,
        )


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


def test_the_published_convolutions_stack():
    shape = (2, 10, 9)
    build = partial(UnpooledConvAutoencoder, 180, 3, image_shape=shape, width=7)
    stack, x = StackedModule(2, build), torch.randn(2, 4, 180)
    found = stack(x).reconstruction
    for j in range(2):
        one = build()
        one.load_state_dict(
            {n: p[j] for n, p in zip(stack.names, stack.stacked, strict=True)}
        )
        assert_allclose(
            found[j].detach(), one.decode(one.encode(x[j])).detach(), atol=1e-5
        )
    with pytest.raises(ValueError, match="too small for two convolutions"):
        UnpooledConvAutoencoder(64, 3, image_shape=(1, 8, 8))


def test_the_published_convolutions_train():
    X, _ = load_digits(return_X_y=True)
    X = np.kron(X[:40].reshape(-1, 8, 8) / 16, np.ones((2, 2))).reshape(40, 256)
    model = TensorizedAutoencoder(
        2,
        latent_dim=5,
        architecture=partial(UnpooledConvAutoencoder, image_shape=(1, 16, 16)),
        max_epochs=10,
        random_state=0,
    ).fit(X)
    first, last = model.history_[0], model.history_[-1]
    assert last["reconstruction"] < first["reconstruction"]


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
