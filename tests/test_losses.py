import itertools

import numpy as np
import pytest
import torch

from deepcluster_sk import losses

N, D, K = 7, 3, 4


def _double(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def _assignment(n=N, k=K, seed=0):
    return torch.softmax(2 * _double(n, k, seed=seed), dim=1)


def _kernel(n=N, seed=1):
    x = _double(n, D, seed=seed)
    return torch.exp(-(torch.cdist(x, x) ** 2) / 2)


def _labels():
    return torch.tensor([0, 1, 1, 3, 0, 3, 3])  # cluster 2 is empty


def _anchors():
    anchors = torch.zeros(N, N, dtype=torch.bool)
    for i, j in [(0, 1), (2, 5), (3, 4)]:
        anchors[i, j] = anchors[j, i] = True
    return anchors


# --- NumPy loops, written from the papers -------------------------------------------


def loop_student_t(z, mu, alpha):
    q = np.zeros((len(z), len(mu)))
    for i, j in np.ndindex(q.shape):
        q[i, j] = (1 + np.sum((z[i] - mu[j]) ** 2) / alpha) ** (-(alpha + 1) / 2)
    return q / q.sum(1, keepdims=True)


def loop_target(q):
    p = np.zeros_like(q)
    for i in range(len(q)):
        weights = [q[i, j] ** 2 / sum(q[:, j]) for j in range(q.shape[1])]
        p[i] = np.array(weights) / sum(weights)
    return p


def loop_balanced_target(p):
    q = np.zeros_like(p)
    for i in range(len(p)):
        weights = [p[i, j] / np.sqrt(sum(p[:, j])) for j in range(p.shape[1])]
        q[i] = np.array(weights) / sum(weights)
    return q


def loop_kl(p, q):
    total = 0
    for i, j in np.ndindex(p.shape):
        total += p[i, j] * np.log(p[i, j] / q[i, j])
    return total / len(p)


def loop_cauchy_schwarz(a, kernel):
    n, k = a.shape

    def overlap(i, j):
        return sum(
            a[s, i] * a[t, j] * kernel[s, t]
            for s, t in itertools.product(range(n), repeat=2)
        )

    terms = [
        overlap(i, j) / np.sqrt(overlap(i, i) * overlap(j, j))
        for i, j in itertools.combinations(range(k), 2)
    ]
    return sum(terms) / len(terms)


def loop_orthogonality(a):
    return np.mean([a[i] @ a[j] for i, j in itertools.combinations(range(len(a)), 2)])


def loop_simplex(a, kernel):
    corners = np.eye(a.shape[1])
    eta = np.zeros_like(a)
    for i, j in np.ndindex(a.shape):
        eta[i, j] = np.exp(-(np.linalg.norm(a[i] - corners[j]) ** 2))
    return loop_cauchy_schwarz(eta, kernel)


def loop_softmax(z, mu, tau):
    weights = np.zeros((len(z), len(mu)))
    for i, j in np.ndindex(weights.shape):
        weights[i, j] = np.exp(-tau * np.sum((z[i] - mu[j]) ** 2))
    return weights / weights.sum(1, keepdims=True)


def loop_entropy(a):
    return -sum(v * np.log(v) for v in a.ravel()) / len(a)


def loop_kmeans(z, mu):
    return np.mean([min(np.sum((row - m) ** 2) for m in mu) for row in z])


def loop_soft_kmeans(z, mu, alpha):
    weights = loop_softmax(z, mu, alpha)
    pairs = np.ndindex(weights.shape)
    return sum(weights[i, j] * np.sum((z[i] - mu[j]) ** 2) for i, j in pairs) / len(z)


def loop_gaussian_divergence(mean, log_variance, mu, mu_log_variance):
    """Differences of expected log-densities, feature by feature."""
    found = np.zeros((len(mean), len(mu)))
    for i, j in np.ndindex(found.shape):
        for m, s, c, t in zip(
            mean[i], log_variance[i], mu[j], mu_log_variance[j], strict=True
        ):
            entropy = (np.log(2 * np.pi) + s + 1) / 2
            cross = np.log(2 * np.pi) + t + (np.exp(s) + (m - c) ** 2) / np.exp(t)
            found[i, j] += cross / 2 - entropy
    return found


def loop_mixture_assignment(divergence, log_weights):
    weights = np.exp(log_weights) * np.exp(-divergence)
    return weights / weights.sum(1, keepdims=True)


def loop_mixture_divergence(divergence, log_weights, assignment=None):
    shares = np.exp(log_weights) / np.exp(log_weights).sum()
    if assignment is None:
        assignment = loop_mixture_assignment(divergence, log_weights)
    total = 0
    for i, j in np.ndindex(divergence.shape):
        ratio = np.log(assignment[i, j] / shares[j])
        total += assignment[i, j] * (divergence[i, j] + ratio)
    return total / len(divergence)


def loop_reweighted_kmeans(z, mu, labels, sizes, smoothing):
    total = sum(sizes)
    smoothed = [
        (s + smoothing) * total / (total + smoothing * len(sizes)) for s in sizes
    ]
    omega = [s / np.mean(smoothed) for s in smoothed]
    terms = [
        np.sum((row - mu[c]) ** 2) / omega[c] for row, c in zip(z, labels, strict=True)
    ]
    return np.mean(terms)


def _cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def loop_anchor(z, anchors, alpha):
    similar, other = [], []
    for i, j in itertools.product(range(len(z)), repeat=2):
        cosine = _cosine(z[i], z[j])
        if anchors[i, j]:
            similar.append(cosine)
        else:
            other.append(abs(cosine))
    return np.mean(other) - (1 - alpha) * np.mean(similar)


def loop_spherical(z, mu, labels):
    return -np.mean([_cosine(row, mu[c]) for row, c in zip(z, labels, strict=True)])


def loop_between(z, labels):
    return max(
        np.mean([abs(_cosine(x, y)) for x in z[labels == a] for y in z[labels == b]])
        for a, b in itertools.combinations(sorted(set(labels)), 2)
    )


def loop_within(z, labels):
    return -sum(
        np.mean([_cosine(x, y) for x in z[labels == c] for y in z[labels == c]])
        for c in set(labels)
    )


def loop_mean_squared(r, x):
    return sum((a - b) ** 2 for a, b in zip(r.ravel(), x.ravel(), strict=True)) / x.size


def loop_layerwise(first, second, x, h):
    total = 0
    for i in range(len(x)):
        for made, clean in ((first, x), (second, h)):
            errors = (made[i] - clean[i]).ravel() ** 2
            total += sum(errors) / errors.size
    return total / len(x)


def loop_construction(r, x, centers):
    total = 0
    for i, label in enumerate([0, -1, 1, 3, -1, 3, 3]):
        target = x[i] if label == -1 else centers[label]
        total += np.sum((r[i] - target) ** 2) / x.shape[1]
    return total / len(x)


def loop_tensorized(z, r, x, code_penalty):
    cost = np.zeros((len(x), len(z)))
    for i, j in np.ndindex(cost.shape):
        cost[i, j] = np.sum((x[i] - r[j, i]) ** 2) - code_penalty * np.sum(z[j, i] ** 2)
    return cost


def loop_simplex_projection(x):
    """Bisection on the threshold t of max(x - t, 0), whose sum falls with t."""
    rows = []
    for row in x:
        low, high = row.min() - 1, row.max()
        for _ in range(100):
            middle = (low + high) / 2
            above = np.maximum(row - middle, 0).sum() > 1
            low, high = (middle, high) if above else (low, middle)
        rows.append(np.maximum(row - low, 0))
    return np.array(rows)


def loop_neighbor(z, weights, repulsion):
    near, far, attraction, repelled = 0, 0, 0, 0
    for i, j in itertools.permutations(range(len(z)), 2):
        similarity = 1 / (1 + np.sum((z[i] - z[j]) ** 2))
        near += weights[i, j]
        far += 1 - weights[i, j]
        attraction -= weights[i, j] * np.log(similarity)
        repelled -= (1 - weights[i, j]) * np.log(1 - similarity)
    return attraction / near + repulsion * repelled / far


# --- Every formula against its loop -------------------------------------------------

CASES = {
    "student_t": (
        lambda z, mu: losses.student_t_assignment(z, mu, alpha=2.5),
        lambda z, mu: loop_student_t(z, mu, 2.5),
        (_double(N, D), _double(K, D, seed=1)),
    ),
    "target": (losses.target_distribution, loop_target, (_assignment(),)),
    "balanced": (losses.balanced_target, loop_balanced_target, (_assignment(),)),
    "kl": (losses.kl_divergence, loop_kl, (_assignment(), _assignment(seed=1))),
    "cauchy_schwarz": (
        losses.cauchy_schwarz_loss,
        loop_cauchy_schwarz,
        (_assignment(), _kernel()),
    ),
    "orthogonality": (
        losses.assignment_orthogonality,
        loop_orthogonality,
        (_assignment(),),
    ),
    "simplex": (losses.simplex_corner_loss, loop_simplex, (_assignment(), _kernel())),
    "softmax": (
        lambda z, mu: losses.softmax_assignment(z, mu, temperature=0.7),
        lambda z, mu: loop_softmax(z, mu, 0.7),
        (_double(N, D), _double(K, D, seed=1)),
    ),
    "entropy": (losses.assignment_entropy, loop_entropy, (_assignment(),)),
    "kmeans": (losses.kmeans_loss, loop_kmeans, (_double(N, D), _double(K, D, seed=1))),
    "soft_kmeans": (
        lambda z, mu: losses.soft_kmeans_loss(z, mu, alpha=0.7),
        lambda z, mu: loop_soft_kmeans(z, mu, 0.7),
        (_double(N, D), _double(K, D, seed=1)),
    ),
    "gaussian_divergence": (
        losses.gaussian_divergence,
        loop_gaussian_divergence,
        (_double(N, D), _double(N, D, seed=1), _double(K, D, seed=2), _double(K, D)),
    ),
    "mixture_assignment": (
        losses.mixture_assignment,
        loop_mixture_assignment,
        (_double(N, K).square(), _double(K, seed=1)),
    ),
    "mixture_divergence": (
        losses.mixture_divergence,
        loop_mixture_divergence,
        (_double(N, K).square(), _double(K, seed=1)),
    ),
    "mixture_divergence_of": (
        losses.mixture_divergence,
        loop_mixture_divergence,
        (_double(N, K).square(), _double(K, seed=1), _assignment()),
    ),
    "reweighted_kmeans": (
        lambda z, mu: losses.kmeans_loss(
            z,
            mu,
            _labels(),
            losses.inverse_size_weights(torch.bincount(_labels()), 0.5),
        ),
        lambda z, mu: loop_reweighted_kmeans(
            z, mu, _labels().numpy(), np.bincount(_labels()), 0.5
        ),
        (_double(N, D), _double(K, D, seed=1)),
    ),
    "anchor": (
        lambda z: losses.anchor_similarity_loss(z, _anchors(), alpha=0.3),
        lambda z: loop_anchor(z, _anchors().numpy(), 0.3),
        (_double(N, D),),
    ),
    "spherical_kmeans": (
        lambda z, mu: losses.spherical_kmeans_loss(z, mu, _labels()),
        lambda z, mu: loop_spherical(z, mu, _labels().numpy()),
        (_double(N, D), _double(K, D, seed=1)),
    ),
    "between": (
        lambda z: losses.between_cluster_loss(z, _labels(), K),
        lambda z: loop_between(z, _labels().numpy()),
        (_double(N, D),),
    ),
    "within": (
        lambda z: losses.within_cluster_loss(z, _labels(), K),
        lambda z: loop_within(z, _labels().numpy()),
        (_double(N, D),),
    ),
    "neighbor": (
        lambda z: losses.neighbor_loss(z, _kernel(), repulsion=0.7),
        lambda z: loop_neighbor(z, _kernel().numpy(), 0.7),
        (_double(N, D),),
    ),
    "mean_squared": (
        losses.mean_squared_error,
        loop_mean_squared,
        (_double(N, D), _double(N, D, seed=1)),
    ),
    "layerwise": (
        lambda a, b, x, h: losses.layerwise_error([a, b], [x, h]),
        loop_layerwise,
        (
            _double(N, D),
            _double(N, 2, 3, 2, seed=1),
            _double(N, D, seed=2),
            _double(N, 2, 3, 2, seed=3),
        ),
    ),
    "construction": (
        lambda r, x, mu: losses.construction_loss(
            r, x, mu, torch.tensor([0, -1, 1, 3, -1, 3, 3])
        ),
        loop_construction,
        (_double(N, D), _double(N, D, seed=1), _double(K, D, seed=2)),
    ),
    "tensorized": (
        lambda z, r, x: losses.tensorized_cost(z, r, x, code_penalty=-0.3),
        lambda z, r, x: loop_tensorized(z, r, x, -0.3),
        (_double(K, N, 2), _double(K, N, D, seed=1), _double(N, D, seed=2)),
    ),
    "simplex_projection": (
        losses.simplex_projection,
        loop_simplex_projection,
        (_double(N, K),),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_matches_numpy_loop(name):
    loss, loop, inputs = CASES[name]
    expected = loop(*(x.numpy() for x in inputs))
    np.testing.assert_allclose(loss(*inputs).numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_gradient_matches_finite_differences(name):
    loss, _, inputs = CASES[name]
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(loss, inputs)


def test_every_public_function_has_a_case():
    called = {name for case in CASES.values() for name in _names_called(case[0])}
    assert called == set(losses.__all__)


def _names_called(function):
    return (set(function.__code__.co_names) | {function.__name__}) & set(losses.__all__)


# --- Invariants ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["cauchy_schwarz", "orthogonality", "simplex", "entropy", "kl"]
)
def test_permuting_clusters_changes_no_loss(name):
    loss, _, inputs = CASES[name]
    order = torch.tensor([2, 0, 3, 1])
    permuted = [x[:, order] if x.shape == (N, K) else x for x in inputs]
    torch.testing.assert_close(loss(*permuted), loss(*inputs))


@pytest.mark.parametrize("name", ["student_t", "softmax"])
def test_permuting_centroids_permutes_assignments(name):
    assign, _, (z, mu) = CASES[name]
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(assign(z, mu[order]), assign(z, mu)[:, order])


@pytest.mark.parametrize(
    "name",
    ["student_t", "softmax", "target", "balanced", "mixture_assignment"],
    ids=lambda name: name,
)
def test_assignments_are_distributions(name):
    assign, _, inputs = CASES[name]
    out = assign(*inputs)
    assert (out >= 0).all()
    torch.testing.assert_close(out.sum(1), torch.ones(N, dtype=torch.float64))


@pytest.mark.parametrize("name", ["kl", "entropy", "kmeans", "soft_kmeans"])
def test_duplicating_the_batch_changes_no_mean(name):
    loss, _, inputs = CASES[name]
    doubled = [torch.cat([x, x]) if len(x) == N else x for x in inputs]
    torch.testing.assert_close(loss(*doubled), loss(*inputs))


def test_duplicating_the_batch_keeps_the_cauchy_schwarz_loss():
    a, kernel = _assignment(), _kernel()
    torch.testing.assert_close(
        losses.cauchy_schwarz_loss(torch.cat([a, a]), kernel.repeat(2, 2)),
        losses.cauchy_schwarz_loss(a, kernel),
    )


def test_cauchy_schwarz_ignores_the_scale_of_kernel_and_clusters():
    a, kernel = _assignment(), _kernel()
    scale = torch.tensor([0.1, 1.0, 5.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(
        losses.cauchy_schwarz_loss(a * scale, 7 * kernel),
        losses.cauchy_schwarz_loss(a, kernel),
    )


@pytest.mark.parametrize("name", ["anchor", "spherical_kmeans", "between", "within"])
def test_only_directions_count(name):
    loss, _, (z, *rest) = CASES[name]
    lengths = torch.linspace(0.1, 9, N, dtype=torch.float64)[:, None]
    torch.testing.assert_close(loss(z * lengths, *rest), loss(z, *rest))


def test_student_t_tends_to_a_gaussian_for_many_degrees_of_freedom():
    z, mu = _double(N, D), _double(K, D, seed=1)
    gaussian = losses.softmax_assignment(z, mu, temperature=0.5)
    torch.testing.assert_close(
        losses.student_t_assignment(z, mu, alpha=1e9), gaussian, rtol=1e-6, atol=1e-6
    )


def test_target_distribution_sharpens():
    # On balanced clusters the largest entry of every row grows.
    q = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    assert (losses.target_distribution(q).amax(1) > q.amax(1)).all()


def balance_objective(q, p):
    """KL(q || p) of the rows, and of the sizes of clusters from equal ones."""
    share = q.mean(0)
    return losses.kl_divergence(q, p) + (share * (share * p.shape[1]).log()).sum()


def test_balanced_target_minimises_its_objective_where_all_rows_are_alike():
    p = _assignment(1).expand(N, K)
    best = losses.balanced_target(p)
    least = balance_objective(best, p)
    for seed in range(20):
        other = torch.softmax(best[:1].log() + 0.1 * _double(1, K, seed=seed), 1)
        assert balance_objective(other.expand(N, K), p) > least


def test_balanced_target_lowers_its_objective_and_makes_clusters_more_equal():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, K, dtype=torch.float64, generator=generator)
    p = torch.softmax(logits + torch.tensor([2.0, 1.0, 0.0, -1.0]), 1)
    q = losses.balanced_target(p)
    assert balance_objective(q, p) < balance_objective(p, p)
    sizes = q.mean(0)
    assert (sizes.argsort() == p.mean(0).argsort()).all()
    assert sizes.max() / sizes.min() < 0.7 * p.mean(0).max() / p.mean(0).min()
    # Of clusters of equal size it changes nothing.
    even = torch.cat([p.roll(shift, 1) for shift in range(K)])
    torch.testing.assert_close(losses.balanced_target(even), even)


def test_kl_divergence_vanishes_only_at_equality():
    q = _assignment()
    assert losses.kl_divergence(q, q) == 0
    assert losses.kl_divergence(_assignment(seed=1), q) > 0.01


def test_well_separated_clusters_minimise_the_divergence_losses():
    hard = torch.eye(2, dtype=torch.float64).repeat_interleave(3, dim=0)
    block = hard @ hard.T  # the kernel of two far-apart points
    mixed = torch.full_like(hard, 0.5)
    assert losses.cauchy_schwarz_loss(hard, block) < 1e-8
    torch.testing.assert_close(
        losses.cauchy_schwarz_loss(mixed, block), torch.ones((), dtype=torch.float64)
    )
    assert losses.simplex_corner_loss(hard, block) < losses.simplex_corner_loss(
        mixed, block
    )


def test_discriminative_losses_have_the_sign_of_a_loss():
    good = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    bad = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 0, 1, 1])
    anchors = (labels[:, None] == labels) & ~torch.eye(4, dtype=torch.bool)
    for loss in (
        lambda z: losses.anchor_similarity_loss(z, anchors),
        lambda z: losses.spherical_kmeans_loss(z, torch.eye(2), labels),
        lambda z: losses.between_cluster_loss(z, labels, 2),
        lambda z: losses.within_cluster_loss(z, labels, 2),
    ):
        assert loss(good) < loss(bad)


def test_between_cluster_loss_follows_the_worst_pair_only():
    z = torch.tensor(
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]], requires_grad=True
    )
    losses.between_cluster_loss(z, torch.tensor([0, 1, 2]), 3).backward()
    assert (z.grad[0] == 0).all()
    assert (z.grad[1:].abs().sum(1) > 0).all()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_neighbor_loss_of_few_or_equal_rows_is_finite(n, weight):
    z = torch.zeros(n, D, requires_grad=True)
    loss = losses.neighbor_loss(z, torch.full((n, n), weight))
    loss.backward()
    assert torch.isfinite(loss) and loss >= 0
    assert torch.isfinite(z.grad).all()
    if n == 1 or weight == 1:  # neighbours at the same place, or nobody
        assert loss == 0


