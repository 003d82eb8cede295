"""Labels, ties and fixes into channel groups: units that touch the same axes in the same measure form a group."""

import numpy as np

from slimmer.graph.channels import Axis, ChannelGraph, ChannelGroup, ChannelSlice, Fixed
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
        layers=tuple({layer.name: layer for layer in walk.layers}.values()),
        fixed=_fixed(walk, axes, reasons),
        operations=tuple(dict.fromkeys(walk.operations)),
        sizes=tuple((axis, len(units)) for axis, units in axes.items()),
    )


def _groups(axes: dict[Axis, np.ndarray], fixed: frozenset[int]) -> tuple[ChannelGroup, ...]:
    order = list(axes)
    positions: dict[int, dict[int, list[int]]] = {}  # unit -> axis number -> positions
    for number, axis in enumerate(order):
        for position, unit in enumerate(axes[axis].tolist()):
            if unit not in fixed:
                positions.setdefault(unit, {}).setdefault(number, []).append(position)
    alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for unit, touched in positions.items():
        alike.setdefault(tuple((number, len(where)) for number, where in touched.items()), []).append(unit)
    names: dict[str, int] = {}
    groups = []
    for signature, units in alike.items():
        slices = tuple(
            ChannelSlice(order[number], tuple(tuple(positions[unit][number]) for unit in units))
            for number, _ in signature
        )
        groups.append(ChannelGroup(_name(slices, names), len(units), slices))
    return tuple(groups)


def _name(slices: tuple[ChannelSlice, ...], taken: dict[str, int]) -> str:
    """The first layer that a group's channels belong to; a second group of that layer is called layer#2."""
    stored = [part.axis.tensor for part in slices if not part.axis.tensor.startswith("@")]
    base = (stored or [slices[0].axis.tensor])[0].rpartition(".")[0] or slices[0].axis.tensor
    taken[base] = taken.get(base, 0) + 1
    return base if taken[base] == 1 else f"{base}#{taken[base]}"


def _fixed(walk: Walk, axes: dict[Axis, np.ndarray], reasons: dict[int, str]) -> tuple[Fixed, ...]:
    """For each layer the channels of its output that stay, a row a reason."""
    rows = []
    for layer in {layer.name: layer for layer in walk.layers}.values():
        units = axes[layer.out_axis]
        counted: dict[str, int] = {}
        for unit in units.tolist():
            if unit in reasons:
                counted[reasons[unit]] = counted.get(reasons[unit], 0) + 1
        rows += [Fixed(layer.name, number, len(units), reason) for reason, number in counted.items()]
    return tuple(rows)
