"""Find the channel groups that make a slim network fail: first in the failing module, then by
bisection.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from slimmer.graph import ChannelGraph, ChannelGroup, is_inside
from slimmer.pruning.plan import Plan, make_plan


@dataclass(frozen=True)
class Failure:
    """How a slim network fails, and the innermost module in which its call failed, if it did."""

    says: str
    inside: str = ""


FEW = 4  # groups of a module that are tested one by one
Check = Callable[[Plan], Failure | None]


def at_fault(
    graph: ChannelGraph,
    suspects: Sequence[ChannelGroup],
    kept_units: Callable[[int], range],
    differ: Check,
) -> dict[str, str]:
    """Groups among `suspects` that fail by themselves, and how; not all of them, but at least one
    if there is one.

    The groups in the failing module are tested first, one by one.
    """
    if not suspects:
        return {}
    kept = {group.name: kept_units(group.size) for group in suspects}
    plan = make_plan(graph, kept)
    fault = differ(plan)
    if fault is None:
        return {}
    if len(suspects) == 1:
        return {suspects[0].name: fault.says}
    for group in _near(suspects, fault.inside)[:FEW]:
        if alone := at_fault(graph, [group], kept_units, differ):
            return alone
    half = len(suspects) // 2
    found = at_fault(graph, suspects[:half], kept_units, differ)
    found |= at_fault(graph, suspects[half:], kept_units, differ)
    return found or {group.name: fault.says for group in suspects}  # they fail only together


def _near(suspects: Sequence[ChannelGroup], module: str) -> list[ChannelGroup]:
    """The groups in a module, or in the nearest module around it that has any, sorted by how much
    of them is in it.
    """
    while module:
        near = [group for group in suspects if _share(group, module)]
        if near:
            return sorted(near, key=partial(_share, module=module), reverse=True)
        module = module.rpartition(".")[0]
    return []


def _share(group: ChannelGroup, module: str) -> float:
    """The share of a group's slices that are in a module."""
    inside = [part for part in group.slices if is_inside(part.axis.tensor, module)]
    return len(inside) / len(group.slices)
