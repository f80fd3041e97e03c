"""What the papers state, as a table, and that each recipe is that and can be run."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from skorch.callbacks import Callback

from deepcluster_sk import (
    DCN,
    DDC,
    DEC,
    DEPICT,
    DKM,
    IDEC,
    PCX,
    ConvTransformClustering,
    DeepDictionaryClustering,
    DeepSubspaceClustering,
    DeepTransformClustering,
    DiscriminativeClustering,
    DynAE,
    TensorizedAutoencoder,
    VaDE,
    recipes,
)
from deepcluster_sk.exceptions import ClusterCollapseWarning
from deepcluster_sk.modules import FullyConvAutoencoder

IMAGE = (1, 20, 20)
D = 30


class Recipe(NamedTuple):
    """What is known of a recipe: not how it is made, but what the paper says."""

    estimator: type
    arguments: dict  # beside the number of clusters
    facts: dict  # parameters, as the paper or its authors' code has them
    layers: list | None  # weights of the encoder, the clustering included; or none
    phases: list  # names in history_


PERCEPTRON = [(500, D), (500, 500), (2000, 500), (10, 2000)]
LAYERWISE = [*(f"pretrain layer {i}" for i in (1, 2, 3, 4)), "pretrain", "cluster"]
# Two blocks of two convolutions; of 20 x 20 pixels one is left, of 32 channels.
BLOCKS = [(32, 1, 5, 5), (32, 32, 5, 5), (32, 32, 3, 3), (32, 32, 3, 3)]
EMBEDDED = {
    "latent_dim": 10,
    "pretrain_epochs": 200,
    "max_epochs": 400,
    "batch_size": 256,
    "lr": 1e-3,
    "optimizer": "adam",
    "update_interval": 140,
    "init": "k-means",
    "whiten": False,
    "n_init": 20,
    "tol": 1e-3,
    "companion": None,
}
DENOISING = {"pretraining": "layerwise", "mask_rate": 0.2}
PLAIN = {"pretraining": "end-to-end", "mask_rate": 0.0}
COMPANION = {"companion_weight": 0.01, "companion_weighting": "constant"}
DIVERGENCE = {
    "latent_dim": 100,
    "pretraining": None,
    "pretrain_epochs": 0,
    "max_epochs": 200,
    "batch_size": 120,
    "lr": 1e-3,
    "optimizer": "adam",
    "tol": 0,
    "n_init": 20,
    "reconstruction_weight": 0,
    "companion": None,
    "kernel_width": 0.15,
    "kernel_width_of": "distances",
}
EXEMPLARS = {
    "latent_dim": 10,
    "hidden_layer_sizes": (500, 500, 2000),
    "init": "random",
    "mask_rate": 0,
    "max_epochs": 1000,
    "burn_in_epochs": 250,
    "batch_size": 256,
    "lr": 5e-4,
    "optimizer": "adam",
    "temperature": 5,
    "decay": 0.995,
    "centroid_update": "after-step",
    "decay_by_size": False,
    "tol": 0,
    "clustering_weight": 5e-4 / 10,  # of a mean over the 10 coordinates
    "entropy_weight": 1e-5,
    "imbalanced": False,
}
AS_PUBLISHED = {"normalize": False, "tol": 0}
SUBSPACES = {"clustering": "subspace", "penalty": "l1", "affine": False, "tol": 0}
INTEGRATED = [*PERCEPTRON, (10, 20)]
VECTORS = [(512, D), (512, 512), (256, 512), (100, 256), (3, 100)]

DISCRIMINATIVE = {
    "architecture": "fully-conv",
    "anchors": "batch",
    "n_neighbors": 2,  # fewer than clusters
    "alpha": 0.1,
    "reconstruction_weight": 0.001,
    "discriminative_weight": 1,
    "between_weight": 1,
    "within_weight": 0.3,
    "latent_dim": 60,
    "pretrain_epochs": 50,
    "batch_size": 1000,
    "optimizer": "adam",
}
STAGES = ["pretrain", "stage I", "stage II"]
TENSORIZED = {
    "latent_dim": 1,
    "hidden_layer_sizes": (),
    "code_penalty": -0.1,
    "solver": "gradient",
    "assignment": "lloyd",
    "init": "k-means++",
    "pretrain_epochs": 0,
    "max_epochs": 100,
    "lr": 1e-2,
    "optimizer": "adam",
    "n_init": 1,
    "tol": 0,
    "noise_std": 0,
}

TABLE = {
    "dec": Recipe(DEC, {}, EMBEDDED | DENOISING, PERCEPTRON, LAYERWISE),
    "idec": Recipe(
        IDEC,
        {},
        EMBEDDED | DENOISING | {"clustering_weight": 0.1},
        PERCEPTRON,
        LAYERWISE,
    ),
    "dec_conv": Recipe(
        DEC,
        {"image_shape": IMAGE},
        EMBEDDED | PLAIN,
        [*BLOCKS, (10, 32)],
        ["pretrain", "cluster"],
    ),
    "dcec": Recipe(
        IDEC,
        {"image_shape": IMAGE},
        EMBEDDED | PLAIN | {"clustering_weight": 0.1},
        [*BLOCKS, (10, 32)],
        ["pretrain", "cluster"],
    ),
    "dec_uco_naive": Recipe(
        DEC,
        {"image_shape": IMAGE},
        EMBEDDED | PLAIN | COMPANION | {"companion": "naive", "lr": 1e-4},
        [*BLOCKS, (10, 32)],
        ["pretrain", "cluster"],
    ),
    "dec_uco_tensor": Recipe(
        DEC,
        {},
        EMBEDDED | DENOISING | COMPANION | {"companion": "tensor", "lr": 1e-4},
        PERCEPTRON,
        LAYERWISE,
    ),
    "dcn": Recipe(
        DCN,
        {"n_features": D},
        {
            "latent_dim": 10,
            "clustering_weight": 2 / D,
            "pretraining": "layerwise",
            "mask_rate": 0,
            "pretrain_epochs": 250,
            "max_epochs": 50,
            "batch_size": 256,
            "lr": 1e-4 * D / 2,
            "optimizer": "sgd",
            "init": "k-means",
            "whiten": False,
            "tol": 0,
        },
        PERCEPTRON,
        LAYERWISE,
    ),
    "dkm": Recipe(
        DKM,
        {"n_features": D},
        {
            "latent_dim": 3,
            "clustering_weight": 1 / D,
            "alpha": 1000,
            "pretraining": "end-to-end",
            "mask_rate": 0,
            "pretrain_epochs": 50,
            "max_epochs": 20 * 5,
            "batch_size": 256,
            "lr": 1e-3,
            "optimizer": "adam",
            "init": "k-means",
            "whiten": False,
            "tol": 0,
        },
        [(500, D), (500, 500), (2000, 500), (3, 2000)],
        ["pretrain", "cluster"],
    ),
    "vade": Recipe(
        VaDE,
        {},
        {
            "latent_dim": 10,
            "likelihood": "bernoulli",
            "pretraining": "layerwise",
            "max_epochs": 500,
            "batch_size": 100,
            "lr": 0.002,
            "optimizer": "adam",
            "init": "mixture",
            "tol": 0,
        },
        [*PERCEPTRON, (10, 2000)],
        LAYERWISE,
    ),
    "depict": Recipe(
        DEPICT,
        {"image_shape": IMAGE},
        {
            "latent_dim": 3,  # the number of clusters
            "dropout_rate": 0.1,
            "reconstruction_weight": 1,
            "target": "sharpened",
            "update_interval": 1,
            "init": "k-means",
            "whiten": False,
            "max_epochs": 4000,
            "batch_size": 100,
            "lr": 1e-4,
            "optimizer": "adam",
        },
        [(50, 1, 5, 5), (50, 50, 3, 3), (3, 50 * 5 * 5), (3, 3)],
        ["pretrain", "cluster"],
    ),
    "dynae": Recipe(
        DynAE,
        {},
        {
            "latent_dim": 10,
            "confidence": 3,
            "init": "k-means",
            "whiten": False,
            "pretrain_epochs": 130_000 * 256 // 70_000,
            "max_epochs": 100_000 * 256 // 70_000 + 1,
            "clustering_weight": 1 / (100 * 10 * 0.1),
            "batch_size": 256,
            "lr": 1e-4,
            "optimizer": "adam",
            "tol": 0.01,
        },
        PERCEPTRON,
        ["pretrain", "cluster"],
    ),
    "ddc": Recipe(
        DDC,
        {"image_shape": IMAGE},
        DIVERGENCE,
        [*BLOCKS, (100, 32), (3, 100)],
        ["cluster"],
    ),
    "ddc_ae": Recipe(
        DDC,
        {},
        DIVERGENCE | {"reconstruction_weight": 0.1},
        VECTORS,
        ["cluster"],
    ),
    "ddc_uco_naive": Recipe(
        DDC,
        {},
        DIVERGENCE | COMPANION | {"companion": "naive"},
        VECTORS,
        ["cluster"],
    ),
    "ddc_uco_tensor": Recipe(
        DDC,
        {"image_shape": IMAGE},
        DIVERGENCE | COMPANION | {"companion": "tensor"},
        [*BLOCKS, (100, 32), (3, 100)],
        ["cluster"],
    ),
    "discriminative_mnist": Recipe(
        DiscriminativeClustering,
        {"image_shape": IMAGE},
        DISCRIMINATIVE,
        [(6, 1, 3, 3), (8, 6, 3, 3), (15, 8, 3, 3)],
        STAGES,
    ),
    "discriminative_coil": Recipe(
        DiscriminativeClustering,
        {"image_shape": IMAGE},
        DISCRIMINATIVE
        | {"latent_dim": 150, "batch_size": 500, "discriminative_weight": (4, 1)},
        [(14, 1, 3, 3), (19, 14, 3, 3), (6, 19, 3, 3)],
        STAGES,
    ),
    "tae_linear": Recipe(
        TensorizedAutoencoder,
        {},
        TENSORIZED | {"code_layer": "linear"},
        [],  # stacked: see below
        ["tensorized"],
    ),
    "tae_mlp": Recipe(
        TensorizedAutoencoder,
        {"latent_dim": 4},
        TENSORIZED | {"code_layer": "relu", "latent_dim": 4},
        [],
        ["tensorized"],
    ),
    "tae_conv": Recipe(
        TensorizedAutoencoder,
        {"image_shape": IMAGE},
        TENSORIZED | {"latent_dim": 10, "hidden_layer_sizes": None},
        [],
        ["tensorized"],
    ),
    "pcx": Recipe(PCX, {}, EXEMPLARS, INTEGRATED, ["exemplars"]),
    "pcx_div": Recipe(PCX, {}, EXEMPLARS, INTEGRATED, ["exemplars"]),
    "pcx_imba": Recipe(
        PCX,
        {},
        EXEMPLARS | {"imbalanced": True, "size_smoothing": 5},
        INTEGRATED,
        ["exemplars"],
    ),
    "sae_ssc": Recipe(
        DeepSubspaceClustering,
        {"n_features": D},
        AS_PUBLISHED
        | {"self_expression": "solved", "update_interval": 1, "penalty": "l1"}
        | {"subspace_weight": 1 / D},
        [(128, D), (20, 128)],
        ["pretrain", "self-expression"],
    ),
    "dsc_net": Recipe(
        DeepSubspaceClustering,
        {"image_shape": IMAGE},
        AS_PUBLISHED
        | {"self_expression": "trained", "penalty": "l2", "latent_dim": 30 * 3 * 3}
        | {"lr": 1e-3, "subspace_weight": 10 ** (3 / 10 - 3) / 400},
        [(10, 1, 5, 5), (20, 10, 3, 3), (30, 20, 3, 3)],
        ["pretrain", "self-expression"],
    ),
    "ddl_kmeans": Recipe(
        DeepDictionaryClustering,
        {},
        {"clustering": "kmeans", "clustering_weight": 1.0, "tol": 0},
        None,
        ["sweep"],
    ),
    "ddl_ssc": Recipe(
        DeepDictionaryClustering,
        {},
        {"clustering": "subspace", "tol": 0},
        None,
        ["sweep"],
    ),
    "tsc": Recipe(
        DeepTransformClustering,
        {},
        SUBSPACES | {"n_layers": 1},
        None,
        ["sweep", "subspaces"],
    ),
    "dtl_ssc": Recipe(
        DeepTransformClustering,
        {},
        SUBSPACES | {"n_layers": 3},
        None,
        ["sweep", "subspaces"],
    ),
    "dtl_kmeans": Recipe(
        DeepTransformClustering,
        {},
        {"clustering": "kmeans", "n_layers": 3, "kernel": None, "tol": 0},
        None,
        ["sweep", "centers"],
    ),
    "ctl": Recipe(
        ConvTransformClustering,
        {"image_shape": IMAGE, "n_layers": 2},
        {"latent_dim": None, "pooling": False, "activation": "identity"}
        | {"kmeans_weight": 0, "tol": 0},
        [(16, 1, 3, 3), (16, 16, 3, 3)],
        ["pretrain", "clustering"],
    ),
}
# A budget for tests: the rest is the recipe's.
SHORT = {
    "pretrain_epochs": 2,
    "max_epochs": 2,
    "max_iter": 2,
    "stage_one_epochs": 1,
    "n_init": 1,
    "random_state": 0,
    "device": "cpu",
}
SOLVER = {"max_iter": 2, "random_state": 0}
EVERY = pytest.mark.parametrize("name", TABLE)


def make(name, **settings):
    return getattr(recipes, name)(3, **TABLE[name].arguments, **settings)


def short(name, **settings):
    """The recipe with a budget for tests, as far as the estimator knows of budgets."""
    known = make(name).get_params()
    budget = {key: value for key, value in SHORT.items() if key in known}
    if known.get("pretrain_epochs") == 0:
        del budget["pretrain_epochs"]
    return make(name, **{**budget, **settings})


def data(name):
    """45 rows in three clusters, as wide as the recipe's network is told."""
    shape = TABLE[name].arguments.get("image_shape", (D,))
    X, _ = make_blobs(45, int(np.prod(shape)), centers=3, random_state=0)
    if "likelihood" in TABLE[name].facts:  # of values from 0 to 1
        X = X - X.min()
        return (X / X.max()).astype(np.float32)
    return (X / 10).astype(np.float32)


