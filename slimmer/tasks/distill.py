"""The distance of a network's outputs from its teacher's."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss

from slimmer.graph import logits, named_tensors
from slimmer.tasks.task import Task


def distance(task: Task, outputs: Any, teacher: Any, temperature: float | None) -> Tensor:
    """The distillation loss: the task's own; of class scores their divergence at a temperature, or
    without one the mean squared difference; of other outputs the mean squared error.
    """
    if task.distill is not None:
        return task.distill(outputs, teacher)
    if not task.logits:
        return squared_error(outputs, teacher)
    if temperature is None:
        return squared_difference(logits(outputs), logits(teacher))
    return divergence(logits(outputs), logits(teacher), temperature)


def squared_difference(scores: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared difference of class scores (N, classes, ...) from the `wanted` ones, after
    each row's mean over the classes is taken off, which a softmax does not see.

    It is twice the limit of `divergence` for high temperatures. Source: Kim et al., Comparing
    Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation (2021),
    equation 6, and section 2.1 of Hinton et al. (2015).

    >>> float(squared_difference(Tensor([[3.0, 1.0]]), Tensor([[0.0, 0.0]])))
    1.0
    """
    apart = scores.float() - wanted.float()
    return (apart - apart.mean(1, keepdim=True)).square().mean()


def divergence(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """The KL divergence of softened class scores (N, classes, ...) from the `wanted` ones, averaged
    over everything but the classes.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network (2015), including the factor
    T^2.
    """
    soft = log_softmax(scores.float() / temperature, 1)
    target = log_softmax(wanted.float() / temperature, 1)
    positions = soft.numel() // soft.shape[1]
    whole = kl_div(soft, target, log_target=True, reduction="sum")
    return whole / positions * temperature**2


def squared_error(outputs: Any, teacher: Any) -> Tensor:
    """The sum over output tensors of the mean squared error; only tensors of floats with the
    same place and shape count.

    >>> float(squared_error([Tensor([1.0, 3.0]), Tensor([5.0])], [Tensor([1.0, 1.0]), Tensor([4])]))
    3.0
    """
    pairs = comparable(outputs, teacher)
    return torch.stack([mse_loss(ours.float(), theirs.float()) for ours, theirs in pairs]).sum()


def comparable(outputs: Any, teacher: Any) -> list[tuple[Tensor, Tensor]]:
    """The pairs of output tensors at the same place that have the same shape and hold floats."""
    wanted = named_tensors(teacher)
    found = []
    for place, ours in named_tensors(outputs).items():
        theirs = wanted.get(place)
        if theirs is None or ours.shape != theirs.shape:
            continue
        if ours.is_floating_point() and theirs.is_floating_point():
            found.append((ours, theirs))
    return found


def distances(task: Task, outputs: Iterable[Any], teacher: Iterable[Any]) -> float:
    """The mean distillation loss over pairs of outputs of batches."""
    found = [float(distance(task, *pair, None)) for pair in zip(outputs, teacher, strict=True)]
    return sum(found) / max(1, len(found))