def test_neighbor_loss_ignores_the_diagonal_and_the_order_of_rows():
    z, weights = _double(N, D), _kernel()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    expected = losses.neighbor_loss(z, weights)
    torch.testing.assert_close(
        losses.neighbor_loss(z[order], weights[order][:, order]), expected
    )
    torch.testing.assert_close(
        losses.neighbor_loss(z, weights * (1 - torch.eye(N))), expected
    )
    with pytest.raises(ValueError, match="repulsion must be above 0"):
        losses.neighbor_loss(z, weights, repulsion=0)


def test_labels_default_to_the_nearest_centroid():
    z, mu = _double(N, D), _double(K, D, seed=1)
    nearest = torch.cdist(z, mu).argmin(1)
    assert losses.kmeans_loss(z, mu) == losses.kmeans_loss(z, mu, nearest)
    unit = torch.nn.functional.normalize
    closest = (unit(z) @ unit(mu).T).argmax(1)
    assert losses.spherical_kmeans_loss(z, mu) == losses.spherical_kmeans_loss(
        z, mu, closest
    )


def test_squared_distances_have_gradients_where_they_vanish():
    z, mu = torch.zeros(2, 3, requires_grad=True), torch.eye(2, 3, requires_grad=True)
    with torch.no_grad():
        z[0] = mu[0]
    losses.squared_distances(z, mu).sum().backward()
    differences = z[:, None] - mu
    assert_close = torch.testing.assert_close
    assert_close(z.grad, 2 * differences.sum(1), rtol=0, atol=0)
    assert_close(mu.grad, -2 * differences.sum(0), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("of_rows", "of_centers"),
    [
        (torch.float64, torch.float32),
        (torch.float32, torch.int64),
        (torch.bfloat16, torch.bfloat16),
        (torch.int64, torch.int64),
    ],
)
@pytest.mark.parametrize("trained", [False, True])
def test_squared_distances_of_any_types(of_rows, of_centers, trained):
    z = torch.tensor([[3.0, 4.0]]).to(of_rows)
    if trained and of_rows.is_floating_point:
        z.requires_grad_()
    found = losses.squared_distances(z, torch.zeros(2, 2).to(of_centers))
    assert found.dtype == torch.promote_types(of_rows, of_centers)
    assert found.tolist() == [[25, 25]]


