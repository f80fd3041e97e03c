import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import linalg, sparse
from scipy.optimize import check_grad, minimize, nnls
from stand_in_device import StandInDevice

from deepcluster_sk.solvers import (
    _codes,
    _sparse_matrix,
    dictionary_update,
    kmeans_code,
    neighbor_expression,
    nonnegative_code,
    normalize_atoms,
    self_expression,
    subspace_code,
    sylvester_code,
    transform_objective,
    transform_update,
)
from deepcluster_sk.solvers._self_expression import _nuclear
from deepcluster_sk.solvers._sparse_matrix import (
    SparseMatrix,
    host_matrix,
    identity_minus,
)

DATA = ["random", "rank-deficient", "collinear", "duplicated", "constant", "zero"]


def make_data(kind, n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if kind == "rank-deficient":
        X = X[:, :2] @ rng.normal(size=(2, d))
    elif kind == "collinear":
        X = X[:, :1] + 1e-7 * X
    elif kind == "duplicated":
        X = X[np.arange(n) // 4]
    elif kind == "constant":
        X = np.ones((n, d))
    elif kind == "zero":
        X = np.zeros((n, d))
    return X


# Transform update


def transform_gradient(X, Z, T, alpha):
    """Return the gradient and the norm of its terms, summed."""
    terms = [
        2 * T @ (X.T @ X),
        -2 * Z.T @ X,
        2 * alpha * T,
        -alpha * np.linalg.pinv(T).T,
    ]
    return sum(terms), sum(np.linalg.norm(term) for term in terms)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(
    ("n", "d", "h"), [(40, 5, 5), (40, 5, 8), (40, 8, 3), (4, 9, 3), (4, 5, 6)]
)
def test_transform_update_gradient_vanishes(kind, alpha, n, d, h):
    X = make_data(kind, n, d)
    Z = np.maximum(make_data("random", n, h, seed=1), 0)
    T = transform_update(X, Z, alpha)
    gradient, scale = transform_gradient(X, Z, T, alpha)
    assert T.shape == (h, d)
    assert np.linalg.norm(gradient) <= 1e-6 * scale


@pytest.mark.parametrize("h", [3, 4, 6])
def test_transform_gradient_is_that_of_the_objective(h):
    """The formula that the test above relies on, against finite differences."""
    X, Z = make_data("random", 20, 4), make_data("random", 20, h, seed=1)
    T = np.random.default_rng(2).normal(size=(h, 4))
    error = check_grad(
        lambda t: transform_objective(X, Z, t.reshape(h, 4), 0.7),
        lambda t: transform_gradient(X, Z, t.reshape(h, 4), 0.7)[0].ravel(),
        T.ravel(),
    )
    assert error < 1e-4


@pytest.mark.parametrize("kind", ["random", "rank-deficient", "duplicated"])
@pytest.mark.parametrize(
    ("n", "d", "h"), [(30, 4, 4), (30, 4, 6), (30, 6, 3), (4, 9, 3)]
)
def test_transform_update_beats_random_starts(kind, n, d, h):
    """No descent from elsewhere ends lower: not a saddle or a poor minimum."""
    X, Z = make_data(kind, n, d), make_data("random", n, h, seed=1)
    rng = np.random.default_rng(2)
    best = transform_objective(X, Z, transform_update(X, Z, 1.0), 1.0)
    for _ in range(5):
        other = minimize(
            lambda t: transform_objective(X, Z, t.reshape(h, d), 1.0),
            rng.normal(size=h * d),
            jac=lambda t: transform_gradient(X, Z, t.reshape(h, d), 1.0)[0].ravel(),
            method="L-BFGS-B",
        )
        assert best <= other.fun + 1e-6 * abs(other.fun)


def test_transform_objective_is_infinite_for_singular_transforms():
    assert transform_objective(np.eye(2), np.eye(2), np.zeros((2, 2)), 1.0) == np.inf


# Codes


def kmeans_code_brute_force(X, D, labels, weight):
    n, h = X.shape[0], D.shape[0]
    same = labels[:, None] == labels
    residual = np.eye(n) - same / same.sum(axis=1, keepdims=True)
    A = np.kron(np.eye(n), D @ D.T) + weight * np.kron(residual, np.eye(h))
    z = np.linalg.lstsq(A, (X @ D.T).ravel(), rcond=1e-12)[0]
    return z.reshape(n, h)


@pytest.mark.parametrize("weight", [0.0, 0.3, 50.0])
@pytest.mark.parametrize("labels", ["some", "one", "all", "gaps"])
@pytest.mark.parametrize("rank", [2, 4])
def test_kmeans_code_solves_the_normal_equations(weight, labels, rank):
    rng = np.random.default_rng(0)
    n, d, h = 12, 6, 4
    X = rng.normal(size=(n, d))
    D = rng.normal(size=(h, rank)) @ rng.normal(size=(rank, d))
    labels = {
        "some": rng.integers(3, size=n),
        "one": np.zeros(n, dtype=int),
        "all": rng.permutation(n),
        "gaps": rng.integers(2, size=n) * 7 - 3,  # clusters without samples
    }[labels]
    assert_allclose(
        kmeans_code(X, D, labels, weight),
        kmeans_code_brute_force(X, D, labels, weight),
        atol=1e-9,
    )


@pytest.mark.parametrize("kind", ["gaussian", "positive", "dependent", "zero atom"])
@pytest.mark.parametrize("ridge", [False, True])
def test_nonnegative_code_agrees_with_scipy(kind, ridge):
    rng = np.random.default_rng(0)
    n, d, h = 60, 12, 9
    X, D = rng.normal(size=(n, d)), rng.normal(size=(h, d))
    if kind == "positive":
        X, D = np.abs(X), np.abs(D)
    elif kind == "dependent":
        D[4:] = rng.normal(size=(5, 4)) @ D[:4]
        D[5] = D[0]
    elif kind == "zero atom":
        D[3] = 0
    X[0] = 0
    weight = 0.5 if ridge else 0.0
    target = rng.normal(size=(n, h)) if ridge else None
    Z = nonnegative_code(X, D, target=target, weight=weight)
    A, B = D.T, X
    if ridge:
        A = np.vstack([A, np.sqrt(weight) * np.eye(h)])
        B = np.hstack([B, np.sqrt(weight) * target])
    expected = np.array([nnls(A, b)[0] for b in B])
    assert Z.min() >= 0
    assert_allclose(Z @ A.T, expected @ A.T, atol=1e-8)  # the fit is unique
    if ridge or kind in ("gaussian", "positive"):
        assert_allclose(Z, expected, atol=1e-8)
    gradient = Z @ (A.T @ A) - B @ A
    assert np.abs(np.minimum(Z, gradient)).max() <= 1e-8 * np.abs(B @ A).max()


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_nonnegative_code_scales_with_the_data(scale):
    X, D = make_data("random", 20, 6), make_data("random", 5, 6, seed=1)
    assert_allclose(nonnegative_code(scale * X, D) / scale, nonnegative_code(X, D))


def random_expression(n, form):
    C = sparse.random_array(
        (n, n), density=0.2, rng=np.random.default_rng(3), format="csr"
    )
    C.setdiag(0)
    return C if form == "sparse" else C.toarray()


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_sylvester_code_agrees_with_scipy(form):
    X, D = make_data("random", 30, 7), make_data("random", 4, 7, seed=1)
    C = random_expression(30, form)
    M = np.eye(30) - random_expression(30, "dense")
    expected = linalg.solve_sylvester(0.8 * M.T @ M, D @ D.T, X @ D.T)
    assert_allclose(sylvester_code(X, D, C, 0.8), expected, atol=1e-10)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_sylvester_code_stationary_for_dependent_atoms(form):
    X, D = make_data("random", 20, 7), make_data("rank-deficient", 4, 7, seed=1)
    C = random_expression(20, form)
    Z = sylvester_code(X, D, C, 0.8)
    M = np.eye(20) - random_expression(20, "dense")
    assert_allclose(0.8 * M.T @ M @ Z + Z @ D @ D.T, X @ D.T, atol=1e-9)


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1e4])
def test_subspace_code_is_a_linear_solve(form, weight):
    X, T = make_data("random", 30, 5), make_data("random", 3, 5, seed=1)
    M = np.eye(30) - random_expression(30, "dense")
    expected = np.linalg.solve(np.eye(30) + weight * M.T @ M, X @ T.T)
    Z = subspace_code(X, T, random_expression(30, form), weight)
    assert_allclose(Z, expected, atol=1e-9)


