"""Weights that are computed before a layer reads them: scaled, moved, standardised, put through a
function.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import along, varying_dims
from slimmer.graph.ops.movement import MOVES, RESHAPES
from slimmer.graph.walk import Computed, Handler, Stored, Walk

SCALES = ("mul", "mul_", "div", "div_")
TOGETHER = "weights that are computed from all inputs together"
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


def stored_value(walk: Walk, value: Any, node: Node) -> Any:
    """A parameter that an operation other than a layer reads: the labels of a vector, a `Computed`
    of more axes.
    """
    if (
        not isinstance(value, Stored)
        or sum(size > 1 for size in value.shape) <= 1
        or len(value.shape) < 2
    ):
        return walk.stored_labels(value, node)
    return Computed(value.name, walk.stored_axis(value, 0), walk.stored_axis(value, 1))


def computed(
    walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any], *, handler: Handler
) -> Any:
    """What `handler` makes of a parameter on its way to a layer.

    The rows go through like any labels. The columns follow where a column of zeros stays one (data
    movement, a scale): only then a mask on the parameter is a mask on the weight. Otherwise they
    stay.
    """
    name = str(node.target).split(".")[1]
    first: Any = args[0]
    alone = isinstance(first, Computed) and not any(
        isinstance(value, (Computed, Tensor, Stored)) for value in args[1:]
    )
    if (
        alone
        and first.columns is not None
        and name in {*MOVES, *RESHAPES, *PARTS, *AS_IT_IS, *SCALES}
    ):
        rows, columns = (
            handler(walk, node, [part, *args[1:]], kwargs) for part in (first.rows, first.columns)
        )
        return Computed(first.name, rows, columns)
    if isinstance(first, Computed) and name in SCALES and not isinstance(args[1], Computed):
        return _scaled(walk, node, first, args[1])
    parts = [value for value in args if isinstance(value, Computed)]
    for part in parts:
        if part.columns is not None:
            walk.book.fix(part.columns, walk.reason(node, TOGETHER))
    rows = handler(
        walk, node, [value.rows if isinstance(value, Computed) else value for value in args], kwargs
    )
    return Computed(parts[0].name, rows, None) if isinstance(rows, Tensor) else rows


def _scaled(walk: Walk, node: Node, weight: Computed, scale: Any) -> Any:
    """A weight times a vector, which lies along its rows or along its columns, or times one number."""
    if isinstance(scale, Stored) and sum(size > 1 for size in scale.shape) > 1:
        return walk.refuse(
            node, [weight.rows, weight.columns, weight, scale], "weights scaled one by one"
        )
    factor = walk.as_labels(scale, node)
    if factor is None or torch.broadcast_shapes(factor.shape, weight.shape) != weight.rows.shape:
        return (
            weight
            if factor is None
            else walk.refuse(node, [weight.rows, weight.columns, factor], "a wider scale")
        )
    varying = set(varying_dims(factor.expand(weight.shape)))
    for part in (weight.rows, weight.columns):
        if part is not None and varying.intersection(varying_dims(part)):
            walk.book.tie(part, factor)
            return weight
    if varying:
        return walk.refuse(
            node, [weight.rows, weight.columns, factor], "a scale of weights over several axes"
        )
    return weight


def weight_norm(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Any:
    """The rows of `v`, scaled to the lengths `g`: (v, g, dim)."""
    v, g = (stored_value(walk, value, node) for value in args[:2])
    dim = args[2] if len(args) > 2 else 0
    if not isinstance(v, Computed) or dim != 0 or not isinstance(g, Tensor):
        return walk.refuse(node, [v, g], "a norm over all weights")
    walk.book.tie(v.rows, g)
    if v.columns is not None:
        walk.book.fix(v.columns, walk.reason(node, TOGETHER))
    return Computed(v.name, v.rows, None)


def lies_along(weight: Any, dim: int) -> bool:
    """Whether an axis of a layer's weight is an axis of a parameter, so that labels can be told
    along it.
    """
    return isinstance(weight, Stored) or (
        isinstance(weight, Computed) and _part(weight, dim) is not None
    )


def made_along(walk: Walk, weight: Stored | Computed, dim: int) -> tuple[Tensor, Axis]:
    """The labels along one axis of a layer's weight (1-D), and the axis of the parameter that they
    lie on.
    """
    if isinstance(weight, Stored):
        return walk.made_by(Axis(weight.name, dim), weight.shape[dim]), Axis(weight.name, dim)
    found = _part(weight, dim)
    assert found is not None  # asked of lies_along before
    return found


def read_along(
    walk: Walk, node: Node, weight: Stored | Computed, dim: int, read: Tensor
) -> Axis | None:
    """The axis of the parameter that `read` (1-D) is read along and masked on; None where it stays."""
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
    """What a layer's FLOPs grow with on its output's side: `axis` of its weight, or, of a part,
    `dim` of its output.
    """
    return (
        axis
        if walk.axes[axis].numel() == labels.numel()
        else _own(walk, Axis(f"@{node.name}", dim), labels)
    )


def read_width(walk: Walk, node: Node, axis: Axis, labels: Tensor) -> Axis:
    """The same on its input's side."""
    return (
        axis
        if walk.axes[axis].numel() == labels.numel()
        else _own(walk, Axis(f"@{node.name}.input", 0), labels)
    )


def _own(walk: Walk, axis: Axis, labels: Tensor) -> Axis:
    walk.label_axis(axis, labels)
    return axis


def parts_of(weight: Any) -> list[Any]:
    """A weight and all labels that lie on it, to be fixed together."""
    return [weight, weight.rows, weight.columns] if isinstance(weight, Computed) else [weight]


def _part(weight: Computed, dim: int) -> tuple[Tensor, Axis] | None:
    """What lies along one axis of a computed weight: its parameter's rows or columns; None where
    neither does.
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
