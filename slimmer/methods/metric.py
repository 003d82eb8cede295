"""A cost as a function of masks: what remains of it, and the cost of each unit."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slimmer.costs import Cost


@dataclass(frozen=True, eq=False)
class Metric:
    """A cost and the sizes of the channel groups of a mask (units,)."""

    cost: Cost
    sizes: tuple[int, ...]

    def widths(self, values: Tensor) -> Tensor:
        """The sum of `values` (units,) in every group: (groups,), float64, on the CPU."""
        parts = values.detach().double().cpu().split(list(self.sizes))
        if not parts:
            return torch.zeros(0, dtype=torch.float64)
        return torch.stack([part.sum() for part in parts])

    def left(self, values: Tensor) -> float:
        """The remaining cost, relative to dense, at the widths that `values` (units,) add up to."""
        return float(self.cost.value(self.widths(values))) / self.cost.dense

    def sparsity(self, mask: Tensor) -> float:
        """The share of the cost that is removed if only units with masks above zero are kept."""
        return 1 - self.left(mask > 0)

    def price(self, values: Tensor) -> Tensor:
        """For every unit, the cost of one more unit of its group at the widths of `values`,
        relative to dense.

        The result is (units,), of the type and on the device of `values`. A group without units
        counts as one unit wide, so that its neighbours still have a cost.
        """
        by_group = self.cost.marginal(self.widths(values).clamp_min(1)) / self.cost.dense
        return by_group.to(values).repeat_interleave(torch.tensor(self.sizes, device=values.device))
