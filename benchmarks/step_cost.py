"""What a training step under masks costs beside a dense one, paired in one process.

python benchmarks/step_cost.py --out benchmarks/results/step_cost.json
"""

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from slimmer.graph import build_graph
from slimmer.models import build, find
from slimmer.profiling.runtimes.environment import environment
from slimmer.pruning.masks import Masked


@click.command(help=__doc__)
@click.option("--nets", default="cifar_resnet20,cifar_resnet56")
@click.option("--batch", default=128)
@click.option("--pairs", default=15)
@click.option("--threads", default=2)
@click.option("--out", type=Path, required=True)
def main(nets: str, batch: int, pairs: int, threads: int, out: Path) -> None:
    torch.set_num_threads(threads)
    rows = [measure(net, batch, pairs) for net in nets.split(",")]
    for row in rows:
        print(row)
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    result = {
        "date": stamp,
        "batch": batch,
        "threads": threads,
        "rows": rows,
        "environment": environment(),
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(net: str, batch: int, pairs: int) -> dict[str, float | str]:
    """Medians of a dense and a masked step, and the median of their ratios, taken in turns."""
    size = find(net).input_size
    images = torch.randn(batch, *size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    dense = build(net).to(memory_format=torch.channels_last)
    inner = build(net).to(memory_format=torch.channels_last)
    graph = build_graph(inner, size)
    masked = Masked(inner, graph, torch.ones(graph.units))
    steps = [_step(network, images, labels) for network in (dense, masked)]
    for step in steps:
        step(), step()
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        first = pair % 2
        seconds = {which: _timed(steps[which]) for which in (first, 1 - first)}
        times.append((seconds[0], seconds[1]))
    return {
        "net": net,
        "dense_ms": 1e3 * statistics.median(a for a, _ in times),
        "masked_ms": 1e3 * statistics.median(b for _, b in times),
        "ratio_median": statistics.median(b / a for a, b in times),
        "pairs": pairs,
    }


def _step(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def _timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
