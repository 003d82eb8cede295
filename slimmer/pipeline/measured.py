"""What is measured of a run's networks on the task's test data, as dense.json holds it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from slimmer.data import Data
from slimmer.errors import DataError
from slimmer.tasks import Task
from slimmer.training.evaluate import evaluate


def measured_at(
    station: str, network: nn.Module, task: Task | None, before: Mapping[str, Any]
) -> dict[str, Any]:
    """The entries of dense.json for a network measured at a `station`: dense, removed or slim.

    `accuracy_STATION` is the main metric, None without one; `metrics` has all metrics of all
    stations, those of `before` and the new ones.
    """
    found = evaluate(network, task)
    metrics = dict(before.get("metrics", {}))
    by = {"trained_by": None if task is None else task.name}
    if found is None or task is None or task.main is None:
        return {**by, f"accuracy_{station}": None, "metrics": metrics}
    metrics[station] = found
    return {
        **by,
        "metric": asdict(task.main),
        f"accuracy_{station}": found[task.main.name],
        "metrics": metrics,
    }


def told(found: Mapping[str, float] | None) -> dict[str, Any]:
    """The entries of an event for measured metrics: the main one under "accuracy", and all of them
    under "metrics" if there are several.

    >>> told({"top-1": 0.5}), told(None)
    ({'accuracy': 0.5}, {'accuracy': None})
    """
    if not found:
        return {"accuracy": None}
    main = next(iter(found.values()))
    return {"accuracy": main, "metrics": dict(found)} if len(found) > 1 else {"accuracy": main}


def check_above_chance(data: Data, top1: float) -> None:
    """Raise DataError if a top-1 (0 to 1) is near chance."""
    chance = 1 / data.num_classes
    if top1 <= chance + 0.1 * (1 - chance):
        found = f"the dense network's accuracy is {top1:.1%}, chance is {chance:.1%}"
        right = (
            "common causes: data.mean and data.std are not those of its training, "
            "data.classes is in another order, or the architecture is a different one; "
            "to continue anyway: --set data.trust=true"
        )
        raise DataError(data.name, found, right)
