"""What runs on the CPU runs on another device: the same results, and no waiting."""

import functools
from collections import defaultdict

import numpy as np
import pytest
import torch
from instances import GRADIENT, SMALL
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from stand_in_device import DEVICE, DeviceTensor, StandInDevice
from test_checkpoint import interrupted_fit

from deepcluster_sk import (
    IDEC,
    PCX,
    DeepDictionaryClustering,
    DeepTransformClustering,
    SparseSubspaceClustering,
    TensorizedAutoencoder,
    kernels,
    load,
)
from deepcluster_sk._estimator import _mixins, _validation
from deepcluster_sk._estimator._solver_base import BaseSolverClusterer
from deepcluster_sk._training import _checkpoint
from deepcluster_sk._training._data import resolve_device, solver_device
from deepcluster_sk._training._net import ClusterNet
from deepcluster_sk.augmentation import RandomAffine
from deepcluster_sk.initialization import (
    _first_clusters,
    _neighbors,
    _standardization,
)
from deepcluster_sk.solvers import _local_pca
from deepcluster_sk.solvers._neighbor_graph import fuzzy_neighbor_graph

pytestmark = pytest.mark.filterwarnings(
    "ignore::deepcluster_sk.exceptions.ClusterCollapseWarning",
    # torch takes "meta" for the device without numbers, and copies them all the same.
    "ignore:for .*. copying from a non-meta parameter:UserWarning",
)
SOLVERS = {n: e for n, e in SMALL.items() if isinstance(e, BaseSolverClusterer)}
ON_DEVICE = {
    n: e for n, e in SMALL.items() if "device" in e.get_params() and n not in SOLVERS
}
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


@pytest.mark.parametrize("n_copies", [0, 3])
def test_neighbors_are_found_on_a_device_with_float64(n_copies, monkeypatch):
    rng = np.random.default_rng(0)
    X, *copies = rng.normal(size=(1 + n_copies, 60, 5))
    copies = copies or None
    here = fuzzy_neighbor_graph(X, 7, copies)
    monkeypatch.setattr(kernels, "_WITHOUT_FLOAT64", set())
    with StandInDevice() as device:
        there = fuzzy_neighbor_graph(X, 7, copies, DEVICE)
    assert (device.copies_in, device.copies_out) == (1 + n_copies, 2)
    assert_allclose(there.toarray(), here.toarray(), atol=1e-7 if copies else 1e-12)


def test_distances_of_a_device_do_not_cancel_between_far_clusters(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) + 1e6 * (np.arange(60) % 2)[:, None]
    here = fuzzy_neighbor_graph(X, 7)
    monkeypatch.setattr(kernels, "_WITHOUT_FLOAT64", set())
    with StandInDevice():
        there = fuzzy_neighbor_graph(X, 7, None, DEVICE)
    assert_allclose(there.toarray(), here.toarray(), atol=1e-9)


@pytest.mark.parametrize("name", ["DEC", "PCX", "DCN"])
def test_first_clusters_on_a_device_with_float64_are_those_of_the_cpu(name):
    here, there, _ = fit_on_both(SMALL[name], data())
    assert_array_equal(there.labels_, here.labels_)
    assert there.objective_ == pytest.approx(here.objective_, rel=1e-3)


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


@pytest.mark.parametrize("name", [*CLASSES, "SparseSubspaceClustering"])
def test_tensors_of_the_device_are_taken_as_they_are(name):
    X, estimator = data(), clone({**SMALL, **CLASSES}[name])
    expected = []
    with StandInDevice() as device:
        there = torch.from_numpy(X).to("meta")
        for Z in (X, there):
            estimator.set_params(device="meta").fit(Z)
            before = device.copies_in, device.copies_out
            found = results(estimator, Z)
            copies = device.copies_in - before[0], device.copies_out - before[1]
            expected.append((found, copies))
    (of_array, many), (of_tensor, few) = expected
    for method, values in of_array.items():
        assert isinstance(of_tensor[method], (np.ndarray, float)), method
        assert_array_equal(of_tensor[method], values, err_msg=method)
    if name in CLASSES:
        assert few[0] < many[0]  # rows go nowhere


