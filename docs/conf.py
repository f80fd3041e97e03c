"""Configuration of Sphinx: ``make docs``."""

import deepcluster_sk

project = "deepcluster_sk"
author = "the deepcluster_sk developers"
release = version = deepcluster_sk.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {"description": "Deep clustering as scikit-learn estimators"}

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


def setup(app):
    """Run before numpydoc, which listens at the default priority of 500."""
    app.connect("autodoc-process-docstring", escape_trailing_underscores, priority=400)
