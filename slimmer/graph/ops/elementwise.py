"""Element by element: one operand passes its labels on; of several, labels that meet are tied."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import compact, spread, varying_dims
from slimmer.graph.walk import Handler, Stored, Walk, shape_of

UNARY = [
    "relu",
    "relu_",
    "relu6",
    "relu6_",
    "leaky_relu",
    "leaky_relu_",
    "elu",
    "elu_",
    "selu",
    "selu_",
    "celu",
    "celu_",
    "gelu",
    "silu",
    "silu_",
    "mish",
    "mish_",
    "sigmoid",
    "sigmoid_",
    "tanh",
    "tanh_",
    "hardtanh",
    "hardtanh_",
    "hardsigmoid",
    "hardsigmoid_",
    "hardswish",
    "hardswish_",
    "softplus",
    "softsign",
    "log_sigmoid",
    "logsigmoid",
    "threshold",
    "threshold_",
    "abs",
    "neg",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "square",
    "erf",
    "sin",
    "cos",
    "dropout",
    "dropout_",
    "feature_dropout",
    "alpha_dropout",
    "contiguous",
    "clone",
    "detach",
    "detach_",
    "alias",
    "to",
    "_to_copy",
    "lift_fresh_copy",
    "type_as",
    "float",
    "double",
    "half",
    "bfloat16",
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "rand_like",
    "randn_like",
    "sign",
    "floor",
    "ceil",
    "round",
    "reciprocal",
    "log2",
    "log1p",
    "expm1",
    "exp2",
    "logical_not",
    "isnan",
    "nan_to_num",
    "hardshrink",
    "softshrink",
    "tanhshrink",
    "rrelu",
    "feature_alpha_dropout",
]
SUMS = ["add", "add_"]
SEVERAL = [
    "sub",
    "sub_",
    "rsub",
    "mul",
    "mul_",
    "div",
    "div_",
    "maximum",
    "minimum",
    "where",
    "masked_fill",
    "masked_fill_",
    "pow",
    "clamp",
    "clamp_",
    "clamp_min",
    "clamp_max",
    "addcmul",
    "addcdiv",
    "lerp",
    "fmod",
    "remainder",
    "atan2",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "fmax",
    "fmin",
]
CONSTANTS = ["new_zeros", "new_ones", "new_full", "new_empty"]
FILLED = ["zeros", "ones", "full"]


def unary(_walk: Walk, _node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """The labels of the first operand."""
    return args[0]


def several(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The labels of the operands, tied where they meet.

    An operand that is stretched along an axis on which the result's labels vary (one attention map
    for all channels) is not tied: its own channels stay. Where channels of two different axes meet,
    both stay.
    """
    values = [*args, *kwargs.values()]
    flowing = [value for value in values if isinstance(value, Tensor)]
    stored = [_stored(walk, node, value, flowing) for value in values if isinstance(value, Stored)]
    operands = flowing + [labels for labels in stored if labels is not None]
    if not operands:
        return args[0]
    wide = [
        labels.expand(torch.broadcast_shapes(*(labels.shape for labels in operands)))
        for labels in operands
    ]
    dims = [varying_dims(labels) for labels in wide]
    kept = []
    for number, labels in enumerate(operands):
        if _stretched(labels, [dim for other in dims for dim in other], wide[0].dim()):
            walk.book.fix(labels, walk.reason(node, "one value for several channels"))
        else:
            kept.append(number)
    if not kept:
        return walk.refuse(node, operands, "channels of two axes meet")
    lead = max(kept, key=lambda number: len(dims[number]))
    for number in kept:
        if dims[number] == dims[lead]:
            walk.book.tie(wide[lead], wide[number])
        else:
            _fix_both(walk, node, wide[lead], wide[number])
    return compact(wide[lead].expand(shape_of(node)))


def added(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """As `several`; channels of activations that are added to one another are a residual stream's."""
    found = several(walk, node, args, kwargs)
    if sum(isinstance(value, Tensor) for value in args) > 1:
        walk.summed.append(found)
    return found


def _stored(walk: Walk, node: Node, value: Stored, flowing: Sequence[Tensor]) -> Tensor | None:
    """The labels of a parameter or buffer that meets activations; None where it is the same for all
    channels.

    One of several axes (a position embedding) is labelled along the axis on which the activations'
    labels vary.
    """
    long = [dim for dim, size in enumerate(value.shape) if size > 1]
    if not flowing or not long:
        return walk.as_labels(value, node)
    rank = max(labels.dim() for labels in flowing)
    varying = {dim - labels.dim() for labels in flowing for dim in varying_dims(labels)}
    if not varying and len(value.shape) <= rank:
        return walk.as_labels(value, node) if len(long) == 1 else None
    met = [dim for dim in long if dim - len(value.shape) in varying]
    if len(met) > 1:
        return walk.as_labels(value, node)
    return walk.stored_axis(value, met[0]) if met else None


def _stretched(labels: Tensor, varying: Sequence[int], rank: int) -> bool:
    """Whether `labels` has length 1 on one of the axes along which the result's labels vary."""
    return any(dim < rank - labels.dim() or labels.shape[dim - rank] == 1 for dim in varying)


def _fix_both(walk: Walk, node: Node, lead: Tensor, other: Tensor) -> None:
    """Fix operands whose labels vary along different axes; one that stays already says why."""
    known = walk.book.reason_of(other)
    reason = known or walk.reason(node, "channels of two axes meet")
    walk.book.fix(lead, reason)
    walk.book.fix(other, reason)


def prelu(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """The labels of the input; a slope for each channel goes with its channel."""
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
    """Numbers made in the code, of a size that the code holds: they fix what they meet.

    In a rewritten program the size follows; the numbers must then all be the same, whichever of
    them go.
    """
    shape = shape_of(node)
    if walk.rewrite and len(shape) > 1 and shape[1] > 1 and "empty" not in str(node.target):
        made = walk.book.fresh(shape[1])
        walk.note_count(node, "size", [None, made, *[None] * (len(shape) - 2)])
        return spread(made, 1, shape)
    return walk.book.fixed(
        shape_of(node), walk.reason(node, "numbers of a size that the code holds")
    )


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(SUMS, added),
    **dict.fromkeys(SEVERAL, several),
    **dict.fromkeys((*CONSTANTS, *FILLED), constant),
    "prelu": prelu,
}
