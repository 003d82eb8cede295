"""What the user says of layers by pattern: which stay whole, which alone may go, how narrow a group
may get.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from fnmatch import fnmatchcase
from math import ceil
from typing import TypeVar

from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph, ChannelGroup, Fixed, Layer

Number = TypeVar("Number", int, float)


def is_named(layer: str, pattern: str) -> bool:
    """Whether `pattern` names a layer, by its own path or by that of a module that holds it.

    >>> is_named("layer4.0.conv1", "layer4"), is_named("layer4.0.conv1", "*.conv?"), is_named("layer4.0.conv1", "conv1")
    (True, True, False)
    """
    return fnmatchcase(layer, pattern) or fnmatchcase(layer, f"{pattern}.*")


def layers_named(graph: ChannelGraph, pattern: str, where: str) -> list[Layer]:
    """The layers that `pattern` names. Raises ModelError, naming the setting `where`, if there is
    none.
    """
    found = [layer for layer in graph.layers if is_named(layer.name, pattern)]
    if not found:
        raise ModelError(f"{where} {pattern!r}", "matches no layer", "see `slimmer inspect`")
    return found


def groups_named(graph: ChannelGraph, pattern: str, where: str) -> list[ChannelGroup]:
    """The groups that hold outputs of the layers that `pattern` names. Raises ModelError where no
    channel can go.
    """
    axes = {layer.out_axis for layer in layers_named(graph, pattern, where)}
    found = [group for group in graph.groups if any(part.axis in axes for part in group.slices)]
    if not found:
        right = "see `slimmer inspect` for the reasons"
        raise ModelError(f"{where} {pattern!r}", "matches only layers that can't be pruned", right)
    return found


def keep_layers(graph: ChannelGraph, keep: Iterable[str], only: Iterable[str] = ()) -> ChannelGraph:
    """The graph without the groups that touch outputs of a layer named in `keep`, or of one not
    named in `only`.

    An empty `only` leaves all to be pruned. Raises ModelError for a pattern that names no layer.
    """
    for pattern in keep:
        named = {layer.name for layer in layers_named(graph, pattern, "model.keep")}
        graph = _hold(graph, named, f"kept by {pattern!r}")
    asked = {pattern: layers_named(graph, pattern, "model.only") for pattern in only}
    if not asked:
        return graph
    inside = {layer.name for layers in asked.values() for layer in layers}
    outside = {layer.name for layer in graph.layers}.difference(inside)
    return _hold(graph, outside, f"not selected by {' or '.join(map(repr, asked))}")


def group_floors(
    graph: ChannelGraph,
    min_width: int | Mapping[str, int],
    max_sparsity: float | Mapping[str, float],
) -> dict[str, int]:
    """The least width of every group, by its name.

    Both are numbers for all groups or numbers by layer pattern, of which later ones win.
    `max_sparsity` is the largest share of a group's channels that may go. Raises ModelError for a
    pattern that names no layer whose channels can go.
    """
    widths = dict.fromkeys((group.name for group in graph.groups), 1)
    shares = dict.fromkeys(widths, 1.0)
    for pattern, width in _by_pattern(min_width).items():
        named = (
            graph.groups if pattern is None else groups_named(graph, pattern, "budget.min_width")
        )
        widths |= {group.name: width for group in named}
    for pattern, share in _by_pattern(max_sparsity).items():
        named = (
            graph.groups if pattern is None else groups_named(graph, pattern, "budget.max_sparsity")
        )
        shares |= {group.name: share for group in named}
    # less a grain, since 10 * (1 - 0.9) is above 1
    least = {
        group.name: ceil(group.size * (1 - shares[group.name]) - 1e-9) for group in graph.groups
    }
    return {
        group.name: min(group.size, max(1, widths[group.name], least[group.name]))
        for group in graph.groups
    }


def _by_pattern(value: Number | Mapping[str, Number]) -> dict[str | None, Number]:
    """A number for all groups under None."""
    if isinstance(value, Mapping):
        return {pattern: each for pattern, each in value.items()}  # noqa: C416 - a key may be None
    return {None: value}


def _hold(graph: ChannelGraph, held: AbstractSet[str], why: str) -> ChannelGraph:
    """The graph without the groups that touch outputs of a layer whose name is in `held`."""
    axes = {layer.out_axis for layer in graph.layers if layer.name in held}
    out = [group for group in graph.groups if any(part.axis in axes for part in group.slices)]
    rows = [row for group in out for row in _rows(graph, group, held, why)]
    groups = tuple(group for group in graph.groups if group not in out)
    return replace(graph, groups=groups, fixed=(*graph.fixed, *rows))


def _rows(
    graph: ChannelGraph, group: ChannelGroup, held: AbstractSet[str], why: str
) -> list[Fixed]:
    """For each layer whose output the group is part of, why it stays: for itself, or for one that
    it goes with.
    """
    touched = {part.axis: sum(map(len, part.index)) for part in group.slices}
    sizes = dict(graph.sizes)
    layers = [layer for layer in graph.layers if layer.out_axis in touched]
    first = next(layer.name for layer in layers if layer.name in held)
    return [
        Fixed(
            layer.name,
            touched[layer.out_axis],
            sizes[layer.out_axis],
            why if layer.name in held else f"tied to {first}, {why}",
        )
        for layer in layers
    ]