def test_sparse_solve_factorises_where_conjugate_gradients_stall(monkeypatch):
    real = _codes._conjugate_gradients
    monkeypatch.setattr(
        _codes, "_conjugate_gradients", lambda *args: real(*args, max_iter=2)
    )
    test_subspace_code_is_a_linear_solve("sparse", 0.5)


# Dictionary


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_dictionary_update_never_raises_the_objective(kind, deep, seed):
    rng = np.random.default_rng(seed)
    X = make_data(kind, 30, 6, seed)
    Z = np.maximum(rng.normal(size=(30, 5)), 0)
    Z[:, 2] = 0
    Z[:, 4] = Z[:, 3]
    right = rng.normal(size=(6, 6)) if deep else None
    R = np.eye(6) if right is None else right
    D, _ = normalize_atoms(rng.normal(size=(5, 6)), Z)
    before = np.sum((X - Z @ D @ R) ** 2)
    for _ in range(10):
        D = dictionary_update(X, Z, D, right=right)
        after = np.sum((X - Z @ D @ R) ** 2)
        assert after <= before * (1 + 1e-12) + 1e-12
        before = after
        assert_allclose(np.linalg.norm(D, axis=1), 1)


@pytest.mark.parametrize("deep", [False, True])
def test_dictionary_update_recovers_a_dictionary(deep):
    rng = np.random.default_rng(0)
    Z = np.abs(rng.normal(size=(200, 4)))
    truth, _ = normalize_atoms(rng.normal(size=(4, 6)), Z)
    start, _ = normalize_atoms(truth + 0.3 * rng.normal(size=(4, 6)), Z)
    right = np.eye(6) + 0.1 * rng.normal(size=(6, 6)) if deep else None
    X = Z @ truth @ (right if deep else np.eye(6))
    D = dictionary_update(X, Z, start, right=right, max_iter=2000)
    assert_allclose(D, truth, atol=1e-6)


