"""Collect tied labels into channel groups: units with equally many positions on the same axes form
a group.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slimmer.graph.channels import (
    Axis,
    ChannelGraph,
    ChannelGroup,
    ChannelSlice,
    Fixed,
    Layer,
    Operation,
    Split,
    Width,
)
from slimmer.graph.labels import distinct
from slimmer.graph.walk import Walk


def collect(walk: Walk) -> ChannelGraph:
    """The channel graph of a finished walk."""
    component = walk.book.components()
    reasons: dict[int, str] = {}
    for label, reason in sorted(walk.book.reasons.items()):
        reasons.setdefault(int(component[label]), reason)
    axes = {axis: component[labels.numpy()] for axis, labels in walk.axes.items()}
    groups = _groups(axes, frozenset(reasons))
    return ChannelGraph(
        groups=groups,
        layers=_layers(walk),
        fixed=_fixed(walk, axes, reasons),
        operations=_operations(walk),
        sizes=tuple((axis, len(units)) for axis, units in axes.items()),
        streams=_streams(walk, component, axes, groups),
        splits=_splits(walk, component, axes, groups),
    )


def _splits(
    walk: Walk,
    component: np.ndarray,
    axes: dict[Axis, np.ndarray],
    groups: tuple[ChannelGroup, ...],
) -> tuple[Split, ...]:
    """The splits of channels in the code, each once, if any of their channels can be pruned."""
    if not walk.splits:
        return ()
    group_of: dict[int, ChannelGroup] = {}
    for group in groups:
        part = group.slices[0]
        places = [place[0] for place in part.index]
        group_of |= dict.fromkeys(axes[part.axis][places].tolist(), group)
    found: dict[Split, None] = {}
    for module, operation, parts in walk.splits:
        ways = tuple(_way(component[part.numpy()], group_of) for part in parts)
        found[Split(module, operation, tuple(map(len, parts)), ways)] = None
    return tuple(split for split in found if set(split.parts) - {()})


def _way(units: np.ndarray, group_of: dict[int, ChannelGroup]) -> Width | None:
    """The groups in a part of `units`; None if it holds only some units of a group, or not all of
    them equally often.
    """
    places = Counter(units.tolist())
    times: dict[str, list[int]] = {}
    sizes = {}
    for unit, number in places.items():
        if unit in group_of:
            group = group_of[unit]
            times.setdefault(group.name, []).append(number)
            sizes[group.name] = group.size
    way = []
    for name, of in times.items():
        if len(of) < sizes[name] or len(set(of)) > 1:
            return None
        way.append((name, of[0]))
    return tuple(way)


def _streams(
    walk: Walk,
    component: np.ndarray,
    axes: dict[Axis, np.ndarray],
    groups: tuple[ChannelGroup, ...],
) -> frozenset[str]:
    """The groups whose activations were added to one another."""
    summed: set[int] = set()
    for labels in walk.summed:
        summed.update(component[distinct(labels)].tolist())
    streams = set()
    for group in groups:
        part = group.slices[0]
        first = part.index[0][0]
        if int(axes[part.axis][first]) in summed:
            streams.add(group.name)
    return frozenset(streams)


def _layers(walk: Walk) -> tuple[Layer, ...]:
    """The layers, each once; a weight that two kinds of layers read is a layer of each kind."""
    layers = {(layer.name, layer.out_axis, layer.in_axis): layer for layer in walk.layers}
    return tuple(layers.values())


def _operations(walk: Walk) -> tuple[Operation, ...]:
    """The counted operations; the calls of a module with the same axes are added up."""
    volumes: dict[Operation, int] = {}
    for operation in walk.operations:
        alike = replace(operation, volume=0)
        volumes[alike] = volumes.get(alike, 0) + operation.volume
    found = []
    for operation, total in volumes.items():
        found.append(replace(operation, volume=total))
    return tuple(found)


def _groups(axes: dict[Axis, np.ndarray], fixed: frozenset[int]) -> tuple[ChannelGroup, ...]:
    """The groups, in the order in which the program meets their units.

    The table has a row for each position of each axis. After sorting, the rows of a unit are next
    to one another, axis by axis.
    """
    order, sizes = list(axes), list(map(len, axes.values()))
    none = np.zeros(0, dtype=np.int64)
    unit = np.concatenate([none, *axes.values()])
    axis = np.repeat(np.arange(len(order)), sizes)
    position = np.concatenate([none, *map(np.arange, sizes)])
    free = ~np.isin(unit, np.fromiter(fixed, dtype=np.int64, count=len(fixed)))
    unit, axis, position = unit[free], axis[free], position[free]
    by_unit = np.argsort(unit, kind="stable")
    axis, position = axis[by_unit], position[by_unit]
    _, first, lengths = np.unique(unit, return_index=True, return_counts=True)
    starts = np.cumsum(lengths) - lengths
    alike: dict[bytes, list[int]] = {}
    for number in np.argsort(first, kind="stable").tolist():
        touched = axis[starts[number] : starts[number] + lengths[number]]
        alike.setdefault(touched.tobytes(), []).append(number)
    names: dict[str, int] = {}
    groups = []
    for key, numbers in alike.items():
        touched = np.frombuffer(key, dtype=axis.dtype)
        rows = position[starts[numbers][:, None] + np.arange(len(touched))]
        _, begins = np.unique(touched, return_index=True)
        slices = []
        for begin, part in zip(begins.tolist(), np.split(rows, begins[1:], axis=1), strict=True):
            index = tuple(map(tuple, part.tolist()))
            slices.append(ChannelSlice(order[touched[begin]], index))
        groups.append(ChannelGroup(_name(slices, names), len(numbers), tuple(slices)))
    return tuple(groups)


def _name(slices: Sequence[ChannelSlice], taken: dict[str, int]) -> str:
    """The name of the first layer that a group's channels belong to; the second group of that layer
    is called layer#2.
    """
    first = slices[0].axis.tensor
    for part in slices:
        if not part.axis.tensor.startswith("@"):
            first = part.axis.tensor
            break
    holder, _, parametrised = first.partition(".parametrizations.")
    base = holder if parametrised else first.rpartition(".")[0] or first
    taken[base] = taken.get(base, 0) + 1
    return base if taken[base] == 1 else f"{base}#{taken[base]}"


def _fixed(walk: Walk, axes: dict[Axis, np.ndarray], reasons: dict[int, str]) -> tuple[Fixed, ...]:
    """The output channels of every layer that are not pruned, one row for each reason."""
    rows = []
    for layer in _layers(walk):
        units = axes[layer.out_axis]
        counted: dict[str, int] = {}
        for unit in units.tolist():
            if unit in reasons:
                counted[reasons[unit]] = counted.get(reasons[unit], 0) + 1
        for reason, number in counted.items():
            rows.append(Fixed(layer.name, number, len(units), reason))
    return tuple(rows)
