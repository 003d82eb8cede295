"""Dense against slim in ONNX Runtime on the CPU, beside Torch-Pruning: speed-up over what the FLOPs
promise.

    python benchmarks/latency.py --out benchmarks/results/latency python benchmarks/latency.py --out
    benchmarks/results/latency --table > benchmarks/results/latency.md

A JSON file a network and share of the FLOPs; those that are there are passed over, so that it can
be stopped at any time. Weights are random and the plans those of slimmer without data (magnitude
ranks, every group cut alike), for each multiple in --rounds (`unasked` is what slimmer does where
no multiple is asked for); one that can't meet the share is left out, with the reason. Torch-Pruning
prunes the same network to the same FLOPs with its defaults (group magnitude, no rounding), and once
more with the largest of the multiples. All networks of a file are timed in turns in one process,
which wants the machine for itself; the number of blocks is fixed, since with five networks one of
ten intervals is always wide.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from peers import prune_by_peer
from torch import nn
from torchvision_here import import_torchvision

from slimmer.atomic_files import read_json, write_json
from slimmer.costs import Budget, flops_cost
from slimmer.costs.flops import count_flops
from slimmer.criteria import magnitude_scores
from slimmer.errors import BudgetError
from slimmer.exporting.onnx import export_onnx
from slimmer.graph import build_graph
from slimmer.models import build, find
from slimmer.profiling.profile_networks import Conditions, Effort, Network, profile
from slimmer.pruning.allocate import Limits, allocate
from slimmer.pruning.apply import prune
from slimmer.recipe.costs import COSTS

NETS = "cifar_resnet20,cifar_resnet56,resnet34,resnet50,torchvision/vgg16_bn"
PEER = "torch-pruning"
Size = tuple[int, int, int]


@click.command(help=__doc__)
@click.option("--out", type=Path, required=True)
@click.option("--nets", default=NETS, show_default=True)
@click.option(
    "--shares", default="0.7,0.5,0.3", show_default=True, help="of the FLOPs that may remain"
)
@click.option("--rounds", default="1,unasked,8,16", show_default=True)
@click.option("--batches", default="1,32", show_default=True)
@click.option("--threads", default="1,2", show_default=True)
@click.option(
    "--runs", default=3, show_default=True, help="runs of each network in a block at least"
)
@click.option("--seconds", default=0.5, show_default=True, help="and seconds")
@click.option("--blocks", default=11, show_default=True)
@click.option("--table", is_flag=True, help="print what is there as Markdown and measure nothing")
def main(out: Path, nets: str, shares: str, rounds: str, table: bool, **effort: Any) -> None:
    if table:
        print("\n".join(to_table([read_json(file) for file in sorted(out.glob("*.json"))])))
        return
    if "torchvision/" in nets:
        import_torchvision()
    for net in nets.split(","):
        for share in map(float, shares.split(",")):
            file = out / f"{net.replace('/', '_')}-{share * 100:g}.json"
            if file.is_file():
                print(f"{file} is there", flush=True)
                continue
            write_json(file, measured(net, share, multiples(rounds), **effort))
            print(f"{file} is written", flush=True)


def measured(
    net: str,
    share: float,
    rounds: Sequence[int | None],
    *,
    batches: str,
    threads: str,
    runs: int,
    seconds: float,
    blocks: int,
) -> dict[str, Any]:
    """One network, dense and pruned to `share` of its FLOPs in every way, timed in turns."""
    size = find(net).input_size
    conditions = Conditions(
        input_size=size,
        effort=Effort(seconds=seconds, runs=runs, blocks=blocks),
        batches=integers(batches),
        threads=integers(threads),
    )
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="slimmer-latency-") as folder:
        models = pruned(net, share, rounds, size, peer=True, left_out=left_out)
        networks = list(export_all(models, Path(folder), size))
        timed = profile(
            networks, conditions, lambda done, steps, text: say(f"{net}: {text}", done, steps)
        )
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "net": net,
        "share": share,
        "weights": "random, seed 0",
        "convention": COSTS["flops"].convention,
        "versions": {name: version(name) for name in ("torch", "torch-pruning", "onnxruntime-gpu")},
        "left_out": left_out,
        "profile": timed.to_dict(),
    }


def pruned(
    net: str,
    share: float,
    rounds: Sequence[int | None],
    size: Size,
    *,
    peer: bool,
    left_out: dict[str, str] | None = None,
) -> Iterator[tuple[str, nn.Module, int]]:
    """The dense network and its slim ones, each with its name and its FLOPs.

    Where widths of a multiple can't meet the share, the reason is put into `left_out`, and is an
    error without it.
    """
    torch.manual_seed(0)
    model = build(net).eval()
    graph = build_graph(model, size)
    cost = flops_cost(model, graph, size)
    yield "dense", model, cost.dense
    scores = magnitude_scores(model, graph)
    for multiple in rounds:
        name, limits = named("slimmer", multiple), Limits(round_to=multiple)
        try:
            plan = allocate(scores, graph, [Budget(cost, share * cost.dense)], limits, priced=False)
        except BudgetError as error:
            if left_out is None:
                raise
            left_out[name] = str(error)
            continue
        yield name, prune(model, plan).eval(), cost.exact(plan.widths)
    largest = max(multiple or 1 for multiple in rounds)
    for multiple in (None, *((largest,) if largest > 1 else ())) if peer else ():
        slim = prune_by_peer(
            "tp-magnitude", model, size, share, (), global_pruning=False, round_to=multiple
        )
        flops, name = count_flops(slim, size), named(PEER, multiple)
        if flops <= share * cost.dense:
            yield name, slim, flops
        elif left_out is not None:
            left_out[name] = f"{flops / cost.dense:.1%} of the FLOPs is the least"


def named(who: str, multiple: int | None) -> str:
    """What a slim network is called; None is no multiple in particular."""
    return who if multiple is None else f"{who}, multiples of {multiple}"


def export_all(
    models: Iterator[tuple[str, nn.Module, int]], folder: Path, size: Size
) -> Iterator[Network]:
    """The networks as ONNX files that say what they cost."""
    for number, (name, model, flops) in enumerate(models):
        params = sum(parameter.numel() for parameter in model.parameters())
        path = folder / f"{number}.onnx"
        export_onnx(model, path, size, metadata={"flops": str(flops), "params": str(params)})
        yield Network(name, path)


def to_table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The results as Markdown: a row per network, a column per batch size and number of threads."""
    cases = sorted(
        {(c["batch"], c["threads"]) for result in results for c in result["profile"]["comparisons"]}
    )
    heads = [
        "network",
        "FLOPs",
        "promise",
        *(f"batch {batch}, {threads} thr." for batch, threads in cases),
    ]
    lines = [
        "# Speed-up in ONNX Runtime on the CPU",
        "",
        "Speed-up over dense (95 % interval), and its share of",
    ]
    lines += ["what the FLOPs promise. Random weights.", ""]
    for result in results:
        timed = result["profile"]
        flops = {one["name"]: one["flops"] for one in timed["subjects"]}
        lines += [f"## {result['net']}, at most {result['share']:.0%} of the FLOPs", ""]
        lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for name in list(flops)[1:]:
            found = {
                (c["batch"], c["threads"]): c for c in timed["comparisons"] if c["model"] == name
            }
            ratio = flops[name] / flops["dense"]
            cells = [
                name,
                f"{ratio:.1%}",
                f"{1 / ratio:.2f}",
                *(told(found.get(case)) for case in cases),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        machine = timed["environment"]
        lines += [
            f"\n{name}: {' '.join(reason.split())}"
            for name, reason in result.get("left_out", {}).items()
        ]
        lines += [
            "",
            f"{result['date']}, {machine['cpu']}, load {machine['load']}, `{result['command']}`",
        ]
        lines += ["", *(f"- {note}" for note in timed["notes"]), ""]
    return lines


def told(one: Mapping[str, Any] | None) -> str:
    """A comparison in a cell."""
    if one is None:
        return ""
    interval = (
        ", no interval" if one["low"] is None else f" ({one['low']:.2f} to {one['high']:.2f})"
    )
    by_cpu_time = (
        " by CPU time" if one.get("by") == "CPU time" else ""
    )  # older results are of wall time
    return f"{one['speedup']:.2f}{by_cpu_time}{interval}, {one['efficiency']:.2f}"


def integers(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    return tuple(int(part) for part in text.split(","))


def multiples(text: str) -> tuple[int | None, ...]:
    """As `integers`; None where no multiple is asked for."""
    return tuple(None if part == "unasked" else int(part) for part in text.split(","))


def say(text: str, done: int, steps: int) -> None:
    """A line of progress on stderr."""
    print(json.dumps({"done": done, "of": steps, "next": text}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
