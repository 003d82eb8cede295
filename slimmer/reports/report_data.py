"""The parts of report.json that describe costs, and width attributes of the user's modules."""

from collections.abc import Sequence
from typing import Any

from slimmer.costs import Budget, Cost
from slimmer.graph import ChannelGraph, slim_width
from slimmer.pruning.plan import Plan
from slimmer.recipe.costs import COSTS


def cost_report(cost: Cost, plan: Plan, budgets: Sequence[Budget]) -> dict[str, Any]:
    """One cost of the dense and the slim network, the remaining share, sparsity and limit."""
    slim = cost.exact(plan.widths)
    limit, limit_ratio = None, None
    for budget in budgets:
        if budget.cost.name == cost.name:
            limit, limit_ratio = budget.limit, cost.share(budget.limit)
            break
    return {
        "convention": COSTS[cost.name].convention,
        "dense": cost.dense,
        "slim": slim,
        "ratio": cost.share(slim),
        "sparsity": 1 - cost.share(slim),
        "limit": limit,
        "limit_ratio": limit_ratio,
    }


def attribute_report(graph: ChannelGraph, plan: Plan) -> dict[str, Any]:
    """Width attributes of the user's modules after pruning, and equal parts that became unequal.

    `followed` are attributes that the plan updates. `stayed` are those that keep their value
    because what they may describe now has several widths (None: an unknown one).
    `unequal_splits` are splits with equal parts in the dense network and unequal ones in the slim.
    """
    numbers, gone = dict(plan.attributes), plan.gone
    followed, stayed = [], []
    for each in graph.attributes:
        slim, widths = numbers.get(f"{each.module}#{each.name}"), each.becomes(gone)
        if slim is not None:
            followed.append({"attribute": str(each), "dense": each.value, "slim": slim})
        elif widths != [each.value]:
            stayed.append({"attribute": str(each), "dense": each.value, "widths": widths})
    unequal = []
    for split in graph.splits:
        slim_sizes = []
        for size, way in zip(split.sizes, split.parts, strict=True):
            if way is not None:
                slim_sizes.append(slim_width(size, way, gone))
        if len(set(split.sizes)) == 1 and len(set(slim_sizes)) > 1:
            unequal.append(
                {"operation": split.operation, "dense": split.sizes[0], "slim": slim_sizes}
            )
    return {"followed": followed, "stayed": stayed, "unequal_splits": unequal}