def test_the_table_has_every_recipe():
    assert set(TABLE) == set(recipes.__all__)


@EVERY
def test_a_recipe_is_what_the_paper_says(name):
    model = make(name)
    assert type(model) is TABLE[name].estimator
    parameters = model.get_params()
    for key, fact in TABLE[name].facts.items():
        expected = pytest.approx(fact) if isinstance(fact, float) else fact
        assert parameters[key] == expected, key


@EVERY
def test_keywords_replace_what_the_paper_says(name):
    others = make(name).get_params()
    length = "max_epochs" if "max_epochs" in others else "max_iter"
    model = make(name, random_state=3, **{length: 7})
    changed = {k for k, v in model.get_params().items() if repr(v) != repr(others[k])}
    assert {length, "random_state"} <= changed
    assert getattr(model, length) == 7
    with pytest.raises(TypeError, match="no_such_parameter"):
        make(name, no_such_parameter=1)
    assert repr(clone(model)) == repr(model)


@EVERY
def test_a_recipe_can_be_run(name):
    with warnings.catch_warnings():
        # Two epochs from random weights may leave clusters empty.
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        model = short(name).fit(data(name))
    phases = [row["phase"] for row in model.history_]
    assert list(dict.fromkeys(phases)) == TABLE[name].phases
    assert len(model.labels_) == 45
    if TABLE[name].layers is None:
        return
    modules = dict(model.module_.named_modules())
    weights = [
        tuple(module.weight.shape)
        for path, module in modules.items()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
        and not {"decoder", "up", "from_code"} & set(path.split("."))
    ]
    assert weights == TABLE[name].layers


