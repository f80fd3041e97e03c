"""The command line: a file in; labels, an embedding and a picture out.

torch and scikit-learn take seconds to import. So they are imported when something is
about to be fitted: help, and errors in the options or the file, come at once.
"""

import argparse
import ast
import functools
import sys
import warnings
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

import deepcluster_sk
from deepcluster_sk.exceptions import ConvergenceError
from deepcluster_sk.io._tables import (
    BLOCK_ROWS,
    UsageError,
    check_finite,
    choose_columns,
    drop_columns,
    need,
    read,
    suggestion,
)

# A column whose deviation is so many times the median of the others' decides alone.
VERY_DIFFERENT = 10
SEARCHED = range(2, 11)
# Classes of sklearn.preprocessing.
SCALERS = {"standard": "StandardScaler", "range": "MinMaxScaler"}
EXAMPLES = """\
examples:
  python -m deepcluster_sk penguins.csv --drop species --n-clusters 3 --scale range \\
      --labels labels.csv --picture penguins.png
  python -m deepcluster_sk penguins.csv --drop species --scale range > labels.csv
  python -m deepcluster_sk images.npy --method IDEC --n-clusters 10 \\
      --set architecture=conv --set image_shape=1,28,28 --embedding codes.npy
  python -m deepcluster_sk penguins.csv --drop species -k 3 --scale range --save birds
  python -m deepcluster_sk new_penguins.csv --model birds > labels.csv
"""


class Method(NamedTuple):
    """What is known of a class without importing it."""

    summary: str
    parameters: tuple[str, ...]


