"""The interface of a cost, and a budget on a cost."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimmer.errors import BudgetError

Floats = NDArray[np.float64]


class ArrayCost(Protocol):
    """A cost on NumPy arrays, for thousands of evaluations a second."""

    def value(self, widths: Floats, /) -> float:
        """The cost of `widths` (groups,)."""

    def marginal(self, widths: Floats, /) -> Floats:
        """The cost of one more unit of each group at `widths`, (groups,)."""


@runtime_checkable
class Cost(Protocol):
    """A cost of one network as a function of the widths of its channel groups.

    A subclass defines `name`, `dense` and `value`; the other methods follow from these and may be
    overridden. A narrower group must never cost more: the search for widths relies on it.
    """

    name: str
    dense: int  # the cost of the whole network, in the cost's unit

    @abstractmethod
    def value(self, widths: Tensor) -> Tensor:
        """The cost of real `widths` (groups,), in the cost's unit: one number, differentiable."""

    def marginal(self, widths: Tensor) -> Tensor:
        """The cost of one more unit of each group at `widths`: the gradient of `value`,
        (groups,).
        """
        point = widths.detach().to(torch.float64).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.value(point), point)
        return gradient

    def exact(self, widths: Sequence[int]) -> int:
        """The cost of integer widths, rounded to the unit."""
        return round(float(self.value(torch.tensor(widths, dtype=torch.float64))))

    def share(self, value: float) -> float:
        """A value of this cost relative to dense; 1 if the dense network costs nothing."""
        return value / self.dense if self.dense else 1.0

    def arrays(self) -> ArrayCost:
        """The same cost for NumPy arrays."""
        return _ThroughTorch(self)


@dataclass(frozen=True)
class _ThroughTorch:
    cost: Cost

    def value(self, widths: Floats) -> float:
        return float(self.cost.value(torch.from_numpy(widths)))

    def marginal(self, widths: Floats) -> Floats:
        return np.asarray(self.cost.marginal(torch.from_numpy(widths)).detach().numpy())


@dataclass(frozen=True, eq=False)
class Budget:
    """A cost and its limit, in the unit of the cost. Raises BudgetError if the dense cost is 0."""

    cost: Cost
    limit: float

    def __post_init__(self) -> None:
        if not self.cost.dense:
            found = f"the dense network has 0 {self.cost.name}, so there is nothing to remove"
            right = "set a budget on another cost"
            raise BudgetError(f"budget.{self.cost.name}", found, right)

    @property
    def ratio(self) -> float:
        """The limit relative to dense."""
        return self.cost.share(self.limit)
