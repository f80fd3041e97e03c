"""Numbers of threads: chosen by the size of the work, and left as they were."""

import threading
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from instances import SMALL
from sklearn.base import clone
from sklearn.cluster import KMeans
from skorch.callbacks import Callback
from threadpoolctl import threadpool_info, threadpool_limits

from deepcluster_sk import IDEC, PCX, Autoencoder, SparseSubspaceClustering, _threads
from deepcluster_sk._threads import SMALL_WORK, multiplications, threads_for
from deepcluster_sk.modules import build_autoencoder

SMALL_STEP, LARGE_STEP = SMALL_WORK / 2, SMALL_WORK


def numbers():
    """Numbers of threads that hold for the calling thread."""
    info = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
    mkl = [
        line
        for line in torch.__config__.parallel_info().splitlines()
        if "mkl_get_max_threads" in line
    ]
    return torch.get_num_threads(), info, mkl


def of_new_thread(function):
    """What a function returns in a thread of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads everywhere, in threads to come too; and what there was, after."""
    before = torch.get_num_threads()
    with threadpool_limits(2):
        torch.set_num_threads(2)
        expected = numbers()
        yield
        assert numbers() == expected
        assert of_new_thread(torch.get_num_threads) == 2
        torch.set_num_threads(before)


def seen_by(work):
    """Numbers inside a block, as a set."""
    with threads_for(work):
        n_torch, info, mkl = numbers()
    return {n_torch, *(n for _, n in info), *(int(line.split()[-1]) for line in mkl)}


def test_small_work_has_one_thread_in_every_pool():
    assert seen_by(SMALL_STEP) == {1}


def test_large_work_has_all_threads():
    assert seen_by(LARGE_STEP) == {2}


def test_innermost_block_decides():
    with threads_for(SMALL_STEP):
        assert seen_by(LARGE_STEP) == {2}
        with threads_for(LARGE_STEP):
            assert seen_by(SMALL_STEP) == {1}
            assert seen_by(LARGE_STEP) == {2}
        assert seen_by(SMALL_STEP) == {1}
        assert torch.get_num_threads() == 1
    with threads_for(LARGE_STEP):
        assert seen_by(SMALL_STEP) == {1}
        assert torch.get_num_threads() == 2


def test_limit_of_the_user_is_never_raised():
    torch.set_num_threads(1)
    with threadpool_limits(1):
        assert seen_by(LARGE_STEP) == {1}
        with threads_for(SMALL_STEP):
            assert seen_by(LARGE_STEP) == {1}
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)


def test_numbers_return_after_an_error():
    before = numbers()
    for outer in (SMALL_STEP, LARGE_STEP):
        for inner in (SMALL_STEP, LARGE_STEP):
            with pytest.raises(KeyboardInterrupt), threads_for(outer):
                with threads_for(inner):
                    raise KeyboardInterrupt
            assert numbers() == before


def test_other_threads_keep_their_own():
    with threads_for(SMALL_STEP):
        assert of_new_thread(torch.get_num_threads) == 2
        assert of_new_thread(lambda: torch.rand(9, 9).mm(torch.rand(9, 9)).ndim) == 2
        assert torch.get_num_threads() == 1


def test_setting_of_a_new_thread_is_respected():
    def first_touch():  # torch gives a thread its number at the first use
        with threads_for(SMALL_STEP):
            inside = torch.get_num_threads(), torch.rand(300, 300).sin().ndim
        return *inside, torch.get_num_threads()

    assert of_new_thread(first_touch) == (1, 2, 2)


def blas():
    return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}


class _Thread:
    """A thread that enters a block and leaves it when it is told."""

    def __init__(self, work):
        self.inside, self.leave = threading.Event(), threading.Event()
        self.found = {}
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)

    def _run(self, work):
        self.found["before"] = torch.get_num_threads()
        with threads_for(work):
            self.found["inside"] = torch.get_num_threads()
            self.inside.set()
            assert self.leave.wait(60)
            self.found["still"] = torch.get_num_threads()
        self.found["after"] = torch.get_num_threads()

    def enter(self):
        self.thread.start()
        assert self.inside.wait(60)

    def end(self):
        self.leave.set()
        self.thread.join()
        return self.found


@pytest.mark.parametrize("first_out", [0, 1])
@pytest.mark.parametrize(
    "works",
    [
        (SMALL_STEP, SMALL_STEP),
        (SMALL_STEP, LARGE_STEP),
        (LARGE_STEP, SMALL_STEP),
    ],
)
def test_overlapping_blocks_in_threads(works, first_out):
    threads = [_Thread(work) for work in works]
    for thread in threads:
        thread.enter()
    # A large computation in another thread keeps the pool that all share.
    assert blas() == ({2} if LARGE_STEP in works else {1})
    order = threads[::-1] if first_out else threads
    found = {order[0]: order[0].end()}
    last = works[threads.index(order[1])]
    assert blas() == {1 if last == SMALL_STEP else 2}
    found[order[1]] = order[1].end()
    assert blas() == {2}
    for thread, work in zip(threads, works, strict=True):
        inside = 1 if work == SMALL_STEP else 2
        expected = {"before": 2, "inside": inside, "still": inside, "after": 2}
        assert found[thread] == expected


def test_limits_of_others_do_not_outlast_overlapping_blocks():
    # k-means of scikit-learn lowers the shared number for a while: a block entered
    # meanwhile must not take what it finds for what was there before.
    large, small = _Thread(LARGE_STEP), _Thread(SMALL_STEP)
    large.enter()
    with threadpool_limits(1, user_api="blas"):
        small.enter()
    large.end()
    small.end()
    assert blas() == {2}


