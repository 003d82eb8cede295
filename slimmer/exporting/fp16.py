"""Conversion of a float32 ONNX file to half precision."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from slimmer.errors import ExportError
from slimmer.exporting.error_text import one_line
from slimmer.exporting.onnx import finish, load_file
from slimmer.exporting.outputs import as_type
from slimmer.graph import quiet

Array = np.ndarray[Any, np.dtype[Any]]
LARGEST = 65504
RIGHT = (
    "float32, or a network whose weights and activations stay below 65,504, the largest fp16 number"
)


def write_fp16(source: Path, path: Path, *, half_io: bool, metadata: Mapping[str, str]) -> None:
    """Write the float32 ONNX file `source` to `path` with fp16 weights and compute.

    Inputs and outputs stay float32; with `half_io` they are fp16 too. Operations that are not
    suitable for fp16 (ONNX Runtime's list: Range, CumSum, TopK, …) stay float32 between casts;
    `float32_ops` counts them. Weights outside fp16's range are refused, because the converter would
    clamp them.

    Raise ExportError for such weights, and if the file can't be converted or written.
    Source: https://onnxruntime.ai/docs/performance/model-optimizations/float16.html
    """
    file = load_file(source, weights=True)
    for tensor in file.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            largest = float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0))
            if not largest <= LARGEST:
                raise ExportError(f"{path}, {tensor.name}", f"holds {largest:.4g}", RIGHT)
    try:
        with quiet():
            # The exporter records every tensor's type, and the converter updates these records,
            # but would get those of weights that stay float32 wrong. ONNX's shape inference is no
            # alternative, because it stops at 2 GiB.
            weights = {tensor.name for tensor in file.graph.initializer}
            typed = [value for value in file.graph.value_info if value.name not in weights]
            file.graph.ClearField("value_info")
            file.graph.value_info.extend(typed)
            half = convert_float_to_float16(
                file, keep_io_types=not half_io, disable_shape_infer=True
            )
            OnnxModel.graph_topological_sort(half.graph)  # the converter appends input casts
    except Exception as error:  # the converter's errors have no common base class
        right = "operations that ONNX Runtime's converter supports"
        raise ExportError(f"{source} in fp16", one_line(error), right) from error
    finish(half, path, metadata)


def float32_ops(path: Path) -> dict[str, int]:
    """The number of operations of each kind in the fp16 file at `path` that have float32 outputs,
    except casts.
    """
    graph = load_file(path).graph
    single = _names_of_type((*graph.value_info, *graph.output), TensorProto.FLOAT)
    counts: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type != "Cast" and not single.isdisjoint(node.output):
            counts[node.op_type] += 1
    return dict(sorted(counts.items()))


def check_range(path: Path, images: Array, batch: int) -> None:
    """Raise ExportError if an fp16 value overflows; it names the first operation with an output
    that is infinite or NaN.

    ONNX Runtime has few fp16 kernels on the CPU. It computes in float32 between operations and so
    hides an overflow that a GPU shows. A copy of the file with every fp16 value as an output has
    to round each of them. `images` are (N, C, H, W) float32; each run takes `batch` of them, and
    the first images fill up the last run.
    """
    try:
        found = _overflown(path, images, batch)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ExportError(str(path), one_line(error), "a file that ONNX Runtime runs") from error
    if found is not None:
        raise ExportError(f"{path}, {found}", "overflows in fp16", RIGHT)


def _overflown(path: Path, images: Array, batch: int) -> str | None:
    """The kind and name of the first operation with an fp16 output that is not finite, or None."""
    file = load_file(path)
    half = _names_of_type(file.graph.value_info, TensorProto.FLOAT16)
    makers: dict[str, onnx.NodeProto] = {}
    for node in file.graph.node:
        makers |= {name: node for name in node.output if name in half}
    if not makers:
        return None
    file.graph.output.extend(value for value in file.graph.value_info if value.name in makers)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # In the same folder, because external weights are found relative to the file.
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as copy:
        copy.write(file.SerializeToString())
        copy.flush()
        session = onnxruntime.InferenceSession(
            copy.name, options, providers=["CPUExecutionProvider"]
        )
        given = session.get_inputs()[0]
        for start in range(0, len(images), batch):
            some = as_type(images[np.arange(start, start + batch) % len(images)], given.type)
            outputs = session.run(list(makers), {given.name: some})
            for (name, node), values in zip(makers.items(), outputs, strict=True):
                if not np.isfinite(values).all():
                    return f"{node.op_type} {node.name or name}"
    return None


def _names_of_type(values: Iterable[onnx.ValueInfoProto], kind: int) -> set[str]:
    return {value.name for value in values if value.type.tensor_type.elem_type == kind}
