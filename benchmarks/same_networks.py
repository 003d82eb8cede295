"""Latency of the very networks whose accuracy is in benchmarks/results/finals.

    python benchmarks/same_networks.py CHECKPOINT CIFAR_DIR --out same_networks.json

Each network is pruned again as `benchmarks/accuracy.py` pruned it, without fine-tuning, which does
not change its widths; its FLOPs and parameters must be those of the trained one. All are timed in
turns with the dense network, in one process.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from accuracy import METHODS, run_peer, run_slimmer
from latency import export_all, integers, say
from torch import nn

from slimmer.atomic_files import write_json
from slimmer.costs.flops import count_flops
from slimmer.models import build
from slimmer.profiling.profile_networks import Conditions, Effort, profile
from slimmer.recipe import Recipe, read_recipe

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "cifar_resnet20.yaml"
FINALS = ROOT / "benchmarks" / "results" / "finals"
NET, SIZE = "cifar_resnet20", (3, 32, 32)
# Torch-Pruning's network is the same for every seed, and with distillation.
ROWS = ("slimmer-flops50-seed0", "tp-magnitude-flops50-seed0")


@click.command(help=__doc__)
@click.argument("checkpoint", type=Path)
@click.argument("data_path", type=Path)
@click.option("--out", type=Path, required=True)
@click.option("--batches", default="1,32", show_default=True)
@click.option("--seconds", default=0.5, show_default=True, help="of each network in a block")
@click.option("--blocks", default=11, show_default=True)
def main(
    checkpoint: Path, data_path: Path, out: Path, batches: str, seconds: float, blocks: int
) -> None:
    """Prune, export, time and write."""
    torch.set_num_threads(1)
    effort = Effort(seconds=seconds, runs=3, blocks=blocks)
    conditions = Conditions(input_size=SIZE, effort=effort, batches=integers(batches), threads=(1,))
    with tempfile.TemporaryDirectory() as folder:
        models = again(checkpoint, data_path)
        networks = list(export_all(models, Path(folder), SIZE))
        timed = profile(networks, conditions, lambda done, steps, text: say(text, done, steps))
    result = {
        "command": " ".join(["python benchmarks/same_networks.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "net": NET,
        "versions": {name: version(name) for name in ("torch", "torch-pruning", "onnxruntime-gpu")},
        "profile": timed.to_dict(),
    }
    write_json(out, result)


def again(checkpoint: Path, data_path: Path) -> Iterator[tuple[str, nn.Module, int]]:
    """The dense network and the pruned ones: name, module and FLOPs. Raises SystemExit if one is
    not the network of its file in benchmarks/results/finals.
    """
    dense = build(NET).eval()
    whole = count_flops(dense, SIZE)
    yield "dense", dense, whole
    params = sum(parameter.numel() for parameter in dense.parameters())
    for name in ROWS:
        known = json.loads((FINALS / f"{NET}-{name}.json").read_text(encoding="utf-8"))
        slim = pruned(known, checkpoint, data_path)
        flops = count_flops(slim, SIZE)
        left = sum(parameter.numel() for parameter in slim.parameters())
        found = flops / whole, left / params
        if found != (known["flops_ratio"], known["params_ratio"]):
            raise SystemExit(f"{name}: another network: {found}")
        yield name, slim, flops


def pruned(known: dict[str, Any], checkpoint: Path, data_path: Path) -> nn.Module:
    """The network of a file in benchmarks/results/finals, before fine-tuning."""
    method = known["method"]
    settings = [("model.checkpoint", str(checkpoint)), ("data.path", str(data_path))]
    settings += [("seed", known["seed"]), ("finetune.epochs", 0.0)]
    if method not in METHODS:
        return run_peer(_recipe(settings), method)[0]
    return run_slimmer(_recipe([*settings, ("method", METHODS[method])]))[0].eval()


def _recipe(settings: list[tuple[str, Any]]) -> Recipe:
    return read_recipe(RECIPE, settings)


if __name__ == "__main__":
    main()
