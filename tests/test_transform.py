import numpy as np
import pytest
from planted import hard_data, planted_subspaces, rises
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import DeepTransformClustering
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