def test_dictionary_update_reseeds_unused_atoms_at_the_worst_samples():
    X = np.array([[1.0, 0.0], [0.0, 9.0], [0.1, 0.0]])
    Z = np.array([[1.0, 0.0], [0.0, 0.0], [0.1, 0.0]])
    D = dictionary_update(X, Z, [[1.0, 0.0], [1.0, 0.0]])
    assert_allclose(D, [[1, 0], [0, 1]])


def test_normalize_atoms_keeps_the_product():
    D, Z = make_data("random", 4, 6), make_data("random", 9, 4, seed=1)
    D[1] = 0
    D[2] *= 1e-200
    unit, codes = normalize_atoms(D, Z)
    assert_allclose(np.linalg.norm(unit, axis=1), 1)
    assert_allclose(codes @ unit, Z @ D)
    assert not codes[:, 1].any()


# Self-expression


def expression_data(kind):
    if kind == "subspaces":
        rng = np.random.default_rng(0)
        Z = [rng.normal(size=(25, 2)) @ rng.normal(size=(2, 8)) for _ in range(3)]
        return np.vstack(Z)
    if kind == "wide":
        return make_data("random", 15, 40)
    if kind == "zero rows":
        Z = make_data("random", 30, 6)
        Z[:3] = 0
        return Z
    # More samples than one working set holds.
    return make_data(kind, 120, 8)


