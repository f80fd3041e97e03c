import sys

import numpy as np
import pytest
from instances import SMALL
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError

from deepcluster_sk import (
    DCN,
    DDC,
    DEC,
    DEPICT,
    DKM,
    IDEC,
    PCX,
    Autoencoder,
    DeepSubspaceClustering,
    DiscriminativeClustering,
    DynAE,
    SparseSubspaceClustering,
    TensorizedAutoencoder,
    VaDE,
)
from deepcluster_sk.building import BaseDeepEstimator

onnxruntime = pytest.importorskip("onnxruntime")

NETWORKS = {n: e for n, e in SMALL.items() if isinstance(e, BaseDeepEstimator)}
OTHERS = {n: e for n, e in SMALL.items() if n not in NETWORKS}
CONV = {
    "architecture": "conv",
    "image_shape": (1, 8, 8),
    "hidden_layer_sizes": (4, 8),
    "max_epochs": 2,
    "random_state": 0,
}
CONVOLUTIONAL = [
    Autoencoder(latent_dim=3, **CONV),
    *(
        method(3, latent_dim=3, pretrain_epochs=2, **CONV)
        for method in (
            DCN,
            DEC,
            DEPICT,
            DKM,
            DynAE,
            IDEC,
            PCX,
            DiscriminativeClustering,
            VaDE,
        )
    ),
    DDC(3, latent_dim=8, **CONV),
    DeepSubspaceClustering(3, latent_dim=3, pretrain_epochs=2, **CONV),
    TensorizedAutoencoder(3, latent_dim=3, pretrain_epochs=2, **CONV),
]


def groups(n, d):
    """Rows of three groups, and 1,000 more of them."""
    X, _ = make_blobs(n + 1000, d, centers=3, cluster_std=2.0, random_state=0)
    X = X.astype(np.float32)
    return X[:n], X[n:]


def check_export(estimator, path, d):
    """Fit, write, run, and compare with what the estimator says of 1,000 rows."""
    train, new = groups(90, d)
    model = clone(estimator).fit(train)
    model.to_onnx(path)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"X": new}), strict=True))
    expected = {"embedding": model.transform(new)}
    if hasattr(model, "predict"):
        expected["label"] = model.predict(new)
    if hasattr(model, "predict_proba"):
        expected["probabilities"] = model.predict_proba(new)
    assert set(found) == set(expected)
    scale = np.abs(expected["embedding"]).max()
    np.testing.assert_allclose(
        found["embedding"], expected["embedding"], rtol=1e-3, atol=1e-5 * scale
    )
    if "label" in expected:
        np.testing.assert_array_equal(found["label"], expected["label"])
        assert found["label"].dtype == np.int64
        assert len(np.unique(found["label"])) > 1
    if "probabilities" in expected:
        np.testing.assert_allclose(
            found["probabilities"], expected["probabilities"], atol=1e-4
        )


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_run_without_python(name, tmp_path):
    check_export(NETWORKS[name], tmp_path / "model.onnx", d=4)


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
@pytest.mark.parametrize("estimator", CONVOLUTIONAL, ids=lambda e: type(e).__name__)
def test_convolutional_networks_run_without_python(estimator, tmp_path):
    check_export(estimator, tmp_path / "model.onnx", d=64)


def test_every_convolutional_method_is_tried():
    offered = {type(e) for e in NETWORKS.values() if "architecture" in e.get_params()}
    assert {type(e) for e in CONVOLUTIONAL} == offered


@pytest.mark.parametrize("name", OTHERS)
def test_estimators_without_a_network_refuse(name, tmp_path):
    model = clone(OTHERS[name]).fit(groups(30, 4)[0])
    with pytest.raises(TypeError, match="has no network to write in the ONNX format"):
        model.to_onnx(tmp_path / "model.onnx")


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    path, (X, _) = tmp_path / "model.onnx", groups(30, 4)
    with pytest.raises(NotFittedError):
        DEC().to_onnx(path)
    short = {"latent_dim": 2, "hidden_layer_sizes": (4,), "max_epochs": 1}
    model = Autoencoder(**short, precision="bfloat16").fit(X)
    with pytest.raises(ValueError, match="precision='bfloat16' cannot be exported"):
        model.to_onnx(path)
    model = Autoencoder(**short).fit(X)
    model._embed = lambda module, x: x.logcumsumexp(1)
    with pytest.raises(ValueError, match="a step that ONNX"):
        model.to_onnx(path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"deepcluster_sk\[onnx\]"):
        model.to_onnx(path)
    assert not list(tmp_path.iterdir())


def test_the_estimator_stays_as_it_was(tmp_path):
    X, new = groups(60, 4)
    model = TensorizedAutoencoder(3, random_state=0).fit(X)
    before = model.transform(new)
    model.to_onnx(str(tmp_path / "model.onnx"))
    np.testing.assert_array_equal(model.transform(new), before)
    assert not hasattr(SparseSubspaceClustering, "module_")
    assert "basis" not in vars(model.module_.stack)
