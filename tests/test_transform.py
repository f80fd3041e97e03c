import numpy as np
import pytest
from planted import hard_data, planted_subspaces, rises
from sklearn.datasets import make_circles
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import DeepTransformClustering
from deepcluster_sk.cluster._transform_terms import KMeansTerm
from deepcluster_sk.solvers._subspaces import unit_rows


@pytest.mark.parametrize(
    ("n_layers", "latent_dim"), [(1, None), (1, 20), (2, None), (2, 100)]
)
@pytest.mark.parametrize("seed", range(2))
def test_planted_subspaces_are_found(n_layers, latent_dim, seed):
    X, y = planted_subspaces(seed)
    model = DeepTransformClustering(
        5, n_layers=n_layers, latent_dim=latent_dim, random_state=0
    )
    assert adjusted_rand_score(y, model.fit_predict(X)) > 0.95


def test_new_points_join_their_subspace():
    X, y = planted_subspaces(n=110)
    train = np.arange(len(X)) % 110 < 100
    model = DeepTransformClustering(5, random_state=0).fit(X[train])
    assert adjusted_rand_score(y[~train], model.predict(X[~train])) > 0.95


@pytest.mark.parametrize("name", hard_data())
@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "nuclear", "l2"])
@pytest.mark.parametrize(("n_layers", "latent_dim"), [(1, 3), (2, 7), (3, None)])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_a_sweep_does_not_raise_the_loss(name, penalty, n_layers, latent_dim):
    X = hard_data()[name]
    model = DeepTransformClustering(
        3,
        n_layers=n_layers,
        latent_dim=latent_dim,
        penalty=penalty,
        subspace_weight=1.0,
        max_iter=6,
        tol=0,
        random_state=0,
    ).fit(X)
    assert [row["phase"] for row in model.history_] == ["sweep"] * 6 + ["subspaces"]
    assert rises(model.history_, "sweep").max() <= 1e-10


def test_the_embedding_is_the_chain_of_transforms():
    X, _ = planted_subspaces(n=10)
    model = DeepTransformClustering(5, n_layers=3, latent_dim=60, random_state=0)
    model.fit(X)
    first, second, third = model.transforms_
    assert first.shape == (60, 50)
    Z = np.maximum(np.maximum(unit_rows(X) @ first.T, 0) @ second.T, 0) @ third.T
    # X is rounded to float32 on its way in.
    assert model.transform(X) == pytest.approx(Z, abs=1e-5)


def test_a_large_penalty_makes_the_transform_orthogonal():
    X, _ = planted_subspaces(n=10, width=6, dim=2)
    model = DeepTransformClustering(5, transform_penalty=1e4, random_state=0).fit(X)
    (T,) = model.transforms_
    assert T @ T.T == pytest.approx(0.5 * np.eye(len(T)), abs=1e-3)


def test_affine_clusters_of_few_features_are_found():
    X = np.repeat([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]], 40, axis=0)
    X += 0.3 * np.random.default_rng(0).normal(size=X.shape)
    y = np.repeat(np.arange(3), 40)
    found = {}
    for affine in ("auto", False):
        model = DeepTransformClustering(3, affine=affine, random_state=0).fit(X)
        found[affine] = adjusted_rand_score(y, model.labels_)
        assert model.transform(X).shape[1] == (3 if affine == "auto" else 2)
    assert found["auto"] > 0.95 > 0.7 > found[False]


# --- k-means, neighbours and kernels ---------------------------------------------


@pytest.mark.parametrize("name", hard_data())
@pytest.mark.parametrize(("n_layers", "latent_dim"), [(1, 3), (2, 7), (3, None)])
@pytest.mark.parametrize(
    "settings",
    [
        {"clustering": "kmeans", "kmeans_weight": 1.0},
        {"clustering": "kmeans", "kernel": "rbf", "n_landmarks": 20},
        {"penalty": "neighbors", "n_neighbors": 5, "subspace_weight": 1.0},
        {"kernel": "polynomial", "subspace_weight": 1.0},
    ],
    ids=["kmeans", "kmeans-rbf", "neighbors", "polynomial"],
)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_a_sweep_of_the_other_terms_does_not_raise_the_loss(
    name, n_layers, latent_dim, settings
):
    model = DeepTransformClustering(
        3,
        n_layers=n_layers,
        latent_dim=latent_dim,
        max_iter=6,
        tol=0,
        random_state=0,
        **settings,
    ).fit(hard_data()[name])
    end = "centers" if "clustering" in settings else "subspaces"
    assert [row["phase"] for row in model.history_] == ["sweep"] * 6 + [end]
    assert rises(model.history_, "sweep").max() <= 1e-10


