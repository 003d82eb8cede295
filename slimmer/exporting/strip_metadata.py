"""Removal of the exporter's metadata on this machine and run from an ONNX file."""

import re
from collections.abc import Mapping
from typing import Any

import onnx


def name_sizes_(graph: onnx.GraphProto, names: Mapping[int, str]) -> None:
    """Rename the input's open sizes everywhere to `names`, by axis; torch.export calls them `s77`
    or similar.
    """
    called = {}
    for axis, size in enumerate(graph.input[0].type.tensor_type.shape.dim):
        if size.dim_param:
            called[size.dim_param] = names[axis]

    def rename(word: re.Match[str]) -> str:
        return called.get(word[0], word[0])

    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", rename, size.dim_param)


def forget_source_(file: onnx.ModelProto) -> None:
    """Remove stack traces and the traced program's text, which contain paths of this machine and
    take most of a small file.
    """
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
    """Remove them from the subgraphs of a node, such as the two branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            _forget_graph(attribute.g)
        for graph in attribute.graphs:
            _forget_graph(graph)


def _forget(*parts: Any) -> None:
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
