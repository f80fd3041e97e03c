"""The documentation of what is public: complete, alike and up to date."""

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate
from torch import nn

import deepcluster_sk

DOCS = Path(__file__).parents[1] / "docs"
PUBLIC = re.findall(
    r"^   (deepcluster_sk\.\S+)$", (DOCS / "api.rst").read_text("utf-8"), re.M
)
MODULES = (
    "augmentation",
    "building",
    "losses",
    "kernels",
    "solvers",
    "metrics",
    "model_selection",
    "modules",
    "parallel",
    "plotting",
    "recipes",
    "exceptions",
)
ESTIMATORS = [
    name
    for name in deepcluster_sk.__all__
    if inspect.isclass(getattr(deepcluster_sk, name))
]
NOT_CHECKED = {
    "SA01": "a See Also section is there where it helps",
    "ES01": "a summary that says it all needs no second one",
    "EX01": "methods show up in the example of their class; checked apart for others",
    "RT02": "what is returned has a name here",
    "SS05": "takes nouns for verbs: 'Minus the objective'",
    "PR08": "descriptions may begin with the symbol of a paper",
}


# Made by the library, and given to a method: their constructors are not for users.
MADE_BY_THE_LIBRARY = {"deepcluster_sk.building.Run"}
# What maps tensors says so, with shapes, in one line.
HOOKS = ("deepcluster_sk.building.", "deepcluster_sk.modules.")


def members():
    """Public objects, and the methods that the package defines for them."""
    for name in PUBLIC:
        yield name
        module, _, attribute = name.rpartition(".")
        public = getattr(import_module(module), attribute)
        if not inspect.isclass(public):
            continue
        for method, value in inspect.getmembers(public, callable):
            ours = (getattr(value, "__module__", "") or "").startswith("deepcluster_sk")
            if not method.startswith("_") and ours:
                yield f"{name}.{method}"


@pytest.mark.parametrize("name", list(members()))
def test_docstrings_are_valid(name):
    errors = {
        code: text
        for code, text in validate(name)["errors"]
        if code not in NOT_CHECKED or (code == "EX01" and name in PUBLIC)
    }
    if name.startswith("deepcluster_sk.exceptions.") or name.endswith("Mismatch"):
        for code in ("EX01", "PR01"):  # nobody makes one by hand
            errors.pop(code, None)
    a_hook = name.startswith(HOOKS) and name not in PUBLIC
    if a_hook or inherits_its_constructor(name) or name in MADE_BY_THE_LIBRARY:
        errors.pop("PR01", None)
    if a_hook:
        errors.pop("RT01", None)
    assert not errors


def inherits_its_constructor(name):
    """Whether a network takes what ``torch.nn.Module`` takes: nothing."""
    module, _, attribute = name.rpartition(".")
    public = getattr(import_module(module), attribute, None) if name in PUBLIC else None
    return inspect.isclass(public) and public.__init__ is nn.Module.__init__


def test_the_reference_lists_what_is_public():
    names = {f"deepcluster_sk.{name}" for name in deepcluster_sk.__all__}
    for module in MODULES:
        found = import_module(f"deepcluster_sk.{module}")
        names |= {
            f"deepcluster_sk.{module}.{name}"
            for name in getattr(found, "__all__", ())
            if callable(getattr(found, name))
        }
    assert names - {"deepcluster_sk.__version__"} <= set(PUBLIC)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_user_guide_speaks_of_every_estimator(name):
    pages = {*DOCS.glob("*.rst")} - {DOCS / "api.rst"}
    assert any(f":class:`{name}`" in page.read_text("utf-8") for page in pages)


# --- parameters that several estimators have ------------------------------------------

