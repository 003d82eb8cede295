"""One row of a comparison: what runs that differ only in their seed have in common."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from slimmer.recipe.costs import cost_kinds, costs_in
from slimmer.recipe.keys import differing
from slimmer.reports.finished_runs import Entry, short_path
from slimmer.reports.rows import column
from slimmer.reports.run_latencies import latencies

STAGES = ("dense", "removed", "slim")
# These have columns of their own, or are equal in all runs of a comparison.
NOT_SETTINGS = (
    "method.name",
    "finetune.epochs",
    "data.name",
    "data.path",
    "data.size",
    "log",
    "task.name",
)


def make_row(group: Sequence[Entry], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `group`, runs of one recipe; `settings` distinguish it from the other rows."""
    reports = [entry.report for entry in group]
    costs = {}
    for kind in costs_in(*reports):
        budget = group[0].settings.get(f"budget.{kind.name}")
        costs[kind.name] = _cost(kind.name, reports, budget)
    return {
        "method": reports[0]["method"],
        "settings": settings,
        "runs": [short_path(entry.run.path) for entry in group],
        "seeds": column(reports, "seed"),
        **costs,
        "masks_left": _masks_left(reports),
        "metric": reports[0].get("metric"),
        "accuracy": _accuracy(group),
        "epochs": reports[0]["epochs"],
        "seconds": _stat(column(reports, "seconds")),
        "profiled": _latency(group),
    }


def telling_settings(entry: Entry, groups: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    """The settings that distinguish an entry's row from the other rows.

    Options of its method are among them only if rows of the same method differ in them.
    """
    every, alike = [], []
    for group in groups:
        every.append(group[0].settings)
        if group[0].report["method"] == entry.report["method"]:
            alike.append(group[0].settings)
    own, others = [], []
    for key in differing(alike):
        if key.startswith("method."):
            own.append(key)
    for key in differing(every):
        if not key.startswith("method."):
            others.append(key)
    elsewhere = set(NOT_SETTINGS)
    for kind in cost_kinds():
        elsewhere.add(f"budget.{kind.name}")
    telling = {}
    for key in (*own, *others):
        if key not in elsewhere:
            telling[key] = entry.settings.get(key)
    return telling


def _accuracy(group: Sequence[Entry]) -> dict[str, Any] | None:
    """The main metric of each stage, or None without data."""
    stages = column((entry.report for entry in group), "accuracy")
    if stages[0] is None:
        return None
    found: dict[str, Any] = {}
    for stage in STAGES:
        found[stage] = _stat(column(stages, stage))
    if group[0].recipe.model.scratch:  # an untrained dense network is no baseline
        found["dense"] = None
    return found


def _masks_left(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the trained masks left of each cost before the exact projection; None without masks."""
    left = []
    for report in reports:
        shares = report.get("before_projection")
        if not shares:
            return None
        left.append(shares)
    found = {}
    for kind in costs_in(*left):
        found[kind.name] = _stat([each[kind.name] for each in left if kind.name in each])
    return found


def _cost(
    name: str, reports: Sequence[Mapping[str, Any]], budget: str | float | None
) -> dict[str, Any]:
    costs = [report[name] for report in reports if name in report]
    ratios, limit = column(costs, "ratio"), costs[0]["limit_ratio"]
    miss = None
    if limit is not None:
        miss = _stat([limit - ratio for ratio in ratios])
    return {
        "budget": budget,
        "limit_ratio": limit,
        "ratio": _stat(ratios),
        "sparsity": _stat(column(costs, "sparsity")),
        "miss": miss,
    }


def _latency(group: Sequence[Entry]) -> dict[str, Any]:
    """Latencies and speedup by place, over the runs that were profiled there."""
    found: dict[str, Any] = {}
    profiles = [entry.profile for entry in group if entry.profile]
    for place, figures in latencies(profiles).items():
        found[place] = {key: _stat(values) for key, values in figures.items()}
    return found


def _stat(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation (None for a single value), and number of values."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": std, "n": len(values)}
