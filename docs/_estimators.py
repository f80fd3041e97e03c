"""The table of estimators: what each can do, asked of the classes themselves."""

import deepcluster_sk

YES = "✓"


def _takes(name):
    return lambda estimator: name in estimator.get_params()


def _has(name):
    return lambda estimator: hasattr(estimator, name)


# Column, what it means, and the question that an instance answers.
ABILITIES = (
    (
        "new rows",
        "``predict`` assigns rows that were not in the training data",
        _has("predict"),
    ),
    ("soft", "``predict_proba``: a share in each cluster", _has("predict_proba")),
    (
        "decoder",
        "``reconstruct``, and ``score_samples`` for unusual rows",
        _has("reconstruct"),
    ),
    (
        "decodes codes",
        "``inverse_transform``: rows of codes, one decoder for all clusters",
        _has("inverse_transform"),
    ),
    ("denoises", "``denoise``: rows as they would be without noise", _has("denoise")),
    (
        "streams",
        "``partial_fit``: batches of data that is never stored",
        _has("partial_fit"),
    ),
    (
        "on disk",
        "an array on disk stays there while it is learned from",
        lambda estimator: estimator._out_of_core,
    ),
    (
        "images",
        "``image_shape``: rows are read as images by convolutions",
        _takes("image_shape"),
    ),
    (
        "augmentation",
        "``augmentation``: what changes at random and says nothing of the cluster",
        _takes("augmentation"),
    ),
    (
        "GPU",
        "``device``: a fit on CPU, CUDA or MPS; for closed forms on CUDA in float64",
        _takes("device"),
    ),
    (
        "starts",
        "``n_init``: several starts, the one of lowest objective is kept",
        _takes("n_init"),
    ),
)


def estimators():
    """An instance of each public estimator with its defaults, by name.

    Returns
    -------
    dict of str to estimator
    """
    public = {name: getattr(deepcluster_sk, name) for name in deepcluster_sk.__all__}
    return {name: thing() for name, thing in public.items() if hasattr(thing, "fit")}


def table():
    """The table and the meaning of its columns, as reStructuredText.

    Returns
    -------
    str
    """
    rows = [["estimator", *(name for name, _, _ in ABILITIES)]]
    for name, estimator in estimators().items():
        answers = [YES if ask(estimator) else "" for _, _, ask in ABILITIES]
        rows.append([f":class:`~deepcluster_sk.{name}`", *answers])
    lines = [".. list-table::", "   :header-rows: 1", "   :class: abilities", ""]
    for row in rows:
        first, *rest = row
        lines += [f"   * - {first}", *(f"     - {cell}".rstrip() for cell in rest)]
    lines.append("")
    for name, meaning, _ in ABILITIES:
        lines += [name, f"    {meaning}."]
    return "\n".join(lines) + "\n"


def write(path):
    """Write the table to a file, unless it is there already.

    Parameters
    ----------
    path : Path
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
