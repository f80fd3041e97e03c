"""Order of the examples, from first steps to own methods, and their thumbnails."""

from PIL import Image

ORDER = (
    "plot_quick_start",
    "plot_comparison",
    "plot_pipeline",
    "plot_denoising",
    "plot_exemplars",
    "plot_images",
    "plot_choosing_k",
    "plot_agreement",
    "plot_diagnosing",
    "plot_out_of_core",
    "plot_own_network",
    "plot_own_method",
)

# What a thumbnail shows: number of a figure of the page, and the part of it that is cut
# out (left, top, right and bottom, as shares of width and height); the whole first
# figure of a page that is not listed.
WHOLE = (0, 0, 1, 1)
THUMBNAILS = {
    "plot_quick_start": (1, WHOLE),
    "plot_comparison": (1, (0, 0, 0.42, 0.8)),
    "plot_pipeline": (1, (0.5, 0, 1, 1)),
    "plot_denoising": (2, (0, 0, 0.42, 1)),
    "plot_exemplars": (1, (0, 0, 0.6, 1)),
    "plot_images": (4, WHOLE),
    "plot_agreement": (1, (0, 0, 0.45, 1)),
    "plot_choosing_k": (1, (0, 0, 0.33, 1)),
    "plot_diagnosing": (3, (0, 0, 0.78, 1)),
    "plot_out_of_core": (1, WHOLE),
    "plot_own_network": (2, (0, 0, 0.79, 1)),
    "plot_own_method": (1, WHOLE),
}
THUMBNAIL_SIDE = 400


def thumbnail(figure, box):
    """A square picture of a part of a figure, on white.

    Parameters
    ----------
    figure : PIL.Image.Image
    box : tuple of float
        Left, top, right and bottom of the part, as shares of width and height.

    Returns
    -------
    PIL.Image.Image
    """
    sides = (*figure.size, *figure.size)
    part = figure.convert("RGB").crop(
        tuple(round(share * side) for share, side in zip(box, sides, strict=True))
    )
    scale = THUMBNAIL_SIDE / max(part.size)
    part = part.resize([max(round(side * scale), 1) for side in part.size])
    square = Image.new("RGB", (THUMBNAIL_SIDE,) * 2, "white")
    square.paste(part, [(THUMBNAIL_SIDE - side) // 2 for side in part.size])
    return square


def write_thumbnails(folder):
    """Replace the thumbnails of the gallery, which are whole figures made small.

    Parameters
    ----------
    folder : Path
        Where the gallery keeps the figures of its pages.
    """
    for path in sorted((folder / "thumb").glob("sphx_glr_*_thumb.png")):
        page = path.stem.removesuffix("_thumb")
        number, box = THUMBNAILS.get(page.removeprefix("sphx_glr_"), (1, WHOLE))
        figure = folder / f"{page}_{number:03}.png"
        if figure.exists():  # it does not where the gallery is not run
            with Image.open(figure) as picture:
                thumbnail(picture, box).save(path)


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
