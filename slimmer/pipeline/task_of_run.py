"""The task of a run: found before its network, whose input size it knows, and then tried."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from slimmer.data import Data, guess, load
from slimmer.data import check as check_data
from slimmer.errors import DataError, RecipeError, TaskError
from slimmer.graph import own_inputs, rows, tensors_in
from slimmer.models.accept_model import check_takes_data
from slimmer.pruning.slim_file import Identity
from slimmer.recipe import Recipe
from slimmer.recipe.data_section import DataSection
from slimmer.tasks import Task
from slimmer.tasks.calls import guarded
from slimmer.tasks.classification import NAME as CLASSIFICATION
from slimmer.tasks.fit_task import FirstBatches, first_batches, fit_task
from slimmer.tasks.of_data import Training
from slimmer.tasks.registry import find_task


def find(
    recipe: Recipe, data: Data | None, task: Any, note: Callable[[str], None]
) -> tuple[Task | None, FirstBatches | None]:
    """The task that a recipe specifies, with the first batches of its loaders; `data` and `task`
    replace the recipe's. None without any.

    Raises DataError or TaskError for data and tasks that can't be used, and RecipeError if their
    views can't repeat.
    """
    if data is None:
        data = load_data(recipe.data)
    else:
        check_data(data)
    if data is not None:
        for text in (*data.notes, *(each.note for each in data.skipped)):
            note(text)
    found = find_task(recipe.task, data, task, note)
    if found is None:
        return None, None
    if recipe.data.views is not None and not isinstance(found.train, Training):
        what = "is for slimmer's own augmentation, but the task has a training loader of its own"
        raise RecipeError("data.views", what, "leave it out")
    if found.data is not None:
        return found, FirstBatches(None, None)
    first = first_batches(found, note)
    return sized(found, first), first


def fitting(
    task: Task, first: FirstBatches, recipe: Recipe, model: nn.Module, identity: Identity
) -> Task:
    """The task, known to fit the network. Raises SlimmerError if it does not."""
    trained = recipe.finetune.epochs > 0
    if task.data is not None:
        check_fit(identity, task)
    if task.input_size:
        check_takes_data(model, task.input_size, trained=trained)
    if task.name == CLASSIFICATION and task.data is not None:
        return task
    give_example(task, model, identity.input_size)
    if task.data is not None:
        first = first_batches(task, lambda _: None, recipe.finetune.batch_size)
    return fit_task(task, model, first, distill=recipe.finetune.distill, trained=trained)


def give_example(task: Task | None, model: nn.Module, size: Sequence[int]) -> None:
    """Give the network the task's inputs of one call as its `example_inputs`, if it takes no single
    image and has none.
    """
    if task is not None and not size and own_inputs(model) is None:
        model.example_inputs = task.example_inputs


def code_of(recipe: Recipe) -> tuple[str | None, ...]:
    """The names of a recipe that may refer to code which loads data."""
    return recipe.data.name, recipe.data.path, recipe.task.name


def load_data(section: DataSection) -> Data | None:
    """The data that a recipe specifies, or None. Raises DataError."""
    if section.name is None and section.path is None:
        return None
    name = section.name
    if name is None and section.path is not None:
        name = guess(section.path)
    return load(name or "", **section.model_dump(exclude={"name", "trust", "views"}))


def check_fit(identity: Identity, task: Task) -> None:
    """Raise DataError if a ready-made task's images have another size than the network's inputs, or
    if its data have another number of classes.
    """
    data = task.data
    assert data is not None
    if identity.input_size != data.input_size:
        found = f"images are {data.input_size}, but the network takes {identity.input_size}"
        right = "give data.size, or images with the number of colour channels that it takes"
        raise DataError(data.name, found, right)
    if task.name == CLASSIFICATION and identity.arch and identity.num_classes != data.num_classes:
        found = f"{data.num_classes} classes, but the network has {identity.num_classes} outputs"
        raise DataError(data.name, found, "give the data that the network was trained on")


def sized(task: Task, first: FirstBatches) -> Task:
    """The task with the inputs of one call: those of its first training batch, for one image,
    unless it has `example_inputs` of its own.
    """
    own = task.example_inputs
    if own is not None:
        alone = isinstance(own, tuple) and len(own) == 1
        return replace(task, example_inputs=own[0] if alone else own)
    given = guarded(f"{task.name}, inputs", lambda: task.inputs(first.train))
    if isinstance(given, tuple) and len(given) == 1:
        given = given[0]
    if not tensors_in(given):
        found = f"returns a {type(given).__name__} without a tensor"
        raise TaskError(f"{task.name}, inputs", found, "return what the network takes of a batch")
    number = rows(given)
    one = tree_map_only(Tensor, lambda x: x[:1] if x.dim() and len(x) == number else x, given)
    return replace(task, example_inputs=one)