def test_squared_distances_are_those_to_where_centers_were():
    z, mu = _double(N, D).requires_grad_(), _double(K, D, seed=1)
    there = mu.clone()
    loss = losses.squared_distances(z, mu).sum()
    mu += 1  # as where a criterion moves them before the step
    loss.backward()
    torch.testing.assert_close(z.grad, 2 * (z[:, None] - there).sum(1))


def test_soft_kmeans_tends_to_kmeans_and_to_the_mean_over_centroids():
    z, mu = _double(N, D), _double(K, D, seed=1)
    distance = losses.squared_distances(z, mu)
    torch.testing.assert_close(losses.soft_kmeans_loss(z, mu, 1e-9), distance.mean())
    torch.testing.assert_close(
        losses.soft_kmeans_loss(z, mu, 1e5), losses.kmeans_loss(z, mu)
    )
    with pytest.raises(ValueError, match="alpha must be above 0"):
        losses.soft_kmeans_loss(z, mu, 0.0)


N_DRAWS = 1_000_000


def _log_density(z, mean, log_variance):
    """Of a Gaussian of diagonal covariance."""
    squared = (z - mean) ** 2 / np.exp(log_variance)
    return -(squared + log_variance + np.log(2 * np.pi)).sum(-1) / 2


def _gaussians():
    """Of one row and of K clusters, in two dimensions."""
    row = 0.5 * _double(1, 2), 0.5 * _double(1, 2, seed=1)
    return *row, 0.5 * _double(K, 2, seed=2), 0.5 * _double(K, 2, seed=3)


