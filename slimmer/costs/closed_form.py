"""A cost that is a sum of products of widths, each width linear in the channel groups' widths."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from slimmer.costs.cost import Cost, Floats
from slimmer.graph import Axis, ChannelGraph

Array = TypeVar("Array", Tensor, Floats)


@dataclass(frozen=True)
class Term:
    """`factor` times the product of the widths of one or two axes."""

    factor: int
    axes: tuple[Axis, ...]


@dataclass(frozen=True, eq=False)
class Quadratic(Generic[Array]):
    """`constant` + `linear` @ w + w @ `products` @ w / 2, for widths w (groups,).

    `products` (groups, groups) is symmetric. Arrays and widths are both of PyTorch or both of
    NumPy. All are integers in float64, so the value of integer widths is exact below 2^52.
    """

    products: Array
    linear: Array
    constant: float

    def value(self, widths: Array) -> Any:
        """The sum at `widths`."""
        return (self.products @ widths / 2 + self.linear) @ widths + self.constant

    def marginal(self, widths: Array) -> Array:
        """The gradient of the sum (groups,)."""
        return self.products @ widths + self.linear


@dataclass(frozen=True, eq=False)
class ClosedForm(Cost):
    """A cost with a closed form: `form` of the widths, which is `dense` at full width."""

    name: str
    form: Quadratic[Tensor]
    dense: int

    def value(self, widths: Tensor) -> Tensor:
        """The cost of `widths` (groups,), in units of the cost; differentiable."""
        found: Tensor = self.form.value(widths.to(torch.float64))
        return found

    def marginal(self, widths: Tensor) -> Tensor:
        """What one more unit of each group costs at `widths`: the gradient (groups,)."""
        return self.form.marginal(widths.to(torch.float64))

    def arrays(self) -> "Quadratic[Floats]":
        """The same formula on NumPy arrays."""
        form = self.form
        return Quadratic(form.products.numpy(), form.linear.numpy(), form.constant)


def closed_form(
    name: str, graph: ChannelGraph, terms: Sequence[Term], constant: int = 0
) -> ClosedForm:
    """The sum of `terms` as a function of the widths of `graph.groups`.

    The width of an axis is `members` @ w + `rest`: the positions of one unit of each group, and the
    positions that are not pruned. The product of two such widths is expanded.
    """
    members, rest, rows = _axes(graph, terms)
    one = len(rows)  # an axis of width 1, for terms of one axis
    pairs = []
    for term in terms:
        numbers = [rows[axis] for axis in term.axes]
        pairs.append([*numbers, one, one][:2])
    first, second = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    factor = torch.tensor([float(term.factor) for term in terms], dtype=torch.float64)
    products = (factor[:, None] * members[first]).T @ members[second]
    linear = (factor * rest[second]) @ members[first] + (factor * rest[first]) @ members[second]
    kept = constant + float((factor * rest[first] * rest[second]).sum())
    form = Quadratic(products + products.T, linear, kept)
    full = torch.tensor(graph.widths, dtype=torch.float64)
    return ClosedForm(name, form, round(float(form.value(full))))


def _axes(graph: ChannelGraph, terms: Sequence[Term]) -> tuple[Tensor, Tensor, dict[Axis, int]]:
    """`members` (axes, groups) and `rest` (axes,), with a last axis of width 1; and the row of each
    axis.
    """
    rows: dict[Axis, int] = {}
    for term in terms:
        for axis in term.axes:
            rows.setdefault(axis, len(rows))
    members = torch.zeros(len(rows) + 1, len(graph.groups), dtype=torch.float64)
    for column, group in enumerate(graph.groups):
        for part in group.slices:
            if part.axis in rows:
                members[rows[part.axis], column] = part.multiplicity
    full = torch.tensor(graph.widths, dtype=torch.float64)
    sizes = dict(graph.sizes)
    dense = torch.tensor([*(sizes[axis] for axis in rows), 1], dtype=torch.float64)
    return members, dense - members @ full, rows


def volume(graph: ChannelGraph, axes: Sequence[Axis]) -> int:
    """The product of the dense widths of `axes`."""
    sizes = dict(graph.sizes)
    return prod(sizes[axis] for axis in axes)
