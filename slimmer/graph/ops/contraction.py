"""Products of two tensors whose axes are named by letters, as in einsum: an activation with a
weight, or two activations.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from slimmer.graph.channels import Axis, Layer
from slimmer.graph.labels import along, long_dims, spread, varying_dims
from slimmer.graph.nodes import layer_name, shape_of, source_of
from slimmer.graph.ops.computed import (
    lies_along,
    made_along,
    made_width,
    parts_of,
    read_along,
    read_width,
)
from slimmer.graph.walk import VARYING, Computed, Stored, Walk

SUMMED = "a product of activations summed over channels"
STORED = "an unsupported product with a parameter or buffer"
ALONE = "one value broadcast to several channels"
Terms = tuple[str, str, str]
"""The letters of the axes of the left side, of the right side, and of the result."""


def product(walk: Walk, node: Node, kind: str, operands: Sequence[Any], terms: Terms) -> Tensor:
    """The labels of a product of two tensors, counted as `kind`; letters that the result lacks are
    summed over.

    A parameter on one side is the weight of a layer: the activation's channels are read along their
    letter, and the first letter that only the weight has produces channels. For two activations,
    the channels of one side are kept, or those of both, tied.
    """
    first, second = operands
    left, right, result = terms
    total = _multiply_adds(first, second, terms)
    if any(len(set(term)) < len(term) for term in terms):
        found = None  # the diagonal of a tensor
    elif isinstance(first, Tensor) and isinstance(second, Tensor):
        found = _of_activations(walk, node, kind, (first, second), terms, total)
    elif isinstance(second, Tensor):
        found = _with_weight(walk, node, kind, (second, first), (right, left, result), total)
    elif isinstance(first, Tensor):
        found = _with_weight(walk, node, kind, (first, second), terms, total)
    else:
        found = None
    if found is not None:
        return found
    _count(walk, node, kind, (), total)
    both = isinstance(first, Tensor) and isinstance(second, Tensor)
    return walk.refuse(node, [*parts_of(first), *parts_of(second)], SUMMED if both else STORED)


def _of_activations(
    walk: Walk, node: Node, kind: str, operands: tuple[Tensor, Tensor], terms: Terms, total: int
) -> Tensor | None:
    """The labels of a product of activations; None if channels are summed over.

    No weight reads channels that are summed over, so no mask could represent their removal.
    """
    first, second = operands
    left, right, result = terms
    in_first = [left[dim] for dim in varying_dims(first)]
    in_second = [right[dim] for dim in varying_dims(second)]
    letters = {*in_first, *in_second}
    if len(letters) != 1 or not letters.issubset(result):
        return None
    [letter] = letters
    if in_first and in_second:
        labels = _along(first, left.index(letter))
        walk.book.tie(labels, _along(second, right.index(letter)))
    elif letter in left and letter in right:
        return None
    elif in_first:
        walk.book.fix(second, walk.reason(node, ALONE))
        labels = _along(first, left.index(letter))
    else:
        walk.book.fix(first, walk.reason(node, ALONE))
        labels = _along(second, right.index(letter))
    return _passed(walk, node, kind, labels, result.index(letter), total)


def _with_weight(
    walk: Walk,
    node: Node,
    kind: str,
    operands: tuple[Tensor, Stored | Computed],
    terms: Terms,
    total: int,
) -> Tensor | None:
    """The labels of a product of an activation with a parameter; None if it can't be followed."""
    entering, weight = operands
    own, stored, result = terms
    long = [stored[dim] for dim in long_dims(weight.shape)]
    varying = [own[dim] for dim in varying_dims(entering)]
    summed, made = [], []
    for letter in long:
        if letter in own and letter not in result:
            summed.append(letter)
        if letter in result and letter not in own:
            made.append(letter)
    read = varying or summed
    if len(varying) > 1 or not read:
        return None
    letter = read[0]
    labels = walk.read(entering, own.index(letter), node)
    if letter not in long and letter in result:  # positions are mixed, channels are kept
        walk.pinned.setdefault(weight.name, walk.reason(node, VARYING))
        return _passed(walk, node, kind, labels, result.index(letter), total)
    if letter in result and isinstance(weight, Stored):  # every channel has its own weights
        _fix_others(walk, node, weight, stored, letter)
        axis = Axis(weight.name, stored.index(letter))
        walk.label_axis(axis, labels)
        _count(walk, node, kind, (axis,), total)
        return spread(labels, result.index(letter), shape_of(node))
    if letter in result or letter not in long or not made:
        return None
    rows_dim, out_dim = stored.index(made[0]), result.index(made[0])
    if not lies_along(weight, rows_dim):
        return None
    _fix_others(walk, node, weight, stored, letter + made[0])
    inner = read_along(walk, node, weight, stored.index(letter), labels)
    rows, out = made_along(walk, weight, rows_dim)
    axes: tuple[Axis, ...] = (made_width(walk, node, out, rows, out_dim),)
    if inner is not None:
        axes += (read_width(walk, node, inner, labels),)
    walk.layers.append(Layer(layer_name(weight.name), kind, out, inner, source_of(node)))
    _count(walk, node, kind, axes, total)
    return spread(rows, out_dim, shape_of(node))


def _fix_others(
    walk: Walk, node: Node, weight: Stored | Computed, letters: str, followed: str
) -> None:
    """Fix the axes of a weight that are not followed here: something else may read it along
    them.
    """
    if isinstance(weight, Computed):
        return  # its rows and columns are followed or fixed where they are read
    for dim, letter in enumerate(letters):
        if letter not in followed:
            fixed = walk.book.fixed(
                (weight.shape[dim],), walk.reason(node, "weight entries at fixed positions")
            )
            walk.label_axis(Axis(weight.name, dim), fixed)


def _passed(walk: Walk, node: Node, kind: str, labels: Tensor, dim: int, total: int) -> Tensor:
    """Labels that are kept along `dim` of the result, on whose width the operation's FLOPs
    depend.
    """
    _count(walk, node, kind, (labelled(walk, node, dim, labels),), total)
    return spread(labels, dim, shape_of(node))


def labelled(walk: Walk, node: Node, dim: int, labels: Tensor) -> Axis:
    """The axis of the channels of `node`'s output."""
    axis = Axis(f"@{node.name}", dim)
    walk.label_axis(axis, labels)
    return axis


def _count(walk: Walk, node: Node, kind: str, axes: tuple[Axis, ...], total: int) -> None:
    """Record the multiply-adds, if any: `total` in the dense network, proportional to the widths of
    `axes`.
    """
    if total:
        widths = prod(len(walk.axes[axis]) for axis in axes)
        walk.count(node, kind, axes, total // widths)


def _along(labels: Tensor, dim: int) -> Tensor:
    """The labels along `dim`, the only axis along which they vary."""
    found = along(labels, dim)
    assert found is not None
    return found


def _multiply_adds(first: Any, second: Any, terms: Terms) -> int:
    """The multiply-adds of a product; 0 if nothing is summed, since an element-wise product is no
    multiply-add.
    """
    left, right, result = terms
    of_left = dict(zip(left, first.shape, strict=True))
    of_right = dict(zip(right, second.shape, strict=True))
    summed: list[int] = []
    for letter, size in of_left.items():
        if letter not in result and of_right.get(letter) == size:
            summed.append(size)
    if not summed:
        return 0
    sizes = [max(of_left.get(letter, 1), of_right.get(letter, 1)) for letter in result]
    count: int = prod(sizes) * prod(summed)
    return count
