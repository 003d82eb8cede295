"""Whether a profile says the same twice: one comparison, ten times, each in a process of its own.

    python benchmarks/repeatability.py --out benchmarks/results/repeatability.json
    python benchmarks/repeatability.py DENSE.onnx SLIM.onnx --out FILE.json

Without files it compares ResNet-20 with its half (multiples of 8). It reports the spread of the
reported speed-up (highest over lowest, less 1), how many of the printed 95 % intervals hold the
median of all reports, and how many hold every report.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from latency import export_all, pruned

from slimmer.atomic_files import write_json
from slimmer.models import find


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=Path)
@click.option("--out", type=Path, required=True)
@click.option("--net", default="cifar_resnet20", show_default=True)
@click.option("--repeats", default=10, show_default=True)
@click.option(
    "--set",
    "options",
    default="--batch 1,32 --threads 1",
    show_default=True,
    help="of `slimmer profile`",
)
def main(files: tuple[Path, ...], out: Path, net: str, repeats: int, options: str) -> None:
    with tempfile.TemporaryDirectory(prefix="slimmer-repeat-") as folder:
        if not files:
            size = find(net).input_size
            models = pruned(net, 0.5, (8,), size, peer=False)
            files = tuple(network.path for network in export_all(models, Path(folder), size))
        command = [
            sys.executable,
            "-m",
            "slimmer",
            "profile",
            *map(str, files),
            *options.split(),
            "--json",
        ]
        reports = [once(command, number, repeats) for number in range(repeats)]
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": " ".join(command[2:]),
        "cases": summary(reports),
        "environments": [report["environment"] for report in reports],
        "comparisons": [report["comparisons"] for report in reports],
    }
    write_json(out, result)
    for case in result["cases"]:
        print(
            f"batch {case['batch']}, {case['threads'] or 'all'} threads: {case['speedup']:.3f}, "
            "spread "
            f"{case['spread']:.1%}; of {case['reports']} intervals {case['covered']} hold it, "
            f"{case['hold_all']} all"
        )


def once(command: Sequence[str], number: int, repeats: int) -> dict[str, Any]:
    """What one profile reports."""
    print(f"{number + 1} of {repeats}", file=sys.stderr, flush=True)
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(answer.stdout)
    return report


def summary(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every comparison that the reports share: the median speed-up, its spread, and what the
    intervals hold.
    """
    cases: dict[tuple[str, int, int | None], list[dict[str, Any]]] = {}
    for report in reports:
        for one in report["comparisons"]:
            cases.setdefault((one["model"], one["batch"], one["threads"]), []).append(one)
    found = []
    for (model, batch, threads), same in cases.items():
        speedups = [one["speedup"] for one in same]
        middle = statistics.median(speedups)
        with_one = [one for one in same if one["low"] is not None]
        found.append(
            {
                "model": model,
                "batch": batch,
                "threads": threads,
                "reports": len(same),
                "speedup": middle,
                "lowest": min(speedups),
                "highest": max(speedups),
                "spread": max(speedups) / min(speedups) - 1,
                "covered": sum(one["low"] <= middle <= one["high"] for one in with_one),
                "hold_all": sum(
                    one["low"] <= min(speedups) and max(speedups) <= one["high"] for one in with_one
                ),
                "interval_width": width_of(with_one),
            }
        )
    return found


def width_of(same: Sequence[dict[str, Any]]) -> float | None:
    """The median width of the intervals, over their speed-ups; None where no report has one."""
    widths = [(one["high"] - one["low"]) / one["speedup"] for one in same]
    return statistics.median(widths) if widths else None


if __name__ == "__main__":
    main()
