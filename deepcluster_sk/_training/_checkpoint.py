"""A folder in which a fit saves its state, to resume after it was killed.

A method's ``_phases`` is a generator: what it does between two phases cannot be
stored, but follows from the state that the phase before left. So it is run again, and
``ClusterNet.train_phase`` restores the saved end of a phase instead of training it. The
phase that was under way resumes after the last epoch that was saved.
"""

import hashlib
import inspect
from collections import defaultdict
from dataclasses import is_dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from scipy.sparse import issparse
from skorch.callbacks import Callback

from deepcluster_sk._training._data import BUFFER_BYTES
from deepcluster_sk._version import __version__
from deepcluster_sk.io._safetensors import MALFORMED, NotStorable, pack, read, write

FIT, PHASE = "the checkpoint of a fit", "the checkpoint of a phase"
# Between two saves at least so many times the time that the last one took: saving
# costs no more than a twentieth of the training, whatever the size of the state.
PAUSE = 20
# Parameters that do not change the result.
NOT_COMPARED = ("callbacks", "checkpoint", "verbose")


def describe(estimator, X, y, device):
    """Everything on which the result of a fit depends, as texts.

    Parameters
    ----------
    estimator : BaseDeepEstimator
    X : array of shape (n_samples, n_features)
        Validated data, possibly on disk.
    y : ndarray or None
        What the method reads of the labels.
    device : torch.device

    Returns
    -------
    fit : dict of str to str
    """
    fit = {
        "estimator": type(estimator).__qualname__,
        "deepcluster_sk": __version__,
        "torch": str(torch.__version__),
        "device type": device.type,
        "shape of X": str(tuple(X.shape)),
        "SHA-256 of X": _digest(X),
        "SHA-256 of y": "None" if y is None else _digest(y),
    }
    for name, value in estimator.get_params(deep=False).items():
        if name not in NOT_COMPARED:
            fit[name] = _text(value)
    return fit


def _digest(X):
    if isinstance(X, torch.Tensor):
        X = X.cpu().numpy()
    digest = hashlib.sha256(str(X.dtype).encode())
    if issparse(X):
        for part in (X.data, X.indices, X.indptr):
            digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()
    size = max(1, BUFFER_BYTES // max(1, X[:1].nbytes))
    for start in range(0, X.shape[0], size):
        digest.update(np.ascontiguousarray(X[start : start + size]))
    return digest.hexdigest()


def _text(value):
    """A value, of an array its digest, or for code and generators their name."""
    if issparse(value):
        value = np.column_stack(value.nonzero())  # of pairs, all that is read
    if isinstance(value, np.ndarray):
        return f"SHA-256 {_digest(value)}"
    if _is_data(value) or is_dataclass(value):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__qualname__)


class Checkpoint:
    """The folder of one fit.

    Parameters
    ----------
    folder : str or path-like
        Made if missing. One fit at a time may use it.
    fit : dict of str to str
        What the fit is, see ``describe``.
    seeds : list of int
        One a run; where the folder has the seeds of the fit that was killed, those
        are taken.

    Raises
    ------
    ValueError
        If the folder belongs to another fit, or a file in it is damaged.
    """

    def __init__(self, folder, fit, seeds):
        self.folder = Path(folder)
        self.path = self.folder / "fit.safetensors"
        self.fit, self.seeds, self.objectives = fit, seeds, []
        self.due = -np.inf
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._resume()
        else:
            self._clear()
            self._write()

    def _resume(self):
        saved = read(self.path, FIT)
        differing = [
            f"{name} ({saved['fit'].get(name)} there, {self.fit.get(name)} here)"
            for name in {**saved["fit"], **self.fit}
            if saved["fit"].get(name) != self.fit.get(name)
        ]
        if differing:
            raise ValueError(
                f"checkpoint={str(self.folder)!r} belongs to another fit: it differs "
                f"in {', '.join(differing)}. Let that fit end, delete the folder, or "
                "use another one."
            )
        self.seeds, self.objectives = saved["seeds"], saved["objectives"]

    def _write(self):
        content = {"fit": self.fit, "seeds": self.seeds, "objectives": self.objectives}
        write(self.path, FIT, __version__, content)

    def _clear(self, number="*"):
        for path in self.folder.glob(f"run-{number}-phase-*.safetensors*"):
            path.unlink()

    def runs(self):
        """Yield seed and checkpoint of the runs that are, or may become, the best."""
        for number, seed in enumerate(self.seeds):
            if not self._is_beaten(number):
                yield seed, RunCheckpoint(self, number)

    def _is_beaten(self, number):
        done = self.objectives
        return number < len(done) and number != done.index(min(done))

    def end_run(self, number, objective):
        """Save the objective of a run, and drop the states that are not needed."""
        if number == len(self.objectives):
            self.objectives.append(objective)
            self._write()
        for earlier in filter(self._is_beaten, range(number + 1)):
            self._clear(earlier)

    def remove(self):
        """Leave the folder as it was found; the phases first: they need the fit."""
        self._clear()
        for path in self.folder.glob("fit.safetensors*"):
            path.unlink()


class RunCheckpoint:
    """The part of one run in a ``Checkpoint``.

    Parameters
    ----------
    checkpoint : Checkpoint
    number : int
        Of the run, from 0.
    """

    def __init__(self, checkpoint, number):
        self.checkpoint = checkpoint
        self.number = number
        self.n_phases = 0

    def next_phase(self, run):
        """The ``PhaseCheckpoint`` of the phase that the run begins."""
        name = f"run-{self.number}-phase-{self.n_phases}.safetensors"
        self.n_phases += 1
        return PhaseCheckpoint(run, self.checkpoint.folder / name, self.checkpoint)

    def end(self, objective):
        """Save that the run has ended, and what it reached."""
        self.checkpoint.end_run(self.number, objective)