def test_tensors_of_the_device_are_refused_in_the_words_for_arrays():
    model = clone(SMALL["PCX"]).set_params(device="meta")
    X = data().astype(np.float64)
    with StandInDevice():

        def refused(Z, error=ValueError):
            with pytest.raises(error) as caught:
                model.fit(Z)
            return str(caught.value)

        def there(Z):
            return torch.from_numpy(np.array(Z)).to("meta")

        for wrong in (np.where(X > 8, np.nan, X), 1e300 * X, X[0], X[:0], X[:, :0]):
            assert refused(there(wrong)) == refused(wrong)
        assert "Complex data" in refused(there(X + 1j))
        with pytest.warns(DataConversionWarning, match="which has 7 digits"):
            model.fit(there(X + 1e12))
        model.fit(there(X))
        with pytest.raises(ValueError, match="expecting 4 features"):
            model.predict(there(X[:, :3]))
        codes = torch.from_numpy(model.transform(X)).to("meta")
        assert_array_equal(
            model.inverse_transform(codes), model.inverse_transform(codes.cpu())
        )


@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_tensors_of_any_kind_are_taken(where):
    X = torch.from_numpy(data())
    model = clone(SMALL["PCX"]).set_params(device=where)
    with StandInDevice():
        expected = model.fit(X).labels_
        half = X.to(torch.bfloat16).float()
        found = model.fit(X.to(where).requires_grad_())
        assert_array_equal(found.labels_, expected)
        expected = model.fit(half).transform(half)
        found = half.to(torch.bfloat16).to(where)
        assert_array_equal(model.fit(found).transform(found), expected)
        with pytest.raises(ValueError, match=r"layout torch\.sparse_coo.*SciPy"):
            model.fit(X.to_sparse())


def test_tensors_of_inference_can_be_trained_on():
    with torch.inference_mode():
        X = torch.from_numpy(data()) + 0
    assert X.is_inference()
    found = _validation._check_tensor(clone(SMALL["PCX"]), X, reset=True)
    weight = torch.zeros(4, requires_grad=True)
    (found @ weight).sum().backward()  # which an inference tensor would refuse
    torch.testing.assert_close(weight.grad, found.sum(0))


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="cannot be used here"):
        PCX(3, device="no such device").fit(data())
    assert resolve_device("cpu") == torch.device("cpu")


# --- closed forms ---------------------------------------------------------------------

CLOSED_FORMS = {
    **{n: clone(e).set_params(max_iter=2) for n, e in SOLVERS.items()},
    **{
        f"{kind.__name__}-{penalty}-plain": kind(
            3, penalty=penalty, affine=False, max_iter=2, random_state=0
        )
        for kind in (SparseSubspaceClustering, DeepTransformClustering)
        for penalty in ("l1", "elasticnet", "l2", "nuclear")
    },
    "two layers": DeepTransformClustering(
        3, n_layers=2, latent_dim=4, max_iter=2, random_state=0
    ),
    "two layers-kmeans": DeepTransformClustering(
        3, n_layers=2, latent_dim=4, clustering="kmeans", max_iter=3, random_state=0
    ),
    "independent atoms": DeepDictionaryClustering(
        3,
        latent_dim=4,
        hidden_layer_sizes=(5,),
        clustering="subspace",
        max_iter=2,
        random_state=0,
    ),
    "many atoms": DeepDictionaryClustering(
        3, latent_dim=9, hidden_layer_sizes=(12,), max_iter=3, random_state=0
    ),
}
# What the data leave open is settled by the last digits, on the CPU as well: how units
# that are zero in all rows are transformed, and codes of atoms that are dependent.
LEFT_OPEN = {"DeepTransformClustering-deep", "DeepDictionaryClustering-subspace"}


