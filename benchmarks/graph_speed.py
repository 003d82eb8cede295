"""How long the channel graph takes, by the size of the network: torch.export, the label walk,
Torch-Pruning beside.

    python benchmarks/graph_speed.py --out benchmarks/results

Each network of torchvision's ResNets and DenseNets (264 from its parts), random weights, one image
of 224 x 224, in a process of its own, one thread; the median of three. Torch-Pruning traces with
autograd and builds its dependency graph. Channels are those of all activations: a DenseNet's
concatenations pass each channel on through every later layer of its block, so that they grow faster
than its layers, and labels are per channel.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from torch import nn
from torchvision_here import import_torchvision

from slimmer.atomic_files import write_json, write_text
from slimmer.graph.program import export_program
from slimmer.graph.trace import channel_graph, walk_program
from slimmer.profiling.runtimes.environment import environment

SIZE = (3, 224, 224)
NETS = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "densenet121",
    "densenet169",
    "densenet201",
]
DENSENET264 = (
    6,
    12,
    64,
    48,
)  # Huang et al., Densely Connected Convolutional Networks (2017), table 1
REPEATS = 3
HEADS = (
    "network",
    "layers",
    "channels",
    "channel groups",
    "torch.export s",
    "label walk s",
    "both, ms a layer",
    "walk, us a channel",
    "Torch-Pruning s",
)


@click.command(help=__doc__)
@click.option("--out", type=Path, help="Where graph_speed.json and graph_speed.md go.")
@click.option("--nets", default=",".join([*NETS, "densenet264"]), show_default=True)
@click.option("--child", is_flag=True, hidden=True)
def main(out: Path | None, nets: str, child: bool) -> None:
    torch.set_num_threads(1)
    if child:
        print(json.dumps(measure(nets)))
        return
    rows = []
    for net in nets.split(","):
        command = [sys.executable, __file__, "--nets", net, "--child"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(row_text(rows[-1]), flush=True)
    if out is not None:
        found = {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "rows": rows,
        }
        write_json(out / "graph_speed.json", found)
        write_text(out / "graph_speed.md", table(found))


def measure(net: str) -> dict[str, Any]:
    """Seconds of each part for one network, the median of a few."""
    import_torchvision()
    import torch_pruning as tp  # noqa: PLC0415

    model = build(net).eval()
    programs, walks, peers = [], [], []
    for _ in range(REPEATS):
        program, seconds = timed(lambda: export_program(model, SIZE))
        programs.append(seconds)
        walk, seconds = timed(lambda: channel_graph(walk_program(model, program), model))  # noqa: B023 - called at once
        walks.append(seconds)
        _, seconds = timed(
            lambda: tp.DependencyGraph().build_dependency(model, torch.zeros(1, *SIZE))
        )
        peers.append(seconds)
    layers = sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in model.modules())
    activations = [
        node.meta.get("val") for node in program.graph.nodes if node.op == "call_function"
    ]
    channels = sum(
        value.shape[1]
        for value in activations
        if isinstance(value, torch.Tensor) and value.dim() > 1
    )
    parts = {
        "export_s": median(programs),
        "walk_s": median(walks),
        "torch_pruning_s": median(peers),
    }
    return {"net": net, "layers": layers, "channels": channels, "groups": len(walk.groups), **parts}


def build(net: str) -> nn.Module:
    """A network of torchvision's, or DenseNet-264 of its parts."""
    from torchvision import models  # noqa: PLC0415

    if net == "densenet264":
        return models.DenseNet(32, DENSENET264, 64)  # type: ignore[no-any-return]
    return models.get_model(net, weights=None)  # type: ignore[no-any-return]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    began = time.perf_counter()
    value = call()
    return value, time.perf_counter() - began


def row_text(row: dict[str, Any]) -> str:
    """One row of the table."""
    layer = 1e3 * (row["export_s"] + row["walk_s"]) / row["layers"]
    channel = 1e6 * row["walk_s"] / row["channels"]
    seconds = (row["export_s"], row["walk_s"], layer, channel, row["torch_pruning_s"])
    told = " | ".join(
        f"{number:.{digits}f}" for number, digits in zip(seconds, (2, 2, 1, 2, 2), strict=True)
    )
    return f"| {row['net']} | {row['layers']} | {row['channels']} | {row['groups']} | {told} |"


def table(found: dict[str, Any]) -> str:
    """All rows as Markdown."""
    machine = found["environment"]
    lines = [
        "# The channel graph, by the size of the network",
        "",
        (
            f"224 x 224, random weights, one thread, the median of {REPEATS} in a process of its "
            f"own. {found['date']}, "
            f"{machine['cpu']}, load {machine['load']}, torch {machine['torch']}. "
            f"`{found['command']}`"
        ),
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{'---|' * len(HEADS)}",
        *map(row_text, found["rows"]),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
