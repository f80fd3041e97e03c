import re

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array, csr_matrix
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.utils import Bunch

from deepcluster_sk.datasets import (
    _fetched,
    _images,
    _toy,
    fetch_cifar10,
    fetch_fashion_mnist,
    fetch_har,
    fetch_mnist,
    fetch_reuters10k,
    fetch_usps,
    load_coil20,
    load_image_folder,
    load_mnist_test,
    load_penguins,
    make_lines_3d,
    make_orthogonal,
    make_parallel,
    make_triangle,
)

TOYS = [
    (make_parallel, 150, 5, 2, _toy._PARALLEL),
    (make_orthogonal, 150, 5, 2, _toy._ORTHOGONAL),
    (make_triangle, 150, 5, 3, _toy._TRIANGLE),
    (make_lines_3d, 300, 6, 3, _toy._LINES_3D),
]
IMAGE_LOADERS = [
    (load_mnist_test, "mnist_test.npz", 28),
    (load_coil20, "coil20.npz", 32),
]


@pytest.mark.parametrize(("make", "n_samples", "n_features", "k", "_"), TOYS)
def test_toy_shapes_and_balance(make, n_samples, n_features, k, _):
    X, y = make(random_state=0)
    assert X.shape == (n_samples, n_features)
    assert X.dtype == np.float64
    assert np.issubdtype(y.dtype, np.integer)
    np.testing.assert_array_equal(np.bincount(y), n_samples // k)

    X, y = make(n_samples=47, random_state=0)
    assert X.shape == (47, n_features)
    assert np.ptp(np.bincount(y, minlength=k)) <= 1


@pytest.mark.parametrize(("make", "n_samples", "n_features", "k", "_"), TOYS)
def test_toy_seed_and_shuffle(make, n_samples, n_features, k, _):
    X, y = make(random_state=3)
    X_again, y_again = make(random_state=3)
    np.testing.assert_array_equal(X, X_again)
    np.testing.assert_array_equal(y, y_again)
    assert not np.array_equal(X, make(random_state=4)[0])

    X_sorted, y_sorted = make(shuffle=False, random_state=3)
    np.testing.assert_array_equal(y_sorted, np.sort(y))
    # shuffling moves rows and labels together and changes nothing else
    order, order_sorted = np.lexsort(X.T), np.lexsort(X_sorted.T)
    np.testing.assert_array_equal(X[order], X_sorted[order_sorted])
    np.testing.assert_array_equal(y[order], y_sorted[order_sorted])


@pytest.mark.parametrize(("make", "n_samples", "n_features", "k", "clusters"), TOYS)
def test_toy_moments(make, n_samples, n_features, k, clusters):
    X, y = make(n_samples=30_000, n_noise_features=2, random_state=0)
    for j, (mean, covariance) in enumerate(clusters):
        signal, noise = X[y == j, : len(mean)], X[y == j, len(mean) :]
        np.testing.assert_allclose(signal.mean(axis=0), mean, atol=0.1)
        np.testing.assert_allclose(np.cov(signal.T), covariance, atol=0.25)
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.01)
        np.testing.assert_allclose(noise.std(axis=0), 0.1, atol=0.01)


@pytest.mark.parametrize("clusters", [toy[-1] for toy in TOYS])
def test_toy_covariances_are_positive_semidefinite(clusters):
    for _, covariance in clusters:
        covariance = np.asarray(covariance)
        np.testing.assert_array_equal(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance).min() > -1e-12


def test_lines_3d_are_flat_where_the_covariance_is_singular():
    # rows 1 and 2 of the first covariance agree, so those two coordinates do too,
    # up to the square root of the rounding error in a zero eigenvalue
    X, y = make_lines_3d(random_state=0)
    np.testing.assert_allclose(X[y == 0, 1], X[y == 0, 2], atol=1e-7)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (make_parallel, 0.266),
        (make_orthogonal, 0.973),
        (make_triangle, 0.848),
        (make_lines_3d, 0.662),
    ],
)
def test_toy_kmeans_finds_what_it_finds_in_the_literature(make, expected):
    X, y = make(shuffle=False, random_state=0)
    labels = KMeans(len(np.unique(y)), n_init=10, random_state=0).fit_predict(X)
    assert adjusted_rand_score(y, labels) == pytest.approx(expected, abs=0.02)


