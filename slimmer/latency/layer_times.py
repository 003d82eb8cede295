"""How the latency of the dense network is spread over its layers."""

from collections.abc import Sequence
from typing import Any

import onnx

from slimmer.latency.build import MeasuredLatency
from slimmer.latency.fit import named_times

SUFFIXES = ("_nchwc", "_token", "_fused")  # what ONNX Runtime appends to the names of nodes


def layer_times(cost: MeasuredLatency, narrowest: Sequence[int]) -> list[dict[str, Any]]:
    """The nodes that ONNX Runtime runs, the slowest first: the layer or operation, the fitted
    nanoseconds in the dense network, and those at the `narrowest` widths.
    """
    if cost.fit is None or cost.bench is None:
        return []
    layers = layers_of(cost.bench.dense.file.graph)
    dense = named_times(cost.fit, [group.size for group in cost.bench.dense.graph.groups])
    least = named_times(cost.fit, narrowest)
    rows = []
    for name, ns in dense.items():
        layer = layers.get(_plain(name), name)
        rows.append({"layer": layer, "node": name, "ns": round(ns), "least_ns": round(least[name])})
    return sorted(rows, key=lambda row: -row["ns"])


def layers_of(graph: onnx.GraphProto) -> dict[str, str]:
    """The layer that a node belongs to, by the node's name and by those of its outputs.

    An operation without weights belongs to the layer whose output it works on, because ONNX Runtime
    computes the two together.
    """
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) >= 2}
    found: dict[str, str] = {}
    for node in graph.node:
        own = [name for name in node.input[1:] if name in weights]
        layer = found.get(node.input[0]) if node.input else None
        if own:
            layer = own[0].removesuffix(".weight")
        elif layer is None or node.op_type not in JOINED:
            layer = node.name
        found |= dict.fromkeys((node.name, *node.output), layer)
    return found


JOINED = frozenset({"Relu", "Clip", "Add", "LeakyRelu", "HardSigmoid", "Sigmoid", "Mul"})


def _plain(name: str) -> str:
    for suffix in SUFFIXES:
        name = name.partition(suffix)[0]
    return name
