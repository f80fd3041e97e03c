"""Silence warnings of other libraries, from any thread."""

import threading
import warnings
from contextlib import contextmanager

# The warning filters belong to the process: two threads that save and restore them
# in turns would leave each other's behind.
_FILTER_LOCK = threading.RLock()


@contextmanager
def ignored_warnings(*categories):
    """Ignore warnings of these categories inside the block, one thread at a time.

    Parameters
    ----------
    *categories : type
        Classes of warnings.
    """
    with _FILTER_LOCK, warnings.catch_warnings():
        for category in categories:
            warnings.simplefilter("ignore", category)
        yield