def test_toy_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    make_triangle(random_state=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize(
    "bad", [{"n_samples": 0}, {"n_samples": 1.5}, {"n_noise_features": -1}]
)
def test_toy_refuses_bad_parameters(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"'{name}' parameter of make_parallel"):
        make_parallel(**bad)


def test_penguins_bunch():
    penguins = load_penguins()
    assert penguins.data.shape == (342, 4)
    assert penguins.data.dtype == np.float64
    assert np.isfinite(penguins.data).all()
    assert penguins.feature_names == [
        "bill_length_mm",
        "bill_depth_mm",
        "flipper_length_mm",
        "body_mass_g",
    ]
    assert penguins.target_names.tolist() == ["Adelie", "Chinstrap", "Gentoo"]
    assert np.bincount(penguins.target).tolist() == [151, 68, 123]
    assert penguins.frame is None
    assert "CC0" in penguins.DESCR
    np.testing.assert_array_equal(penguins.data[0], [39.1, 18.7, 181, 3750])

    X, y = load_penguins(return_X_y=True)
    np.testing.assert_array_equal(X, penguins.data)
    np.testing.assert_array_equal(y, penguins.target)


def test_penguins_show_simpsons_paradox():
    X, y = load_penguins(return_X_y=True)
    assert np.corrcoef(X[:, 0], X[:, 1])[0, 1] < -0.2
    for species in range(3):
        assert np.corrcoef(X[y == species, 0], X[y == species, 1])[0, 1] > 0.3


def test_penguins_kmeans():
    X, y = load_penguins(return_X_y=True)
    labels = KMeans(3, n_init=10, random_state=0).fit_predict(X / X.max(axis=0))
    assert adjusted_rand_score(y, labels) == pytest.approx(0.715, abs=0.01)


def test_penguins_frame():
    pd = pytest.importorskip("pandas")
    penguins = load_penguins(as_frame=True)
    assert list(penguins.data.columns) == penguins.feature_names
    assert isinstance(penguins.target, pd.Series)
    assert penguins.frame.shape == (342, 5)
    assert list(penguins.frame.columns) == [*penguins.feature_names, "target"]
    X, y = load_penguins(return_X_y=True, as_frame=True)
    pd.testing.assert_frame_equal(X, penguins.data)
    pd.testing.assert_series_equal(y, penguins.target)


@pytest.fixture
def no_data_home(monkeypatch):
    monkeypatch.delenv("DEEPCLUSTER_SK_DATA", raising=False)


@pytest.mark.parametrize("as_variable", [False, True])
@pytest.mark.parametrize(("load", "name", "side"), IMAGE_LOADERS)
def test_images(load, name, side, as_variable, tmp_path, monkeypatch, no_data_home):
    images = np.random.default_rng(0).integers(0, 256, (6, side, side), dtype=np.uint8)
    target = np.arange(6, dtype=np.uint8)
    np.savez(tmp_path / name, X=images, y=target)
    if as_variable:
        monkeypatch.setenv("DEEPCLUSTER_SK_DATA", str(tmp_path))
    bunch = load() if as_variable else load(tmp_path)
    np.testing.assert_array_equal(bunch.images, images)
    np.testing.assert_array_equal(bunch.data, images.reshape(6, -1))
    assert bunch.data.dtype == np.uint8
    assert bunch.image_shape == (1, side, side)
    np.testing.assert_array_equal(bunch.target, target)

    X, y = load(str(tmp_path), return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


@pytest.mark.parametrize(("load", "name", "side"), IMAGE_LOADERS)
def test_images_say_what_to_put_where(load, name, side, tmp_path, no_data_home):
    for data_home in (None, tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError) as caught:
            load(data_home)
        message = str(caught.value)
        assert name in message
        assert "DEEPCLUSTER_SK_DATA" in message
        assert f"(n_samples, {side}, {side})" in message
        assert "'y'" in message
    with pytest.raises(ValueError, match="'data_home' parameter of load_"):
        load(3)


GOOD_X = np.zeros((4, 28, 28), dtype=np.uint8)
GOOD_Y = np.zeros(4, dtype=int)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": GOOD_X}, "Cannot read the arrays 'X' and 'y'"),
        ({"X": GOOD_X, "y": np.array([None] * 4)}, "allow_pickle=False"),
        ({"X": GOOD_X / 255, "y": GOOD_Y}, "'X' in .* must be uint8.*Got float64"),
        ({"X": GOOD_X.reshape(4, -1), "y": GOOD_Y}, r"Got uint8 of shape \(4, 784\)"),
        ({"X": GOOD_X[:, 1:], "y": GOOD_Y}, r"Got uint8 of shape \(4, 27, 28\)"),
        ({"X": GOOD_X, "y": GOOD_Y[:3]}, r"must be integers of shape \(4,\)"),
        ({"X": GOOD_X, "y": GOOD_Y + 0.5}, "'y' in .* must be integers.*Got float64"),
    ],
)
def test_images_refuse_wrong_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "mnist_test.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_mnist_test(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_images_refuse_a_broken_file(content, tmp_path):
    path = tmp_path / "mnist_test.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_mnist_test(tmp_path)