@functools.cache
def methods():
    """Read the clusterers from the source of the package, without importing them.

    Returns
    -------
    methods : dict of str to Method
        By name, in the order of the alphabet.
    """
    found = {}
    for path in Path(deepcluster_sk.cluster.__path__[0]).glob("[!_]*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in deepcluster_sk.__all__:
                parameters = _parameters(node)
                if "n_clusters" in parameters:
                    first = ast.get_docstring(node).splitlines()[0]
                    _, _, summary = first.partition(": ")
                    found[node.name] = Method(summary or first, parameters)
    return dict(sorted(found.items()))


def _parameters(node):
    """Names of what the constructor of a class takes."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return tuple(a.arg for a in (*child.args.args[1:], *child.args.kwonlyargs))
    return ()


def build_parser():
    """Make the parser of the command line."""
    command = "deepcluster-sk"
    called = Path(sys.argv[0]).stem == command
    parser = argparse.ArgumentParser(
        prog=command if called else "python -m deepcluster_sk",
        description="Cluster the rows of a file and write the cluster of each row.",
        epilog=f"methods:\n{_summaries()}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data",
        type=Path,
        help="a .csv, .tsv, .npy or .parquet file, .csv.gz and .tsv.gz too, or - for "
        "a CSV on standard input: a row a sample, all columns numbers. A first line "
        "that holds a word is a header",
    )
    parser.add_argument(
        "-k",
        "--n-clusters",
        type=parse_number,
        default=SEARCHED,
        metavar="K",
        help="number of clusters, or numbers to choose from, such as 2-15 "
        f"(default: {SEARCHED[0]}-{SEARCHED[-1]})",
    )
    parser.add_argument(
        "-m",
        "--method",
        default="TensorizedAutoencoder",
        help="name of a method, in any case (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="parameter of the method, as the reference names it; may be repeated",
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="COLUMN",
        help="leave out a column, by name or by number from 0; may be repeated",
    )
    parser.add_argument(
        "--keep-index",
        action="store_true",
        help="cluster by a first column too that only counts the rows",
    )
    parser.add_argument(
        "--scale",
        choices=["none", *SCALERS],
        default="none",
        help="what to do to each column first: nothing, mean 0 and deviation 1, "
        "or the range from 0 to 1 (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="where to write the clusters (default: standard output)",
    )
    parser.add_argument(
        "--embedding", type=Path, metavar="NPY", help="where to write the embedding"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="where to draw the embedding"
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="where to write what was fitted, for --model and deepcluster_sk.load",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="assign the rows to the clusters of a file that --save wrote, instead of "
        "clustering them; its columns are looked up by name, and scaled as they were",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show progress")
    parser.add_argument(
        "--version",
        action="version",
        version=f"deepcluster_sk {deepcluster_sk.__version__}",
    )
    return parser


def parse_number(text):
    """Read a number of clusters, or first and last of a range.

    Parameters
    ----------
    text : str

    Returns
    -------
    int or range
    """
    first, dash, last = text.partition("-")
    if not dash or not first:
        return int(text)
    if not 1 <= int(first) <= int(last):
        raise argparse.ArgumentTypeError(f"no numbers from {first} to {last}")
    return range(int(first), int(last) + 1)


def _summaries():
    width = max(map(len, methods()))
    return "\n".join(f"  {n:{width}}  {m.summary}" for n, m in methods().items())


def main(arguments=None):
    """Run the command line.

    Parameters
    ----------
    arguments : list of str or None, default=None
        None takes those of the process.

    Returns
    -------
    status : int
        0, or 2 after an error that the user can put right.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (UsageError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options):
    """Read, cluster and write.

    Parameters
    ----------
    options : argparse.Namespace
        As ``build_parser`` makes them.
    """
    check_outputs(options)
    if options.model is not None:
        predict(options)
        return
    method, parameters = choose_method(options)
    X, names = read(options.data)
    index = None if options.keep_index else index_column(X, names, options)
    if index is not None:
        what = f"column {names[0]!r}, which counts the rows"
        what = what if names[0] else "the first column, which has no name"
        say(f"left out {what} (--keep-index keeps it)")
    dropped = options.drop if index is None else [*options.drop, index]
    X, names = drop_columns(X, names, dropped)
    check_finite(X, names)
    table = {"names": names, "scale": options.scale}
    if options.scale == "none":
        check_scales(X, names)
    else:
        scaler = make_scaler(options.scale)
        X = scaler.fit_transform(X)
        table["scaler"] = vars(scaler)
    model = getattr(deepcluster_sk, method)(**parameters)
    start = perf_counter()
    if isinstance(options.n_clusters, range):
        model = search(model, X, options)
    else:
        fit(model, X)
    say(
        f"{type(model).__name__}: {X.shape[0]} rows, {X.shape[1]} columns, "
        f"{model.n_iter_} epochs in {perf_counter() - start:.1f} s; "
        f"{_sizes(model, model.labels_)}; objective {model.objective_:.6g}"
    )
    write(model, X, model.labels_, options)
    if options.save is not None:
        from deepcluster_sk._estimator._saving import write_estimator

        write_estimator(model, options.save, table=table)


def predict(options):
    """Assign new rows to the clusters of a saved model, and write.

    Parameters
    ----------
    options : argparse.Namespace
    """
    defaults = build_parser().parse_args(["-"])
    for name in ("n_clusters", "method", "set", "drop", "scale", "save"):
        if getattr(options, name) != getattr(defaults, name):
            raise UsageError(
                f"--model takes what was fitted as it is: leave out "
                f"--{name.replace('_', '-')}."
            )
    from deepcluster_sk._estimator._saving import KIND
    from deepcluster_sk.io import _safetensors

    try:
        model = deepcluster_sk.load(options.model)
        table = _safetensors.read(options.model, KIND).get("table")
    except (OSError, ValueError) as error:
        raise UsageError(f"{options.model}: cannot be read: {error}") from error
    if not hasattr(model, "predict"):
        raise UsageError(
            f"{options.model} holds an {type(model).__name__}, which has no clusters."
        )
    X, names = read(options.data)
    wanted = names if table is None else table["names"]
    X, names = drop_columns(*choose_columns(X, names, wanted), [])
    check_finite(X, names)
    if table is not None and table["scale"] != "none":
        scaler = make_scaler(table["scale"])
        vars(scaler).update(table["scaler"])
        X = scaler.transform(X)
    try:
        labels = model.predict(X)
    except ValueError as error:
        raise UsageError(str(error)) from error
    say(f"{type(model).__name__}: {X.shape[0]} new rows; {_sizes(model, labels)}")
    write(model, X, labels, options)


def _sizes(model, labels):
    k = getattr(model, "n_clusters_", model.n_clusters)
    sizes = np.bincount(labels, minlength=k)
    return f"clusters of {', '.join(map(str, sizes))} rows"


def say(text):
    """Tell the user something; standard output is for labels."""
    print(text, file=sys.stderr)


def choose_method(options):
    """Find the method that the options name, and what to make it with.

    Returns
    -------
    name : str
        Of a class.
    parameters : dict
        Its constructor's; what values may be is checked by ``fit``.
    """
    by_name = {name.lower(): name for name in methods()}
    name = by_name.get(options.method.lower())
    if name is None:
        raise UsageError(
            f"unknown method {options.method!r}. "
            f"{suggestion(options.method, methods())}There are {', '.join(methods())}."
        )
    known = methods()[name].parameters
    parameters = {}
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE. Got {text!r}.")
        if key not in known:
            raise UsageError(
                f"{name} has no parameter {key!r}. {suggestion(key, known)}It has "
                f"{', '.join(sorted(known))}."
            )
        parameters[key] = parse_value(value)
    if "n_clusters" in parameters:
        options.n_clusters = parameters["n_clusters"]
    searched = isinstance(options.n_clusters, range)
    common = {
        "n_clusters": options.n_clusters[0] if searched else options.n_clusters,
        "random_state": options.seed,
        # A search has a bar of its own.
        "verbose": int(options.verbose and not searched),
    }
    return name, {**common, **parameters}


def parse_value(text):
    """Read a Python literal; what is none is a string.

    Parameters
    ----------
    text : str

    Returns
    -------
    object
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_outputs(options):
    """Refuse what could not be written, before any training."""
    for path, suffix in (
        (options.labels, ".csv"),
        (options.embedding, ".npy"),
        (options.picture, ".png"),
    ):
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise UsageError(f"{path} must end in {suffix}.")
        _check_folder(path)
    if options.save is not None:
        _check_folder(options.save)
    if options.picture is not None:
        need("matplotlib", "--picture", "plot")


def _check_folder(path):
    if path.is_dir():
        raise UsageError(f"{path} is a folder.")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}.")


def index_column(X, names, options):
    """Name of the first column, if it is an index as pandas writes it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    names : list of str
        Names of the columns.
    options : argparse.Namespace

    Returns
    -------
    name : str or None
        None if there is no index, or it is dropped anyhow. An array (.npy) has none.
    """
    if options.data.suffix.lower() == ".npy" or {names[0], "0"} & {*options.drop}:
        return None
    if names[0] == "":
        return ""
    first, numbers = X[0, 0], X[:, 0]
    counts = len(X) > 2 and first in (0, 1) and X.shape[1] > 1
    return (
        names[0]
        if counts and list(numbers) == list(range(int(first), int(first) + len(X)))
        else None
    )


def make_scaler(how):
    """The scaler that ``--scale`` names.

    Parameters
    ----------
    how : str

    Returns
    -------
    scaler : transformer
    """
    from sklearn import preprocessing

    return getattr(preprocessing, SCALERS[how])()


def check_scales(X, names):
    """Warn of a column beside whose scale the others do not count.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    names : list of str
        Names of the columns.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for start in range(0, len(X), BLOCK_ROWS):  # X may be larger than memory
        scaler.partial_fit(X[start : start + BLOCK_ROWS])
    deviations = np.sqrt(scaler.var_)
    largest = int(deviations.argmax())
    others = np.delete(deviations, largest)
    others = others[others > 0]
    if len(others) and deviations[largest] > VERY_DIFFERENT * np.median(others):
        say(
            f"warning: columns are of very different scale: the deviation of column "
            f"{names[largest]} is {deviations[largest]:.3g}, that of the others about "
            f"{np.median(others):.3g}, so that it decides nearly alone. Unless that is "
            "meant, use --scale standard."
        )


def fit(model, X):
    """Train; warnings become lines, and refusals errors of usage.

    Parameters
    ----------
    model : estimator
    X : ndarray of shape (n_samples, n_features)
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            model.fit(X)
        except (ValueError, TypeError, ConvergenceError) as error:
            raise UsageError(str(error)) from error
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"warning: {message}", file=sys.stderr)


def search(model, X, options):
    """Choose the number of clusters, and say how.

    Parameters
    ----------
    model : estimator
    X : ndarray of shape (n_samples, n_features)
    options : argparse.Namespace

    Returns
    -------
    best : estimator
        Fitted, with the number that was found.
    """
    from deepcluster_sk.model_selection import NumberOfClustersSearch

    search = NumberOfClustersSearch(
        model,
        options.n_clusters,
        random_state=options.seed,
        verbose=int(options.verbose),
    )
    fit(search, X)
    results, found = search.cv_results_, search.n_clusters_
    columns = ("mean_stability", "mean_reference_stability", "mean_neighbors")
    columns += ("mean_silhouette", "structure")
    titles = ("stability", "by chance", "neighbors", "silhouette", "structure")
    say("    k" + "".join(f"{title:>12}" for title in titles))
    for i, k in enumerate(results["n_clusters"]):
        values = "".join(f"{results[name][i]:12.3f}" for name in columns)
        say(f"{k:5}{values}{'  <' if k == found else ''}")
    if found == 1:
        say("1 cluster: no number shows more structure than data without clusters")
    else:
        say(f"{found} clusters, chosen by stability")
    return search.best_estimator_


def write(model, X, labels, options):
    """Write what was asked for.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : ndarray of shape (n_samples, n_features)
        The rows, as the model takes them.
    labels : ndarray of shape (n_samples,)
        Their clusters.
    options : argparse.Namespace
    """
    text = "\n".join(["cluster", *map(str, labels)]) + "\n"
    if options.labels is None:
        sys.stdout.write(text)
    else:
        options.labels.write_text(text, encoding="utf-8")
    if options.embedding is not None:
        np.save(options.embedding, model.transform(X))
    if options.picture is not None:
        import matplotlib.pyplot as plt

        from deepcluster_sk.plotting import EmbeddingDisplay

        plt.switch_backend("Agg")
        display = EmbeddingDisplay.from_estimator(model, X)
        display.ax_.set_title(f"{options.data.name}, {type(model).__name__}")
        display.figure_.savefig(options.picture, dpi=150)
        plt.close(display.figure_)
