"""The built documentation in a browser: ``make docs`` first, ``make test-browser``.

``built_pages.py`` reads the pages as files. What only a browser knows is here: whether
a page is wider than the window, what its scripts complain of, which links and pictures
are there once they have run, and how text stands out from what is behind it. The pages
come from this machine, and no other name is resolved.
"""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from built_pages import BUILT, PAGES, page
from built_pages import target_of as file_of

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (400, 900, 1400)
HEIGHT = 900
# One of each kind: how colours are set does not differ within a kind.
COLOURED = (
    "index.html",
    "install.html",
    "choosing.html",
    "embedded.html",
    "troubleshooting.html",
    "api.html",
    "generated/deepcluster_sk.DEC.html",
    "auto_examples/index.html",
    "auto_examples/plot_comparison.html",
    "generated/results/index.html",
    "generated/results/peers.html",
)
# What a script of scikit-learn, beside estimators that a page shows, says of every list
# of features: it looks for the name of a parameter there.
KNOWN = {"Expected copy-paste icon is missing from the DOM structure"}
# Of text, by the guidelines for content that all can read (WCAG 2, level AA); of large
# text, 24 px or 18.66 px in bold.
LEAST_CONTRAST, LEAST_CONTRAST_OF_LARGE = 4.5, 3.0

# Pictures are loaded when they come into sight; a broken one has no width.
BROKEN_PICTURES = """async () => {
    const pictures = [...document.images];
    for (const picture of pictures) picture.loading = "eager";
    await Promise.all(pictures.map(picture => picture.decode().catch(() => 0)));
    return pictures.filter(p => p.naturalWidth === 0).map(p => p.currentSrc || p.src);
}"""
# Whatever moves the title sideways moves the page: the document, or a box around all of
# the text. Tables and code have boxes of their own. And what sticks out, for whoever
# must mend it.
WIDER = """() => {
    const wide = [];
    let box = document.querySelector("h1");
    while (box && box.scrollWidth <= box.clientWidth) box = box.parentElement;
    if (!box) return [];
    const right = box.getBoundingClientRect().left + box.clientWidth + 0.5;
    for (const element of box.querySelectorAll("*")) {
        if (element.getBoundingClientRect().right <= right) continue;
        const scrolls = "pre, .pst-scrollable-table-container";
        if (element.parentElement.closest(scrolls)) continue;
        const text = element.textContent.trim().slice(0, 40);
        wide.push(`<${element.localName} class="${element.className}"> ${text}`);
    }
    return [`${box.localName}.${box.className}: ${box.scrollWidth} px in ${
        box.clientWidth}`, ...wide.slice(0, 12)];
}"""
# Of what can be seen: text whose colour is too near to that of what is behind it.
# Colours that let others through are mixed with those, from the root of the page on.
FAINT = """([least, least_of_large]) => {
    const canvas = document.createElement("canvas").getContext(
        "2d", {willReadFrequently: true});
    const known = new Map();
    function parse(color) {
        if (!known.has(color)) {
            canvas.clearRect(0, 0, 1, 1);
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
            known.set(color, [r, g, b, a / 255]);
        }
        return known.get(color);
    }
    const mix = (top, bottom) => top.slice(0, 3).map(
        (part, i) => part * top[3] + bottom[i] * (1 - top[3]));
    function luminance(rgb) {
        const [r, g, b] = rgb.map(part => part / 255).map(
            part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
    function behind(element) {
        const below = element.parentElement ? behind(element.parentElement)
            : [255, 255, 255];
        return mix(parse(getComputedStyle(element).backgroundColor), below);
    }
    const found = new Set(), seen = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let count = 0;
    while (texts.nextNode()) {
        const text = texts.currentNode, element = text.parentElement;
        if (!text.data.trim() || seen.has(element)) continue;
        seen.add(element);
        const sight = {checkOpacity: true, checkVisibilityCSS: true};
        if (!element.checkVisibility(sight) || element.closest("mjx-assistive-mml"))
            continue;
        const box = element.getBoundingClientRect();
        if (box.width < 2 || box.height < 2) continue;
        count += 1;
        const style = getComputedStyle(element), ground = behind(element);
        const light = [mix(parse(style.color), ground), ground].map(luminance);
        const ratio = (Math.max(...light) + 0.05) / (Math.min(...light) + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (large ? least_of_large : least))
            found.add(`${ratio.toFixed(2)}: ${style.color} on rgb(${ground.map(
                part => part.toFixed(0))}), <${element.localName} class="${
                element.className}"> ${text.data.trim().slice(0, 40)}`);
    }
    return [count, [...found]];
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that writes no line for each of them."""

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture(scope="module")
def address():
    """Where the pages are served."""
    assert len(PAGES) > 100, f"{BUILT} has {len(PAGES)} pages: run make docs first"
    handler = partial(Quiet, directory=BUILT)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def tab(address):
    """A page of a browser that reaches this machine only."""
    driver = pytest.importorskip(
        "playwright.sync_api",
        reason="Nothing drives a browser: python -m pip install '.[browser]'",
    )
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"There is no browser: none of {', '.join(NAMES)}")
    options = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # a browser of root's has none
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser, args=options)
        tab = browser.new_page(reduced_motion="reduce")
        yield tab
        browser.close()


