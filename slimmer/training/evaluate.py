"""The metrics of a network on a task's test data."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from slimmer.graph import called, evaluating, logits, moved, top1_hits
from slimmer.tasks import Task, accumulated


def evaluate(model: nn.Module, task: Task | None) -> dict[str, float] | None:
    """The task's metrics in eval mode on its test batches, the main one first; None without a task
    or without metrics. The modules' modes are restored.
    """
    if task is None or task.test is None or task.main is None:
        return None
    with evaluating(model), torch.no_grad():
        return accumulated(task, _answers(model, task, task.test))


def _answers(model: nn.Module, task: Task, batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    place = next(model.parameters()).device
    for fetched in batches:
        batch = moved(fetched, place)
        yield called(model, task.inputs(batch)), batch


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
