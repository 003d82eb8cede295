"""Loggers of training: TensorBoard and CSV through Lightning Fabric, and Weights & Biases."""

import csv
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.csv_logs import CSVLogger
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from slimmer.atomic_files import write_text
from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.recipe.loggers import BUILT_IN, GROUP
from slimmer.registry import Registry, load


@dataclass(frozen=True)
class LogPlace:
    """Where a logger writes: its `folder` in the run directory, which may not exist yet, and the
    name of the `run`.

    `step` is the training step that a resumed run continues from; 0 for a new run. What was logged
    for later steps is repeated.
    """

    folder: Path
    run: str
    step: int = 0


@dataclass(frozen=True)
class LoggerEntry:
    """A logger: its name, the function that opens it, and the module that it needs, if any, with
    the command that installs it.
    """

    name: str
    open: Callable[[LogPlace], Logger]
    module: str | None = None
    install: str = ""


class WandbLogger(Logger):
    """Weights & Biases, as a logger of Fabric.

    Lightning's own is part of a package that slimmer does not need. Without the environment
    variable WANDB_MODE nothing leaves the machine: `wandb sync` uploads it later.
    """

    def __init__(self, place: LogPlace) -> None:
        import wandb  # noqa: PLC0415 - an optional package

        place.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project="slimmer",
            name=place.run,
            dir=str(place.folder),
            id=_identity(place.folder),
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    @property
    def name(self) -> str:
        """The name of the run."""
        return str(self._run.name)

    @property
    def version(self) -> str:
        """The identity of the run."""
        return str(self._run.id)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at a step."""
        self._run.log(dict(metrics), step=step)

    def log_hyperparams(self, params: Any, *_args: Any, **_named: Any) -> None:
        """Log settings."""
        self._run.config.update(params)

    def finalize(self, status: str) -> None:
        """End the run; `status` is "success" unless it failed."""
        self._run.finish(exit_code=int(status != "success"))


def open_csv(place: LogPlace) -> Logger:
    """Fabric's CSV logger, with the rows of a resumed run up to its step.

    Fabric's logger begins a new file, so these rows are logged again.
    """
    file = place.folder / "metrics.csv"
    rows: list[dict[str, str]] = []
    if file.exists():
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        file.unlink()
    logger = CSVLogger(place.folder, name="", version="")
    for row in rows:
        with suppress(ValueError, TypeError):  # a line that was cut off when a process was killed
            step = int(row.pop("step"))
            values: dict[str, Any] = {name: float(text) for name, text in row.items() if text}
            if step <= place.step:
                logger.log_metrics(values, step)
    return logger


def open_tensorboard(place: LogPlace) -> Logger:
    """Fabric's TensorBoard logger; TensorBoard hides what was logged after the step of a resumed
    run.
    """
    if not place.folder.exists():
        return TensorBoardLogger(place.folder, name="", version="")
    return TensorBoardLogger(place.folder, name="", version="", purge_step=place.step + 1)


TENSORBOARD = LoggerEntry(
    "tensorboard", open_tensorboard, "tensorboard", "pip install 'slimmer[tensorboard]'"
)
CSV = LoggerEntry("csv", open_csv)
WANDB = LoggerEntry("wandb", WandbLogger, "wandb", "pip install 'slimmer[wandb]'")

LOGGERS: Registry[LoggerEntry] = Registry(
    "logger", RecipeError, entry_points=GROUP, kind=LoggerEntry
)
for _name, _entry in BUILT_IN.items():
    LOGGERS.add(_name, load(_entry))


def check_loggers(names: Sequence[str]) -> None:
    """Raise RecipeError for an unknown logger, and RuntimeUnavailableError if the package of one is
    not installed.
    """
    for name in names:
        entry = LOGGERS[name]
        if entry.module is not None and find_spec(entry.module) is None:
            found = f"the package {entry.module} is not installed"
            raise RuntimeUnavailableError(f"logger {name}", found, entry.install)


def _identity(folder: Path) -> str:
    """The identity under which W&B stores a run; a resumed run has the one that it began with."""
    file = folder / "id.txt"
    if not file.exists():
        write_text(file, secrets.token_hex(4))
    return file.read_text(encoding="utf-8").strip()
