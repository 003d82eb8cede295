"""What the nodes of an ONNX graph read, and what nothing reads."""

from collections.abc import Iterator

import onnx


def read_names(graph: onnx.GraphProto) -> list[str]:
    """The names that nodes, the graphs inside them and the graph's outputs read, once for each
    use.
    """
    names: list[str] = []
    for node in graph.node:
        names += read_by(node)
    return [*names, *(value.name for value in graph.output)]


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node and the graphs inside it read."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            yield from read_names(inner)


def drop_unread_initializers_(graph: onnx.GraphProto) -> None:
    """Remove the initializers that nothing reads."""
    read = set(read_names(graph))
    for tensor in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(tensor)
