"""What a criterion is: a map from a batch to loss terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    import torch


class Criterion(nn.Module):
    """What is minimised: a map from a batch to a dict of loss terms.

    A subclass defines ``forward``, and ``observe`` where it takes note of what it sees.
    What only training needs, such as weights and targets of each row, is an attribute
    or a buffer of the criterion, read by ``index``.

    Attributes
    ----------
    compares_rows : bool, default=False
        Whether the terms depend on how the rows of a batch compare with one another.
        Such a criterion is given whole batches also where several processes share
        one; any other is given the rows of its process.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.building import Criterion
    >>> class Spread(Criterion):
    ...     compares_rows = True
    ...
    ...     def forward(self, output, x, index):
    ...         return {"spread": -output.embedding.var(0).mean()}
    """

    compares_rows = False

    def forward(self, output: object, x: torch.Tensor, index: torch.Tensor) -> None:
        """Loss terms of a batch.

        Parameters
        ----------
        output : object
            What the module returned for the batch, for example with the attributes
            ``embedding`` of shape (n, h) and ``reconstruction`` of shape (n, d).
        x : Tensor of shape (n, d)
            The rows, as they are to be reconstructed.
        index : Tensor of shape (n,), int64
            Their positions in the training data.

        Returns
        -------
        terms : dict of str to Tensor of shape ()
            They add up to the loss; ``history_`` has the mean of each over an epoch.
        """
        raise NotImplementedError

    # A subclass may define observe(output, x, index): called after the terms of a batch
    # are computed and before the step, without gradients, with the whole batch also
    # where several processes share it. The place to change buffers.
    observe = None


class CombinedCriterion(nn.Module):
    """Several criteria whose terms add up to one loss.

    Parameters
    ----------
    *criteria : Criterion or None
        In the order of their terms; None is left out.

    Examples
    --------
    >>> from deepcluster_sk.building import CombinedCriterion, Reconstruction
    >>> len(CombinedCriterion(Reconstruction(), None).criteria)
    1
    """

    def __init__(self, *criteria: torch.nn.Module) -> None:
        super().__init__()
        self.criteria = nn.ModuleList(c for c in criteria if c is not None)

    def forward(
        self, output: Any, x: torch.Tensor, index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Terms of all criteria, for the rows of one process."""
        terms = {}
        for criterion in self.criteria:
            terms.update(criterion(output, x, index))
        return terms
