"""An exported file held against PyTorch and the run's data: what was measured, and whether the file
may stay.
"""

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

FEW = 4  # images of another size, and images for which all values inside an fp16 file are held at once
EVALUATION_BATCH = 100


@dataclass(frozen=True, eq=False)
class ExportJob:
    """What the export of a run works on; `known` are the files that earlier exports listed, by
    name.

    What is needed for several files is made once: `programs` by network and shape, and by network
    how its float32 file for any batch does on the test images.
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
            right = "give the module that was pruned, with what one call takes"
            raise ExportError(
                str(self.run.path),
                "its network has inputs of its own, the module no example_inputs",
                right,
            )
        return own


def program_for(job: ExportJob, variant: Variant, path: Path) -> ExportedProgram:
    """The program of a variant's network in its shape, traced once for all forms of it. Raises
    ExportError.
    """
    key = variant.network, variant.shape
    if key in job.programs:
        return job.programs[key]
    program = program_of(job.networks[variant.network], path, job.inputs, variant.shape)
    if (
        job.recipe.export.torch
    ):  # a program holds the weights once more, and only that form takes it too
        job.programs[key] = program
    return program


def check_asked(job: ExportJob) -> None:
    """Nothing; raises ExportError where a file is asked for that the run's network or its data
    can't give.
    """
    section = job.recipe.export
    if job.recipe.model.trace:
        found = f"the whole network can't be traced, only {' and '.join(job.recipe.model.trace)}, and export traces it"
        right = "load it (slimmer.load) and export it as its own package does, or torch.onnx.export its parts"
        raise ExportError(str(job.run.path), found, right)
    if not is_image(job.inputs) and (
        section.fp16 or section.int8 or section.batch or section.dynamic_size
    ):
        found = "the network has inputs of its own: its files take exactly the sizes of its example_inputs, in float32"
        raise ExportError(
            str(job.run.path), found, "leave out --fp16, --int8, --batch and --dynamic-size"
        )
    if section.int8 and job.data is None:
        found = "the run has no data that can be read; int8 is calibrated on training images and judged on test images"
        right = "prune with --data, say where the data are now (export --data), or in Python give export the data"
        raise ExportError("export.int8 (--int8)", found, right)


def measure(job: ExportJob, variant: Variant, path: Path) -> dict[str, Any]:
    """A file's parity with PyTorch by kind of inputs, and its top-1 on the test data where there
    are any.
    """
    inputs = job.inputs
    return (
        _measure_images(job, variant, path, inputs)
        if is_image(inputs)
        else _measure_calls(job, variant, path)
    )


def _measure_calls(job: ExportJob, variant: Variant, path: Path) -> dict[str, Any]:
    """Parity on the network's example, and on one with random numbers in place of its own."""
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
    """What runs the file, opened once for all that is held against it."""
    return call_program(path, load_program(path)) if variant.form == "torch" else call_file(path)


def _measure_images(
    job: ExportJob, variant: Variant, path: Path, size: tuple[int, ...]
) -> dict[str, Any]:
    network, batch = job.networks[variant.network], variant.shape.batch
    images = _images(job, variant, size)
    tolerance = TOLERANCES[variant.form]
    if variant.form == "fp16":  # first, since it says where the trouble lies
        for some in images.values():
            check_range(path, some.numpy(), batch or FEW)
    answer = of_images(_call(variant, path))
    parity = {
        kind: hold_against(network, path, some, answer, tolerance=tolerance, batch=batch)
        for kind, some in images.items()
    }
    right = (
        None
        if job.data is None
        else _judge_images(job, variant, job.data, path, lambda x: answer(x)[0])
    )
    return {
        "parity": {kind: asdict(each) for kind, each in parity.items()},
        "tolerance": None if variant.form == "int8" else tolerance,
        "accuracy": None if right is None else right[0],
        "run_on": None if right is None else right[1],
    }


def _judge_images(
    job: ExportJob, variant: Variant, data: Data, path: Path, answer: Callable[[Array], Array]
) -> tuple[float, int]:
    """A file's top-1 on the test images, and on how many of them it was run.

    A form that was just held against PyTorch within a tolerance is run on the images alone whose
    class a difference of that size may change; the others have the class of the float32 file for
    any batch, which is run on all.
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
    """About a hundred images, in whole batches."""
    return batch * -(-EVALUATION_BATCH // batch)


def _images(job: ExportJob, variant: Variant, size: tuple[int, ...]) -> dict[str, Tensor]:
    """The images to compare on, by kind: random, of another size where that is open, drawn from the
    test data.
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
    """What is to be said about a file. Raises ExportError where the slim network loses more in int8
    than it may.
    """
    if variant.form == "fp16":
        single = ", ".join(f"{number} {kind}" for kind, number in float32_ops(path).items())
        told = f"{single} stay float32" if single else "every operation is fp16"
        return [
            f"{told}; measured on the CPU, where ONNX Runtime computes in float32 with the fp16 weights"
        ]
    if variant.form == "int8" and job.data is not None:
        allowed = job.recipe.export.int8_drop
        before = done[Variant(variant.network, "fp32", variant.shape).name]["accuracy"]
        lost = before - measured["accuracy"]
        told = f"top-1 {measured['accuracy']:.2%} against {before:.2%} in fp32 ({-100 * lost:+.2f} points)"
        if variant.network == "slim" and round(lost, 9) > allowed:
            found = f"{told}, which may be {100 * allowed:.2f} less; the file is not kept"
            right = "allow more (--int8-drop), calibrate on more images (--int8-images), or stay with fp32 or fp16"
            raise ExportError(str(job.run.path / variant.file), found, right)
        number = min(job.recipe.export.int8_images, len(job.data.train))
        return [f"{told}; calibrated on {number} training images"]
    return []
