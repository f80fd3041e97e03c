"""What runs on the CPU runs on another device: the same results, and no waiting."""

import functools
from collections import defaultdict

import numpy as np
import pytest
import torch
from instances import GRADIENT, SMALL
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from stand_in_device import DEVICE, DeviceTensor, StandInDevice
from test_checkpoint import interrupted_fit

from deepcluster_sk import IDEC, PCX, kernels, load
from deepcluster_sk._estimator import _mixins
from deepcluster_sk._estimator._network_base import resolve_device
from deepcluster_sk._training import _checkpoint
from deepcluster_sk._training._net import ClusterNet
from deepcluster_sk.augmentation import RandomAffine
from deepcluster_sk.initialization import (
    _first_clusters,
    _neighbors,
    _standardization,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::deepcluster_sk.exceptions.ClusterCollapseWarning",
    # torch takes "meta" for the device without numbers, and copies them all the same.
    "ignore:for .*. copying from a non-meta parameter:UserWarning",
)
ON_DEVICE = {n: e for n, e in SMALL.items() if "device" in e.get_params()}
# One of each class.
CLASSES = {type(e).__name__: e for e in reversed(ON_DEVICE.values())}
METHODS = (
    "predict",
    "predict_proba",
    "transform",
    "reconstruct",
    "denoise",
    "score_samples",
    "score",
)


