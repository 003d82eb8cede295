"""The metrics of a task, accumulated over batches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

from torch import Tensor

from slimmer.errors import TaskError
from slimmer.tasks.calls import guarded
from slimmer.tasks.task import Task

LOSS = "loss"


@dataclass
class Mean:
    """A mean of values, exact for whole numbers."""

    total: float = 0
    count: int = 0

    def add(self, values: Tensor) -> None:
        """Add the values of a batch."""
        summed = values.double() if values.is_floating_point() else values
        self.total += summed.sum().item()
        self.count += values.numel()

    def value(self) -> float:
        """The mean; 0 without values."""
        return self.total / max(1, self.count)


def accumulated(task: Task, pairs: Iterable[tuple[Any, Any]]) -> dict[str, float]:
    """Every metric of the task over pairs of outputs and batch, the main one first.

    Raises TaskError if a metric is not finite.
    """
    means: dict[str, Mean] = {}
    for meter in task.meters.values():
        meter.reset()
    where = f"{task.name}, metrics"
    for outputs, batch in pairs:
        values = guarded(where, partial(values_of, task, outputs, batch))
        for name, value in values.items():
            if name in task.meters:
                guarded(f"{where}, {name!r}", partial(_update, task.meters[name], value))
            else:
                means.setdefault(name, Mean()).add(value)
    found = {}
    for kind in task.kinds:
        if kind.name in task.meters:
            computed = guarded(f"{where}, {kind.name!r}", task.meters[kind.name].compute)
            found[kind.name] = float(computed)
        else:
            found[kind.name] = means.get(kind.name, Mean()).value()
        if not isfinite(found[kind.name]):
            where = f"{task.name}, metric {kind.name!r}"
            right = "check that the network's outputs are finite, and the metric on the test data"
            raise TaskError(where, f"is {found[kind.name]} on the test data", right)
    return found


def _update(meter: Any, value: tuple[Any, ...]) -> None:
    """Add a batch to a meter, on the device of its first value."""
    place = getattr(value[0], "device", None) if value else None
    if place is not None and hasattr(meter, "to"):
        meter.to(place)
    meter.update(*value)


def values_of(task: Task, outputs: Any, batch: Any) -> Mapping[str, Any]:
    """What the task's metrics take of one batch, by name; its loss if it has no metrics."""
    if task.metrics is not None:
        return task.metrics(outputs, batch)
    if task.meters:
        return dict.fromkeys(task.meters, (outputs, batch[1]))
    if task.loss is not None:
        return {LOSS: task.loss(outputs, batch).detach().reshape(1)}
    return {}


def share_right(task: Task, outputs: Any, batch: Any) -> float | None:
    """The main metric on one batch if it is a share of the images that is averaged, else None."""
    if task.main is None or not task.main.percent or task.main.name in task.meters:
        return None
    return float(values_of(task, outputs, batch)[task.main.name].float().mean())
