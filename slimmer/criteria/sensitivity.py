"""Sensitivity: scores from the effect of pruning each channel group alone."""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from slimmer.errors import ModelError
from slimmer.graph import Arguments, ChannelGraph, called, logits, tensors_in
from slimmer.pruning.batch_norms import batch_statistics
from slimmer.pruning.masks import under_ones
from slimmer.tasks import Task
from slimmer.tasks.distill import distances

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MOST = 100.0  # nats: the largest divergence of one image
MOST_BYTES = 2**29  # of the dense network's outputs that others are compared with
TIE = 1e-6  # of the largest score: separates units with equal scores


def sensitivity_scores(
    model: nn.Module,
    graph: ChannelGraph,
    ranks: Tensor,
    images: Sequence[Arguments],
    tell: Callable[[int], None] = lambda _: None,
    task: Task | None = None,
) -> Tensor:
    """How much each unit changes the outputs when only its group is pruned, lowest `ranks` first;
    (units,), float64.

    Each group is masked in steps of a tenth, with all others whole. On batches of `images`, with
    batch norms using the statistics of each batch, the Kullback-Leibler divergence of the class
    probabilities from the dense network's is measured; for a `task` whose outputs are not class
    scores, its distillation loss. It is replaced by the largest convex nondecreasing curve below
    it, so that scores that are added up unit by unit give this curve. Fisher scores are its
    quadratic approximation at the dense network.

    Li et al. plot such curves of the accuracy and choose one share for all layers of a stage by
    hand; here every channel group has its own share, which the budget decides. `tell` gets the
    number of finished groups. Raises ModelError if outputs are NaN or infinite.

    Source: Li et al., Pruning Filters for Efficient ConvNets (2016), section 3.2.
    """
    masked = under_ones(model, graph)
    device = masked.variables.device
    scores = torch.zeros(graph.units, dtype=torch.float64)
    ties = torch.zeros_like(scores)
    start = 0
    with batch_statistics(model), torch.no_grad():
        change = change_from(masked, images, task)
        for done, group in enumerate(graph.groups):
            tell(done)
            order = start + ranks[start : start + group.size].argsort(stable=True)
            counts = sorted({round(share * group.size) for share in SHARES} - {0, group.size})
            rises = []
            for count in counts:
                masked.variables.fill_(1)[order[:count].to(device)] = 0
                rises.append(change(masked))
            curve = increments(counts, _finite(rises), group.size)
            scores[order] = torch.tensor(curve, dtype=torch.float64)
            ties[order] = torch.arange(1, group.size + 1, dtype=torch.float64) / group.size
            masked.variables.fill_(1)
            start += group.size
    most = float(scores.max()) if graph.units else 0.0
    return scores + ties * TIE * (most or 1.0)


def increments(counts: Sequence[int], rises: Sequence[float], size: int) -> list[float]:
    """What each of `size` units adds, in the order of their removal, if the first `counts` units
    together add `rises`.

    The values are nonnegative and nondecreasing: the slopes of the largest convex curve below the
    running maximum of `rises`, by isotonic regression. After the last count the slope is constant.

    >>> increments([2, 4], [1.0, 5.0], 5)
    [0.5, 0.5, 2.0, 2.0, 2.0]
    >>> increments([1, 2, 3], [4.0, 1.0, 4.0], 3)
    [1.3333333333333333, 1.3333333333333333, 1.3333333333333333]
    """
    if not counts:
        return [0.0] * size
    units = np.diff(counts, prepend=0)
    highest = np.maximum.accumulate([0.0, *rises])
    rising = isotonic_regression(np.diff(highest) / units, weights=units).x
    found: list[float] = np.repeat(rising, units).tolist()
    return found + [found[-1]] * (size - len(found))


def change_from(
    dense: nn.Module, images: Sequence[Arguments], task: Task | None
) -> Callable[[nn.Module], float]:
    """A function that measures how far a network's outputs are from what those of `dense` are now;
    infinity if they are NaN or infinite and are not class scores.

    Only the first batches of `images` are compared if all outputs take more memory than MOST_BYTES.
    Raises ModelError if the outputs of `dense` are NaN or infinite.
    """
    if task is None or task.logits:
        scores = _outputs(dense, images, logits)
        return lambda network: _divergence(network, images, scores)
    wanted = _outputs(dense, images, lambda outputs: outputs)

    def apart(network: nn.Module) -> float:
        outputs = (called(network, given) for given in images[: len(wanted)])
        found = distances(task, outputs, wanted)
        return found if isfinite(found) else inf

    return apart


def _outputs(
    dense: nn.Module, images: Sequence[Arguments], part: Callable[[Any], Any]
) -> list[Any]:
    """The `part` of the outputs for the first batches, as many as MOST_BYTES hold, at least one.
    Raises ModelError if they are NaN or infinite.
    """
    found: list[Any] = []
    size = 0
    for given in images:
        found.append(part(called(dense, given)))
        size += sum(output.nbytes for output in tensors_in(found[-1]))
        if size >= MOST_BYTES:
            break
    if not all(output.isfinite().all() for output in tensors_in(found)):
        raise ModelError(
            "model", "returns NaN or infinite outputs on the data", "check its weights"
        )
    return found


def _divergence(network: nn.Module, images: Sequence[Arguments], wanted: Sequence[Tensor]) -> float:
    """The mean divergence from the scores `wanted` over images, each at most MOST: a pruned network
    may return NaN.
    """
    total, number = 0.0, 0
    for given, scores in zip(images, wanted, strict=False):
        dense = log_softmax(scores.double(), dim=1)
        cut = log_softmax(logits(called(network, given)).double(), dim=1)
        of_images = kl_div(cut, dense, reduction="none", log_target=True).sum(1)
        if of_images.dim() > 1:  # of positions
            of_images = of_images.flatten(1).mean(1)
        total += float(of_images.nan_to_num(nan=MOST, posinf=MOST).clamp(max=MOST).sum())
        number += len(of_images)
    return total / max(1, number)


def _finite(rises: Sequence[float]) -> list[float]:
    """The rises, with the largest finite one, at least MOST, in place of infinite ones."""
    most = max([MOST, *filter(isfinite, rises)])
    return [min(rise, most) for rise in rises]
