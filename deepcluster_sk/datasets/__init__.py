"""Data: the toy problems of the papers, the penguins, and readers of local images."""

from deepcluster_sk.datasets._images import (
    fetch_mnist,
    load_coil20,
    load_mnist_test,
)
from deepcluster_sk.datasets._penguins import load_penguins
from deepcluster_sk.datasets._toy import (
    make_lines_3d,
    make_orthogonal,
    make_parallel,
    make_triangle,
)

__all__ = [
    "fetch_mnist",
    "load_coil20",
    "load_mnist_test",
    "load_penguins",
    "make_lines_3d",
    "make_orthogonal",
    "make_parallel",
    "make_triangle",
]
