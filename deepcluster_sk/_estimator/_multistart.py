"""Several starts: one after the other, side by side in joblib, or from a checkpoint."""

import copy

import joblib
from sklearn.utils.parallel import Parallel, delayed

from deepcluster_sk._threads import threads_for
from deepcluster_sk._training import _distributed as distributed
from deepcluster_sk._training._checkpoint import Checkpoint, describe
from deepcluster_sk.exceptions import ConvergenceError


def best_run(estimator, X, y, rows, seeds):
    """Train from each seed, and return the run of lowest objective.

    Parameters
    ----------
    estimator : EstimatorTemplate
        Trains one run, and is told of each that has ended.
    X : array of shape (n_samples, n_features)
        Validated data, for the checkpoint.
    y : ndarray or None
        What the method reads of the labels.
    rows : object
        The data, ready for training.
    seeds : list of int
        One a run.

    Returns
    -------
    run : object
        Without its training state where it was trained in another process.
    """
    if estimator.checkpoint is not None:
        return _best_with_checkpoint(estimator, X, y, rows, seeds)
    _find_number_of_clusters(estimator, rows, seeds)
    side_by_side = (
        joblib.effective_n_jobs(None) > 1 and not distributed.is_distributed()
    )
    if len(seeds) == 1 or not side_by_side:
        runs = (estimator._one_run(rows, y, seed, None) for seed in seeds)
    else:
        runs = Parallel()(
            # Threads would share the callbacks.
            delayed(_run_elsewhere)(copy.deepcopy(estimator), rows, y, seed)
            for seed in seeds
        )
    return _best(estimator, runs)


def _find_number_of_clusters(estimator, rows, seeds):
    """Once for all runs: objectives of different numbers cannot be compared."""
    is_to_find = getattr(estimator, "n_clusters", None) == "auto"
    if is_to_find and not estimator._is_warm():
        with threads_for(0):  # what is large in it asks for more
            estimator.n_clusters_ = estimator._count_clusters(rows, seeds[0])


def _best(estimator, runs):
    best = None
    for run in runs:
        estimator._warn_about(run)
        if best is None or run.objective < best.objective:
            best = run
    return best


def _run_elsewhere(estimator, rows, y, seed):
    """A run without what only its training needed, to be sent back."""
    run = estimator._one_run(rows, y, seed, None)
    run.drop_training_state()
    run.drop_rows()
    return run


def _best_with_checkpoint(estimator, X, y, rows, seeds):
    """As ``best_run``; the folder says which runs have ended or are under way."""
    checkpoint = Checkpoint(
        estimator.checkpoint, describe(estimator, X, y, rows.device), seeds
    )
    _find_number_of_clusters(estimator, rows, checkpoint.seeds)
    try:
        best = _best(
            estimator,
            (
                estimator._one_run(rows, y, seed, saved)
                for seed, saved in checkpoint.runs()
            ),
        )
    except ConvergenceError:  # it would only come again
        checkpoint.remove()
        raise
    checkpoint.remove()
    return best
