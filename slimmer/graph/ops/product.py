"""Products of activations, as in attention: what is summed over stays; the other side's channels pass through."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis
from slimmer.graph.labels import along, spread, varying_dims
from slimmer.graph.ops.linear import layer
from slimmer.graph.walk import Computed, Handler, Stored, Walk, shape_of

SUMMED = "a product of activations over channels"


def matmul(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels of `a @ b`: those along a's rows or along b's columns, or along a batch axis of both.

    No weight reads what is summed over, so no mask could stand for its removal: it stays. With a parameter on the
    right it is a linear layer.
    """
    a, b = args
    kind = str(node.target).split(".")[1]
    if isinstance(a, Tensor) and isinstance(b, (Stored, Computed)) and len(b.shape) == 2:
        return layer(walk, node, kind, (a, b, None), (1, 0))
    shape = shape_of(node)
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or min(a.dim(), b.dim()) < 2:
        walk.count(node, kind, (), prod(shape) * (a.shape[-1]))
        return walk.refuse(node, [a, b], "a product with a stored tensor")
    found = _passed(walk, node, a, b)
    volume = prod(shape) * a.shape[-1]
    if found is None:
        walk.count(node, kind, (), volume)
        return walk.refuse(node, [a, b], SUMMED)
    labels, dim = found
    walk.count(node, kind, (_labelled(walk, node, dim, labels),), volume // len(labels))
    return spread(labels, dim, shape)


def _passed(walk: Walk, node: Node, a: Tensor, b: Tensor) -> tuple[Tensor, int] | None:
    """The labels that pass through `a @ b` and the axis of the result along which they lie; None where none do."""
    rank = max(a.dim(), b.dim())
    in_a, in_b = varying_dims(a), varying_dims(b)
    alone = "one value for several channels"
    if in_a == [a.dim() - 2] and not in_b:
        walk.book.fix(b, walk.reason(node, alone))
        return _one(a, a.dim() - 2), rank - 2
    if in_b == [b.dim() - 1] and not in_a:
        walk.book.fix(a, walk.reason(node, alone))
        return _one(b, b.dim() - 1), rank - 1
    batch = [dim - a.dim() for dim in in_a]
    if len(batch) == 1 and batch == [dim - b.dim() for dim in in_b] and batch[0] < -2:
        walk.book.tie(_one(a, in_a[0]), _one(b, in_b[0]))
        return _one(a, in_a[0]), rank + batch[0]
    return None


def _one(labels: Tensor, dim: int) -> Tensor:
    """The labels along `dim`, the only axis along which they vary."""
    found = along(labels, dim)
    assert found is not None
    return found


def einsum(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Fixed labels: fvcore rounds its count of an einsum to four digits, so no closed form could be exact."""
    walk.count(node, "einsum", (), prod(shape_of(node)))
    return walk.refuse(node, list(args[1]), SUMMED)


def attention(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels of scaled_dot_product_attention(q, k, v): the values' channels pass, queries and keys stay.

    Whole heads that queries, keys and values have in common go together. Its FLOPs are two products: queries by keys
    sum over the keys' width, and what comes out by values over the keys.
    """
    q, k, v = args[:3]
    others = [value for value in (*args[3:], *kwargs.values()) if isinstance(value, (Tensor, Stored))]
    tensors = all(isinstance(value, Tensor) for value in (q, k, v))
    shape, kind = shape_of(node), "scaled_dot_product_attention"
    keys, width = k.shape[-2:]
    rows = prod(shape[:-1]) * keys  # every query meets every key
    if tensors and not others and varying_dims(v) == [v.dim() - 1]:
        walk.book.fix(q, walk.reason(node, SUMMED))
        walk.book.fix(k, walk.reason(node, SUMMED))
        labels, dim = _one(v, v.dim() - 1), len(shape) - 1
        walk.count(node, kind, (), rows * width)
        walk.count(node, kind, (_labelled(walk, node, dim, labels),), rows)
        return spread(labels, dim, shape)
    heads = [varying_dims(value) for value in (q, k, v)] if tensors else []
    if not others and heads == [[v.dim() - 3]] * 3:
        q, k, v = (_one(value, value.dim() - 3) for value in (q, k, v))
        walk.book.tie(q, k)
        walk.book.tie(q, v)
        axis = _labelled(walk, node, len(shape) - 3, v)
        walk.count(node, kind, (axis,), rows * (width + shape[-1]) // len(v))
        return spread(v, len(shape) - 3, shape)
    walk.count(node, kind, (), rows * (width + shape[-1]))
    return walk.refuse(node, [q, k, v, *others], SUMMED)


def _labelled(walk: Walk, node: Node, dim: int, labels: Tensor) -> Axis:
    """The axis along which the channels of what `node` makes lie."""
    axis = Axis(f"@{node.name}", dim)
    walk.label_axis(axis, labels)
    return axis


HANDLERS: dict[str, Handler] = {
    "matmul": matmul,
    "bmm": matmul,
    "mm": matmul,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
}
