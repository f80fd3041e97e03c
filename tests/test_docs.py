"""What the documentation is made with; ``built_pages.py`` tests what was made."""

import ast
import builtins
import importlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from instances import DEFAULT, SMALL
from PIL import Image
from sklearn.base import clone

import deepcluster_sk
import deepcluster_sk.exceptions
from deepcluster_sk import DEC
from deepcluster_sk.model_selection import NumberOfClustersSearch

ROOT = Path(__file__).parents[1]
# What the package raises and catches itself, or the command line prints.
NEVER_SEEN = {"StopTraining", "NotStorable", "UsageError", "SystemExit"}


def helper(name):
    """A module of the folder of the documentation, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def abilities():
    """Rows of the table of estimators: the columns that each has a mark in."""
    rows = helper("_estimators").table().split("   * - ")[1:]
    (_, *names), *rows = [row.split("\n     -") for row in rows]
    names = [name.strip() for name in names]
    marks = {}
    for first, *cells in rows:
        name = first.removeprefix(":class:`~deepcluster_sk.").rstrip("`")
        cells = [cell.splitlines()[0].strip() if cell else "" for cell in cells]
        marks[name] = {n for n, cell in zip(names, cells, strict=True) if cell == "✓"}
    return marks


def test_the_table_has_every_estimator(abilities):
    assert {f"{name}()" for name in abilities} == set(DEFAULT)


def test_the_table_is_true(abilities):
    methods = {"new rows": "predict", "soft": "predict_proba", "streams": "partial_fit"}
    for name, marks in abilities.items():
        estimator = DEFAULT[f"{name}()"]
        for column, method in methods.items():
            assert (column in marks) == hasattr(estimator, method), (name, column)
        assert ("GPU" in marks) == ("device" in estimator.get_params())
    assert "on disk" in abilities["PCX"]
    assert "GPU" in abilities["SparseSubspaceClustering"]
    assert "soft" in abilities["DEC"] and "decoder" not in abilities["DEC"]


@pytest.mark.parametrize(
    "estimator",
    [*(clone(e) for e in DEFAULT.values()), NumberOfClustersSearch(DEC(2))],
    ids=lambda e: type(e).__name__,
)
def test_displays_lead_to_the_reference(estimator, monkeypatch):
    monkeypatch.delenv("DEEPCLUSTER_SK_DOCS", raising=False)
    assert estimator._get_doc_link() == ""
    assert "Documentation for" not in estimator._repr_html_()
    monkeypatch.setenv("DEEPCLUSTER_SK_DOCS", "https://a.place/")
    link = re.search(
        r'"https://a\.place/generated/(\S+)\.html"', estimator._repr_html_()
    )
    package, _, name = link.group(1).rpartition(".")
    assert getattr(importlib.import_module(package), name) is type(estimator)
    # As the page of the reference is called.
    listed = (ROOT / "docs" / "api.rst").read_text("utf-8")
    assert link.group(1).removeprefix("deepcluster_sk.") in listed


class Theirs(DEC):
    pass


def test_displays_of_others_methods_lead_nowhere(monkeypatch):
    monkeypatch.setenv("DEEPCLUSTER_SK_DOCS", "https://a.place")
    assert Theirs()._get_doc_link() == ""


def test_displays_show_parameters_and_whether_they_are_fitted(blobs):
    model = clone(SMALL["DEC"])
    assert "<span>Not fitted" in model._repr_html_()
    shown = model.fit(blobs[0])._repr_html_()
    assert "<span>Fitted" in shown and "hidden_layer_sizes" in shown


def test_thumbnails_are_square_and_show_the_part():
    gallery = helper("_gallery")
    pixels = np.full((40, 100, 3), 255, dtype=np.uint8)
    pixels[:, :50] = (200, 0, 0)
    figure = Image.fromarray(pixels)
    left = gallery.thumbnail(figure, (0, 0, 0.4, 1))
    side = gallery.THUMBNAIL_SIDE
    assert left.size == (side, side)
    assert (np.asarray(left) == (200, 0, 0)).all()
    whole = np.asarray(gallery.thumbnail(figure, gallery.WHOLE))
    assert whole.shape == (side, side, 3)
    assert (whole[0] == 255).all() and (whole[side // 2, 0] == (200, 0, 0)).all()


def test_every_example_has_its_place():
    gallery = helper("_gallery")
    examples = {path.stem for path in (ROOT / "examples").glob("plot_*.py")}
    assert examples == set(gallery.ORDER)
    assert set(gallery.THUMBNAILS) <= examples


@pytest.mark.parametrize(("page", "number"), [("plot_images", 4), ("plot_new", 1)])
def test_thumbnails_replace_those_of_the_gallery(tmp_path, page, number):
    gallery = helper("_gallery")
    (tmp_path / "thumb").mkdir()
    made = tmp_path / "thumb" / f"sphx_glr_{page}_thumb.png"
    Image.new("RGB", (40, 28), "white").save(made)
    Image.new("RGB", (80, 40), "red").save(tmp_path / f"sphx_glr_{page}_00{number}.png")
    gallery.write_thumbnails(tmp_path)
    with Image.open(made) as thumbnail:
        assert thumbnail.size == (gallery.THUMBNAIL_SIDE,) * 2
        assert thumbnail.getpixel((200, 200)) == (255, 0, 0)


def warnings_of(path):
    """What each call of ``warn`` says, without the parts that differ."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "warn":
            parts = [n.value for n in ast.walk(node.args[0]) if type(n) is ast.Constant]
            yield [" ".join(part.split()) for part in parts if isinstance(part, str)]


def test_every_warning_has_an_entry():
    page = (ROOT / "docs" / "troubleshooting.rst").read_text("utf-8")
    quoted = [
        " ".join(q.split()) for line in page.split("\n\n") for q in line.split('"')
    ]
    found = [
        said
        for path in (ROOT / "deepcluster_sk").rglob("*.py")
        for said in warnings_of(path)
    ]
    assert len(found) > 6
    for said in found:
        whole = " ... ".join(said)
        assert any(len(q) > 12 and q.strip(".") in whole for q in quoted), whole


def raised_in(path):
    """Names of the classes of errors that a file raises."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            # A class that a variable holds was named elsewhere.
            if isinstance(called, ast.Name) and called.id[0].isupper():
                yield called.id


def test_every_class_of_error_and_warning_has_an_entry():
    page = (ROOT / "docs" / "troubleshooting.rst").read_text("utf-8")
    raised = {
        name
        for path in (ROOT / "deepcluster_sk").rglob("*.py")
        for name in raised_in(path)
    }
    # Those of Python, which users meet; others of the package never leave it.
    standard = {name for name in raised if hasattr(builtins, name)} - {"SystemExit"}
    assert len(standard) > 5
    for name in standard:
        assert f"\n``{name}``\n" in page, name
    own = deepcluster_sk.exceptions.__all__
    assert raised - standard <= {*own, *NEVER_SEEN}
    for name in own:
        assert f":class:`~exceptions.{name}`" in page, name


def test_the_citation_has_the_version():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {deepcluster_sk.__version__}\n" in text


@pytest.mark.parametrize(
    "family",
    [
        "discriminative",
        "divergence",
        "embedded",
        "exemplars",
        "subspace",
        "tensorized",
    ],
)
def test_every_family_says_what_it_costs(family):
    page = (ROOT / "docs" / f"{family}.rst").read_text("utf-8")
    cost = page.partition("\nCost\n----\n")[2].partition("\nWhen it fails\n")[0]
    assert ":math:`O(" in cost and "emory" in cost
