"""Bounds of parts that a program cuts out of its channels: how many labels lie before them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import along
from slimmer.graph.walk import Walk, argument


def note_bounds(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the bounds of a cut along channels can follow them; if so they are noted.

    Each part gets an axis of its own, so that it is a part of a group, or of several, and never
    runs empty.
    """
    labels: Tensor = args[0]
    dim = argument(node, args, kwargs, "dim") % labels.dim()
    read = along(labels, dim)
    kind = str(node.target).split(".")[1]
    if (
        read is None
        or kind not in _PARTS
        or any(isinstance(value, Node) for value in node.args[1:])
    ):
        return False
    values = {
        name: argument(node, args, kwargs, name)
        for name in ("start", "end", "step", "length", "index")
    }
    parts = _PARTS[kind](walk, node, read, values)
    for number, part in enumerate(parts):
        if part.numel():
            walk.label_axis(Axis(f"@{node.name}.{number}", dim), part)
    return bool(parts)


def _slice(walk: Walk, node: Node, read: Tensor, values: dict[str, Any]) -> list[Tensor]:
    """`x[start:end]`: as many labels as lie before each bound; a step over channels leaves no
    bounds to correct.
    """
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
    """One channel by its number: it stays, and its number follows those before it."""
    index = values["index"] % len(read)
    walk.book.fix(read[index], walk.reason(node, "a channel that the code names"))
    walk.note_count(node, "index", read[:index])
    return [read[index : index + 1]]


def _split(walk: Walk, node: Node, read: Tensor, _values: dict[str, Any]) -> list[Tensor]:
    """Parts one behind the other, of the sizes that the node gave; see `slimmer.pruning.rewrite` on
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
