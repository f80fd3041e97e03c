"""Writing a fitted estimator; ``deepcluster_sk.load`` reads it."""

import os

from deepcluster_sk._version import __version__
from deepcluster_sk.io._safetensors import NotStorable, pack, write

KIND = "a fitted estimator"
# What a file may lack, and what may differ on another machine.
REPLACEABLE = (
    "anchors",
    "architecture",
    "augmentation",
    "optimizer",
    "device",
    "callbacks",
    "random_state",
)
# Fitted state besides the public attributes.
HIDDEN = ("_n_features_out", "_sklearn_output_config")
# What predicts is stored apart, as arrays and plain values.
FITTED = ("net_", "module_", "solution_")


def write_estimator(estimator, path, **more):
    """Save a fitted estimator; ``estimator.save`` for all of them.

    Parameters
    ----------
    estimator : EstimatorTemplate
    path : str or path-like
    **more : dict
        Arrays and plain values that belong to it, under names of their own.
    """
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("deepcluster_sk.cluster."):
        raise TypeError(
            f"{type(estimator).__module__}.{name} is no estimator of deepcluster_sk: "
            "load could not find it. Use pickle."
        )
    parameters, left_out = {}, {}
    for key, value in estimator.get_params(deep=False).items():
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        try:
            pack(value, {})
            parameters[key] = value
        except NotStorable:
            if key not in REPLACEABLE:
                raise
            left_out[key] = getattr(value, "__qualname__", type(value).__qualname__)
    state = estimator.__getstate__()
    fitted = {
        key: value
        for key, value in state.items()
        if key in HIDDEN or (key.endswith("_") and key[0] != "_" and key not in FITTED)
    }
    content = {
        "class": name,
        "parameters": parameters,
        "left_out": left_out,
        "fitted": fitted,
        "module": estimator._fitted_state(),
        **more,
    }
    write(path, KIND, __version__, content)
