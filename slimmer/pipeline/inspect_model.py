"""The inspection of a network: its layers, its channel groups and how far it can be pruned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.costs import Cost
from slimmer.costs.by_layer import flops_by_module
from slimmer.costs.flops import uncounted
from slimmer.graph import Axis, ChannelGraph, ChannelGroup, Fixed, Inputs, Layer
from slimmer.latency.build import MeasuredLatency
from slimmer.latency.layer_times import layer_times
from slimmer.latency.networks import limits_of, narrowest
from slimmer.models.accept_model import accept
from slimmer.pipeline.job import examine
from slimmer.pipeline.sources import Source, load_model, name_module
from slimmer.pipeline.surroundings import undisturbed
from slimmer.pruning.allocate import Limits, reachable
from slimmer.pruning.plan import make_plan
from slimmer.pruning.slim_file import Identity, check_again
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.costs import COSTS
from slimmer.recipe.latency_section import TimingSection
from slimmer.recipe.sections import ModelSection
from slimmer.runs.events import Observe
from slimmer.runs.trust import remember

HOLDERS = 5  # modules that are listed as having most of the FLOPs that can't be removed


@undisturbed()
def inspect(
    model: nn.Module | str | Path,
    *,
    arch: str | None = None,
    entry: str | None = None,
    input_size: tuple[int, int, int] | None = None,
    keep: Sequence[str] = (),
    only: Sequence[str] = (),
    equal_splits: bool | None = None,
    rewrite: bool = False,
    trace: Sequence[str] = (),
    timing: TimingSection | None = None,
    observe: Observe = lambda _: None,
    trust_code: bool = False,
) -> dict[str, Any]:
    """The architecture, costs, channel groups and unprunable layers of a checkpoint or a module.

    `flops` and `params` hold the dense count, the smallest count that a plan can reach (every group
    at one channel), and the part that no channel group touches, which is out of reach. `layers`
    lists every convolution and linear layer, with the groups of its channels and the reasons why
    others can't be pruned. `held` lists the modules that have most of the FLOPs of the smallest
    plan. A module needs `input_size` (channels, height, width) of one image; for a checkpoint it
    follows from the architecture. `keep` and `only` are patterns of layers, as in a recipe;
    `equal_splits` and `rewrite` mean the same as for `slimmer prune`. If `trace` names submodules,
    only these are traced: FLOPs are theirs, and parameters are those of the whole network. `entry`
    chooses one of several sets of weights, and `trust_code` allows an architecture that one of
    slimmer's own files names as code. `notes` say what was skipped, and whether the image size is a
    guess. With `timing`, the latency is measured in that setting: `latency` holds it and the least
    that a plan can reach, and `latency_nodes` how it is spread. Raises SlimmerError if the
    checkpoint can't be read or the network can't be traced.

    >>> from slimmer.models import build
    >>> found = inspect(build("cifar_resnet8"), input_size=(3, 32, 32))
    >>> found["params"]["dense"], found["groups"][1]["name"], found["groups"][1]["size"]
    (75290, 'layer1.0.conv1', 16)
    """
    named = str(model) if isinstance(model, str | Path) else accept(model)
    section = ModelSection(
        checkpoint=named if isinstance(named, str) else None,
        arch=arch,
        entry=entry,
        input_size=input_size,
        keep=tuple(keep),
        only=tuple(only),
        equal_splits=bool(equal_splits),
        rewrite=rewrite,
        trace=tuple(trace),
    )
    source = _source(named, section, trust_code=trust_code)
    check_again(source.identity, rewrite=rewrite)
    return _inspection(source, section, timing, observe)


def _inspection(
    source: Source, section: ModelSection, timing: TimingSection | None, observe: Observe
) -> dict[str, Any]:
    """What `inspect` returns for a network."""
    budget = BudgetSection()
    if timing is not None:
        budget = BudgetSection(latency=1.0, timing=timing)
    network, graph, costs, _, scope = examine(
        source.network, source.identity, section, budget, observe
    )
    layers, held = _where_flops_go(scope.of(network), scope.inputs, graph)
    return {
        "format": 1,
        "arch": source.identity.arch or type(source.network).__name__,
        "classes": _classes(source.identity),
        "inputs": scope.described,
        "notes": list(source.notes),
        **{cost.name: _range(cost, graph) for cost in costs},
        "uncounted": uncounted(scope.of(network), scope.inputs),
        "held": held,
        "layers": layers,
        "groups": [_group(group, graph) for group in graph.groups],
        **_latency(costs, graph, budget),
    }


def _latency(costs: Sequence[Cost], graph: ChannelGraph, budget: BudgetSection) -> dict[str, Any]:
    """The measured latencies, and the time of every node; nothing unless latency is measured."""
    for cost in costs:
        if isinstance(cost, MeasuredLatency) and cost.table is not None:
            least = narrowest(graph, limits_of(graph, budget, cost.multiple))
            known = cost.table.measured(least)
            ns = cost.exact(least) if known is None else round(1e6 * known.ms)
            figures = {"least": ns, "least_ratio": cost.share(ns)}
            return {
                cost.name: {**_range(cost, graph), **figures},
                "latency_nodes": layer_times(cost, least),
                "latency_setting": {
                    "setting": cost.table.setting.model_dump(),
                    "image": list(cost.table.network.image),
                    "machine": cost.table.machine,
                },
            }
    return {}


def _classes(identity: Identity) -> int | None:
    """The number of classes, if the network takes images and it is known."""
    return (identity.num_classes or None) if identity.input_size else None


def _source(model: nn.Module | str, section: ModelSection, *, trust_code: bool) -> Source:
    """The network of a module or of a checkpoint's path."""
    if isinstance(model, str):
        remember(section.arch)
        return load_model(section, trust_code=trust_code)
    return Source(model, name_module(model, section, task=None))


