"""Scores by the norms of the filters that produce a channel."""

import torch
from torch import Tensor, nn

from slimmer.criteria.request import ScoreRequest, joined
from slimmer.graph import ChannelGraph
from slimmer.pruning.plan import Plan
from slimmer.pruning.published_cuts import cut_by_ratios
from slimmer.recipe.criteria import L1
from slimmer.recipe.method_options import MethodOptions


def l1(request: ScoreRequest[L1]) -> Tensor:
    """Sums of magnitudes, see `filter_norm_scores`."""
    return filter_norm_scores(request.model, request.graph, 1)


def l2(request: ScoreRequest[MethodOptions]) -> Tensor:
    """Euclidean norms, see `filter_norm_scores`."""
    return filter_norm_scores(request.model, request.graph, 2)


def cut(request: ScoreRequest[L1], scores: Tensor) -> Plan:
    """The plan that removes the published share of each layer, `method.ratios`."""
    return cut_by_ratios(scores, request.graph, request.options.ratios or {})


def filter_norm_scores(model: nn.Module, graph: ChannelGraph, order: int) -> Tensor:
    """The norm of the filters that produce each unit, relative to the average filter of the layer;
    (units,), float64.

    A filter is the slice of a convolution's or linear layer's weight that produces one output
    channel; the layers that read the channel are ignored (`magnitude_scores` includes them). Li et
    al. compare only filters of one layer. To make layers comparable, each norm is divided by the
    mean of its layer, which also removes what a following batch norm undoes. A unit that several
    filters produce (a residual sum, a grouped convolution) gets their mean, and a unit without a
    filter of its own (in a grouped transposed convolution) counts as average. Filters are scored
    independently: inputs that are removed by the same plan still count.

    Args:
        model: the network whose weights are read.
        graph: its channel groups.
        order: 1 for sums of magnitudes, 2 for Euclidean norms.

    Raises:
        ModelError: a weight is NaN or infinite.

    Source: Li et al., Pruning Filters for Efficient ConvNets (2016), section 3.1; the mean over
    tied filters is that of DepGraph (Fang et al. 2023), which also adds the weights that read a
    channel.
    """
    weights = model.state_dict()
    made = {layer.out_axis for layer in graph.layers if layer.out_axis.tensor in weights}
    norms = {}
    for axis in made:
        filters = weights[axis.tensor].abs().double().cpu().movedim(axis.dim, 0).flatten(1)
        norm = torch.linalg.vector_norm(filters, order, 1)
        norms[axis] = norm / norm.mean().clamp_min(1e-300)
    parts = []
    for group in graph.groups:
        own = [part for part in group.slices if part.axis in made]
        if own:
            found = [norms[part.axis][torch.tensor(part.index)] for part in own]
            parts.append(torch.cat(found, 1).mean(1))
        else:
            parts.append(torch.ones(group.size, dtype=torch.float64))
    return joined(parts)
