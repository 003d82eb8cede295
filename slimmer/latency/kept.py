"""What is kept of the rounds: the plan, its latency as a cost, and the entry of report.json."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slimmer.costs import Budget
from slimmer.latency.build import MeasuredLatency
from slimmer.latency.measure import Taken
from slimmer.latency.table import machine_of, setting_of
from slimmer.pruning.plan import Plan

Search = Callable[[Budget], Plan]
"""The plan inside all budgets, with a latency budget in place of the recipe's."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A plan with a measured latency, the cost that gives it, and what report.json says."""

    plan: Plan
    cost: MeasuredLatency
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Tried:
    """A measured plan; `fit` is its latency on the fit, relative to dense."""

    plan: Plan
    fit: float
    dense: Taken
    slim: Taken


def record_of(
    best: Tried, tried: Sequence[Tried], cost: MeasuredLatency, seconds: float, limit: float
) -> dict[str, Any]:
    """What report.json says about the rounds."""
    return {
        **_about(cost),
        "measured": True,
        "ms": best.slim.ratio * cost.dense / 1e6,
        "ratio": best.slim.ratio,
        "low": best.slim.low,
        "high": best.slim.high,
        "limit_ratio": limit,
        "dense_ms_again": best.dense.ms,
        "slim_ms_again": best.slim.ms,
        "rounds": [each.slim.ratio for each in tried],
        "seconds": round(seconds, 1),
    }


def predicted(cost: MeasuredLatency, budget: Budget, search: Search) -> Kept:
    """The plan whose fitted latency is inside the budget by the largest error of the fit, for a
    table of another machine, where nothing can be measured here.
    """
    assert cost.fit is not None
    error = float(abs(cost.fit.errors).max())
    plan = search(Budget(cost, budget.limit / (1 + error)))
    ratio = cost.share(cost.exact(plan.widths))
    record = {
        **_about(cost),
        "measured": False,
        "ms": cost.exact(plan.widths) / 1e6,
        "ratio": ratio,
        "low": ratio / (1 + error),
        "high": ratio * (1 + error),
        "limit_ratio": budget.ratio,
        "dense_ms_again": None,
        "slim_ms_again": None,
        "rounds": [],
        "seconds": 0.0,
    }
    return Kept(plan, cost, record)


def _about(cost: MeasuredLatency) -> dict[str, Any]:
    """The setting, the machine and the fit of a latency."""
    assert cost.bench is not None
    assert cost.table is not None
    assert cost.fit is not None
    machine = cost.table.machine if not cost.here else machine_of(cost.bench.machine())
    return {
        "dense_ms": cost.dense / 1e6,
        "setting": setting_of(cost.bench.setting).model_dump(),
        "image": list(cost.bench.shape),
        "machine": dict(machine),
        "multiple": cost.multiple,
        "networks": len(cost.table.networks),
        "fit_error": cost.fit.error,
        "narrowest_ratio": min(row.ratio for row in cost.table.networks),
    }