def test_gaussian_divergence_is_that_of_draws():
    mean, log_variance, mu, mu_log_variance = (x.numpy() for x in _gaussians())
    noise = np.random.default_rng(0).normal(size=(N_DRAWS, 2))
    z = mean + np.exp(log_variance / 2) * noise
    found = losses.gaussian_divergence(*_gaussians())[0]
    for j in range(K):
        ratio = _log_density(z, mean, log_variance)
        ratio -= _log_density(z, mu[j], mu_log_variance[j])
        assert float(found[j]) == pytest.approx(ratio.mean(), abs=1e-2)


def test_mixture_divergence_is_that_of_draws_of_code_and_cluster():
    mean, log_variance, mu, mu_log_variance = (x.numpy() for x in _gaussians())
    log_weights, assignment = _double(K, seed=4), _assignment(1)
    shares, gamma = log_weights.softmax(0).numpy(), assignment[0].numpy()
    rng = np.random.default_rng(0)
    z = mean + np.exp(log_variance / 2) * rng.normal(size=(N_DRAWS, 2))
    c = rng.choice(K, size=N_DRAWS, p=gamma)
    posterior = _log_density(z, mean, log_variance) + np.log(gamma[c])
    prior = _log_density(z, mu[c], mu_log_variance[c]) + np.log(shares[c])
    divergence = losses.gaussian_divergence(*_gaussians())
    found = losses.mixture_divergence(divergence, log_weights, assignment)
    assert float(found) == pytest.approx((posterior - prior).mean(), abs=1e-2)


