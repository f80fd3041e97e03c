"""Saved estimators are the same estimators, and damaged files are refused."""

import hashlib
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from instances import SMALL
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import EpochTimer

import deepcluster_sk
from deepcluster_sk._estimator._base import OF_ALL_ROWS
from deepcluster_sk.building import Solution
from deepcluster_sk.io import _safetensors as _container
from deepcluster_sk.io._safetensors import NotStorable, pack, read, unpack, write
from deepcluster_sk.persistence import KIND

METHODS = (
    "predict",
    "predict_proba",
    "transform",
    "reconstruct",
    "denoise",
    "score_samples",
    "score",
)
every = pytest.mark.parametrize(
    "estimator", [pytest.param(e, id=name) for name, e in SMALL.items()]
)


def assert_same(a, b):
    """Equal values of equal types, all the way down."""
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, (np.ndarray, torch.Tensor)):
        assert a.dtype == b.dtype
        assert_array_equal(a, b)
    elif isinstance(a, Solution):
        assert_same(vars(a), vars(b))
    else:
        assert a == b or (a != a and b != b)


def public_attributes(estimator):
    return {
        name: value
        for name, value in sorted(vars(estimator).items())
        if name.endswith("_")
        and name[0] != "_"
        and name not in ("net_", "module_", *OF_ALL_ROWS)
    }


def assert_same_answers(again, fitted, X):
    assert_same(public_attributes(again), public_attributes(fitted))
    used = [name for name in METHODS if hasattr(fitted, name)]
    assert {"transform", "score"} <= set(used)
    for name in used:
        assert_same(getattr(again, name)(X), getattr(fitted, name)(X))
    if hasattr(fitted, "inverse_transform"):
        Z = fitted.transform(X)
        assert_same(again.inverse_transform(Z), fitted.inverse_transform(Z))
    assert_same(again.get_feature_names_out(), fitted.get_feature_names_out())


@every
def test_a_loaded_estimator_is_the_saved_one(estimator, blobs, tmp_path):
    X, path = blobs[0], tmp_path / "model"
    fitted = clone(estimator).fit(X)
    assert fitted.save(path) is None
    again = deepcluster_sk.load(path)
    assert type(again) is type(fitted)
    assert_same(again.get_params(), fitted.get_params())
    assert_same_answers(again, fitted, X)
    if hasattr(fitted, "module_"):
        assert again.module_ is again.net_.module_
    assert_same_answers(pickle.loads(pickle.dumps(again)), fitted, X)
    assert_same_answers(clone(again).fit(X), fitted, X)
    # What is saved again is the same file, but for the order of the metadata.
    again.save(tmp_path / "second")
    assert len((tmp_path / "second").read_bytes()) == len(path.read_bytes())


@every
def test_names_of_features_and_output_survive(estimator, blobs, tmp_path):
    X = pd.DataFrame(blobs[0], columns=list("abcd"))
    fitted = clone(estimator).set_output(transform="pandas").fit(X)
    fitted.save(tmp_path / "model")
    again = deepcluster_sk.load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.transform(X), fitted.transform(X))
    assert_same(again.feature_names_in_, fitted.feature_names_in_)
    with pytest.raises(ValueError, match="feature names"):
        again.transform(X[list("dcba")])


@every
def test_an_unfitted_estimator_is_not_saved(estimator, tmp_path):
    with pytest.raises(NotFittedError):
        clone(estimator).save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_new_process_gives_the_same_labels(blobs, tmp_path):
    X, path = blobs[0], tmp_path / "model"
    fitted = clone(SMALL["IDEC"]).fit(X)
    fitted.save(path)
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy, deepcluster_sk\n"
        "folder = sys.argv[1]\n"
        "X = numpy.load(folder + '/X.npy')\n"
        "model = deepcluster_sk.load(folder + '/model')\n"
        "numpy.save(folder + '/codes.npy', model.transform(X))\n"
        "print(*model.predict(X))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert_array_equal(np.array(done.stdout.split(), dtype=int), fitted.labels_)
    assert_array_equal(np.load(tmp_path / "codes.npy"), fitted.transform(X))


# --- damage -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(blobs, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    clone(SMALL["PCX"]).fit(blobs[0]).save(path)
    return path.read_bytes()


def refused(path, data, match):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        deepcluster_sk.load(path)
    assert str(path) in str(caught.value)


def test_a_changed_byte_is_noticed_wherever_it_is(saved, tmp_path):
    rng = np.random.RandomState(0)
    header = 8 + int.from_bytes(saved[:8], "little")
    places = [
        *range(8),
        *range(8, header, 7),
        *rng.randint(header, len(saved), 100),
        len(saved) - 1,
    ]
    for place in places:
        data = bytearray(saved)
        data[place] ^= 1 << rng.randint(8)
        refused(tmp_path / "model", bytes(data), "is damaged")


