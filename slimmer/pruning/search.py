"""The search for widths inside every budget: shrink until they fit, fill up, exchange."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from slimmer.costs import Budget, Cost
from slimmer.graph import ChannelGraph
from slimmer.pruning.limits import Floats, Limits, floors_in, multiple_of, sizes_in

TOLERANCE = 0.003  # relative to dense: a smaller gap below the tightest budget is accepted


class Search:
    """Widths while they are searched; a class, because the steps share a dozen arrays."""

    def __init__(
        self,
        scores: Tensor,
        graph: ChannelGraph,
        budgets: Sequence[Budget],
        limits: Limits,
        *,
        priced: bool,
        guide: Cost | None = None,
    ) -> None:
        """`guide` prices units in place of the budgets' costs while groups shrink."""
        self.priced = priced
        self.guide = None if guide is None else (guide.arrays(), float(guide.dense))
        self.costs = [budget.cost.arrays() for budget in budgets]
        self.limits = [budget.limit for budget in budgets]
        self.dense = [float(budget.cost.dense) for budget in budgets]
        self.multiples = [multiple_of(group, limits) for group in graph.groups]
        self.sizes = sizes_in(graph, limits)
        self.floors = floors_in(graph, limits, self.inside)
        self.widths = self.sizes.copy()
        self.orders, self.cumulated = [], []
        parts = scores.detach().double().cpu().split(graph.widths)
        for part, size in zip(parts, self.sizes, strict=True):
            self.orders.append(torch.sort(part, stable=True).indices.numpy())
            # cumulated[g][k]: the score of the k lowest units of those that group g may keep
            choice = np.sort(part.numpy())[len(part) - int(size) :]
            self.cumulated.append(np.concatenate([[0.0], np.cumsum(choice)]))

    def excess(self, widths: Floats) -> Floats:
        """How far each budget is exceeded, relative to dense (negative: room left)."""
        found = []
        for cost, limit, dense in zip(self.costs, self.limits, self.dense, strict=True):
            found.append((cost.value(widths) - limit) / dense)
        return np.array(found)

    def gap(self) -> float:
        """The gap between the widths and the tightest budget, relative to dense."""
        return float(-self.excess(self.widths).max())

    def inside(self, widths: Floats) -> bool:
        """Whether `widths` meet every budget."""
        return bool((self.excess(widths) <= 0).all())

    def down(self, group: int) -> float:
        """The width of `group` one step narrower."""
        width, multiple = self.widths[group], self.multiples[group]
        narrower = width - multiple if width % multiple == 0 else width - width % multiple
        return float(max(narrower, self.floors[group]))

    def up(self, group: int) -> float:
        """The width of `group` one step wider."""
        width, multiple = self.widths[group], self.multiples[group]
        return float(min(width - width % multiple + multiple, self.sizes[group]))

    def lost(self, group: int, width: float) -> float:
        """The score that is lost if `group` has `width`."""
        return float(self.cumulated[group][int(self.sizes[group] - width)])

    def price(self, weights: Floats) -> Floats:
        """The cost of one unit of each group, relative to dense, summed over the budgets with
        `weights`.
        """
        if not self.priced:
            return np.ones_like(self.widths)
        shares = []
        for weight, cost, dense in zip(weights, self.costs, self.dense, strict=True):
            shares.append(weight * cost.marginal(self.widths) / dense)
        total: Floats = np.sum(shares, axis=0)
        return np.maximum(total, 1e-30)

    def shrinking_price(self, excess: Floats) -> Floats:
        """The price of one unit of each group while groups shrink: by the guide, or by the budgets
        that are not met yet.
        """
        if self.guide is None or not self.priced:
            return self.price((excess > 0).astype(np.float64))
        cost, dense = self.guide
        return np.maximum(cost.marginal(self.widths) / dense, 1e-30)

    def shrink_(self) -> None:
        """Remove the unit with the lowest score per cost, one by one, until every budget is met or
        all groups have their minimum width.
        """
        groups = range(len(self.widths))
        narrower = np.array(list(map(self.down, groups)))
        loss = np.array([self.lost(g, narrower[g]) - self.lost(g, self.widths[g]) for g in groups])
        while (excess := self.excess(self.widths)).max(initial=0.0) > 0:
            gain = self.shrinking_price(excess) * (self.widths - narrower)
            ratio = np.where(gain > 1e-20, loss / np.maximum(gain, 1e-20), np.inf)
            ratio[narrower == self.widths] = np.inf
            best = int(np.argmin(ratio))
            if (narrower == self.widths).all():
                return
            if not np.isfinite(ratio[best]):
                best = int(np.argmax(self.widths - narrower))
            self.widths[best] = narrower[best]
            narrower[best] = self.down(best)
            loss[best] = self.lost(best, narrower[best]) - self.lost(best, self.widths[best])

    def fill_(self) -> None:
        """Add units back, the highest score per cost first, as long as every budget is met."""
        while True:
            price = self.price(np.ones(len(self.costs)))
            candidates = []
            for group in range(len(self.widths)):
                wider = self.up(group)
                if wider > self.widths[group] and self.fits({group: wider}):
                    value = self.lost(group, self.widths[group]) - self.lost(group, wider)
                    cost = price[group] * (wider - self.widths[group])
                    candidates.append((value / cost, group, wider))
            if not candidates:
                return
            _, group, wider = max(candidates)
            self.widths[group] = wider

    def fits(self, changed: Mapping[int, float]) -> bool:
        """Whether every budget is met with the widths in `changed`."""
        widths = self.widths.copy()
        for group, width in changed.items():
            widths[group] = width
        return self.inside(widths)

    def exchange_(self, tolerance: float = TOLERANCE, rounds: int = 50) -> None:
        """Exchange units between groups until the gap below the tightest budget is at most
        `tolerance`, relative to dense.

        In each round one group gets a step narrower and another a step wider, if that reduces the
        gap. Of the exchanges that reduce it most, within a tenth of the best one, the one that
        keeps the most score is chosen.
        """
        for _ in range(rounds):
            gap = self.gap()
            if gap <= tolerance:
                return
            trades = list(self._trades(gap))
            if not trades:
                return
            least = min(trade[0] for trade in trades)
            good = [trade for trade in trades if trade[0] <= least + 0.1 * gap]
            _, _, source, target = min(good, key=lambda trade: trade[1])
            self.widths[source], self.widths[target] = self.down(source), self.up(target)
            self.fill_()

    def regain_(self, tolerance: float = TOLERANCE, rounds: int = 10) -> None:
        """Close a gap that no single exchange closes: widen one group, and shrink others until the
        budgets are met.

        This is needed if a step of the narrowed group costs more than a step of any other group.
        """
        for _ in range(rounds):
            gap = self.gap()
            if gap <= tolerance:
                return
            better = []
            for group in range(len(self.widths)):
                if self.up(group) > self.widths[group]:
                    found = self._widened(group)
                    if 0 <= found[0] < gap - 1e-12:
                        better.append(found)
            if not better:
                return
            _, _, self.widths = min(better, key=lambda each: (max(each[0], tolerance), each[1]))
            self.exchange_(tolerance)

    def _widened(self, group: int) -> tuple[float, float, Floats]:
        """(remaining gap, lost score, widths) with `group` a step wider and the others shrunk to
        fit.
        """
        widths, floors = self.widths.copy(), self.floors.copy()
        self.widths[group] = self.floors[group] = self.up(group)
        self.shrink_()
        self.fill_()
        lost = sum(map(self.lost, range(len(self.widths)), self.widths))
        found = self.gap(), lost, self.widths
        self.widths, self.floors = widths, floors
        return found

    def _trades(self, gap: float) -> "list[tuple[float, float, int, int]]":
        """(remaining gap, lost score, source, target) of every exchange that reduces the gap."""
        found = []
        for source in range(len(self.widths)):
            narrower = self.down(source)
            if narrower == self.widths[source]:
                continue
            for target in range(len(self.widths)):
                wider = self.up(target)
                if target == source or wider == self.widths[target]:
                    continue
                widths = self.widths.copy()
                widths[source], widths[target] = narrower, wider
                left = -self.excess(widths).max()
                if 0 <= left < gap - 1e-12:
                    lost = self.lost(source, narrower) - self.lost(source, self.widths[source])
                    won = self.lost(target, self.widths[target]) - self.lost(target, wider)
                    found.append((left, lost - won, source, target))
        return found
