"""Compose two successive plans into one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from slimmer.graph import Axis, ChannelGroup, ChannelSlice
from slimmer.pruning.plan import Plan

Held = tuple[Axis, tuple[int, ...]]
"""The positions of a unit on an axis."""


def compose(first: Plan, second: Plan) -> Plan:
    """The plan that removes what `first` removes and then `second`, a plan of the network that
    `first` left.

    A group of `second` that is the rest of a group of `first` narrows that group; it may lack axes
    of layers that `first` removed. Any other becomes a group of its own, with its positions in the
    unpruned network.

    >>> from slimmer.graph import Axis, ChannelGroup, ChannelSlice
    >>> def one(size):
    ...     index = tuple((n,) for n in range(size))
    ...     return (ChannelGroup("a", size, (ChannelSlice(Axis("w", 0), index),)),)
    >>> compose(Plan(one(5), ((0, 2, 3),)), Plan(one(3), ((1, 2),))).keep
    ((2, 3),)
    """
    gone = first.removed()
    units: dict[Held, tuple[int, int]] = {}
    for place, group in enumerate(first.groups):
        for unit in first.keep[place]:
            units |= dict.fromkeys(_held(group, unit), (place, unit))
    groups, keep = list(first.groups), list(map(set, first.keep))
    for group, kept in zip(second.groups, second.keep, strict=True):
        moved = _moved(group, gone)
        held = [_one_of(units, _held(moved, unit)) for unit in range(group.size)]
        if None in held:
            groups.append(replace(moved, name=_free(group.name, groups)))
            keep.append(set(kept))
            continue
        for unit in set(range(group.size)).difference(kept):
            place, own = held[unit] or (0, 0)
            keep[place].discard(own)
    attributes = {**dict(first.attributes), **dict(second.attributes)}
    return Plan(
        tuple(groups),
        tuple(map(tuple, map(sorted, keep))),
        tuple(sorted(attributes.items())),
    )


def _held(group: ChannelGroup, unit: int) -> list[Held]:
    """The positions of a group's unit on every axis of a tensor or attribute."""
    own = [part for part in group.slices if not part.axis.tensor.startswith("@")]
    return [(part.axis, part.index[unit]) for part in own]


def _one_of(units: Mapping[Held, tuple[int, int]], held: Sequence[Held]) -> tuple[int, int] | None:
    """The place and unit of the first plan that all these positions belong to; None if there is no
    such one.
    """
    found = {units.get(each) for each in held}
    return found.pop() if len(found) == 1 else None


def _moved(group: ChannelGroup, gone: Mapping[Axis, Sequence[int]]) -> ChannelGroup:
    """A group of a pruned network, with its positions in the unpruned one, of which `gone` were
    removed.
    """
    slices = []
    for part in group.slices:
        out = set(gone.get(part.axis, ()))
        size = 1 + max(chain.from_iterable(part.index)) + len(out)
        stay = [position for position in range(size) if position not in out]
        index = []
        for positions in part.index:
            index.append(tuple(map(stay.__getitem__, positions)))
        slices.append(ChannelSlice(part.axis, tuple(index)))
    return replace(group, slices=tuple(slices))


def _free(name: str, groups: Sequence[ChannelGroup]) -> str:
    """The name; with a number if a group already has it."""
    taken = {group.name for group in groups}
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
