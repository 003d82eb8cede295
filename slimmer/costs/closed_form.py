"""A cost that is a sum of products of widths, each width linear in the widths of the channel groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from slimmer.errors import BudgetError
from slimmer.graph import Axis, ChannelGraph


@dataclass(frozen=True)
class Term:
    """`factor` times the product of the widths of one or two axes."""

    factor: int
    axes: tuple[Axis, ...]


@dataclass(frozen=True, eq=False)
class Cost:
    """A cost of a network as a function of its groups' widths.

    With w the widths (groups,), the axes' widths are a = `members` @ w + `rest`, and the cost is
    `constant` + sum over terms of `factor` * a[`first`] * a[`second`]. All float64, so exact below 2^53.
    """

    name: str
    constant: float
    members: Tensor  # (axes, groups): positions that one unit of a group takes on an axis
    rest: Tensor  # (axes,): positions that stay
    factor: Tensor  # (terms,)
    first: Tensor  # (terms,)
    second: Tensor  # (terms,)
    full: Tensor  # (groups,): widths of the dense network

    def __call__(self, widths: Tensor) -> Tensor:
        """The cost of `widths` (groups,), in units of the cost; differentiable."""
        axes = self.members @ widths.to(torch.float64) + self.rest
        return (self.factor * axes[self.first] * axes[self.second]).sum() + self.constant

    def marginal(self, widths: Tensor) -> Tensor:
        """What one more unit of each group costs at `widths`: the gradient (groups,)."""
        axes = self.members @ widths.to(torch.float64) + self.rest
        by_axis = torch.zeros_like(self.rest)
        by_axis.index_add_(0, self.first, self.factor * axes[self.second])
        by_axis.index_add_(0, self.second, self.factor * axes[self.first])
        return by_axis @ self.members

    @property
    def dense(self) -> int:
        """The cost of the whole network."""
        return round(float(self(self.full)))

    def share(self, value: float) -> float:
        """A value of this cost as a share of dense; all of it where the whole network costs nothing."""
        return value / self.dense if self.dense else 1.0

    def exact(self, widths: Sequence[int]) -> int:
        """The cost of whole widths, to the unit."""
        return round(float(self(torch.tensor(widths, dtype=torch.float64))))


@dataclass(frozen=True, eq=False)
class Budget:
    """A cost and what may remain of it. Raises BudgetError for the cost of a network that has nothing of it."""

    cost: Cost
    limit: float

    def __post_init__(self) -> None:
        if not self.cost.dense:
            found = f"the dense network has 0 {self.cost.name}, of which nothing can go"
            raise BudgetError(f"budget.{self.cost.name}", found, "give a budget on something that it has")

    @property
    def ratio(self) -> float:
        """What may remain, as a share of dense."""
        return self.cost.share(self.limit)


def closed_form(name: str, graph: ChannelGraph, terms: Sequence[Term], constant: int = 0) -> Cost:
    """The cost that `terms` add up to, in the widths of `graph.groups`."""
    rows: dict[Axis, int] = {}
    for term in terms:
        for axis in term.axes:
            rows.setdefault(axis, len(rows))
    one = len(rows)  # an axis of width 1, for terms of one axis
    members = torch.zeros(one + 1, len(graph.groups), dtype=torch.float64)
    for column, group in enumerate(graph.groups):
        for part in group.slices:
            if part.axis in rows:
                members[rows[part.axis], column] = part.multiplicity
    full = torch.tensor([group.size for group in graph.groups], dtype=torch.float64)
    sizes = dict(graph.sizes)
    dense = torch.tensor([*(sizes[axis] for axis in rows), 1], dtype=torch.float64)
    pairs = [[rows[axis] for axis in term.axes] + [one] * (2 - len(term.axes)) for term in terms]
    return Cost(
        name=name,
        constant=float(constant),
        members=members,
        rest=dense - members @ full,
        factor=torch.tensor([float(term.factor) for term in terms], dtype=torch.float64),
        first=torch.tensor([pair[0] for pair in pairs], dtype=torch.int64),
        second=torch.tensor([pair[1] for pair in pairs], dtype=torch.int64),
        full=full,
    )


def volume(graph: ChannelGraph, axes: Sequence[Axis]) -> int:
    """The product of the dense widths of `axes`."""
    sizes = dict(graph.sizes)
    return prod(sizes[axis] for axis in axes)
