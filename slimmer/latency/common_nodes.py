"""The nodes that all measured networks have, and which channels each works on."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from slimmer.costs.cost import Floats
from slimmer.latency.means import Node

BLOCKS = (1, 4, 8, 16, 32)  # what a runtime may fill up the widths in its graph to


@dataclass(frozen=True)
class Observed:
    """A measured network: its widths (groups,), nanoseconds, and nodes."""

    widths: tuple[int, ...]
    ns: float
    nodes: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class CommonNode:
    """A node in all networks: its class, its axes, the channels there, and its times.

    `axes` are the rows of what it makes, reads and is given in the table of axes; `channels`
    (networks, 3) are their widths, and `ns` (networks,) the times.
    """

    name: str
    kind: Hashable
    axes: tuple[Floats, Floats, Floats]
    channels: Floats
    ns: Floats


class Axes:
    """The different axes of a network, found by their widths in all measured networks."""

    def __init__(self, observed: Sequence[Observed], members: Floats, rest: Floats) -> None:
        self.groups = len(observed[0].widths)
        widths = np.array([each.widths for each in observed], dtype=np.float64)
        self._rows: dict[tuple[float, ...], Floats] = {}
        for block in BLOCKS:
            for row, more in zip(members, rest, strict=True):
                seen = widths @ row + more
                filled = tuple((np.ceil(seen / block) * block).tolist())
                self._rows.setdefault(filled, np.array([*row, more]))

    def row(self, seen: Floats) -> Floats | None:
        """The axis (groups + 1,) that has the widths `seen` (networks,); None if there is none."""
        if (seen == seen[0]).all():
            return np.array([*np.zeros(self.groups), seen[0]])
        return self._rows.get(tuple(seen.tolist()))


def common_nodes(observed: Sequence[Observed], table: Axes) -> list[CommonNode]:
    """The nodes that all networks have, in the order of the dense network."""
    by_name = [_by_name(each.nodes) for each in observed]
    found = []
    for first in observed[0].nodes:
        same = [nodes[first.name] for nodes in by_name if first.name in nodes]
        if len(same) < len(observed):
            continue
        channels = np.array([_channels(node) for node in same], dtype=np.float64)
        axes = [table.row(channels[:, column]) for column in range(3)]
        if any(axis is None for axis in axes):
            axes = [np.array([*np.zeros(table.groups), channels[:, k].mean()]) for k in range(3)]
        times = np.array([1000 * node.us for node in same])
        found.append(CommonNode(first.name, _kind(first), tuple(axes), channels, times))  # type: ignore[arg-type]
    return found


def _by_name(nodes: Sequence[Node]) -> dict[str, Node]:
    return {node.name: node for node in nodes}


def _channels(node: Node) -> tuple[float, float, float]:
    """The channels that a node makes, those from which it computes each, and those given to it."""
    made = _axis_of(node.outputs[0]) if node.outputs else 1.0
    given = _axis_of(node.inputs[0]) if node.inputs else 1.0
    if not _has_weights(node):
        return made, 1.0, given
    if len(node.inputs) > 1 and len(node.inputs[1]) == len(node.inputs[0]) > 2:
        return made, float(node.inputs[1][1]), given
    return made, given, given


def _axis_of(shape: Sequence[int]) -> float:
    """The number of channels: the second axis of an image, the last of a matrix."""
    if len(shape) >= 3:
        return float(shape[1])
    return float(shape[-1]) if shape else 1.0


def _has_weights(node: Node) -> bool:
    return any(part in node.op for part in ("Conv", "Gemm", "MatMul"))


def _kind(node: Node) -> Hashable:
    """The class of a node: everything that decides its time except channels."""
    sizes = []
    for shape in (*node.inputs[:1], *node.outputs[:1]):
        sizes.append(tuple(shape[2:]))
    kernel: tuple[int, ...] = ()
    each = 0
    if _has_weights(node) and len(node.inputs) > 1:
        kernel = tuple(node.inputs[1][2:])
        if len(node.inputs[1]) > 2 and node.inputs[1][1] != node.inputs[0][1]:
            each = node.inputs[1][1]
    images = sum(len(shape) > 2 and tuple(shape[2:]) == sizes[-1] for shape in node.inputs)
    return node.op, *sizes, kernel, each, images