def test_a_file_that_was_cut_off_or_went_on_is_noticed(saved, tmp_path):
    for length in (0, 1, 8, 100, 1000, len(saved) // 2, len(saved) - 1):
        refused(tmp_path / "model", saved[:length], "is damaged")
    refused(tmp_path / "model", saved + b"\0", "is damaged")


def test_other_files_are_refused(tmp_path):
    refused(tmp_path / "model", b"\x80\x04K\x01.", "is damaged, or no file of deep")
    with pytest.raises(FileNotFoundError):
        deepcluster_sk.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "model", KIND, "1", [])


def rewritten(saved, old, new):
    """The file with another text in its header, and the checksum for it."""
    header = saved[8 : 8 + int.from_bytes(saved[:8], "little")].decode()
    assert old in header
    header = re.sub('"sha256":"[0-9a-f]*"', '"sha256":"' + 64 * "0" + '"', header)
    header = header.replace(old, new, 1).encode()
    tensors = saved[8 + int.from_bytes(saved[:8], "little") :]
    data = len(header).to_bytes(8, "little") + header + tensors
    digest = hashlib.sha256(data).hexdigest().encode()
    return data.replace(64 * b"0", digest, 1)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (r"[\"class\", \"PCX\"]", r"[\"class\", \"SVC\"]", "has no estimator 'SVC'"),
        (r"[\"class\", \"PCX\"]", r"[\"class\", \"load\"]", "no estimator 'load'"),
        (r"[\"class\", \"PCX\"]", r"[\"class\", \"DCN\"]", "unexpected keyword"),
        (r"[\"class\", \"PCX\"]", r"[\"class\", []]", "cannot be loaded"),
        (r"\"format\": 1", r"\"format\": 2", "has format 2, written by"),
        (r"\"kind\": \"a fitted", r"\"kind\": \"no fitted", "no fitted estimator, not"),
        (r"[\"latent_dim\", 2]", r"[\"latent_dim\", 3]", "size mismatch"),
        (r"[\"latent_dim\", 2]", r"[\"latent_dim\", -3]", "'latent_dim' parameter"),
        (r"[\"class\", \"PCX\"]", r"[\"other\", \"PCX\"]", "'class'"),
        (r"{\"dict\": ", r"{\"code\": ", "unknown tag 'code'"),
        (
            "content/fitted/labels_",
            "content/fitted/labelz_",
            "cannot be read: .*labelz",
        ),
    ],
)
def test_a_wrong_content_with_a_right_checksum(saved, tmp_path, old, new, match):
    refused(tmp_path / "model", rewritten(saved, old, new), match)


