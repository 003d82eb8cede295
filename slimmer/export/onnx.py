"""ONNX files with a dynamic batch: written, read, and held against the network they came from."""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from slimmer.errors import ExportError
from slimmer.export.reason import one_line
from slimmer.export.tidy import forget_source_, name_batch_
from slimmer.files import whole

INPUT = "input"
OUTPUT = "logits"
BATCH = "batch"
LOWEST_OPSET = 18
TOLERANCE = 1e-4
EXPORTABLE = (
    "a network that torch.export(strict=False) traces with a dynamic batch, in operations that torch.onnx "
    "knows, of less than 2 GiB"
)
ONNX_FILE = "an ONNX file, as `slimmer export` writes it"

Array = np.ndarray[Any, np.dtype[Any]]


def export_onnx(
    model: nn.Module,
    path: Path,
    input_size: tuple[int, int, int],
    *,
    metadata: Mapping[str, str],
    opset: int | None = None,
) -> None:
    """Write `model`, in eval mode and float32, to `path` as one ONNX file.

    The input is called "input" and is (batch, *input_size) with any batch; the outputs are called "logits",
    "output_1", … in the order in which the network returns them. `metadata` becomes the file's
    `metadata_props`. `opset` None leaves the choice to torch.onnx. The file holds no paths or source lines
    of the machine that wrote it, appears whole or not at all, and `model` stays as it was.

    Raises ExportError where the network can't be traced with a dynamic batch or converted, where `opset` is
    not to be had (below 18 the exporter keeps 18 and says nothing), and where the file can't be written.

    Source: https://docs.pytorch.org/docs/stable/onnx_export.html
    """
    if opset is not None and opset < LOWEST_OPSET:
        raise ExportError("opset", f"{opset} is too old", f"{LOWEST_OPSET} or newer, or none for the default")
    where = f"export of {type(model).__name__} to {path}"
    try:
        with _quiet():
            file = _convert(_eval_copy(model), input_size, opset)
            for name, value in metadata.items():
                file.metadata_props.add(key=name, value=value)
            onnx.checker.check_model(file, full_check=True)
            data = file.SerializeToString()
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise ExportError(where, one_line(error), EXPORTABLE) from error
    got = next(entry.version for entry in file.opset_import if entry.domain in ("", "ai.onnx"))
    if opset is not None and got != opset:
        raise ExportError("opset", f"{opset} was asked for, the exporter wrote {got}", f"{got}, or none")
    try:
        with whole(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise ExportError(str(path), one_line(error), "a place with room that slimmer may write to") from error


def _eval_copy(model: nn.Module) -> nn.Module:
    """`model` in eval mode on the CPU and in float32, sharing nothing with it."""
    return copy.deepcopy(model).eval().to("cpu", torch.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """A block in which nothing is printed, warned of or logged; the exporter's failures are raised."""
    level = logging.root.manager.disable
    said = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


def _convert(model: nn.Module, input_size: tuple[int, int, int], opset: int | None) -> onnx.ModelProto:
    """`model` as ONNX, batch named "batch", without what the exporter notes about this machine."""
    # Two images: torch.export takes a dimension of size 1 for a constant.
    example = torch.zeros(2, *input_size)
    program = torch.export.export(
        model, (example,), dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},), strict=False
    )
    # A network may return None beside its tensors (an auxiliary head in eval mode); ONNX leaves those out.
    outputs = [name for name in program.graph_signature.user_outputs if isinstance(name, str)]
    names = [OUTPUT, *(f"output_{index}" for index in range(1, len(outputs)))]
    converted = torch.onnx.export(
        program,
        (),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=names,
        opset_version=opset,
        external_data=False,
    )
    if converted is None:
        raise RuntimeError("torch.onnx.export gave nothing back")
    file = converted.model_proto
    name_batch_(file.graph, BATCH)
    forget_source_(file)
    return file


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's and the system's errors share no base
        raise ExportError(str(path), one_line(error), ONNX_FILE) from error


def read_metadata(path: Path) -> dict[str, str]:
    """What the ONNX file at `path` says about itself. Raises ExportError for a file that is none."""
    return {entry.key: entry.value for entry in _load(path).metadata_props}


