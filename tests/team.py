"""Fits over several processes; ``test_parallel.py`` starts them and compares.

Every process runs every case and writes what came out: a model, or an error.
"""

import socket

import joblib
import numpy as np
import torch
from instances import GRADIENT, SMALL
from own_method import OwnMethod
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from deepcluster_sk import DDC, Autoencoder, parallel
from deepcluster_sk._training._distributed import process_rank
from deepcluster_sk.building import Phase

drawn = []


def free_port():
    """A port of this machine that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


class Dropout(nn.Module):
    """A network that draws random numbers, and notes what it drew."""

    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.linear = nn.Linear(n_features, n_features)

    def encode(self, x):
        if self.training:
            kept = nn.functional.dropout(torch.ones_like(x), 0.5)
            drawn.append(kept[:1].clone())
            x = x * kept
        return self.linear(x)[:, :2]

    def decode(self, code):
        return torch.cat([code, code], 1)

    def forward(self, x):
        code = self.encode(x)
        return Output(code, self.decode(code))


class Output:
    def __init__(self, embedding, reconstruction):
        self.embedding, self.reconstruction = embedding, reconstruction


class RunningMean(nn.Module):
    """A criterion that changes a buffer from what it sees of a batch."""

    def __init__(self, n_features, see):
        super().__init__()
        self.see = see
        self.register_buffer("mean", torch.zeros(n_features))

    def forward(self, output, x, index):
        seen = self.see(x).mean(0)
        self.mean.lerp_(seen, 0.1)
        error = (output.reconstruction - x).square().mean()
        return {"reconstruction": error, "mean": self.mean.square().sum()}


class Following(Autoencoder):
    """A method whose criterion sees whole batches, or forgets to."""

    see = staticmethod(parallel.whole_batch)

    def _phases(self, run):
        yield Phase("follow", RunningMean(run.rows.X.shape[1], self.see), 3)


class Forgetful(Following):
    see = staticmethod(lambda x: x)


class BatchLosses(Callback):
    """The losses of batches, as a listener gets them."""

    def on_train_begin(self, net, **kwargs):
        self.losses_ = []

    def on_batch_end(self, net, **kwargs):
        self.losses_.append(net.history[-1, "batches", -1, "train_loss"])


def small(kind=Autoencoder, **parameters):
    settings = {
        "latent_dim": 2,
        "hidden_layer_sizes": (8,),
        "max_epochs": 3,
        "batch_size": 35,
        "device": "cpu",
        "random_state": 0,
    }
    return kind(**{**settings, **parameters})


def shaken(x, generator):
    return x + torch.empty_like(x).normal_(generator=generator)


def fit(model, X):
    return model.fit(X)


def in_two_parts(model, X):
    return model.partial_fit(X[:50]).partial_fit(X[50:])


def of_one_process(model, X):
    """The first process predicts alone, while the others have gone on."""
    model.fit(X)
    return model.transform(X) if process_rank() == 0 else None


def batch_losses(model, X):
    recorder = BatchLosses()
    model.set_params(callbacks=[recorder]).fit(X)
    return recorder.losses_


def masks(model, X):
    drawn.clear()
    model.fit(X)
    return torch.cat(drawn).numpy()


def cases(X, rank):
    """Names, and what is called with a model and the data."""
    for name, model in GRADIENT.items():
        # Rounding grows from step to step, in DDC quickly: few steps.
        few = {"max_epochs": 4, "batch_size": 35, "device": "cpu"}
        yield name, fit, clone(model).set_params(**few), X
    for name in ("TensorizedAutoencoder-exact", "SparseSubspaceClustering"):
        yield name, fit, clone(SMALL[name]), X
    yield "own method", fit, OwnMethod(random_state=0), np.tile(X, (4, 1))
    yield "many rows", fit, small(), np.tile(X, (7, 1))
    yield "one batch", fit, small(batch_size=1000), X
    yield "several runs", fit, small(n_init=3), X
    yield "whole batches", fit, small(Following), X
    yield "augmentation", fit, small(augmentation=shaken), X
    half = small(DDC, n_clusters=3, precision="bfloat16", pretrain_epochs=0)
    yield "bf16", fit, half, X
    yield "batch losses", batch_losses, small(), X
    yield "stream", in_two_parts, clone(SMALL["PCX"]), X
    yield "no seed", fit, small(random_state=None), X
    yield "alone", of_one_process, small(), np.tile(X, (7, 1))
    yield "devices", fit, small(device=f"cpu:{rank}" if rank else "cpu"), X
    yield "masks", masks, small(architecture=Dropout), X
    yield "part of a batch", fit, small(Forgetful), X
    yield "other data", fit, small(), X + np.float32(rank)
    yield "other parameters", fit, small(lr=1e-3 * (1 + rank)), X
    yield "checkpoint", fit, small(checkpoint="folder"), X
    yield "tiny batches", fit, small(batch_size=1), X
    yield "progress", fit, small(verbose=1), X


def results(X, rank=0):
    """What comes out of every case."""
    for name, call, model, data in cases(X, rank):
        try:
            yield name, call(model, data)
        except (ValueError, RuntimeError) as error:
            yield name, error


def main(folder):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    rank = accelerator.process_index
    with parallel.processes(accelerator):
        found = dict(results(np.load(f"{folder}/X.npy"), rank))
    joblib.dump(found, f"{folder}/{rank}.joblib")
