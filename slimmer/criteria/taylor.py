"""Scores from data: squared gradients of the loss by the masks (Fisher information)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from slimmer.criteria.magnitude import deal, magnitude_scores
from slimmer.criteria.request import ScoreRequest
from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph, evaluating, logits
from slimmer.pruning.masks import Masked
from slimmer.recipe.methods import Taylor


def taylor(request: ScoreRequest[Taylor]) -> Tensor:
    """Scores whose values are squared gradients and whose order within a group is, by default, that
    of the magnitudes.

    See `taylor_scores` and `deal`. During training under masks the scores are running ones and keep
    their own order.
    """
    images = request.images(request.options.batches)
    scores = taylor_scores(request.model, request.graph, images, request.seed)
    if request.under_masks or request.options.order == "taylor":
        return scores
    return deal(scores, magnitude_scores(request.model, request.graph), request.graph)


def taylor_scores(
    model: nn.Module, graph: ChannelGraph, images: Iterable[Tensor], seed: int = 0
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
    parameter = next(model.parameters())
    masked = Masked(
        model, graph, torch.ones(graph.units, dtype=torch.float32, device=parameter.device)
    ).to(parameter.device)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.zeros(graph.units, dtype=torch.float64)
    with evaluating(model):
        for batch in images:
            answer = logits(masked(batch.to(parameter.device)))
            chances = answer.detach().float().softmax(1).cpu()
            if chances.isnan().any():
                raise ModelError(
                    "model", "returns NaN or infinite outputs on the data", "check its weights"
                )
            drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
            loss = cross_entropy(answer.float(), drawn.to(answer.device))
            (gradient,) = torch.autograd.grad(loss, masked.variables)
            scores += gradient.detach().double().cpu().square()
    return scores
