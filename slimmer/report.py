"""All that was measured, as data; then as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from slimmer.costs import Budget, Cost
from slimmer.costs.flops import CONVENTION
from slimmer.plan import Plan
from slimmer.units import short

CONVENTIONS = {"flops": CONVENTION, "params": "elements of all parameters, buffers not counted"}


def cost_report(cost: Cost, plan: Plan, budgets: Sequence[Budget]) -> dict[str, Any]:
    """One cost of dense and slim, what remains, what is gone, and how it stands to its budget."""
    slim = cost.exact(plan.widths)
    limit = next((budget.limit for budget in budgets if budget.cost.name == cost.name), None)
    return {
        "convention": CONVENTIONS[cost.name],
        "dense": cost.dense,
        "slim": slim,
        "ratio": slim / cost.dense,
        "sparsity": 1 - slim / cost.dense,
        "limit": limit,
        "limit_ratio": None if limit is None else limit / cost.dense,
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report for people: headings, two tables and what stayed whole."""
    lines = [f"# {report['arch'] or 'module'}, slimmed", ""]
    lines += [
        (
            f"slimmer {report['slimmer']}, {report['date']}, method {report['method']}, seed {report['seed']}, "
            f"{report['epochs']:g} epochs, recipe {report['recipe_hash']}, plan {report['plan_hash']}"
        ),
        "",
    ]
    lines += ["| | dense | slim | remains | sparsity | budget |", "|---|---|---|---|---|---|"]
    for name, label in (("flops", "FLOPs"), ("params", "parameters")):
        lines.append(_cost_row(label, report[name]))
    lines += [
        "",
        (
            f"FLOPs: {report['flops']['convention']}, one image of {'x'.join(map(str, report['input_size']))}. "
            f"Recount of the slim network: fvcore {report['recount']['fvcore']:,}; torch.utils.flop_counter "
            f"{report['recount']['torch']:,} (two per multiply-add, convolutions and linear layers)."
        ),
        "",
    ]
    lines += _accuracy(report["accuracy"])
    lines += ["## Widths", "", "| channel group | dense | slim |", "|---|---|---|"]
    lines += [f"| {row['name']} | {row['dense']} | {row['slim']} |" for row in report["groups"]]
    lines += ["", "## Not pruned", ""]
    lines += [
        f"- {row['layer']}: {row['channels']} of {row['of']} channels: {row['reason']}" for row in report["fixed"]
    ]
    return "\n".join([*lines, ""])


def _cost_row(label: str, cost: Mapping[str, Any]) -> str:
    limit = "none" if cost["limit"] is None else f"at most {short(cost['limit'])} ({cost['limit_ratio']:.2%})"
    return (
        f"| {label} | {cost['dense']:,} | {cost['slim']:,} | {cost['ratio']:.2%} | {cost['sparsity']:.2%} | {limit} |"
    )


def _accuracy(accuracy: Mapping[str, float] | None) -> list[str]:
    if accuracy is None:
        return [
            "No data was given: accuracy is not known, and batch norm keeps the dense network's statistics.",
            "",
        ]
    rows = [
        ("dense", "dense"),
        ("removed", "after removal, batch norm recalibrated"),
        ("slim", "slim, after training"),
    ]
    table = [f"| {label} | {accuracy[key]:.2%} |" for key, label in rows]
    return ["| top-1 on the test images | |", "|---|---|", *table, ""]
