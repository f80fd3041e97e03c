"""The contract with users, on every public estimator."""

import inspect
import pickle
import random
import threading
import warnings
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from instances import (
    CHECKED,
    CLUSTERERS,
    DEFAULT,
    GRADIENT,
    NEARLY_DEFAULT,
    SMALL,
    VARIANTS,
    trains_by_gradient,
)
from numpy.testing import assert_allclose
from numpydoc.docscrape import ClassDoc
from sklearn.base import BaseEstimator, clone, is_clusterer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback

import deepcluster_sk
from deepcluster_sk._estimator import _base
from deepcluster_sk._estimator._solver_base import BaseSolverClusterer
from deepcluster_sk.exceptions import ClusterCollapseWarning, ConvergenceError
from deepcluster_sk.plotting._losses import _NOT_LOSSES
from deepcluster_sk.solvers._partitions import order_of_clusters, renumbered

PER_CLUSTER = (
    "cluster_centers_",
    "cluster_sizes_",
    "components_",
    "covariances_",
    "exemplars_",
    "weights_",
)


def smallest_first(labels, n_clusters):
    return order_of_clusters(labels, n_clusters)[::-1].copy()


def every(instances):
    return pytest.mark.parametrize(
        "estimator", [pytest.param(e, id=name) for name, e in instances.items()]
    )


# Those that hold a network; the others bring a solver of their own.
NETWORKS = {name: e for name, e in SMALL.items() if "architecture" in e.get_params()}


def public_estimators():
    found = (getattr(deepcluster_sk, name) for name in deepcluster_sk.__all__)
    return {c for c in found if inspect.isclass(c) and issubclass(c, BaseEstimator)}


@parametrize_with_checks([*CHECKED.values(), *NEARLY_DEFAULT.values()])
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.nightly
@parametrize_with_checks(list(VARIANTS.values()))
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_check_estimator_with_other_settings(estimator, check):
    check(estimator)


@pytest.mark.nightly
@parametrize_with_checks(list(DEFAULT.values()))
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_check_estimator_with_all_defaults(estimator, check):
    check(estimator)


def test_every_public_estimator_is_registered():
    assert public_estimators() == {type(e) for e in SMALL.values()}
    assert public_estimators() == {type(e) for e in DEFAULT.values()}


@every(SMALL)
def test_labels_and_score_come_from_the_predict_path(estimator, blobs):
    X, _ = blobs
    fitted = clone(estimator).fit(X)
    assert fitted.score(X) == pytest.approx(-fitted.objective_, rel=1e-6)
    if is_clusterer(estimator):
        assert (fitted.predict(X) == fitted.labels_).all()
        assert (clone(estimator).fit_predict(X) == fitted.labels_).all()


@every(SMALL)
def test_history_terms_add_up_to_the_loss(estimator, blobs):
    fitted = clone(estimator).fit(blobs[0])
    assert len(fitted.history_) == fitted.n_iter_ > 0
    other = {"loss", *_NOT_LOSSES}
    for row in fitted.history_:
        assert {"phase", "epoch", "loss"} < set(row)
        terms = [value for name, value in row.items() if name not in other]
        assert terms, row
        assert sum(terms) == pytest.approx(row["loss"], rel=1e-5, abs=1e-5)


@every(SMALL)
def test_same_seed_same_result_bit_for_bit(estimator, blobs):
    X, _ = blobs
    first, second = clone(estimator).fit(X), clone(estimator).fit(X)
    assert np.array_equal(first.transform(X), second.transform(X))
    assert first.history_ == second.history_


@every(SMALL)
def test_pickle_keeps_predictions_and_no_training_state(estimator, blobs):
    X, _ = blobs
    fitted = clone(estimator).fit(X)
    larger = clone(estimator).fit(np.tile(X, (5, 1)))
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.transform(X), fitted.transform(X))

    def size(model):
        model = deepcopy(model)
        model.history_ = []  # its length may differ
        if hasattr(model, "labels_"):
            model.labels_ = None  # the one array of length n that is promised
        return len(pickle.dumps(model))

    # 360 more rows of 4 floats would be 5,760 bytes.
    assert abs(size(larger) - size(fitted)) < 500


def width(fitted):
    """Of the code of a fitted estimator, which may have found it."""
    return getattr(fitted, "latent_dim_", fitted.latent_dim)


