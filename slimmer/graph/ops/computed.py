"""Weights that are computed before a layer reads them: scaled, reshaped, standardized, or passed
through a function.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import along, long_dims, varying_dims
from slimmer.graph.ops.movement import MOVES, RESHAPES
from slimmer.graph.walk import Computed, Handler, Stored, Walk

SCALES = ("mul", "mul_", "div", "div_")
TOGETHER = "weights computed across all input channels"
PARTS = ("slice", "narrow")
AS_IT_IS = (
    "neg",
    "contiguous",
    "clone",
    "detach",
    "alias",
    "to",
    "_to_copy",
    "type_as",
    "float",
    "double",
    "half",
)
KEEPS_ZEROS = {*MOVES, *RESHAPES, *PARTS, *AS_IT_IS, *SCALES}


def stored_value(walk: Walk, value: Any, node: Node) -> Any:
    """A parameter that an operation other than a layer reads: the labels of a vector; a `Computed`
    for a parameter with several axes.
    """
    if not isinstance(value, Stored) or len(value.shape) < 2 or is_vector(value.shape):
        return walk.stored_labels(value, node)
    return Computed(value.name, walk.stored_axis(value, 0), walk.stored_axis(value, 1))


def is_vector(shape: Sequence[int]) -> bool:
    """Whether at most one axis of `shape` is longer than 1."""
    return len(long_dims(shape)) <= 1


def computed(
    walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any], *, handler: Handler
) -> Any:
    """The result of `handler` for a parameter on its way to a layer.

    The rows are handled like any labels. The columns are followed if a column of zeros stays a
    column of zeros (data movement, a scale): only then a mask on the parameter is a mask on the
    weight. Otherwise they are fixed.
    """
    name = str(node.target).split(".")[1]
    first: Any = args[0]
    alone = not any(isinstance(value, (Computed, Tensor, Stored)) for value in args[1:])
    has_columns = isinstance(first, Computed) and first.columns is not None
    if alone and has_columns and name in KEEPS_ZEROS:
        rows = handler(walk, node, [first.rows, *args[1:]], kwargs)
        columns = handler(walk, node, [first.columns, *args[1:]], kwargs)
        return Computed(first.name, rows, columns)
    if isinstance(first, Computed) and name in SCALES and not isinstance(args[1], Computed):
        return _scaled(walk, node, first, args[1])
    names, of_rows = [], []
    for value in args:
        if not isinstance(value, Computed):
            of_rows.append(value)
            continue
        names.append(value.name)
        of_rows.append(value.rows)
        if value.columns is not None:
            walk.book.fix(value.columns, walk.reason(node, TOGETHER))
    rows = handler(walk, node, of_rows, kwargs)
    return Computed(names[0], rows, None) if isinstance(rows, Tensor) else rows


def _scaled(walk: Walk, node: Node, weight: Computed, scale: Any) -> Any:
    """A weight times a number, or times a vector along its rows or columns."""
    if isinstance(scale, Stored) and not is_vector(scale.shape):
        parts = [weight.rows, weight.columns, weight, scale]
        return walk.refuse(node, parts, "weights scaled element by element")
    factor = walk.as_labels(scale, node)
    if factor is None:
        return weight
    if torch.broadcast_shapes(factor.shape, weight.shape) != weight.rows.shape:
        parts = [weight.rows, weight.columns, factor]
        return walk.refuse(node, parts, "a weight scale of another shape")
    varying = set(varying_dims(factor.expand(weight.shape)))
    for part in (weight.rows, weight.columns):
        if part is not None and varying.intersection(varying_dims(part)):
            walk.book.tie(part, factor)
            return weight
    if varying:
        return walk.refuse(
            node,
            [weight.rows, weight.columns, factor],
            "a weight scale that varies along several axes",
        )
    return weight


def weight_norm(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """Weight normalization (v, g, dim): the rows of `v`, scaled to the lengths `g`."""
    v, g = (stored_value(walk, value, node) for value in args[:2])
    dim = args[2] if len(args) > 2 else 0
    if not isinstance(v, Computed) or dim != 0 or not isinstance(g, Tensor):
        return walk.refuse(node, [v, g], "a norm over the whole weight tensor")
    walk.book.tie(v.rows, g)
    if v.columns is not None:
        walk.book.fix(v.columns, walk.reason(node, TOGETHER))
    return Computed(v.name, v.rows, None)


def lies_along(weight: Any, dim: int) -> bool:
    """Whether an axis of a layer's weight is an axis of a parameter, so that it has labels."""
    if isinstance(weight, Computed):
        return _part(weight, dim) is not None
    return isinstance(weight, Stored)


def made_along(walk: Walk, weight: Stored | Computed, dim: int) -> tuple[Tensor, Axis]:
    """The labels along one axis of a layer's weight (1-D), and the parameter's axis to which they
    belong.
    """
    if isinstance(weight, Stored):
        return walk.made_by(Axis(weight.name, dim), weight.shape[dim]), Axis(weight.name, dim)
    found = _part(weight, dim)
    assert found is not None  # lies_along was checked before
    return found


def read_along(
    walk: Walk, node: Node, weight: Stored | Computed, dim: int, read: Tensor
) -> Axis | None:
    """The parameter's axis along which `read` (1-D) is read and masked; None if it is fixed."""
    if isinstance(weight, Stored):
        walk.label_axis(Axis(weight.name, dim), read)
        return Axis(weight.name, dim)
    found = None if weight.columns is None else _part(weight, dim)
    if found is None:
        walk.book.fix(read, walk.reason(node, TOGETHER))
        return None
    walk.book.tie(found[0], read)
    return found[1]


def made_width(walk: Walk, node: Node, axis: Axis, labels: Tensor, dim: int) -> Axis:
    """The output axis that a layer's FLOPs depend on: `axis` of its weight; if the layer reads only
    a part of the weight, `dim` of its output.
    """
    if walk.axes[axis].numel() == labels.numel():
        return axis
    return _own(walk, Axis(f"@{node.name}", dim), labels)


def read_width(walk: Walk, node: Node, axis: Axis, labels: Tensor) -> Axis:
    """The input axis that a layer's FLOPs depend on, in the same way."""
    if walk.axes[axis].numel() == labels.numel():
        return axis
    return _own(walk, Axis(f"@{node.name}.input", 0), labels)


def _own(walk: Walk, axis: Axis, labels: Tensor) -> Axis:
    walk.label_axis(axis, labels)
    return axis


def parts_of(weight: Any) -> list[Any]:
    """A weight and all its labels, to be fixed together."""
    return [weight, weight.rows, weight.columns] if isinstance(weight, Computed) else [weight]


def _part(weight: Computed, dim: int) -> tuple[Tensor, Axis] | None:
    """The labels along one axis of a computed weight, which are its parameter's rows or columns,
    and their axis; None if they are neither.
    """
    parts = [(weight.rows, Axis(weight.name, 0))]
    if weight.columns is not None:
        parts.insert(1 - dim, (weight.columns, Axis(weight.name, 1)))
    for labels, axis in parts:
        if weight.shape[dim] == 1 or dim in varying_dims(labels):
            found = along(labels, dim)
            return None if found is None else (found, axis)
    return None


HANDLERS: dict[str, Handler] = dict.fromkeys(
    ("_weight_norm", "_weight_norm_interface"), weight_norm
)
