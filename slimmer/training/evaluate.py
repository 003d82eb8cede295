"""The accuracy of a network on data."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from slimmer.graph import evaluating, logits, top1_hits


def accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Top-1 accuracy (0..1) in eval mode over batches of images and labels; the modules' modes are
    restored.
    """
    device = next(model.parameters()).device
    right = seen = 0
    with evaluating(model), torch.no_grad():
        for images, labels in batches:
            scores = logits(model(images.to(device))).cpu()
            right += int(top1_hits(scores, labels).sum())
            seen += len(labels)
    return right / max(1, seen)
