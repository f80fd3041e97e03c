"""A fit that was killed goes on and ends as if nothing had happened."""


import pytest
from instances import SMALL
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from test_persistence import assert_same, public_attributes

from deepcluster_sk import _checkpoint

KEEPING = {name: e for name, e in SMALL.items() if "checkpoint" in e.get_params()}
every = pytest.mark.parametrize(
    "estimator", [pytest.param(e, id=name) for name, e in KEEPING.items()]
)
pytestmark = pytest.mark.filterwarnings(
    "ignore::deepcluster_sk.exceptions.ClusterCollapseWarning"
)


@pytest.fixture
def always(monkeypatch):
    """Note every epoch, however long that takes."""
    monkeypatch.setattr(_checkpoint, "PAUSE", 0)


class Interrupt(Callback):
    """Ctrl-C when an epoch begins, after some others."""

    def __init__(self, after):
        self.left = iter(range(after))  # no data, so that it is not restored

    def on_epoch_begin(self, net, **kwargs):
        if next(self.left, None) is None:
            raise KeyboardInterrupt


def interrupted_fit(estimator, X, step, callbacks=()):
    """Fit for some epochs, again and again, until it is done."""
    n_interrupts = 0
    while True:
        part = clone(estimator).set_params(callbacks=[*callbacks, Interrupt(step)])
        try:
            return part.fit(X), n_interrupts
        except KeyboardInterrupt:
            n_interrupts += 1
        with pytest.raises(NotFittedError):
            part.transform(X)


def assert_same_fit(again, fitted):
    assert_same(public_attributes(again), public_attributes(fitted))
    assert_same(dict(again.module_.state_dict()), dict(fitted.module_.state_dict()))


@every
@pytest.mark.parametrize("step", [1, 4])
def test_a_fit_goes_on_after_each_interrupt(estimator, step, blobs, tmp_path, always):
    X = blobs[0]
    estimator = clone(estimator).set_params(n_init=2)
    fitted = clone(estimator).fit(X)
    estimator.set_params(checkpoint=tmp_path / "new" / "folder")
    again, n_interrupts = interrupted_fit(estimator, X, step)
    assert_same_fit(again, fitted)
    assert not list((tmp_path / "new" / "folder").iterdir())
    if not hasattr(estimator, "solver") or not estimator._uses_exact_solver():
        assert n_interrupts >= fitted.n_iter_ // step - 2
