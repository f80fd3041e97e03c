"""Augmentations, and what estimators do with them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from sklearn.base import clone
from sklearn.datasets import load_digits

from deepcluster_sk import DEC, IDEC, Autoencoder, load
from deepcluster_sk.augmentation import RandomAffine
from tests.instances import SMALL

SHAPE = (2, 9, 12)
AUGMENTED = {
    name: model for name, model in SMALL.items() if "augmentation" in model.get_params()
}


def images(n=6, shape=SHAPE, seed=0):
    return torch.rand(n, int(np.prod(shape)), generator=generator(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_is_the_identity():
    x = images()
    same = RandomAffine(SHAPE, rotation=0, shift=0)(x, generator())
    torch.testing.assert_close(same, x, atol=1e-5, rtol=0)


def test_matches_interpolation_by_scipy():
    x = images(n=1)
    rotation, shift, scale = 30.0, 0.2, 0.3
    moved = RandomAffine(SHAPE, rotation=rotation, shift=shift, scale=scale)(
        x, generator(5)
    )
    draw = torch.empty(4, 1).uniform_(-1, 1, generator=generator(5))[:, 0].tolist()
    angle, size = np.deg2rad(rotation * draw[0]), 1 + scale * draw[1]
    _, height, width = SHAPE
    # Rows and columns of the source, in pixels about the centre of the image.
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix /= size
    center = (np.array([height, width]) - 1) / 2
    offset = center - matrix @ center
    offset += shift * np.array([height * draw[3], width * draw[2]])
    for channel, found in zip(x.view(SHAPE), moved.view(SHAPE), strict=True):
        # With a black frame: there torch fades out, where scipy stops.
        expected = affine_transform(
            np.pad(channel.double().numpy(), 5),
            matrix,
            offset + 5 - matrix @ np.array([5, 5]),
            order=1,
            cval=0,
        )[5:-5, 5:-5]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_images_move_independently_and_reproducibly():
    x = images(n=1).repeat(4, 1)
    move = RandomAffine(SHAPE)
    first, again = move(x, generator()), move(x, generator())
    assert torch.equal(first, again)
    assert len(first.unique(dim=0)) == 4
    assert not torch.equal(first, move(x, generator(1)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_shape": (8, 8)}, r"three positive integers \(C, H, W\)"),
        ({"image_shape": (1, 8, 0)}, "three positive integers"),
        ({"rotation": 200}, r"rotation .* \[0, 180\]"),
        ({"shift": -0.1}, r"shift .* \[0, 1\]"),
        ({"scale": 1.0}, r"scale .* \[0, 1\)"),
        ({"rotation": np.nan}, "rotation"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        RandomAffine(**{"image_shape": (1, 8, 8)} | settings)


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"rows of 64 values\. Got 63"):
        RandomAffine((1, 8, 8))(torch.zeros(2, 63), generator())


@pytest.mark.parametrize("name", AUGMENTED)
def test_estimators_train_on_what_it_returns(name):
    X = load_digits().data[:90] / 16

    class Noise:
        calls = 0

        def __call__(self, x, generator):
            assert x.dtype == torch.float32
            assert x.shape[1] == 64
            Noise.calls += 1
            noise = torch.empty_like(x).normal_(generator=generator)
            return x.add_(noise, alpha=0.1)  # the copy may be written to

    before = X.copy()
    model = clone(AUGMENTED[name]).set_params(augmentation=Noise())
    model.fit(X)
    plain = clone(AUGMENTED[name]).fit(X)
    assert Noise.calls > 0
    np.testing.assert_array_equal(X, before)
    assert not np.array_equal(model.transform(X), plain.transform(X))
    again = clone(model).fit(X)
    np.testing.assert_array_equal(model.transform(X), again.transform(X))


def test_float32_rows_of_one_batch_are_not_written_to():
    X = load_digits().data[:50].astype(np.float32)
    before = X.copy()
    model = Autoencoder(
        hidden_layer_sizes=(8,), max_epochs=2, augmentation=lambda x, _: x.zero_()
    )
    model.fit(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        (lambda x, generator: x[:, :3], r"\(50, 64\)\. Got one of shape \(50, 3\)"),
        (lambda x, generator: x.numpy(), r"Got a ndarray"),
        (lambda x, generator: None, r"Got a NoneType"),
    ],
)
def test_what_is_no_batch_is_refused(augmentation, words):
    X = load_digits().data[:50]
    model = Autoencoder(hidden_layer_sizes=(8,), augmentation=augmentation)
    with pytest.raises(ValueError, match=words):
        model.fit(X)


def test_is_a_value():
    assert RandomAffine((1, 8, 8)) == RandomAffine((1, 8, 8), rotation=10.0)
    assert "rotation=10.0" in repr(RandomAffine((1, 8, 8)))


def test_moved_images_are_reconstructed_better():
    X = (load_digits().data / 16).astype(np.float32)
    move = RandomAffine((1, 8, 8), shift=0.15)
    moved = move(torch.from_numpy(X[1000:]), generator()).numpy()
    model = Autoencoder(hidden_layer_sizes=(64,), max_epochs=100, random_state=0)
    plain = model.fit(X[:1000]).score(moved)
    assert model.set_params(augmentation=move).fit(X[:1000]).score(moved) > plain / 1.5


def test_checkpoint_tells_augmentations_apart(tmp_path):
    X = load_digits().data[:60] / 16

    class Stop(Exception):
        pass

    def stop(x, generator):
        stop.left -= 1
        if stop.left == 0:
            raise Stop
        return x

    stop.left = 3
    model = IDEC(3, hidden_layer_sizes=(8,), pretrain_epochs=5, max_epochs=5)
    model.set_params(random_state=0, checkpoint=tmp_path, augmentation=stop)
    with pytest.raises(Stop):
        model.fit(X)
    model.set_params(augmentation=RandomAffine((1, 8, 8)))
    with pytest.raises(ValueError, match="augmentation"):
        model.fit(X)


@pytest.mark.parametrize("name", AUGMENTED)
def test_bf16_computes_nearly_the_same(name):
    X = load_digits().data[:90] / 16
    model = clone(AUGMENTED[name]).set_params(precision="bfloat16").fit(X)
    plain = clone(AUGMENTED[name]).fit(X)
    assert model.transform(X).dtype == np.float32
    assert all(p.dtype == torch.float32 for p in model.module_.parameters())
    first, full = (
        next(row for row in fitted.history_ if "layer" not in row["phase"])
        for fitted in (model, plain)
    )
    assert first["loss"] != full["loss"]
    assert first["loss"] == pytest.approx(full["loss"], rel=0.05)


def test_bf16_survives_saving(tmp_path):
    X = load_digits().data[:90] / 16
    model = DEC(3, hidden_layer_sizes=(8,), pretrain_epochs=2, max_epochs=2)
    model.set_params(precision="bfloat16", random_state=0).fit(X)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
