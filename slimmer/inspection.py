"""What a network is made of and how far it can be slimmed, as data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.allocate import Limits, reachable
from slimmer.costs import Cost
from slimmer.graph import ChannelGraph, ChannelGroup
from slimmer.prepare import examine, load_model, name_module
from slimmer.report import CONVENTIONS
from slimmer.rewrite import read_program
from slimmer.sections import ModelSection


def inspect(
    model: nn.Module | str | Path,
    *,
    arch: str | None = None,
    input_size: tuple[int, int, int] | None = None,
    rewrite: bool = False,
) -> dict[str, Any]:
    """The architecture, costs, channel groups and unprunable layers of a checkpoint or a module.

    `flops` and `params` hold the dense count, the least that a plan can reach (every group at one channel), and
    what is out of reach: the part that no channel group touches. A module needs `input_size`
    (channels, height, width) of one image; a checkpoint's own architecture knows it. `rewrite` looks at it as
    `slimmer prune --rewrite` does.
    Raises SlimmerError where the checkpoint can't be read or the network can't be traced.

    >>> from slimmer.models import build
    >>> found = inspect(build("cifar_resnet8"), input_size=(3, 32, 32))
    >>> found["params"]["dense"], found["groups"][1]["name"], found["groups"][1]["size"]
    (75290, 'layer1.0.conv1', 16)
    """
    named = model if isinstance(model, nn.Module) else str(model)
    section = ModelSection(checkpoint=named if isinstance(named, str) else None, arch=arch, input_size=input_size)
    network, identity = load_model(section) if isinstance(named, str) else (named, name_module(section, data=None))
    program = read_program(network, identity.input_size) if rewrite else None
    graph, costs = examine(network, identity, program=program)
    return {
        "format": 1,
        "arch": identity.arch or type(network).__name__,
        "classes": identity.num_classes or None,
        "input_size": list(identity.input_size),
        **{cost.name: _range(cost, graph) for cost in costs},
        "groups": [_group(group, graph) for group in graph.groups],
        "fixed": [vars(row) for row in graph.fixed],
    }


def _range(cost: Cost, graph: ChannelGraph) -> dict[str, Any]:
    """The cost of the dense network, and between what bounds a budget can be met."""
    least, dense = reachable(cost, graph, Limits())
    out_of_reach = cost.exact([0] * len(graph.groups))
    return {
        "convention": CONVENTIONS[cost.name],
        "dense": dense,
        "least": least,
        "least_ratio": least / dense,
        "out_of_reach": out_of_reach,
        "out_of_reach_ratio": out_of_reach / dense,
    }


def _group(group: ChannelGroup, graph: ChannelGraph) -> dict[str, Any]:
    """A group's size, the layers that make and read its channels, and every axis it lies on."""
    touched = {part.axis for part in group.slices}
    return {
        "name": group.name,
        "size": group.size,
        "made_by": [layer.name for layer in graph.layers if layer.out_axis in touched],
        "read_by": [layer.name for layer in graph.layers if layer.in_axis in touched],
        "members": [_member(part.axis.tensor, part.axis.dim, part.multiplicity) for part in group.slices],
    }


def _member(tensor: str, dim: int, multiplicity: int) -> Mapping[str, Any]:
    return {"tensor": tensor, "dim": dim, "positions_per_channel": multiplicity}