def test_images_refuse_a_bare_array(tmp_path):
    with open(tmp_path / "mnist_test.npz", "wb") as file:
        np.save(file, GOOD_X)
    with pytest.raises(ValueError, match="Cannot read the arrays"):
        load_mnist_test(tmp_path)


def test_fetch_mnist_converts_what_openml_serves(monkeypatch, tmp_path):
    asked = {}

    def fake(name, **kwargs):
        asked.update(name=name, **kwargs)
        data = np.arange(3 * 784).reshape(3, 784) % 256
        return Bunch(data=data, target=np.array(["5", "0", "4"]), DESCR="MNIST")

    monkeypatch.setattr(_images, "fetch_openml", fake)
    digits = fetch_mnist(tmp_path)
    assert asked["name"] == "mnist_784"
    assert asked["data_home"] == tmp_path
    assert digits.data.dtype == np.uint8
    assert digits.images.shape == (3, 28, 28)
    assert digits.image_shape == (1, 28, 28)
    assert digits.target.tolist() == [5, 0, 4]
    X, y = fetch_mnist(return_X_y=True)
    np.testing.assert_array_equal(X, digits.data)
    np.testing.assert_array_equal(y, digits.target)


def openml(monkeypatch, width, low=0, high=255):
    """In the place of OpenML: two rows, of classes "2" and "10"."""
    asked = {}

    def fake(name, **kwargs):
        asked.update(name=name, **kwargs)
        data = np.linspace(low, high, 2 * width).reshape(2, width)
        return Bunch(data=data, target=np.array(["10", "2"]), DESCR=name)

    monkeypatch.setattr(_fetched, "fetch_openml", fake)
    return asked


