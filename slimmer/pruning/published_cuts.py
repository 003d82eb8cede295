"""Published cuts, instead of a budget: shares of layers, or one threshold for all channels."""

from collections.abc import Collection, Mapping

from torch import Tensor

from slimmer.graph import ChannelGraph
from slimmer.pruning.layer_patterns import groups_named
from slimmer.pruning.plan import Plan, make_plan


def shares_of_groups(graph: ChannelGraph, ratios: Mapping[str, float]) -> dict[str, float]:
    """The share to remove from each group that contains outputs of a layer matched in `ratios`.

    Later patterns win. Raises ModelError for a pattern that matches no layer, or no prunable layer.
    """
    shares: dict[str, float] = {}
    for pattern, share in ratios.items():
        shares |= dict.fromkeys(groups_named(graph, pattern, "method.ratios"), share)
    return shares


def cut_by_ratios(scores: Tensor, graph: ChannelGraph, ratios: Mapping[str, float]) -> Plan:
    """The plan that removes the given share of each group that `ratios` specifies by layer
    patterns, lowest scores first.

    The number of kept units is rounded down, as Li et al. do (they keep 14 of 16 filters at 10 %),
    but at least one is kept. Other groups are kept whole. Raises ModelError as `shares_of_groups`.

    Source: Li et al., Pruning Filters for Efficient ConvNets (2016), section 4.
    """
    shares = shares_of_groups(graph, ratios)
    kept = {}
    parts = scores.split(graph.widths)
    for group, part in zip(graph.groups, parts, strict=True):
        share = shares.get(group.name, 0.0)
        width = max(1, int(group.size * (1 - share) + 1e-9))  # 10 * (1 - 0.9) is below 1
        kept[group.name] = part.argsort(stable=True)[group.size - width :].tolist()
    return make_plan(graph, kept)


def cut_by_share(scores: Tensor, graph: ChannelGraph, share: float, among: Collection[str]) -> Plan:
    """The plan that removes about `share` of all units of the groups in `among`, by one threshold.

    The threshold is the score at position int(N share) among N units in ascending order; units with
    higher scores are kept. So one unit more is removed than the share says, and all with the same
    score. Every group keeps its best unit (the published code fails there); a share of 0 keeps all.
    Groups that are not in `among` are kept whole.

    Source: Liu et al., Network Slimming (2017), section 3, and
    github.com/Eric-mingjie/network-slimming.
    """
    by_group = scores.split(graph.widths)
    parts = {}
    values: list[float] = []
    for group, part in zip(graph.groups, by_group, strict=True):
        if group.name in among:
            parts[group.name] = part
            values += part.tolist()
    values.sort()
    if not values or share == 0:
        return make_plan(graph, {})
    threshold = values[min(int(len(values) * share), len(values) - 1)]
    kept = {}
    for name, part in parts.items():
        above = (part > threshold).nonzero().flatten().tolist()
        kept[name] = above or [int(part.argmax())]
    return make_plan(graph, kept)
