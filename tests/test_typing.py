"""Annotations of what users call; in ``make lint`` mypy reads ``typing_user.py``."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USER = ast.parse((ROOT / "tests" / "typing_user.py").read_text("utf-8"))
PUBLIC = re.findall(
    r"^   (deepcluster_sk\.[\w.]+)$", (ROOT / "docs" / "api.rst").read_text(), re.M
)
CHECKED = {
    alias.name
    for node in USER.body
    if isinstance(node, ast.ImportFrom) and node.module == "deepcluster_sk"
    for alias in node.names
}


def functions(thing):
    """The function, or the public methods and the constructor of a class."""
    if not inspect.isclass(thing):
        return [thing]
    own = [c for c in thing.__mro__ if c.__module__.startswith("deepcluster_sk")]
    found = {}
    for name, member in (item for c in reversed(own) for item in vars(c).items()):
        member = getattr(member, "__func__", member)
        constructor = name == "__init__" and thing.__name__ in CHECKED
        if inspect.isfunction(member) and (constructor or not name.startswith("_")):
            found[name] = member
    return list(found.values())


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_annotated(name):
    module, _, name = name.rpartition(".")
    for function in functions(getattr(import_module(module), name)):
        signature = inspect.signature(function)
        missing = [
            parameter.name
            for i, parameter in enumerate(signature.parameters.values())
            if parameter.annotation is parameter.empty
            and not (i == 0 and parameter.name in ("self", "cls"))
        ]
        assert not missing, function.__qualname__
        assert signature.return_annotation is not signature.empty, function


def test_a_user_calls_much_of_it():
    calls = [node for node in ast.walk(USER) if isinstance(node, ast.Call)]
    named = [getattr(call.func, "id", None) for call in calls]
    checks = named.count("assert_type")
    assert checks >= 50
    assert len(calls) - checks >= 90