EXPRESSION_DATA = [*DATA, "subspaces", "wide", "zero rows"]


@pytest.mark.parametrize("kind", EXPRESSION_DATA)
@pytest.mark.parametrize("alpha", [1e-4, 0.05, 2.0])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.9, 0.3])
def test_sparse_expression_optimality(kind, alpha, l1_ratio):
    Z = expression_data(kind)
    name = "l1" if l1_ratio == 1.0 else "elasticnet"
    C = self_expression(Z, alpha, name, l1_ratio=l1_ratio)
    assert isinstance(C, sparse.csr_array)
    assert C.has_canonical_format
    C = C.toarray()
    assert np.all(np.diag(C) == 0)
    G = -2 * (Z - C @ Z) @ Z.T + alpha * (1 - l1_ratio) * C
    np.fill_diagonal(G, 0)
    l1 = l1_ratio * alpha
    on = C != 0
    assert np.abs(G).max() <= l1 * (1 + 1e-4)
    assert np.abs(G + l1 * np.sign(C))[on].max(initial=0) <= 1e-4 * l1


def test_sparse_expression_agrees_with_coordinate_descent():
    from sklearn.linear_model import ElasticNet

    Z = make_data("random", 40, 10)
    C = self_expression(Z, 3.0, "elasticnet", l1_ratio=0.7).toarray()
    for i in range(40):
        others = np.delete(np.arange(40), i)
        model = ElasticNet(  # ||z - cZ||² / (2h): the penalty over 2h
            alpha=3.0 / 20, l1_ratio=0.7, fit_intercept=False, tol=1e-10, max_iter=10**5
        )
        model.fit(Z[others].T, Z[i])
        assert_allclose(C[i, others], model.coef_, atol=1e-4)


def test_sparse_expression_stays_within_clean_subspaces():
    Z = expression_data("subspaces")
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    C = abs(self_expression(Z, 0.05).toarray())
    labels = np.arange(75) // 25
    outside = C[labels[:, None] != labels].sum()
    assert outside < 0.05 * C.sum()


def test_sparse_expression_of_blocks_is_that_of_all(monkeypatch):
    from deepcluster_sk.solvers import _sparse_expression

    Z = make_data("random", 100, 6)
    whole = self_expression(Z, 0.5, tol=1e-8)
    monkeypatch.setattr(_sparse_expression, "_BLOCK_BYTES", 1.0)
    blocks = self_expression(Z, 0.5, tol=1e-8)
    assert_allclose(whole.toarray(), blocks.toarray(), atol=1e-7)


@pytest.mark.parametrize("kind", EXPRESSION_DATA)
@pytest.mark.parametrize("alpha", [1e-4, 0.5])
def test_ridge_expression_leaves_each_sample_out(kind, alpha):
    Z = expression_data(kind)
    C = self_expression(Z, alpha, "l2")
    for i in range(len(Z)):
        rest = np.delete(Z, i, axis=0)
        A = np.vstack([rest.T, np.sqrt(alpha) * np.eye(len(rest))])
        b = np.concatenate([Z[i], np.zeros(len(rest))])
        expected = np.insert(np.linalg.lstsq(A, b)[0], i, 0.0)
        assert C[i, i] == 0
        assert_allclose(C[i], expected, atol=1e-8)


@pytest.mark.parametrize("kind", EXPRESSION_DATA)
@pytest.mark.parametrize("alpha", [0.05, 2.0])
def test_nuclear_expression_certificate(kind, alpha):
    """A subgradient of the norm that balances the data term proves optimality."""
    Z = expression_data(kind)
    C, Y = _nuclear(Z, alpha, 1e-4)
    assert np.all(np.diag(C) == 0)
    assert np.array_equal(C, self_expression(Z, alpha, "nuclear"))
    assert np.linalg.norm(Y, 2) <= alpha * (1 + 1e-9)
    assert np.sum(Y * C) >= (1 - 1e-4) * alpha * np.linalg.norm(C, "nuc")
    balance = -2 * (Z - C @ Z) @ Z.T + Y
    np.fill_diagonal(balance, 0)
    assert np.abs(balance).max() <= 1e-4 * alpha


