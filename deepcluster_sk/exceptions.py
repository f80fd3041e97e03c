"""Errors and warnings of the library."""

__all__ = ["ClusterCollapseWarning", "ConvergenceError", "LongFitWarning"]


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
    """A cluster lost all its samples and was started again, or stayed empty.

    Examples
    --------
    Turn it into an error while experimenting:

    >>> import warnings
    >>> from deepcluster_sk.exceptions import ClusterCollapseWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ClusterCollapseWarning)
    """


class LongFitWarning(UserWarning):
    """A fit will take minutes, because its time grows with the square of the rows.

    Raised before any work; the time that the message tells is rough.

    Examples
    --------
    Refuse such fits:

    >>> import warnings
    >>> from deepcluster_sk.exceptions import LongFitWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", LongFitWarning)
    """
