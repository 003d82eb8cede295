"""The widths of the networks that are measured for a fit."""

from collections.abc import Sequence

import numpy as np

from slimmer.graph import ChannelGraph

NETWORKS = 15  # networks that are measured, with the dense and the narrowest one
WHOLE = 0.15  # the probability that a group keeps its full width


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
