"""Errors and warnings of the library."""

import contextlib
import os
import sys
import warnings
from functools import cache
from importlib.util import find_spec

__all__ = ["ClusterCollapseWarning", "ConvergenceError", "LongFitWarning"]


class ConvergenceError(RuntimeError):
    """Training produced a loss or an embedding that is not finite.

    Raised by ``fit`` at the end of the epoch in which a loss term became NaN or
    infinite. The message names the phase, the epoch and the term. The estimator
    is left unfitted. :ref:`What to do <trouble-diverged>`.

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

    :ref:`What to do <trouble-collapse>`.

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
    :ref:`What to do <trouble-long>`.

    Examples
    --------
    Refuse such fits:

    >>> import warnings
    >>> from deepcluster_sk.exceptions import LongFitWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", LongFitWarning)
    """


# Frames of these are on the way from the user's line to the warning.
LIBRARIES = ("deepcluster_sk", "sklearn", "skorch", "joblib", "torch")


@cache
def _prefixes():
    """How the files of the libraries begin, and those of helpers of Python."""
    folders = [
        os.path.join(folder, "")
        for name in LIBRARIES
        for folder in find_spec(name).submodule_search_locations
    ]
    return (*folders, contextlib.__file__)


def warn(message, category):
    """Warn, naming the first line outside this library and those that call it.

    A depth counted by hand is that of one path only: ``fit``, ``fit_transform`` and a
    pipeline have different ones. Python 3.12 knows ``skip_file_prefixes``.

    Parameters
    ----------
    message : str
    category : type
        Class of the warning.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_prefixes()):
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
