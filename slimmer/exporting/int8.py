"""An ONNX file in 8-bit integers, made from the one in float32 and images to calibrate on."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from slimmer.data import Data
from slimmer.data.augment import normalised
from slimmer.data.batches import order
from slimmer.errors import ExportError
from slimmer.exporting.error_text import one_line
from slimmer.exporting.onnx import INPUT, finish, load_file
from slimmer.exporting.strided import is_strided_slice
from slimmer.graph import quiet

AT_ONCE = 32  # images in a batch of calibration
# Operations that move numbers and compute none. In QDQ each would get scales of its own, which some
# runtimes (OpenVINO 2026.4 for slices with a step, and pads) do not take, or compute something else
# with.
MOVES = frozenset(
    {
        *(
            "Concat",
            "Flatten",
            "Gather",
            "GatherElements",
            "Pad",
            "Reshape",
            "Slice",
            "Split",
            "Squeeze",
        ),
        *("Transpose", "Unsqueeze"),
    }
)

Array = np.ndarray[Any, np.dtype[Any]]


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime carries no types
    """The calibration images, as ONNX Runtime asks for them."""

    def __init__(self, batches: Iterable[Array]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch; None behind the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def calibration(data: Data, number: int, *, seed: int, batch: int | None) -> Iterator[Array]:
    """Batches of `number` training images, or all there are, as the network sees them in use: not
    augmented.

    `seed` picks them. Each batch holds `batch` images where a file takes no others; its last image
    fills up the last.
    """
    for part in order(len(data.train), seed, epoch=0)[:number].split(batch or AT_ONCE):
        missing = 0 if batch is None else batch - len(part)
        images = data.train.load(torch.cat([part, part[-1:].expand(missing)]))
        yield normalised(images, data.mean, data.std).numpy()


def _computing() -> list[str]:
    """The operations that ONNX Runtime's quantizer knows, without those that only move numbers."""
    return sorted({*QDQRegistry, *QLinearOpsRegistry} - MOVES)


def _strided_slices(source: Path) -> list[str]:
    """The names of the pools that stand for slices with a step: they too only move numbers."""
    return [node.name for node in load_file(source).graph.node if is_strided_slice(node)]


def write_int8(
    source: Path,
    path: Path,
    images: Iterable[Array],
    *,
    metadata: Mapping[str, str],
    symmetric: bool = False,
) -> None:
    """Write the float32 ONNX file `source` to `path` with int8 weights and activations, statically
    quantized.

    `images` are batches (N, C, H, W) float32 as the network sees them in use; the smallest and
    largest value of each tensor over them is its range. Weights have a scale per output channel.
    Inputs and outputs stay float32. The format is QDQ: operations between QuantizeLinear and
    DequantizeLinear, which a runtime fuses; both sides are signed, as ONNX Runtime recommends.
    Operations that only move numbers (`MOVES`) are left as they are. Activations' ranges have a
    zero point, since most activations are not below zero; with `symmetric` all zero points are 0
    and biases stay float32, which is what TensorRT's parser takes.

    Raises ExportError where the file can't be quantized or written.
    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    with TemporaryDirectory(prefix="slimmer-int8-") as folder:
        made = Path(folder) / path.name
        try:
            with quiet():
                quantize_static(
                    str(source),
                    str(made),
                    _Images(images),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=_computing(),
                    nodes_to_exclude=_strided_slices(source),
                    per_channel=True,
                    extra_options={"ActivationSymmetric": True, "QuantizeBias": False}
                    if symmetric
                    else {},
                )
        except Exception as error:  # the quantizer's errors share no base
            right = "operations that ONNX Runtime's quantizer knows"
            raise ExportError(f"{source} in int8", one_line(error), right) from error
        finish(load_file(made, weights=True), path, metadata)
