"""Data movement: the same operation on the labels. Hard-coded channel counts tie or fix
channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slimmer.graph.labels import along, compact, reduced, spread, varying_dims
from slimmer.graph.nodes import argument, shape_of
from slimmer.graph.ops.elementwise import stretched
from slimmer.graph.ops.splitting import COUNTED
from slimmer.graph.walk import Handler, Walk

MOVES = [
    "permute",
    "transpose",
    "t",
    "numpy_T",
    "movedim",
    "moveaxis",
    "squeeze",
    "squeeze_",
    "unsqueeze",
    "unsqueeze_",
    "expand",
    "flip",
    "swapaxes",
    "swapdims",
]
RESHAPES = ["view", "reshape", "flatten", "unflatten", "_unsafe_view", "view_as", "reshape_as"]


def move(_walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The operation itself, run on the labels."""
    return node.target(*args, **kwargs)  # type: ignore[operator,unused-ignore]


def expand(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """The operation itself, run on the labels; sizes that count channels are noted."""
    labels: Tensor = node.target(*args, **kwargs)  # type: ignore[operator,unused-ignore]
    _note_sizes(walk, node, args, labels)
    return labels


def repeat(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """The operation itself, run on one entry of each axis along which the labels do not vary."""
    small = reduced(args[0])
    shape, labels = shape_of(node), args[0]
    offset = len(shape) - labels.dim()
    plain = all(isinstance(value, (int, list, type(None))) for value in args[1:])
    if offset < 0 or not plain:
        return walk.refuse(node, args, "an unsupported repetition")
    repeat: Any = node.target
    repeated: Tensor = repeat(small, *args[1:], **kwargs)
    for dim in range(repeated.dim()):
        if dim < offset or small.shape[dim - offset] == 1:
            repeated = repeated.narrow(dim, 0, 1)
    return repeated.expand(shape)


def expand_as(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """The labels in another activation's shape; a value that is broadcast over its channels gets
    its labels.
    """
    labels: Tensor = args[0]
    other: Tensor = args[1]
    if not stretched(labels, varying_dims(other), other.dim()):
        return labels.expand(other.shape)
    walk.book.fix(labels, walk.reason(node, "one value broadcast to several channels"))
    if varying_dims(labels):
        return walk.refuse(node, [labels, other], "channels of two different axes are combined")
    return other


def reshape(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """The labels in the new shape. If an axis of labels is split into a grid, the labels are tied
    along the grid, so that the hard-coded number of rows stays right (a channel shuffle's groups).
    """
    labels: Tensor = args[0]
    before = varying_dims(labels)
    shaped = compact(labels.reshape(shape_of(node)))
    after = varying_dims(shaped)
    if len(after) > len(before):
        for dim in after[:-1]:
            first = shaped.narrow(dim, 0, 1)
            walk.book.tie(shaped, first)
            shaped = first.expand(shaped.shape)
    _note_sizes(walk, node, args, shaped)
    return shaped


def _note_sizes(walk: Walk, node: Node, args: Sequence[Any], labels: Tensor) -> None:
    """Record the sizes in a node's arguments that count channels of its result, which has
    `labels`.
    """
    if not walk.rewrite:
        return
    for name in ("size", "shape", "sizes"):
        sizes = argument(node, node.args, node.kwargs, name)
        if not isinstance(sizes, (list, tuple)):
            continue
        first = 0
        if name == "sizes":  # unflatten: the sizes of one axis
            first = argument(node, args, {}, "dim") % args[0].dim()
        varying = varying_dims(labels)
        counted: list[Tensor | None] = []
        for number, size in enumerate(sizes):
            is_count = isinstance(size, int) and size >= 0 and [first + number] == varying
            counted.append(along(labels, varying[0]) if is_count else None)
        walk.note_count(node, name, counted)


def concatenate(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Concatenated labels; along an axis without channels (tokens, rows), the operands' channels
    are tied.
    """
    operands = []
    for value in args[0]:
        labels = walk.stored_labels(value, node)
        if labels.dim() == len(shape_of(node)):
            operands.append(labels)
    dim = argument(node, args, kwargs, "dim") % operands[0].dim()
    varying = set().union(*map(varying_dims, operands))
    if varying and dim not in varying:
        operands = [labels.narrow(dim, 0, 1) for labels in operands]
        return _together(walk, operands).expand(shape_of(node))
    if varying - {dim}:
        return walk.refuse(node, operands, "channels of two different axes are combined")
    for other in set(range(operands[0].dim())) - {dim}:  # the labels do not vary here
        operands = [labels.narrow(other, 0, 1) for labels in operands]
    joined: Tensor = torch.cat(operands, dim)
    return joined.expand(shape_of(node))


def stack(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels stacked along a new axis: channels at the same position are tied."""
    operands = [walk.stored_labels(value, node) for value in args[0]]
    dim = argument(node, args, kwargs, "dim") % (operands[0].dim() + 1)
    return _together(walk, operands).unsqueeze(dim).expand(shape_of(node))


def _together(walk: Walk, operands: Sequence[Tensor]) -> Tensor:
    """The labels of operands of one shape, tied position by position."""
    lead = max(operands, key=lambda labels: len(varying_dims(labels)))
    for labels in operands:
        if labels is not lead:
            walk.book.tie(lead, labels)
    return lead


def windows(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """`x.unfold(dim, size, step)`: windows along an axis, which becomes shorter; channels along
    that axis are fixed.
    """
    labels: Tensor = args[0]
    dim = argument(node, args, kwargs, "dimension") % labels.dim()
    if dim in varying_dims(labels):
        return walk.refuse(node, [labels], COUNTED)
    return labels.narrow(dim, 0, 1).unsqueeze(-1).expand(shape_of(node))


def roll(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """The same labels; channels that are shifted by a hard-coded number are fixed.

    In a rewritten program the shift is corrected to the number of shifted channels that are left.
    """
    labels: Tensor = args[0]
    shifted = args[2] if len(args) > 2 else ()
    dims = {dim % labels.dim() for dim in shifted}
    if walk.rewrite and len(dims) == 1 and varying_dims(labels) == list(dims):
        (dim,), (shift,) = dims, args[1]
        read = walk.read(labels, dim, node).roll(shift)
        walk.note_count(node, "shifts", [read[: shift % len(read)]])
        return spread(read, dim, labels.shape)
    if not dims or dims.intersection(varying_dims(labels)):
        walk.book.fix(labels, walk.reason(node, COUNTED))
    if not dims:
        return walk.book.fixed(labels.shape, walk.reason(node, COUNTED))
    return labels


def channel_shuffle(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """A grid of channels, transposed: the labels are tied along the grid."""
    read = walk.read(args[0], 1, node).reshape(args[1], -1)
    walk.book.tie(read, read[:1])
    return read.t().reshape(1, -1, *[1] * (args[0].dim() - 2)).expand(shape_of(node))


def item(_walk: Walk, _node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """One of several outputs."""
    return args[0][args[1]]


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(RESHAPES, reshape),
    **dict.fromkeys(("repeat", "repeat_interleave", "tile"), repeat),
    **dict.fromkeys(("cat", "concat", "concatenate"), concatenate),
    "expand": expand,
    "expand_as": expand_as,
    "stack": stack,
    "unfold": windows,
    "roll": roll,
    "channel_shuffle": channel_shuffle,
    "getitem": item,
}