@pytest.fixture
def complaints(tab, address):
    """What open pages write to the console, raise, or ask of others."""
    said = []

    def on_console(message):
        if message.type in ("error", "warning") and message.text not in KNOWN:
            said.append(message.text)

    def on_request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            said.append(f"asks for {request.url}")

    def on_response(response):
        if response.status >= 400:
            said.append(f"{response.status}: {response.url}")

    listeners = {
        "console": on_console,
        "pageerror": lambda error: said.append(str(error)),
        "request": on_request,
        "response": on_response,
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield said
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)


def broken_links(tab, address):
    """Local links of the page as its scripts have left it that lead nowhere."""
    for link in set(tab.evaluate("() => [...document.links].map(link => link.href)")):
        if not link.startswith(address):
            continue
        file, anchor = file_of(BUILT / "index.html", link.removeprefix(address) or ".")
        if file.is_dir():
            file = file / "index.html"
        known = file.suffix != ".html" or not anchor or anchor in page(file).ids
        if not (file.is_file() and known):
            yield link


def each_page():
    """Every page; those of the reference are made alike: one is enough for now."""
    for path in PAGES:
        name = path.relative_to(BUILT).as_posix()
        alike = name.startswith("generated/deepcluster_sk.") and name not in COLOURED
        yield pytest.param(name, marks=[pytest.mark.nightly] if alike else [])


@pytest.mark.parametrize("path", list(each_page()))
def test_pages_work_at_every_width(path, tab, address, complaints):
    tab.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    assert tab.goto(address + path).ok
    # Formulas are set by a script.
    tab.evaluate("() => window.MathJax?.startup?.promise")
    assert not tab.evaluate(BROKEN_PICTURES)
    assert not list(broken_links(tab, address))
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": HEIGHT})
        assert not tab.evaluate(WIDER), f"scrolls sideways at {width} px"
    assert not complaints


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("path", COLOURED)
def test_text_stands_out(path, colours, tab, address):
    assert tab.goto(address + path).ok
    tab.evaluate("() => window.MathJax?.startup?.promise")
    tab.evaluate("c => { document.documentElement.dataset.theme = c; }", colours)
    for width in (WIDTHS[0], WIDTHS[-1]):
        tab.set_viewport_size({"width": width, "height": HEIGHT})
        limits = [LEAST_CONTRAST, LEAST_CONTRAST_OF_LARGE]
        n_texts, faint = tab.evaluate(FAINT, limits)
        assert n_texts > 20
        assert not faint