class Weights(Callback):
    """The encoder and the codes at the end of one phase and the start of the next."""

    def __init__(self):
        self.ended, self.started = None, None

    def _look(self, net, X):
        state = net.module_.autoencoder.state_dict()
        weights = {name: value.clone() for name, value in state.items()}
        return weights, net.apply(net.module_.encode, X).clone()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        if net.phase_.name == "pretrain":
            self.ended = self._look(net, X)

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        if net.phase_.name == "cluster":
            self.started = self._look(net, X)
            self.centers = net.module_.centers.detach().clone()


@pytest.mark.parametrize(
    "name", [name for name, known in TABLE.items() if "whiten" in known.facts]
)
def test_the_code_is_left_as_the_autoencoder_made_it(name):
    spy = Weights()
    short(name, callbacks=[spy]).fit(data(name))
    (before, codes), (after, _) = spy.ended, spy.started
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    # Centres are the means of the rows nearest to them: k-means, in that code.
    labels = torch.cdist(codes, spy.centers).argmin(1)
    means = torch.stack([codes[labels == j].mean(0) for j in range(3)])
    if name == "dynae":  # whose centres are rows
        means = codes[torch.cdist(codes, means).argmin(0)]
    torch.testing.assert_close(spy.centers, means, rtol=1e-3, atol=1e-4)


