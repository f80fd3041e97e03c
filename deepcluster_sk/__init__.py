"""Deep clustering as scikit-learn estimators."""

from importlib.util import find_spec

import lazy_loader

# What there is, and where, says __init__.pyi, which type checkers read too. Each name
# is imported when it is first used, since torch takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# Submodules are attributes too, but ``import *`` brings none.
__all__ = [name for name in __all__ if find_spec(f"{__name__}.{name}") is None]
