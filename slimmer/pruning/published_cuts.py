"""Cuts as papers print them, in place of a budget: shares of layers, or one threshold for all
channels.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from slimmer.graph import ChannelGraph
from slimmer.pruning.layer_patterns import groups_named
from slimmer.pruning.plan import Plan, make_plan


def shares_of_groups(graph: ChannelGraph, ratios: Mapping[str, float]) -> dict[str, float]:
    """The share that goes of each group that a pattern in `ratios` names by a layer whose output is
    part of it.

    Later patterns win. Raises ModelError for a pattern that names no layer, or none whose channels
    can go.
    """
    shares: dict[str, float] = {}
    for pattern, share in ratios.items():
        shares |= {group.name: share for group in groups_named(graph, pattern, "method.ratios")}
    return shares


def cut_by_ratios(scores: Tensor, graph: ChannelGraph, ratios: Mapping[str, float]) -> Plan:
    """The plan that takes the given share off each group that `ratios` names by layer patterns,
    least scores first.

    What stays is rounded down, as Li et al. do (their 10 % off 16 filters leaves 14), but at least
    one unit. Groups that are not named stay whole. Raises ModelError as `shares_of_groups`.

    Source: Li et al., Pruning Filters for Efficient ConvNets (2016), section 4.
    """
    shares = shares_of_groups(graph, ratios)
    kept = {}
    parts = scores.split([group.size for group in graph.groups])
    for group, part in zip(graph.groups, parts, strict=True):
        width = max(
            1, int(group.size * (1 - shares.get(group.name, 0.0)) + 1e-9)
        )  # 10 * (1 - 0.9) is below 1
        kept[group.name] = part.argsort(stable=True)[group.size - width :].tolist()
    return make_plan(graph, kept)


def cut_by_share(scores: Tensor, graph: ChannelGraph, share: float, among: Collection[str]) -> Plan:
    """The plan that takes about `share` of all units of the groups called in `among`, by one
    threshold.

    Of N units in ascending order the one at place int(N share) is the threshold, and units stay
    that score more: so one more goes than the share says, and all that score the same. A group
    keeps its best unit in any case (the published code fails there); a share of 0 keeps all. Groups
    that are not in `among` stay whole.

    Source: Liu et al., Network Slimming (2017), section 3, and
    github.com/Eric-mingjie/network-slimming.
    """
    parts = dict(
        zip(
            [g.name for g in graph.groups],
            scores.split([g.size for g in graph.groups]),
            strict=True,
        )
    )
    values = sorted(
        value for name, part in parts.items() if name in among for value in part.tolist()
    )
    if not values or share == 0:
        return make_plan(graph, {})
    threshold = values[min(int(len(values) * share), len(values) - 1)]
    kept = {
        name: (part > threshold).nonzero().flatten().tolist() or [int(part.argmax())]
        for name, part in parts.items()
        if name in among
    }
    return make_plan(graph, kept)
