"""Configuration of Sphinx: ``make docs``."""

import importlib.util
import os
import shutil
import sys
import warnings
from pathlib import Path

import deepcluster_sk

ROOT = Path(__file__).resolve().parents[1]
# For benchmarks, which is not installed, and for the gallery's order.
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "deepcluster_sk"
author = "the deepcluster_sk developers"
copyright = author
release = version = deepcluster_sk.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "myst_parser",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "results"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

html_theme = "pydata_sphinx_theme"
html_title = "deepcluster_sk"
html_favicon = "_static/icon.svg"
# The first visit is in the colours that the reader has everywhere.
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "logo": {"text": "deepcluster_sk"},
    "navbar_end": ["theme-switcher"],
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["sphinx-version"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# A place that keeps several versions says where the list of them is.
if versions := os.environ.get("DOCS_VERSIONS_URL"):
    html_theme_options["switcher"] = {"json_url": versions, "version_match": version}
    html_theme_options["navbar_end"] = ["version-switcher", "theme-switcher"]
    html_theme_options["check_switcher"] = False
# Pages without chapters of their own need no list of chapters beside them.
html_sidebars = {name: [] for name in ("index", "install", "api", "project")}

# MathJax is shipped with the pages, which are read without a network.
mathjax_path = "mathjax/tex-chtml.js"
MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2")

# Prompts and output are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "_gallery.Order",
    "doc_module": ("deepcluster_sk",),
    "backreferences_dir": "generated/backreferences",
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "write_computation_times": False,
    "thumbnail_size": (400, 400),
    # Pages are run side by side: most compute with one thread.
    "parallel": 2,
}
# From the pages of the gallery, which show estimators.
os.environ["DEEPCLUSTER_SK_DOCS"] = ".."
# Pictures are drawn into files, wherever the documentation is built.
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")

autosummary_generate = True
# What scikit-learn's own base classes bring is documented there.
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseEstimator, TransformerMixin, ClusterMixin, "
    "ClassNamePrefixFeaturesOutMixin, _SetOutputMixin, _MetadataRequester, "
    "ReprHTMLMixin, _HTMLDocumentationLinkMixin, Module, Warning, Exception",
}
numpydoc_show_class_members = False
# Types are told by the docstrings, with shapes and ranges.
autodoc_typehints = "none"
autodoc_default_options["exclude-members"] = ", ".join(
    [
        "__init__",
        *(
            f"set_{method}_request"
            for method in ("fit", "inverse_transform", "predict", "score", "transform")
        ),
    ]
)


def escape_trailing_underscores(app, what, name, obj, options, lines):
    """Keep "shape (n_features_in_,)" from being read as a hyperlink."""
    for name in ("_in_,)", "_dim_)", "(n_clusters_,"):
        kept = name.replace("_,", r"\_,").replace("_)", r"\_)")
        lines[:] = [line.replace(name, kept) for line in lines]


def write_results(app):
    """Make the results pages of the committed records."""
    from benchmarks._pages import build

    build(ROOT)


def write_estimators(app):
    """Make the table of estimators of the classes themselves."""
    from _estimators import write

    write(ROOT / "docs" / "generated" / "estimators.inc")


def draw_thumbnails(app):
    """Cut the thumbnails of the gallery, which else are whole figures made small."""
    from _gallery import write_thumbnails

    write_thumbnails(ROOT / "docs" / "auto_examples" / "images")


def copy_mathjax(app, error):
    """Put what formulas need beside the pages."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    source = Path(package.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in MATHJAX_PARTS if error is None else ():
        copy = shutil.copytree if (source / part).is_dir() else shutil.copyfile
        options = {"dirs_exist_ok": True} if copy is shutil.copytree else {}
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        copy(source / part, target / part, **options)


def setup(app):
    """Run before numpydoc, which listens at the default priority of 500."""
    app.connect("builder-inited", write_results)
    app.connect("builder-inited", write_estimators)
    # After the gallery, which listens at the default priority.
    app.connect("builder-inited", draw_thumbnails, priority=600)
    app.connect("build-finished", copy_mathjax)
    app.connect("autodoc-process-docstring", escape_trailing_underscores, priority=400)