A_NETWORK = (
    "The network.",
    (
        "A callable, such as a ``torch.nn.Module`` class, is called as "
        "``architecture(n_features, latent_dim)`` and must return a module with "
        "``encode`` and ``decode`` on rows"
    ),
)
A_LAYER = (
    'Widths ("mlp") or channels ("conv") of the encoder\'s hidden layers; the decoder '
    "mirrors them. None means"
)
NOISE = (
    "Standard deviation, in units of X, of the Gaussian noise added to the inputs in "
    "training."
)
A_CHANGE = (
    "Changes rows at random in training, in ways that leave what they show: "
    "``augmentation(x, generator)`` gets a batch, a float32 tensor of shape "
    "``(n, n_features)``, and returns one of that shape. For images there is "
    ":class:`~deepcluster_sk.augmentation.RandomAffine`."
)
A_HOLD = (
    "Weight, at least 0, of the term that holds codes where their neighbours put "
    "them while clustering"
)
A_RUN = "Number of runs from different seeds; the one of lowest objective is kept."
# Parts that the text of every estimator has, in this order; it may add to them.
# Parameters that are not listed here are described by the same text everywhere.
COMMON = {
    "augmentation": (A_CHANGE,),
    "n_clusters": (
        "Number of clusters, at least 1 and at most the number of samples.",
    ),
    "latent_dim": ("Width of the code",),
    "hidden_layer_sizes": (A_LAYER,),
    "architecture": A_NETWORK,
    "image_shape": ("How to read a row of X as an image",),
    "companion": ("Companion objectives on the outputs of the encoder's blocks",),
    "pretrain_epochs": ("pochs ",),
    "neighbor_weight": (A_HOLD,),
    "pretraining": ("How the autoencoder is trained before clustering.",),
    "init": ("How the first clusters are found",),
    "n_neighbors": ("Neighbours of each sample in the graph, at least ",),
    "max_epochs": ("Largest number of ",),
    "max_iter": ("Largest number of ",),
    "mask_rate": (
        "Share of the values of a row that are ",
        ", in [0, 1): they are set to the median of their feature.",
    ),
    "update_interval": ("Number of epochs between two ",),
    "batch_size": (
        "Largest number of rows in a batch; batches are of nearly equal size.",
    ),
    "lr": ("Learning rate of the optimizer",),
    "n_init": (A_RUN,),
    "tol": ("0 never stops early.",),
    # Networks are trained there, closed forms computed; tests/test_common.py has more.
    "device": ('"auto" takes CUDA, then ', "the CPU."),
    "noise_std": (NOISE,),
    "normalize": ("Whether codes ",),
    "clustering": ("The clustering term.",),
    "affinity_mass": (
        "nly the largest entries of each row of C enter the graph",
        "as many as hold this share of its absolute sum, in (0, 1].",
    ),
    "random_state": ("Determines ", "Pass an int for the same result at every call."),
}
# Where a shared name means something else, and why.
EXCEPTIONS = {
    ("neighbor_weight", "Autoencoder"): "it has no phase of clustering",
    ("n_neighbors", "DeepTransformClustering"): "its rows express one another",
    ("latent_dim", "DDC"): "its embedding is a hidden layer",
    ("latent_dim", "SparseSubspaceClustering"): "it has no network, but a projection",
    ("latent_dim", "DeepTransformClustering"): "all its layers are of this width",
    ("normalize", "SparseSubspaceClustering"): "it has no codes, but rows",
    ("init", "TensorizedAutoencoder"): "its clusters start in the data",
    (
        "pretraining",
        "Autoencoder",
    ): "what the others do before clustering is all it does",
    ("pretraining", "DDC"): "the softmax is trained too, and no decoder",
    ("hidden_layer_sizes", "DDC"): "it has no decoder to mirror them",
    ("hidden_layer_sizes", "ConvTransformClustering"): "its layers are filters",
    ("hidden_layer_sizes", "DeepDictionaryClustering"): "its layers are dictionaries",
}
# Names that follow the term which they weigh: each method has its own.
OF_THE_METHOD = {
    "clustering_weight",
    "reconstruction_weight",
    "subspace_weight",
    "kmeans_weight",
    "transform_penalty",
    "alpha",
    "penalty",
}


@cache
def documented(estimator):
    """Name to type and text of an estimator's parameters."""
    return {
        p.name: (p.type, re.sub(r" ?\[\d+\]_", "", " ".join(" ".join(p.desc).split())))
        for p in ClassDoc(getattr(deepcluster_sk, estimator))["Parameters"]
    }


SHARED = sorted(
    name
    for name in set().union(*(documented(estimator) for estimator in ESTIMATORS))
    if sum(name in documented(estimator) for estimator in ESTIMATORS) > 1
)


def holds(text, parts):
    """Whether the text has all parts, in order."""
    return re.search(".*".join(map(re.escape, parts)), text) is not None


@pytest.mark.parametrize("name", [name for name in SHARED if name not in OF_THE_METHOD])
def test_shared_parameters_are_documented_alike(name):
    texts = {e: documented(e)[name][1] for e in ESTIMATORS if name in documented(e)}
    if name in COMMON:
        others = {e for e, text in texts.items() if not holds(text, COMMON[name])}
    else:
        first = next(iter(texts.values()))
        others = {e for e, text in texts.items() if text != first}
    assert others == {e for n, e in EXCEPTIONS if n == name}


def test_no_rule_is_left_without_a_parameter():
    assert set(COMMON) | OF_THE_METHOD <= set(SHARED)
    assert {name for name, _ in EXCEPTIONS} <= set(COMMON)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_documented_defaults_are_those_of_the_signature(estimator):
    signature = inspect.signature(getattr(deepcluster_sk, estimator))
    for name, parameter in signature.parameters.items():
        text = documented(estimator)[name][0].partition("default=")[2]
        assert ast.literal_eval(text) == parameter.default, name
