"""Random numbers that leave torch's own generators untouched."""

import threading
from contextlib import contextmanager

import torch

# The torch default generators belong to the process; whoever needs them holds this.
_GENERATOR_LOCK = threading.RLock()


class SeededGenerators:
    """Seeded random numbers for layers that draw from torch's default generators.

    Layers draw their initial weights, and dropout its masks, from generators that
    belong to the process. Inside ``active()`` these generators have a state of our own;
    afterwards they have their former state again. A lock keeps two threads from
    doing so at once.

    Parameters
    ----------
    seed : int
        Seed of the numbers.
    device : torch.device
        Where random numbers may be drawn besides the CPU.
    """

    def __init__(self, seed, device):
        self.seed = seed
        self.devices = [device] if device.type == "cuda" else []
        self.states = None

    @contextmanager
    def active(self):
        """Inside the block torch's default generators draw our numbers."""
        with _GENERATOR_LOCK, torch.random.fork_rng(devices=self.devices):
            if self.states is None:
                torch.default_generator.manual_seed(self.seed)
                for device in self.devices:
                    torch.cuda.default_generators[_index(device)].manual_seed(self.seed)
            else:
                torch.set_rng_state(self.states[0])
                for device, state in zip(self.devices, self.states[1:], strict=True):
                    torch.cuda.set_rng_state(state, device)
            yield
            self.states = [
                torch.get_rng_state(),
                *(torch.cuda.get_rng_state(device) for device in self.devices),
            ]


def _index(device):
    return torch.cuda.current_device() if device.index is None else device.index
