"""How far networks of timm can be pruned without and with --rewrite, and whether half their FLOPs
are right with it.

python benchmarks/rewrite.py --out benchmarks/results/rewrite.json

Random weights, images of 64 pixels. The network at half its FLOPs is held against the masked one in
double precision and recounted by fvcore, one step of training must reach every parameter and every
batch-norm statistic, and the network is written, loaded and exported to ONNX, and compared each
time.
"""

import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from torch import nn
from torchvision_here import import_torchvision

from slimmer.costs import Budget, flops_cost
from slimmer.costs.flops import count_flops
from slimmer.criteria import random_scores
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import check_parity
from slimmer.graph import build_graph
from slimmer.models import build
from slimmer.profiling.runtimes.environment import environment
from slimmer.pruning.allocate import allocate, reachable
from slimmer.pruning.plan import Plan
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.self_check import check_same, probe
from slimmer.pruning.slim_file import Identity, load_network, save_network

NETWORKS = (
    "res2net50_26w_4s",
    "cspdarknet53",
    "dpn68",
    "fasternet_t0",
    "mambaout_femto",
    "nf_regnet_b0",
    "resnetv2_50x1_bit",
)
SIZE = (3, 64, 64)


@click.command(help=__doc__)
@click.option(
    "--networks", default=",".join(NETWORKS), help="Names in timm, with commas between them."
)
@click.option("--out", type=Path, required=True)
def main(networks: str, out: Path) -> None:
    import_torchvision()
    rows = []
    for name in networks.split(","):
        rows.append(measure(f"timm/{name}"))
        print(json.dumps(rows[-1]), flush=True)
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        result = {"date": stamp, "input_size": SIZE, "rows": rows, "environment": environment()}
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(arch: str) -> dict[str, Any]:
    """The least share of the FLOPs that a plan reaches, both ways, and the network at half."""
    torch.manual_seed(0)
    model = build(arch).eval()
    began = time.perf_counter()
    plain = probe(model, build_graph(model, SIZE), SIZE)
    middle = time.perf_counter()
    program = read_program(model, SIZE)
    dense = program.dense(model)
    graph = probe(dense, program.channels, SIZE, program.prune)
    ended = time.perf_counter()
    least = {}
    for key, network, channels in (("without", model, plain), ("with", dense, graph)):
        cost = flops_cost(network, channels, SIZE)
        least[key] = reachable(cost, channels)[0] / cost.dense
    images = torch.randn(2, *SIZE)
    with torch.no_grad():
        off = float((dense(images) - model(images)).abs().max() / model(images).abs().max())
    plan = allocate(random_scores(graph, 0), graph, [Budget(cost, 0.5 * cost.dense)])
    check_same(dense, graph, plan, SIZE, program.prune)
    slim = program.prune(dense, plan)
    return {
        "arch": arch,
        "folded": len(program.folding.reads),
        "folded_is_off_by": off,
        "least": least,
        "seconds": {"without": round(middle - began, 1), "with": round(ended - middle, 1)},
        "half": count_flops(slim, SIZE) / cost.dense,
        "recount_is_exact": count_flops(slim, SIZE) == cost.exact(plan.widths),
        **brought_back(slim, Identity(arch, 1000, SIZE), plan, images),
        "trains": trains(slim),
    }


def brought_back(
    slim: nn.Module, identity: Identity, plan: Plan, images: torch.Tensor
) -> dict[str, Any]:
    """Whether the file of the slim network gives it again, and how far off ONNX Runtime is, as a
    share.
    """
    with TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "slim.safetensors"
        save_network(path, slim, identity, plan, {"rewrite": "true"})
        same = torch.equal(load_network(path)(images), slim(images))
        export_onnx(slim, path.with_suffix(".onnx"), SIZE, metadata={})
        parity = check_parity(
            slim, path.with_suffix(".onnx"), images, tolerance=math.inf
        )  # told, not judged
    return {"loads": same, "onnx_is_off_by": parity.max_rel}


def trains(slim: nn.Module) -> bool:
    """Whether one step reaches every parameter and every buffer."""
    before = {name: buffer.clone() for name, buffer in slim.named_buffers()}
    slim.train()(torch.randn(4, *SIZE)).square().sum().backward()
    moved = all(not torch.equal(buffer, before[name]) for name, buffer in slim.named_buffers())
    return moved and all(parameter.grad is not None for parameter in slim.parameters())


if __name__ == "__main__":
    main()
