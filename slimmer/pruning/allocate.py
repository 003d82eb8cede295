"""Turn scores, costs and budgets into a plan that meets every budget."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from slimmer.costs import Budget, Cost
from slimmer.errors import BudgetError
from slimmer.graph import ChannelGraph
from slimmer.pruning.limits import FREE, Limits, floor_of
from slimmer.pruning.plan import Plan, make_plan
from slimmer.pruning.search import TOLERANCE, Search
from slimmer.recipe.costs import COSTS

__all__ = ["Limits", "allocate", "check_reachable", "reachable"]


def reachable(cost: Cost, graph: ChannelGraph, limits: Limits = FREE) -> tuple[int, int]:
    """The least and the greatest cost of a plan: every group at its minimum width, and the dense
    network.
    """
    return cost.exact([floor_of(group, limits) for group in graph.groups]), cost.dense


def check_reachable(
    budgets: Sequence[Budget],
    graph: ChannelGraph,
    limits: Limits = FREE,
    settings: Sequence[str] = (),
) -> None:
    """Raise BudgetError, with the reachable range of every budget, if one of them can't be met.

    `settings` are the names of the settings that narrow the range, for the message.
    """
    ranges = [(budget, *reachable(budget.cost, graph, limits)) for budget in budgets]
    if all(least <= budget.limit for budget, least, _ in ranges):
        return
    asked, reach = [], []
    for budget, least, most in ranges:
        name, limit = budget.cost.name, _said(budget.cost, budget.limit)
        asked.append(f"{name} at most {limit} ({budget.ratio:.1%} of dense)")
        span = f"{_said(budget.cost, least)} to {_said(budget.cost, most)}"
        reach.append(f"{name} {span} ({least / most:.1%} to 100 %)")
    held = "; `slimmer inspect` shows why the rest can't be pruned"
    if settings:
        held = f", with {', '.join(settings)}"
    found = f"{' and '.join(asked)} can't be met"
    raise BudgetError("budget", found, f"reachable: {'; '.join(reach)}{held}")


def _said(cost: Cost, value: float) -> str:
    """A value as its cost is shown; costs without an entry are counts."""
    if cost.name in COSTS and not COSTS[cost.name].exact:
        return COSTS[cost.name].short(value)
    return f"{value:,.0f}"


def allocate(
    scores: Tensor,
    graph: ChannelGraph,
    budgets: Sequence[Budget],
    limits: Limits = FREE,
    *,
    priced: bool = True,
    guide: Cost | None = None,
) -> Plan:
    """The plan that keeps the units with the highest scores inside every budget.

    Units are removed one by one, the one with the lowest score per cost first. Its cost is that of
    one unit of its group at the current widths, summed over the budgets that are not met yet, each
    relative to the dense cost. Then units are added back, the most valuable first, as long as they
    fit. If keeping residual streams wide would leave the plan further below the budgets, they are
    not kept wide.

    Args:
        scores: (units,), in the order of the graph's groups.
        graph: the channel groups.
        budgets: at least one; each is met by the plan.
        limits: minimum widths and multiples of widths.
        priced: False compares the scores alone, regardless of costs.
        guide: the cost by which units are priced while they are removed, in place of the budgets';
            without effect if `priced` is False.

    Raises:
        BudgetError: the budgets can't be met; the message has the reachable range of each.
    """
    check_reachable(budgets, graph, limits)
    searched = partial(_searched, scores, graph, budgets, priced=priced, guide=guide)
    search = searched(limits)
    if limits.stream and graph.streams and search.gap() > TOLERANCE:
        freer = searched(replace(limits, stream=0.0))
        search = min(search, freer, key=Search.gap)
    kept = {}
    widths = search.widths.astype(int).tolist()
    for group, order, width in zip(graph.groups, search.orders, widths, strict=True):
        kept[group.name] = np.sort(order[group.size - width :]).tolist()
    return make_plan(graph, kept)


def _searched(
    scores: Tensor,
    graph: ChannelGraph,
    budgets: Sequence[Budget],
    limits: Limits,
    *,
    priced: bool,
    guide: Cost | None,
) -> Search:
    search = Search(scores, graph, budgets, limits, priced=priced, guide=guide)
    search.shrink_()
    search.fill_()
    search.exchange_()
    search.regain_()
    return search
