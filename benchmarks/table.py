"""The JSON files of benchmarks/accuracy.py as Markdown: a table for each net, budget and length,
seeds merged.

python benchmarks/table.py benchmarks/results/screening > benchmarks/results/screening.md
"""

import json
import statistics
from itertools import groupby
from pathlib import Path
from typing import Any

import click

HEADS = (
    "method | distillation | seeds | FLOPs | params | "
    "after removal | after training | drop | seconds"
)


@click.command(help=__doc__)
@click.argument("folder", type=Path)
def main(folder: Path) -> None:
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*-seed*.json"))]
    print("# Accuracy at a budget, CIFAR-10\n")
    print(
        "Top-1 of the ONNX file on all 10,000 test images, by ONNX Runtime; mean ± standard "
        "deviation over seeds."
    )
    print("FLOPs as fvcore counts them. Seconds are of a shared machine: for scale only.")
    for (net, budgets, images), group in groupby(sorted(rows, key=_kind), _kind):
        same = list(group)
        dense = statistics.fmean(row["accuracy_dense"] for row in same)
        print(f"\n## {net}, {budgets} at most, {images:,} training images; dense {dense:.2%}\n")
        print(f"| {HEADS} |\n|{'---|' * 9}")
        merged: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in same:
            merged.setdefault((_method(row), _distillation(row)), []).append(row)
        ranked = sorted(merged.items(), key=lambda item: -_mean(item[1], "accuracy_onnxruntime"))
        for (method, distill), found in ranked:
            drop = 100 * (dense - _mean(found, "accuracy_onnxruntime"))
            print(
                f"| {method} | {distill} | {len(found)} | {_mean(found, 'flops_ratio'):.2%} "
                f"| {_mean(found, 'params_ratio'):.2%} | {_spread(found, 'accuracy_removed')} "
                f"| {_spread(found, 'accuracy_onnxruntime')} | {drop:.2f} | "
                f"{_mean(found, 'seconds'):.0f} |"
            )
    for method, note in sorted({(row["method"], row["note"]) for row in rows if "note" in row}):
        print(f"\n{method}: {note}.")
    print("\nEach row's files hold command, date, versions, hardware and the whole recipe.")


def _method(row: dict[str, Any]) -> str:
    """Its name, the number of plans that are tried, if any, and bf16 if it trains in that."""
    plans = row["recipe"]["method"].get("search", 0)
    parts = [str(row["method"])]
    if plans:
        parts.append(f"search {plans}")
    if row["recipe"]["finetune"].get("precision") == "bf16-mixed":
        parts.append("bf16")
    return ", ".join(parts)


def _distillation(row: dict[str, Any]) -> str:
    """Its weight, and its temperature, without which scores are matched by their difference."""
    heat = row["recipe"]["finetune"]["temperature"]
    weight = f"{row['distill']:g}"
    return weight if heat is None or not row["distill"] else f"{weight} at {heat:g}"


def _kind(row: dict[str, Any]) -> tuple[str, str, int]:
    budgets = row.get("budgets", {"flops": 0.5})
    return (
        row["net"],
        ", ".join(f"{name} {share:.0%}" for name, share in budgets.items()),
        row["images"],
    )


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(row[key] for row in rows)


def _spread(rows: list[dict[str, Any]], key: str) -> str:
    std = f" ± {100 * statistics.stdev(row[key] for row in rows):.2f}" if len(rows) > 1 else ""
    return f"{100 * _mean(rows, key):.2f}{std}"


if __name__ == "__main__":
    main()
