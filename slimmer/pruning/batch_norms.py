"""Batch norms after channels are masked or removed: recalibration, or statistics of each batch."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimmer.graph import Arguments, called, evaluating


def recalibrate_(model: nn.Module, batches: Iterable[Arguments]) -> None:
    """Replace every batch norm's running statistics by the plain average over batches of inputs.

    Source: EagleEye (Li et al., 2020), adaptive batch normalisation.
    """
    norms = _tracking(model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(model), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # for PyTorch, a cumulative average
            norm.training = True
        for given in batches:
            called(model, given)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """A block in which the model is in eval mode, except that batch norms use the statistics of
    each batch; afterwards it is as before.

    This shows a masked network as recalibration would leave it, without a pass over the data for
    every mask.
    """
    with evaluating(model):
        norms = _tracking(model)
        for norm in norms:
            norm.track_running_stats = False  # the running statistics are neither read nor written
            norm.training = True
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True


def _tracking(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms that have running statistics."""
    found = []
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            found.append(module)
    return found