def test_no_assignment_makes_the_mixture_divergence_smaller():
    divergence, log_weights = _double(N, K).square(), _double(K, seed=1)
    best = losses.mixture_assignment(divergence, log_weights)
    least = losses.mixture_divergence(divergence, log_weights)
    given = losses.mixture_divergence(divergence, log_weights, best)
    torch.testing.assert_close(given, least)
    for seed in range(5):
        other = 0.9 * best + 0.1 * _assignment(seed=seed)
        assert losses.mixture_divergence(divergence, log_weights, other) > least


def test_mixture_divergence_where_an_assignment_vanishes():
    divergence, log_weights = torch.tensor([[2.0, 1e4]]), torch.zeros(2)
    hard = torch.tensor([[1.0, 0.0]])
    value, _ = _value_and_gradients(
        losses.mixture_divergence, divergence, log_weights, hard
    )
    assert value == pytest.approx(2 + np.log(2))
    log = losses.mixture_assignment(divergence, log_weights, log=True)
    torch.testing.assert_close(log, torch.tensor([[0.0, -9998.0]]))


def test_inverse_size_weights_undo_the_size_of_clusters():
    # Eq. 11: with weights 1 / omega the loss is the plain mean of cluster variances.
    labels = torch.tensor([0] * 6 + [1] * 2)
    z, mu = _double(8, D), _double(2, D, seed=1)
    weights = losses.inverse_size_weights(torch.bincount(labels).double(), 1e-12)
    variances = [losses.kmeans_loss(z[labels == c], mu[c : c + 1]) for c in (0, 1)]
    torch.testing.assert_close(
        losses.kmeans_loss(z, mu, labels, weights), sum(variances) / 2
    )


