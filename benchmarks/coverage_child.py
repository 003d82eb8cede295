"""One network through slimmer, or through Torch-Pruning, in a process of its own, stage by stage.

    python benchmarks/coverage_child.py slimmer timm/resnet10t events.jsonl
    python benchmarks/coverage_child.py peer timm/resnet10t events.jsonl --share 0.5

`network_coverage.py` starts it. Every stage that ends is one line of the events: its name, seconds,
the process's peak memory in MB while it ran, what was found, and the error where it failed; so a
process that is stopped says how far it came.
"""

import re
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch
from coverage_checks import compare, export, train, untrue_attributes
from coverage_stages import StoppedError, stage
from named_networks import build
from torch import nn
from torch.nn.modules.conv import _ConvNd

from slimmer.costs import Budget, flops_cost, params_cost
from slimmer.costs.flops import count_by_module, count_conv_linear, count_flops
from slimmer.criteria import random_scores
from slimmer.graph import ChannelGraph, Inputs, build_graph, tensors_in, trace
from slimmer.pruning.allocate import allocate, reachable
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.plan import Plan
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.self_check import example
from slimmer.pruning.traced_parts import Scope, probe_scope, scope_of

SHARE = 0.5  # of the FLOPs, that may remain
PEER_STEPS = 50


@click.command(help=__doc__)
@click.argument("who", type=click.Choice(["slimmer", "peer"]))
@click.argument("net")
@click.argument("events", type=Path)
@click.option(
    "--stages", type=click.Choice(["all", "graph"]), default="all", help="graph: no export to ONNX."
)
@click.option("--rewrite", is_flag=True, help="Prune the network's own program (slimmer).")
@click.option("--share", default=SHARE, help="What may remain of the FLOPs (peer).")
@click.option(
    "--memory-gb",
    default=16.0,
    help="The process may hold so much data; more is an error of the stage.",
)
def main(
    who: str, net: str, events: Path, stages: str, rewrite: bool, share: float, memory_gb: float
) -> None:
    limit = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    try:
        with stage(events, "build", needed=True) as found:
            model, size, parts = build(net, found)
        if who == "slimmer":
            through_slimmer(model, size, parts, events, onnx=stages == "all", rewrite=rewrite)
        else:
            through_peer(model, size, events, share)
    except StoppedError:
        pass


def through_slimmer(
    whole: nn.Module,
    image: tuple[int, ...],
    parts: Sequence[str],
    events: Path,
    *,
    onnx: bool,
    rewrite: bool,
) -> None:
    """Groups, self-check, plan, and what must hold of the network that the plan leaves.

    Of a network that is traced in parts, all is held of the parts on their captured inputs; the
    whole slim network has to run too.
    """
    cut: Cut = prune
    with stage(events, "graph", needed=True) as found:
        scope = scope_of(whole, image, parts)
        model, size = scope.of(whole), scope.inputs
        if rewrite:
            program = read_program(model, size)
            model, graph, cut = program.dense(model), program.channels, program.prune
        else:
            graph = read_graph(model, size, found)
        found.update(groups=len(graph.groups), units=graph.units, layers=len(graph.layers))
    with stage(events, "check", needed=True) as found:
        graph = checked(whole if parts else model, graph, scope, cut, found)
    with stage(events, "plan", needed=True) as found:
        plan = half(model, graph, size, found)
    with stage(events, "equal", needed=True) as found:
        compare(model, graph, plan, size, cut, found)
        if parts:
            prune(whole, plan).eval()(*example(whole, image, 1))
    slim = cut(model, plan)
    with stage(events, "costs") as found:
        found["flops"] = count_flops(slim, size)
        found["params"] = sum(parameter.numel() for parameter in slim.parameters())
    with stage(events, "train") as found:
        train(slim, size)
    with stage(events, "attributes") as found:
        found["untrue"] = untrue_attributes(slim)
    if onnx:
        with stage(events, "onnx") as found:
            export(model, slim, size, found)


