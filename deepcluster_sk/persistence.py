"""Saved estimators: files of arrays and plain values, read without running code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepcluster_sk import cluster
from deepcluster_sk._estimator._saving import KIND, REPLACEABLE
from deepcluster_sk.io._safetensors import MALFORMED, read

if TYPE_CHECKING:
    import os

    from deepcluster_sk._estimator._base import EstimatorTemplate

__all__ = ["load"]


def load(path: str | os.PathLike[str], **parameters: Any) -> EstimatorTemplate:
    """Load an estimator that its method ``save`` has written.

    No code that is in the file is run, and none that it names is imported: it holds
    arrays and plain values, as safetensors and JSON. The estimator predicts what
    the saved one did, bit for bit on the same kind of machine.

    Parameters
    ----------
    path : str or path-like
        The file.
    **parameters : dict
        Constructor parameters in the place of those in the file: ``anchors``,
        ``architecture``, ``augmentation``, ``optimizer``, ``device``, ``callbacks`` or
        ``random_state``. The file cannot hold code, so a callable architecture or
        optimizer, an augmentation, callbacks and a RandomState that the saved
        estimator had must be passed, and anchors that were a sparse matrix;
        ``augmentation=None``, ``callbacks=None`` and ``anchors="data"`` will do.

    Returns
    -------
    estimator : estimator of ``deepcluster_sk``
        Fitted. What only training needs is not in the file, as it is not in an
        estimator after ``fit``: ``PCX.partial_fit``, and ``fit`` with
        ``warm_start=True``, go on from the saved network with a new optimizer.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged or was cut off, is of another kind or of a later
        format, or does not fit the parameters that are passed or missing.

    Notes
    -----
    The checksum tells damage from data; whoever can write the file can also write
    another checksum. Even then the file can only bring other numbers.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import deepcluster_sk
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = deepcluster_sk.TensorizedAutoencoder(3, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "model.safetensors"
    ...     model.save(path)
    ...     again = deepcluster_sk.load(path)
    >>> bool((again.predict(X) == model.labels_).all())
    True
    """
    content = read(path, KIND)
    try:
        name = content["class"]
        known, left_out = content["parameters"], content["left_out"]
        fitted, module = content["fitted"], content["module"]
        # A file's name is looked up among these and nowhere else.
        if name not in cluster.__all__:
            raise ValueError(f"deepcluster_sk has no estimator {name!r}")
        _check_replacements(name, {**known, **left_out}, left_out, parameters)
        estimator = getattr(cluster, name)(**{**known, **parameters})
        estimator._validate_params()
        vars(estimator).update(fitted)
        estimator._restore_fitted(module)
    except MALFORMED as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    return estimator


def _check_replacements(name, known, left_out, parameters):
    """Refuse parameters that may not be replaced, and the lack of those that must."""
    for key in parameters:
        if key not in REPLACEABLE or key not in known:
            raise ValueError(
                f"{key!r} of a fitted {name} cannot be replaced; only "
                f"{', '.join(k for k in REPLACEABLE if k in known)} can"
            )
    missing = {key: what for key, what in left_out.items() if key not in parameters}
    if missing:
        was = ", ".join(f"{key}={what}" for key, what in missing.items())
        wanted = ", ".join(f"{key}=..." for key in missing)
        raise ValueError(
            f"the {name} was made with {was}, which a file cannot hold: pass {wanted} "
            "to load"
        )
