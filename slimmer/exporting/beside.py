"""The locations that an ONNX file's weights may have: the file itself, or files next to it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx.external_data_helper import uses_external_data

from slimmer.errors import ExportError


def check_beside(file: onnx.ModelProto, path: Path) -> None:
    """Raise ExportError if the file at `path` reads weights from outside its folder."""
    for tensor in _tensors(file):
        if not uses_external_data(tensor):
            continue
        for entry in tensor.external_data:
            if entry.key == "location" and not _is_beside(entry.value, path.parent):
                found = f"reads the weights of {tensor.name[:100]!r} from {entry.value[:200]!r}"
                raise ExportError(str(path), found, "a file with its weights in it or next to it")


def _is_beside(location: str, folder: Path) -> bool:
    """Whether a location is a plain file name, and not a link that leads out of the folder."""
    names = {PurePosixPath(location).name, PureWindowsPath(location).name}
    if not location or names != {location}:
        return False
    return (folder / location).resolve().parent == folder.resolve()


def _tensors(file: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors of a file, including those in attributes and subgraphs of its nodes."""
    yield from _tensors_in(file.graph)
    for function in file.functions:
        for node in function.node:
            yield from _tensors_of(node)


def _tensors_in(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _tensors_of(node)


def _tensors_of(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield attribute.t
        yield from attribute.tensors
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_in(graph)
