"""Linear layers: they read labels along the last axis and produce new ones."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from slimmer.graph.channels import Axis, Layer
from slimmer.graph.labels import spread
from slimmer.graph.nodes import layer_name, shape_of, source_of
from slimmer.graph.ops.computed import (
    lies_along,
    made_along,
    made_width,
    parts_of,
    read_along,
    read_width,
)
from slimmer.graph.walk import Handler, Stored, Walk


def linear(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels after a linear layer with a weight of (out, in)."""
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    return layer(walk, node, "linear", (args[0], args[1], bias), (0, 1))


def layer(
    walk: Walk, node: Node, kind: str, operands: tuple[Any, Any, Any], dims: tuple[int, int]
) -> Tensor:
    """Labels after a layer with `operands` (input, weight, bias), counted as `kind`; `dims` are the
    output and input axes of the weight.
    """
    entering, weight, bias = operands
    shape, (out_dim, in_dim) = shape_of(node), dims
    if not lies_along(weight, out_dim):
        walk.count(node, kind, (), prod(shape) * entering.shape[-1])
        return walk.refuse(
            node, [*parts_of(weight), entering, bias], "a linear layer with computed weights"
        )
    read = walk.read(entering, -1, node)
    inner = read_along(walk, node, weight, in_dim, read)
    rows, out = made_along(walk, weight, out_dim)
    for name, labels in (("in_features", read), ("out_features", rows)):
        axis = walk.counter(node, nn.Linear, name)
        if axis is not None and weight.name != f"{walk.module_of(node)}.weight".removeprefix("."):
            walk.label_axis(axis, labels)
    if isinstance(bias, Stored):
        walk.label_axis(Axis(bias.name, 0), rows)
    elif isinstance(bias, Tensor):  # computed from parameters
        walk.book.tie(bias, rows)
    walk.layers.append(Layer(layer_name(weight.name), kind, out, inner, source_of(node)))
    made = made_width(walk, node, out, rows, len(shape) - 1)
    width = read_width(walk, node, inner or Axis(weight.name, 1), read)
    walk.count(node, kind, (made, width), prod(shape[:-1]))
    return spread(rows, len(shape) - 1, shape)


HANDLERS: dict[str, Handler] = {"linear": linear}
