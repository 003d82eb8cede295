"""What a step of fine-tuning with its teacher costs beside a dense step, paired in one process,
from the directories of runs (`slimmer prune … --epochs 0 --out RUN`).

    python benchmarks/run_cost.py RUN RUN --out benchmarks/results/run_cost.json

A dense fine-tuning has the dense step alone. A slimming run has the slim step and the teacher's
forward, which is saved where `data.views` repeats a view. All three are also measured in bf16
(`finetune.precision=bf16-mixed`), for CPUs that compute in it.
"""

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

import slimmer
from slimmer.profiling.runtimes.environment import environment


@click.command(help=__doc__)
@click.argument("runs", type=Path, nargs=-1, required=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--rounds", default=11, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--out", type=Path, required=True)
def main(runs: tuple[Path, ...], batch: int, rounds: int, threads: int, out: Path) -> None:
    torch.set_num_threads(threads)
    rows = [measured(run, batch, rounds) for run in runs]
    for row in rows:
        print(row)
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": threads,
        "rows": rows,
        "environment": environment(),
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measured(run: Path, batch: int, rounds: int) -> dict[str, Any]:
    """Medians in milliseconds of the three parts in each precision, taken in turns, and ratios to
    the dense step in float32.
    """
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    images = torch.randn(batch, *report["input_size"])
    images = images.contiguous(memory_format=torch.channels_last)
    parts: dict[str, Callable[[], None]] = {}
    for bf16 in (False, True):
        dense, slim = (slimmer.load(run / f"{name}.safetensors") for name in ("dense", "slim"))
        teacher = slimmer.load(run / "dense.safetensors")
        end = "_bf16" if bf16 else ""
        parts[f"dense{end}"] = _step(dense, images, bf16=bf16)
        parts[f"slim{end}"] = _step(slim, images, bf16=bf16)
        parts[f"teacher{end}"] = _forward(teacher, images, bf16=bf16)
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            times[name].append(time.perf_counter() - began)
    found = {name: statistics.median(each[1:]) * 1e3 for name, each in times.items()}
    dense_step = found["dense"]
    in_bf16 = found["slim_bf16"] + found["teacher_bf16"]
    return {
        "run": run.name,
        "batch": batch,
        "flops": report["flops"]["ratio"],
        **{f"{name}_ms": round(each, 1) for name, each in found.items()},
        "without_teacher": round(found["slim"] / dense_step, 3),
        "with_teacher": round((found["slim"] + found["teacher"]) / dense_step, 3),
        "without_teacher_bf16": round(found["slim_bf16"] / dense_step, 3),
        "with_teacher_bf16": round(in_bf16 / dense_step, 3),
        "with_teacher_bf16_to_dense_bf16": round(in_bf16 / found["dense_bf16"], 3),
    }


def _step(network: nn.Module, images: Tensor, *, bf16: bool) -> Callable[[], None]:
    network.train().requires_grad_(requires_grad=True).to(memory_format=torch.channels_last)
    update = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, nesterov=True)

    def step() -> None:
        update.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = network(images)
        outputs.float().logsumexp(1).mean().backward()
        update.step()

    return step


def _forward(network: nn.Module, images: Tensor, *, bf16: bool) -> Callable[[], None]:
    network.eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            network(images)

    return forward


if __name__ == "__main__":
    main()