def test_inverse_size_weights_of_empty_clusters_are_finite():
    assert losses.inverse_size_weights(torch.zeros(3)).tolist() == [1, 1, 1]
    weights = losses.inverse_size_weights(torch.tensor([0.0, 10.0]), smoothing=5.0)
    torch.testing.assert_close(weights, torch.tensor([2.0, 2 / 3]))


# --- Edges: empty clusters, one cluster, one sample, zero codes ---------------------


def _value_and_gradients(loss, *inputs):
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = loss(*inputs)
    value.backward()
    assert torch.isfinite(value)
    for x in inputs:
        assert torch.isfinite(x.grad).all()
    return value.detach(), [x.grad for x in inputs]


def test_empty_cluster_in_the_targets():
    q = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])
    for target in (losses.balanced_target, losses.target_distribution):
        p = target(q)
        torch.testing.assert_close(p[:, :2], target(q[:, :2]))
        assert (p[:, 2] == 0).all()
    value, _ = _value_and_gradients(losses.kl_divergence, p, q)
    torch.testing.assert_close(value, losses.kl_divergence(p[:, :2], q[:, :2]))
    _value_and_gradients(lambda q: losses.target_distribution(q).square().sum(), q)


@pytest.mark.parametrize("name", ["target_distribution", "balanced_target"])
def test_the_target_of_a_part_is_that_part_of_the_target(name):
    target_of = getattr(losses, name)
    q = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    part = target_of(q[4:9], q.sum(0))
    torch.testing.assert_close(part, target_of(q)[4:9], rtol=0, atol=0)


