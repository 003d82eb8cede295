"""The verification of an exported file against PyTorch and on the run's data."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from slimmer.data import Data, evaluation_batches
from slimmer.data.augment import normalised
from slimmer.errors import ExportError
from slimmer.exporting.fp16 import check_range, float32_ops
from slimmer.exporting.input_shape import Shape
from slimmer.exporting.outputs import Array, Judged, judged
from slimmer.exporting.parity import (
    TOLERANCES,
    Call,
    call_file,
    call_program,
    hold_against,
    hold_call,
    of_images,
)
from slimmer.exporting.torch_program import eval_copy, larger, load_program, program_of
from slimmer.exporting.variants import Variant
from slimmer.graph import Inputs, example_inputs, is_image, own_inputs
from slimmer.pruning.self_check import example
from slimmer.recipe import Recipe
from slimmer.runs.directory import Run

FEW = 4  # images of another size, and images per check of all values inside an fp16 file
EVALUATION_BATCH = 100


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
    data: Data | None
    networks: Mapping[str, nn.Module]
    known: Mapping[str, Any]
    programs: dict[tuple[str, Shape], ExportedProgram] = field(default_factory=dict)
    judged: dict[str, Judged] = field(default_factory=dict)

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
    if section.int8 and job.data is None:
        found = (
            "the run has no readable data; "
            "int8 is calibrated on training images and evaluated on test images"
        )
        right = (
            "prune with --data, give the path where the data are now (export --data), "
            "or in Python pass the data to export"
        )
        raise ExportError("export.int8 (--int8)", found, right)


def measure(job: ExportJob, variant: Variant, path: Path) -> dict[str, Any]:
    """A file's parity with PyTorch by kind of inputs, and its top-1 on the test data if there are
    any.
    """
    inputs = job.inputs
    if is_image(inputs):
        return _measure_images(job, variant, path, inputs)
    return _measure_calls(job, variant, path)


def _measure_calls(job: ExportJob, variant: Variant, path: Path) -> dict[str, Any]:
    """Parity on the network's example inputs, and on random numbers of the same shapes."""
    network, tolerance = job.networks[variant.network], TOLERANCES[variant.form]
    dense = eval_copy(job.networks["dense"])
    calls = {
        "example": example_inputs(dense, job.inputs, images=1),
        "random": example(dense, job.inputs),
    }
    answer = _call(variant, path)
    parity = {
        kind: asdict(hold_call(network, path, call, answer, tolerance=tolerance))
        for kind, call in calls.items()
    }
    return {"parity": parity, "tolerance": tolerance, "accuracy": None, "run_on": None}


def _call(variant: Variant, path: Path) -> Call:
    """A function that runs the file, which is opened once for all comparisons."""
    if variant.form == "torch":
        return call_program(path, load_program(path))
    return call_file(path)


def _measure_images(
    job: ExportJob, variant: Variant, path: Path, size: tuple[int, ...]
) -> dict[str, Any]:
    network, batch = job.networks[variant.network], variant.shape.batch
    images = _images(job, variant, size)
    tolerance = TOLERANCES[variant.form]
    if variant.form == "fp16":  # first, because its error names the operation that overflows
        for some in images.values():
            check_range(path, some.numpy(), batch or FEW)
    answer = of_images(_call(variant, path))
    parity = {
        kind: hold_against(network, path, some, answer, tolerance=tolerance, batch=batch)
        for kind, some in images.items()
    }
    accuracy, run_on = None, None
    if job.data is not None:
        accuracy, run_on = _judge_images(job, variant, job.data, path, lambda x: answer(x)[0])
    return {
        "parity": {kind: asdict(each) for kind, each in parity.items()},
        "tolerance": None if variant.form == "int8" else tolerance,
        "accuracy": accuracy,
        "run_on": run_on,
    }


def _judge_images(
    job: ExportJob, variant: Variant, data: Data, path: Path, answer: Callable[[Array], Array]
) -> tuple[float, int]:
    """A file's top-1 on the test images, and the number of images that it was run on.

    The float32 file for any batch is run on all images. Another form that equals PyTorch within a
    tolerance is run only on the images whose class a difference of that size could change; the
    class of the others is taken from the float32 file.
    """
    batch = variant.shape.batch

    def run(places: Tensor | None) -> Judged:
        tests = evaluation_batches(data.test, data, _several(batch or 1), places=places)
        return judged(answer, tests, where=str(path), batch=batch)

    known = job.judged.get(variant.network)
    if known is None or variant.form == "int8":
        found = run(None)
        if variant == Variant(variant.network):
            job.judged[variant.network] = found
        return found.accuracy, len(found.right)
    unclear = known.unclear(TOLERANCES[variant.form] + TOLERANCES["fp32"])
    right = known.right.copy()
    if len(unclear):
        right[unclear] = run(torch.from_numpy(unclear)).right
    return int(right.sum()) / len(right), len(unclear)


def _several(batch: int) -> int:
    """About a hundred images, rounded up to whole batches."""
    return batch * -(-EVALUATION_BATCH // batch)


def _images(job: ExportJob, variant: Variant, size: tuple[int, ...]) -> dict[str, Tensor]:
    """The images to compare on, by kind: random ones, random ones of another size if the size is
    free, and a sample of the test images.
    """
    number = job.recipe.export.images
    generator = torch.Generator().manual_seed(job.recipe.seed)
    images = {"random": torch.randn((number, *size), generator=generator)}
    if variant.shape.dynamic_size:
        other = larger(size)
        images[f"random {other[1]}x{other[2]}"] = torch.randn(
            (min(number, FEW), *other), generator=generator
        )
    if job.data is not None:
        drawn = torch.randperm(len(job.data.test), generator=generator)[:number].sort().values
        images["test"] = normalised(job.data.test.load(drawn), job.data.mean, job.data.std)
    return images


def judge(
    job: ExportJob,
    variant: Variant,
    measured: Mapping[str, Any],
    done: Mapping[str, Any],
    path: Path,
) -> list[str]:
    """The notes on a file. Raises ExportError if the slim network loses more in int8 than the
    recipe allows.
    """
    if variant.form == "fp16":
        single = ", ".join(f"{number} {kind}" for kind, number in float32_ops(path).items())
        kept = f"{single} kept in float32" if single else "every operation is fp16"
        how = "measured on the CPU, where ONNX Runtime computes in float32 with the fp16 weights"
        return [f"{kept}; {how}"]
    if variant.form != "int8" or job.data is None:
        return []
    allowed = job.recipe.export.int8_drop
    before = done[Variant(variant.network, "fp32", variant.shape).name]["accuracy"]
    lost = before - measured["accuracy"]
    change = f"{-100 * lost:+.2f} points"
    top1 = f"top-1 {measured['accuracy']:.2%} compared with {before:.2%} in fp32 ({change})"
    if variant.network == "slim" and round(lost, 9) > allowed:
        found = f"{top1}; at most {100 * allowed:.2f} points may be lost; the file is not kept"
        right = (
            "allow a larger loss (--int8-drop), calibrate on more images (--int8-images), "
            "or use fp32 or fp16"
        )
        raise ExportError(str(job.run.path / variant.file), found, right)
    number = min(job.recipe.export.int8_images, len(job.data.train))
    return [f"{top1}; calibrated on {number} training images"]
