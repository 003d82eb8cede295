"""Budgets: what each cost was limited to, and what remains of it."""

from collections.abc import Mapping
from typing import Any

from slimmer.recipe.costs import CostKind, costs_in
from slimmer.reports.hints import convention_hint, traced_hint, uncounted_hint
from slimmer.reports.latency_budget import latency_hint
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.reports.page.words import percent
from slimmer.reports.run_report import recounted


def view(files: RunFiles) -> Mapping[str, Any]:
    """A bar for each cost, and how the costs are counted."""
    report = files.report
    bars = [_bar(kind, report[kind.name]) for kind in files.costs]
    notes = [*convention_hint(report), f"Counted for {report['inputs']}", recounted(report)]
    notes += [*uncounted_hint(report), *traced_hint(report)]
    return {
        "bars": bars,
        "notes": notes,
        "masks": _before_projection(report),
        "measured": latency_hint(report),
    }


def _bar(kind: CostKind, cost: Mapping[str, Any]) -> dict[str, Any]:
    """A cost: shares as positions on a bar that ends at the largest of them, and texts."""
    limit = cost["limit_ratio"]
    end = max(1.0, cost["ratio"], limit or 0)
    if limit is None:
        asked = "no budget"
    else:
        spare = percent(limit - cost["ratio"], 2)
        asked = f"budget {kind.short(cost['limit'])} ({percent(limit)}), {spare} to spare"
    return {
        "label": kind.label,
        "remaining": percent(cost["ratio"]),
        "dense": kind.short(cost["dense"]),
        "slim": kind.short(cost["slim"]),
        "asked": asked,
        "width": 100 * cost["ratio"] / end,
        "limit": None if limit is None else 100 * limit / end,
        "over": limit is not None and cost["ratio"] > limit,
    }


def _before_projection(report: Mapping[str, Any]) -> str | None:
    """What the masks alone left, if masks were trained."""
    left = report.get("before_projection")
    if not left:
        return None
    shares = [f"{percent(left[kind.name])} of the {kind.label}" for kind in costs_in(left)]
    return (
        f"The trained masks alone left {' and '.join(shares)}; the exact projection removed the "
        "rest."
    )


SECTION = Section("budgets", "Budgets", view, half=True)
