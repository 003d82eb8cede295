"""An ONNX file without what the exporter tells of the machine and the run that wrote it."""

import re
from collections.abc import Mapping
from typing import Any

import onnx


def name_sizes_(graph: onnx.GraphProto, names: Mapping[int, str]) -> None:
    """Call the input's open sizes by `names`, one per axis, throughout, where torch.export says
    `s77` or the like.
    """
    sizes = graph.input[0].type.tensor_type.shape.dim
    called = {size.dim_param: names[axis] for axis, size in enumerate(sizes) if size.dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(
                    r"\w+", lambda word: called.get(word[0], word[0]), size.dim_param
                )


def forget_source_(file: onnx.ModelProto) -> None:
    """Drop stack traces and the traced program's text: paths of this machine, most of a small file."""
    for function in file.functions:
        _forget(function, *function.node)
        for node in function.node:
            _forget_branches(node)
    _forget_graph(file.graph)


def _forget_graph(graph: onnx.GraphProto) -> None:
    _forget(graph, *graph.node, *graph.initializer, *graph.value_info)
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")
    for node in graph.node:
        _forget_branches(node)


def _forget_branches(node: onnx.NodeProto) -> None:
    """The same in the graphs that a node holds, such as the two sides of an If."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            _forget_graph(graph)


def _forget(*parts: Any) -> None:
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
