r"""What a whole slimming run costs beside a dense fine-tuning of as many epochs: CPU seconds of the
whole commands, in turns.

    python benchmarks/whole_run.py recipes/cifar_resnet20.yaml CHECKPOINT CIFAR_DIR \
        --set finetune.epochs=3 --out benchmarks/results/whole_run/resnet20.json

The dense fine-tuning is the same command at 100 % of the FLOPs, without teacher and compensation
and with random scores: it loads, traces, trains and evaluates, and nothing else. Both are also run
in bf16 (`finetune.precision`). What the commands print goes to the error stream.
"""

import shlex
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from export_cost import spent

from slimmer.atomic_files import read_json, write_json
from slimmer.profiling.runtimes.environment import environment

DENSE = {
    "budget.flops": "1.0",
    "method.name": "random",
    "method.compensate": "false",
    "finetune.distill": "0",
}
RUNS = {
    "dense": DENSE,
    "slim": {},
    "dense, bf16": {**DENSE, "finetune.precision": "bf16-mixed"},
    "slim, bf16": {"finetune.precision": "bf16-mixed"},
}


@click.command(help=__doc__)
@click.argument("recipe", type=Path)
@click.argument("checkpoint", type=Path)
@click.argument("data", type=Path)
@click.option("--set", "settings", multiple=True, help="A value of the recipe, key=value.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--out", type=Path, required=True)
def main(
    recipe: Path, checkpoint: Path, data: Path, settings: tuple[str, ...], rounds: int, out: Path
) -> None:
    given = {"data.path": str(data), **dict(each.split("=", 1) for each in settings)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    for _ in range(rounds):
        for name, changed in RUNS.items():
            found[name].append(measured(recipe, checkpoint, {**given, **changed}))
            print(name, found[name][-1], flush=True)
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "runs": found,
        "ratios": ratios(found),
        "environment": environment(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, result)


def measured(recipe: Path, checkpoint: Path, settings: dict[str, str]) -> dict[str, Any]:
    """CPU and wall-clock seconds of one command, the remaining FLOPs, and top-1 at its end."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "slimmer", "prune", str(checkpoint)]
        command += ["--recipe", str(recipe), "--out", str(run)]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        cpu, wall = spent(command, stdout=sys.stderr)
        report = read_json(run / "report.json")
    return {
        "cpu_s": round(cpu, 1),
        "wall_s": round(wall, 1),
        "flops": report["flops"]["ratio"],
        "top1": report["accuracy"]["slim"],
    }


def ratios(found: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """The median, over rounds, of the CPU seconds beside the dense fine-tuning's of that round."""
    result = {}
    for name, runs in found.items():
        pairs = zip(runs, found["dense"], strict=True)
        result[name] = round(statistics.median(a["cpu_s"] / b["cpu_s"] for a, b in pairs), 3)
    return result


if __name__ == "__main__":
    main()
