import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sklearn.datasets import make_blobs

from deepcluster_sk.building import BaseDeepEstimator, BaseSolverClusterer

matplotlib.use("Agg")

# For the type checker alone: nothing in it is meant to be run.
collect_ignore = ["typing_user.py"]

# The same examples at every run; ``--hypothesis-profile=thorough`` draws new ones.
settings.register_profile(
    "quick",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough",
    settings.get_profile("quick"),
    derandomize=False,
    max_examples=3000,
    print_blob=True,
)
settings.load_profile("quick")


def pytest_addoption(parser):
    parser.addoption("--device", help="a device of torch's to fit on: make test-gpu")


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a device that nobody named."""
    if config.getoption("--device") is None:
        apart = [i for i in items if "real_device" in getattr(i, "fixturenames", ())]
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]


@pytest.fixture
def real_device(request):
    """The device that ``--device`` names."""
    return request.config.getoption("--device")


@pytest.fixture(scope="session")
def blobs():
    """Three blobs of 90 points in 4 dimensions, float32 integers below 256."""
    X, y = make_blobs(90, 4, centers=3, cluster_std=0.6, random_state=0)
    X = np.round(40 + 5 * (X - X.min(0)))
    return X.astype(np.float32), y


@pytest.fixture
def untrained(monkeypatch):
    """Fail where anything is trained or solved."""

    def fail(*args, **kwargs):
        pytest.fail("trained")

    for family in (BaseDeepEstimator, BaseSolverClusterer):
        monkeypatch.setattr(family, "_one_run", fail)
