"""Warnings that name the line of the user that led to them."""

import contextlib
import os
import sys
import warnings
from functools import cache
from importlib.util import find_spec

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