# --- the work of a network ------------------------------------------------------------


def test_multiplications_of_a_perceptron_are_its_weights():
    module = build_autoencoder(6, 2, hidden_layer_sizes=(5,), architecture="mlp")
    weights = 2 * (6 * 5 + 5 * 2)
    biases = 2 * 5 + 2 + 6
    assert multiplications(module, 6) == weights + biases


def test_multiplications_of_convolutions_count_positions():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 3, 3, stride=2, padding=1, bias=False)
            self.norm = torch.nn.BatchNorm2d(3)

        def encode(self, x):
            return self.norm(self.conv(x.unflatten(1, (1, 8, 6)))).flatten(1)

    net = Net()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    # 3 filters of 3 x 3 at 4 x 3 positions, twice, and the 6 numbers of batch norm.
    assert multiplications(net, 48) == 2 * 27 * 12 + 6
    assert net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name])
    assert not net.conv._forward_hooks


# --- estimators -----------------------------------------------------------------------


class _Count(Callback):
    """Keeps the numbers of threads it sees in training."""

    def __init__(self):
        self.seen = set()

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.seen.add(torch.get_num_threads())


@pytest.fixture
def calls(monkeypatch):
    """Numbers of threads whenever an estimator's rows go through its hooks."""
    seen = []

    def watched(owner, name):
        function = getattr(owner, name)

        def watch(*args, **kwargs):
            seen.append(torch.get_num_threads())
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, watch)

    return seen, watched


METHODS = (
    "transform",
    "predict",
    "predict_proba",
    "score",
    "score_samples",
    "reconstruct",
    "denoise",
)


@pytest.mark.parametrize(
    "estimator", [pytest.param(e, id=name) for name, e in SMALL.items()]
)
def test_every_method_of_small_estimators_has_one_thread(estimator, blobs, calls):
    seen, watch = calls
    model = clone(estimator)
    X = blobs[0]
    watch(type(model), "_optimize" if hasattr(model, "_optimize") else "_solve")
    watch(type(model), "_evaluate")
    model.fit(X)
    assert torch.get_num_threads() == 2
    watch(type(model), "_compute")
    del seen[:]
    for name in METHODS:
        if hasattr(model, name):
            getattr(model, name)(X)
    if hasattr(model, "inverse_transform"):
        model.inverse_transform(model.transform(X))
    assert seen
    assert set(seen) == {1}


def test_small_fit_trains_with_one_thread(blobs):
    count = _Count()
    Autoencoder(
        latent_dim=2, hidden_layer_sizes=(8,), max_epochs=2, callbacks=[count]
    ).fit(blobs[0])
    assert count.seen == {1}


def test_large_network_trains_and_predicts_with_all_threads(calls):
    seen, watch = calls
    X = np.random.RandomState(0).rand(256, 64).astype(np.float32)
    count = _Count()
    model = IDEC(
        2,
        hidden_layer_sizes=(500, 500, 2000),
        pretrain_epochs=1,
        max_epochs=1,
        callbacks=[count],
        random_state=0,
    ).fit(X)
    assert count.seen == {2}
    watch(type(model.net_), "apply")
    model.predict(X)
    assert seen == [2]


def test_partial_fit_has_one_thread(blobs):
    count = _Count()
    model = PCX(
        3, latent_dim=2, hidden_layer_sizes=(8,), pretrain_epochs=1, callbacks=[count]
    )
    for _ in range(2):
        model.partial_fit(blobs[0])
    assert count.seen == {1}


def test_large_graph_is_cut_with_all_threads_within_a_small_fit(monkeypatch):
    from deepcluster_sk.solvers import _subspaces

    seen = {}
    for name in ("self_expression", "_spectral_maps"):
        function = getattr(_subspaces, name)

        def watch(*args, name=name, function=function, **kwargs):
            seen[name] = torch.get_num_threads(), blas()
            return function(*args, **kwargs)

        monkeypatch.setattr(_subspaces, name, watch)
    X = np.random.RandomState(0).randn(500, 5)  # 500³ > SMALL_WORK > 500² 5
    SparseSubspaceClustering(2, random_state=0).fit(X)
    assert seen == {"self_expression": (1, {1}), "_spectral_maps": (2, {2})}


def test_a_failed_fit_leaves_the_numbers(blobs):
    class Fail(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("enough")

    before = numbers()
    model = Autoencoder(latent_dim=2, hidden_layer_sizes=(8,), callbacks=[Fail()])
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(blobs[0])
    assert numbers() == before


def test_two_fits_at_once_in_threads(blobs):
    X = blobs[0]
    barrier = threading.Barrier(2, timeout=60)
    seen, failed = [], []

    class Meet(Callback):
        """Makes the fits overlap, whichever is faster."""

        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 1:
                barrier.wait()
            seen.append(torch.get_num_threads())

    def fit(epochs):
        try:
            before = torch.get_num_threads()
            Autoencoder(
                latent_dim=2,
                hidden_layer_sizes=(8,),
                max_epochs=epochs,
                tol=0,
                callbacks=[Meet()],
                random_state=0,
            ).fit(X)
            assert torch.get_num_threads() == before == 2
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=fit, args=(n,)) for n in (2, 30)]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
    assert not failed
    assert set(seen) == {1}
    assert blas() == {2}


def test_no_block_is_left_open(blobs):
    KMeans(2, n_init=1, random_state=0).fit(blobs[0])
    with threads_for(SMALL_STEP):
        assert _threads._BLAS.blocks == {True: 1, False: 0}
    assert _threads._BLAS.blocks == {True: 0, False: 0}
    assert _threads._STATE.alone is None