@pytest.fixture(scope="module", autouse=True)
def short_and_without_float64():
    """A start of few steps, and a device that knows float32 only."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MOST_STEPS", "LAST_STEPS", "EMBEDDING_EPOCHS", "TARGET_EPOCHS"):
            patch.setattr(_neighbors, name, 5)
        patch.setattr(kernels, "_WITHOUT_FLOAT64", {DEVICE.type})
        yield


@functools.cache
def data(n_features=4):
    """Three groups of rows: 80 of them, in 2 batches of 40 or 20 of 4."""
    rng = np.random.default_rng(0)
    X = 8 * np.eye(3, n_features)[np.arange(80) % 3] + rng.normal(size=(80, n_features))
    return np.abs(X).astype(np.float32)


def results(model, X):
    """What the methods of a fitted estimator say of rows."""
    return {name: getattr(model, name)(X) for name in METHODS if hasattr(model, name)}


def compare(estimator, X):
    """Fit on both devices; what is fitted and predicted must be the same."""
    here = clone(estimator).set_params(device="cpu").fit(X)
    with StandInDevice(double=False):
        there = clone(estimator).set_params(device="meta").fit(X)
        found = results(there, X)
    assert all(isinstance(p, DeviceTensor) for p in there.module_.parameters())
    expected = results(here, X)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)
    if "predict" in expected:
        assert_array_equal(there.labels_, here.labels_)
    return here, there


@pytest.mark.parametrize("name", ["DEC", "DDC", "PCX"])
def test_first_clusters_of_some_rows_are_found_on_the_device(name, monkeypatch):
    X = data()
    for module in (_first_clusters, _neighbors, _standardization):
        monkeypatch.setattr(module, "START_ROWS", len(X) // 2)
    compare(SMALL[name], X)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_clusters_are_counted_on_the_device(kind, monkeypatch):
    monkeypatch.setattr(_mixins, "START_ROWS", 30)
    compare(clone(SMALL["DCN"]).set_params(n_clusters="auto"), kind(data()))


# --- the stand-in itself --------------------------------------------------------------


def test_the_stand_in_computes_what_the_cpu_computes():
    x = torch.arange(6.0).reshape(2, 3)
    with StandInDevice() as device:
        y = x.to("meta")
        z = (y @ y.T).softmax(1)
        y[:, 1].mul_(2)
        assert z.device == DEVICE
        with pytest.raises((TypeError, RuntimeError)):
            z.numpy()
        assert_array_equal(z.cpu(), (x @ x.T).softmax(1))
        assert y.tolist() == [[0, 2, 2], [3, 8, 5]]
    assert (device.copies_in, device.copies_out) == (1, 2)
    assert z.sum().item() == pytest.approx(2)  # after the block too


def test_the_stand_in_has_gradients():
    start = torch.linspace(-1, 1, 6).reshape(2, 3)
    values = []
    with StandInDevice():
        for device in ("cpu", "meta"):
            layer = torch.nn.Linear(3, 2)
            with torch.no_grad():
                layer.weight.copy_(start)
                layer.bias.zero_()
            layer = layer.to(device)
            optimizer = torch.optim.Adam(layer.parameters(), fused=True)
            layer(start.to(device)).square().sum().backward()
            optimizer.step()
            values.append(layer.weight.detach().cpu())
    assert_array_equal(*values)


def test_the_stand_in_refuses_what_a_gpu_refuses():
    x = torch.ones(3)
    with StandInDevice(double=False):
        y = x.to("meta")
        with pytest.raises(RuntimeError, match="same device"):
            x + y
        with pytest.raises(RuntimeError, match="same device"):
            torch.cat([x, y])
        with pytest.raises(RuntimeError, match="for generator"):
            y.normal_(generator=torch.Generator())
        with pytest.raises(RuntimeError, match="for generator"):
            torch.empty(3).normal_(generator=torch.Generator("meta"))
        with pytest.raises(TypeError, match="float64"):
            y.double()
        y.normal_(generator=torch.Generator("meta"))
        assert (y + torch.tensor(2.0)).device == DEVICE  # a number
    with pytest.raises(RuntimeError, match="same device"):
        x + y


@pytest.mark.parametrize(
    ("operation", "waits"),
    [
        (lambda y: y * 2 + y.sum(), 0),
        (lambda y: y[torch.zeros(2, dtype=torch.long)], 0),
        (lambda y: torch.where(y > 0, y, 1.0).sort().values.cumsum(0), 0),
        (lambda y: y[y > 0], 1),
        (lambda y: y.sum().item(), 1),
        (lambda y: bool((y > 0).any()), 1),
        (lambda y: (y > 0).nonzero(), 1),
        (lambda y: y.tolist(), 1),
        (lambda y: y.cpu(), 1),
        (lambda y: torch.equal(y, y), 1),
        (lambda y: y.long().bincount(minlength=4), 1),
        (lambda y: y.unique(), 1),
        (lambda y: y.masked_fill(y > 0, 2), 0),
    ],
)
def test_the_stand_in_counts_waits(operation, waits):
    with StandInDevice() as device:
        y = torch.arange(3.0).to("meta")
        operation(y)
    assert device.n_waits == waits


# --- results --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_DEVICE)
def test_results_are_those_of_the_cpu(name):
    compare(clone(ON_DEVICE[name]).set_params(batch_size=40), data())


@pytest.mark.parametrize("name", CLASSES)
def test_options_are_those_of_the_cpu(name):
    estimator = clone(CLASSES[name])
    options = {
        "architecture": "conv",
        "image_shape": (1, 4, 4),
        "hidden_layer_sizes": (4, 4),
        "n_init": 2,
        "precision": "bfloat16",
        "companion": "tensor",
        "augmentation": RandomAffine((1, 4, 4)),
        "optimizer": "sgd",
    }
    if name == "ConvTransformClustering":  # with channels of its own
        options.pop("hidden_layer_sizes")
    known = {k: v for k, v in options.items() if k in estimator.get_params()}
    compare(estimator.set_params(batch_size=40, **known), data(16))


def test_a_network_of_ones_own_runs_there():
    class Network(torch.nn.Module):
        def __init__(self, n_features, latent_dim):
            super().__init__()
            self.encoder = torch.nn.Sequential(
                torch.nn.Linear(n_features, latent_dim), torch.nn.Dropout(0.1)
            )
            self.decoder = torch.nn.Linear(latent_dim, n_features)

        def encode(self, x):
            return self.encoder(x)

        def decode(self, z):
            return self.decoder(z)

    estimator = clone(SMALL["IDEC"]).set_params(architecture=Network, batch_size=40)
    compare(estimator.set_params(hidden_layer_sizes=None), data())


def test_data_on_disk_and_streams_are_read_batch_by_batch(tmp_path):
    X = data()
    np.save(tmp_path / "x.npy", X)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    estimator = clone(SMALL["PCX"]).set_params(batch_size=40)
    compare(estimator, on_disk)
    here = clone(estimator).set_params(device="cpu")
    there = clone(estimator).set_params(device="meta")
    for part in (X[:40], X[40:]):
        here.partial_fit(part)
        with StandInDevice(double=False):
            there.partial_fit(part)
    assert_array_equal(there.labels_, here.labels_)


def test_files_go_from_one_device_to_the_other(tmp_path):
    X, path = data(), tmp_path / "model.safetensors"
    here = IDEC(3, max_epochs=2, hidden_layer_sizes=(8,), device="cpu", random_state=0)
    here.fit(X).save(path)
    with StandInDevice(double=False):
        there = load(path, device="meta")
        assert isinstance(next(there.module_.parameters()), DeviceTensor)
        assert_array_equal(there.predict(X), here.labels_)
        there.save(path)
    back = load(path, device="cpu")
    assert_array_equal(back.transform(X), here.transform(X))


@pytest.mark.parametrize("name", ["IDEC", "DCN-end-to-end", "DiscriminativeClustering"])
def test_an_interrupted_fit_goes_on(name, tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint, "PAUSE", 0)
    X, estimator = data(), clone(SMALL[name]).set_params(batch_size=40)
    here = clone(estimator).set_params(device="cpu").fit(X)
    estimator.set_params(device="meta", checkpoint=tmp_path)
    with StandInDevice(double=False):
        there, n_interrupts = interrupted_fit(estimator, X, 1)
    assert n_interrupts >= 1
    assert_array_equal(there.labels_, here.labels_)
    assert there.objective_ == pytest.approx(here.objective_, rel=1e-5)


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="cannot be used here"):
        PCX(3, device="no such device").fit(data())
    assert resolve_device("cpu") == torch.device("cpu")


# --- a real device --------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_DEVICE)
def test_a_real_device_fits_and_predicts(name, real_device, tmp_path):
    """``--device cuda``: its random numbers are others, so its fit is not the CPU's."""
    X, path = data(), tmp_path / "model.safetensors"
    there = clone(ON_DEVICE[name]).set_params(batch_size=40, device=real_device).fit(X)
    assert next(there.module_.parameters()).device.type == real_device.split(":")[0]
    found = results(there, X)
    if "predict" in found:
        assert_array_equal(found["predict"], there.labels_)
    there.save(path)
    expected = results(load(path, device="cpu"), X)
    for method, values in expected.items():
        if method == "predict":
            assert (found[method] == values).mean() >= 0.95
        else:
            assert_allclose(found[method], values, rtol=1e-2, atol=1e-2, err_msg=method)


