"""Putting what a module has for each cluster in another order."""

import torch


@torch.no_grad()
def reorder(order, *tensors):
    """Put the first axis of tensors in an order, in place.

    Parameters
    ----------
    order : Tensor of shape (k,), int64
        Position j gets what ``order[j]`` had.
    *tensors : Tensors of shape (k, ...)
        Parameters or buffers.
    """
    for tensor in tensors:
        tensor.copy_(tensor[order.to(tensor.device)])
