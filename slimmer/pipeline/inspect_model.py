"""What a network is made of and how far it can be slimmed, as data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.costs import Cost
from slimmer.costs.flops import count_by_operation, uncounted
from slimmer.graph import Axis, ChannelGraph, ChannelGroup, Fixed, Inputs
from slimmer.models.accept_model import accept
from slimmer.pipeline.job import examine
from slimmer.pipeline.sources import Source, load_model, name_module
from slimmer.pipeline.surroundings import undisturbed
from slimmer.pruning.allocate import Limits, reachable
from slimmer.pruning.plan import make_plan
from slimmer.pruning.slim_file import check_again
from slimmer.recipe.costs import COSTS
from slimmer.recipe.sections import ModelSection
from slimmer.runs.trust import remember

HOLDERS = 5  # modules that are named as holding the FLOPs that can't go


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
    trust_code: bool = False,
) -> dict[str, Any]:
    """The architecture, costs, channel groups and unprunable layers of a checkpoint or a module.

    `flops` and `params` hold the dense count, the least that a plan can reach (every group at one
    channel), and what is out of reach: the part that no channel group touches. `layers` has every
    convolution and linear layer, with the groups of its channels and the reasons of those that
    stay; `held` has the modules that hold most of the FLOPs of the least plan. A module needs
    `input_size` (channels, height, width) of one image; a checkpoint's own architecture knows it.
    `keep` and `only` are patterns of layers, as in a recipe; `equal_splits` and `rewrite` look at
    it as `slimmer prune` does with them. With `trace`, names of submodules, these alone are traced:
    FLOPs are theirs, and parameters the whole network's. `entry` says which of several sets of
    weights is meant, and `trust_code` takes an architecture that one of slimmer's own files names
    as code. `notes` say what was passed over in the checkpoint, and where the size of an image is a
    guess. Raises SlimmerError where the checkpoint can't be read or the network can't be traced.

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
    if isinstance(named, str):
        remember(arch)
        source = load_model(section, trust_code=trust_code)
    else:
        source = Source(named, name_module(named, section, data=None))
    given, identity = source.network, source.identity
    check_again(identity, rewrite=rewrite)
    network, graph, costs, _, scope = examine(given, identity, section)
    layers, held = _where_flops_go(scope.of(network), scope.inputs, graph)
    return {
        "format": 1,
        "arch": identity.arch or type(given).__name__,
        "classes": (identity.num_classes or None) if identity.input_size else None,
        "inputs": scope.described,
        "notes": list(source.notes),
        **{cost.name: _range(cost, graph) for cost in costs},
        "uncounted": uncounted(scope.of(network), scope.inputs),
        "held": held,
        "layers": layers,
        "groups": [_group(group, graph) for group in graph.groups],
    }


def _range(cost: Cost, graph: ChannelGraph) -> dict[str, Any]:
    """The cost of the dense network, and between what bounds a budget can be met."""
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
    """Every layer with its FLOPs, groups and reasons; and the modules that hold most FLOPs of the
    least plan.
    """
    dense, least = _by_module(network, inputs, graph)
    sizes, total = dict(graph.sizes), sum(dense.values())
    known = {layer.name: layer for layer in graph.layers}
    rows: list[dict[str, Any]] = []
    for name in {**known, **dict.fromkeys(row.layer for row in graph.fixed)}:
        axis = known[name].out_axis if name in known else None
        stays = _stays(graph, name, axis)
        rows.append(
            {
                "name": name,
                "kind": known[name].kind if name in known else "unread",
                "channels": stays[0].of if axis is None else sizes[axis],
                "flops": dense.get(name, 0),
                "flops_least": least.get(name, 0),
                "groups": [
                    group.name
                    for group in graph.groups
                    if any(part.axis == axis for part in group.slices)
                ],
                "stays": [{"channels": row.channels, "reason": row.reason} for row in stays],
            }
        )
    reasons = {row["name"]: [each["reason"] for each in row["stays"]] for row in rows}
    most = sorted(least, key=lambda name: -least[name])[:HOLDERS]
    held = [
        {
            "module": name,
            "flops": least[name],
            "ratio": least[name] / total,
            "reasons": reasons.get(name, []),
        }
        for name in most
    ]
    return rows, held


def _stays(graph: ChannelGraph, name: str, axis: Axis | None) -> list[Fixed]:
    """The channels of a layer that stay: the fixed ones, and those that are a group's only unit."""
    rows = [row for row in graph.fixed if row.layer == name]
    for group in graph.groups:
        for part in group.slices if group.size == 1 else ():
            if part.axis == axis:
                reason = f"a single unit ({group.name}), and every group keeps one"
                rows.append(Fixed(name, len(part.index[0]), dict(graph.sizes)[part.axis], reason))
    return rows


def _by_module(
    network: nn.Module, inputs: Inputs, graph: ChannelGraph
) -> tuple[Counter[str], Counter[str]]:
    """FLOPs of one call by module, without those of the modules inside: dense, and with one channel
    a group.
    """
    sizes = dict(graph.sizes)
    gone = make_plan(graph, {group.name: [0] for group in graph.groups}).removed()
    volumes: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for operation in graph.operations:
        whole = operation.volume * prod(sizes[axis] for axis in operation.axes)
        left = operation.volume * prod(
            sizes[axis] - len(gone.get(axis, ())) for axis in operation.axes
        )
        volumes.setdefault((operation.module, operation.kind), []).append((left, whole))
    dense: Counter[str] = Counter()
    least: Counter[str] = Counter()
    for place, flops in count_by_operation(network, graph, inputs).items():
        lefts, wholes = zip(*volumes.get(place, [(1, 1)]), strict=True)
        dense[place[0]] += flops
        least[place[0]] += flops * sum(lefts) // sum(wholes)
    return dense, least


def _group(group: ChannelGroup, graph: ChannelGraph) -> dict[str, Any]:
    """A group's size, the layers that make and read its channels, and every axis it lies on."""
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
