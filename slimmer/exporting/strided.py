"""Slices that keep every n-th row and column, written as average pools of size 1, which more
runtimes read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
SPACE = {2: 0, 3: 1}  # the axes of height and width, as the places of their strides

Constants = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class _Stride:
    """What one slice keeps: from index 0 to the end, every `height`-th row and every `width`-th
    column.
    """

    node: onnx.NodeProto
    height: int
    width: int


def pool_strided_slices_(file: onnx.ModelProto) -> None:
    """Write slices of images that keep every n-th row and column as average pools of size 1.

    The values are the same: an average over one number is the number. Slices that follow one
    another, as `x[:, :, ::2, ::2]` gives them, become one pool. ncnn knows no slice with a step and
    reads the pool.
    """
    graph = file.graph
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if _is_small(tensor)
    }
    images = _images(graph)
    found = [each for node in graph.node if (each := _stride(node, constants, images)) is not None]
    made_by = {each.node.output[0]: each for each in found}
    readers = [name for node in graph.node for name in node.input] + [
        value.name for value in graph.output
    ]
    for last in reversed(found):
        if last.node.output[0] not in made_by:  # merged into one behind it
            continue
        chain = _chain(last, made_by, readers)
        for each in chain:
            del made_by[each.node.output[0]]
        _replace(graph, chain)
    if found:
        _drop_unread_initializers(graph)


def is_strided_slice(node: onnx.NodeProto) -> bool:
    """Whether a node is a pool that `pool_strided_slices_` may have written: an average over one
    number each.
    """
    sizes = [attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape"]
    return node.op_type == "AveragePool" and all(size == 1 for kernel in sizes for size in kernel)


def _is_small(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor may be bounds, axes or steps of a slice."""
    return (
        tensor.data_type == TensorProto.INT64
        and len(tensor.dims) == 1
        and tensor.dims[0] <= len(SPACE)
    )


def _images(graph: onnx.GraphProto) -> set[str]:
    """The names of float tensors of four axes."""
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type for value in values}
    return {
        name
        for name, kind in types.items()
        if kind.elem_type in FLOATS and len(kind.shape.dim) == 4
    }


def _stride(node: onnx.NodeProto, constants: Constants, images: set[str]) -> _Stride | None:
    """What a node keeps, if it is a slice of height and width with a step; else None."""
    if (
        node.op_type != "Slice"
        or node.domain
        or len(node.input) != 5
        or node.input[0] not in images
    ):
        return None
    if any(name not in constants for name in node.input[1:]):
        return None
    starts, ends, axes, steps = (constants[name].tolist() for name in node.input[1:])
    if any(axis not in SPACE for axis in axes) or any(starts) or min(steps) < 1 or max(steps) == 1:
        return None
    if min(ends) < np.iinfo(np.int32).max:  # an end inside the image cuts
        return None
    strides = [1, 1]
    for axis, step in zip(axes, steps, strict=True):
        strides[SPACE[axis]] = step
    return _Stride(node, *strides)


def _chain(last: _Stride, made_by: Mapping[str, _Stride], readers: Sequence[str]) -> list[_Stride]:
    """`last` and the slices in front of it that nothing else reads, the last first."""
    chain = [last]
    while (before := made_by.get(chain[-1].node.input[0])) and readers.count(
        before.node.output[0]
    ) == 1:
        chain.append(before)
    return chain


def _replace(graph: onnx.GraphProto, chain: Sequence[_Stride]) -> None:
    """Put one pool in the place of the slices of `chain`, the last first."""
    last, first = chain[0].node, chain[-1].node
    strides = [
        int(np.prod([each.height for each in chain])),
        int(np.prod([each.width for each in chain])),
    ]
    pool = helper.make_node(
        "AveragePool",
        [first.input[0]],
        [last.output[0]],
        name=last.name,
        kernel_shape=[1, 1],
        strides=strides,
    )
    place = list(graph.node).index(last)
    graph.node[place].CopyFrom(pool)
    for each in chain[1:]:
        graph.node.remove(each.node)


def _drop_unread_initializers(graph: onnx.GraphProto) -> None:
    """Drop constants that were the slices' alone."""
    if any(
        attribute.HasField("g") or attribute.graphs
        for node in graph.node
        for attribute in node.attribute
    ):
        return  # a branch's own graph may read them
    read = {name for node in graph.node for name in node.input} | {
        value.name for value in graph.output
    }
    for tensor in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(tensor)
