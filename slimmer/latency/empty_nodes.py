"""Nodes of a sliced ONNX file that have lost all channels."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from slimmer.exporting.constant_maps import remove_unread_


def drop_empty_(graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Replace what convolutions and linear layers without inputs make by their bias, and remove the
    nodes that nothing reads any more; `shapes` are those of the initializers.

    The files of networks from which branches are removed are like that after ONNX Runtime has
    folded their constants.
    """
    if all(min(shape, default=1) > 0 for shape in shapes.values()):
        return
    biases = {each.name: each for each in graph.initializer}
    constants = []
    for node in graph.node:
        channels = _made_of_nothing(node, shapes)
        if channels is None:
            continue
        bias = np.zeros(channels, dtype=np.float32)
        if node.op_type != "MatMul" and len(node.input) > 2:
            bias = numpy_helper.to_array(biases[node.input[2]])
        spatial = [1] * (len(shapes[node.input[1]]) - 2) if node.op_type == "Conv" else []
        constants.append(numpy_helper.from_array(bias.reshape(1, -1, *spatial), node.output[0]))
    made = {each.name for each in constants}
    kept = [node for node in graph.node if made.isdisjoint(node.output)]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)
    remove_unread_(graph)


def _made_of_nothing(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> int | None:
    """The outputs of a layer without inputs; None for all other nodes."""
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or node.input[1] not in shapes:
        return None
    made, entering = shapes[node.input[1]][:2]
    turned = node.op_type == "Gemm" and not any(
        each.name == "transB" and each.i for each in node.attribute
    )
    if node.op_type == "MatMul" or turned:
        made, entering = entering, made
    return made if made and not entering else None
