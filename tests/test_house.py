"""The structure of the package: what imports what, what is where, how much there is."""

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import deepcluster_sk
from deepcluster_sk import DEC

PACKAGE = Path(deepcluster_sk.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
METHODS = sorted(PACKAGE.glob("cluster/[!_]*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}


def name_of(path):
    """Path within the package, for messages and ids."""
    return path.relative_to(PACKAGE).as_posix()


def per_file(paths):
    return pytest.mark.parametrize("path", paths, ids=map(name_of, paths))


def imported(path):
    """Full names of modules that a file imports, wherever in it."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(PACKAGE.parent).parts[: -node.level]
            source = ".".join([*(above if node.level else ()), node.module or ""])
            source = source.rstrip(".")
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def room(path):
    """The package or module at the top level that a file is part of."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


# --- imports --------------------------------------------------------------------------

# A line may import from itself and from those above it.
ORDER = [
    {
        "augmentation",
        "exceptions",
        "_version",
        "_threads",
        "losses",
        "kernels",
        "modules",
        "solvers",
        "io",
    },
    {"criteria"},
    {"_training"},
    {"initialization", "parallel"},
    {"_estimator"},
    {"cluster", "building"},
    {"persistence", "recipes"},
    {"__init__"},
]
# These stand beside: nothing of the above knows them, but for what a user calls.
BESIDE = {
    "datasets",
    "metrics",
    "model_selection",
    "plotting",
    "_cli",
    "__main__",
}
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def test_every_module_has_a_place_in_the_order():
    assert {room(path) for path in FILES} == {*LEVEL, *BESIDE}


@per_file([path for path in FILES if room(path) in LEVEL])
def test_imports_point_one_way(path):
    own = LEVEL[room(path)]
    for module in imported(path):
        if not module.startswith("deepcluster_sk"):
            continue
        if module == "deepcluster_sk" and room(path) == "persistence":
            continue  # which looks estimators up by their name
        other = module.partition(".")[2].partition(".")[0]
        assert other in LEVEL, f"{name_of(path)} imports {module}"
        assert LEVEL[other] <= own, f"{name_of(path)} imports {module}"


@per_file([p for p in FILES if room(p) in ("losses", "kernels", "modules")])
def test_mathematics_and_networks_know_torch_only(path):
    names = set(imported(path))
    assert not {"skorch", "sklearn"} & {name.split(".")[0] for name in names}
    assert not [name for name in names if name.startswith("deepcluster_sk.solvers")]


@per_file(METHODS)
def test_methods_never_import_one_another(path):
    methods = {f"deepcluster_sk.cluster.{method.stem}" for method in METHODS}
    assert not methods & set(imported(path))


# --- what is where --------------------------------------------------------------------


def test_contributing_names_what_there_is():
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    tree = re.search(r"    deepcluster_sk/\n((?:      .*\n)+)", page).group(1)
    listed = re.findall(r"^      (\w+(?:/|\.py))  ", tree, re.M)
    assert len(listed) == tree.count("\n")
    packages = {p.parent.name + "/" for p in PACKAGE.glob("*/__init__.py")}
    modules = {p.name for p in PACKAGE.glob("*.py")}
    assert sorted(listed) == sorted(packages | modules)


def test_little_is_private_at_the_top_level():
    assert len([*PACKAGE.glob("_[!_]*.py")]) <= 3


# --- what methods do not know ---------------------------------------------------------

MACHINERY = {"whole_batch", "DataLoader", "Accelerator", "manual_seed"}


def mentioned(node):
    """Names and dotted attributes in code, docstrings and signatures excepted."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.arguments):
            continue
        if isinstance(child, ast.Name):
            yield child.id
        elif isinstance(child, ast.Attribute):
            yield ast.unparse(child)
        elif isinstance(child, ast.alias):
            yield child.name
        yield from mentioned(child)


@per_file([*METHODS, *PACKAGE.glob("criteria/*.py")])
def test_methods_and_criteria_know_no_machinery(path):
    for name in mentioned(TREES[path]):
        assert not MACHINERY & set(name.split(".")), name
        assert not re.search(r"\btorch\.device\b|\boptim\.|\btorch\.optim\b", name), (
            name
        )


# --- how much there is ----------------------------------------------------------------

LONGEST_METHOD = 120


def code_lines(path):
    """Numbers of a file's lines of code that are the method's own.

    Not counted: imports, docstrings, comments, blank lines, constructors (scikit-learn
    wants every parameter named twice) and the table of what parameters may be.
    """
    lines = path.read_text("utf-8").splitlines()
    left = {i for i, line in enumerate(lines, 1) if line.strip()}
    left -= {i for i in left if lines[i - 1].lstrip().startswith("#")}
    for node in ast.walk(TREES[path]):
        if is_left_out(node):
            left -= set(range(node.lineno, node.end_lineno + 1))
    return left


def is_left_out(node):
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
        return True  # imports for annotations
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(
            node.value.value, str
        )
    if isinstance(node, ast.FunctionDef):
        return node.name == "__init__"
    target = getattr(node, "target", None) or (getattr(node, "targets", None) or [0])[0]
    return getattr(target, "id", None) == "_parameter_constraints"


@per_file(METHODS)
def test_a_method_is_short(path):
    assert len(code_lines(path)) <= LONGEST_METHOD


# The aim is 12 files and 50 changes of file. Five files are the start from neighbours.
MOST_FILES, MOST_CHANGES = 33, 137


def test_a_fit_can_be_followed():
    """First calls of functions of the package: how often they change the file."""
    seen, files = set(), []

    def note(frame, event, argument):
        code = frame.f_code
        if event == "call" and code not in seen:
            seen.add(code)
            if code.co_filename.startswith(str(PACKAGE)):
                files.append(Path(code.co_filename))

    X = np.random.default_rng(0).normal(size=(60, 4))
    model = DEC(
        3,
        latent_dim=2,
        hidden_layer_sizes=(8,),
        pretrain_epochs=2,
        max_epochs=2,
        random_state=0,
    )
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        model.fit(X)
    finally:
        sys.setprofile(before)
    changes = sum(a != b for a, b in pairwise(files))
    found = (
        f"{len(set(files))} files, {changes} changes: {sorted(map(name_of, {*files}))}"
    )
    assert len(set(files)) <= MOST_FILES, found
    assert changes <= MOST_CHANGES, found
