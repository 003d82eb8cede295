"""Which layer of an ONNX file each node of ONNX Runtime's profile belongs to."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FUSED = ("Relu", "Clip", "Add", "Sigmoid", "HardSigmoid", "LeakyRelu", "Tanh", "Mul", "HardSwish")
"""Operations that ONNX Runtime computes inside a layer before them."""
_ADDED = re.compile(r"(_nchwc|/MatMulAddFusion|_token_\d+)+$")  # to a name, when nodes are replaced
_NORM = "_bn"  # added to the output of a batch norm that is computed as a convolution


def layer_names(path: Path) -> dict[str, str]:
    """The layers of an ONNX file, named after their weights, by the names of nodes and tensors.

    A node that ONNX Runtime makes of a layer and the operations after it has the name of one of
    them, or of its output. Nodes and tensors that no layer computes have the layer "": ONNX Runtime
    may compute a batch norm as a convolution.
    """
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) >= 2}
    owners: dict[str, tuple[int, str]] = {}  # of tensors: a position and a layer
    found: dict[str, str] = {}
    for position, node in enumerate(graph.node):
        owner = _owner(node, position, weights, owners)
        layer = ""
        if owner is not None:
            layer = owner[1]
            owners |= dict.fromkeys(node.output, owner)
        found |= dict.fromkeys((node.name, *node.output), layer)
    return found


def _owner(
    node: Any, position: int, weights: set[str], owners: Mapping[str, tuple[int, str]]
) -> tuple[int, str] | None:
    """The layer that a node is, or that computes it too: of several, the last one."""
    if node.op_type in LAYERS:
        named = [name for name in node.input[1:2] if name in weights]
        return (position, named[0].removesuffix(".weight")) if named else None
    if node.op_type not in FUSED:
        return None
    return max((owners[name] for name in node.input if name in owners), default=None)


def time_by_layer(
    ticks: Mapping[str, float], operations: Mapping[str, str], layers: Mapping[str, str]
) -> dict[str, float]:
    """The time of each layer, in the order of `layers`, from the times and the operations of nodes.

    Only nodes that compute a layer count. Empty if one of them can't be told.

    >>> ticks, operations = {"relu_nchwc": 2.0, "pool": 1.0}, {"relu_nchwc": "Conv", "pool": "Pad"}
    >>> time_by_layer(ticks, operations, {"conv_1": "conv1", "relu": "conv1"})
    {'conv1': 2.0}
    """
    spent: dict[str, float] = {}
    for name, duration in ticks.items():
        if not _is_layer(operations[name]):
            continue
        known = _ADDED.sub("", name)
        layer = layers.get(known, layers.get(known.removesuffix(_NORM)))
        if layer is None:
            return {}
        spent[layer] = spent.get(layer, 0.0) + duration
    return {layer: spent[layer] for layer in _once(layers.values()) if layer and layer in spent}


def _is_layer(operation: str) -> bool:
    """Whether an operation is one of LAYERS, also fused with others: FusedConv, QLinearConv."""
    return operation.endswith(LAYERS)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
