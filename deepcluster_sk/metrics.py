"""Measures of a clustering and of how well two objectives agree."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.polynomial import Polynomial
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_consistent_length, column_or_1d

__all__ = [
    "ObjectiveMismatch",
    "clustering_accuracy",
    "feature_drift",
    "objective_mismatch",
]


def clustering_accuracy(y_true, y_pred):
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

    def predict(self, x):
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


def objective_mismatch(auxiliary_loss, performance, degree=2):
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


def feature_drift(module, loss_a, loss_b):
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
