"""A task that a function in the user's own Python file returns: FILE.py:FUNCTION."""

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from slimmer.errors import SlimmerError, TaskError, first_line
from slimmer.registry import hint

FORM = "give FILE.py:FUNCTION; the function takes no arguments and returns the task"


def task_from_file(name: str) -> Any:
    """What FILE.py:FUNCTION returns. The file, which the user named, is imported and so is run.

    Raises TaskError if the file or the function is missing or fails.
    """
    file, _, function = name.rpartition(":")
    if not Path(file).is_file():
        raise TaskError(file or name, "does not exist", FORM)
    key = f"slimmer_task_{Path(file).stem}"
    spec = spec_from_file_location(key, file)
    if spec is None or spec.loader is None:
        raise TaskError(file, "is not a Python file", FORM)
    module = module_from_spec(spec)
    sys.modules[key] = module  # dataclasses and worker processes look up their module by name
    _run(name, partial(spec.loader.exec_module, module))
    make = getattr(module, function, None)
    if not callable(make):
        public = {each: value for each, value in vars(module).items() if not each.startswith("_")}
        known = [each for each, value in public.items() if callable(value)]
        raise TaskError(file, f"there is no function {function!r}", hint(function, known))
    return _run(name, make)


def _run(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except SlimmerError:
        raise
    except Exception as error:
        found = f"failed with {type(error).__name__}: {first_line(error)}"
        raise TaskError(name, found, "fix the file; its function takes no arguments") from error
