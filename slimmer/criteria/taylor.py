"""Scores from data: squared gradients of the loss by the masks (Fisher information)."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from slimmer.criteria.magnitude import deal, magnitude_scores
from slimmer.criteria.request import ScoreRequest
from slimmer.errors import ModelError, TrainingError
from slimmer.graph import Arguments, ChannelGraph, called, evaluating, logits, moved, tensors_in
from slimmer.pruning.masks import Masked, under_ones
from slimmer.recipe.criteria import Taylor
from slimmer.tasks import Task
from slimmer.tasks.calls import loss_of
from slimmer.tasks.classification import NAME as CLASSIFICATION


def taylor(request: ScoreRequest[Taylor]) -> Tensor:
    """Scores whose values are squared gradients and whose order within a group is, by default, that
    of the magnitudes.

    See `taylor_scores`, `loss_scores`, `output_scores` and `deal`. During training under masks the
    scores are running ones and keep their own order.
    """
    scores = _of_task(request)
    if request.under_masks or request.options.order == "taylor":
        return scores
    return deal(scores, magnitude_scores(request.model, request.graph), request.graph)


def _of_task(request: ScoreRequest[Taylor]) -> Tensor:
    """The scores that the task allows: of the classes, of its own loss, or of the outputs."""
    task, model, graph, number = request.task, request.model, request.graph, request.options.batches
    if task is None or task.name == CLASSIFICATION:
        return taylor_scores(model, graph, request.images(number), request.seed)
    if task.loss is not None:
        return loss_scores(model, graph, task, request.batches(number))
    return output_scores(model, graph, request.images(number), request.seed)


def taylor_scores(
    model: nn.Module, graph: ChannelGraph, images: Iterable[Arguments], seed: int = 0
) -> Tensor:
    """The sum over batches of the squared gradient of the loss by each unit's mask, at masks of
    one; (units,).

    The labels are drawn from the network's own outputs, so the squares are the diagonal of its
    Fisher information: the increase of the loss when a unit is removed, to second order. The scores
    are meaningless if the outputs are not class scores (batch, classes). Raises ModelError if
    outputs are NaN.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning (2019), equation 8;
    Theis et al., Faster gaze prediction with dense networks and Fisher pruning (2018), equation 7.
    """
    generator = torch.Generator().manual_seed(seed)

    def losses(masked: Masked) -> Iterator[Tensor]:
        for given in images:
            answer = logits(called(masked, given))
            chances = answer.detach().float().softmax(1).cpu()
            _check(chances)
            drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
            yield cross_entropy(answer.float(), drawn.to(answer.device))

    masked = under_ones(model, graph)
    return _squares(masked, losses(masked))


def loss_scores(
    model: nn.Module, graph: ChannelGraph, task: Task, batches: Iterable[object]
) -> Tensor:
    """The sum over batches of the squared gradient of the task's own loss by each unit's mask, at
    masks of one; (units,).

    Source: Molchanov et al. (2019), equation 8: the labels are those of the data.
    """
    masked = under_ones(model, graph)

    def losses() -> Iterator[Tensor]:
        for fetched in batches:
            batch = moved(fetched, masked.variables.device)
            loss = loss_of(task, called(masked, task.inputs(batch)), batch)
            if not loss.detach().isfinite():
                raise TrainingError(
                    f"{task.name}, scores", f"the loss is {float(loss.detach())}", "fix the loss"
                )
            yield loss

    return _squares(masked, losses())


def output_scores(
    model: nn.Module, graph: ChannelGraph, images: Iterable[Arguments], seed: int = 0
) -> Tensor:
    """The sum over batches of the squared derivative, by each unit's mask, of the outputs in a
    random direction; (units,). They need no labels.

    The direction has random signs v, so the expectation of (J^T v)^2 is the diagonal of J^T J: the
    Gauss-Newton matrix of the mean squared distance from the dense network's outputs, whose own
    gradient is zero there. Every output tensor has weight one, as in that distance.

    Source: Hutchinson, A Stochastic Estimator of the Trace of the Influence Matrix (1989), for the
    diagonal: Bekas et al., An Estimator for the Diagonal of a Matrix (2007).
    """
    generator = torch.Generator().manual_seed(seed)
    masked = under_ones(model, graph)

    def sums() -> Iterator[Tensor]:
        for given in images:
            parts = []
            for output in tensors_in(called(masked, given)):
                if not output.is_floating_point():
                    continue
                _check(output.detach())
                signs = torch.randint(0, 2, output.shape, generator=generator) * 2 - 1
                weighted = output * signs.to(output) / max(1, output.numel()) ** 0.5
                parts.append(weighted.sum())
            yield torch.stack(parts).sum()

    return _squares(masked, sums())


def _squares(masked: Masked, losses: Iterable[Tensor]) -> Tensor:
    """The sum of squared gradients of `losses` by the masks, in eval mode; (units,), float64."""
    scores = torch.zeros(masked.variables.numel(), dtype=torch.float64)
    with evaluating(masked.model):
        for loss in losses:
            (gradient,) = torch.autograd.grad(loss, masked.variables)
            scores += gradient.detach().double().cpu().square()
    return scores


def _check(outputs: Tensor) -> None:
    if outputs.isnan().any():
        raise ModelError(
            "model", "returns NaN or infinite outputs on the data", "check its weights"
        )