def test_the_mixture_of_vade_is_of_the_code_as_it_is():
    assert recipes.vade(3).whiten is False
    spy = Weights()
    short("vade", callbacks=[spy]).fit(data("vade"))
    (before, codes), (after, started) = spy.ended, spy.started
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(codes, started)


@pytest.mark.parametrize("Estimator", [DEC, IDEC, DCN, DEPICT, DynAE])
@pytest.mark.parametrize("init", ["k-means", "mixture"])
def test_by_default_the_code_is_mapped(Estimator, init):
    """So that what the tests above see could be otherwise."""
    X = data("dec")
    settings = {"hidden_layer_sizes": (8,), "latent_dim": 2, "init": init}
    settings |= {key: SHORT[key] for key in SHORT if key in Estimator().get_params()}
    mapped = []
    for whiten in (True, False):
        spy = Weights()
        Estimator(
            3, pretraining="end-to-end", whiten=whiten, callbacks=[spy], **settings
        ).fit(X)
        mapped.append(not torch.equal(spy.ended[1], spy.started[1]))
    assert mapped == [True, False]


def test_images_are_moved_for_dynae():
    move = recipes.dynae(3, image_shape=IMAGE).augmentation
    assert (move.rotation, move.shift, move.scale) == (10, 0.1, 0)
    assert recipes.dynae(3).augmentation is None


