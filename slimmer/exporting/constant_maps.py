"""Maps of one constant in an ONNX file, as layers without inputs make them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from slimmer.exporting.reads import drop_unread_initializers_, read_by

JOINS = {"Add", "Sub", "Mul"}  # broadcast a constant to the other operand
KEEPS = {"BatchNormalization", "Relu", "Clip", "HardSwish", "Sigmoid", "Cast"}  # constant again


def shrink_constant_maps_(file: onnx.ModelProto) -> None:
    """Replace every map (batch, channels, height, width) of one constant by (1, channels, 1, 1), if
    all that reads it broadcasts to a whole map.

    ONNX Runtime then computes what follows from it once, when it opens the file.
    """
    graph = file.graph
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        makers |= dict.fromkeys(node.output, node)
    weights = {each.name: each for each in graph.initializer}
    small = {}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shape = _one_position(makers.get(node.input[0]), weights)
            if shape is not None:
                small[node.output[0]] = shape
    shrunk = sorted(small.keys() - _too_small(graph, small))
    for name in shrunk:
        graph.initializer.append(_constant(makers[name], small[name]))
        graph.node.remove(makers[name])
    if shrunk:
        graph.ClearField("value_info")  # the shapes of what follows
        remove_unread_(graph)


def remove_unread_(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nothing reads, and initializers that nothing reads."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(read_by(node))
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(reversed(kept))
    drop_unread_initializers_(graph)


def _too_small(graph: onnx.GraphProto, maps: Collection[str]) -> set[str]:
    """The maps that must keep their size, because something that reads them, or what is computed
    from them alone, does not broadcast.
    """
    weights = {each.name for each in graph.initializer}
    shapes = _shapes(graph)
    outputs = {value.name for value in graph.output}
    origins: dict[str, set[str]] = {name: {name} for name in maps}
    bad: set[str] = set()
    for node in graph.node:
        read = [name for name in read_by(node) if name in origins]
        behind = set().union(*map(origins.__getitem__, read))
        others = [name for name in node.input if name and name not in weights | origins.keys()]
        if not read:
            continue
        whole = node.op_type in JOINS and _spatial(shapes, others) == _spatial(shapes, node.output)
        if node.op_type in JOINS | KEEPS and not others:
            origins[node.output[0]] = behind
        elif not whole or None in _spatial(shapes, others):
            bad |= behind
    for name in outputs & origins.keys():
        bad |= origins[name]
    return bad


def _spatial(shapes: Mapping[str, Sequence[int | str]], names: Sequence[str]) -> list[Any]:
    """Everything but the channels of the shapes of values; None for unknown ones."""
    found: list[Any] = []
    for name in names:
        shape = shapes.get(name)
        found.append(None if shape is None else (shape[0], *shape[2:]))
    return found


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int | str]]:
    """The recorded shapes of values; a size that is open is its name."""
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        found[value.name] = [dim.dim_value or dim.dim_param for dim in dims]
    return found


def _one_position(
    shape: onnx.NodeProto | None, weights: Mapping[str, onnx.TensorProto]
) -> Sequence[int] | None:
    """The shape of one position, from the node that puts the map's shape together."""
    if shape is None or shape.op_type != "Concat" or len(shape.input) < 3:
        return None
    second = weights.get(shape.input[1])
    if second is None:
        return None
    return [1, int(numpy_helper.to_array(second).item()), *[1] * (len(shape.input) - 2)]


def _constant(node: onnx.NodeProto, shape: Sequence[int]) -> onnx.TensorProto:
    value = np.zeros(1, dtype=np.float32)
    for attribute in node.attribute:
        if attribute.name == "value":
            value = numpy_helper.to_array(attribute.t)
    return numpy_helper.from_array(np.broadcast_to(value, shape).copy(), node.output[0])