def _range(cost: Cost, graph: ChannelGraph) -> dict[str, Any]:
    """The cost of the dense network, and the range in which a budget can be met."""
    least, dense = reachable(cost, graph, Limits())
    out_of_reach = cost.exact([0] * len(graph.groups))
    return {
        "convention": COSTS[cost.name].convention,
        "dense": dense,
        "least": least,
        "least_ratio": cost.share(least),
        "out_of_reach": out_of_reach,
        "out_of_reach_ratio": cost.share(out_of_reach),
    }


def _where_flops_go(
    network: nn.Module, inputs: Inputs, graph: ChannelGraph
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every layer with its FLOPs, groups and reasons; and the modules that have most of the FLOPs
    of the smallest plan.
    """
    smallest = make_plan(graph, {group.name: [0] for group in graph.groups})
    dense, least = flops_by_module(network, inputs, graph, smallest.removed())
    known = {layer.name: layer for layer in graph.layers}
    rows: list[dict[str, Any]] = []
    for name in {**known, **dict.fromkeys(row.layer for row in graph.fixed)}:
        flops = dense.get(name, 0), least.get(name, 0)
        rows.append(_row(graph, name, known.get(name), flops))
    stays = {row["name"]: row["stays"] for row in rows}
    total, held = sum(dense.values()), []
    for name in sorted(least, key=lambda name: -least[name])[:HOLDERS]:
        figures = {"module": name, "flops": least[name], "ratio": least[name] / total}
        reasons = [each["reason"] for each in stays.get(name, [])]
        held.append({**figures, "reasons": reasons})
    return rows, held


def _row(
    graph: ChannelGraph, name: str, layer: Layer | None, flops: tuple[int, int]
) -> dict[str, Any]:
    """A layer's entry; `flops` are those of the dense network and of the smallest plan."""
    axis = None if layer is None else layer.out_axis
    stays = _stays(graph, name, axis)
    return {
        "name": name,
        "kind": "unread" if layer is None else layer.kind,
        "channels": stays[0].of if axis is None else dict(graph.sizes)[axis],
        "flops": flops[0],
        "flops_least": flops[1],
        "groups": [group.name for group in graph.groups if _lies_on(group, axis)],
        "stays": [{"channels": row.channels, "reason": row.reason} for row in stays],
    }


def _lies_on(group: ChannelGroup, axis: Axis | None) -> bool:
    return axis in [part.axis for part in group.slices]


def _stays(graph: ChannelGraph, name: str, axis: Axis | None) -> list[Fixed]:
    """The channels of a layer that can't be pruned: fixed ones, and the only unit of a group."""
    rows = [row for row in graph.fixed if row.layer == name]
    for group in graph.groups:
        for part in group.slices if group.size == 1 else ():
            if part.axis == axis:
                reason = f"the only unit of {group.name}; every group keeps at least one"
                rows.append(Fixed(name, len(part.index[0]), dict(graph.sizes)[part.axis], reason))
    return rows


def _group(group: ChannelGroup, graph: ChannelGraph) -> dict[str, Any]:
    """A group's size, the layers that make and read its channels, and the axes it is part of."""
    touched = {part.axis for part in group.slices}
    return {
        "name": group.name,
        "size": group.size,
        "made_by": [layer.name for layer in graph.layers if layer.out_axis in touched],
        "read_by": [layer.name for layer in graph.layers if layer.in_axis in touched],
        "members": [
            _member(part.axis.tensor, part.axis.dim, part.multiplicity) for part in group.slices
        ],
    }


def _member(tensor: str, dim: int, multiplicity: int) -> Mapping[str, Any]:
    return {"tensor": tensor, "dim": dim, "positions_per_channel": multiplicity}
