"""ONNX files of a network at any widths, sliced from the file of the dense network.

`torch.onnx` takes seconds for every network. Weights do not change a latency, so the files of
networks that are only timed are made from one export: their initializers are sliced like the
parameters that they come from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from slimmer.atomic_files import naming
from slimmer.costs import Subject
from slimmer.exporting.onnx import export_onnx, load_file
from slimmer.exporting.onnx_file import ONE_FILE, write_onnx
from slimmer.graph import Axis, ChannelGraph
from slimmer.latency.empty_nodes import drop_empty_

BIAS = "_bias"  # what the exporter appends to a weight's name for the bias of a folded norm
BEFORE, AFTER = "#before", "#after"  # the counts of a channel-padding module

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """The positions of a group's units on one axis of an initializer."""

    group: int
    index: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class DenseFile:
    """The ONNX file of the dense network, and how the axes of its initializers depend on widths.

    `parts` are those of an initializer's axis, by name and dimension. `pads` are the initializers
    of channel paddings, each with the parts of its counts before and after.
    """

    file: onnx.ModelProto
    graph: ChannelGraph
    parts: Mapping[tuple[str, int], tuple[Part, ...]]
    pads: Mapping[str, tuple[tuple[Part, ...], tuple[Part, ...]]]

    @cached_property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The initializers by name."""
        return {each.name: numpy_helper.to_array(each) for each in self.file.graph.initializer}

    @property
    def layers(self) -> list[tuple[str, list[int]]]:
        """The name and shape of every weight, in the file's order."""
        found = []
        for tensor in self.file.graph.initializer:
            if len(tensor.dims) >= 2:
                found.append((tensor.name, list(tensor.dims)))
        return found

    def axis_widths(self) -> tuple[Floats, Floats]:
        """`members` (axes, groups) and `rest` (axes,) of all different axes that depend on widths:
        the width of an axis is `members` @ widths + `rest`.
        """
        rows = set()
        for (name, dim), parts in self.parts.items():
            row = [0.0] * len(self.graph.groups)
            for part in parts:
                row[part.group] += len(part.index[0])
            full = sum(len(part.index) * len(part.index[0]) for part in parts)
            rows.add((*row, float(self.arrays[name].shape[dim] - full)))
        table = np.array(sorted(rows), dtype=np.float64).reshape(len(rows), -1)
        return table[:, :-1], table[:, -1]

    def write(self, widths: Sequence[int], path: Path) -> None:
        """Write the file of the network at `widths` (groups,) to `path`.

        ONNX's checker would take most of the time, and ONNX Runtime refuses what it can't run.
        """
        file = self.at(widths)
        if sum(array.nbytes for array in self.arrays.values()) > ONE_FILE:
            write_onnx(file, path)
            return
        with naming(path):
            path.write_bytes(file.SerializeToString())

    def at(self, widths: Sequence[int]) -> onnx.ModelProto:
        """The file of the network that keeps the first units of every group."""
        made = onnx.ModelProto()
        made.CopyFrom(self._frame)
        shapes: dict[str, tuple[int, ...]] = {}
        for tensor in self.file.graph.initializer:
            array = self._sliced(tensor.name, widths)
            shapes[tensor.name] = array.shape
            made.graph.initializer.append(numpy_helper.from_array(array, tensor.name))
        for node in made.graph.node:
            _set_groups_(node, self.arrays, shapes)
        drop_empty_(made.graph, shapes)
        return made

    @cached_property
    def _frame(self) -> onnx.ModelProto:
        """The file without initializers and recorded shapes, with flattening independent of
        widths.
        """
        made = onnx.ModelProto()
        made.CopyFrom(self.file)
        made.graph.ClearField("initializer")
        made.graph.ClearField("value_info")
        for node in made.graph.node:
            if node.op_type == "Reshape" and node.input[1] in self._flattening:
                for attribute in node.attribute:
                    if attribute.name == "allowzero":
                        attribute.i = 0  # a 0 in the shape stands for the batch size
        return made

    def _sliced(self, name: str, widths: Sequence[int]) -> NDArray[np.generic]:
        array = self.arrays[name]
        if name in self._flattening:
            return np.array([0, -1], dtype=array.dtype)
        if name in self.pads:
            return self._padded(name, widths)
        for dim in range(array.ndim):
            gone = _gone(self.parts.get((name, dim), ()), widths)
            if gone:
                array = np.delete(array, gone, axis=dim)
        return array

    def _padded(self, name: str, widths: Sequence[int]) -> NDArray[np.generic]:
        """The amounts of a padding, (before of every axis, after of every axis)."""
        amounts = self.arrays[name].copy()
        places = 1, 1 + len(amounts) // 2
        for place, parts in zip(places, self.pads[name], strict=True):
            amounts[place] -= len(_gone(parts, widths))
        return amounts

    @cached_property
    def _flattening(self) -> set[str]:
        """The shapes of reshapes to (batch, everything else), which any number of channels fits."""
        found = set()
        for node in self.file.graph.node:
            if node.op_type != "Reshape" or node.input[1] not in self.arrays:
                continue
            shape = self.arrays[node.input[1]]
            if shape.shape == (2,) and shape[0] == -1:
                found.add(node.input[1])
        return found