@every(SMALL)
def test_integer_and_float_dtypes_agree(estimator, blobs):
    X, _ = blobs
    reference = clone(estimator).fit(X).transform(X)
    for dtype in (np.uint8, np.int64, np.float64):
        converted = X.astype(dtype)
        fitted = clone(estimator).fit(converted)
        assert np.array_equal(fitted.transform(converted), reference), dtype
        assert fitted.transform(converted).dtype == np.float32


@every(SMALL)
def test_memory_layouts_just_work_and_input_is_untouched(estimator, blobs):
    X, _ = blobs
    reference = clone(estimator).fit(X).transform(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    layouts = [read_only, X[::-1].copy()[::-1], np.asfortranarray(X), X.tolist()]
    for data in layouts:
        before = np.array(data)
        assert np.array_equal(clone(estimator).fit(data).transform(data), reference)
        assert np.array_equal(before, np.array(data))


@every(SMALL)
def test_dataframes(estimator, blobs):
    X = pd.DataFrame(blobs[0], columns=list("abcd"))
    fitted = clone(estimator).set_output(transform="pandas").fit(X)
    embedding = fitted.transform(X)
    assert list(embedding.columns) == list(fitted.get_feature_names_out())
    assert embedding.shape == (len(X), width(fitted))
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform(X[list("dcba")])


@every(SMALL)
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[1.0, np.nan]] * 5), "NaN"),
        (np.array([[1.0, np.inf]] * 5), "infinity"),
        (np.array([[1.0, 1e300]] * 5), "too large"),
        (np.ones(5), "1D array"),
        (np.ones((2, 2, 2)), "dim 3"),
        (np.array([["a", "b"]] * 5), "could not convert"),
        (np.ones((0, 3)), "0 sample"),
    ],
)
def test_bad_input_is_refused_in_scikit_learn_words(estimator, X, message, untrained):
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(X)


@every(SMALL)
def test_parameters_are_refused_before_training(estimator, blobs, untrained):
    X, _ = blobs
    name = type(estimator).__name__
    bad = {
        "latent_dim": 0,
        "max_epochs": 0,
        "batch_size": 0,
        "lr": -1.0,
        "tol": -1.0,
        "optimizer": "newton",
        "architecture": "transformer",
        "n_init": 0,
    }
    for parameter in sorted(set(bad) & set(estimator.get_params())):
        with pytest.raises(ValueError, match=f"'{parameter}' parameter of {name}"):
            clone(estimator).set_params(**{parameter: bad[parameter]}).fit(X)


@every(NETWORKS)
def test_parameters_of_networks_are_refused_before_training(
    estimator, blobs, untrained
):
    X, _ = blobs
    with pytest.raises(ValueError, match="needs image_shape"):
        clone(estimator).set_params(architecture="conv").fit(X)
    with pytest.raises(ValueError, match="rows of 9 values, but X has 4"):
        clone(estimator).set_params(image_shape=(1, 3, 3)).fit(X)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        clone(estimator).set_params(hidden_layer_sizes=(4, 0)).fit(X)
    with pytest.raises(ValueError, match="device='abacus' cannot be used here"):
        clone(estimator).set_params(device="abacus").fit(X)
    with pytest.raises(TypeError, match=r"skorch\.callbacks\.Callback"):
        clone(estimator).set_params(callbacks=[print]).fit(X)


@every(CLUSTERERS)
def test_more_clusters_than_samples_is_refused(estimator, untrained):
    X = np.eye(4)
    with pytest.raises(ValueError, match=r"n_samples=4 should be >= n_clusters=5"):
        clone(estimator).set_params(n_clusters=5).fit(X)


@every(CLUSTERERS)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_one_cluster_and_as_many_as_samples(estimator, blobs):
    X = blobs[0][:12]
    one = clone(estimator).set_params(n_clusters=1).fit(X)
    assert (one.labels_ == 0).all()
    every_one = clone(estimator).set_params(n_clusters=len(X)).fit(X)
    assert np.isfinite(every_one.transform(X)).all()
    assert np.array_equal(every_one.predict(X), every_one.labels_)


@every(SMALL)
def test_a_single_sample(estimator):
    one = clone(estimator)
    if is_clusterer(one):
        one.set_params(n_clusters=1)
    X = np.array([[1.0, 2.0, 3.0]])
    if isinstance(one, deepcluster_sk.DDC):
        with pytest.raises(ValueError, match="n_samples=1 should be >= 2"):
            one.fit(X)
        return
    assert one.fit(X).transform(X).shape == (1, width(one))


