"""Tests of the documentation as it was built: ``make docs`` first, ``make test-docs``.

Pages are read as files: what they link to, what they load, and what those meet who do
not see the pictures.
"""

import re
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

BUILT = Path(__file__).parents[1] / "docs" / "_build"
# The theme keeps a template among its files.
PAGES = sorted(set(BUILT.rglob("*.html")) - set(BUILT.rglob("_static/**/*.html")))
HEADINGS = {f"h{level}": level for level in range(1, 7)}
# What a browser fetches by itself, and by which attribute.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch"}


class Page(HTMLParser):
    """Links, pictures, headings and what is loaded, of one page.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.ids, self.links, self.loaded, self.pictures = set(), [], [], []
        self.headings, self.language, self.title = [], None, ""
        self.in_title, self.in_main = False, 0
        self.has_formulas = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.add(attributes["id"])
        if "math" in (attributes.get("class") or "").split():
            self.has_formulas = True
        if tag == "html":
            self.language = attributes.get("lang")
        elif tag == "title" and not self.title:
            self.in_title = True
        elif tag == "main":
            self.in_main += 1
        elif tag in HEADINGS and self.in_main:
            self.headings.append(HEADINGS[tag])
        elif tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag == "img":
            picture = {"src": attributes.get("src"), "alt": attributes.get("alt")}
            self.pictures.append(picture)
        if attributes.get(LOADED.get(tag)):
            self.loaded.append(attributes[LOADED[tag]])
        if tag == "link" and FETCHED_LINKS & set(attributes.get("rel", "").split()):
            self.loaded.append(attributes["href"])

    def handle_endtag(self, tag):
        if tag == "title":
            self.in_title = False
        elif tag == "main":
            self.in_main -= 1

    def handle_data(self, data):
        if self.in_title:
            self.title += data


@cache
def page(path):
    return Page(path)


def test_there_are_pages():
    assert len(PAGES) > 100, f"{BUILT} has {len(PAGES)} pages: run make docs first"


every_page = pytest.mark.parametrize(
    "path", PAGES, ids=[str(path.relative_to(BUILT)) for path in PAGES]
)


def target_of(path, link):
    """File and anchor that a link means, or None for one that leaves the pages."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    # What follows ":~:" is a text to look for, not an anchor.
    return file, unquote(parts.fragment.partition(":~:")[0])


@every_page
def test_links_lead_somewhere(path):
    broken = []
    for link in page(path).links:
        found = target_of(path, link)
        if found is None:
            continue
        file, anchor = found
        if not file.is_file():
            broken.append(link)
        elif anchor and file.suffix == ".html" and anchor not in page(file).ids:
            broken.append(link)
    assert not broken


@every_page
def test_nothing_is_loaded_from_a_network(path):
    outside = [link for link in page(path).loaded if target_of(path, link) is None]
    missing = [
        link
        for link in page(path).loaded
        if link not in outside and not target_of(path, link)[0].is_file()
    ]
    assert not outside
    assert not missing


def test_styles_load_nothing_from_a_network():
    loads = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']+""")
    found = {
        str(path.relative_to(BUILT)): loads.findall(path.read_text("utf-8"))
        for path in BUILT.rglob("*.css")
    }
    assert len(found) > 3
    assert not {name: urls for name, urls in found.items() if urls}


@every_page
def test_formulas_have_what_draws_them(path):
    loads = any("mathjax" in link for link in page(path).loaded)
    assert loads or not page(path).has_formulas


@every_page
def test_pictures_have_a_text(path):
    # A thumbnail stands in a link beside its title: an empty text is right there.
    silent = [
        picture["src"]
        for picture in page(path).pictures
        if not (picture["alt"] or "").strip()
        and not (picture["alt"] == "" and "_thumb" in picture["src"])
    ]
    assert not silent


@every_page
def test_headings_are_in_order(path):
    levels = page(path).headings
    assert levels.count(1) == 1
    assert levels[0] == 1
    for above, below in pairwise(levels):
        assert below <= above + 1, f"h{above} is followed by h{below}"


@every_page
def test_pages_say_what_they_are(path):
    assert page(path).language
    assert page(path).title.strip()