@pytest.mark.parametrize(
    ("fetch", "name", "shape", "dtype", "low", "high"),
    [
        (fetch_fashion_mnist, "Fashion-MNIST", (1, 28, 28), np.uint8, 0, 255),
        (fetch_usps, "USPS", (1, 16, 16), np.float32, -1, 1),
        (fetch_cifar10, "CIFAR_10", (3, 32, 32), np.uint8, 0, 255),
    ],
)
def test_fetched_images(fetch, name, shape, dtype, low, high, monkeypatch, tmp_path):
    asked = openml(monkeypatch, np.prod(shape), low, high)
    found = fetch(tmp_path)
    assert asked["name"] == name and asked["data_home"] == tmp_path
    assert found.data.dtype == dtype and found.image_shape == shape
    assert found.data.min() == 0 and found.data.max() == (1 if low else 255)
    assert found.images.shape == (2, *(shape[1:] if shape[0] == 1 else shape))
    assert found.target.tolist() == [1, 0]
    X, y = fetch(return_X_y=True)
    np.testing.assert_array_equal(X, found.data)
    np.testing.assert_array_equal(y, found.target)


def test_fetch_har(monkeypatch):
    assert openml(monkeypatch, 561, -1, 1) == {}
    X, y = fetch_har(return_X_y=True)
    assert X.shape == (2, 561) and X.dtype == np.float32 and y.tolist() == [1, 0]


def test_fetch_reuters10k_keeps_single_topics_and_frequent_words(monkeypatch):
    names = np.array(["C11", "CCAT", "ECAT", "GCAT", "MCAT"])
    topics = np.array(
        [[1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    )
    words = np.array([[1.0, 0, 2], [3, 0, 4], [5, 6, 7], [8, 0, 0]])
    raw = Bunch(
        data=csr_matrix(words), target=csr_matrix(topics), target_names=names, DESCR=""
    )
    monkeypatch.setattr(_fetched, "fetch_rcv1", lambda data_home: raw)
    monkeypatch.setattr(_fetched, "N_WORDS", 2)
    found = fetch_reuters10k(random_state=1)
    assert isinstance(found.data, csr_array) and found.data.dtype == np.float32
    order = np.argsort(found.target)
    np.testing.assert_array_equal(
        found.data.toarray()[order], words[np.ix_([0, 1, 3], [0, 2])]
    )
    assert found.target[order].tolist() == [0, 2, 3]
    assert found.target_names == ("CCAT", "ECAT", "GCAT", "MCAT")


@pytest.fixture
def pictures(tmp_path):
    """Two objects in colour, one of them twice, named as those of COIL-100."""
    for name, color in (("obj2__0", 20), ("obj10__0", 100), ("obj10__5", 110)):
        Image.new("RGB", (4, 6), (color, 0, 0)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_a_folder_of_images(pictures):
    found = load_image_folder(pictures, label_pattern=r"obj(\d+)__")
    assert found.filenames == ["obj10__0.png", "obj10__5.png", "obj2__0.png"]
    assert found.image_shape == (3, 6, 4) and found.images.shape == (3, 3, 6, 4)
    assert found.data.dtype == np.uint8 and found.data[0, 0] == 100
    assert found.target.tolist() == [1, 1, 0] and found.target_names == ["2", "10"]
    gray = load_image_folder(pictures, gray=True, size=(3, 2))
    assert gray.image_shape == (1, 3, 2) and gray.images.shape == (3, 3, 2)
    assert gray.target.tolist() == [0, 0, 0]
    X, y = load_image_folder(pictures, return_X_y=True)
    assert X.shape == (3, 72) and y.shape == (3,)


def test_a_folder_of_images_is_refused_in_words(pictures):
    with pytest.raises(FileNotFoundError, match="No folder"):
        load_image_folder(pictures / "none")
    with pytest.raises(ValueError, match="must have a group and fit every name"):
        load_image_folder(pictures, label_pattern="cat(.)")
    Image.new("L", (4, 6)).save(pictures / "grey.png")
    with pytest.raises(ValueError, match="pass gray=True"):
        load_image_folder(pictures)
    Image.new("L", (9, 9)).save(pictures / "grey.png")
    with pytest.raises(ValueError, match=r"pass size=\(H, W\)"):
        load_image_folder(pictures, gray=True)
    (pictures / "grey.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="Cannot read"):
        load_image_folder(pictures)
    (pictures / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="No image in"):
        load_image_folder(pictures / "empty")