@every(SMALL)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_constant_and_duplicated_rows(estimator):
    X = np.ones((20, 3))
    assert np.isfinite(clone(estimator).fit(X).transform(X)).all()


@every(SMALL)
def test_global_random_state_is_untouched(estimator, blobs):
    X, _ = blobs
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()
    model = clone(estimator).fit(X)
    model.transform(X)
    model.score(X)
    after = np.random.get_state()[1], random.getstate(), torch.get_rng_state()
    assert np.array_equal(before[0], after[0])
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])


class Interrupt(Callback):
    """Ctrl-C at the end of the second epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


@every(GRADIENT)
def test_ctrl_c_leaves_the_estimator_unfitted(estimator, blobs):
    X, _ = blobs
    model = clone(estimator).set_params(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    with pytest.raises(NotFittedError):
        model.transform(X)
    fitted = clone(estimator).fit(X)
    with pytest.raises(KeyboardInterrupt):
        fitted.set_params(callbacks=[Interrupt()]).fit(X[:, :2])
    assert not [name for name in vars(fitted) if name.endswith("_")]


@every(GRADIENT)
def test_divergence_names_phase_epoch_and_term(estimator, blobs):
    X, _ = blobs
    model = clone(estimator).set_params(optimizer="sgd", lr=1e30, max_epochs=50, tol=0)
    with pytest.raises(ConvergenceError, match=r"phase '.+', epoch \d+, .*term '.+'"):
        model.fit(X)
    assert not hasattr(model, "net_")


@every(SMALL)
def test_two_threads_do_not_disturb_each_other(estimator, blobs):
    X, _ = blobs
    expected = clone(estimator).fit(X).transform(X)
    results = []

    def work():
        results.append(clone(estimator).fit(X).transform(X))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(np.array_equal(result, expected) for result in results)


@every(SMALL)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_pipeline_and_grid_search_with_the_default_scoring(estimator, blobs):
    X, _ = blobs
    pipeline = make_pipeline(StandardScaler(), clone(estimator))
    name = type(estimator).__name__.lower()
    grid = {f"{name}__latent_dim": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@every(SMALL)
def test_verbose_shows_a_progress_bar_and_silence_is_silent(estimator, blobs, capfd):
    X, _ = blobs
    clone(estimator).fit(X)
    assert capfd.readouterr() == ("", "")
    if trains_by_gradient(estimator):
        clone(estimator).set_params(verbose=1).fit(X)
        assert "epoch" in capfd.readouterr().err


@every(SMALL)
def test_n_init_keeps_the_lowest_objective(estimator, blobs):
    X, _ = blobs
    rng = np.random.RandomState(3)
    single = clone(estimator).set_params(n_init=1, random_state=rng)
    objectives = [single.fit(X).objective_ for _ in range(3)]
    best = clone(estimator).set_params(n_init=3, random_state=np.random.RandomState(3))
    assert best.fit(X).objective_ == min(objectives)


class Dropout(torch.nn.Module):
    """A user's network that draws random numbers in training."""

    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.encode_layer = torch.nn.Linear(n_features, latent_dim)
        self.decode_layer = torch.nn.Linear(latent_dim, n_features)
        self.dropout = torch.nn.Dropout(0.5)

    def encode(self, x):
        return self.encode_layer(self.dropout(x))

    def decode(self, embedding):
        return self.decode_layer(embedding)


def needs_more_than_encode_and_decode(estimator):
    params = estimator.get_params()
    return params.get("companion") or params.get("pretraining") == "layerwise"


@every(
    {
        name: e
        for name, e in GRADIENT.items()
        if name in NETWORKS and not needs_more_than_encode_and_decode(e)
    }
)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_a_users_own_network(estimator, blobs):
    X, _ = blobs
    if "solver" in estimator.get_params():
        estimator = clone(estimator).set_params(solver="gradient")
    own = clone(estimator).set_params(architecture=Dropout, hidden_layer_sizes=None)
    state = torch.get_rng_state()
    first, second = clone(own).fit(X), clone(own).fit(X)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(first.transform(X), second.transform(X))
    assert np.array_equal(first.transform(X), first.transform(X))


def test_collapse_is_announced(blobs):
    model = deepcluster_sk.TensorizedAutoencoder(n_clusters=3, random_state=0)
    with pytest.warns(ClusterCollapseWarning, match="uses 1 of 3 clusters"):
        model.fit(np.ones((9, 2)))


