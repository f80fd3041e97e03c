"""Configuration of Sphinx: ``make docs``."""

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
    "myst_parser",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "results"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

html_theme = "alabaster"
html_theme_options = {
    "description": "Deep clustering as scikit-learn estimators",
    "page_width": "1100px",
    "fixed_sidebar": True,
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "_gallery.Order",
    "doc_module": ("deepcluster_sk",),
    "reference_url": {"deepcluster_sk": None},
    "backreferences_dir": "generated/backreferences",
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "write_computation_times": False,
}
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
    lines[:] = [line.replace("_in_,)", r"_in\_,)") for line in lines]


def write_results(app):
    """Make the results pages of the committed records."""
    from benchmarks._pages import build

    build(ROOT)


def setup(app):
    """Run before numpydoc, which listens at the default priority of 500."""
    app.connect("builder-inited", write_results)
    app.connect("autodoc-process-docstring", escape_trailing_underscores, priority=400)
