"""Scores by the norms of the filters that make a channel."""

import torch
from torch import Tensor, nn

from slimmer.criteria.request import ScoreRequest, joined
from slimmer.graph import ChannelGraph
from slimmer.pruning.plan import Plan
from slimmer.pruning.published_cuts import cut_by_ratios
from slimmer.recipe.methods import L1, MethodOptions


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
    """The norm of the filters that make each unit, 1 being an average filter of its layer;
    (units,), float64.

    A filter is the slice of a convolution's or linear layer's weight that one output channel is
    made by; the layers that read the channel have no say (`magnitude_scores` asks them too). Li et
    al. compare filters of one layer only. So that layers can be compared, each norm is divided by
    the mean of its layer, which also takes out what a batch norm behind it undoes; a unit that
    several filters make (a residual sum, a grouped convolution) has the mean of theirs, and one
    that no weight makes by itself (a grouped transposed convolution's) counts as average. Filters
    are scored independently: inputs that go in the same cut still count.

    Args:
        model: its weights are read.
        graph: its channel groups.
        order: 1 for sums of magnitudes, 2 for Euclidean norms.

    Raises:
        ModelError: a weight is not a finite number.

    Source: Li et al., Pruning Filters for Efficient ConvNets (2016), section 3.1; the mean over
    what is tied is DepGraph's (Fang et al. 2023), who add the weights that read a channel.
    """
    weights = model.state_dict()
    made = {layer.out_axis for layer in graph.layers if layer.out_axis.tensor in weights}
    norms = {}
    for axis in made:
        norm = torch.linalg.vector_norm(
            weights[axis.tensor].abs().double().cpu().movedim(axis.dim, 0).flatten(1), order, 1
        )
        norms[axis] = norm / norm.mean().clamp_min(1e-300)
    parts = []
    for group in graph.groups:
        filters = [
            norms[part.axis][torch.tensor(part.index)] for part in group.slices if part.axis in made
        ]
        parts.append(
            torch.cat(filters, 1).mean(1)
            if filters
            else torch.ones(group.size, dtype=torch.float64)
        )
    return joined(parts)
