"""Data movement: the very same operation on the labels; what counts channels in the code ties or fixes them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.labels import compact, varying_dims
from slimmer.graph.walk import Handler, Walk, shape_of

MOVES = [
    "permute",
    "transpose",
    "t",
    "movedim",
    "squeeze",
    "squeeze_",
    "unsqueeze",
    "unsqueeze_",
    "expand",
    "expand_as",
    "flip",
    "swapaxes",
    "swapdims",
]
RESHAPES = ["view", "reshape", "flatten", "unflatten", "_unsafe_view", "view_as", "reshape_as"]


def move(_walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The operation itself, run on the labels."""
    return node.target(*args, **kwargs)  # type: ignore[operator,unused-ignore]


def reshape(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """The labels in the new shape. An axis of labels that is split into a grid is tied along the grid, so that
    the number of rows that the code holds stays true (a channel shuffle's groups).
    """
    labels: Tensor = args[0]
    before = varying_dims(labels)
    shaped = compact(labels.reshape(shape_of(node)))
    after = varying_dims(shaped)
    if len(after) > len(before):
        for dim in after[:-1]:
            walk.book.tie(shaped, shaped.narrow(dim, 0, 1))
    return shaped


def concatenate(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels one behind the other."""
    operands = [walk.stored_labels(value, node) for value in args[0]]
    joined: Tensor = node.target(operands, *args[1:], **kwargs)  # type: ignore[operator,unused-ignore]
    return compact(joined)


def chunk(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Equal parts by number: the i-th channel of each part goes together, so that the parts stay equal."""
    labels = args[0]
    dim = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % labels.dim()
    parts = node.target(*args, **kwargs)  # type: ignore[operator,unused-ignore]
    if dim in varying_dims(labels):
        if any(part.shape != parts[0].shape for part in parts):
            walk.book.fix(labels, walk.reason(node, "parts of unequal size"))
        else:
            for part in parts[1:]:
                walk.book.tie(parts[0], part)
    return parts


def cut(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A part by bounds that the code holds: what is counted on a cut axis of channels stays."""
    labels = args[0]
    parts = node.target(labels, *args[1:], **kwargs)  # type: ignore[operator,unused-ignore]
    first = parts[0] if isinstance(parts, (list, tuple)) else parts
    for dim in varying_dims(labels):
        if first.dim() != labels.dim() or first.shape[dim] != labels.shape[dim]:
            walk.book.fix(labels, walk.reason(node, "channels counted in the code"))
    return parts


def roll(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """The same labels; channels that are moved on by a number stay, since fewer of them would move on as far."""
    labels: Tensor = args[0]
    dims = {dim % labels.dim() for dim in (args[2] if len(args) > 2 else ())}
    if not dims or dims.intersection(varying_dims(labels)):
        walk.book.fix(labels, walk.reason(node, "channels counted in the code"))
    return labels if dims else walk.book.fixed(labels.shape, walk.reason(node, "channels counted in the code"))


def pixel_shuffle(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """r*r channels become one: they go together."""
    labels, factor = args[0], args[1]
    read = walk.read(labels, 1, node).reshape(-1, factor * factor)
    walk.book.tie(read, read[:, :1])
    shape = shape_of(node)
    return read[:, 0].view(1, -1, 1, 1).expand(shape)


def channel_shuffle(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Channels as a grid of groups, transposed: tied along the grid."""
    read = walk.read(args[0], 1, node).reshape(args[1], -1)
    walk.book.tie(read, read[:1])
    return read.t().reshape(1, -1, *[1] * (args[0].dim() - 2)).expand(shape_of(node))


def item(_walk: Walk, _node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """One of several outputs."""
    return args[0][args[1]]


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(RESHAPES, reshape),
    **dict.fromkeys(("slice", "select", "split", "split_with_sizes", "narrow", "narrow_copy", "unbind"), cut),
    "cat": concatenate,
    "concat": concatenate,
    "stack": concatenate,
    "chunk": chunk,
    "roll": roll,
    "pixel_shuffle": pixel_shuffle,
    "channel_shuffle": channel_shuffle,
    "getitem": item,
}
