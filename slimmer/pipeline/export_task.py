"""The task of a run that is exported: its test data and its calibration images."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from slimmer.data import Data
from slimmer.errors import DataError, RecipeError, TaskError
from slimmer.exporting.int8 import calibration, regrouped
from slimmer.exporting.outputs import Array
from slimmer.exporting.variants import Variant
from slimmer.models.checkpoint import read_metadata as read_notes
from slimmer.pipeline.choose_plan import training_inputs
from slimmer.pipeline.export_job import ExportJob
from slimmer.pipeline.task_of_run import find, fitting, give_example, load_data
from slimmer.pruning.slim_file import Identity
from slimmer.recipe import Recipe, read_recipe
from slimmer.recipe.data_section import DataSection
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.trust import is_gone
from slimmer.tasks import Task


def task_for_export(
    run: Run,
    recipe: Recipe,
    given: Data | str | None,
    task: Any,
    networks: Mapping[str, nn.Module],
    observe: Observe,
) -> Task | None:
    """The run's task; None if it has none, or if its data are missing, which a note then reports
    unless they were `given`.

    Raises RecipeError for data that a run without data can't use, and DataError or TaskError for
    data or a task that do not fit the network.
    """

    def note(text: str) -> None:
        observe({"event": "note", "text": text})

    data = given if isinstance(given, Data) else None
    if given is None and task is None:
        missing = _missing(recipe)
        if missing is not None:
            right = "give the path where the data are now (slimmer export --data)"
            note(f"no accuracy is measured: {missing.where}: {missing.found}; {right}")
            return None
    if isinstance(given, str) and read_recipe(run.recipe_file).data == DataSection():
        found = "the run was pruned without data, so the normalisation of its images is unknown"
        right = "in Python, slimmer.export(RUN, data) takes slimmer.data.Data, which specify it"
        raise RecipeError("--data", found, right)
    own, first = find(recipe, data, task, note)
    if own is None or first is None:
        return None
    identity = Identity.from_metadata(read_notes(run.slim), str(run.slim))
    for network in networks.values():
        give_example(own, network, identity.input_size)
    if own.data is not None and not identity.input_size:
        return own
    shortened = recipe.model_copy(
        update={"finetune": recipe.finetune.model_copy(update={"epochs": 0.0})}
    )
    return fitting(own, first, shortened, networks["dense"], identity)


def _missing(recipe: Recipe) -> DataError | TaskError | None:
    """The error of data or of a task's file that are not here any more."""
    if is_gone(recipe.task.name):
        return TaskError(str(recipe.task.name), "does not exist", "")
    try:
        load_data(recipe.data)
    except DataError as error:
        return error
    return None


def calibration_images(job: ExportJob, variant: Variant) -> Iterator[Array]:
    """The batches that an int8 file is calibrated on: training images, not augmented if the task
    allows that, or the task's own `calibration`.
    """
    assert job.task is not None
    number, batch, seed = job.recipe.export.int8_images, variant.shape.batch, job.recipe.seed
    if job.task.data is not None:
        return calibration(job.task.data, number, seed=seed, batch=batch)
    return regrouped(_calibration_batches(job.task, job.recipe), number, batch)


def _calibration_batches(task: Task, recipe: Recipe) -> Iterator[Tensor]:
    """Images to calibrate on, batch by batch. Raises TaskError if they are no single tensor."""
    steps = task.train.steps(recipe.finetune.batch_size)
    given = training_inputs(task, recipe, steps)
    if task.calibration is not None:
        given = map(task.inputs, task.calibration)
    for each in given:
        images = each[0] if isinstance(each, tuple) and len(each) == 1 else each
        if not isinstance(images, Tensor):
            found = f"has inputs of {len(each)} arguments"
            raise TaskError(f"{task.name}, calibration", found, "int8 needs one image tensor")
        yield images
