"""How good a network is on data, and batch-norm statistics taken anew."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimmer.graph import evaluating, logits


def accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Top-1 accuracy (0..1) in eval mode over batches of images and labels; modes are put back."""
    device = next(model.parameters()).device
    right = seen = 0
    with evaluating(model), torch.no_grad():
        for images, labels in batches:
            predicted = logits(model(images.to(device))).argmax(1).cpu()
            right += int((predicted == labels).sum())
            seen += len(labels)
    return right / max(1, seen)


def recalibrate_(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Replace every batch norm's running statistics by the plain average over batches of images.

    Source: EagleEye (Li et al., 2020), adaptive batch normalisation.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    device = next(model.parameters()).device
    momenta = [norm.momentum for norm in norms]
    with evaluating(model), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # PyTorch's word for a cumulative average
            norm.train()
        for batch in images:
            model(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
