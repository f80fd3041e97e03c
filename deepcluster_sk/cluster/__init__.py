"""The methods, one file a method or a family of siblings."""

import lazy_loader

# Which class is in which file says __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
