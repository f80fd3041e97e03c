"""The penguins, which come with the package."""

from __future__ import annotations

import csv
from importlib import resources
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._optional_dependencies import check_pandas_support

from deepcluster_sk._estimator._decorators import validate_params

_PENGUINS_DESCR = """\
Palmer penguins

342 adult penguins of three species (151 Adelie, 68 Chinstrap, 123 Gentoo), foraging
near Palmer Station, Antarctica, 2007-2009. Four measurements in raw units: bill length,
bill depth and flipper length in millimetres, body mass in grams. The two birds without
measurements are left out. Bill length and depth show Simpson's paradox: negatively
correlated over all birds, positively within each species.

Collected by Kristen Gorman and the Palmer Station Long Term Ecological Research
program; published by Allison Horst and others as the palmerpenguins package. Public
domain (CC0).

References: K. B. Gorman, T. D. Williams, W. R. Fraser, "Ecological Sexual Dimorphism
and Environmental Variability within a Community of Antarctic Penguins (Genus
Pygoscelis)", PLoS ONE 9(3): e90081, 2014.
"""


@validate_params(
    {"return_X_y": ["boolean"], "as_frame": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def load_penguins(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Load the Palmer penguins: four body measurements, three species.

    The data are in raw units, so body mass dwarfs the rest: scale them (the paper
    divides each feature by its maximum) before clustering.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        If True, the data are a pandas DataFrame and the target a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the attributes

        data : {ndarray, DataFrame} of shape (342, 4)
            Bill length, bill depth and flipper length (mm), body mass (g).
        target : {ndarray, Series} of shape (342,)
            The species, 0, 1 or 2.
        frame : DataFrame of shape (342, 5)
            `data` and `target` side by side; None unless `as_frame=True`.
        feature_names : list of str
            The names of the features.
        target_names : ndarray of shape (3,)
            The names of the species.
        DESCR : str
            A description of the data.

    (data, target) : tuple if ``return_X_y`` is True
        The data and the species.

    Raises
    ------
    ImportError
        If `as_frame=True` and pandas is not installed.

    References
    ----------
    K. B. Gorman, T. D. Williams, W. R. Fraser, "Ecological Sexual Dimorphism and
    Environmental Variability within a Community of Antarctic Penguins (Genus
    Pygoscelis)", PLoS ONE 9(3): e90081, 2014.

    Examples
    --------
    >>> from deepcluster_sk.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> penguins.data.shape
    (342, 4)
    >>> [str(name) for name in penguins.target_names]
    ['Adelie', 'Chinstrap', 'Gentoo']
    """
    source = resources.files("deepcluster_sk.datasets") / "data" / "penguins.csv"
    with source.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    feature_names = header[:-1]
    data = np.array([row[:-1] for row in rows], dtype=np.float64)
    target_names, target = np.unique([row[-1] for row in rows], return_inverse=True)
    frame = None
    if as_frame:
        pd = check_pandas_support("load_penguins with as_frame=True")
        data = pd.DataFrame(data, columns=feature_names)
        target = pd.Series(target, name="target")
        frame = pd.concat([data, target], axis=1)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=feature_names,
        target_names=target_names,
        DESCR=_PENGUINS_DESCR,
    )