def test_target_distribution_survives_underflow():
    # The second cluster's squares underflow in float32, its shares must not.
    q = torch.tensor([[1.0, 1e-30], [1.0, 1e-30]])
    expected = loop_target(q.double().numpy())
    torch.testing.assert_close(
        losses.target_distribution(q).double(), torch.tensor(expected)
    )


def test_student_t_far_from_all_centroids():
    z = torch.full((1, 2), 1e15)
    assert losses.student_t_assignment(z, torch.zeros(2, 2)).tolist() == [[0.5, 0.5]]


def test_kl_divergence_where_the_assignment_vanishes():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]])
    value, _ = _value_and_gradients(losses.kl_divergence, p, q)
    assert value > 40


def test_assignment_entropy_of_hard_and_uniform_assignments():
    assert _value_and_gradients(losses.assignment_entropy, torch.eye(3))[0] == 0
    uniform = losses.assignment_entropy(torch.full((2, 8), 1 / 8))
    torch.testing.assert_close(uniform, torch.tensor(8.0).log())


@pytest.mark.parametrize(
    "loss", [losses.cauchy_schwarz_loss, losses.simplex_corner_loss]
)
def test_an_empty_cluster_gives_finite_gradients(loss):
    a = torch.cat([_assignment(), torch.zeros(N, 1, dtype=torch.float64)], dim=1)
    value, (grad, _) = _value_and_gradients(loss, a, _kernel())
    assert 0 < value <= 1
    assert grad.abs().sum() > 0


