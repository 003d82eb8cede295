"""An ONNX file in half precision, made from the one in float32."""

from collections import Counter
from collections.abc import Mapping
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
RIGHT = "float32, or a network whose weights and activations stay below 65,504, the largest number of fp16"


def write_fp16(source: Path, path: Path, *, half_io: bool, metadata: Mapping[str, str]) -> None:
    """Write the float32 ONNX file `source` to `path` with fp16 weights and compute.

    Inputs and outputs stay float32, or are fp16 too with `half_io`. Operations that fp16 does not
    suit (ONNX Runtime's list: Range, CumSum, TopK, ...) stay float32 between casts; `float32_ops`
    tells which. Weights beyond fp16's range would be clamped, so they are refused.

    Raises ExportError for such weights, and where the file can't be converted or written.
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
            # The exporter has noted every type, which the converter changes; its notes on weights
            # that stay float32 it would get wrong. ONNX's own inference in its place stops at 2
            # GiB.
            held = {tensor.name for tensor in file.graph.initializer}
            noted = [value for value in file.graph.value_info if value.name not in held]
            file.graph.ClearField("value_info")
            file.graph.value_info.extend(noted)
            half = convert_float_to_float16(
                file, keep_io_types=not half_io, disable_shape_infer=True
            )
            OnnxModel.graph_topological_sort(half.graph)  # the casts of the inputs were put last
    except Exception as error:  # the converter's errors share no base
        raise ExportError(
            f"{source} in fp16", one_line(error), "operations that ONNX Runtime's converter knows"
        ) from error
    finish(half, path, metadata)


def float32_ops(path: Path) -> dict[str, int]:
    """How many operations of each kind in the fp16 file at `path` still give float32, its casts
    left out.
    """
    graph = load_file(path).graph
    typed = (*graph.value_info, *graph.output)
    single = {
        value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    kinds = (
        node.op_type
        for node in graph.node
        if node.op_type != "Cast" and single.intersection(node.output)
    )
    return dict(sorted(Counter(kinds).items()))


def check_range(path: Path, images: Array, batch: int) -> None:
    """Nothing; raises ExportError that names the first operation whose fp16 output is infinite or
    no number.

    ONNX Runtime's CPU has few fp16 kernels: it computes in float32 between operations and so hides
    an overflow that a GPU shows. A copy of the file that gives every fp16 value away has to round
    each of them. `images` are (N, C, H, W) float32; `batch` of them are looked at in a run, the
    last run filled up from the front.
    """
    try:
        found = _overflown(path, images, batch)
    except Exception as error:  # ONNX Runtime's errors share no base
        raise ExportError(str(path), one_line(error), "a file that ONNX Runtime runs") from error
    if found is not None:
        raise ExportError(f"{path}, {found}", "overflows in fp16", RIGHT)


def _overflown(path: Path, images: Array, batch: int) -> str | None:
    """The kind and name of the first operation that gives an fp16 value which is no number, for any
    of the images.
    """
    file = load_file(path)
    half = {
        value.name
        for value in file.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    made = {name: node for node in file.graph.node for name in node.output if name in half}
    file.graph.output.extend(value for value in file.graph.value_info if value.name in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}."
    ) as copy:  # beside the weights, if they are apart
        copy.write(file.SerializeToString())
        copy.flush()
        session = onnxruntime.InferenceSession(
            copy.name, options, providers=["CPUExecutionProvider"]
        )
        given = session.get_inputs()[0]
        for start in range(0, len(images) if made else 0, batch):
            some = as_type(images[np.arange(start, start + batch) % len(images)], given.type)
            for (name, node), values in zip(
                made.items(), session.run(list(made), {given.name: some}), strict=True
            ):
                if not np.isfinite(values).all():
                    return f"{node.op_type} {node.name or name}"
    return None
