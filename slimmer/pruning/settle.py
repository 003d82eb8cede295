"""Which settled units may be removed before the budgets decide on all of them."""

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slimmer.costs import Budget
from slimmer.graph import ChannelGraph
from slimmer.pruning.limits import Limits
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan, make_plan
from slimmer.pruning.search import Search


def without_settled(
    plan: Plan,
    settled: Tensor,
    scores: Tensor,
    graph: ChannelGraph,
    budgets: Sequence[Budget],
    limits: Limits,
) -> Plan:
    """The plan without units that are `settled` (units,), as far as one of the budgets is not met
    before and at most just met after.

    Units are removed in the order of their `scores` (units,), the lowest first, in steps between
    widths that the search for widths may end with. So no group gets narrower than its minimum, and
    what is left can still be projected exactly into the budgets.
    """
    search = Search(scores, graph, budgets, limits, priced=False)
    search.widths = np.array(plan.widths, dtype=np.float64)
    alive = hard_mask(plan) > 0
    going = _sorted_units(alive & settled.cpu(), scores.detach().double().cpu(), graph.widths)
    kept = list(map(set, plan.keep))
    steps: list[tuple[float, int, int]] = []

    def next_step(group: int) -> None:
        """Add the group's next step to the steps, if enough of its units have settled."""
        units = int(search.widths[group] - search.down(group))
        if 0 < units <= len(going[group]):
            heapq.heappush(steps, (going[group][units - 1][0], group, units))

    for group in range(len(kept)):
        next_step(group)
    while steps:
        _, group, units = heapq.heappop(steps)
        narrower = search.widths.copy()
        narrower[group] -= units
        if search.excess(narrower).max() < 0:
            continue
        search.widths = narrower
        kept[group] -= {unit for _, unit in going[group][:units]}
        going[group] = going[group][units:]
        next_step(group)
    names = [group.name for group in graph.groups]
    return make_plan(graph, dict(zip(names, kept, strict=True)))


def alive_plan(graph: ChannelGraph, alive: Tensor) -> Plan:
    """The plan that keeps the units for which `alive` (units,) is true."""
    kept = {}
    for group, part in zip(graph.groups, alive.split(graph.widths), strict=True):
        kept[group.name] = part.nonzero().flatten().tolist()
    return make_plan(graph, kept)


def ranked_last(scores: Tensor, plan: Plan) -> Tensor:
    """The scores (units,), float64, in which every unit that `plan` removes ranks below every
    other.
    """
    alive = hard_mask(plan) > 0
    scores = scores.detach().double().cpu()
    least = scores[alive].min()
    next_lower = torch.nextafter(least, torch.full_like(least, -torch.inf))
    below = next_lower.minimum(least - torch.finfo(scores.dtype).tiny)
    return torch.where(alive, scores, below)


def _sorted_units(
    going: Tensor, scores: Tensor, sizes: Sequence[int]
) -> list[list[tuple[float, int]]]:
    """For each group, the scores and numbers of its units for which `going` is true, the lowest
    scores first.
    """
    found = []
    for part, values in zip(going.split(list(sizes)), scores.split(list(sizes)), strict=True):
        units = part.nonzero().flatten().tolist()
        found.append(sorted((float(values[unit]), unit) for unit in units))
    return found
