"""Which channel groups are at fault where a slim network fails: those of the module that fails,
else by halving.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slimmer.graph import ChannelGraph, ChannelGroup, is_inside
from slimmer.pruning.plan import Plan, make_plan


@dataclass(frozen=True)
class Failure:
    """How a slim network fails, and the innermost module that it failed in, where it did not run
    through.
    """

    says: str
    inside: str = ""


FEW = 4  # groups of a module that are tried one by one
Check = Callable[[Plan], Failure | None]


def at_fault(
    graph: ChannelGraph,
    suspects: Sequence[ChannelGroup],
    kept_units: Callable[[int], range],
    differ: Check,
) -> dict[str, str]:
    """Groups among `suspects` that fail by themselves, with how they fail; not all of them, but one
    if there are any.

    Those in the module that the slim network fails in are tried first, one by one.
    """
    if not suspects:
        return {}
    plan = make_plan(graph, {group.name: kept_units(group.size) for group in suspects})
    fault = differ(plan)
    if fault is None:
        return {}
    if len(suspects) == 1:
        return {suspects[0].name: fault.says}
    for group in _near(suspects, fault.inside)[:FEW]:
        if alone := at_fault(graph, [group], kept_units, differ):
            return alone
    half = len(suspects) // 2
    parts = (
        at_fault(graph, part, kept_units, differ) for part in (suspects[:half], suspects[half:])
    )
    found = {name: reason for part in parts for name, reason in part.items()}
    return found or {group.name: fault.says for group in suspects}  # they fail only together


def _near(suspects: Sequence[ChannelGroup], module: str) -> list[ChannelGroup]:
    """The groups that lie in a module, or in the nearest around it that has any: those that lie in
    it alone first.
    """
    while module:
        inside = [_share(group, module) for group in suspects]
        if any(inside):
            near = [(share, group) for share, group in zip(inside, suspects, strict=True) if share]
            return [group for _, group in sorted(near, key=lambda pair: -pair[0])]
        module = module.rpartition(".")[0]
    return []


def _share(group: ChannelGroup, module: str) -> float:
    """How much of what a group touches lies in a module."""
    return sum(is_inside(part.axis.tensor, module) for part in group.slices) / len(group.slices)