@functools.cache
def planted(n=60):
    """Rows near three planes in six dimensions."""
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(3, 2, 6))
    X = np.einsum("ni,nij->nj", rng.normal(size=(n, 2)), planes[np.arange(n) % 3])
    return (X + 0.05 * rng.normal(size=X.shape)).astype(np.float32)


def fit_on_both(estimator, X, double=True):
    """The estimator fitted on the CPU and on the stand-in, and what that counted."""
    here = clone(estimator).set_params(device="cpu").fit(X)
    with StandInDevice(double=double) as device, pytest.MonkeyPatch.context() as patch:
        unknown = set() if double else {DEVICE.type}
        patch.setattr(kernels, "_WITHOUT_FLOAT64", unknown)
        there = clone(estimator).set_params(device="meta").fit(X)
    return here, there, device


def losses(model, rows=slice(None)):
    """The numbers in rows of ``history_``, one after the other."""
    return [
        value
        for row in model.history_[rows]
        for key, value in row.items()
        if key != "phase"
    ]


FIRST, BEFORE_THE_CUT = slice(1), slice(-1)


def is_well_posed(model):
    """Whether the graph has no more pieces than clusters are cut from it."""
    graph = getattr(model, "affinity_matrix_", None)
    return graph is None or connected_components(graph)[0] <= model.n_clusters


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms_are_those_of_the_cpu(name):
    X = planted()
    here, there, device = fit_on_both(CLOSED_FORMS[name], X)
    assert device.copies_in > 0
    if name in LEFT_OPEN:
        assert_allclose(losses(there, FIRST), losses(here, FIRST), rtol=1e-3)
        return
    if hasattr(here, "affinity_matrix_"):
        apart = abs(there.affinity_matrix_ - here.affinity_matrix_).max()
        assert apart <= 1e-6 * here.affinity_matrix_.max()
    if is_well_posed(here):
        assert_allclose(losses(there), losses(here), rtol=1e-6, atol=1e-9)
        assert_array_equal(there.labels_, here.labels_)
        assert_allclose(there.cluster_centers_, here.cluster_centers_, atol=1e-6)
    else:
        known = losses(here, BEFORE_THE_CUT)
        assert_allclose(losses(there, BEFORE_THE_CUT), known, rtol=1e-6, atol=1e-9)
    assert_allclose(there.transform(X), here.transform(X), rtol=1e-6, atol=1e-6)


def test_most_closed_forms_are_compared_in_all():
    posed = [is_well_posed(clone(e).fit(planted())) for e in CLOSED_FORMS.values()]
    assert sum(posed) >= len(posed) - 3


@pytest.mark.parametrize(
    "name",
    [
        "SparseSubspaceClustering-elasticnet-plain",
        "SparseSubspaceClustering-l2-plain",
        "two layers",
        "two layers-kmeans",
        "DeepTransformClustering-neighbors",
        "many atoms",
        "independent atoms",
    ],
)
def test_closed_forms_without_float64_are_near(name):
    X = planted()
    here, there, _ = fit_on_both(CLOSED_FORMS[name], X, double=False)
    assert (there.labels_ == here.labels_).mean() >= 0.95
    assert_allclose(losses(there, FIRST), losses(here, FIRST), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "SparseSubspaceClustering",
        "SparseSubspaceClustering-l2",
        "DeepTransformClustering",
        "DeepTransformClustering-kmeans",
        "DeepTransformClustering-neighbors",
        "DeepDictionaryClustering-kmeans",
        "independent atoms",
    ],
)
def test_the_host_waits_no_more_often_for_more_rows(name):
    waits = []
    for n in (60, 240):
        estimator = clone(CLOSED_FORMS[name]).set_params(max_iter=1)
        with StandInDevice() as device, pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "_WITHOUT_FLOAT64", set())
            estimator.set_params(device="meta").fit(planted(n))
        waits.append([device.n_waits, device.copies_in, device.copies_out])
    few, many = np.array(waits)
    assert (many[1:] <= few[1:] + 4).all(), waits  # a step of pivoting more, perhaps
    assert many[0] <= 1.5 * few[0] + 4, waits  # the iterations of other data


