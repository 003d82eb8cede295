"""The files that an export writes."""

from dataclasses import dataclass
from typing import Literal

from slimmer.exporting.input_shape import ORDINARY, Shape
from slimmer.recipe.sections import ExportSection

Form = Literal["fp32", "fp16", "int8", "torch"]
NETWORKS = ("dense", "slim")
ENDINGS: dict[Form, str] = {
    "fp32": ".onnx",
    "fp16": ".fp16.onnx",
    "int8": ".int8.onnx",
    "torch": ".pt2",
}


@dataclass(frozen=True)
class Variant:
    """One file: a network of the run, in a form and a shape.

    >>> Variant("slim", "int8", Shape(batch=1)).file
    'slim.batch1.int8.onnx'
    """

    network: str
    form: Form = "fp32"
    shape: Shape = ORDINARY

    @property
    def file(self) -> str:
        """The file's name in the run."""
        return f"{self.network}{self.shape.suffix}{ENDINGS[self.form]}"

    @property
    def name(self) -> str:
        """The name in export.json: the file name without ".onnx"."""
        return self.file.removesuffix(".onnx")


def variants(section: ExportSection) -> tuple[Variant, ...]:
    """The files that a recipe requests, each after the file it is made from.

    The dense and the slim network in float32 for any batch size come first, because `slimmer
    profile` compares them. The other forms are those of the slim network and, if requested, of the
    dense one.

    >>> [each.file for each in variants(ExportSection(fp16=True))]
    ['dense.onnx', 'slim.onnx', 'slim.fp16.onnx']
    >>> [each.file for each in variants(ExportSection(fp16=True, dense=True))][2:]
    ['slim.fp16.onnx', 'dense.fp16.onnx']
    """
    shape = Shape(section.batch, section.dynamic_size)
    asked: dict[Form, bool] = {
        "fp32": shape != ORDINARY,
        "torch": section.torch,
        "fp16": section.fp16,
        "int8": section.int8,
    }
    forms = [form for form, wanted in asked.items() if wanted]
    networks = ("slim", "dense") if section.dense else ("slim",)
    found = [Variant(name) for name in NETWORKS]
    for name in networks:
        found += [Variant(name, form, shape) for form in forms]
    return tuple(found)
