"""The layers of an ONNX file and their widths, which decide how fast a runtime's kernels are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimmer.exporting.onnx import load_file
from slimmer.profiling.runtimes.providers import CPU, first_choice

MULTIPLES = (32, 16, 8)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: its weight's name, its channels, and the largest of 32, 16, 8
    in `width`.

    `width` is the number of channels that the layer makes, `reads` of those that it reads (in each
    of `groups`). `multiple` is 1 where none of them divides. `output` says that it makes the
    network's output, whose width is the number of classes.
    """

    name: str
    kind: str
    width: int
    reads: int
    groups: int
    multiple: int
    output: bool


def multiple_of(width: int) -> int:
    """The largest of 32, 16, 8 that divides `width`, or 1.

    >>> multiple_of(48), multiple_of(20)
    (16, 1)
    """
    return next((multiple for multiple in MULTIPLES if width % multiple == 0), 1)


def preferred(provider: str, vector_floats: object) -> int:
    """The multiple that a provider's kernels are made for: 16 on a CPU whose vectors hold so many
    numbers, else 8.

    On the CPU ONNX Runtime computes convolutions on blocks of channels as wide as a vector
    (MlasNchwcGetBlockSize): what fills the last block of those that a layer makes is computed in
    vain, and layers that read channels of no suitable number are computed by other, slower kernels
    (its nchwc_transformer.cc). NVIDIA's tensor cores ask for 8 (Deep Learning Performance
    Documentation, convolutional layers).

    >>> preferred("cpu", 16), preferred("cpu", None), preferred("cuda", 16)
    (16, 8, 8)
    """
    return 16 if first_choice(provider) == CPU and vector_floats == 16 else 8


def read_layers(path: Path) -> tuple[Layer, ...]:
    """The convolutions and linear layers of the ONNX file at `path`, in its order. Raises
    ExportError.
    """
    graph = load_file(path).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    origin = {
        name: node.input[0]
        for node in graph.node
        for name in node.output
        if node.input and _passes(node)
    }
    answers = {value.name for value in graph.output}
    # What a quantizer or a cast puts between a weight and its layer, or a layer and the output,
    # changes no width.
    behind = list(answers)
    while behind:
        behind = [origin[name] for name in behind if name in origin]
        answers |= set(behind)
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        weight = node.input[1]
        while weight not in shapes and weight in origin:
            weight = origin[weight]
        if weight in shapes and len(shapes[weight]) >= 2:
            found.append(
                _layer(node, weight, shapes[weight], output=bool(answers & set(node.output)))
            )
    return tuple(found)


def _passes(node: Any) -> bool:
    return node.op_type in ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose")


def _layer(node: Any, weight: str, shape: Sequence[int], *, output: bool) -> Layer:
    given = {attribute.name: attribute.i for attribute in node.attribute}
    groups = given.get("group", 1)
    if node.op_type == "Conv" or (node.op_type == "Gemm" and given.get("transB", 0)):
        width, reads = shape[0], shape[1]
    else:
        reads, width = shape[-2], shape[-1]
    name = weight.removesuffix(".weight")
    return Layer(name, node.op_type, width, reads, groups, multiple_of(width), output)
