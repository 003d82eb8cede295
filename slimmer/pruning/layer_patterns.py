"""Layer patterns: which layers are kept, which alone are pruned, and how narrow a group may
become.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from fnmatch import fnmatchcase
from math import ceil
from typing import TypeVar

from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph, ChannelGroup, Fixed

Number = TypeVar("Number", int, float)


def is_named(layer: str, pattern: str) -> bool:
    """Whether `pattern` matches the path of a layer, or of a module that contains it.

    >>> [is_named("layer4.0.conv1", each) for each in ("layer4", "*.conv?", "conv1")]
    [True, True, False]
    """
    return fnmatchcase(layer, pattern) or fnmatchcase(layer, f"{pattern}.*")


def layers_named(graph: ChannelGraph, pattern: str, where: str) -> frozenset[str]:
    """The names of the layers that `pattern` matches. Raises ModelError, with the setting `where`,
    if there are none.
    """
    found = frozenset(layer.name for layer in graph.layers if is_named(layer.name, pattern))
    if not found:
        raise ModelError(f"{where} {pattern!r}", "matches no layer", "see `slimmer inspect`")
    return found


def groups_named(graph: ChannelGraph, pattern: str, where: str) -> dict[str, ChannelGroup]:
    """The groups, by name, that contain outputs of the layers that `pattern` matches. Raises
    ModelError if none of their channels can be pruned.
    """
    found = graph.producers(layers_named(graph, pattern, where))
    if not found:
        right = "see `slimmer inspect` for the reasons"
        raise ModelError(f"{where} {pattern!r}", "matches only layers that can't be pruned", right)
    return found


def keep_layers(graph: ChannelGraph, keep: Iterable[str], only: Iterable[str] = ()) -> ChannelGraph:
    """The graph without the groups that contain outputs of a layer matched by `keep`, or of a layer
    not matched by `only`.

    With an empty `only`, all layers may be pruned. Raises ModelError for a pattern that matches no
    layer.
    """
    for pattern in keep:
        named = layers_named(graph, pattern, "model.keep")
        graph = _hold(graph, named, f"kept by {pattern!r}")
    asked = dict.fromkeys(only)
    if not asked:
        return graph
    outside = {layer.name for layer in graph.layers}
    for pattern in asked:
        outside -= layers_named(graph, pattern, "model.only")
    return _hold(graph, outside, f"not selected by {' or '.join(map(repr, asked))}")


def group_floors(
    graph: ChannelGraph,
    min_width: int | Mapping[str, int],
    max_sparsity: float | Mapping[str, float],
) -> dict[str, int]:
    """The minimum width of every group, by its name.

    Both settings are one number for all groups, or numbers by layer pattern; later patterns win.
    `max_sparsity` is the largest share of a group's channels that may be removed. Raises ModelError
    for a pattern that matches no prunable layer.
    """
    widths = dict.fromkeys(_matched(graph, None, "budget.min_width"), 1)
    shares = dict.fromkeys(widths, 1.0)
    for pattern, width in _by_pattern(min_width).items():
        widths |= dict.fromkeys(_matched(graph, pattern, "budget.min_width"), width)
    for pattern, share in _by_pattern(max_sparsity).items():
        shares |= dict.fromkeys(_matched(graph, pattern, "budget.max_sparsity"), share)
    floors = {}
    for group in graph.groups:
        # minus a small number, since 10 * (1 - 0.9) is above 1
        least = ceil(group.size * (1 - shares[group.name]) - 1e-9)
        floors[group.name] = min(group.size, max(1, widths[group.name], least))
    return floors


def _matched(graph: ChannelGraph, pattern: str | None, where: str) -> list[str]:
    """The names of the groups that a pattern matches; all groups for None."""
    if pattern is None:
        return [group.name for group in graph.groups]
    return list(groups_named(graph, pattern, where))


def _by_pattern(value: Number | Mapping[str, Number]) -> dict[str | None, Number]:
    """The numbers by pattern; a number for all groups has the key None."""
    if isinstance(value, Mapping):
        return {pattern: each for pattern, each in value.items()}  # noqa: C416 - a key may be None
    return {None: value}


def _hold(graph: ChannelGraph, held: AbstractSet[str], why: str) -> ChannelGraph:
    """The graph without the groups that contain outputs of a layer in `held`."""
    out = graph.producers(held)
    rows: list[Fixed] = []
    for group in out.values():
        rows += _rows(graph, group, held, why)
    groups = tuple(group for group in graph.groups if group.name not in out)
    return replace(graph, groups=groups, fixed=(*graph.fixed, *rows))


def _rows(
    graph: ChannelGraph, group: ChannelGroup, held: AbstractSet[str], why: str
) -> list[Fixed]:
    """For every layer whose outputs the group contains, why it is kept: for itself, or for a layer
    that it is tied to.
    """
    touched = group.axes
    sizes = dict(graph.sizes)
    layers = [layer for layer in graph.layers if layer.out_axis in touched]
    first = next(layer.name for layer in layers if layer.name in held)
    rows = []
    for layer in layers:
        reason = why if layer.name in held else f"tied to {first}, {why}"
        rows.append(Fixed(layer.name, touched[layer.out_axis], sizes[layer.out_axis], reason))
    return rows