def parameter_docs():
    docs = {}
    for estimator in public_estimators():
        for parameter in ClassDoc(estimator)["Parameters"]:
            docs.setdefault(parameter.name, {})[estimator.__name__] = parameter
    return docs


SHARED = (
    "image_shape",
    "batch_size",
    "optimizer",
    "device",
    "callbacks",
    "verbose",
)


@pytest.mark.parametrize("name", SHARED)
def test_shared_parameters_are_documented_alike(name):
    docs = parameter_docs()
    # Where the network cannot be chosen, image_shape has no architecture to refer to.
    alike = docs["architecture"] if name == "image_shape" else docs[name]
    # A solver computes on a device; a network is trained there.
    classes = {c.__name__: c for c in public_estimators()}
    solvers = [e for e in alike if issubclass(classes[e], BaseSolverClusterer)]
    for family in (set(alike) - set(solvers), set(solvers)):
        texts = {
            " ".join([docs[name][e].type.split(", default")[0], *docs[name][e].desc])
            for e in family
        }
        # A method may add a sentence of its own.
        shortest = min(texts, key=len, default="")
        assert all(text.startswith(shortest) for text in texts), texts


@pytest.mark.parametrize("estimator", sorted(public_estimators(), key=str))
def test_parameters_are_documented_in_order_with_their_defaults(estimator):
    documented = ClassDoc(estimator)["Parameters"]
    signature = inspect.signature(estimator.__init__).parameters
    assert [p.name for p in documented] == [n for n in signature if n != "self"]
    for parameter in documented:
        default = signature[parameter.name].default
        shown = parameter.type.rpartition("default=")[2]
        assert (
            float(shown) == default
            if isinstance(default, float)
            else (shown.replace('"', "'") == repr(default))
        ), parameter


def test_no_warning_is_raised_by_a_plain_fit(blobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deepcluster_sk.TensorizedAutoencoder(3, random_state=0).fit(blobs[0])


@every(CLUSTERERS)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
@pytest.mark.rounding
def test_clusters_are_numbered_by_size_and_first_row(estimator, blobs):
    X = blobs[0]
    tied = np.concatenate([X[:60], X[:7], X[-40:]])
    for data in (X, X[::-1].copy(), tied):
        model = clone(estimator).fit(data)
        sizes = np.bincount(model.labels_, minlength=model.n_clusters)
        first = [
            np.argmax(model.labels_ == j) if size else len(data)
            for j, size in enumerate(sizes)
        ]
        numbers = list(zip(-sizes, first, strict=True))
        assert numbers == sorted(numbers)


@every({name: e for name, e in CLUSTERERS.items() if hasattr(e, "predict_proba")})
@pytest.mark.rounding
def test_labels_are_the_columns_of_the_largest_probabilities(estimator, blobs):
    X, _ = blobs
    model = clone(estimator).fit(X)
    assert (model.predict_proba(X).argmax(1) == model.predict(X)).all()


@every(CLUSTERERS)
@pytest.mark.rounding
def test_all_that_is_per_cluster_has_the_numbers_of_the_labels(
    estimator, blobs, monkeypatch
):
    X = blobs[0][20:]  # of different sizes
    model = clone(estimator).fit(X)
    # The largest first would often be the order of training, too: the smallest first.
    monkeypatch.setattr(_base, "order_of_clusters", smallest_first)
    other = clone(estimator).fit(X)
    order = smallest_first(model.labels_, model.n_clusters)
    assert order.tolist() == [2, 1, 0]
    assert (other.labels_ == renumbered(model.labels_, order)).all()
    assert (other.predict(X) == other.labels_).all()
    assert_allclose(other.objective_, model.objective_, rtol=1e-5)
    assert_allclose(other.transform(X), model.transform(X), rtol=1e-5, atol=1e-5)
    found = [n for n in PER_CLUSTER if hasattr(model, n)]
    assert found or isinstance(model, deepcluster_sk.DDC)
    for name in found:
        theirs = getattr(other, name)
        assert_allclose(theirs, getattr(model, name)[order], rtol=1e-5, atol=1e-5)
    if hasattr(model, "predict_proba"):
        expected = model.predict_proba(X)[:, order]
        assert_allclose(other.predict_proba(X), expected, rtol=1e-5, atol=1e-5)
