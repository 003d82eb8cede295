"""Accuracy at equal measured latency: a latency budget beside FLOP budgets and Torch-Pruning.

    python benchmarks/latency_worth.py recipes/cifar_resnet20.yaml CHECKPOINT CIFAR_DIR \
        --latency 0.5 --out benchmarks/results/latency_worth

First `--latency` gives its plan, with whole branches removed and without that. Then the largest
FLOP budget whose network is no slower is searched for multiples of 1, 8 and 16, and for
Torch-Pruning's group magnitude. Nothing is trained for this: networks are cut, exported with
`torch.onnx`, and timed in turns with the dense one by timed_apart.py, which uses nothing of
slimmer. The shares are in OUT/NET-shares.json; a second call reads them. Then accuracy.py trains
every one for the same epochs on the same images with the same distillation, for each number of
`--epochs` and `--seeds`. Rows that are in OUT are passed over.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from latency_budget import apart
from peers import prune_by_peer
from torch import nn

from slimmer.pipeline.choose_plan import choose_method, target_plan
from slimmer.pipeline.job import PruningJob, prepare
from slimmer.pipeline.latency_plan import plan_in_time
from slimmer.pruning.apply import prune
from slimmer.recipe import Recipe, read_recipe
from slimmer.runs.events import ignore

ACCURACY = Path(__file__).with_name("accuracy.py")
PEER = "tp-magnitude"
LATENCY = {"latency": None, "latency, narrower layers only": False}  # the values of budget.depth
STEPS = 7  # of the search for a FLOP share: to 0.9 / 2**7 = 0.7 %
SLOWER = 1.01  # what counts as equal to the latency of the budget
SETTING = {"threads": 1, "batch": 1}


@click.command(help=__doc__)
@click.argument("recipe_file", type=Path)
@click.argument("checkpoint", type=Path)
@click.argument("data_path", type=Path)
@click.option("--latency", type=float, required=True, help="of dense")
@click.option("--out", type=Path, required=True)
@click.option("--epochs", default="1,3", show_default=True)
@click.option("--seeds", default="0,1", show_default=True)
@click.option("--lr", default=0.02, show_default=True, help="of all runs")
@click.option("--multiples", default="1,8,16", show_default=True, help="of FLOP budgets")
@click.option("--only-shares", is_flag=True, help="search the FLOP budgets, and train nothing")
def main(
    recipe_file: Path,
    checkpoint: Path,
    data_path: Path,
    latency: float,
    out: Path,
    epochs: str,
    seeds: str,
    lr: float,
    multiples: str,
    only_shares: bool,
) -> None:
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    given = [("model.checkpoint", str(checkpoint)), ("data.path", str(data_path))]
    read = partial(read_recipe, recipe_file)
    file = out / f"{read(given).model.arch}-latency{latency * 100:.0f}-shares.json"
    if not file.exists():
        found = shares(read, given, latency, list(map(int, multiples.split(","))))
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kinds = json.loads(file.read_text())
    if only_shares:
        return
    for number in map(float, epochs.split(",")):
        for seed in map(int, seeds.split(",")):
            for kind in kinds:
                training = {"finetune.epochs": number, "finetune.lr": lr, "seed": seed}
                train(kind, training, [str(recipe_file), *map(str, (checkpoint, data_path))], out)


def shares(
    read: Callable[[list[Any]], Recipe],
    given: list[Any],
    latency: float,
    multiples: Sequence[int],
) -> list[dict[str, Any]]:
    """The networks that are as fast as the one of `latency`: settings of their budget, measured
    share of the dense latency, FLOPs and widths.
    """
    kinds: list[dict[str, Any]] = []
    for kind, depth in LATENCY.items():
        settings: dict[str, Any] = {"budget.flops": None, "budget.round_to": None}
        settings |= {"budget.latency": latency, "budget.depth": depth}
        for key, value in SETTING.items():
            settings[f"budget.timing.{key}"] = value
        recipe = read([*given, *settings.items()])
        job = prepare(recipe)
        scores = choose_method(recipe, job, 0, resumed=False).scores(torch.zeros(0))
        plan, _ = plan_in_time(job, recipe, scores, ignore)
        row = {"kind": kind, "net": job.identity.arch, "settings": settings}
        row |= {"latency": timed(job, prune(job.model, plan)), "widths": plan.widths}
        print(row, flush=True)
        kinds.append(row)
    fastest = max(row["latency"] for row in kinds)
    for multiple in multiples:
        cut = partial(by_flops, read, given, scores, multiple)
        kinds.append(searched(f"flops, multiples of {multiple}", job, cut, multiple, fastest))
        cut = partial(by_peer, job, multiple)
        kinds.append(searched(f"{PEER}, multiples of {multiple}", job, cut, multiple, fastest))
    return kinds


def train(kind: dict[str, Any], training: dict[str, Any], files: list[str], out: Path) -> None:
    """One run of accuracy.py, whose file is kept under the name of the kind."""
    if kind["settings"] is None:
        return
    name = kind["kind"].replace(", ", "-").replace(" ", "-")
    place = out / f"{name}-epochs{training['finetune.epochs']:g}"
    if list(place.glob(f"{kind['net']}-*-seed{training['seed']}.json")):
        return
    method = PEER if kind["kind"].startswith(PEER) else "slimmer"
    settings = {**kind["settings"], **training}
    command = [sys.executable, str(ACCURACY), *files, method, f"--out={place}", "--threads=1"]
    command += ["--distill"] if method == PEER else []
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run(command, check=True)


def by_flops(
    read: Callable[[list[Any]], Recipe], given: list[Any], scores: Any, multiple: int, share: float
) -> nn.Module:
    """The network of a FLOP budget; the scores do not depend on the budget."""
    recipe = read([*given, ("budget.flops", share), ("budget.round_to", multiple)])
    job = prepare(recipe)
    return prune(job.model, target_plan(job, recipe, scores))


def by_peer(job: PruningJob, multiple: int, share: float) -> nn.Module:
    """Torch-Pruning's network of a FLOP budget."""
    size = job.identity.input_size
    return prune_by_peer(PEER, job.model, size, share, [], global_pruning=True, round_to=multiple)


def searched(
    kind: str, job: PruningJob, cut: Callable[[float], nn.Module], multiple: int, fastest: float
) -> dict[str, Any]:
    """The largest FLOP share whose network is no slower than `fastest`, by halving."""
    low, high, best = 0.05, 0.95, None
    for _ in range(STEPS):
        share = round((low + high) / 2, 4)
        try:
            slim = cut(share)
        except Exception as error:  # noqa: BLE001 - a peer fails in many ways
            print(kind, share, error, flush=True)
            low = share
            continue
        latency = timed(job, slim)
        print(kind, share, round(latency, 4), flush=True)
        if latency <= fastest * SLOWER:
            low, best = share, (share, latency)
        else:
            high = share
    if best is None:
        return {"kind": kind, "net": job.identity.arch, "settings": None}
    settings = {"budget.flops": best[0], "budget.round_to": multiple}
    return {"kind": kind, "net": job.identity.arch, "settings": settings, "latency": best[1]}


def timed(job: PruningJob, slim: nn.Module) -> float:
    """The latency relative to dense, by the independent script."""
    case = {**SETTING, "net": job.identity.arch}
    size = job.identity.input_size
    found = apart(job.model.eval(), slim.eval(), size, case)
    ratio: float = found["cpu"]["ratio"]
    return ratio


if __name__ == "__main__":
    main()
