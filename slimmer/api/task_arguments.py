"""The arguments of public calls that describe the data and the task."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from slimmer.api.arguments import place_or_data
from slimmer.data import Data
from slimmer.errors import RecipeError, TaskError
from slimmer.recipe import data_at
from slimmer.runs.trust import is_code
from slimmer.tasks import Task

Settings = list[tuple[str, Any]]
EPOCHS = "finetune.epochs"


@dataclass(frozen=True, eq=False)
class Asked:
    """The arguments of `slimmer.prune` that say what the network is trained on."""

    data: Any
    task: Any
    loss: Callable[[Any, Any], Tensor] | None
    batches: Iterable[Any] | None


def data_and_task(
    own: nn.Module | None, asked: Asked, given: Settings
) -> tuple[Data | None, Any, Settings]:
    """The data and the task from Python, None if a recipe names them, and the recipe's settings.

    `own` is the user's module, which gets its example inputs. Raises SlimmerError if the arguments
    contradict each other.
    """
    data, task = asked.data, asked.task
    if isinstance(task, str):
        given, task = [*given, ("task.name", task_name(task))], None
    if asked.loss is not None or asked.batches is not None:
        given, task = to_score(data, asked.loss, asked.batches, task, given)
        give_example(own, data)
        return None, task, given
    if isinstance(data, Tensor):
        return None, task, [*given, *give_example(own, data)]
    made = place_or_data(data)
    if isinstance(made, str):
        return None, task, [*given, *data_at(made)]
    return made, task, given


def task_name(name: str) -> str:
    """The name of a task; FILE.py:FUNCTION with an absolute path."""
    if not is_code(name):
        return name
    file, colon, function = name.rpartition(":")
    return f"{Path(file or name).absolute()}{colon}{function}"


def to_score(
    example_inputs: Any,
    loss: Callable[[Any, Any], Tensor] | None,
    batches: Iterable[Any] | None,
    task: Any,
    given: Settings,
) -> tuple[Settings, Task]:
    """The recipe's settings and the task of a run that scores channels and trains nothing.

    Raises TaskError or RecipeError if arguments contradict each other.
    """
    if batches is None:
        raise TaskError("batches", "is missing, but loss is given", "give the training batches too")
    if task is not None or ("task.name" in dict(given)):
        right = "give a task to let slimmer train, or loss and batches to train yourself"
        raise TaskError("task", "is given, and batches too", right)
    if dict(given).get(EPOCHS):
        found = f"is {dict(given)[EPOCHS]}, but loss and batches only score channels"
        raise RecipeError(EPOCHS, found, "leave it out, or give a task to let slimmer train")
    if isinstance(example_inputs, str | Path):
        right = "give example inputs of one call, such as torch.zeros(1, 3, 224, 224)"
        raise TaskError("example_inputs", f"is {str(example_inputs)!r}", right)
    made = Task(train=batches, loss=loss, example_inputs=example_inputs, name="batches")
    return [*given, (EPOCHS, 0.0)], made


def give_example(model: nn.Module | None, example: Any) -> Settings:
    """The recipe's settings for the inputs of one call: the size of an image. Anything else becomes
    the `example_inputs` of `model`, which is a copy of the user's.
    """
    if isinstance(example, Tensor) and example.is_floating_point() and example.dim() > 1:
        return [("model.input_size", tuple(example.shape[1:]))]
    if model is not None and example is not None:
        model.example_inputs = example
    return []
