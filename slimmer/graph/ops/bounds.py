"""The bounds of parts that a program takes of its channels: the labels before each bound."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import along
from slimmer.graph.nodes import argument
from slimmer.graph.walk import Walk

BOUNDS = ("start", "end", "step", "length", "index")


def note_bounds(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the bounds of a part of the channels can be corrected; if so, they are recorded.

    Each part gets its own axis, so that no part ever loses all channels.
    """
    labels: Tensor = args[0]
    dim = argument(node, args, kwargs, "dim") % labels.dim()
    read = along(labels, dim)
    kind = str(node.target).split(".")[1]
    is_computed = any(isinstance(value, Node) for value in node.args[1:])
    if read is None or kind not in _PARTS or is_computed:
        return False
    values = {name: argument(node, args, kwargs, name) for name in BOUNDS}
    parts = _PARTS[kind](walk, node, read, values)
    for number, part in enumerate(parts):
        if part.numel():
            walk.label_axis(Axis(f"@{node.name}.{number}", dim), part)
    return bool(parts)


def _slice(walk: Walk, node: Node, read: Tensor, values: dict[str, Any]) -> list[Tensor]:
    """`x[start:end]`: the labels before each bound. With a step, the bounds can't be corrected."""
    if values["step"] != 1:
        return []
    start, end, _ = slice(values["start"], values["end"]).indices(len(read))
    walk.note_count(node, "start", read[:start])
    walk.note_count(node, "end", read[:end])
    return [read[start:end]]


def _narrow(walk: Walk, node: Node, read: Tensor, values: dict[str, Any]) -> list[Tensor]:
    start = values["start"] % len(read)
    part = read[start : start + values["length"]]
    walk.note_count(node, "start", read[:start])
    walk.note_count(node, "length", part)
    return [part]


def _select(walk: Walk, node: Node, read: Tensor, values: dict[str, Any]) -> list[Tensor]:
    """One channel by its index: it is fixed, and its index is corrected."""
    index = values["index"] % len(read)
    walk.book.fix(read[index], walk.reason(node, "a channel selected by its index"))
    walk.note_count(node, "index", read[:index])
    return [read[index : index + 1]]


def _split(walk: Walk, node: Node, read: Tensor, _values: dict[str, Any]) -> list[Tensor]:
    """Consecutive parts of the sizes that the node returned; see `slimmer.pruning.rewrite` on
    `split_sizes`.
    """
    dim = argument(node, node.args, node.kwargs, "dim")
    parts = list(read.split([int(part.shape[dim]) for part in node.meta["val"]]))
    walk.note_count(node, "split_sizes", list(parts))
    return parts


_PARTS = {
    "slice": _slice,
    "narrow": _narrow,
    "narrow_copy": _narrow,
    "select": _select,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _split,
}