def test_a_block_of_codes_labels_and_centres_is_the_best_there_is():
    """By descent: no code, centre or label near the ones found lowers the loss."""
    rng = np.random.RandomState(0)
    X, T = rng.normal(size=(40, 4)), rng.normal(size=(3, 4))
    settings = DeepTransformClustering(3, kmeans_weight=0.7)
    term = KMeansTerm(settings, X, X @ T.T, rng)
    before = term.centers
    Z = term.code(X, T)

    def loss(Z, centers, labels):
        apart = np.square(Z - centers[labels]).sum()
        return np.square(X @ T.T - Z).sum() + 0.7 * apart

    found = loss(Z, term.centers, term.labels)
    assert term.terms(Z)["kmeans"] == pytest.approx(
        0.7 * np.square(Z - term.centers[term.labels]).sum() / 40
    )
    # The gradient in codes and in centres vanishes.
    pull = 0.7 * (Z - term.centers[term.labels])
    assert Z - X @ T.T + pull == pytest.approx(0 * Z, abs=1e-12)
    for j in range(3):
        assert pull[term.labels == j].sum(0) == pytest.approx(np.zeros(3), abs=1e-12)
    # With the centres from before, no other label has a code that costs less.
    for j in range(3):
        c = before[j]
        best = np.square(X @ T.T - (X @ T.T + 0.7 * c) / 1.7).sum(1)
        best += 0.7 * np.square((X @ T.T + 0.7 * c) / 1.7 - c).sum(1)
        own = before[term.labels]
        mine = np.square(X @ T.T - (X @ T.T + 0.7 * own) / 1.7).sum(1)
        mine += 0.7 * np.square((X @ T.T + 0.7 * own) / 1.7 - own).sum(1)
        assert (mine <= best + 1e-12).all()
    assert found <= loss((X @ T.T + 0.7 * own) / 1.7, before, term.labels) + 1e-12


def test_clusters_that_are_places_are_found_wherever_they_lie():
    X = np.repeat([[3.0, 3.0], [5.0, 5.0], [8.0, 3.0]], 40, axis=0)
    X += 0.4 * np.random.default_rng(0).normal(size=X.shape)
    y = np.repeat(np.arange(3), 40)
    model = DeepTransformClustering(3, clustering="kmeans", random_state=0)
    for scale, shift in ((1, 0), (1e6, 0), (1, 100)):
        labels = model.fit(scale * X + shift).labels_
        assert adjusted_rand_score(y, labels) > 0.95
    centers = model.cluster_centers_
    apart = np.square(model.transform(X + 100)[:, None] - centers).sum(-1)
    assert (apart.argmin(1) == model.labels_).all()
    assert model.objective_ == pytest.approx(apart.min(1).mean(), rel=1e-3)


def test_a_kernel_finds_what_is_no_linear_subspace():
    X, y = make_circles(200, noise=0.05, factor=0.3, random_state=0)
    found = {}
    for kernel in (None, "rbf"):
        model = DeepTransformClustering(
            2, latent_dim=4, kernel=kernel, clustering="kmeans", random_state=0
        ).fit(X)
        found[kernel] = adjusted_rand_score(y, model.labels_)
        assert model.transform(X).shape == (200, 4)
    assert found["rbf"] > 0.9 > 0.1 > found[None]


@pytest.mark.parametrize("kernel", ["rbf", "polynomial"])
def test_the_first_transform_acts_on_kernel_values(kernel):
    X, _ = planted_subspaces(n=8)
    X = X.astype(np.float32).astype(np.float64)
    model = DeepTransformClustering(
        5, kernel=kernel, gamma=0.5, latent_dim=6, random_state=0
    ).fit(X)
    products = X @ X.T
    norms = np.diag(products)
    squared = norms[:, None] + norms - 2 * products
    if kernel == "rbf":
        unit = 1 / np.median(squared[np.triu_indices(40, 1)])
        K = np.exp(-0.5 * unit * squared)
    else:
        K = (0.5 / norms.mean() * products + 1) ** 3
    # Its leading singular vectors, up to their signs.
    U = np.linalg.svd(K, full_matrices=False)[2][:6]
    projection = model.solution_.projection
    assert np.abs(projection @ U.T) == pytest.approx(np.eye(6), abs=1e-6)
    Z = unit_rows(K @ projection.T) @ model.transforms_[0].T
    assert model.transform(X) == pytest.approx(Z, abs=1e-5)


def test_some_rows_stand_for_all_in_the_kernel():
    X, y = planted_subspaces(n=60, k=3)
    model = DeepTransformClustering(
        3, kernel="polynomial", n_landmarks=40, latent_dim=30, random_state=0
    ).fit(X)
    assert model.solution_.landmarks.shape == (40, 50)
    assert adjusted_rand_score(y, model.predict(X)) > 0.9


def test_neighbours_find_planted_subspaces():
    X, y = planted_subspaces(dim=2, width=20)
    model = DeepTransformClustering(5, penalty="neighbors", random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