@pytest.mark.parametrize(("name", "n"), [("l2", 30_000), ("nuclear", 10_000)])
def test_dense_expression_refuses_before_it_allocates(name, n):
    with pytest.raises(MemoryError, match=rf"n = {n} .* GB.*'l1' or 'elasticnet'"):
        self_expression(np.ones((n, 1)), 1.0, name)


# Arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transform_update([[1.0]], [[1.0], [2.0]], 1), "Z must have 1 rows"),
        (lambda: transform_update([[1.0]], [[1.0]], 0), "alpha must be"),
        (lambda: transform_update([[np.nan]], [[1.0]], 1), "X contains NaN"),
        (lambda: transform_objective([[1.0]], [[1.0]], [[1.0, 2.0]], 1), "T must have"),
        (lambda: kmeans_code([[1.0]], [[1.0]], [0, 1], 1), "labels must be integers"),
        (lambda: kmeans_code([[1.0]], [[1.0]], [0.5], 1), "labels must be integers"),
        (lambda: kmeans_code([[1.0]], [[1.0]], [0], -1), "weight must be"),
        (lambda: nonnegative_code([[1.0]], [[1.0, 2.0]]), "D must have 1 columns"),
        (lambda: nonnegative_code([[1.0]], [[1.0]], max_iter=0), "max_iter must be"),
        (lambda: sylvester_code([[1.0]], [[1.0]], np.eye(2), 1), "C must have shape"),
        (lambda: dictionary_update([[1.0]], [[1.0]], [[2.0]]), "unit norm"),
        (
            lambda: dictionary_update([[1.0]], [[1.0]], [[1.0]], max_iter=0),
            "max_iter must be",
        ),
        (lambda: self_expression([[1.0], [2.0]], 1, "l3"), "penalty must be"),
        (lambda: self_expression([[1.0]], 1), "at least 2 rows"),
        (
            lambda: self_expression([[1.0], [2.0]], 1, "elasticnet", l1_ratio=0),
            "l1_ratio must be",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("h", [2, 8])
def test_neighbours_express_a_row_with_coefficients_that_add_up_to_one(h):
    """The optimality conditions: a gradient that is the same for all neighbours."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(12, h))
    neighbors = np.array(
        [rng.permutation(np.delete(np.arange(12), i))[:5] for i in range(12)]
    )
    C = neighbor_expression(Z, neighbors, 0.3).toarray()
    assert C.sum(1) == pytest.approx(np.ones(12))
    gradient = 2 * (C @ Z - Z) @ Z.T + 2 * 0.3 * C
    for i, row in enumerate(neighbors):
        assert np.ptp(gradient[i, row]) < 1e-10
        assert not C[i, np.setdiff1d(np.arange(12), row)].any()


def test_equal_neighbours_share_the_coefficient():
    C = neighbor_expression(np.ones((4, 3)), [[1, 2], [0, 3], [0, 1], [2, 0]], 1e-3)
    assert C.data == pytest.approx(np.full(8, 0.5))


# Tensors of a device


def solver_calls():
    """A call of each solver on rows X and codes Z, with what stays on the host."""
    rng = np.random.default_rng(0)
    T, D = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    atoms = normalize_atoms(D, np.ones((1, 4)))[0]
    neighbors = (np.arange(30)[:, None] + [1, 2, 5, 11, 28]) % 30
    dense, cut = random_expression(30, "dense"), random_expression(30, "sparse")
    labels = np.arange(30) % 3
    unused = np.arange(4) != 1
    dependent = np.vstack([T[:, :4], T[:2, :4] + T[2:, :4]])
    return {
        "transform_update": lambda X, Z, to: transform_update(X, Z, 0.3),
        "transform_update-wide": lambda X, Z, to: transform_update(X, Z[:, :2], 0.3),
        "transform_objective": lambda X, Z, to: transform_objective(X, Z, T, 0.3),
        "dictionary_update": lambda X, Z, to: dictionary_update(X, Z, atoms),
        "dictionary_update-unused": lambda X, Z, to: dictionary_update(
            X, Z * to(1.0 * unused), atoms
        ),
        "kmeans_code": lambda X, Z, to: kmeans_code(X, D, to(labels), 0.5),
        "nonnegative_code": lambda X, Z, to: nonnegative_code(
            X, D, target=Z, weight=0.2
        ),
        # Codes are not determined here, but what they make is.
        "nonnegative_code-dependent": lambda X, Z, to: (
            nonnegative_code(Z, dependent) @ to(dependent)
        ),
        "subspace_code-dense": lambda X, Z, to: subspace_code(X, T, to(dense), 0.5),
        "subspace_code-sparse": lambda X, Z, to: subspace_code(X, T, to(cut), 0.5),
        "sylvester_code-dense": lambda X, Z, to: sylvester_code(X, D, to(dense), 0.5),
        "sylvester_code-sparse": lambda X, Z, to: sylvester_code(X, D, to(cut), 0.5),
        "l1": lambda X, Z, to: self_expression(X, 0.3),
        "elasticnet": lambda X, Z, to: self_expression(X, 0.3, "elasticnet"),
        "l2": lambda X, Z, to: self_expression(X, 0.3, "l2"),
        "nuclear": lambda X, Z, to: self_expression(X, 0.3, "nuclear"),
        "neighbor_expression": lambda X, Z, to: neighbor_expression(
            X, to(neighbors), 0.3
        ),
    }


@pytest.mark.parametrize("name", solver_calls())
def test_tensors_give_what_arrays_give(name):
    rng = np.random.default_rng(1)
    X, Z = rng.normal(size=(30, 6)), rng.normal(size=(30, 4))
    call = solver_calls()[name]
    expected = call(X, Z, lambda value: value)
    with StandInDevice():

        def to_device(value):
            if sparse.issparse(value):
                return SparseMatrix.of_scipy(value, to_device(X))
            return torch.from_numpy(value).to("meta")

        found = host_matrix(call(to_device(X), to_device(Z), to_device))
    if sparse.issparse(expected):
        assert sparse.issparse(found)
        found, expected = found.toarray(), expected.toarray()
    # Rows of C are solved to a tolerance, from candidates in another order.
    assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_sparse_matrices_of_a_device_are_those_of_scipy(monkeypatch):
    monkeypatch.setattr(_sparse_matrix, "BLOCK_NUMBERS", 64)
    rng = np.random.default_rng(0)
    C = random_expression(20, "sparse")
    Z = rng.normal(size=(20, 3))
    device = SparseMatrix.of_scipy(C, torch.from_numpy(Z))
    assert_allclose(device @ torch.from_numpy(Z), C @ Z, atol=1e-12)
    assert_allclose(device.T @ torch.from_numpy(Z), C.T @ Z, atol=1e-12)
    for axis in (0, 1):
        assert_allclose(abs(device).sum(axis=axis), abs(C).sum(axis=axis))
    assert_allclose(device.squared().to_scipy().toarray(), C.toarray() ** 2)
    found = identity_minus(device).to_scipy().toarray()
    assert_allclose(found, np.eye(20) - C.toarray())


def test_a_stalled_solve_of_tensors_is_factorised_too(monkeypatch):
    real = _codes._conjugate_gradients
    X, T = make_data("random", 30, 5), make_data("random", 3, 5, seed=1)
    C = random_expression(30, "sparse")
    expected = subspace_code(X, T, C, 0.5)
    monkeypatch.setattr(
        _codes, "_conjugate_gradients", lambda *args: real(*args, max_iter=2)
    )
    X = torch.from_numpy(X)
    found = subspace_code(X, T, SparseMatrix.of_scipy(C, X), 0.5)
    assert_allclose(found, expected, atol=1e-9)
