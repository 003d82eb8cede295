"""Strided slices of images, rewritten as average pools of size 1, which more runtimes support."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from slimmer.exporting.reads import drop_unread_initializers_, read_names

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
SPACE = {2: 0, 3: 1}  # the axes of height and width, with the indices of their strides

Constants = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class _Stride:
    """A slice that keeps every `height`-th row and every `width`-th column, from index 0 to the
    end.
    """

    node: onnx.NodeProto
    height: int
    width: int


def pool_strided_slices_(file: onnx.ModelProto) -> None:
    """Replace slices of images that keep every n-th row and column by average pools of size 1.

    The values are equal, because the average of one number is that number. Consecutive slices, such
    as those of `x[:, :, ::2, ::2]`, become one pool. ncnn does not support slices with a step, but
    supports the pool.
    """
    graph = file.graph
    constants = {}
    for tensor in graph.initializer:
        if _is_small(tensor):
            constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
    images = _images(graph)
    found = []
    for node in graph.node:
        stride = _stride(node, constants, images)
        if stride is not None:
            found.append(stride)
    made_by = {each.node.output[0]: each for each in found}
    readers = read_names(graph)
    for last in reversed(found):
        if last.node.output[0] not in made_by:  # merged into a later slice
            continue
        chain = _chain(last, made_by, readers)
        for each in chain:
            del made_by[each.node.output[0]]
        _replace(graph, chain)
    if found:
        drop_unread_initializers_(graph)


def is_strided_slice(node: onnx.NodeProto) -> bool:
    """Whether a node is an average pool of size 1, as `pool_strided_slices_` writes it."""
    if node.op_type != "AveragePool":
        return False
    kernels = [attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape"]
    return all(set(kernel) <= {1} for kernel in kernels)


def _is_small(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor may hold the bounds, axes or steps of a slice."""
    return (
        tensor.data_type == TensorProto.INT64
        and len(tensor.dims) == 1
        and tensor.dims[0] <= len(SPACE)
    )


def _images(graph: onnx.GraphProto) -> set[str]:
    """The names of float tensors with four axes."""
    names = set()
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.elem_type in FLOATS and len(kind.shape.dim) == 4:
            names.add(value.name)
    return names


def _stride(node: onnx.NodeProto, constants: Constants, images: set[str]) -> _Stride | None:
    """The strides of a node that is a strided slice of height and width; None for other nodes."""
    if node.op_type != "Slice" or node.domain or len(node.input) != 5:
        return None
    image, *bounds = node.input
    if image not in images or not constants.keys() >= set(bounds):
        return None
    starts, ends, axes, steps = (constants[name].tolist() for name in bounds)
    if any(starts) or not SPACE.keys() >= set(axes):
        return None
    if min(steps) < 1 or max(steps) == 1:
        return None
    if min(ends) < np.iinfo(np.int32).max:  # an end inside the image would crop it
        return None
    strides = [1, 1]
    for axis, step in zip(axes, steps, strict=True):
        strides[SPACE[axis]] = step
    return _Stride(node, *strides)


def _chain(last: _Stride, made_by: Mapping[str, _Stride], readers: Sequence[str]) -> list[_Stride]:
    """`last` and the slices before it that nothing else reads, last first."""
    chain = [last]
    while True:
        before = made_by.get(chain[-1].node.input[0])
        if before is None or readers.count(before.node.output[0]) != 1:
            return chain
        chain.append(before)


def _replace(graph: onnx.GraphProto, chain: Sequence[_Stride]) -> None:
    """Replace the slices of `chain`, last first, by one pool."""
    last, first = chain[0].node, chain[-1].node
    height, width = 1, 1
    for each in chain:
        height, width = height * each.height, width * each.width
    pool = helper.make_node(
        "AveragePool",
        [first.input[0]],
        [last.output[0]],
        name=last.name,
        kernel_shape=[1, 1],
        strides=[height, width],
    )
    place = list(graph.node).index(last)
    graph.node[place].CopyFrom(pool)
    for each in chain[1:]:
        graph.node.remove(each.node)
