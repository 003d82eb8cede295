"""What every group's width has to respect, whatever its scores: the floors under the search for
widths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slimmer.graph import ChannelGraph, ChannelGroup

Floats = NDArray[np.float64]
Inside = Callable[[Floats], bool]
ROUNDED, ROUNDED_FROM = (
    8,
    64,
)  # where nothing is asked: a coarser cut costs little in wide groups, odd widths much
SPARED = 0.5  # of the even cut: what the other groups are left, however wide residual streams stay


@dataclass(frozen=True)
class Limits:
    """What every group's width has to respect.

    Multiples of `round_to` (None: of 8 in groups of 64 units or more, as far as floors let it);
    `stream` of a residual stream's width, less where the even cut of the other groups would fall
    below half of what it is without; `even` times what an even cut into the same budgets leaves of
    the group; and the units in `floors` for the groups named there.
    """

    round_to: int | None = 1
    stream: float = 0.0
    even: float = 0.0
    floors: Mapping[str, int] = field(default_factory=dict)


FREE = Limits()


def multiple_of(group: ChannelGroup, limits: Limits) -> int:
    """What the group's widths are multiples of, where they are neither its floor nor the whole
    group.
    """
    if limits.round_to is not None:
        return limits.round_to
    return ROUNDED if group.size >= ROUNDED_FROM else 1


def floor_of(group: ChannelGroup, limits: Limits) -> int:
    """The least width of a group that no budget changes: a multiple of the `round_to` asked for, or
    the whole group.
    """
    multiple = (
        limits.round_to or 1
    )  # a multiple that nobody asked for must put no budget out of reach
    least = -(-limits.floors.get(group.name, 1) // multiple) * multiple
    return min(group.size, least)


def floors_in(graph: ChannelGraph, limits: Limits, inside: Inside) -> Floats:
    """The least width of every group (groups,), where `inside` says whether widths meet the
    budgets.
    """
    sizes = np.array([group.size for group in graph.groups], dtype=np.float64)
    floors = np.array([floor_of(group, limits) for group in graph.groups], dtype=np.float64)
    multiples = np.array([multiple_of(group, limits) for group in graph.groups], dtype=np.float64)
    streams = np.array([group.name in graph.streams for group in graph.groups], dtype=bool)
    if limits.stream and streams.any():
        spared = SPARED * even_share(floors, sizes, inside)

        def raised(share: float) -> Floats:
            least = np.floor(share * limits.stream * sizes)
            return np.where(streams, np.maximum(floors, _rounded(least, sizes, multiples)), floors)

        def holds(share: float) -> bool:
            widths = raised(share)
            return inside(widths) and even_share(widths, sizes, inside) >= spared

        floors = raised(_largest(holds))
    if limits.even:
        share = even_share(floors, sizes, inside)
        least = np.minimum(np.ceil(limits.even * share * sizes), np.floor(share * sizes))
        floors = np.maximum(floors, _rounded(least, sizes, multiples))
    return floors


def _rounded(widths: Floats, sizes: Floats, multiples: Floats) -> Floats:
    """The widths (groups,), down to their multiples; a whole group stays whole."""
    return widths - np.where(widths < sizes, widths % multiples, 0)


def even_share(floors: Floats, sizes: Floats, inside: Inside) -> float:
    """The share that the even cut that just meets the budgets leaves of every group, none below its
    floor.
    """
    return _largest(lambda share: inside(np.maximum(floors, np.floor(share * sizes))))


def _largest(holds: Callable[[float], bool]) -> float:
    """The largest share for which `holds`, or 0; what holds for one holds for all smaller ones."""
    if holds(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2
        low, high = (share, high) if holds(share) else (low, share)
    return low
