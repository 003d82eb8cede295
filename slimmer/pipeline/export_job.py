"""The state of a run's export, and the check that its network and data allow the requested
files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from slimmer.data import Data
from slimmer.errors import ExportError
from slimmer.exporting.input_shape import Shape
from slimmer.exporting.outputs import Judged
from slimmer.exporting.torch_program import program_of
from slimmer.exporting.variants import Variant
from slimmer.graph import Inputs, is_image, own_inputs
from slimmer.recipe import Recipe
from slimmer.runs.directory import Run
from slimmer.tasks import Task


@dataclass(frozen=True, eq=False)
class ExportJob:
    """The state of a run's export; `known` are the files that earlier exports listed, by name.

    Two results are kept because several files need them: the traced `programs` by network and
    shape, and, in `judged`, the result of each network's float32 file for any batch on the test
    images.
    """

    run: Run
    recipe: Recipe
    report: Mapping[str, Any]
    task: Task | None
    networks: Mapping[str, nn.Module]
    known: Mapping[str, Any]
    programs: dict[tuple[str, Shape], ExportedProgram] = field(default_factory=dict)
    judged: dict[str, Judged] = field(default_factory=dict)

    @property
    def data(self) -> Data | None:
        """The data set of a ready-made task."""
        return None if self.task is None else self.task.data

    @property
    def inputs(self) -> Inputs:
        """(channels, height, width) of one image, or the dense network's own example_inputs."""
        if self.report["input_size"]:
            return tuple(self.report["input_size"])
        own = own_inputs(self.networks["dense"])
        if own is None:
            found = "its network needs example_inputs, and the module has none"
            right = "give the module that was pruned, with example_inputs for one call"
            raise ExportError(str(self.run.path), found, right)
        return own


def program_for(job: ExportJob, variant: Variant, path: Path) -> ExportedProgram:
    """The program of a variant's network in its shape, traced once for all forms. Raises
    ExportError.
    """
    key = variant.network, variant.shape
    if key in job.programs:
        return job.programs[key]
    program = program_of(job.networks[variant.network], path, job.inputs, variant.shape)
    if job.recipe.export.torch:  # only this form needs it again; it holds a copy of the weights
        job.programs[key] = program
    return program


def check_asked(job: ExportJob) -> None:
    """Raise ExportError if a file is requested that the run's network or data can't provide."""
    section = job.recipe.export
    if job.recipe.model.trace:
        parts = " and ".join(job.recipe.model.trace)
        found = f"export traces the whole network, but only {parts} can be traced"
        right = (
            "load it (slimmer.load) and export it with its own package, "
            "or export its parts with torch.onnx.export"
        )
        raise ExportError(str(job.run.path), found, right)
    special = section.fp16 or section.int8 or section.batch or section.dynamic_size
    if special and not is_image(job.inputs):
        found = (
            "the network uses example_inputs: "
            "its files take exactly the sizes of these inputs, in float32"
        )
        right = "leave out --fp16, --int8, --batch and --dynamic-size"
        raise ExportError(str(job.run.path), found, right)
    if section.int8 and job.task is None:
        found = (
            "the run has no readable data; "
            "int8 is calibrated on training images and evaluated on test images"
        )
        right = (
            "prune with --data, give the path where the data are now (export --data), "
            "or in Python pass the data to export"
        )
        raise ExportError("export.int8 (--int8)", found, right)
