"""Element by element: one operand passes its labels on; of several, labels that meet are tied."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slimmer.graph.labels import compact, varying_dims
from slimmer.graph.walk import Handler, Walk

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
]
SEVERAL = [
    "add",
    "add_",
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
    "pow",
    "clamp",
    "clamp_",
    "clamp_min",
    "clamp_max",
]


def unary(_walk: Walk, _node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """The labels of the first operand."""
    return args[0]


def several(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The labels of the operands, tied where they meet.

    An operand that is stretched along an axis on which the result's labels vary (one attention map for all
    channels) is not tied: its own channels stay.
    """
    read = (walk.as_labels(value, node) for value in (*args, *kwargs.values()))
    operands = [labels for labels in read if labels is not None]
    if not operands:
        return args[0]
    shape = torch.broadcast_shapes(*(labels.shape for labels in operands))
    wide = [labels.expand(shape) for labels in operands]
    stretched = [_stretched(labels, wide) for labels in operands]
    for labels, is_stretched in zip(operands, stretched, strict=True):
        if is_stretched:
            walk.book.fix(labels, walk.reason(node, "one value for several channels"))
    kept = [labels for labels, out in zip(wide, stretched, strict=True) if not out] or wide
    for other in kept[1:]:
        walk.book.tie(kept[0], other)
    return compact(kept[0])


def _stretched(labels: Tensor, wide: Sequence[Tensor]) -> bool:
    """Whether `labels` has length 1 on an axis along which another operand's labels vary."""
    rank = wide[0].dim()
    short = {dim for dim in range(rank) if dim < rank - labels.dim() or labels.shape[dim - rank] == 1}
    return any(dim in short for other in wide for dim in varying_dims(other) if other.shape[dim] > 1)


HANDLERS: dict[str, Handler] = {**dict.fromkeys(UNARY, unary), **dict.fromkeys(SEVERAL, several)}
