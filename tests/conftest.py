import matplotlib
import numpy as np
import pytest
from sklearn.datasets import make_blobs

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def blobs():
    """Three blobs of 90 points in 4 dimensions, float32 integers below 256."""
    X, y = make_blobs(90, 4, centers=3, cluster_std=0.6, random_state=0)
    X = np.round(40 + 5 * (X - X.min(0)))
    return X.astype(np.float32), y
