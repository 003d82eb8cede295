"""Scores without data: the rank of a unit's weights within its group."""

import torch
from torch import Tensor, nn

from slimmer.criteria.request import ScoreRequest
from slimmer.graph import ChannelGraph
from slimmer.recipe.method_options import MethodOptions


def magnitude(request: ScoreRequest[MethodOptions]) -> Tensor:
    """Ranks within each group, see `magnitude_scores`."""
    return magnitude_scores(request.model, request.graph)


def magnitude_scores(model: nn.Module, graph: ChannelGraph) -> Tensor:
    """The rank of each unit in its group, in (0, 1], by the L2 norm of all weights that produce or
    read it; (units,).

    Norms of different groups are not comparable, but ranks are: as scores they keep the same share
    of every group. Source: Li et al., Pruning Filters for Efficient ConvNets (2016), with the norm
    taken over the whole group as in Fang et al., DepGraph (2023).
    """
    weights = dict(model.named_parameters())
    parts = []
    for group in graph.groups:
        squares = torch.zeros(group.size, dtype=torch.float64)
        for part in group.slices:
            weight = weights.get(part.axis.tensor)
            if weight is None or weight.dim() < 2:  # norms and biases scale with the layer before
                continue
            by_position = weight.detach().abs().double().cpu().movedim(part.axis.dim, 0)
            flat = by_position.flatten(1).square().sum(1)
            squares += flat[torch.tensor(part.index)].sum(1)
        ranks = torch.empty(group.size, dtype=torch.float64)
        ranks[squares.argsort(stable=True)] = torch.arange(1, group.size + 1, dtype=torch.float64)
        parts.append(ranks / group.size)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def deal(scores: Tensor, order: Tensor, graph: ChannelGraph) -> Tensor:
    """The scores (units,) of every group, reassigned to its units in the order of another
    criterion's scores (units,).

    So one criterion decides how many units of each group are kept, and the other decides which.
    Units with equal values in `order` keep their relative positions.

    >>> from slimmer.graph import ChannelGroup
    >>> graph = ChannelGraph((ChannelGroup("a", 3, ()),), (), (), (), ())
    >>> deal(torch.tensor([5.0, 1.0, 3.0]), torch.tensor([0.1, 0.2, 0.3]), graph)
    tensor([1., 3., 5.])
    """
    sizes = [group.size for group in graph.groups]
    dealt = []
    for values, ranks in zip(scores.split(sizes), order.split(sizes), strict=True):
        part = torch.empty_like(values)
        part[ranks.argsort(stable=True)] = values.sort().values
        dealt.append(part)
    return torch.cat(dealt) if dealt else scores
