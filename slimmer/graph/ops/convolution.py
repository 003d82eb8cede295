"""Convolutions: dense ones make labels, depthwise ones pass them on, grouped ones go by whole groups."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis, Layer, Operation
from slimmer.graph.labels import spread
from slimmer.graph.walk import Handler, Stored, Walk, layer_name, module_of, shape_of, source_of


def convolution(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a convolution, from its weight (out, in/groups, ...)."""
    entering, weight = args[0], args[1]
    bias = args[2] if len(args) > 2 else None
    if not isinstance(weight, Stored) or (bias is not None and not isinstance(bias, Stored)):
        return walk.refuse(node, [entering, weight, bias], "a convolution whose weights are computed")
    target: Any = node.target
    arguments = target._schema.arguments  # noqa: SLF001 - an operator's schema has no public name
    where = [argument.name for argument in arguments].index("groups")
    groups = args[where] if len(args) > where else 1
    shape, dim = shape_of(node), len(shape_of(node)) - (len(weight.shape) - 2) - 1
    read = walk.read(entering, dim, node)
    out, inner = Axis(weight.name, 0), Axis(weight.name, 1)
    if groups == 1:
        made, in_axis = _dense(walk, read, out, inner, weight), inner
    else:
        made, in_axis = _grouped(walk, read, out, weight, groups), None
    if bias is not None:
        walk.label_axis(Axis(bias.name, 0), made)
    name = layer_name(weight)
    walk.layers.append(Layer(name, "conv", out, in_axis, source_of(node)))
    counted = (out, inner) if groups == 1 else (out,)
    volume = prod(shape[dim + 1 :]) * prod(weight.shape[2:] if groups == 1 else weight.shape[1:])
    walk.operations.append(Operation(module_of(node), "conv", counted, volume))
    return spread(made, dim, shape)


def _dense(walk: Walk, read: Tensor, out: Axis, inner: Axis, weight: Stored) -> Tensor:
    walk.label_axis(inner, read)
    return walk.made_by(out, weight.shape[0])


def _grouped(walk: Walk, read: Tensor, out: Axis, weight: Stored, groups: int) -> Tensor:
    """Tie the inputs and outputs of each group of a grouped convolution (a depthwise one has one input a group)."""
    inputs = read.reshape(groups, -1)
    walk.book.tie(inputs, inputs[:, :1])
    made = inputs[:, :1].expand(groups, weight.shape[0] // groups).reshape(-1)
    return walk.label_axis(out, made)


HANDLERS: dict[str, Handler] = {
    "conv1d": convolution,
    "conv2d": convolution,
    "conv3d": convolution,
}
