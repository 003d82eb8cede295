"""Maps of one constant in an ONNX file, as layers without inputs make them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

JOINS = {"Add", "Sub", "Mul"}  # broadcast a constant to the other operand
KEEPS = {"BatchNormalization", "Relu", "Clip", "HardSwish", "Sigmoid", "Cast"}  # constant again


def shrink_constant_maps_(file: onnx.ModelProto) -> None:
    """Replace every map (batch, channels, height, width) of one constant by (1, channels, 1, 1), if
    all that reads it broadcasts.

    ONNX Runtime then computes what follows from it once, when it opens the file.
    """
    graph = file.graph
    weights = {each.name: each for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in _read_by(node):
            readers.setdefault(name, []).append(node)
    nodes = len(graph.node)
    for node in list(graph.node):
        if node.op_type != "ConstantOfShape" or not _broadcasts(node.output[0], readers, weights):
            continue
        channels = _channels(makers.get(node.input[0]), weights)
        if channels is not None:
            graph.initializer.append(_small(node, channels))
            graph.node.remove(node)
            graph.ClearField("value_info")  # the shapes of what follows
    if len(graph.node) < nodes:
        remove_unread_(graph)


def remove_unread_(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nothing reads, and initializers that nothing reads."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(_read_by(node))
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(reversed(kept))
    read = [each for each in graph.initializer if each.name in needed]
    if len(read) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(read)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, and the graphs inside it."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read_by(inner)
        yield from (value.name for value in attribute.g.output)


def _broadcasts(
    name: str,
    readers: Mapping[str, Sequence[onnx.NodeProto]],
    weights: Mapping[str, onnx.TensorProto],
) -> bool:
    """Whether all that reads a value takes one position for all."""
    for node in readers.get(name, ()):
        others = [each for each in node.input if each != name]
        again = node.op_type in KEEPS or all(each in weights for each in others)
        if node.op_type not in JOINS | KEEPS:
            return False
        if again and not _broadcasts(node.output[0], readers, weights):
            return False
    return name in readers


def _channels(
    shape: onnx.NodeProto | None, weights: Mapping[str, onnx.TensorProto]
) -> Sequence[int] | None:
    """The shape of one position, from the node that puts the map's shape together."""
    if shape is None or shape.op_type != "Concat" or len(shape.input) < 3:
        return None
    second = weights.get(shape.input[1])
    if second is None:
        return None
    return [1, int(numpy_helper.to_array(second).item()), *[1] * (len(shape.input) - 2)]


def _small(node: onnx.NodeProto, shape: Sequence[int]) -> onnx.TensorProto:
    value = np.zeros(1, dtype=np.float32)
    for attribute in node.attribute:
        if attribute.name == "value":
            value = numpy_helper.to_array(attribute.t)
    return numpy_helper.from_array(np.broadcast_to(value, shape).copy(), node.output[0])
