"""Operations element by element: one operand keeps its labels; the labels of several are tied."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import compact, long_dims, spread, tensors_among, varying_dims
from slimmer.graph.nodes import shape_of
from slimmer.graph.ops.elementwise_names import CONSTANTS, FILLED, SEVERAL, SUMS, UNARY
from slimmer.graph.walk import Handler, Stored, Walk


def unary(_walk: Walk, _node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """The labels of the first operand."""
    return args[0]


def several(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The labels of the operands, tied position by position.

    An operand that is broadcast along an axis on which the result's labels vary (one attention map
    for all channels) is not tied: its own channels are fixed. If channels of two different axes are
    combined, both are fixed.
    """
    values = [*args, *kwargs.values()]
    flowing = tensors_among(values)
    operands = [*flowing]
    for value in values:
        if isinstance(value, Stored):
            operands += tensors_among([_stored(walk, node, value, flowing)])
    if not operands:
        return args[0]
    shape = torch.broadcast_shapes(*(labels.shape for labels in operands))
    wide = [labels.expand(shape) for labels in operands]
    dims = list(map(varying_dims, wide))
    varying = set().union(*dims)
    kept = []
    for number, labels in enumerate(operands):
        if stretched(labels, varying, len(shape)):
            walk.book.fix(labels, walk.reason(node, "one value broadcast to several channels"))
        else:
            kept.append(number)
    if not kept:
        return walk.refuse(node, operands, "channels of two different axes are combined")
    lead = max(kept, key=lambda number: len(dims[number]))
    for number in kept:
        if dims[number] == dims[lead]:
            walk.book.tie(wide[lead], wide[number])
        else:
            _fix_both(walk, node, wide[lead], wide[number])
    return compact(wide[lead].expand(shape_of(node)))


def added(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """As `several`; activations that are added to one another form a residual stream."""
    found = several(walk, node, args, kwargs)
    if len(tensors_among(args)) > 1:
        walk.summed.append(found)
    return found


def _stored(walk: Walk, node: Node, value: Stored, flowing: Sequence[Tensor]) -> Tensor | None:
    """The labels of a parameter or buffer that is combined with activations; None if it is the same
    for all channels.

    If it has several axes (a position embedding), it is labelled along the axis on which the
    activations' labels vary.
    """
    long = long_dims(value.shape)
    if not flowing or not long:
        return walk.as_labels(value, node)
    rank = max(map(Tensor.dim, flowing))
    varying: set[int] = set()  # counted from the last axis
    for labels in flowing:
        varying.update(dim - labels.dim() for dim in varying_dims(labels))
    if not varying and len(value.shape) <= rank:
        return walk.as_labels(value, node) if len(long) == 1 else None
    met = [dim for dim in long if dim - len(value.shape) in varying]
    if len(met) > 1:
        return walk.as_labels(value, node)
    return walk.stored_axis(value, met[0]) if met else None


def stretched(labels: Tensor, varying: Iterable[int], rank: int) -> bool:
    """Whether `labels` has length 1 on one of the axes along which the result's labels vary."""
    for dim in varying:
        if dim < rank - labels.dim() or labels.shape[dim - rank] == 1:
            return True
    return False


def _fix_both(walk: Walk, node: Node, lead: Tensor, other: Tensor) -> None:
    """Fix operands whose labels vary along different axes; if one is fixed already, its reason is
    used.
    """
    known = walk.book.reason_of(other)
    reason = known or walk.reason(node, "channels of two different axes are combined")
    walk.book.fix(lead, reason)
    walk.book.fix(other, reason)


def prelu(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """The labels of the input; if every channel has its own slope, the slopes are tied to them."""
    labels, slope = args
    if isinstance(slope, Stored) and max(slope.shape, default=1) == 1:
        return labels
    read = walk.read(labels, 1, node)
    if isinstance(slope, Stored):
        walk.label_axis(Axis(slope.name, 0), read)
    else:
        walk.book.tie(slope, read)
    count = walk.counter(node, nn.PReLU, "num_parameters")
    if count is not None:
        walk.label_axis(count, read)
    return labels


def constant(walk: Walk, node: Node, _args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """A tensor of hard-coded size; what it is combined with is fixed.

    In a rewritten program the size is corrected; then all its elements must be equal.
    """
    shape = shape_of(node)
    if walk.rewrite and len(shape) > 1 and shape[1] > 1 and "empty" not in str(node.target):
        made = walk.book.fresh(shape[1])
        walk.note_count(node, "size", [None, made, *[None] * (len(shape) - 2)])
        return spread(made, 1, shape)
    return walk.book.fixed(shape_of(node), walk.reason(node, "a tensor of hard-coded size"))


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(SUMS, added),
    **dict.fromkeys(SEVERAL, several),
    **dict.fromkeys((*CONSTANTS, *FILLED), constant),
    "prelu": prelu,
}
