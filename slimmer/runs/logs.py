"""The logs of a run: events as values over steps, in any logger."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimmer.recipe.costs import costs_in
from slimmer.runs.events import Event
from slimmer.runs.loggers import LOGGERS, LogPlace

if TYPE_CHECKING:
    from lightning_fabric.loggers.logger import Logger

EVERY = 10  # steps between two values of training
_OF_STEPS = ("loss", "lr", "images_per_s", "batch_accuracy")
_STATIONS = ("dense", "removed", "epoch")


class Logs:
    """An observer that sends a run's events to loggers; a class because it keeps them open."""

    def __init__(self, names: Sequence[str], folder: Path, run: str, metric: str) -> None:
        """`names` are those of the loggers, each with its own directory in `folder`; `metric` is
        the name of the main metric.
        """
        self._names, self._folder, self._run, self._metric = names, folder, run, metric
        self._loggers: list[Logger] = []
        self._dense: Mapping[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Log the values of an event; the loggers are opened when the run is started or resumed."""
        kind = event["event"]
        if kind == "dense":  # before there is a run directory
            self._dense = station_values(event, self._metric)
        elif kind in {"begun", "resumed"}:
            self._open(event.get("step", 0))
            if kind == "begun":
                self._log(self._dense, 0)
        elif kind == "step" and event["step"] % EVERY == 0:
            self._log(step_values(event), event["step"])
        elif kind in _STATIONS:
            self._log(station_values(event, self._metric), event["step"])
        elif kind == "done":
            self.close("success")

    def close(self, status: str) -> None:
        """Close the loggers; `status` is "success" or "failed"."""
        for logger in self._loggers:
            logger.finalize(status)
        self._loggers = []

    def _open(self, step: int) -> None:
        for name in self._names:
            place = LogPlace(self._folder / name, self._run, step)
            self._loggers.append(LOGGERS[name].open(place))

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for logger in self._loggers:
            if values:
                logger.log_metrics(dict(values), step)
                logger.save()  # no later than the state that the run resumes from


def step_values(event: Event) -> dict[str, float]:
    """The values of a training step by their names in logs.

    >>> step_values({"event": "step", "step": 10, "loss": 0.5, "lr": 0.1, "flops": 0.6})
    {'train/loss': 0.5, 'train/lr': 0.1, 'remaining/flops': 0.6}
    """
    found = {f"train/{name}": event[name] for name in _OF_STEPS if event.get(name) is not None}
    return {**found, **_remaining(event)}


def station_values(event: Event, metric: str) -> dict[str, float]:
    """The metrics of a station (dense, channels removed, end of an epoch) and the remaining costs.
    The dense network's metrics have names of their own, since both stations may be at step 0.

    >>> station_values({"event": "removed", "accuracy": 0.5, "flops": 0.6}, "top-1")
    {'test/top-1': 0.5, 'remaining/flops': 0.6}
    """
    metrics = event.get("metrics") or {metric: event["accuracy"]}
    measured = {name: value for name, value in metrics.items() if value is not None}
    if event["event"] == "dense":  # its costs are not shares
        return {f"dense/{name}": value for name, value in measured.items()}
    return {**{f"test/{name}": value for name, value in measured.items()}, **_remaining(event)}


def _remaining(event: Mapping[str, Any]) -> dict[str, float]:
    return {f"remaining/{kind.name}": event[kind.name] for kind in costs_in(event)}
