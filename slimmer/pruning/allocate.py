"""Scores, costs and budgets into a plan that is inside every budget."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from slimmer.costs import Budget, Cost
from slimmer.errors import BudgetError
from slimmer.graph import ChannelGraph
from slimmer.pruning.limits import FREE, Limits, floor_of
from slimmer.pruning.plan import Plan, make_plan
from slimmer.pruning.search import TOLERANCE, Search

__all__ = ["Limits", "allocate", "check_reachable", "reachable"]


def reachable(cost: Cost, graph: ChannelGraph, limits: Limits = FREE) -> tuple[int, int]:
    """The least and the most that a plan can cost: every group at its floor, and the dense network."""
    return cost.exact([floor_of(group, limits) for group in graph.groups]), cost.dense


def check_reachable(
    budgets: Sequence[Budget],
    graph: ChannelGraph,
    limits: Limits = FREE,
    settings: Sequence[str] = (),
) -> None:
    """Raise BudgetError, with the reachable range of every budget, where one of them can't be met.

    `settings` are those that narrow the range, which are named.
    """
    ranges = [(budget, *reachable(budget.cost, graph, limits)) for budget in budgets]
    if all(least <= budget.limit for budget, least, _ in ranges):
        return
    asked = " and ".join(
        f"{b.cost.name} at most {b.limit:,.0f} ({b.ratio:.1%} of dense)" for b in budgets
    )
    reach = "; ".join(
        f"{b.cost.name} {least:,} to {most:,} ({least / most:.1%} to 100 %)"
        for b, least, most in ranges
    )
    held = (
        f", with {', '.join(settings)}"
        if settings
        else "; `slimmer inspect` shows why the rest can't be pruned"
    )
    raise BudgetError("budget", f"{asked} can't be met", f"reachable: {reach}{held}")


def allocate(
    scores: Tensor,
    graph: ChannelGraph,
    budgets: Sequence[Budget],
    limits: Limits = FREE,
    *,
    priced: bool = True,
) -> Plan:
    """The plan that keeps the units with the highest scores inside every budget.

    Units go one after the other, the one with the least score for what it costs first (for what one
    unit of its group costs at the widths of that moment, summed over the budgets not yet met, each
    as a share of dense); then units come back, the most valuable first, as long as they fit.
    Residual streams that have to stay give way where the plan would lie further below the budgets
    for it.

    Args:
        scores: (units,), in the order of the graph's groups.
        graph: the channel groups.
        budgets: at least one; each is met by the plan.
        limits: floors and multiples of widths.
        priced: False compares bare scores, whatever a unit costs.

    Raises:
        BudgetError: the budgets can't be met, with the reachable range of each.
    """
    check_reachable(budgets, graph, limits)
    search = _searched(scores, graph, budgets, limits, priced=priced)
    if limits.stream and graph.streams and search.gap() > TOLERANCE:
        freer = _searched(scores, graph, budgets, replace(limits, stream=0.0), priced=priced)
        search = min(search, freer, key=Search.gap)
    kept = {
        group.name: np.sort(order[group.size - width :]).tolist()
        for group, order, width in zip(
            graph.groups, search.orders, search.widths.astype(int).tolist(), strict=True
        )
    }
    return make_plan(graph, kept)


def _searched(
    scores: Tensor, graph: ChannelGraph, budgets: Sequence[Budget], limits: Limits, *, priced: bool
) -> Search:
    search = Search(scores, graph, budgets, limits, priced=priced)
    search.shrink_()
    search.fill_()
    search.exchange_()
    search.regain_()
    return search
