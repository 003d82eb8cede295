"""The files that an export writes."""

from dataclasses import dataclass

from slimmer.exporting.forms import FORMS, Form
from slimmer.exporting.input_shape import ORDINARY, Shape
from slimmer.recipe.sections import ExportSection

NETWORKS = ("dense", "slim")


@dataclass(frozen=True)
class Variant:
    """One file: a network of the run, in a form, by its name in `FORMS`, and a shape.

    >>> Variant("slim", "int8", Shape(batch=1)).file
    'slim.batch1.int8.onnx'
    """

    network: str
    form_name: str = "fp32"
    shape: Shape = ORDINARY

    @property
    def form(self) -> Form:
        """The form of the file. Raises RecipeError if its name is unknown."""
        return FORMS[self.form_name]

    @property
    def file(self) -> str:
        """The file's name in the run."""
        return f"{self.network}{self.shape.suffix}{self.form.ending}"

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
    networks = ("slim", "dense") if section.dense else ("slim",)
    found = [Variant(name) for name in NETWORKS]
    for network in networks:
        for form in FORMS.values():
            if form.asked(section, shape):
                found.append(Variant(network, form.name, shape))
    return tuple(found)