@pytest.mark.parametrize(
    "loss", [losses.cauchy_schwarz_loss, losses.simplex_corner_loss]
)
def test_one_cluster_has_loss_zero_attached_to_the_graph(loss):
    value, (grad, _) = _value_and_gradients(loss, torch.ones(N, 1), _kernel().float())
    assert value == 0
    assert (grad == 0).all()


def test_one_sample_has_no_pairs():
    value, _ = _value_and_gradients(losses.assignment_orthogonality, torch.ones(1, 3))
    assert value == 0


@pytest.mark.parametrize("name", ["anchor", "spherical_kmeans", "between", "within"])
def test_zero_codes_have_modest_gradients(name):
    loss, _, (z, *rest) = CASES[name]
    z = z.clone()
    z[0] = 0
    _, grads = _value_and_gradients(loss, z, *rest)
    assert grads[0][0].abs().max() < 10


def test_anchor_loss_without_anchors_or_without_others():
    z = _double(N, D)
    none = torch.zeros(N, N, dtype=torch.bool)
    cosine = torch.nn.functional.normalize(z) @ torch.nn.functional.normalize(z).T
    value, _ = _value_and_gradients(lambda z: losses.anchor_similarity_loss(z, none), z)
    torch.testing.assert_close(value, cosine.abs().mean())
    value, _ = _value_and_gradients(
        lambda z: losses.anchor_similarity_loss(z, ~none, alpha=0.0), z
    )
    torch.testing.assert_close(value, -cosine.mean())


def test_between_cluster_loss_with_one_cluster_present():
    labels = torch.full((N,), 2)
    value, (grad,) = _value_and_gradients(
        lambda z: losses.between_cluster_loss(z, labels, K), _double(N, D)
    )
    assert value == 0
    assert (grad == 0).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda z: losses.student_t_assignment(z, z, alpha=0), "alpha must be above 0"),
        (lambda z: losses.softmax_assignment(z, z, temperature=-1), "temperature must"),
        (lambda z: losses.inverse_size_weights(z[0], smoothing=0), "smoothing must be"),
        (
            lambda z: losses.anchor_similarity_loss(z, _anchors(), 1),
            r"alpha must be in",
        ),
        (
            lambda z: losses.anchor_similarity_loss(z, _anchors()[:2]),
            r"shape \(7, 7\); got torch.bool of shape \(2, 7\)",
        ),
        (
            lambda z: losses.anchor_similarity_loss(z, _anchors().double()),
            "got torch.float64",
        ),
    ],
)
def test_refused_parameters(call, message):
    with pytest.raises(ValueError, match=message):
        call(_double(N, D))


def test_logarithm_of_the_student_t_assignment_outlives_the_assignment():
    centers = torch.tensor([[0.0], [1e-3]])
    x = torch.tensor([[5.0], [0.2]])
    torch.testing.assert_close(
        losses.student_t_assignment(x, centers, log=True).exp(),
        losses.student_t_assignment(x, centers),
    )
    sharp = {"alpha": 1e3, "embedding": torch.zeros(1, 1)}
    far = torch.tensor([[0.0], [50.0]])
    assert losses.student_t_assignment(centers=far, **sharp)[0, 1] == 0
    log = losses.student_t_assignment(centers=far, **sharp, log=True)
    expected = -500.5 * np.log1p(2.5)
    torch.testing.assert_close(log[0], torch.tensor([0.0, expected]).float())
