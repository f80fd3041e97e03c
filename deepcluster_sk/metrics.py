"""Measures of a clustering, with and without labels, and of how objectives agree."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.polynomial import Polynomial
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score, pairwise_distances_chunked
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import (
    _safe_indexing,
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _num_samples

from deepcluster_sk._estimator._decorators import validate_params

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ObjectiveMismatch",
    "clustering_accuracy",
    "feature_drift",
    "neighbor_agreement",
    "objective_mismatch",
    "silhouette",
    "stability_score",
]


def clustering_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of samples labelled right under the best one-to-one matching of labels.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True classes, of any type.
    y_pred : array-like of shape (n_samples,)
        Cluster labels, of any type; -1 is a label like any other.

    Returns
    -------
    accuracy : float
        In (0, 1]; 1.0 for a perfect match.

    Raises
    ------
    ValueError
        If the arrays are empty, not one-dimensional or of different lengths.

    See Also
    --------
    sklearn.metrics.adjusted_rand_score : Corrected for chance.

    Notes
    -----
    The matching is found by the Hungarian method [1]_. Where there are more clusters
    than classes (or fewer), those left over count as errors.

    References
    ----------
    .. [1] Kuhn, "The Hungarian method for the assignment problem", Naval Research
       Logistics Quarterly, 1955.

    Examples
    --------
    >>> from deepcluster_sk.metrics import clustering_accuracy
    >>> clustering_accuracy(["a", "a", "b", "b"], [1, 1, 0, 1])
    0.75
    """
    y_true, y_pred = column_or_1d(y_true), column_or_1d(y_pred)
    check_consistent_length(y_true, y_pred)
    if len(y_true) == 0:
        raise ValueError(
            "Found array with 0 sample(s) while a minimum of 1 is required."
        )
    counts = contingency_matrix(y_true, y_pred)
    matched = counts[linear_sum_assignment(counts, maximize=True)].sum()
    return float(matched / len(y_true))


def disjoint_parts(n_samples, random_state):
    """Positions of two halves to fit, and of a third part to compare, at random.

    Parameters
    ----------
    n_samples : int
    random_state : RandomState instance

    Returns
    -------
    first, second, third : ndarrays
        Of two fifths of the rows, two fifths, and the rest.
    """
    order = random_state.permutation(n_samples)
    size = 2 * n_samples // 5
    return order[:size], order[size : 2 * size], order[2 * size :]


