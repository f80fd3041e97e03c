"""Phases that train an autoencoder before the clustering."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria import (
    DenoisingStage,
    RelativeReconstruction,
    kept_values,
)
from deepcluster_sk.initialization._standardization import (
    standardize_data,
    whiten_code,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_stages(estimator, module):
    """Refuse layerwise pretraining of an architecture that declares no stages."""
    if estimator.pretraining == "layerwise" and not module.autoencoder.stages:
        raise ValueError(
            f"pretraining='layerwise' of {type(estimator).__name__} needs an "
            "architecture with the attribute stages: pairs (down, up) of modules, "
            "from the input inwards, that encode and decode."
        )


def pretraining(
    run: Any,
    epochs: int,
    how: Literal["end-to-end", "layerwise"],
    mask_rate: float,
    whiten: bool = True,
) -> Iterator[Any]:
    """Phases that train the module's autoencoder to reconstruct, and whiten its code.

    Parameters
    ----------
    run : Run
        The module is a ``CentroidAutoencoder``.
    epochs : int
        Epochs of the whole autoencoder.
    how : {"end-to-end", "layerwise"}
        "layerwise" first trains one stage after the other for half as many epochs
        each, the proportion of DEC's authors.
    mask_rate : float
        Share of the values that the network does not see.
    whiten : bool, default=True
        Whether the code is whitened at the end, or left as the autoencoder made it.

    Yields
    ------
    phase : Phase
        To be trained before the generator goes on.

    Examples
    --------
    As the first statement of a method's ``_phases``:

    >>> from deepcluster_sk.building import BaseDeepClusterer, pretraining
    >>> class Method(BaseDeepClusterer):
    ...     def _phases(self, run):
    ...         yield from pretraining(run, self.pretrain_epochs, "end-to-end", 0.2)
    """
    standardize_data(run)
    module = run.module
    if how == "layerwise":
        generator = run.generator()
        for depth in range(len(module.autoencoder.stages)):
            stage = DenoisingStage(depth, generator, mask_rate)
            yield Phase(f"pretrain layer {depth + 1}", stage, epochs // 2)
    mask = masking_noise(module, mask_rate)
    yield Phase("pretrain", RelativeReconstruction(), epochs, corrupt=mask)
    if whiten:
        whiten_code(run)


def masking_noise(module, rate):
    """Masking noise for the input of a ``CentroidAutoencoder``: for ``corrupt``."""
    return partial(_mask, module.origin, rate) if rate else None


def _mask(origin, rate, x, generator):
    """Dropout of what differs from the origin."""
    return torch.lerp(origin, x, kept_values(x, rate, generator))
