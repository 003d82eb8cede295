"""ONNX files: exporting a network, and reading a file's metadata and input sizes."""

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.export import ExportedProgram

from slimmer.errors import ExportError
from slimmer.exporting.beside import check_beside
from slimmer.exporting.constant_maps import shrink_constant_maps_
from slimmer.exporting.error_text import ONNX_FILE, one_line
from slimmer.exporting.input_shape import ORDINARY, Shape
from slimmer.exporting.onnx_file import write_onnx
from slimmer.exporting.strided import pool_strided_slices_
from slimmer.exporting.strip_metadata import forget_source_, name_sizes_
from slimmer.exporting.torch_program import BATCH, program_of
from slimmer.graph import Inputs, is_image, quiet

INPUT = "input"
OUTPUT = "logits"
LOWEST_OPSET = 18
EXPORTABLE = "a network whose operations torch.onnx supports"


def export_onnx(
    model: nn.Module,
    path: Path,
    inputs: Inputs,
    *,
    metadata: Mapping[str, str],
    opset: int | None = None,
    shape: Shape = ORDINARY,
    program: ExportedProgram | None = None,
) -> None:
    """Write `model`, in eval mode and float32, to `path` as ONNX.

    `inputs` are the (channels, height, width) of one image, or the arguments of a call. For images,
    the file's input is called "input" and takes any batch size; `shape` can fix the batch size and
    open height and width. For a call, the file's inputs are its tensors in order, with forward's
    parameter names and exactly their sizes. The outputs are called "logits", "output_1", … in the
    order in which the network returns them. `metadata` becomes the file's `metadata_props`. With
    `opset` None, torch.onnx chooses. `program` is the result of `program_of` if the network is
    traced already. The file contains no paths or source lines of this machine and is written
    atomically; `model` is not changed. Weights above 2 GiB are written to `path`.data.

    Raise ExportError if the network can't be traced with these sizes open, or can't be converted;
    if any size is requested and the network does not take other sizes; if `opset` is not available
    (below 18 the exporter silently keeps 18); and if the file can't be written.

    Source: https://docs.pytorch.org/docs/stable/onnx_export.html
    """
    if opset is not None and opset < LOWEST_OPSET:
        raise ExportError(
            "opset", f"{opset} is too old", f"{LOWEST_OPSET} or newer, or none for the default"
        )
    highest = onnx.defs.onnx_opset_version()
    if opset is not None and opset > highest:
        found = f"{opset} is newer than the installed onnx {onnx.__version__} knows"
        raise ExportError("opset", found, f"{highest} or older, or none for the default")
    program = program or program_of(model, path, inputs, shape)
    try:
        with quiet():
            file = _convert(program, inputs, opset)
    except Exception as error:  # the exporter's errors have no common base class
        raise ExportError(
            f"export of {type(model).__name__} to {path}", one_line(error), EXPORTABLE
        ) from error
    got = next(entry.version for entry in file.opset_import if entry.domain in ("", "ai.onnx"))
    if opset is not None and got != opset:
        raise ExportError(
            "opset", f"{opset} was requested, the exporter wrote {got}", f"{got}, or none"
        )
    finish(file, path, metadata)


def finish(file: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Write `file` to `path`, with `metadata` instead of the metadata that tools left in it.

    The IR version is the lowest that the operator sets allow, so that old runtimes can read the
    file. Raise ExportError if the file is not valid or can't be written.
    """
    forget_source_(file)
    file.ir_version = onnx.helper.find_min_ir_version_for(
        list(file.opset_import), ignore_unknown=True
    )
    file.ClearField("metadata_props")
    for name, value in metadata.items():
        file.metadata_props.add(key=name, value=value)
    try:
        with quiet():
            write_onnx(file, path)
    except OSError as error:
        raise ExportError(
            str(path), one_line(error), "a writable place with enough space"
        ) from error
    except Exception as error:  # the checker's and protobuf's errors have no common base class
        raise ExportError(
            str(path), one_line(error), "a network whose ONNX file is valid"
        ) from error


def _convert(program: ExportedProgram, inputs: Inputs, opset: int | None) -> onnx.ModelProto:
    """A network's program as ONNX, with names for its open sizes; constants and batch norms are
    folded.
    """
    # A network may also return None (an auxiliary head in eval mode), which ONNX leaves out.
    outputs = [name for name in program.graph_signature.user_outputs if isinstance(name, str)]
    input_names, taken = None, set(program.graph_signature.user_inputs)
    if is_image(inputs):
        input_names, taken = [INPUT], {INPUT}
    names = [OUTPUT, *(f"output_{index}" for index in range(1, len(outputs)))]
    for index, name in enumerate(names):
        if name in taken:
            names[index] = f"{name}_out"
    converted = torch.onnx.export(
        program,
        (),
        dynamo=True,
        verbose=False,
        input_names=input_names,
        output_names=names,
        opset_version=opset,
        external_data=False,
    )
    if converted is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    file = converted.model_proto
    name_sizes_(file.graph, {0: BATCH, 2: "height", 3: "width"})
    pool_strided_slices_(file)
    shrink_constant_maps_(file)
    return file


def load_file(path: Path, *, weights: bool = False) -> onnx.ModelProto:
    """The ONNX file at `path`; `weights` also reads external data. Raise ExportError if it is not
    an ONNX file.
    """
    try:
        file = onnx.load(path, load_external_data=False)
        check_beside(file, path)
        return onnx.load(path) if weights else file
    except ExportError:
        raise
    except Exception as error:  # protobuf's and the system's errors have no common base class
        raise ExportError(str(path), one_line(error), ONNX_FILE) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of the ONNX file at `path`. Raise ExportError if it is not an ONNX file."""
    return {entry.key: entry.value for entry in load_file(path).metadata_props}


def read_input_size(path: Path) -> tuple[int, int | None, int | None]:
    """The (channels, height, width) of the images that the ONNX file at `path` takes; None for any.

    Raise ExportError if it is not an ONNX file, or does not take images.
    """
    match _input_sizes(path):
        case [[_, int(channels), height, width]]:
            return channels, height, width
    raise ExportError(
        str(path),
        f"inputs of sizes {_input_sizes(path)}",
        "one input, (batch, channels, height, width)",
    )


def read_batch(path: Path) -> int | None:
    """The batch size that the ONNX file at `path` takes; None for any.

    Raise ExportError if it is not an ONNX file.
    """
    match _input_sizes(path):
        case [[int(batch), *_], *_]:
            return batch
    return None


def _input_sizes(path: Path) -> list[list[int | None]]:
    """The sizes of each of the file's inputs; None for any."""
    graph = load_file(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    found = []
    for value in graph.input:
        if value.name not in constants:
            dims = value.type.tensor_type.shape.dim
            found.append([size.dim_value or None for size in dims])
    return found
