"""The calls of a task's own functions, whose errors become one message."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from slimmer.errors import SlimmerError, TaskError, first_line, lacks_memory
from slimmer.graph import Arguments, by_position
from slimmer.tasks.task import Task

FIX = "fix the task's code; docs/tasks.md has an example"


def guarded(where: str, call: Callable[[], Any], right: str = FIX) -> Any:
    """What `call` returns. Raises TaskError, which says `where`, for anything that it raises."""
    try:
        return call()
    except SlimmerError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        found = f"fails with {type(error).__name__}: {first_line(error)}"
        raise TaskError(where, found, right) from error


def inputs_of(task: Task, batch: Any, model: nn.Module | None = None) -> Arguments:
    """What the network takes of a batch. Arguments by name get forward's order, for which the
    `model` is needed. Raises TaskError if it is something else.
    """
    found = guarded(f"{task.name}, inputs", lambda: task.inputs(batch))
    if isinstance(found, Mapping) and model is not None:
        return by_position(model, found)
    if isinstance(found, Tensor | tuple):
        return found
    right = "return a tensor, a tuple of arguments, or a dictionary of arguments by name"
    if isinstance(found, list):
        right = "return a tuple of the arguments, not a list"
    raise TaskError(f"{task.name}, inputs", f"returns a {type(found).__name__}", right)


def loss_of(task: Task, outputs: Any, batch: Any) -> Tensor:
    """The task's loss. Raises TaskError if its code fails."""
    assert task.loss is not None
    found: Tensor = guarded(f"{task.name}, loss", partial(task.loss, outputs, batch))
    return found
