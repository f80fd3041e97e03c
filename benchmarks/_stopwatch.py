"""How the time of a call is shared out, measured from outside."""

from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import wraps
from time import perf_counter
from unittest.mock import patch


class Stopwatch:
    """Seconds within named functions, each without the named functions it calls.

    Parameters
    ----------
    targets : sequence of (object, str, str)
        What holds a function, the function's name there, and what its time is
        counted as.
    """

    def __init__(self, targets):
        self.targets = targets

    @contextmanager
    def running(self):
        """Measure inside the block; ``seconds`` then holds the times, and "all"."""
        self.seconds, self._within = Counter(), [0.0]
        with ExitStack() as stack:
            for owner, attribute, name in self.targets:
                function = getattr(owner, attribute)
                stack.enter_context(
                    patch.object(owner, attribute, self._timed(function, name))
                )
            start = perf_counter()
            yield self
            self.seconds["all"] = perf_counter() - start

    def _timed(self, function, name):
        @wraps(function)
        def timed(*args, **kwargs):
            self._within.append(0.0)
            start = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = perf_counter() - start
                self.seconds[name] += spent - self._within.pop()
                self._within[-1] += spent

        return timed
