"""What grows with the square of the number of rows: refused or announced at once."""

from deepcluster_sk.exceptions import LongFitWarning, warn
from deepcluster_sk.solvers._subspaces import PAIRS_BYTES

# Arrays of n x n doubles that are held at once, the cut of the graph included: peaks
# of the process's memory, measured for 3,000 rows ("l2") and 400 to 600 ("nuclear").
EXPRESSION_ARRAYS = {"l2": 10, "nuclear": 20}
# Arrays of n x n single-precision numbers where all rows of a batch are compared:
# peaks measured for a batch of 3,000.
BATCH_ARRAYS = 8
COMPANION_ARRAYS = 14
# Seconds that a sparse self-expression takes on one core, for each pair of rows and
# feature (more than 200 count as 200): from a third to twice of it on Gaussian data
# of 4 to 50 features, on digits and on images of 784 pixels.
PAIR_SECONDS, MOST_FEATURES = 2e-8, 200
# Seconds that distances or products of all pairs take on one core, for each pair, and
# for each pair and feature: within a factor of two for 64 to 784 features.
ENTRY_SECONDS, PRODUCT_SECONDS = 8e-9, 2.5e-11
# From when on a fit is announced as a long one.
LONG_SECONDS = 120


def check_pairs(estimator, n, arrays, itemsize, what, remedy):
    """Refuse arrays with an entry for each pair of n rows that are too large.

    Parameters
    ----------
    estimator : EstimatorTemplate
    n : int
        Number of rows that are compared with one another.
    arrays : int
        Number of arrays that are held at once.
    itemsize : int
        Bytes of an entry.
    what : str
        The setting that needs them, in the words of a constructor's call.
    remedy : str
        What else could be done; begins a sentence.

    Raises
    ------
    MemoryError
        If they would take more than ``PAIRS_BYTES``.
    """
    need = arrays * itemsize * n**2
    if need <= PAIRS_BYTES:
        return
    most = int((PAIRS_BYTES / arrays / itemsize) ** 0.5)
    raise MemoryError(
        f"{what} of {type(estimator).__name__} compares all of n = {n} rows with one "
        f"another, which takes about {need / 1e9:,.0f} GB; at most "
        f"{PAIRS_BYTES / 1e9:g} GB, or n = {most}, are allowed. {remedy}."
    )


def check_expression(estimator, n, width, times=1):
    """Refuse or announce a self-expression by its size, before any work.

    Parameters
    ----------
    estimator : EstimatorTemplate
        With the parameter ``penalty``, else it is "l1".
    n, width : int
        Shape of what is expressed.
    times : int, default=1
        How often, at most.

    Raises
    ------
    MemoryError
        If it needs dense arrays that are too large.
    """
    how = getattr(estimator, "penalty", "l1")
    if how in EXPRESSION_ARRAYS:
        remedy = (
            "Use 'l1' or 'elasticnet', whose memory grows with n only, or fewer rows"
        )
        arrays = EXPRESSION_ARRAYS[how]
        check_pairs(estimator, n, arrays, 8, f"penalty={how!r}", remedy)
        return
    seconds = PAIR_SECONDS * min(width, MOST_FEATURES) * n**2
    often = "" if times == 1 else f", and it is done up to {times} times"
    shown = "; verbose=1 shows how far it is"
    if times * seconds > LONG_SECONDS:
        _announce(estimator, "self-expression", n, seconds, often, shown)


def check_all_pairs(estimator, n, *widths):
    """Announce, before any work, that comparing all pairs of rows will take long.

    Parameters
    ----------
    estimator : EstimatorTemplate
    n : int
        Number of rows.
    widths : int
        Number of values by which they are compared, for each time.
    """
    seconds = n**2 * sum(ENTRY_SECONDS + PRODUCT_SECONDS * width for width in widths)
    if seconds > LONG_SECONDS:
        _announce(estimator, "comparison of all pairs", n, seconds)


def _announce(estimator, what, n, seconds, often="", shown=""):
    """Warn of what takes long; ``often`` and ``shown`` end the two sentences."""
    warn(
        f"The {what} of n_samples={n} rows by {type(estimator).__name__} "
        f"takes about {_duration(seconds)}{often}: its time grows with the square of "
        f"n_samples. Fit fewer rows, and predict the others{shown}.",
        LongFitWarning,
    )


def _duration(seconds):
    """A rough time, in a unit that suits."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours"


def check_batch(estimator, n_samples, what, arrays):
    """Refuse batches whose rows cannot all be compared with one another.

    Parameters
    ----------
    estimator : EstimatorTemplate
    n_samples : int
    what : str
        What compares them.
    arrays : int
        Number of single-precision arrays with an entry for each pair.

    Raises
    ------
    MemoryError
        If they would take more than ``PAIRS_BYTES``.
    """
    n = -(-n_samples // -(-n_samples // estimator.batch_size))
    setting = f"batch_size={estimator.batch_size}{what}"
    check_pairs(estimator, n, arrays, 4, setting, "Use smaller batches")
