"""Which files an export writes."""

from dataclasses import dataclass
from typing import Literal

from slimmer.exporting.input_shape import ORDINARY, Shape
from slimmer.recipe.sections import ExportSection

Form = Literal["fp32", "fp16", "int8", "torch"]
NETWORKS = ("dense", "slim")


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
        stem = f"{self.network}{self.shape.suffix}"
        return {
            "fp32": f"{stem}.onnx",
            "fp16": f"{stem}.fp16.onnx",
            "int8": f"{stem}.int8.onnx",
            "torch": f"{stem}.pt2",
        }[self.form]

    @property
    def name(self) -> str:
        """What it is called in export.json: the file's name, without the ordinary ending."""
        return self.file.removesuffix(".onnx")


def variants(section: ExportSection) -> tuple[Variant, ...]:
    """The files that a recipe asks for, each behind the one it is made from.

    The dense and the slim network in float32 for any batch come first, since `slimmer profile`
    compares those; the further forms are the slim network's, and the dense one's where they are
    asked for too.

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
    networks = ("slim", "dense") if section.dense else ("slim",)
    more = [
        Variant(name, form, shape) for name in networks for form, wanted in asked.items() if wanted
    ]
    return (*map(Variant, NETWORKS), *more)
