"""The metrics of a task, with their directions, found on the first test batch."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any
from warnings import catch_warnings

from torch import Tensor

from slimmer.errors import TaskError
from slimmer.tasks.calls import guarded
from slimmer.tasks.measure import LOSS, values_of
from slimmer.tasks.task import MetricKind, Task


def find_kinds(task: Task, outputs: Any, batch: Any) -> tuple[MetricKind, ...]:
    """The task's metrics, the main one first: the meters in their order, then the others.

    Every metric is tried on one batch. Without any, the loss is the metric. Raises TaskError for a
    metric that fails, is not one finite number, or has no known direction.
    """
    where = f"{task.name}, metrics of the first test batch"
    values = guarded(where, partial(values_of, task, outputs, batch))
    if not isinstance(values, Mapping):
        right = "return a dictionary: for each metric what its meter's update takes, or values"
        raise TaskError(where, f"is a {type(values).__name__}", right)
    missing = [name for name in task.meters if name not in values]
    if missing:
        right = "return an entry for every meter"
        raise TaskError(where, f"has no entry for {', '.join(map(repr, missing))}", right)
    names = [*task.meters, *(name for name in values if name not in task.meters)]
    return tuple(_kind(task, name, values[name]) for name in names)


def _kind(task: Task, name: str, value: Any) -> MetricKind:
    where = f"{task.name}, metric {name!r}"
    percent = False
    meter = task.meters.get(name)
    if meter is not None:
        percent = _check_meter(where, meter, value)
    elif not isinstance(value, Tensor):
        right = "give a tensor of values to average, or put a meter of this name into meters"
        raise TaskError(where, f"is a {type(value).__name__}", right)
    else:
        percent = not value.is_floating_point() and value.dtype.itemsize == 1
    higher = _direction(task, name, meter)
    if higher is None:
        right = f"give the task higher_is_better = {{{name!r}: True}}, or False"
        raise TaskError(where, "does not say whether higher is better", right)
    return MetricKind(name, higher, percent=percent)


def _check_meter(where: str, meter: Any, value: Any) -> bool:
    """Whether a meter measures a share. Raises TaskError if it fails on one batch."""
    if not isinstance(value, tuple):
        right = "return a tuple of what the meter's update takes"
        raise TaskError(where, f"gets a {type(value).__name__}", right)
    for name in ("update", "compute", "reset"):
        if not callable(getattr(meter, name, None)):
            right = "give a metric of torchmetrics"
            raise TaskError(where, f"is a {type(meter).__name__} without {name}", right)
    tried = deepcopy(meter)
    with catch_warnings(action="ignore"):  # such as classes that one batch does not have
        guarded(where, lambda: tried.update(*value))
        found = guarded(where, tried.compute)
    if isinstance(found, Mapping) or (isinstance(found, Tensor) and found.numel() != 1):
        right = "choose an average (such as average='macro'), or one meter for each number"
        raise TaskError(where, "computes several numbers", right)
    guarded(where, lambda: float(found))
    bounds = (getattr(meter, "plot_lower_bound", None), getattr(meter, "plot_upper_bound", None))
    return bounds == (0.0, 1.0)


def _direction(task: Task, name: str, meter: Any) -> bool | None:
    given = task.higher_is_better.get(name)
    if given is not None:
        return bool(given)
    if name == LOSS:
        return False
    return getattr(meter, "higher_is_better", None)