@validate_params(
    {
        "estimator": [HasMethods(["fit", "predict"])],
        "X": ["array-like"],
        "n_splits": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def stability_score(
    estimator: Any,
    X: ArrayLike,
    *,
    n_splits: int = 5,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    """Agreement of fits to disjoint halves on rows that neither saw.

    Too many clusters cut something whole in two, each time elsewhere.

    Parameters
    ----------
    estimator : estimator with `fit` and `predict`
        It is cloned; the clones are fitted.
    X : array-like of shape (n_samples, n_features)
        At least five rows.
    n_splits : int, default=5
        Number of splits into two fifths, two fifths and a fifth of the rows.
    random_state : int, RandomState instance or None, default=None
        Determines the splits. Pass an int for the same result at every call, if the
        estimator has one too.

    Returns
    -------
    stability : float
        Mean adjusted Rand index, in [-0.5, 1]: 1 where the fits always agree, about 0
        where they agree as by chance.

    Raises
    ------
    ValueError
        If X has fewer than five rows, or `estimator` refuses them.

    See Also
    --------
    deepcluster_sk.model_selection.NumberOfClustersSearch : Compares numbers of
        clusters with each other and with data without clusters.

    Notes
    -----
    The cost is that of `2 * n_splits` fits to two fifths of the rows. Data without
    clusters can be stable too: a long cloud is cut across at the same place each
    time [1]_. So values of different numbers of clusters should not be compared
    unless corrected for what such data show.

    References
    ----------
    .. [1] U. von Luxburg. Clustering stability: an overview. Foundations and Trends
       in Machine Learning 2 (2010).

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from deepcluster_sk.metrics import stability_score
    >>> X, _ = make_blobs(200, centers=[(0, 0), (0, 9), (9, 0)], random_state=0)
    >>> model = KMeans(3, n_init=10, random_state=0)
    >>> stability_score(model, X, random_state=0)
    1.0
    """
    n_samples = _num_samples(X)
    if n_samples < 5:
        raise ValueError(
            f"Found array with {n_samples} sample(s) while a minimum of 5 is required "
            "by stability_score."
        )
    random_state = check_random_state(random_state)
    agreement = []
    for _ in range(n_splits):
        *halves, third = (
            _safe_indexing(X, part) for part in disjoint_parts(n_samples, random_state)
        )
        first, second = (clone(estimator).fit(half).predict(third) for half in halves)
        agreement.append(adjusted_rand_score(first, second))
    return float(np.mean(agreement))


SAMPLED = {
    "X": ["array-like"],
    "labels": ["array-like"],
    "sample_size": [Interval(Integral, 1, None, closed="left"), None],
    "random_state": ["random_state"],
}


def _table_and_labels(X, labels):
    X = check_array(X, dtype=[np.float64, np.float32], ensure_min_samples=2)
    labels = column_or_1d(labels)
    check_consistent_length(X, labels)
    return X, np.unique(labels, return_inverse=True)[1]


def _sample(n_samples, sample_size, random_state):
    """Positions of a sample without repetitions, or of all."""
    if sample_size is None or sample_size >= n_samples:
        return np.arange(n_samples)
    random_state = check_random_state(random_state)
    return random_state.choice(n_samples, sample_size, replace=False)


@validate_params(
    {**SAMPLED, "n_neighbors": [Interval(Integral, 1, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def neighbor_agreement(
    X: ArrayLike,
    labels: ArrayLike,
    *,
    n_neighbors: int = 10,
    sample_size: int | None = 10_000,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    """Share of near neighbours in the same cluster, corrected for chance.

    High where the borders of clusters run through empty space, whatever the shape of
    clusters.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, or their embedding.
    labels : array-like of shape (n_samples,)
        Cluster labels, of any type; -1 is a label like any other.
    n_neighbors : int, default=10
        Number of neighbours of each row, itself left out; all others if there are no
        more rows.
    sample_size : int or None, default=10_000
        Number of rows whose neighbours are looked up, among all. None takes all.
    random_state : int, RandomState instance or None, default=None
        Determines the sample. Pass an int for the same result at every call.

    Returns
    -------
    agreement : float
        At most 1, where no row has a neighbour of another cluster; about 0 for labels
        by chance, and 0 for a single cluster.

    Raises
    ------
    ValueError
        If X has fewer than two rows, or is not as long as `labels`.

    Notes
    -----
    With a the share of neighbours in the same cluster and e that of pairs of rows,
    ``(a - e) / (1 - e)``. The cost is that of finding the neighbours of `sample_size`
    rows among n_samples, with a tree where there are few features, and never more
    memory than a block of distances.

    Examples
    --------
    >>> from deepcluster_sk.metrics import neighbor_agreement
    >>> X = [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]
    >>> neighbor_agreement(X, [0, 0, 0, 1, 1, 1], n_neighbors=2)
    1.0
    >>> neighbor_agreement(X, [0, 1, 0, 1, 0, 1], n_neighbors=2) < 0
    True
    """
    X, labels = _table_and_labels(X, labels)
    n = len(X)
    sizes = np.bincount(labels)
    by_chance = (sizes * (sizes - 1.0)).sum() / (n * (n - 1.0))
    if by_chance == 1:
        return 0.0
    rows = _sample(n, sample_size, random_state)
    # A row need not come first among its own neighbours: others may be equal to it.
    n_neighbors = min(n_neighbors, n - 1)
    finder = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(X)
    found = finder.kneighbors(X[rows], return_distance=False)
    itself = found == rows[:, None]
    itself[~itself.any(axis=1), -1] = True
    others = labels[found[~itself].reshape(len(rows), n_neighbors)]
    agreement = (others == labels[rows, None]).mean()
    return float((agreement - by_chance) / (1 - by_chance))


@validate_params(SAMPLED, prefer_skip_nested_validation=True)
def silhouette(
    X: ArrayLike,
    labels: ArrayLike,
    *,
    sample_size: int | None = 10_000,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    """Mean silhouette of a sample of rows, by their distances to all.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, or their embedding.
    labels : array-like of shape (n_samples,)
        Cluster labels, of any type; -1 is a label like any other.
    sample_size : int or None, default=10_000
        Number of rows whose silhouettes are averaged. None takes all.
    random_state : int, RandomState instance or None, default=None
        Determines the sample. Pass an int for the same result at every call.

    Returns
    -------
    silhouette : float
        In [-1, 1]; high where rows are much nearer to their own cluster than to the
        next. Rows that are a cluster of their own count as 0.

    Raises
    ------
    ValueError
        If there is a single cluster, X has fewer than two rows or is not as long as
        `labels`.

    See Also
    --------
    sklearn.metrics.silhouette_score : Draws a sample, and forgets the other rows: a
        small cluster may be missing from it.

    Notes
    -----
    `sample_size` times n_samples distances are computed, a block of rows at a time.

    Examples
    --------
    >>> from deepcluster_sk.metrics import silhouette
    >>> X = [[0.0], [1.0], [9.0], [10.0]]
    >>> round(silhouette(X, ["a", "a", "b", "b"]), 3)
    0.889
    """
    X, labels = _table_and_labels(X, labels)
    sizes = np.bincount(labels)
    if len(sizes) < 2:
        raise ValueError("A silhouette needs at least 2 clusters. Got 1.")
    rows = _sample(len(X), sample_size, random_state)
    member = np.zeros((len(X), len(sizes)))
    member[np.arange(len(X)), labels] = 1
    sums = np.vstack(
        list(
            pairwise_distances_chunked(X[rows], X, reduce_func=lambda d, _: d @ member)
        )
    )
    each, own = np.arange(len(rows)), labels[rows]
    inner = sums[each, own] / np.maximum(sizes[own] - 1, 1)
    outer = sums / sizes
    outer[each, own] = np.inf
    outer = outer.min(axis=1)
    larger = np.maximum(inner, outer)
    values = np.divide(outer - inner, larger, np.zeros(len(rows)), where=larger > 0)
    return float(np.where(sizes[own] > 1, values, 0).mean())


@dataclass(frozen=True, eq=False)
class ObjectiveMismatch:
    """Regression of the performance on an auxiliary loss, see `objective_mismatch`.

    Attributes
    ----------
    slope : float
        Mean slope of the regression curve over the observed losses (R-OFM slope).
        Negative where a falling auxiliary loss goes with rising performance.
    r2 : float
        Share of the variance of the performance that the curve explains (R-OFM R²), in
        [0, 1]; NaN if the performance never changes.
    coefficients : ndarray of shape (degree + 1,)
        Coefficients of the powers 0, 1, ... of the auxiliary loss.
    """

    slope: float
    r2: float
    coefficients: np.ndarray
    _curve: Polynomial = field(repr=False)

    def predict(self, x: ArrayLike) -> NDArray[np.float64]:
        """Read the performance off the regression curve.

        Parameters
        ----------
        x : array-like
            Values of the auxiliary loss.

        Returns
        -------
        performance : ndarray of the shape of `x`
            Fitted values.
        """
        return self._curve(np.asarray(x, dtype=np.float64))


def objective_mismatch(
    auxiliary_loss: ArrayLike, performance: ArrayLike, degree: int = 2
) -> ObjectiveMismatch:
    r"""How the performance depends on an auxiliary loss over a run (R-OFM).

    Parameters
    ----------
    auxiliary_loss : array-like of shape (n_steps,)
        The auxiliary loss at each step (for instance epoch) of training.
    performance : array-like of shape (n_steps,)
        The performance at the same steps: an accuracy, or an internal index such as the
        silhouette where there are no labels.
    degree : int, default=2
        Degree of the polynomial, at least 1.

    Returns
    -------
    mismatch : ObjectiveMismatch
        With attributes `slope`, `r2`, `coefficients` and a method `predict(x)`.

    Raises
    ------
    ValueError
        If the inputs are not one-dimensional, finite and of equal length, `degree` is
        not a positive integer, or there are not more than `degree` distinct losses.

    Notes
    -----
    Eq. 19 to 21 of [1]_: ordinary least squares of the performance :math:`p_t` on
    powers of the loss :math:`a_t`; the slope is the mean derivative at the observed
    losses. Eq. 21 as printed is the *unexplained* share of the variance, but the paper
    calls high values a strong relationship, so this is the usual :math:`R^2`, one minus
    the printed value.

    The powers of a loss that hardly varies are nearly collinear, so the fit is made in
    the loss rescaled to [-1, 1] and `predict` stays there; `coefficients` are converted
    back.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> from deepcluster_sk.metrics import objective_mismatch
    >>> mismatch = objective_mismatch([4.0, 3.0, 2.0, 1.0], [0.2, 0.4, 0.6, 0.8])
    >>> round(mismatch.slope, 6), round(mismatch.r2, 6)
    (-0.2, 1.0)
    """
    loss = column_or_1d(auxiliary_loss, dtype=np.float64)
    performance = column_or_1d(performance, dtype=np.float64)
    check_consistent_length(loss, performance)
    for name, values in {"auxiliary_loss": loss, "performance": performance}.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity.")
    if (
        isinstance(degree, bool)
        or not isinstance(degree, int | np.integer)
        or degree < 1
    ):
        raise ValueError(f"degree must be an integer of at least 1; got {degree!r}.")
    n_distinct = len(np.unique(loss))
    if n_distinct <= degree:
        raise ValueError(
            f"A polynomial of degree {degree} needs at least {degree + 1} distinct "
            f"values of auxiliary_loss; got {n_distinct}."
        )
    curve = Polynomial.fit(loss, performance, degree)
    coefficients = curve.convert().coef  # shorter where the leading ones are zero
    unexplained = np.sum((performance - curve(loss)) ** 2)
    total = np.sum((performance - performance.mean()) ** 2)
    return ObjectiveMismatch(
        slope=float(curve.deriv()(loss).mean()),
        r2=float(1 - unexplained / total) if np.ptp(performance) > 0 else math.nan,
        coefficients=np.pad(coefficients, (0, degree + 1 - len(coefficients))),
        _curve=curve,
    )


def feature_drift(
    module: torch.nn.Module, loss_a: torch.Tensor, loss_b: torch.Tensor
) -> float:
    r"""Cosine between the gradients of two losses over a module's parameters.

    Parameters
    ----------
    module : torch.nn.Module
        Its parameters that require gradients are those compared.
    loss_a, loss_b : torch.Tensor, scalar
        Losses attached to the graph, for instance a clustering and an auxiliary loss.
        The graph is kept, and `.grad` of the parameters is neither read nor written.

    Returns
    -------
    drift : float
        In [-1, 1]: 1 for agreement, -1 for opposition. NaN if a loss has no gradient in
        the module, hence no direction.

    Raises
    ------
    ValueError
        If the module has no parameter that requires a gradient, or a loss is not a
        scalar or not attached to a graph.

    Notes
    -----
    Eq. 18 of [1]_, :math:`\cos(\nabla_\theta L_a, \nabla_\theta L_b)`. A parameter that
    only one of the losses uses has a zero gradient for the other. The paper (section
    5.1) lists what speaks against this measure; see :func:`objective_mismatch`.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.metrics import feature_drift
    >>> module = torch.nn.Linear(2, 1, bias=False)
    >>> output = module(torch.eye(2))
    >>> round(feature_drift(module, output.sum(), -output.sum()), 6)
    -1.0
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("module has no parameter that requires a gradient.")
    for name, loss in {"loss_a": loss_a, "loss_b": loss_b}.items():
        if loss.numel() != 1 or not loss.requires_grad:
            raise ValueError(
                f"{name} must be a scalar attached to the graph; got shape "
                f"{tuple(loss.shape)}, requires_grad={loss.requires_grad}."
            )
    gradient_a = _flat_gradient(loss_a, parameters)
    gradient_b = _flat_gradient(loss_b, parameters)
    norms = torch.linalg.vector_norm(gradient_a) * torch.linalg.vector_norm(gradient_b)
    if norms == 0:
        return math.nan
    cosine = gradient_a @ gradient_b / norms
    return float(cosine.clamp(-1, 1))  # rounding may leave the interval


def _flat_gradient(loss, parameters):
    gradients = torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    # float64 on the CPU: millions of float32 products would lose the cosine's digits.
    return torch.cat([g.flatten().cpu().double() for g in gradients])
