"""The table of benchmarks/latency_budget.py: one row for each case.

    python benchmarks/latency_budget_table.py benchmarks/results/latency_budget

That script writes the table too, after every case.
"""

import json
from pathlib import Path
from typing import Any

import click

from slimmer.atomic_files import write_text

HEADS = (
    *("network", "budget", "provider", "precision", "threads", "batch", "busy", "load", "slimmer"),
    *("apart, CPU", "wall", "rounds", "seconds"),
)


@click.command(help=__doc__)
@click.argument("folder", type=Path)
def main(folder: Path) -> None:
    write_table(folder)
    print((folder / "README.md").read_text(), end="")


def write_table(folder: Path) -> None:
    """Write README.md from the lines of cases.jsonl in `folder`."""
    rows = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    lines = [__doc__.splitlines()[0], "", f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    kept = [row for row in rows if "apart" in row]
    inside = [row for row in kept if counted(row) <= row["case"]["budget"]["latency"]]
    near = [row for row in inside if counted(row) >= 0.95 * row["case"]["budget"]["latency"]]
    lines += ["", f"{len(rows)} cases, {len(kept)} with a plan; by the other script "]
    lines[-1] += f"{len(inside)} inside the budget, {len(near)} of them within 5 % of it."
    write_text(folder / "README.md", "\n".join([*lines, ""]))


def counted(row: dict[str, Any]) -> float:
    """The ratio by the clock that counts: CPU time of one thread, wall time of several."""
    clock = "cpu" if row["case"].get("threads") == 1 else "wall"
    return row["apart"][clock]["ratio"]


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a case."""
    case = row["case"]
    budget = ", ".join(f"{name} {share:g}" for name, share in case["budget"].items())
    first = [case["net"], budget, case.get("provider", "cpu"), case.get("precision", "fp32")]
    first += [str(case.get("threads", "")), str(case["batch"])]
    first += [str(row["busy"]), f"{row['load']:.1f}"]
    if "apart" not in row:
        why = "; ".join([row["refused"].splitlines()[0], *filter(None, [row.get("note")])])
        return [*first, f"refused: {why}", "", "", "", f"{row['seconds']:.0f}"]
    found, apart = row["latency"], row["apart"]
    shown = f"{found['ratio']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
    ratios = [f"{apart[clock]['ratio']:.3f}" for clock in ("cpu", "wall")]
    return [*first, shown, *ratios, str(len(found["rounds"])), f"{row['seconds']:.0f}"]


if __name__ == "__main__":
    main()