def test_a_rewritten_file_is_read_where_nothing_is_wrong(saved, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(rewritten(saved, r"\"n_iter_\", ", r"\"n_iter_\", 1"))
    assert str(deepcluster_sk.load(path).n_iter_).startswith("1")


def test_a_failed_save_leaves_the_old_file(saved, tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(saved)
    model = deepcluster_sk.load(path)

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(_container.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        model.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert path.read_bytes() == saved


# --- what a file cannot hold ----------------------------------------------------------


class Network(torch.nn.Module):
    """A network of the user's."""

    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.encoder = torch.nn.Linear(n_features, latent_dim)
        self.decoder = torch.nn.Linear(latent_dim, n_features)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, embedding):
        return self.decoder(embedding)


@pytest.mark.parametrize("name", ["DCN", "PCX", "Autoencoder", "DDC"])
def test_a_network_of_the_users_is_passed_again(name, blobs, tmp_path):
    X, path = blobs[0], tmp_path / "model"
    own = clone(SMALL[name]).set_params(architecture=Network)
    fitted = own.fit(X)
    fitted.save(path)
    again = deepcluster_sk.load(path, architecture=Network)
    assert_same_answers(again, fitted, X)
    with pytest.raises(ValueError, match=r"architecture=Network, which .* pass archi"):
        deepcluster_sk.load(path)
    with pytest.raises(ValueError, match=r"(?s)model cannot be loaded: .*Missing key"):
        deepcluster_sk.load(path, architecture="mlp")
    if name == "PCX":  # whose network has coordinates of its own by now
        assert_same_answers(again.partial_fit(X), fitted.partial_fit(X), X)


def test_what_is_not_data_is_passed_again(blobs, tmp_path):
    path = tmp_path / "model"
    params = {
        "optimizer": torch.optim.Adam,
        "callbacks": [EpochTimer()],
        "random_state": np.random.RandomState(0),
        "device": torch.device("cpu"),
        "checkpoint": tmp_path / "folder",
    }
    clone(SMALL["DCN"]).set_params(**params).fit(blobs[0]).save(path)
    with pytest.raises(
        ValueError, match=r"optimizer=Adam, .* pass callbacks=\.\.\., opt"
    ):
        deepcluster_sk.load(path)
    given = {"optimizer": "adam", "callbacks": None, "random_state": 0}
    again = deepcluster_sk.load(path, **given, device="cpu")
    assert {name: getattr(again, name) for name in given} == given
    again = deepcluster_sk.load(path, **given)
    assert again.device == torch.device("cpu")
    assert again.checkpoint == str(tmp_path / "folder")
    with pytest.raises(ValueError, match=r"'tol' of a fitted DCN cannot be replaced"):
        deepcluster_sk.load(path, **given, tol=1.0)
    with pytest.raises(ValueError, match="device='abacus' cannot be used here"):
        deepcluster_sk.load(path, **given, device="abacus")


def test_classes_and_attributes_of_the_users_are_refused(blobs, tmp_path):
    class Mine(deepcluster_sk.Autoencoder):
        """Not in the library."""

    mine = Mine(hidden_layer_sizes=(), max_epochs=1).fit(blobs[0])
    with pytest.raises(TypeError, match=r"Mine is no estimator of deepcluster_sk"):
        mine.save(tmp_path / "model")
    model = clone(SMALL["DCN"]).fit(blobs[0])
    model.remark_ = object()
    with pytest.raises(TypeError, match="object is not plain data"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_stream_goes_on_from_the_saved_network(blobs, tmp_path):
    X, path = blobs[0], tmp_path / "model"
    stream = clone(SMALL["PCX"]).partial_fit(X).partial_fit(X)
    stream.save(path)
    again = deepcluster_sk.load(path)
    assert_same_answers(again, stream, X)
    again.partial_fit(X)
    assert again.n_iter_ == stream.n_iter_ + 1
    assert again.history_[:-1] == stream.history_


# --- the container --------------------------------------------------------------------


def through_a_file(content, path):
    write(path, "test", "1", content)
    return read(path, "test")


def test_values_keep_their_types(tmp_path):
    content = {
        "plain": [None, True, 1, 10**30, -0.0, 1e-320, 'é "sha256":"x', ()],
        "not finite": [float("nan"), float("inf"), -float("inf")],
        "numpy": [
            np.float64(0.1),
            np.float32("nan"),
            np.int32(-3),
            np.bool_(True),
            np.str_("a"),
            np.uint64(2**64 - 1),
        ],
        "device": torch.device("cpu"),
        1: {(2, "a"): 3},
        "texts": np.array(["a", "b"], dtype=object),
    }
    again = through_a_file(content, tmp_path / "file")
    assert_same(again, content)
    assert str(again["plain"][4]) == "-0.0"


def test_arrays_keep_their_order_in_memory(tmp_path):
    rng = np.random.RandomState(0)
    a = rng.randn(3, 4, 5)
    arrays = [
        a,
        np.asfortranarray(a),
        a.transpose(1, 0, 2),
        np.array(3.0),
        rng.randint(9, size=4).astype(np.uint32),
        a > 0,
    ]
    read_only = a[0].copy()
    read_only.flags.writeable = False
    backwards = a[0, :, ::-1]
    tensors = [torch.from_numpy(a).permute(2, 0, 1), torch.ones(2, 1).bfloat16()]
    again = through_a_file([*arrays, *tensors, read_only, backwards], tmp_path / "file")
    for new, old in zip(again, [*arrays, *tensors], strict=False):
        assert type(new) is type(old)
        assert new.dtype == old.dtype
        strides = (
            x.strides if isinstance(x, np.ndarray) else x.stride() for x in (new, old)
        )
        assert len({*strides}) == 1
        assert bool((new == old).all())
    assert_same(again[-2:], [read_only, backwards])
    assert_same(through_a_file(a[:0], tmp_path / "file"), a[:0])
    assert again[-2].flags.writeable


def test_tensors_of_one_name_stay_apart():
    tensors = {}
    content = {"a/b": torch.zeros(2), "a": {"b": torch.ones(2)}}
    assert_same(
        unpack(json.loads(json.dumps(pack(content, tensors))), tensors), content
    )
    assert len(tensors) == 2


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        1j,
        np.longdouble(1),
        np.array([None]),
        np.ones(2, dtype=complex),
        np.ones(2, dtype=">f8"),
        torch.ones(2, dtype=torch.complex64),
        torch.eye(2).to_sparse(),
    ],
    ids=lambda value: type(value).__name__,  # the same in every process
)
def test_other_values_are_refused(value, tmp_path):
    with pytest.raises(NotStorable):
        write(tmp_path / "file", "test", "1", [value])
    assert not list(tmp_path.iterdir())
