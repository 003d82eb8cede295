"""Static int8 quantization of a float32 ONNX file with calibration images."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from torch import Tensor

from slimmer.data import Data
from slimmer.data.augment import normalised
from slimmer.data.batches import order
from slimmer.errors import ExportError
from slimmer.exporting.error_text import one_line
from slimmer.exporting.onnx import INPUT, finish, load_file
from slimmer.exporting.strided import is_strided_slice
from slimmer.graph import quiet

AT_ONCE = 32  # images in a batch of calibration
# Operations that move numbers and compute nothing. In QDQ, each would get its own scales, which
# some runtimes do not accept or compute wrongly (OpenVINO 2026.4: slices with a step, and pads).
MOVES = frozenset(
    {
        "Concat",
        "Flatten",
        "Gather",
        "GatherElements",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)

Array = np.ndarray[Any, np.dtype[Any]]


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no type hints
    """The calibration images, in the interface of ONNX Runtime."""

    def __init__(self, batches: Iterable[Array]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, or None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def calibration(data: Data, number: int, *, seed: int, batch: int | None) -> Iterator[Array]:
    """Batches of `number` training images (or all, if there are fewer), normalised, not augmented.

    `seed` selects the images. If the file has a fixed batch size, each batch holds `batch` images,
    and the last image is repeated to fill the last batch.
    """
    for part in order(len(data.train), seed, epoch=0)[:number].split(batch or AT_ONCE):
        missing = 0 if batch is None else batch - len(part)
        images = data.train.load(torch.cat([part, part[-1:].expand(missing)]))
        yield normalised(images, data.mean, data.std).numpy()


def regrouped(batches: Iterable[Tensor], number: int, batch: int | None) -> Iterator[Array]:
    """The first `number` images of `batches`, (N, ...) each, in batches as `calibration` gives
    them.

    >>> [part.tolist() for part in regrouped([torch.zeros(3, 1), torch.ones(2, 1)], 4, 3)]
    [[[0.0], [0.0], [0.0]], [[1.0], [1.0], [1.0]]]
    """
    size = batch or AT_ONCE
    kept = torch.cat(list(_first_images(batches, number)))
    for part in kept.split(size):
        missing = 0 if batch is None else batch - len(part)
        yield torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]).numpy()


def _first_images(batches: Iterable[Tensor], number: int) -> Iterator[Tensor]:
    for images in batches:
        yield images[:number]
        number -= len(images)
        if number <= 0:
            return


def _computing() -> list[str]:
    """The operations that ONNX Runtime's quantizer supports, except those in `MOVES`."""
    return sorted({*QDQRegistry, *QLinearOpsRegistry} - MOVES)


def _strided_slices(source: Path) -> list[str]:
    """The names of the pools that replace strided slices: they too only move numbers."""
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

    `images` are calibration batches (N, C, H, W) float32, normalised; a tensor's range is from its
    smallest to its largest value over them. Weights have one scale per output channel. Inputs and
    outputs stay float32. The format is QDQ: operations between DequantizeLinear and QuantizeLinear,
    which a runtime fuses. Weights and activations are signed, as ONNX Runtime recommends.
    Operations that only move numbers (`MOVES`) are not quantized. Activations have a zero point,
    because most are not negative; with `symmetric`, all zero points are 0 and biases stay float32,
    which is what TensorRT's parser accepts.

    Raise ExportError if the file can't be quantized or written.
    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    extra = {"ActivationSymmetric": True, "QuantizeBias": False} if symmetric else {}
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
                    extra_options=extra,
                )
        except Exception as error:  # the quantizer's errors have no common base class
            right = "operations that ONNX Runtime's quantizer supports"
            raise ExportError(f"{source} in int8", one_line(error), right) from error
        finish(load_file(made, weights=True), path, metadata)
