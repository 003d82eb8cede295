"""Limits on the widths of groups, independent of scores: minimum widths and multiples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slimmer.graph import ChannelGraph, ChannelGroup

Floats = NDArray[np.float64]
Inside = Callable[[Floats], bool]
# The default: multiples of 8 in groups of 64 or more, where coarse steps cost little accuracy and
# other widths cost much speed.
ROUNDED, ROUNDED_FROM = 8, 64
SPARED = 0.5  # of uniform pruning: what other groups keep, however wide residual streams stay


@dataclass(frozen=True)
class Limits:
    """Limits on the width of every group.

    Args:
        round_to: widths are multiples of this; None: of 8 in groups of 64 units or more, as far as
            minimum widths allow.
        stream: minimum width of residual streams, relative to dense; lower if uniform pruning of
            the other groups would keep less than half of what it keeps without this limit.
        even: minimum width of every group, relative to uniform pruning into the same budgets.
        floors: minimum number of units, by group.
        narrow: minimum widths are multiples of this, below the smallest multiple of `round_to`;
            `round_to` itself by default.
        gone: groups that are removed whole.
        most: maximum number of units, by group; the units with the lowest scores beyond it are
            removed in any case.
    """

    round_to: int | None = 1
    stream: float = 0.0
    even: float = 0.0
    floors: Mapping[str, int] = field(default_factory=dict)
    narrow: int | None = None
    gone: frozenset[str] = frozenset()
    most: Mapping[str, int] = field(default_factory=dict)


FREE = Limits()


def multiple_of(group: ChannelGroup, limits: Limits) -> int:
    """The number of which a group's widths are multiples, except its minimum and its full width."""
    if limits.round_to is not None:
        return limits.round_to
    return ROUNDED if group.size >= ROUNDED_FROM else 1


def floor_of(group: ChannelGroup, limits: Limits) -> int:
    """The minimum width of a group, independent of budgets: a multiple of the given `round_to`, or
    the whole group; 0 if the group is removed whole.
    """
    if group.name in limits.gone:
        return 0
    multiple = (
        limits.narrow or limits.round_to or 1
    )  # the default multiple must not make a budget unreachable
    least = -(-limits.floors.get(group.name, 1) // multiple) * multiple
    return min(group.size, least)


def sizes_in(graph: ChannelGraph, limits: Limits) -> Floats:
    """The maximum width of every group, (groups,): `most`, or its size; 0 if it is removed
    whole.
    """
    whole = [limits.most.get(group.name, group.size) for group in graph.groups]
    gone = [group.name in limits.gone for group in graph.groups]
    sizes = np.where(gone, 0, whole)
    return np.array(sizes, dtype=np.float64)


def floors_in(graph: ChannelGraph, limits: Limits, inside: Inside) -> Floats:
    """The minimum width of every group, (groups,); `inside` says whether widths meet the
    budgets.
    """
    sizes = sizes_in(graph, limits)
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
    """The widths (groups,), rounded down to multiples; a full width stays."""
    return widths - np.where(widths < sizes, widths % multiples, 0)


def even_share(floors: Floats, sizes: Floats, inside: Inside) -> float:
    """The share of every group that uniform pruning keeps when it just meets the budgets, with no
    group below its minimum.
    """
    return _largest(lambda share: inside(np.maximum(floors, np.floor(share * sizes))))


def _largest(holds: Callable[[float], bool]) -> float:
    """The largest share for which `holds` is true, or 0; it must be true for all smaller shares
    too.
    """
    if holds(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2
        if holds(share):
            low = share
        else:
            high = share
    return low
