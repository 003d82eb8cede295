"""Two networks whose true ratio is known, timed beside busy processes: what CPU time says, and what
wall time says.

    python benchmarks/busy.py --out benchmarks/results/busy.json

The second network is the first ones of the layers of the first. Both are timed by `slimmer
profile`'s own means, on one thread and on two, first as the machine is, then beside so many
processes that only compute. The load that others make is in the result: a ratio "without load" is a
quiet one only where that is near 0. It takes five minutes at most, and its processes end with it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slimmer.atomic_files import write_json
from slimmer.profiling.profile_networks import Conditions, Effort, Network, profile
from slimmer.profiling.runtimes.environment import environment

CHANNELS, SIDE = 32, 32
LONGEST = 300  # seconds that a busy process lives, whatever becomes of this one
BUSY = f"import time\nend = time.time() + {LONGEST}\nwhile time.time() < end: sum(range(100_000))"


@click.command(help=__doc__)
@click.option("--out", type=Path, required=True)
@click.option(
    "--layers",
    default="40,2;4,2",
    show_default=True,
    help="of the first and the second network; pairs",
)
@click.option("--load", default=4, show_default=True, help="processes that only compute")
@click.option("--threads", default="1,2", show_default=True)
@click.option("--blocks", default=11, show_default=True)
@click.option("--seconds", default=0.5, show_default=True)
def main(out: Path, layers: str, load: int, threads: str, blocks: int, seconds: float) -> None:
    pairs = [tuple(map(int, pair.split(","))) for pair in layers.split(";")]
    conditions = Conditions(
        input_size=(CHANNELS, SIDE, SIDE),
        effort=Effort(seconds=seconds, runs=5, blocks=blocks),
        batches=(1,),
        threads=tuple(map(int, threads.split(","))),
    )
    rows = []
    for processes in (0, load):
        with busy(processes):
            for pair in pairs:
                rows += list(timed(pair, processes, conditions))
    machine = environment()
    write_json(
        out,
        {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": machine,
            "numpy": version("numpy"),
            "rows": rows,
        },
    )
    print("\n".join(to_table(rows)))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """A block beside so many processes that only compute."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def timed(pair: Sequence[int], processes: int, conditions: Conditions) -> Iterator[dict[str, Any]]:
    """A network compared with one of fewer layers, one row for each number of threads."""
    with tempfile.TemporaryDirectory(prefix="slimmer-busy-") as folder:
        networks = [
            Network(f"{depth} layers", chain(Path(folder) / f"{depth}.onnx", depth))
            for depth in pair
        ]
        found = profile(networks, conditions)
    milliseconds = {(row.model, row.threads): row for row in found.timings}
    for one in found.comparisons:
        row = milliseconds[one.model, one.threads]
        print(
            f"{pair}, {one.threads} threads, {processes} processes: {one.wall} {one.cpu}",
            file=sys.stderr,
        )
        yield {
            "layers": list(pair),
            "processes": processes,
            "load": os.getloadavg()[0],
            "threads": one.threads,
            "wall": [one.wall.speedup, one.wall.low, one.wall.high],
            "cpu": None if one.cpu is None else [one.cpu.speedup, one.cpu.low, one.cpu.high],
            "undisturbed": one.undisturbed,
            "quoted": one.by,
            "waited": row.waited,
            "median_ms": [milliseconds[name.name, one.threads].median_ms for name in networks],
            "cpu_median_ms": [
                milliseconds[name.name, one.threads].cpu_median_ms for name in networks
            ],
        }


def to_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as Markdown."""
    lines = [
        "| layers | threads | processes | load | by wall time | by CPU time | waited | quoted |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        waited = "" if row["waited"] is None else f"{row['waited']:.0%}"
        cells = [
            " against ".join(map(str, row["layers"])),
            row["threads"],
            row["processes"],
            f"{row['load']:.1f}",
        ]
        cells += [told(row["wall"]), told(row["cpu"]), waited, row["quoted"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def told(ratio: Sequence[float | None] | None) -> str:
    """A ratio with its interval in a cell."""
    if ratio is None:
        return ""
    speedup, low, high = ratio
    return f"{speedup:.2f}" if low is None else f"{speedup:.2f} ({low:.2f} to {high:.2f})"


def chain(path: Path, layers: int) -> Path:
    """An ONNX file of so many convolutions of 3x3, one behind the other, each with a ReLU."""
    draw, nodes, weights, last = np.random.default_rng(0), [], [], "input"
    shape = CHANNELS, CHANNELS, 3, 3
    for layer in range(layers):
        weight = (draw.standard_normal(shape) / np.sqrt(9 * CHANNELS)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"weight_{layer}"))
        nodes.append(
            helper.make_node("Conv", [last, f"weight_{layer}"], [f"sum_{layer}"], pads=[1, 1, 1, 1])
        )
        last = "logits" if layer == layers - 1 else f"made_{layer}"
        nodes.append(helper.make_node("Relu", [f"sum_{layer}"], [last]))
    images = ["batch", CHANNELS, SIDE, SIDE]
    value = helper.make_tensor_value_info
    ends = [value("input", TensorProto.FLOAT, images)], [value("logits", TensorProto.FLOAT, images)]
    graph = helper.make_graph(nodes, "chain", *ends, weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path
    )
    return path


if __name__ == "__main__":
    main()