@pytest.mark.parametrize(
    "name", ["two layers-kmeans", "many atoms", "SparseSubspaceClustering-l2"]
)
def test_closed_forms_fitted_on_a_device_are_read_without_it(name, tmp_path):
    X, path = planted(), tmp_path / "model.safetensors"
    estimator = clone(CLOSED_FORMS[name]).set_params(max_iter=1)
    with StandInDevice(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_WITHOUT_FLOAT64", set())
        there = estimator.set_params(device="meta").fit(X)
        there.save(path)
    for again in (load(path), load(path, device="cpu"), there):
        assert_array_equal(again.predict(X), there.labels_)
        assert isinstance(again.transform(X), np.ndarray)
    assert load(path).device == "meta"


@pytest.mark.parametrize("assignment", ["lloyd", "posterior"])
@pytest.mark.parametrize(
    ("latent_dim", "code_penalty"), [(2, -0.5), (2, "auto"), ("auto", "auto")]
)
def test_exact_autoencoders_are_those_of_the_cpu(assignment, latent_dim, code_penalty):
    X = planted()
    estimator = TensorizedAutoencoder(
        3,
        latent_dim=latent_dim,
        code_penalty=code_penalty,
        assignment=assignment,
        max_epochs=3,
        n_init=1,
        random_state=0,
    )
    here, there, device = fit_on_both(estimator, X)
    assert device.copies_out > 3 * there.n_iter_  # of each cluster in each sweep
    assert_allclose(losses(there), losses(here), rtol=1e-6, atol=1e-9)
    assert_array_equal(there.labels_, here.labels_)
    assert_allclose(there.assignment_, here.assignment_, atol=1e-6)
    for method in ("transform", "reconstruct"):
        with StandInDevice():
            found = getattr(there, method)(X)
        assert_allclose(found, getattr(here, method)(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_features", [4, 9])
def test_directions_of_rows_on_a_device_are_those_of_the_cpu(n_features, monkeypatch):
    monkeypatch.setattr(_local_pca, "DENSE_SIZE", 6)
    rng = np.random.default_rng(0)
    R = rng.normal(size=(20, n_features)) * np.arange(1, n_features + 1)
    here = _local_pca.leading_directions(R, 2, np.random.RandomState(0))
    with StandInDevice():
        there = _local_pca.leading_directions(torch.from_numpy(R).to("meta"), 2, None)
    assert_allclose(there.T @ there, here.T @ here, atol=1e-9)


def test_closed_forms_take_a_device_with_float64_of_themselves(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert solver_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert solver_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", SOLVERS)
def test_closed_forms_refuse_an_unknown_device(name):
    with pytest.raises(ValueError, match="cannot be used here"):
        clone(SOLVERS[name]).set_params(device="no such device").fit(planted())


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


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_real_device_finds_the_closed_forms_of_the_cpu(name, real_device):
    X, estimator = planted(), clone(CLOSED_FORMS[name])
    here = clone(estimator).set_params(device="cpu").fit(X)
    there = estimator.set_params(device=real_device).fit(X)
    exact = torch.device(real_device).type not in kernels._WITHOUT_FLOAT64
    rtol = 1e-6 if exact else 1e-3
    assert_allclose(losses(there, FIRST), losses(here, FIRST), rtol=rtol, atol=1e-5)
    if exact and name not in LEFT_OPEN and is_well_posed(here):
        assert_array_equal(there.labels_, here.labels_)
        assert_allclose(there.transform(X), here.transform(X), rtol=1e-6, atol=1e-6)


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
        assert (np.abs(least) <= 1).all(), found
        # Now and then an epoch has something to do, such as to re-seed a cluster.
        most = many[phase].max(axis=0) - counts.max(axis=0)
        assert (np.abs(most) <= 9).all(), found  # there are 18 batches more
