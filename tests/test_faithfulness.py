"""The page on faithfulness: what it names is there, and nothing is left out."""

import inspect
import re
from functools import reduce
from pathlib import Path

import pytest

import deepcluster_sk
from deepcluster_sk import recipes

PAGE = (Path(__file__).parents[1] / "docs" / "faithfulness.rst").read_text("utf-8")
STATES = {"same", "both", "changed", "absent"}
# Equations of the main texts; the slides number blocks of a solution.
EQUATIONS = {1: range(1, 4), 3: range(1, 22), 4: range(1, 15), 5: range(1, 12)}


def rows():
    """Document, its cell of the row, objects, state and reason, of each row."""
    for number, section in re.findall(r"^(\d) .+\n-+\n((?:(?!^\d ).*\n)+)", PAGE, re.M):
        for row in re.findall(r"^   \* - (.+(?:\n(?!   \* - ).*)*)", section, re.M):
            cells = [" ".join(cell.split()) for cell in re.split(r"\n     -", row)]
            if cells[0] != "document":
                where = re.findall(r":\w+:`([\w.]+)`", cells[1])
                yield int(number), cells[0], where, *cells[2:]


ROWS = list(rows())
NAMES = [f"{number}: {label}" for number, label, *_ in ROWS]


def found(name):
    """What a name of the page stands for."""
    return reduce(getattr, name.split("."), deepcluster_sk)


def numbers(text):
    """Numbers of the equations that a text names: "Eq. 2 and 3", "Eq. 12 to 17"."""
    named = set()
    for part in re.findall(r"Eq\. (\d+(?:(?:, | and | to |, and )\d+)*)", text):
        previous = None
        for joint, number in re.findall(r"(to |)(\d+)", part):
            first = previous + 1 if joint else int(number)
            named |= {*range(first, int(number) + 1)}
            previous = int(number)
    return named


def test_numbers_of_equations_are_read_as_they_are_written():
    assert numbers("Eq. 2 and 3 of it, Eq. 6, 7 and 13; Eq. 9") == {2, 3, 6, 7, 9, 13}
    assert numbers("(Eq. 12 to 15). In 17 cases Eq. 1") == {1, 12, 13, 14, 15}


def test_every_table_is_read():
    assert {number for number, *_ in ROWS} == {1, 2, 3, 4, 5}
    assert len(ROWS) == PAGE.count("   * - ") - PAGE.count("   * - document")
    assert all(len(row) == 5 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_says_where_and_why(row):
    _, _, where, state, why = row
    assert state in STATES
    assert why or state == "same"
    assert bool(where) == (state != "absent")


@pytest.mark.parametrize("row", [row for row in ROWS if row[2]], ids=lambda row: row[1])
def test_what_is_named_exists_and_names_the_equation(row):
    _, label, where, *_ = row
    text = " ".join(
        " ".join((inspect.getdoc(found(name)) or "").split()) for name in where
    )
    assert text
    assert numbers(label) <= numbers(text), label
    parts = re.findall(
        r"(?:Section|Appendix) [A-Z]?\.?[\d.]+|Algorithm \d|Theorem [\d.]+", label
    )
    for part in parts:
        assert part.lower() in text.lower(), label
    if label == "P1 to P7":
        assert "P1-P7" in text


# Methods of other papers, which the documents compare theirs with.
COMPARED_WITH = {"depict", "dkm", "dynae", "vade"}


def test_every_recipe_has_a_row():
    named = {name for _, _, where, *_ in ROWS for name in where}
    own = {f"recipes.{name}" for name in recipes.__all__ if name not in COMPARED_WITH}
    assert own <= named


@pytest.mark.parametrize("number", EQUATIONS)
def test_no_equation_is_left_out(number):
    named = [numbers(label) for n, label, *_ in ROWS if n == number]
    assert set().union(*named) == {*EQUATIONS[number]}


def parameters(name):
    """What a thing takes; of a recipe, also what the estimator that it makes takes."""
    thing = found(name)
    own = {*inspect.signature(thing).parameters}
    if name.startswith("recipes."):
        made = getattr(deepcluster_sk, inspect.get_annotations(thing)["return"])
        own |= {*inspect.signature(made).parameters}
    return own


def test_what_can_be_set_can_be_set():
    """Settings that a row names are parameters of what it names."""
    for _, label, where, _, why in ROWS:
        for parameter, value in re.findall(r"``(\w+)=([^`]+)``", why):
            takers = [name for name in where if parameter in parameters(name)]
            assert takers, (label, parameter, value)
