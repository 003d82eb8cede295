"""Linear layers: read labels on their last axis and make new ones."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis, Layer, Operation
from slimmer.graph.labels import spread
from slimmer.graph.walk import Handler, Stored, Walk, layer_name, module_of, shape_of, source_of


def linear(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels behind a linear layer, from its weight (out, in)."""
    entering, weight = args[0], args[1]
    bias = args[2] if len(args) > 2 else None
    if not isinstance(weight, Stored) or (bias is not None and not isinstance(bias, Stored)):
        return walk.refuse(node, [entering, weight, bias], "a linear layer whose weights are computed")
    out, inner = Axis(weight.name, 0), Axis(weight.name, 1)
    walk.label_axis(inner, walk.read(entering, -1, node))
    made = walk.made_by(out, weight.shape[0])
    if bias is not None:
        walk.label_axis(Axis(bias.name, 0), made)
    name = layer_name(weight)
    shape = shape_of(node)
    walk.layers.append(Layer(name, "linear", out, inner, source_of(node)))
    walk.operations.append(Operation(module_of(node), "linear", (out, inner), prod(shape[:-1])))
    return spread(made, len(shape) - 1, shape)


HANDLERS: dict[str, Handler] = {"linear": linear}