def read_graph(model: nn.Module, size: Inputs, found: dict[str, Any]) -> ChannelGraph:
    """The channel graph; the time of torch.export apart from the walk's own."""
    seconds = []
    export_program = trace.export_program

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return export_program(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    with patch.object(trace, "export_program", timed):
        graph = build_graph(model, size)
    found["export_s"] = round(sum(seconds), 3)
    found["walk_s"] = round(time.perf_counter() - began - sum(seconds), 3)
    return graph


def checked(
    model: nn.Module, graph: ChannelGraph, scope: Scope, cut: Cut, found: dict[str, Any]
) -> ChannelGraph:
    """The graph without what the self-check fixed."""
    kept = probe_scope(model, graph, scope, cut)
    found["groups"] = len(kept.groups)
    found["fixed_by_check"] = [
        f"{row.layer}: {row.reason}" for row in kept.fixed[len(graph.fixed) :]
    ][:5]
    return kept


def half(model: nn.Module, graph: ChannelGraph, size: Inputs, found: dict[str, Any]) -> Plan:
    """The plan with half the FLOPs, from random scores; where the least is more, one half way down
    to the least.
    """
    cost, params = flops_cost(model, graph, size), params_cost(model, graph)
    least, dense = reachable(cost, graph)
    found.update(dense=dense, least=least, holds=holding(model, graph, size))
    if least == dense:
        raise ValueError("no channel can be removed")
    limit = SHARE * dense if least <= SHARE * dense else (least + dense) / 2
    plan = allocate(random_scores(graph, 0), graph, [Budget(cost, limit)])
    found.update(limit=limit, flops=cost.exact(plan.widths), params=params.exact(plan.widths))
    return plan


def holding(model: nn.Module, graph: ChannelGraph, size: Inputs) -> list[list[Any]]:
    """The reasons that keep most FLOPs whole: [reason, share of the dense FLOPs that the layers it
    fixes compute].
    """
    flops: dict[str, int] = {}
    for (module, _), count in count_by_module(model, size).items():
        flops[module] = flops.get(module, 0) + count
    shares: dict[str, float] = {}
    for row in graph.fixed:
        share = flops.get(row.layer, 0) / sum(flops.values()) * row.channels / row.of
        reason = re.sub(
            r" in [\w.]+ \(", " (", row.reason
        )  # the same line of code in whichever module
        shares[reason] = shares.get(reason, 0.0) + share
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return [[reason, round(share, 4)] for reason, share in ranked[:5]]


def through_peer(model: nn.Module, size: tuple[int, ...], events: Path, share: float) -> None:
    """Torch-Pruning to `share` of the FLOPs, and whether its network runs, trains and is as small
    as asked.
    """
    import torch_pruning as tp  # noqa: PLC0415

    images = torch.randn(2, *size)
    with torch.no_grad():
        shapes = [answer.shape for answer in tensors_in(model(images))]
    classes = {shape[1] for shape in shapes}
    dense, counted = count_flops(model, size), count_conv_linear(model, size)
    layers = [module for module in model.modules() if isinstance(module, (_ConvNd, nn.Linear))]
    with stage(events, "prune", needed=True):
        pruner = tp.pruner.BasePruner(
            model,
            images[:1],
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=1.0 - 1e-6,
            pruning_ratio_dict={},
            ignored_layers=[layer for layer in layers if layer.weight.shape[0] in classes],
            iterative_steps=PEER_STEPS,
        )
        for _ in range(PEER_STEPS):
            if count_conv_linear(model, size) <= share * counted:
                break
            pruner.step()
    with stage(events, "run") as found:
        found["flops"] = count_flops(model, size) / dense
        found["reached"] = count_conv_linear(model, size) <= share * counted
        with torch.no_grad():
            found["same_shapes"] = [
                answer.shape for answer in tensors_in(model.eval()(images))
            ] == shapes
    with stage(events, "train"):
        train(model, size)


if __name__ == "__main__":
    main()
