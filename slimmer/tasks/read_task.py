"""A user's task: any object with the attributes of `Task`, read once and checked."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from torch.utils.data import DataLoader, RandomSampler

from slimmer.errors import TaskError
from slimmer.tasks.epochs import processes
from slimmer.tasks.loaders import TEST, TRAINING, LoaderEpochs, LoaderTests
from slimmer.tasks.shares import is_shared
from slimmer.tasks.task import Task

_OPTIONAL = ("loss", "metrics", "inputs", "distill")  # functions
_OWN = {each.name for each in fields(Task)} - {"data", "kinds"}
WRITE = "see docs/tasks.md for what a task is"


def read_task(made: Any, where: str, note: Callable[[str], None] = lambda _: None) -> Task:
    """The task that an object describes by its attributes; its loaders are wrapped.

    `where` says in messages where the object comes from; `note` receives what is doubtful. Raises
    TaskError for an attribute that is missing or of another type, and for a loader that is empty or
    can be iterated only once.
    """
    if isinstance(made, Task) and made.data is not None:
        return made
    if isinstance(made, type):
        raise TaskError(where, f"is the class {made.__name__}", "return an object of it")
    given = {name: getattr(made, name) for name in _OWN if getattr(made, name, None) is not None}
    if "train" not in given:
        found = f"is a {type(made).__name__} without the attribute 'train'"
        raise TaskError(where, found, f"give it a loader of batches; {WRITE}")
    _check_types(given, where)
    _check_iterable(given["train"], TRAINING)
    if "test" in given:
        _check_iterable(given["test"], TEST)
    for doubt in _doubts(given):
        note(f"{where}: {doubt}")
    name = given.pop("name", type(made).__name__)
    task = Task(**{**given, "name": str(name)})
    length = _length(given["train"], given.get("steps"), note)
    test = None if task.test is None else LoaderTests(task.test)
    return replace(task, train=LoaderEpochs(task.train, length), test=test)


def _doubts(given: Mapping[str, Any]) -> Iterator[str]:
    """What may not be meant: a shuffled test set, or processes that all read the same batches."""
    test = given.get("test")
    if isinstance(test, DataLoader) and isinstance(test.sampler, RandomSampler):
        yield "the test loader shuffles; set shuffle=False for figures that repeat"
    if processes()[1] > 1 and not is_shared(given["train"]):
        yield (
            "every process reads all training batches; give a DataLoader of a dataset with "
            "indices, or let the loader read a share for each RANK"
        )


def _check_types(given: Mapping[str, Any], where: str) -> None:
    """Raise TaskError for an attribute that is not a function or not a mapping as it should be."""
    for name in _OPTIONAL:
        if name in given and not callable(given[name]):
            found = f"{name} is a {type(given[name]).__name__}"
            raise TaskError(where, found, f"make it a function; {WRITE}")
    for name in ("meters", "higher_is_better"):
        if not isinstance(given.get(name, {}), Mapping):
            found = f"{name} is a {type(given[name]).__name__}"
            raise TaskError(where, found, f"make it a dictionary by the metrics' names; {WRITE}")


def _check_iterable(loader: Any, where: str) -> None:
    """Raise TaskError unless a loader can be iterated again and again."""
    if not isinstance(loader, Iterable):
        found = f"is a {type(loader).__name__}, which can't be iterated"
        raise TaskError(where, found, "give a DataLoader, or any iterable of batches")
    if hasattr(type(loader), "__next__"):  # it is an iterator
        found = f"is a {type(loader).__name__}, which can be iterated only once"
        right = "give a DataLoader, a list, or an object whose __iter__ starts again"
        raise TaskError(where, found, right)
    if _known_length(loader) == 0:
        raise TaskError(where, "has no batches (its length is 0)", "give at least one batch")


def _known_length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _length(loader: Any, steps: Any, note: Callable[[str], None]) -> int:
    """The number of batches of an epoch. Raises TaskError if `steps` is not a positive number."""
    if steps is not None:
        if not isinstance(steps, int) or steps < 1:
            raise TaskError("the task", f"steps is {steps!r}", "give the batches of an epoch")
        return steps
    known = _known_length(loader)
    if known is not None:
        return known
    counted = sum(1 for _ in loader)
    if not counted:
        raise TaskError(TRAINING, "has no batches", "give at least one batch")
    note(
        f"{TRAINING} does not know its length; one pass counted {counted} batches an epoch "
        "(to save this pass, set the task's attribute steps)"
    )
    return counted
