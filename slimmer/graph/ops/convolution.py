"""Convolutions: dense ones produce labels, depthwise ones keep them; grouped ones lose whole
groups, or the same channels in every group.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from slimmer.graph.channels import Axis, Layer
from slimmer.graph.labels import spread, varying_dims
from slimmer.graph.nodes import argument, layer_name, shape_of, source_of
from slimmer.graph.ops.computed import (
    lies_along,
    made_along,
    made_width,
    parts_of,
    read_along,
    read_width,
)
from slimmer.graph.walk import VARYING, Computed, Handler, Stored, Walk

COMPUTED = "a convolution with computed weights"
NEIGHBOURS = (
    "a convolution along the channel axis, which mixes neighbouring channels (channel attention)"
)


def convolution(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels after a convolution with a weight of (out, in/groups, ...)."""
    entering, weight, bias = args[0], args[1], argument(node, args, kwargs, "bias")
    shape, kernel = shape_of(node), argument_shape(node)
    dim = len(shape) - len(kernel) + 1
    positions = prod(shape[:dim]) * prod(shape[dim + 1 :])  # of all images
    if not lies_along(weight, 0):
        walk.count(node, "conv", (), positions * prod(kernel))
        return walk.refuse(node, [*parts_of(weight), entering, bias], COMPUTED)
    groups = argument(node, args, kwargs, "groups")
    slides = any(other > dim for other in varying_dims(entering))
    read = walk.read(entering, dim, node, NEIGHBOURS if slides else VARYING)
    alike = groups == 1 or weight.name in walk.evenly
    inner = read_along(walk, node, weight, 1, _alike(walk, read, groups)) if alike else None
    rows, out = made_along(walk, weight, 0)
    made = made_width(walk, node, out, rows, dim)
    if alike:
        _alike(walk, rows, groups)
        inner_axis = inner or Axis(weight.name, 1)
        entering_axis = read_width(walk, node, inner_axis, _alike(walk, read, groups))
        walk.count(node, "conv", (made, entering_axis), positions * prod(kernel[2:]))
    else:
        ones = _by_group(walk, read, groups)
        if kernel[1] > 1:  # not depthwise
            walk.whole[weight.name] = ones
        walk.book.tie(ones.repeat_interleave(kernel[0] // groups), rows)
        _note_counter(walk, node, weight, "groups", ones)
        walk.note_count(node, "groups", ones)
        walk.count(node, "conv", (made,), positions * prod(kernel[1:]))
    _note_counter(walk, node, weight, "in_channels", read)
    _note_counter(walk, node, weight, "out_channels", rows)
    _label_bias(walk, bias, rows)
    walk.layers.append(Layer(layer_name(weight.name), "conv", out, inner, source_of(node)))
    return spread(rows, dim, shape)


def transposed(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels after a transposed convolution with a weight of (in, out/groups, ...)."""
    entering, weight, bias = args[0], args[1], argument(node, args, kwargs, "bias")
    shape, kernel = shape_of(node), argument_shape(node)
    dim = len(shape) - len(kernel) + 1
    positions = prod(shape[:dim]) * prod(entering.shape[dim + 1 :])  # of all images
    groups = argument(node, args, kwargs, "groups")
    followed = lies_along(weight, 0) and lies_along(weight, 1)
    if not followed or (groups > 1 and isinstance(weight, Computed)):
        walk.count(node, "conv", (), positions * prod(kernel))
        return walk.refuse(node, [*parts_of(weight), entering, bias], COMPUTED)
    read = walk.read(entering, dim, node)
    if groups > 1:
        rows, out, inner = _transposed_groups(walk, node, weight, read, groups)
        walk.count(node, "conv", (Axis(weight.name, 0),), positions * prod(kernel[1:]))
    else:
        inner = read_along(walk, node, weight, 0, read)
        rows, out = made_along(walk, weight, 1)
        widths = (
            read_width(walk, node, inner or Axis(weight.name, 0), read),
            made_width(walk, node, out, rows, dim),
        )
        walk.count(node, "conv", widths, positions * prod(kernel[2:]))
        _note_counter(walk, node, weight, "in_channels", read)
        _note_counter(walk, node, weight, "out_channels", rows)
    _label_bias(walk, bias, rows)
    walk.layers.append(Layer(layer_name(weight.name), "conv", out, inner, source_of(node)))
    return spread(rows, dim, shape)


def argument_shape(node: Node) -> tuple[int, ...]:
    """The shape of a layer's weight."""
    weight: Any = node.args[1]
    return tuple(map(int, weight.meta["val"].shape))


def _by_group(walk: Walk, read: Tensor, groups: int) -> Tensor:
    """One label for each group of a grouped convolution, (groups,); the inputs of a group are
    tied.
    """
    return _tied(walk, read.reshape(groups, -1), 1)


def _alike(walk: Walk, labels: Tensor, groups: int) -> Tensor:
    """The labels of one group of a grouped convolution's channels; channels at the same place in
    all groups are tied.
    """
    return _tied(walk, labels.reshape(groups, -1), 0)


def _tied(walk: Walk, table: Tensor, dim: int) -> Tensor:
    """The labels of a table along its other axis; those along `dim` are tied."""
    if table.shape[dim] > 1:
        walk.book.tie(table, table.narrow(dim, 0, 1))
    return table.select(dim, 0)


def _transposed_groups(
    walk: Walk, node: Node, weight: Stored, read: Tensor, groups: int
) -> tuple[Tensor, Axis, None]:
    """The labels and output axis of a grouped transposed convolution, which has no masked axis: it
    loses whole groups.

    Its weight has the outputs of one group only, so the module's attributes represent all outputs.
    """
    walk.label_axis(Axis(weight.name, 0), read)
    ones = _by_group(walk, read, groups)
    walk.note_count(node, "groups", ones)
    rows = ones.repeat_interleave(weight.shape[1])
    out = walk.counter(node, _ConvNd, "out_channels") or Axis(f"@{node.name}", 1)
    count = walk.counter(node, _ConvNd, "groups")
    if count is not None:
        walk.label_axis(count, ones)
    return walk.label_axis(out, rows), out, None


def _note_counter(
    walk: Walk, node: Node, weight: Stored | Computed, name: str, labels: Tensor
) -> None:
    """Label a count that a module has as an attribute, if its weight is stored elsewhere
    (parametrization), so that the count stays right.
    """
    axis = walk.counter(node, _ConvNd, name)
    if axis is not None and weight.name != f"{walk.module_of(node)}.weight".removeprefix("."):
        walk.label_axis(axis, labels)


def _label_bias(walk: Walk, bias: Any, made: Tensor) -> None:
    if isinstance(bias, Stored):
        walk.label_axis(Axis(bias.name, 0), made)
    elif isinstance(bias, Tensor):  # computed from parameters
        walk.book.tie(bias, made)


HANDLERS: dict[str, Handler] = {
    "conv1d": convolution,
    "conv2d": convolution,
    "conv3d": convolution,
    "conv_transpose1d": transposed,
    "conv_transpose2d": transposed,
    "conv_transpose3d": transposed,
}
