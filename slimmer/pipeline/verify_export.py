"""The verification of an exported file against PyTorch and on the run's data."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from slimmer.data import Data, evaluation_batches
from slimmer.data.augment import normalised
from slimmer.errors import ExportError
from slimmer.exporting.outputs import Array, Judged, judged
from slimmer.exporting.parity import TOLERANCE, hold_against, hold_call, of_images
from slimmer.exporting.torch_program import eval_copy, larger
from slimmer.exporting.variants import Variant
from slimmer.graph import example_inputs, is_image
from slimmer.pipeline.export_job import ExportJob
from slimmer.pipeline.file_metrics import change_of, file_metrics, have_size, test_images
from slimmer.pruning.self_check import example
from slimmer.tasks.classification import TOP1

FEW = 4  # images of another size, and images per check of all values inside an fp16 file
EVALUATION_BATCH = 100
UNMEASURED: Final[dict[str, Any]] = {
    "accuracy": None,
    "metric": None,
    "metrics": {},
    "run_on": None,
}


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
    network, form = job.networks[variant.network], variant.form
    dense = eval_copy(job.networks["dense"])
    calls = {
        "example": example_inputs(dense, job.inputs, images=1),
        "random": example(dense, job.inputs),
    }
    answer = form.open(path)
    parity = {
        kind: asdict(hold_call(network, path, call, answer, tolerance=form.limit))
        for kind, call in calls.items()
    }
    return {"parity": parity, "tolerance": form.tolerance, **UNMEASURED}


def _measure_images(
    job: ExportJob, variant: Variant, path: Path, size: tuple[int, ...]
) -> dict[str, Any]:
    network, form, batch = job.networks[variant.network], variant.form, variant.shape.batch
    images = _images(job, variant, size)
    if form.check_inside is not None:  # first, because its error names the operation
        for some in images.values():
            form.check_inside(path, some.numpy(), batch or FEW)
    answer = of_images(form.open(path))
    parity = {}
    for kind, some in images.items():
        parity[kind] = hold_against(
            network,
            path,
            some,
            answer,
            tolerance=form.limit,
            batch=batch,
            classes=job.task is None or job.task.logits,
        )
    return {
        "parity": {kind: asdict(each) for kind, each in parity.items()},
        "tolerance": form.tolerance,
        **_measured_on_test(job, variant, path, answer),
    }


def _measured_on_test(
    job: ExportJob, variant: Variant, path: Path, answer: Callable[[Array], list[Array]]
) -> dict[str, Any]:
    """The main metric of a file under "accuracy" and all of them, with the number of test images
    that it was run on.
    """
    task = job.task
    if task is None or task.main is None:
        return UNMEASURED
    if task.data is not None and task.kinds == (TOP1,):
        top1, run_on = _judge_images(job, variant, task.data, path, lambda x: answer(x)[0])
        found = {TOP1.name: top1}
        return {"accuracy": top1, "metric": asdict(TOP1), "metrics": found, "run_on": run_on}
    size = None if variant.shape.dynamic_size else tuple(job.inputs)
    network = job.networks[variant.network]
    if size is not None and not have_size(task, size):
        return UNMEASURED
    found, run_on = file_metrics(task, network, answer, variant.shape.batch)
    main = task.main
    accuracy = found[main.name]
    return {"accuracy": accuracy, "metric": asdict(main), "metrics": found, "run_on": run_on}


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
    tolerance = variant.form.tolerance
    if known is None or tolerance is None:
        found = run(None)
        if variant == Variant(variant.network):
            job.judged[variant.network] = found
        return found.accuracy, len(found.right)
    unclear = known.unclear(tolerance + TOLERANCE)
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
    elif job.task is not None and job.task.test is not None:
        tested = list(test_images(job.task, number, size))
        if tested:
            images["test"] = torch.cat(tested)
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
    notes = variant.form.notes(path)
    if not variant.form.calibrated or job.task is None:
        return notes
    how = f"calibrated on {_calibrated_on(job)} training images"
    if job.task.main is None or measured["accuracy"] is None:
        return [*notes, how]
    allowed = job.recipe.export.int8_drop
    before = done[Variant(variant.network, shape=variant.shape).name]["accuracy"]
    change = change_of(job.task.main, before, measured["accuracy"])
    if variant.network == "slim" and round(change.lost, 9) > allowed:
        limit = f"{100 * allowed:.2f} points" if job.task.main.percent else f"{allowed:.2%}"
        found = f"{change.text}; at most {limit} may be lost; the file is not kept"
        right = (
            "allow a larger loss (--int8-drop), calibrate on more images (--int8-images), "
            "or use fp32 or fp16"
        )
        raise ExportError(str(job.run.path / variant.file), found, right)
    return [*notes, f"{change.text}; {how}"]


def _calibrated_on(job: ExportJob) -> str:
    """The number of training images that int8 was calibrated on."""
    number = job.recipe.export.int8_images
    if job.data is None:
        return f"at most {number}"
    return str(min(number, len(job.data.train)))
