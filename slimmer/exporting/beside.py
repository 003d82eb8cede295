"""Where an ONNX file's weights may lie: in it, or in files beside it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx.external_data_helper import uses_external_data

from slimmer.errors import ExportError


def check_beside(file: onnx.ModelProto, path: Path) -> None:
    """Check that the weights of the file at `path` lie in it or beside it: a file names no other
    place of the machine.

    Raises ExportError.
    """
    for tensor in _tensors(file):
        for entry in tensor.external_data if uses_external_data(tensor) else ():
            if entry.key == "location" and not _is_beside(entry.value, path.parent):
                found = f"takes the weights of {tensor.name[:100]!r} from {entry.value[:200]!r}"
                raise ExportError(str(path), found, "a file whose weights lie in it or beside it")


def _is_beside(location: str, folder: Path) -> bool:
    """Whether a location is the plain name of a file in the folder, and no link that leads out of
    it.
    """
    if (
        not location
        or PurePosixPath(location).name != location
        or PureWindowsPath(location).name != location
    ):
        return False
    return (folder / location).resolve().parent == folder.resolve()


def _tensors(file: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors that a file holds, those in its operations and in their graphs too."""
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
