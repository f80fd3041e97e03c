"""A folder in which a fit notes its state, to go on after it was killed.

A method's ``_phases`` is a generator: what it does between two phases cannot be
stored, but follows from the state that the phase before left. So it is run again, and
``Run.train`` restores the recorded end of a phase instead of training it. The phase
that was under way goes on from the last epoch that was noted.
"""

import hashlib
import inspect
from collections import defaultdict
from dataclasses import is_dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from skorch.callbacks import Callback

import deepcluster_sk
from deepcluster_sk._container import MALFORMED, NotStorable, pack, read, write
from deepcluster_sk._net import BUFFER_BYTES

FIT, PHASE = "the checkpoint of a fit", "the checkpoint of a phase"
# Between two notes at least so many times the time that the last one took: noting
# costs no more than a twentieth of the training, whatever the size of the state.
PAUSE = 20
# Parameters that do not change the result.
FREE = ("callbacks", "checkpoint", "verbose")


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
        "deepcluster_sk": deepcluster_sk.__version__,
        "torch": str(torch.__version__),
        "device type": device.type,
        "shape of X": str(tuple(X.shape)),
        "SHA-256 of X": _digest(X),
        "SHA-256 of y": "None" if y is None else _digest(y),
    }
    for name, value in estimator.get_params(deep=False).items():
        if name not in FREE:
            fit[name] = _text(value)
    return fit


def _digest(X):
    digest = hashlib.sha256(str(X.dtype).encode())
    size = max(1, BUFFER_BYTES // max(1, X[:1].nbytes))
    for start in range(0, X.shape[0], size):
        digest.update(np.ascontiguousarray(X[start : start + size]))
    return digest.hexdigest()


def _text(value):
    """A value, or for code and generators what they are called."""
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
            self._go_on()
        else:
            self._clear()
            self._write()

    def _go_on(self):
        noted = read(self.path, FIT)
        differing = [
            f"{name} ({noted['fit'].get(name)} there, {self.fit.get(name)} here)"
            for name in {**noted["fit"], **self.fit}
            if noted["fit"].get(name) != self.fit.get(name)
        ]
        if differing:
            raise ValueError(
                f"checkpoint={str(self.folder)!r} belongs to another fit: it differs "
                f"in {', '.join(differing)}. Let that fit end, delete the folder, or "
                "use another one."
            )
        self.seeds, self.objectives = noted["seeds"], noted["objectives"]

    def _write(self):
        content = {"fit": self.fit, "seeds": self.seeds, "objectives": self.objectives}
        write(self.path, FIT, deepcluster_sk.__version__, content)

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
        """Note the objective of a run, and drop the states that are not needed."""
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

    def train(self, run, epochs):
        """Train through a phase that is set up, or what is left of it.

        Parameters
        ----------
        run : Run
        epochs : int
            Length of the whole phase.
        """
        name = f"run-{self.number}-phase-{self.n_phases}.safetensors"
        path, noted = self.checkpoint.folder / name, None
        self.n_phases += 1
        if path.exists():
            noted = read(path, PHASE)
            if noted["ended"]:
                restore(run, noted["state"], path)
                return
            epochs -= len(noted["state"]["history"])
        keeper = _Keeper(run, path, self.checkpoint, noted)
        run.net.callbacks_.append(("checkpoint", keeper))
        run.net.partial_fit(run.rows, epochs=epochs)
        keeper.write(ended=True)

    def end(self, objective):
        """Note that the run has ended, and what it reached."""
        self.checkpoint.end_run(self.number, objective)


class _Keeper(Callback):
    """Notes the state at the end of epochs, and restores it at the start.

    It is the last of the callbacks: the others have done their part before.

    Parameters
    ----------
    run : Run
    path : Path
        The file of the phase.
    checkpoint : Checkpoint
    noted : dict or None
        What the file held.
    """

    def __init__(self, run, path, checkpoint, noted):
        self.run = run
        self.path = path
        self.checkpoint = checkpoint
        self.noted = noted

    def on_train_begin(self, net, **kwargs):
        """Undo what callbacks began, where the phase had begun before."""
        if self.noted is not None:
            restore(self.run, self.noted["state"], self.path)

    def on_epoch_end(self, net, **kwargs):
        """Note the state when that is due."""
        start = monotonic()
        if start >= self.checkpoint.due:
            self.write(ended=False)
            now = monotonic()
            self.checkpoint.due = now + PAUSE * (now - start)

    def write(self, ended):
        """Replace the file of the phase."""
        content = {"ended": ended, "state": snapshot(self.run)}
        write(self.path, PHASE, deepcluster_sk.__version__, content)


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
        "stream": net.stream_.states,
        "history": list(net.history),
        "callbacks": [
            [name, _attributes(callback)]
            for name, callback in net.callbacks_
            if not isinstance(callback, _Keeper)
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
    for generator, noted in zip(
        (net.generator_, net.noise_generator_), state["generators"], strict=True
    ):
        generator.set_state(noted)
    net.stream_.states = state["stream"]
    net.history[:] = state["history"]
    noted = defaultdict(list)
    for name, attributes in state["callbacks"]:
        noted[name].append(attributes)
    for name, callback in net.callbacks_:
        if noted[name]:
            _set_attributes(callback, noted[name].pop(0))
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
