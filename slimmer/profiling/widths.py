"""The layers of an ONNX file and their widths, on which the speed of kernels depends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimmer.exporting.onnx import load_file
from slimmer.profiling.runtimes.providers import CPU, first_choice

MULTIPLES = (32, 16, 8)
KEEP_WIDTH = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose")


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of an ONNX file.

    `name` is its weight's name. `width` is the number of output channels, and `reads` the number of
    input channels (per group, of `groups`). `multiple` is the largest of 32, 16 and 8 that divides
    `width`, or 1. `output` is True if the layer produces the network's output, whose width is the
    number of classes.
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
    for multiple in MULTIPLES:
        if width % multiple == 0:
            return multiple
    return 1


def preferred(provider: str, vector_floats: object) -> int:
    """The multiple that a provider's kernels prefer: 16 on a CPU with vectors of 16 floats, else 8.

    On the CPU, ONNX Runtime computes convolutions on blocks of channels as wide as a vector
    (MlasNchwcGetBlockSize). Padding in the last block of output channels is wasted work, and layers
    with an unsuitable number of input channels use other, slower kernels (nchwc_transformer.cc).
    NVIDIA's tensor cores prefer multiples of 8 (Deep Learning Performance Documentation,
    convolutional layers).

    >>> preferred("cpu", 16), preferred("cpu", None), preferred("cuda", 16)
    (16, 8, 8)
    """
    return 16 if first_choice(provider) == CPU and vector_floats == 16 else 8


def read_layers(path: Path) -> tuple[Layer, ...]:
    """The convolutions and linear layers of the ONNX file at `path`, in file order.

    Raise ExportError if the file can't be read.
    """
    graph = load_file(path).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    # Quantization and casts between a weight and its layer, or a layer and the output, keep widths.
    origin: dict[str, str] = {}
    for node in graph.node:
        if node.input and node.op_type in KEEP_WIDTH:
            origin |= dict.fromkeys(node.output, node.input[0])
    outputs = {value.name for value in graph.output}
    before = list(outputs)
    while before:
        before = [origin[name] for name in before if name in origin]
        outputs |= set(before)
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        weight = node.input[1]
        while weight not in shapes and weight in origin:
            weight = origin[weight]
        if weight in shapes and len(shapes[weight]) >= 2:
            last = not outputs.isdisjoint(node.output)
            found.append(_layer(node, weight, shapes[weight], output=last))
    return tuple(found)


def _layer(node: Any, weight: str, shape: Sequence[int], *, output: bool) -> Layer:
    given = {attribute.name: attribute.i for attribute in node.attribute}
    groups = given.get("group", 1)
    if node.op_type == "Conv" or (node.op_type == "Gemm" and given.get("transB", 0)):
        width, reads = shape[0], shape[1]
    else:
        reads, width = shape[-2], shape[-1]
    name = weight.removesuffix(".weight")
    return Layer(name, node.op_type, width, reads, groups, multiple_of(width), output)
