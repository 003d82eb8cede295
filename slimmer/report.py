"""All that was measured, as data; then as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from slimmer.costs import Budget, Cost
from slimmer.costs.flops import CONVENTION
from slimmer.plan import Plan
from slimmer.profile_text import SCHEMA as PROFILE_SCHEMA
from slimmer.profile_text import headline, parts
from slimmer.units import short

FIGURES = {
    "masks": "Values of the masks",
    "sparsity": "Sparsity over time",
    "training": "Accuracy and loss over time",
    "widths": "Channels of every group, dense and slim",
}
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


def to_markdown(
    report: Mapping[str, Any], exported: Mapping[str, Any] | None = None, profile: Mapping[str, Any] | None = None
) -> str:
    """The report for people: costs, accuracy, latency and export where they are known, widths, what stayed whole.

    The report's `figures` are paths from the folder that this text lies in, as `draw_run` named the files.
    """
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
    lines += _before_projection(report.get("before_projection"))
    lines += _accuracy(report["accuracy"])
    lines += _latency(profile) if profile else []
    lines += _onnx(exported) if exported else []
    lines += _figures(report.get("figures", ()))
    lines += ["## Widths", "", "| channel group | dense | slim |", "|---|---|---|"]
    lines += [f"| {row['name']} | {row['dense']} | {row['slim']} |" for row in report["groups"]]
    lines += ["", "## Not pruned", ""]
    lines += [
        f"- {row['layer']}: {row['channels']} of {row['of']} channels: {row['reason']}" for row in report["fixed"]
    ]
    return "\n".join([*lines, ""])


def _before_projection(left: Mapping[str, float] | None) -> list[str]:
    """How near the masks came by themselves, where there were any."""
    if left is None:
        return []
    shares = f"{left['flops']:.2%} of the FLOPs and {left['params']:.2%} of the parameters"
    return [f"The masks alone left {shares}; the exact projection did the rest.", ""]


def _figures(files: Sequence[str]) -> list[str]:
    """The pictures that the run has, by their paths from the report."""
    shown = [line for file in files for line in (f"![{FIGURES.get(PurePosixPath(file).stem, file)}]({file})", "")]
    return ["## Figures", "", *shown] if shown else []


def _latency(profile: Mapping[str, Any]) -> list[str]:
    """Dense against slim: the headline, then the tables, then what limits the figures."""
    if profile.get("schema") != PROFILE_SCHEMA:
        return ["## Latency", "", "profile.json is of another version of slimmer; `slimmer profile` makes it anew.", ""]
    first, *rest = parts(profile, every_layer=True)
    lines = [
        f"## {first.title}",
        "",
        *(f"- {text}" for text in headline(profile)),
        "",
        *_table(first.heads, first.rows),
    ]
    for part in rest:
        lines += [f"### {part.title}", "", *(_table(part.heads, part.rows) if part.rows else [])]
        lines += [*(f"- {text}" for text in part.says), ""] if part.says else []
    return lines


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(heads), "|".join(["---"] * len(heads)), *(" | ".join(row) for row in rows)]
    return [*(f"| {line} |" if index != 1 else f"|{line}|" for index, line in enumerate(lines)), ""]


def _onnx(exported: Mapping[str, Any]) -> list[str]:
    """What the ONNX files are and how they stand to PyTorch."""
    lines = ["| file | MB | max abs difference | same top-1 | top-1 in ONNX Runtime |", "|---|---|---|---|---|"]
    for network in exported["networks"].values():
        top1 = "" if network["accuracy"] is None else f"{network['accuracy']:.2%}"
        off = max(parity["max_abs"] for parity in network["parity"].values())
        same = min(parity["top1_agreement"] for parity in network["parity"].values())
        lines.append(f"| {network['file']} | {network['bytes'] / 1e6:.2f} | {off:.1e} | {same:.2%} | {top1} |")
    return ["## ONNX", "", *lines, ""]


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
