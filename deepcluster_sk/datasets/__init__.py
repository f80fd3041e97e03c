"""Data: toy problems, the penguins, readers of images, and downloads."""

from deepcluster_sk.datasets._fetched import (
    fetch_cifar10,
    fetch_fashion_mnist,
    fetch_har,
    fetch_reuters10k,
    fetch_usps,
    load_image_folder,
)
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
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "fetch_har",
    "fetch_mnist",
    "fetch_reuters10k",
    "fetch_usps",
    "load_coil20",
    "load_image_folder",
    "load_mnist_test",
    "load_penguins",
    "make_lines_3d",
    "make_orthogonal",
    "make_parallel",
    "make_triangle",
]
