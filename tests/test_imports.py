"""What is imported when: names are there at once, and torch when it is needed."""

import inspect
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import deepcluster_sk
from deepcluster_sk import _cli, cluster

PACKAGE = Path(deepcluster_sk.__file__).parent
# They take from some tenths of a second to some seconds.
SLOW = ("torch", "sklearn", "scipy", "skorch", "pandas", "matplotlib")
# Runs what it is given, and says what that has imported and how long it took.
REPORT = """
import sys, time
arguments = sys.argv[1:]
import deepcluster_sk
if arguments:
    from deepcluster_sk._cli import main
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = stopped.code
else:
    status = None
print(status, time.process_time(), *sys.modules)
"""


def run_apart(*arguments):
    """Status, seconds of processor time, modules and messages of a new process."""
    command = [sys.executable, "-c", REPORT, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, seconds, *modules = done.stdout.splitlines()[-1].split()
    return status, float(seconds), set(modules), done.stdout + done.stderr


def test_the_package_imports_nothing_slow():
    _, seconds, modules, _ = run_apart()
    assert not modules & {*SLOW}
    assert seconds < 1.0  # a twentieth of that, measured


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "gap.csv").write_text("a,b\n1,2\n3,\n5,6\n", encoding="utf-8")
    (folder / "word.csv").write_text("a,b\n1,x\n3,y\n", encoding="utf-8")
    np.save(folder / "good.npy", np.zeros((3, 2)))
    return folder


@pytest.mark.parametrize(
    ("status", "arguments", "said"),
    [
        ("0", ["--help"], "TensorizedAutoencoder"),
        ("0", ["--version"], deepcluster_sk.__version__),
        ("2", ["good.npy", "-k", "two"], "-k/--n-clusters"),
        ("2", ["none.csv"], "no such file"),
        ("2", ["gap.csv"], "missing or infinite values"),
        ("2", ["word.csv"], "not all values are numbers"),
        ("2", ["good.npy", "--drop", "z"], "no column 'z'"),
        ("2", ["good.npy", "--method", "kmeans"], "unknown method"),
        ("2", ["good.npy", "--method", "dec", "--set", "gamma=1"], "DEC has no"),
        ("2", ["good.npy", "--labels", "labels.txt"], "must end in .csv"),
    ],
)
def test_help_and_errors_come_at_once(files, status, arguments, said):
    path, *options = arguments
    path = files / path if "." in path else path
    found, seconds, modules, text = run_apart(path, *options)
    assert found == status
    assert said in text
    assert not modules & {*SLOW}
    assert seconds < 1.0  # a seventh of that, measured


def test_one_method_does_not_import_the_others():
    code = (
        "import sys; from deepcluster_sk import DEC; "
        "sys.exit('deepcluster_sk.cluster.pcx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_told_without_importing_is_true():
    classes = {name: getattr(cluster, name) for name in cluster.__all__}
    clusterers = {n: c for n, c in classes.items() if hasattr(c, "fit_predict")}
    assert list(_cli.methods()) == sorted(clusterers)
    for name, method in _cli.methods().items():
        assert set(method.parameters) == set(clusterers[name]().get_params())
        assert inspect.getdoc(clusterers[name]).splitlines()[0].endswith(method.summary)


def test_names_are_those_of_the_package():
    assert set(cluster.__all__) <= set(deepcluster_sk.__all__)
    assert {*deepcluster_sk.__all__} - {*cluster.__all__} == {"load", "__version__"}
    for name in cluster.__all__:
        found = getattr(deepcluster_sk, name)
        assert found is getattr(cluster, name)
        assert found is getattr(import_module(found.__module__), name)
        assert pickle.loads(pickle.dumps(found)) is found
    with pytest.raises(AttributeError, match="NoSuchMethod"):
        deepcluster_sk.NoSuchMethod  # noqa: B018
    with pytest.raises(ImportError, match="NoSuchMethod"):
        from deepcluster_sk import NoSuchMethod  # noqa: F401


def test_every_public_submodule_is_an_attribute():
    paths = [*PACKAGE.glob("[!_]*.py"), *PACKAGE.glob("[!_]*/__init__.py")]
    names = {p.stem if p.parent == PACKAGE else p.parent.name for p in paths}
    assert names == {*dir(deepcluster_sk)} - {*deepcluster_sk.__all__}
    for name in names:
        found = getattr(deepcluster_sk, name)
        assert found is import_module(f"deepcluster_sk.{name}")


def test_import_star_brings_the_names():
    namespace = {}
    exec("from deepcluster_sk import *", namespace)
    assert {*namespace} - {"__builtins__"} == {*deepcluster_sk.__all__}
