"""Products of tensors, as in attention and in weights without a layer, with letters for their
axes.
"""

import string
from collections.abc import Sequence
from itertools import islice
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.equation import letters_of
from slimmer.graph.labels import along, spread, tensors_among, varying_dims
from slimmer.graph.nodes import shape_of
from slimmer.graph.ops.computed import parts_of
from slimmer.graph.ops.contraction import STORED, SUMMED, labelled, product
from slimmer.graph.ops.linear import layer
from slimmer.graph.walk import Computed, Handler, Stored, Walk


def matmul(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels of `a @ b`. With a parameter of two axes on the right, it is a linear layer."""
    a, b = args
    kind = str(node.target).split(".")[1]
    if isinstance(a, Tensor) and isinstance(b, (Stored, Computed)) and len(b.shape) == 2:
        return layer(walk, node, kind, (a, b, None), (1, 0))
    if min(len(a.shape), len(b.shape)) < 2:
        walk.count(node, kind, (), prod(shape_of(node)) * a.shape[-1])
        return walk.refuse(node, [*parts_of(a), *parts_of(b)], STORED)
    batch = string.ascii_lowercase[: max(len(a.shape), len(b.shape)) - 2]
    terms = (
        f"{_last(batch, len(a.shape) - 2)}XY",
        f"{_last(batch, len(b.shape) - 2)}YZ",
        f"{batch}XZ",
    )
    return product(walk, node, kind, (a, b), terms)


def _last(letters: str, number: int) -> str:
    return letters[len(letters) - number :]


def addmm(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels of `torch.addmm(bias, a, b)`, a linear layer whose weight is `b`."""
    bias, a, b = args[:3]
    has_bias = isinstance(bias, Tensor) and bias.dim() == 1
    if has_bias and isinstance(a, Tensor) and isinstance(b, (Stored, Computed)):
        return layer(walk, node, "addmm", (a, b, bias), (1, 0))
    walk.count(node, "addmm", (), prod(shape_of(node)) * a.shape[-1])
    return walk.refuse(node, [*parts_of(bias), *parts_of(a), *parts_of(b)], STORED)


def einsum(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels of an einsum of two operands; the labels of more operands are fixed."""
    equation, operands = args[:2]
    if len(operands) != 2:
        walk.count(node, "einsum", (), prod(shape_of(node)))
        parts: list[Any] = []
        for value in operands:
            parts += parts_of(value)
        return walk.refuse(node, parts, SUMMED)
    [left, right], result = letters_of(equation, [len(value.shape) for value in operands])
    return product(walk, node, "einsum", operands, (left, right, result))


def tensordot(walk: Walk, node: Node, args: Sequence[Any], _kwargs: dict[str, Any]) -> Tensor:
    """Labels of a product that is summed over the given axes of both sides."""
    a, b, of_a, of_b = args[:4]
    names = iter(string.ascii_letters)
    left, right = list(islice(names, len(a.shape))), list(islice(names, len(b.shape)))
    for mine, other in zip(of_a, of_b, strict=True):
        right[other] = left[mine]
    summed = {left[dim] for dim in of_a}
    result = [letter for letter in (*left, *right) if letter not in summed]
    return product(
        walk, node, "tensordot", (a, b), ("".join(left), "".join(right), "".join(result))
    )


def attention(walk: Walk, node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Labels of scaled_dot_product_attention(q, k, v): the values' channels are kept, queries and
    keys are fixed.

    Whole heads are tied in queries, keys and values. The FLOPs are those of two products: queries
    with keys, summed over the keys' width, and the result with values, summed over the keys.
    """
    q, k, v = args[:3]
    rest = (*args[3:], *kwargs.values())
    others = [value for value in rest if isinstance(value, (Tensor, Stored))]
    tensors = len(tensors_among((q, k, v))) == 3
    shape, kind = shape_of(node), "scaled_dot_product_attention"
    keys, width = k.shape[-2:]
    rows = prod(shape[:-1]) * keys  # pairs of a query and a key
    if tensors and not others and varying_dims(v) == [v.dim() - 1]:
        walk.book.fix(q, walk.reason(node, SUMMED))
        walk.book.fix(k, walk.reason(node, SUMMED))
        labels, dim = _one(v, v.dim() - 1), len(shape) - 1
        walk.count(node, kind, (), rows * width)
        walk.count(node, kind, (labelled(walk, node, dim, labels),), rows)
        return spread(labels, dim, shape)
    heads = list(map(varying_dims, (q, k, v))) if tensors else []
    if not others and heads == [[v.dim() - 3]] * 3:
        q, k, v = (_one(value, value.dim() - 3) for value in (q, k, v))
        walk.book.tie(q, k)
        walk.book.tie(q, v)
        axis = labelled(walk, node, len(shape) - 3, v)
        walk.count(node, kind, (axis,), rows * (width + shape[-1]) // len(v))
        return spread(v, len(shape) - 3, shape)
    walk.count(node, kind, (), rows * (width + shape[-1]))
    return walk.refuse(node, [q, k, v, *others], SUMMED)


def _one(labels: Tensor, dim: int) -> Tensor:
    """The labels along `dim`, the only axis along which they vary."""
    found = along(labels, dim)
    assert found is not None
    return found


HANDLERS: dict[str, Handler] = {
    "matmul": matmul,
    "bmm": matmul,
    "mm": matmul,
    "addmm": addmm,
    "einsum": einsum,
    "tensordot": tensordot,
    "scaled_dot_product_attention": attention,
}
EITHER_SIDE = frozenset({"matmul", "bmm", "mm", "tensordot"})  # the weight may be on the left too