# --- waiting --------------------------------------------------------------------------


def epochs_on_the_stand_in(estimator, X, monkeypatch):
    """Waits, copies in and copies out of each epoch, by phase."""
    epochs, notify = defaultdict(list), ClusterNet.notify
    with StandInDevice() as device, monkeypatch.context() as patch:

        def counts():
            return np.array([device.n_waits, device.copies_in, device.copies_out])

        def counting(net, method_name, **kwargs):
            if method_name == "on_epoch_begin":
                net.counts_ = counts()
            notify(net, method_name, **kwargs)
            if method_name == "on_epoch_end":
                epochs[net.phase_.name].append(counts() - net.counts_)

        patch.setattr(ClusterNet, "notify", counting)
        patch.setattr(kernels, "_WITHOUT_FLOAT64", set())
        estimator.fit(X)
    return {name: np.array(found) for name, found in epochs.items()}


# Their C is a sparse matrix in the memory of the host: which rows a batch is made of is
# asked there.
EXPRESSION_ON_THE_HOST = {"DeepSubspaceClustering"}


@pytest.mark.parametrize("name", {**GRADIENT})
def test_no_batch_waits_for_the_device(name, monkeypatch):
    estimator = clone(GRADIENT[name])
    known = {"device": "meta", "tol": 0.0, "max_epochs": 3}
    known = {k: v for k, v in known.items() if k in estimator.get_params()}
    few, many = (
        epochs_on_the_stand_in(
            clone(estimator).set_params(batch_size=size, **known), data(), monkeypatch
        )
        for size in (40, 4)
    )
    assert few.keys() == many.keys()
    for phase, counts in few.items():
        found = phase, counts, many[phase]
        least = many[phase].min(axis=0) - counts.min(axis=0)
        if name in EXPRESSION_ON_THE_HOST and phase == "self-expression":
            assert (least >= 9).any(), found  # or it need not be named above
            continue
        assert (np.abs(least) <= 1).all(), found
        # Now and then an epoch has something to do, such as to re-seed a cluster.
        most = many[phase].max(axis=0) - counts.max(axis=0)
        assert (np.abs(most) <= 9).all(), found  # there are 18 batches more
