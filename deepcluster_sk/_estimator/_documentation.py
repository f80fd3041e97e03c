"""Where the documentation of an estimator is, for its display in a notebook."""

import os


class DocumentationLinkMixin:
    """Links of scikit-learn's HTML display lead to this library's reference.

    The documentation has no address that all copies share: the environment variable
    ``DEEPCLUSTER_SK_DOCS`` says where its pages are. Without it there is no link.
    """

    _doc_link_module = "deepcluster_sk"

    @property
    def _doc_link_template(self):
        place = os.environ.get("DEEPCLUSTER_SK_DOCS", "").rstrip("/")
        return f"{place}/generated/{{page}}.html" if place else ""

    def _doc_link_url_param_generator(self):
        """Name of the page: that of the class, where a user imports it from."""
        package, *parts = type(self).__module__.split(".")
        public = "" if parts[0] == "cluster" else f"{parts[0]}."
        return {"page": f"{package}.{public}{type(self).__name__}"}