def dense_file(subject: Subject, shape: Sequence[int]) -> DenseFile:
    """The dense network exported once, for images of `shape`. Raises ExportError."""
    with TemporaryDirectory(prefix="slimmer-latency-") as folder:
        path = Path(folder) / "dense.onnx"
        export_onnx(subject.model, path, tuple(shape), metadata={})
        file = load_file(path, weights=True)
    return read_dense(file, subject.graph)


def read_dense(file: onnx.ModelProto, graph: ChannelGraph) -> DenseFile:
    """The dense file with the dependence of its axes on the groups of `graph`."""
    of_axis = parts_of(graph)
    biases = {layer.out_axis.tensor + BIAS: layer.out_axis for layer in graph.layers}
    parts: dict[tuple[str, int], tuple[Part, ...]] = {}
    for tensor in file.graph.initializer:
        for dim in range(len(tensor.dims)):
            axis = Axis(tensor.name, dim)
            if tensor.name in biases and axis not in of_axis:
                axis = biases[tensor.name]
            if axis in of_axis:
                parts[tensor.name, dim] = of_axis[axis]
    return DenseFile(file, graph, parts, dict(_pads(file, graph, of_axis)))


def parts_of(graph: ChannelGraph) -> dict[Axis, tuple[Part, ...]]:
    """The parts of every axis that depends on the widths of groups."""
    found: dict[Axis, tuple[Part, ...]] = {}
    for number, group in enumerate(graph.groups):
        for part in group.slices:
            found[part.axis] = (*found.get(part.axis, ()), Part(number, part.index))
    return found


def _pads(
    file: onnx.ModelProto, graph: ChannelGraph, of_axis: Mapping[Axis, tuple[Part, ...]]
) -> Iterator[tuple[str, tuple[tuple[Part, ...], tuple[Part, ...]]]]:
    """The amounts of channel paddings, which the graph lists in the order of the file's nodes."""
    known = [axis for axis, _ in graph.sizes if axis.tensor.endswith(BEFORE)]
    arrays = {each.name: each for each in file.graph.initializer}
    names = []
    for node in file.graph.node:
        if node.op_type == "Pad" and node.input[1] in arrays:
            amounts = numpy_helper.to_array(arrays[node.input[1]])
            if len(amounts) >= 4 and (amounts[1] or amounts[1 + len(amounts) // 2]):
                names.append(node.input[1])
    for name, axis in zip(names, known, strict=False):
        after = Axis(axis.tensor.removesuffix(BEFORE) + AFTER, axis.dim)
        yield name, (of_axis.get(axis, ()), of_axis.get(after, ()))


def _gone(parts: Sequence[Part], widths: Sequence[int]) -> list[int]:
    """The positions of the units that are not among the first of their group."""
    found: list[int] = []
    for part in parts:
        found.extend(chain.from_iterable(part.index[int(widths[part.group]) :]))
    return sorted(found)


def _set_groups_(
    node: onnx.NodeProto,
    dense: Mapping[str, NDArray[np.generic]],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Set the number of groups of a convolution that has lost whole groups."""
    if node.op_type != "Conv" or node.input[1] not in shapes:
        return
    before, after = dense[node.input[1]].shape, shapes[node.input[1]]
    for attribute in node.attribute:
        if attribute.name == "group" and attribute.i > 1 and before[1] == after[1]:
            attribute.i = attribute.i * after[0] // before[0]
