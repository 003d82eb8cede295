"""The forms of exported files: all that an export needs to know of each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import nn
from torch.export import ExportedProgram

from slimmer.errors import RecipeError
from slimmer.exporting.fp16 import check_range, float32_ops, write_fp16
from slimmer.exporting.input_shape import ORDINARY, Shape
from slimmer.exporting.int8 import write_int8
from slimmer.exporting.onnx import export_onnx, read_metadata
from slimmer.exporting.outputs import Array
from slimmer.exporting.parity import TOLERANCE, Call, call_file, call_program
from slimmer.exporting.torch_program import load_program, read_program_metadata, write_program
from slimmer.graph import Inputs
from slimmer.recipe.sections import ExportSection
from slimmer.registry import Registry


@dataclass(frozen=True, eq=False)
class Source:
    """What a file is made from.

    Args:
        network: the network.
        inputs: the size of its images, or its own example inputs.
        shape: the sizes that the file takes.
        float32: the float32 ONNX file of this network and shape; it is written first.
        program: returns the traced network.
        section: the export section of the recipe.
        calibration: returns batches of training images, which a calibrated form needs.
        metadata: what the file says of itself.
    """

    network: nn.Module
    inputs: Inputs
    shape: Shape
    float32: Path
    program: Callable[[], ExportedProgram]
    section: ExportSection
    calibration: Callable[[], Iterator[Array]]
    metadata: Mapping[str, str]


def _nothing_to_note(_: Path) -> list[str]:
    return []


@dataclass(frozen=True)
class Form:
    """A form of exported files.

    Args:
        name: its name in the recipe.
        ending: how its files' names end.
        write: writes a file.
        asked: whether a recipe requests this form, in that shape.
        precision: the precision of the weights, as metadata.
        precision_io: the precision of the inputs and outputs, as metadata.
        tolerance: by how much outputs may differ from PyTorch, relative to the largest; None if
            accuracy is measured instead.
        read_metadata: what a file says of itself.
        open: a function that runs a file.
        check_inside: raises ExportError if a value inside the network overflows for these images,
            which are run in batches of the given number; None if none can.
        notes: sentences about a file.
        calibrated: whether it is made with training images.
        reopened: whether an earlier file is opened again; otherwise only a new one is.
        profiled: whether `slimmer profile` measures it next to the float32 file.
    """

    name: str
    ending: str
    write: Callable[[Source, Path], None]
    asked: Callable[[ExportSection, Shape], bool]
    precision: Callable[[ExportSection], str]
    precision_io: Callable[[ExportSection], str] = lambda _: "fp32"
    tolerance: float | None = TOLERANCE
    read_metadata: Callable[[Path], dict[str, str]] = read_metadata
    open: Callable[[Path], Call] = call_file
    check_inside: Callable[[Path, Array, int], None] | None = None
    notes: Callable[[Path], list[str]] = _nothing_to_note
    calibrated: bool = False
    reopened: bool = True
    profiled: bool = False

    @property
    def limit(self) -> float:
        """The tolerance, or a number so large that only NaN is too far from PyTorch."""
        return 1e9 if self.tolerance is None else self.tolerance

    @property
    def depends_on_data(self) -> bool:
        """Whether other data make another file, or leave an earlier one unchecked."""
        return self.calibrated or not self.reopened


def _write_onnx(source: Source, path: Path) -> None:
    export_onnx(
        source.network,
        path,
        source.inputs,
        metadata=source.metadata,
        opset=source.section.opset,
        shape=source.shape,
        program=source.program(),
    )


def _write_program(source: Source, path: Path) -> None:
    write_program(
        source.network,
        path,
        source.inputs,
        metadata=source.metadata,
        shape=source.shape,
        program=source.program(),
    )


def _write_fp16(source: Source, path: Path) -> None:
    write_fp16(source.float32, path, half_io=source.section.fp16_io, metadata=source.metadata)


def _write_int8(source: Source, path: Path) -> None:
    symmetric = source.section.int8_symmetric
    images = source.calibration()
    write_int8(source.float32, path, images, metadata=source.metadata, symmetric=symmetric)


def _open_program(path: Path) -> Call:
    return call_program(path, load_program(path))


def _what_stayed_float32(path: Path) -> list[str]:
    kinds = []
    for kind, number in float32_ops(path).items():
        kinds.append(f"{number} {kind}")
    kept = "every operation is fp16"
    if kinds:
        kept = f"{', '.join(kinds)} kept in float32"
    how = "measured on the CPU, where ONNX Runtime computes in float32 with the fp16 weights"
    return [f"{kept}; {how}"]


def _int8_precision(section: ExportSection) -> str:
    activations = ", symmetric activations" if section.int8_symmetric else ""
    return f"int8, QDQ, static, weights per channel{activations}"


FORMS: Final[Registry[Form]] = Registry("export form", RecipeError)
for _form in (  # in the order in which they are written: fp16 and int8 are made from float32
    Form(
        "fp32",
        ".onnx",
        _write_onnx,
        asked=lambda _, shape: shape != ORDINARY,  # the ordinary one is always written
        precision=lambda _: "fp32",
    ),
    Form(
        "torch",
        ".pt2",
        _write_program,
        asked=lambda section, _: section.torch,
        precision=lambda _: "fp32",
        read_metadata=read_program_metadata,
        open=_open_program,
        reopened=False,  # reading a program may unpickle
    ),
    Form(
        "fp16",
        ".fp16.onnx",
        _write_fp16,
        asked=lambda section, _: section.fp16,
        precision=lambda _: "fp16",
        precision_io=lambda section: "fp16" if section.fp16_io else "fp32",
        # Its numbers have 11 significant bits, so outputs of a deep network differ by some
        # thousandths.
        tolerance=2e-2,
        check_inside=check_range,
        notes=_what_stayed_float32,
        profiled=True,
    ),
    Form(
        "int8",
        ".int8.onnx",
        _write_int8,
        asked=lambda section, _: section.int8,
        precision=_int8_precision,
        tolerance=None,  # its error depends on the network
        calibrated=True,
        profiled=True,
    ),
):
    FORMS.add(_form.name, _form)