def read_input_size(path: Path) -> tuple[int, int, int]:
    """The (channels, height, width) of the images that the ONNX file at `path` takes.

    Raises ExportError for a file that is none, and for a network that takes something else.
    """
    graph = _load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    sizes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in inputs]
    match sizes:
        case [[_, channels, height, width]] if channels and height and width:
            return channels, height, width
    raise ExportError(str(path), f"inputs of sizes {sizes}", "one input, (batch, channels, height, width)")


@dataclass(frozen=True)
class Parity:
    """How near an ONNX file comes to the network it was made from, over all outputs.

    `max_rel` is the largest difference over the largest magnitude of its output; `top1_agreement` is the
    share of images for which both name the same class.
    """

    max_abs: float
    max_rel: float
    top1_agreement: float
    images: int


def check_parity(model: nn.Module, path: Path, inputs: torch.Tensor, *, tolerance: float = TOLERANCE) -> Parity:
    """How near ONNX Runtime on the CPU comes to `model` in eval mode, float32, on `inputs` (N, C, H, W).

    The first image alone and all of them together are run, so that a fixed batch is noticed. An output may
    differ by `tolerance` times its largest magnitude in PyTorch. Raises ExportError where it differs by
    more, where a class differs though PyTorch's two best are further apart than that, and where the file
    can't be run on both batches.
    """
    images = inputs.detach().to("cpu", torch.float32)
    if len(images) == 1:  # one image more, since a fixed batch of one must be noticed too
        images = images.repeat(2, 1, 1, 1)
    reference = _eval_copy(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed too
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base
        raise ExportError(str(path), one_line(error), ONNX_FILE) from error
    checked = []
    for batch in (images[:1], images):
        with torch.inference_mode():
            expected = _outputs(reference(batch))
        checked.append(_compare(path, expected, _run(path, session, batch.numpy()), tolerance))
    alone, together = checked
    return Parity(
        max_abs=max(alone.max_abs, together.max_abs),
        max_rel=max(alone.max_rel, together.max_rel),
        top1_agreement=min(alone.top1_agreement, together.top1_agreement),
        images=len(inputs),
    )


def _outputs(value: Any) -> list[Array]:
    """The tensors of a network's answer, in the order in which ONNX has them."""
    if isinstance(value, torch.Tensor):
        return [value.numpy()]
    parts = value.values() if isinstance(value, Mapping) else value
    return [array for part in parts if part is not None for array in _outputs(part)]


def _run(path: Path, session: Any, batch: Array) -> list[Array]:
    try:
        outputs: list[Array] = session.run(None, {session.get_inputs()[0].name: batch})
    except Exception as error:  # ONNX Runtime's errors share no base
        where = f"{path} on a batch of {len(batch)}"
        raise ExportError(where, one_line(error), "an ONNX file that takes any batch of such images") from error
    return outputs


def _compare(path: Path, expected: Sequence[Array], got: Sequence[Array], tolerance: float) -> Parity:
    where = f"{path} against PyTorch, batch of {len(expected[0])}"
    right = "an export that computes the same; the network may do something that tracing fixes or leaves out"
    shapes = [a.shape for a in expected], [b.shape for b in got]
    if shapes[0] != shapes[1]:
        raise ExportError(where, f"outputs of shapes {shapes[1]} in place of {shapes[0]}", right)
    absolute = relative = 0.0
    for index, (a, b) in enumerate(zip(expected, got, strict=True)):
        difference, scale = float(np.abs(a - b).max(initial=0)), float(np.abs(a).max(initial=0))
        if not difference <= tolerance * scale:  # said this way round, since a NaN must fail
            found = f"output {index} differs by {difference:.3g}; its largest magnitude is {scale:.3g}"
            raise ExportError(where, found, right)
        absolute = max(absolute, difference)
        relative = max(relative, difference / scale if scale else 0.0)
    logits, answers = (outputs[0].reshape(len(outputs[0]), -1) for outputs in (expected, got))
    differ = logits.argmax(axis=1) != answers.argmax(axis=1)
    if logits.shape[1] > 1:
        best = np.sort(logits, axis=1)
        wrong = differ & (best[:, -1] - best[:, -2] > tolerance * np.abs(logits).max())
        if wrong.any():
            raise ExportError(where, f"{int(wrong.sum())} images with a clear class get another", right)
    return Parity(absolute, relative, 1 - float(differ.mean()), len(logits))
