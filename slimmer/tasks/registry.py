"""Ready-made tasks by name, and the task that a recipe asks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from slimmer.data import Data
from slimmer.errors import TaskError
from slimmer.recipe.sections import Section
from slimmer.recipe.task_section import TaskSection
from slimmer.registry import Registry, hint
from slimmer.runs.trust import is_code
from slimmer.tasks import multilabel as multi
from slimmer.tasks import regression as numbers
from slimmer.tasks import segmentation as masks
from slimmer.tasks.classification import NAME, ClassificationOptions, classification
from slimmer.tasks.read_task import read_task
from slimmer.tasks.task import Task
from slimmer.tasks.user_file import task_from_file


@dataclass(frozen=True)
class TaskEntry:
    """A ready-made task.

    Attributes:
        name: its name in `task.name`.
        make: takes a `slimmer.data.Data` and the options, and returns a `Task`.
        options: the class of the recipe's `task.options`.
    """

    name: str
    make: Callable[[Data, Any], Task]
    options: type[Section] = Section


TASKS: Registry[TaskEntry] = Registry(
    "task", TaskError, entry_points="slimmer.tasks", kind=TaskEntry
)
for _entry in (
    TaskEntry(NAME, classification, ClassificationOptions),
    TaskEntry(multi.NAME, multi.multilabel, multi.MultilabelOptions),
    TaskEntry(numbers.NAME, numbers.regression, numbers.RegressionOptions),
    TaskEntry(masks.NAME, masks.segmentation, masks.SegmentationOptions),
):
    TASKS.add(_entry.name, _entry)


def find_task(
    section: TaskSection,
    data: Data | None,
    given: Any = None,
    note: Callable[[str], None] = lambda _: None,
) -> Task | None:
    """The task of a run: the object `given` in Python, the one that FILE.py:FUNCTION returns, or
    the ready-made one for `data`; None without data.

    `note` receives what is doubtful. Raises TaskError for an unknown name or options, if both data
    and a user's task are given, and for whatever `read_task` refuses.
    """
    name = section.name
    if given is not None or (name is not None and is_code(name)):
        where = "task" if name is None or given is not None else name
        if data is not None:
            right = "leave out the data, or choose a ready-made task by name"
            raise TaskError(where, "has loaders of its own, but data are given too", right)
        if section.options:
            found = f"has no options, but task.options are {section.options}"
            raise TaskError(where, found, "options are those of ready-made tasks")
        made = given if given is not None else task_from_file(where)
        return read_task(made, where, note)
    if name is not None and name not in TASKS:
        right = f"{hint(name, TASKS)}, or FILE.py:FUNCTION"
        raise TaskError("task.name", f"{name!r} is not known", right)
    if data is None:
        if name is not None:
            raise TaskError("task.name", f"{name} needs data", "give --data")
        return None
    entry = TASKS[name or NAME]
    return entry.make(data, _options(entry, section.options))


def _options(entry: TaskEntry, given: Mapping[str, Any]) -> Any:
    """The options of a ready-made task. Raises TaskError with all mistakes."""
    try:
        return entry.options.model_validate(dict(given))
    except ValidationError as error:
        lines = []
        for each in error.errors(include_url=False):
            key = ".".join(map(str, each["loc"])) or "options"
            said = each["msg"].removeprefix("Value error, ")
            if each["type"] == "extra_forbidden":
                said = f"is not known; {hint(key, entry.options.known_keys())}"
            lines.append(f"{key}: {said}")
        found = f"does not fit the task {entry.name}"
        raise TaskError("task.options", found, "\n  ".join(lines)) from error
