"""Programs of torch.export: tracing a network, and writing and reading program files."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from slimmer.atomic_files import whole
from slimmer.errors import ExportError
from slimmer.exporting.error_text import one_line
from slimmer.exporting.input_shape import Shape
from slimmer.graph import Inputs, example_inputs, is_image, quiet, tracing
from slimmer.models.copying import duplicate, set_mode_

BATCH = "batch"
LARGER = (32, 64)  # added height and width in pixels; divisible by 32 for five halvings
NOTES = "slimmer.json"  # the metadata, inside the program file
TRACEABLE = "a network that torch.export(strict=False) traces with these sizes left open"


def eval_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` in eval mode, on the CPU and in float32, which shares nothing with it."""
    return set_mode_(duplicate(model), training=False).to("cpu", torch.float32)


def trace(model: nn.Module, inputs: Inputs, shape: Shape) -> ExportedProgram:
    """The program of `model`, which is in eval mode, with the sizes of `shape` open.

    If `inputs` are the arguments of a call, all sizes are fixed. Raise any error that occurs while
    tracing the network's code.
    """
    if not is_image(inputs):
        with tracing():
            return torch.export.export(model, example_inputs(model, inputs, images=1), strict=False)
    # Two images, because torch.export treats a dimension of size 1 as constant.
    example = torch.zeros(shape.batch or 2, *inputs)
    dims: dict[int, Any] = {} if shape.batch else {0: Dim(BATCH, min=1)}
    if shape.dynamic_size:
        dims |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with tracing():
        return torch.export.export(model, (example,), dynamic_shapes=(dims,), strict=False)


def program_of(model: nn.Module, path: Path, inputs: Inputs, shape: Shape) -> ExportedProgram:
    """The program of `model`, in eval mode and float32, from which files are written; it shares
    nothing with `model`.

    `path` is the future file, for error messages. Raise ExportError if the network can't be traced
    with the sizes of `shape` open.
    """
    if shape.dynamic_size:
        check_any_size(model, inputs)
    try:
        with quiet():
            return trace(eval_copy(model), inputs, shape)
    except Exception as error:  # tracing runs the network's code, which may raise anything
        raise ExportError(
            f"export of {type(model).__name__} to {path}", one_line(error), TRACEABLE
        ) from error


def larger(input_size: tuple[int, ...]) -> tuple[int, int, int]:
    """A second image size, on which a network that takes any size is tested.

    >>> larger((3, 224, 224))
    (3, 256, 288)
    """
    channels, height, width = input_size
    return channels, height + LARGER[0], width + LARGER[1]


def check_any_size(model: nn.Module, inputs: Inputs) -> None:
    """Raise ExportError if `model` does not take images of another size; it names the layer.

    Also raise it if the network does not take one image.

    torch.export may not notice: it traces a flatten before a linear layer with an open size, and
    the file then fails on the first larger image.
    """
    fixed = (
        "leave export.dynamic_size (--dynamic-size) out: this network's code fixes the size of its "
        "images"
    )
    if not is_image(inputs):
        raise ExportError(
            "export.dynamic_size", "the network takes custom inputs of fixed sizes", fixed
        )
    model, size, entered = eval_copy(model), larger(inputs), [""]
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: entered.__setitem__(0, name))
    try:
        with torch.inference_mode():
            model(torch.zeros(1, *size))
    except Exception as error:  # the network's code may raise anything
        layer = f"in or after layer {entered[0]}" if entered[0] else "in its own code"
        found = f"an image of {size[1]}x{size[2]} fails {layer}: {one_line(error)}"
        raise ExportError("export.dynamic_size", found, fixed) from error


def write_program(
    model: nn.Module,
    path: Path,
    inputs: Inputs,
    *,
    shape: Shape,
    metadata: Mapping[str, str],
    program: ExportedProgram | None = None,
) -> None:
    """Write `model`, in eval mode and float32, to `path` as a program for `torch.export.load`.

    `inputs` are the (channels, height, width) of one image, or the arguments of a call, whose sizes
    are then fixed. Loading the file requires neither slimmer nor the network's code. The file
    contains no source lines of this machine and is written atomically. `metadata` is stored in it
    as slimmer.json; pass `extra_files={"slimmer.json": ""}` to torch.export.load to read it.
    `program` is the result of `program_of` if the network is traced already.

    Raise ExportError if the network can't be traced or the file can't be written.
    Source: https://docs.pytorch.org/docs/stable/export.html
    """
    program = program or program_of(model, path, inputs, shape)
    content = io.BytesIO()
    try:
        with quiet():
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)
            torch.export.save(program, content, extra_files={NOTES: json.dumps(dict(metadata))})
    except Exception as error:  # serialization raises many kinds of errors
        raise ExportError(
            f"export of {type(model).__name__} to {path}", one_line(error), TRACEABLE
        ) from error
    try:
        with whole(path) as part:
            part.write_bytes(content.getbuffer())
    except OSError as error:
        raise ExportError(
            str(path), one_line(error), "a writable place with enough space"
        ) from error


def read_program_metadata(path: Path) -> dict[str, str]:
    """The metadata that `write_program` stored in the file at `path`; the program is not loaded.

    Raise ExportError if it is not such a file.
    """
    try:
        with ZipFile(path) as file:
            places = [name for name in file.namelist() if name.endswith(f"/extra/{NOTES}")]
            return {**json.loads(file.read(places[0]))}
    except (OSError, BadZipFile, IndexError, ValueError, TypeError) as error:
        raise ExportError(
            str(path), one_line(error), "a .pt2 file, as `slimmer export --torch` writes it"
        ) from error


def load_program(path: Path) -> nn.Module:
    """The network in a file that `write_program` has just written.

    torch.export.load may unpickle, so this is only for files that slimmer has just written itself.
    """
    with quiet():
        return torch.export.load(path).module()
