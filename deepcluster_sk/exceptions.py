"""Errors and warnings of the library."""

import sys
import warnings

__all__ = ["ClusterCollapseWarning", "ConvergenceError"]


class ConvergenceError(RuntimeError):
    """Training produced a loss or an embedding that is not finite.

    Raised by ``fit`` at the end of the epoch in which a loss term became NaN or
    infinite. The message names the phase, the epoch and the term. The estimator
    is left unfitted.

    Examples
    --------
    >>> from deepcluster_sk.exceptions import ConvergenceError
    >>> raise ConvergenceError("phase 'pretrain', epoch 3: ...")
    Traceback (most recent call last):
        ...
    deepcluster_sk.exceptions.ConvergenceError: phase 'pretrain', epoch 3: ...
    """


class ClusterCollapseWarning(UserWarning):
    """A cluster lost all its samples and was re-seeded, or stayed empty.

    Examples
    --------
    Turn it into an error while experimenting:

    >>> import warnings
    >>> from deepcluster_sk.exceptions import ClusterCollapseWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ClusterCollapseWarning)
    """


# Between the user's line and ours are wrappers of these.
_BETWEEN = {"deepcluster_sk", "sklearn", "joblib", "contextlib"}


def warn(message, category):
    """Warn, and name the line of the user's that called the library."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals["__name__"].split(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
