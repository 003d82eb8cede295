"""The widths of the networks that are measured for a fit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slimmer.graph import ChannelGraph
from slimmer.profiling.runtimes.environment import environment
from slimmer.profiling.widths import preferred
from slimmer.pruning.layer_patterns import group_floors
from slimmer.pruning.limits import Limits, floor_of
from slimmer.recipe.budget import BudgetSection

NARROW = 8  # channels that a group may keep although kernels take larger multiples
NETWORKS = 15  # networks that are measured, with the dense and the narrowest one
WHOLE = 0.15  # the probability that a group keeps its full width


def limits_of(graph: ChannelGraph, budget: BudgetSection, multiple: int) -> Limits:
    """The limits on widths in steps of `multiple`: what kernels take, or the budget's `round_to`.

    Kernels for fewer channels than a block are allowed too.
    """
    floors = group_floors(graph, budget.min_width, budget.max_sparsity)
    narrow = min(NARROW, multiple) if budget.round_to is None else None
    return Limits(multiple, floors=floors, narrow=narrow)


def narrowest(graph: ChannelGraph, limits: Limits) -> list[int]:
    """The smallest widths (groups,) inside the limits."""
    return [floor_of(group, limits) for group in graph.groups]


def smallest(graph: ChannelGraph, limits: Limits) -> list[int]:
    """The narrowest widths (groups,) without all branches that can be removed."""
    return narrowest(graph, replace(limits, gone=graph.removable))


def multiple_for(budget: BudgetSection) -> int:
    """The multiple of widths that kernels take, or the budget's `round_to`."""
    if budget.round_to is not None:
        return budget.round_to
    return preferred(budget.timing.provider, environment()["cpu_vector_floats"])


def sampled(
    graph: ChannelGraph, multiple: int, floors: Sequence[int], number: int = NETWORKS, seed: int = 0
) -> list[list[int]]:
    """The widths (groups,) of `number` networks: dense, narrowest, and random ones in between.

    Widths are multiples of `multiple`, except full widths and `floors`. Half of the networks have
    groups of about the same share, as uniform pruning gives; in the others every group is
    independent, so that the layers' times can be told apart.
    """
    draw = np.random.default_rng(seed)
    sizes = [group.size for group in graph.groups]
    found = [sizes, [min(floor, size) for floor, size in zip(floors, sizes, strict=True)]]
    while len(found) < number:
        share, spread = draw.uniform(0.2, 0.9), 1.0
        if len(found) % 2:
            spread = 0.2
        low, high = max(0.0, share - spread), min(1.0, share + spread)
        widths = []
        for size, floor in zip(sizes, floors, strict=True):
            width = round(draw.uniform(low, high) * size / multiple) * multiple
            if draw.uniform() < WHOLE:
                width = size
            widths.append(min(size, max(width, floor, 1)))
        found.append(widths)
    return found
