"""Closed forms and small convex solvers, in float64 and row convention.

A sample is a row everywhere: codes are `Z` of shape (n, h), dictionaries `D` of
shape (h, d) with one atom a row, transforms `T` of shape (h, d), self-expressions
`C` of shape (n, n) with row i writing sample i in terms of the others.
"""

from ._codes import kmeans_code, nonnegative_code, subspace_code, sylvester_code
from ._dictionary import dictionary_update, normalize_atoms
from ._neighbor_expression import neighbor_expression
from ._self_expression import self_expression
from ._transform import transform_objective, transform_update

__all__ = [
    "dictionary_update",
    "kmeans_code",
    "neighbor_expression",
    "nonnegative_code",
    "normalize_atoms",
    "self_expression",
    "subspace_code",
    "sylvester_code",
    "transform_objective",
    "transform_update",
]