def test_the_burn_in_is_a_quarter_of_the_epochs():
    assert recipes.pcx(3, max_epochs=40).burn_in_epochs == 10
    assert recipes.pcx(3, max_epochs=40, burn_in_epochs=3).burn_in_epochs == 3


def test_pcx_starts_in_the_code_as_it_was_drawn():
    spy = []

    class Start(Callback):
        def on_train_begin(self, net, X=None, y=None, **kwargs):
            module = net.module_
            spy.append((module.code_scale.item(), module.fusion.weight.clone()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)
        short("pcx", max_epochs=4, callbacks=[Start()]).fit(data("pcx"))
    (scale, unit), _ = spy  # of the burn-in and of what follows
    assert scale == 1
    assert (unit[:, 10:] != 0).all()  # the centroids count from the first step


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("tae_linear", [(D, 1), (1, D)]),
        ("tae_mlp", [(D, 4), (4, D)]),
        (
            "tae_conv",
            [
                (4, 1, 5, 5),
                (8, 4, 5, 5),
                (10, 8 * 12 * 12),
                (400, 10),
                (10 * 12 * 12, 400),
                (10, 4, 5, 5),
                (4, 1, 5, 5),
            ],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_tensorized_recipes_have_the_published_networks(name, shapes):
    model = short(name).fit(data(name))
    # Three of each, side by side; of each layer the weights, and no others but biases.
    weights = [p.shape for p in model.module_.stack.parameters() if p.ndim > 2]
    assert weights == [(3, *shape) for shape in shapes]
    biases = sum(p.ndim == 2 for p in model.module_.stack.parameters())
    assert biases == (len(shapes) if name == "tae_conv" else 0)
    assert len(model.history_) == 2  # one step of the whole data each


def test_the_weight_of_the_pairs_falls_on_coil_and_codes_widen_with_clusters():
    assert recipes.discriminative_coil(20).latent_dim == 150
    of_hundred = recipes.discriminative_coil(100, image_shape=(3, 32, 32))
    assert (of_hundred.latent_dim, of_hundred.batch_size) == (500, 1000)
    assert recipes.discriminative_mnist(10).n_neighbors == 9
    for model, paper in (
        (recipes.discriminative_mnist(10), 3200),
        (recipes.discriminative_coil(20), 7500),
        (of_hundred, 12500),
    ):
        network = FullyConvAutoencoder(
            int(np.prod(model.image_shape)),
            model.latent_dim,
            model.hidden_layer_sizes,
            model.image_shape,
        )
        count = sum(p.numel() for p in network.parameters())
        assert abs(count - paper) < 0.03 * paper


def test_dictionaries_and_transforms_are_three():
    for name in ("ddl_kmeans", "ddl_ssc"):
        assert len(short(name).fit(data(name)).dictionaries_) == 3
    for name in ("dtl_ssc", "dtl_kmeans"):
        assert len(short(name).fit(data(name)).transforms_) == 3


@pytest.mark.parametrize("penalty", ["neighbors", "nuclear"])
def test_transformed_subspace_clustering_has_three_penalties(penalty):
    model = recipes.tsc(3, penalty=penalty, **SOLVER).fit(data("tsc"))
    assert (model.penalty, len(model.transforms_)) == (penalty, 1)


def test_codes_that_express_one_another_are_those_of_the_network():
    """Neither at unit norm nor whitened; those of the slide have passed a ReLU."""
    X = data("sae_ssc")
    model = short("sae_ssc").fit(X)
    codes = model.transform(X)
    assert (codes >= 0).all()
    module = model.module_
    with torch.no_grad():
        x = torch.from_numpy(X[:5])
        assert torch.equal(module.expressed_codes(module.encode(x)), module.encode(x))
        encoded = module.autoencoder.network.encode((x - module.origin) / module.scale)
    assert encoded.numpy() == pytest.approx(codes[:5], abs=1e-5)


def test_kmeans_follows_convolutional_transform_learning():
    X = data("ctl")
    model = short("ctl").fit(X)
    assert not any("kmeans" in row and row["kmeans"] for row in model.history_)
    assert model.transform(X).shape == (45, 16 * 20 * 20)
    assert len(np.unique(model.labels_)) == 3