class PhaseCheckpoint:
    """The file of one phase.

    Parameters
    ----------
    run : Run
        Its net trains the phase.
    path : Path
        The file.
    checkpoint : Checkpoint
        Says when the next save is due.

    Attributes
    ----------
    saved : dict or None
        What the file held when the phase began.
    callback : skorch callback
        Restores the state when training begins, and saves it at the end of epochs.
        It must be the last of the callbacks: the others have done their part before.
    """

    def __init__(self, run, path, checkpoint):
        self.run = run
        self.path = path
        self.checkpoint = checkpoint
        self.saved = read(path, PHASE) if path.exists() else None
        self.callback = _SaveState(self)

    @property
    def ended(self):
        """Whether the file holds the end of the phase."""
        return self.saved is not None and self.saved["ended"]

    @property
    def epochs_done(self):
        """Number of epochs after which the saved state was taken."""
        return 0 if self.saved is None else len(self.saved["state"]["history"])

    def restore(self):
        """Put the saved state back, if there is one."""
        if self.saved is not None:
            restore(self.run, self.saved["state"], self.path)

    def save_if_due(self):
        """Save the state if enough time has passed since the last time."""
        start = monotonic()
        if start >= self.checkpoint.due:
            self._write(ended=False)
            now = monotonic()
            self.checkpoint.due = now + PAUSE * (now - start)

    def end(self):
        """Save the end of the phase."""
        self._write(ended=True)

    def _write(self, ended):
        content = {"ended": ended, "state": snapshot(self.run)}
        write(self.path, PHASE, __version__, content)


class _SaveState(Callback):
    """Calls a ``PhaseCheckpoint`` when training begins, and at the end of epochs."""

    def __init__(self, phase):
        self.phase = phase

    def on_train_begin(self, net, **kwargs):
        """Undo what callbacks began, where the phase had begun before."""
        self.phase.restore()

    def on_epoch_end(self, net, **kwargs):
        """Save the state when that is due."""
        self.phase.save_if_due()


def snapshot(run):
    """All that training has changed, as arrays and plain values.

    Parameters
    ----------
    run : Run

    Returns
    -------
    state : dict
    """
    net = run.net
    return {
        "module": _parts(net.module_),
        "criterion": _parts(net.criterion_),
        "optimizer": net.optimizer_.state_dict(),
        "generators": [g.get_state() for g in (net.generator_, net.noise_generator_)],
        "default generators": net.generators_.states,
        "history": list(net.history),
        "callbacks": [
            [name, _attributes(callback)]
            for name, callback in net.callbacks_
            if not isinstance(callback, _SaveState)
        ],
        "random_state": run.random_state.get_state(legacy=False),
        "n_reseeded": run.n_reseeded,
        "stop_reason": net.stop_reason_,
    }


def restore(run, state, path):
    """Put a ``snapshot`` back into a run whose phase is set up.

    Callbacks are recognised by their class: users may add and remove some.

    Parameters
    ----------
    run : Run
    state : dict
    path : Path
        Where it was read.

    Raises
    ------
    ValueError
        If it does not fit, as after a change of the user's network.
    """
    try:
        _restore(run, state)
    except MALFORMED as error:
        raise ValueError(f"{path} does not fit this fit: {error}") from error


def _restore(run, state):
    net = run.net
    for owner, parts in ((net.module_, "module"), (net.criterion_, "criterion")):
        for name, part in owner.named_modules():
            _set_attributes(part, state[parts][name])
    net.optimizer_.load_state_dict(state["optimizer"])
    for generator, saved in zip(
        (net.generator_, net.noise_generator_), state["generators"], strict=True
    ):
        generator.set_state(saved)
    net.generators_.states = state["default generators"]
    net.history[:] = state["history"]
    saved = defaultdict(list)
    for name, attributes in state["callbacks"]:
        saved[name].append(attributes)
    for name, callback in net.callbacks_:
        if saved[name]:
            _set_attributes(callback, saved[name].pop(0))
    run.random_state.set_state(state["random_state"])
    run.n_reseeded = state["n_reseeded"]
    net.stop_reason_ = state["stop_reason"]


def _parts(module):
    return {name: _attributes(part) for name, part in module.named_modules()}


def _attributes(owner):
    """What an object holds that is data, or has data for a state."""
    held = {
        name: value
        for name, value in vars(owner).items()
        if name[0] != "_" and name != "training"
    }
    if isinstance(owner, torch.nn.Module):
        held.update(owner.named_parameters(recurse=False))
        held.update(owner.named_buffers(recurse=False))
    kept = {}
    for name, value in held.items():
        state = value
        if isinstance(value, torch.Generator):
            state = value.get_state()
        elif hasattr(value, "state_dict") and not inspect.isclass(value):
            state = value.state_dict()
        if _is_data(state):
            kept[name] = state
    return kept


def _is_data(value):
    if isinstance(value, torch.Tensor):
        return True
    try:
        pack(value, {})
    except NotStorable:
        return False
    return True


def _set_attributes(owner, kept):
    """Give an object its data back; tensors in place, as others may hold them too."""
    for name, state in kept.items():
        now = getattr(owner, name, None)
        if isinstance(now, torch.Generator):
            now.set_state(state)
        elif hasattr(now, "load_state_dict"):
            now.load_state_dict(state)
        elif (
            isinstance(now, torch.Tensor)
            and isinstance(state, torch.Tensor)
            and now.shape == state.shape
        ):
            with torch.no_grad():
                now.copy_(state)
        else:
            setattr(owner, name, state)
