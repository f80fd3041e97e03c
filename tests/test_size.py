"""Sizes that ask for too much are refused or announced before any work."""

from time import process_time

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from deepcluster_sk import (
    DDC,
    DEC,
    IDEC,
    DeepDictionaryClustering,
    DeepSubspaceClustering,
    DeepTransformClustering,
    DiscriminativeClustering,
    SparseSubspaceClustering,
)
from deepcluster_sk._estimator import _size
from deepcluster_sk.exceptions import LongFitWarning
from deepcluster_sk.solvers import self_expression

N = 300_000
X = np.random.RandomState(0).normal(size=(N, 4)).astype(np.float32)


class NotTrained(Callback):
    def on_train_begin(self, net, **kwargs):
        raise AssertionError("trained")


QUADRATIC = {
    **{
        f"{cls.__name__}-{how}": cls(3, latent_dim=4, penalty=how)
        for cls in (
            SparseSubspaceClustering,
            DeepSubspaceClustering,
            DeepTransformClustering,
        )
        for how in ("l2", "nuclear")
    },
    "DDC": DDC(3, batch_size=N),
    "DDC-companion": DDC(3, batch_size=N, companion="tensor"),
    "DEC-companion": DEC(3, batch_size=N, companion="naive"),
    "IDEC-companion": IDEC(3, batch_size=N, companion="tensor"),
    "DiscriminativeClustering": DiscriminativeClustering(3, batch_size=N),
}


@pytest.mark.parametrize("name", QUADRATIC)
def test_what_cannot_fit_into_memory_is_refused_within_a_second(name):
    model = QUADRATIC[name]
    if "callbacks" in model.get_params():
        model.set_params(callbacks=[NotTrained()])
    start = process_time()
    with pytest.raises(MemoryError) as refused:
        model.fit(X)
    assert process_time() - start < 1
    setting, _, remedy = str(refused.value).partition(" compares ")
    assert type(model).__name__ in setting
    assert ("penalty=" if hasattr(model, "affinity_mass") else "batch_size=") in setting
    assert "n = 300000" in remedy
    assert "GB; at most 8 GB" in remedy
    assert "Use " in remedy
    with pytest.raises(NotFittedError):
        model.predict(X[:1])


@pytest.mark.parametrize(
    ("model", "times"),
    [
        (SparseSubspaceClustering(3), None),
        (SparseSubspaceClustering(3, penalty="elasticnet"), None),
        (DeepSubspaceClustering(3, max_epochs=9, update_interval=2), 6),
        (DeepTransformClustering(3, max_iter=7), 8),
        (DeepDictionaryClustering(3, clustering="subspace", max_iter=7), 8),
        (DiscriminativeClustering(3), None),
    ],
)
def test_what_takes_minutes_is_announced_before_any_work(model, times):
    start = process_time()
    with pytest.warns(LongFitWarning, match=r"about \d+ (hours|minutes)") as caught:
        model._validate_training_data(X)
    assert process_time() - start < 1
    assert {w.filename for w in caught} == {__file__}
    assert (f"up to {times} times" in str(caught[0].message)) == (times is not None)


@pytest.mark.filterwarnings("error::deepcluster_sk.exceptions.LongFitWarning")
def test_the_announcement_is_no_refusal_and_comes_from_fit(monkeypatch):
    monkeypatch.setattr(_size, "LONG_SECONDS", 1e-5)
    model = SparseSubspaceClustering(2, random_state=0)
    with pytest.raises(LongFitWarning, match=r"n_samples=40 rows by Sparse.* 0 sec"):
        model.fit(X[:40])
    monkeypatch.undo()
    assert model.fit(X[:40]).labels_.shape == (40,)


@pytest.mark.filterwarnings("error::deepcluster_sk.exceptions.LongFitWarning")
@pytest.mark.parametrize("rows", [3000, 10_000])
def test_what_fits_is_not_refused(rows):
    model = SparseSubspaceClustering(3, penalty="l2")
    assert model._validate_training_data(X[:rows]).shape == (rows, 4)
    DiscriminativeClustering(3)._validate_training_data(X[:rows])
    # Batches are not of batch_size rows where they are more than the data has.
    DDC(3, batch_size=N)._validate_training_data(X[:rows])


@pytest.mark.parametrize("how", ["l1", "nuclear"])
def test_self_expression_shows_progress(how, capfd):
    self_expression(X[:30], 0.5, how)
    assert not capfd.readouterr().err
    self_expression(X[:30], 0.5, how, verbose=1)
    assert "self-expression" in capfd.readouterr().err
