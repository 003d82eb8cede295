"""FLOPs and widths layer by layer, of a dense network and of what a plan leaves of it."""

from collections import Counter
from collections.abc import Mapping, Sized
from math import prod
from typing import Any

from torch import nn

from slimmer.costs.flops import count_by_operation
from slimmer.graph import Axis, ChannelGraph, Inputs

Removed = Mapping[Axis, Sized]
"""The removed positions of every axis that loses any, as `Plan.removed` returns them."""


def flops_by_module(
    network: nn.Module, inputs: Inputs, graph: ChannelGraph, removed: Removed
) -> tuple[Counter[str], Counter[str]]:
    """FLOPs of one call by module, without those of its submodules: of the dense `network`, and
    without the `removed` channels.
    """
    sizes = dict(graph.sizes)
    volumes: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for operation in graph.operations:
        whole = operation.volume * prod(sizes[axis] for axis in operation.axes)
        left = operation.volume * prod(
            sizes[axis] - len(removed.get(axis, ())) for axis in operation.axes
        )
        volumes.setdefault((operation.module, operation.kind), []).append((left, whole))
    dense: Counter[str] = Counter()
    slim: Counter[str] = Counter()
    for place, flops in count_by_operation(network, graph, inputs).items():
        lefts, wholes = zip(*volumes.get(place, [(1, 1)]), strict=True)
        dense[place[0]] += flops
        slim[place[0]] += flops * sum(lefts) // sum(wholes)
    return dense, slim


def layer_rows(
    network: nn.Module, inputs: Inputs, graph: ChannelGraph, removed: Removed
) -> list[dict[str, Any]]:
    """Every convolution and linear layer, in network order: its output channels and its FLOPs, of
    the dense `network` and without the `removed` channels.
    """
    dense, slim = flops_by_module(network, inputs, graph, removed)
    sizes = dict(graph.sizes)
    rows = {}
    for layer in graph.layers:
        width = sizes[layer.out_axis]
        rows[layer.name] = {
            "name": layer.name,
            "kind": layer.kind,
            "dense": width,
            "slim": width - len(removed.get(layer.out_axis, ())),
            "flops": {"dense": dense[layer.name], "slim": slim[layer.name]},
        }
    return list(rows.values())
