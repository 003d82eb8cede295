"""One cost as masks see it: what they leave of it, and what each of their units costs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slimmer.costs import Cost


@dataclass(frozen=True, eq=False)
class Metric:
    """A cost and the sizes of the channel groups that a mask (units,) runs through."""

    cost: Cost
    sizes: tuple[int, ...]

    def widths(self, values: Tensor) -> Tensor:
        """The sum of `values` (units,) in every group, (groups,), float64, on the CPU where costs
        live.
        """
        parts = values.detach().double().cpu().split(list(self.sizes))
        return (
            torch.stack([part.sum() for part in parts])
            if parts
            else torch.zeros(0, dtype=torch.float64)
        )

    def left(self, values: Tensor) -> float:
        """What remains of the cost, as a share of dense, at the widths that `values` (units,) add
        up to.
        """
        return float(self.cost.value(self.widths(values))) / self.cost.dense

    def sparsity(self, mask: Tensor) -> float:
        """The share of the cost that goes when only masks above zero stay."""
        return 1 - self.left(mask > 0)

    def price(self, values: Tensor) -> Tensor:
        """What one more unit of its group costs at the widths of `values`, as a share of dense, for
        every unit.

        (units,), of the type and on the device of `values`. A group that is all gone counts as one
        unit wide, so that its neighbours still cost something.
        """
        by_group = self.cost.marginal(self.widths(values).clamp_min(1)) / self.cost.dense
        return by_group.to(values).repeat_interleave(torch.tensor(self.sizes, device=values.device))
