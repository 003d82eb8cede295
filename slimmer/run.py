"""A run directory: where the stages of a run leave their values, whole or not at all."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from slimmer.errors import RunError
from slimmer.files import read_json, write_text
from slimmer.recipe import Recipe, read_recipe

LATEST = Path("runs") / "latest"


@dataclass(frozen=True)
class Run:
    """The files of one run."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe; a directory without it is no run."""
        return self.path / "recipe.yaml"

    @property
    def dense(self) -> Path:
        """The dense network, for reference."""
        return self.path / "dense.safetensors"

    @property
    def plan(self) -> Path:
        """Which channels stay."""
        return self.path / "plan.json"

    @property
    def state(self) -> Path:
        """Where training stands, to be resumed; gone when the run is finished."""
        return self.path / "state.safetensors"

    @property
    def slim(self) -> Path:
        """The slim network."""
        return self.path / "slim.safetensors"

    @property
    def events(self) -> Path:
        """What happened, a JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def measured(self) -> Path:
        """What is known of the dense network before training."""
        return self.path / "dense.json"

    @property
    def report(self) -> Path:
        """All that was measured while pruning, as data."""
        return self.path / "report.json"

    @property
    def text(self) -> Path:
        """The same for people, with export and profile once they are made."""
        return self.path / "report.md"

    @property
    def profile(self) -> Path:
        """Latencies."""
        return self.path / "profile.json"

    @property
    def exported(self) -> Path:
        """What the export measured."""
        return self.path / "export.json"

    def onnx(self, name: str) -> Path:
        """The ONNX file of "dense" or "slim"."""
        return self.path / f"{name}.onnx"

    def recipe(self) -> Recipe:
        """The run's recipe. Raises RecipeError."""
        return read_recipe(self.recipe_file)

    def read_report(self) -> dict[str, Any]:
        """The run's report. Raises RunError where it is missing or damaged."""
        try:
            return {**read_json(self.report)}
        except (OSError, TypeError, ValueError) as error:
            right = f"delete it, and `slimmer prune --resume {self.path}` makes it anew"
            raise RunError(str(self.report), f"can't be read ({error})", right) from error

    def read_events(self) -> list[dict[str, Any]]:
        """What happened so far; a line that a sudden end tore is passed over."""
        return read_events(self.events)

    def record(self, event: Mapping[str, Any]) -> None:
        """Add an event."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events in a file, in the order in which they were recorded; none where there is no file.

    A process that is killed may leave its last line torn, and the one that resumes goes on behind it, so what is no
    whole object is passed over wherever it stands.
    """
    events = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with suppress(ValueError):
            events.append(json.loads(line))
    return events


def worked(events: Sequence[Mapping[str, Any]]) -> float:
    """Seconds up to the last event of each part of a run, added up: time starts anew where a run is resumed.

    >>> worked([{"event": "begun", "time": 0.5}, {"event": "step", "time": 3.0}, {"event": "resumed", "time": 4.0}])
    7.0
    """
    ends = [before["time"] for before, after in pairwise(events) if after["event"] == "resumed"]
    return float(sum(ends) + sum(event["time"] for event in events[-1:]))


def new_run(out: Path | None, arch: str) -> Run:
    """A directory for a new run, not made yet: `out`, or the next free runs/ARCH-N.

    Raises RunError where `out` holds something already: nothing that was there before is lost.
    """
    if out is not None:
        if _holds_something(out):
            is_run = Run(out).recipe_file.exists()
            right = (
                f"go on with `slimmer prune --resume {out}`, or name another --out" if is_run else "name another --out"
            )
            raise RunError(str(out), "is a run already" if is_run else "exists and is not empty", right)
        return Run(out)
    stem = Path(arch.replace(":", "-")).name.removesuffix(".py") or "module"
    number = 1
    while _holds_something(LATEST.parent / f"{stem}-{number}"):
        number += 1
    return Run(LATEST.parent / f"{stem}-{number}")


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


@contextmanager
def all_or_nothing(run: Run) -> Iterator[None]:
    """A block that makes a new directory a run; where it fails, what it wrote is gone again."""
    try:
        yield
    except BaseException:
        for file in (run.recipe_file, run.dense, run.measured):
            file.unlink(missing_ok=True)
        raise


def open_run(path: Path | None, *, finished: bool = True) -> Run:
    """The run in `path`, or the latest one. Raises RunError where it is none, or (if asked) not finished."""
    if path is None:
        if not LATEST.exists():
            raise RunError(
                str(LATEST.parent),
                "there is no run here yet",
                "start one with `slimmer prune`, or name a run",
            )
        path = Path(LATEST.read_text(encoding="utf-8").strip())
    run = Run(path)
    if not path.exists():
        raise RunError(str(path), "does not exist", "name a directory that `slimmer prune` wrote")
    if not run.recipe_file.is_file():
        raise RunError(str(path), "is no run: it has no recipe.yaml", "name a directory that `slimmer prune` wrote")
    if finished and not run.report.is_file():
        raise RunError(str(path), "is not finished", f"go on with `slimmer prune --resume {path}`")
    return run


def mark_latest(run: Run) -> None:
    """Make `run` the one that commands take by default."""
    write_text(LATEST, f"{run.path.resolve()}\n")
