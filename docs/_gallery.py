"""Order of the examples: from first steps to own methods."""

ORDER = (
    "plot_quick_start",
    "plot_comparison",
    "plot_pipeline",
    "plot_denoising",
    "plot_exemplars",
    "plot_images",
    "plot_choosing_k",
    "plot_diagnosing",
    "plot_out_of_core",
    "plot_own_network",
    "plot_own_method",
)


class Order:
    """Sort key of sphinx-gallery: listed files first, then by name.

    Parameters
    ----------
    folder : str
        The folder of the examples; not used.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, file_name):
        """Place of a file, such as ``plot_images.py``."""
        stem = file_name.removesuffix(".py")
        return ORDER.index(stem) if stem in ORDER else len(ORDER), stem

    def __repr__(self):
        """Stay the same between builds, which else would start afresh."""
        return f"<{type(self).__name__}>"
