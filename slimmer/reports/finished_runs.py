"""Finished runs, found below directories and read."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slimmer.errors import RunError
from slimmer.profiling.results import SCHEMA
from slimmer.recipe import Recipe
from slimmer.recipe.keys import flat
from slimmer.reports.metric_text import metric_of
from slimmer.runs.directory import Run
from slimmer.runs.open_run import open_run


@dataclass(frozen=True)
class Entry:
    """One finished run: its recipe, its report, and its profile if it has one."""

    run: Run
    recipe: Recipe
    report: Mapping[str, Any]
    profile: Mapping[str, Any] | None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The recipe as flat keys, without the seed; the method that "auto" chose replaces it.

        If the network was trained outside slimmer, the settings also say which weights it has.
        """
        found = flat(json.loads(self.recipe.model_dump_json()))
        del found["seed"]
        found["method.name"] = self.report["method"]
        outside = self.report.get("fine_tuned_outside")
        return found if outside is None else {**found, "weights": outside}

    @property
    def data(self) -> str:
        """A description of the data: name or path, and size.

        A data set's name and a path that equals this name have the same description.
        """
        data = self.recipe.data
        if data.path is None and data.name is None and self.recipe.task.name is not None:
            return f"task {self.recipe.task.name}"
        if data.path is None and data.name is None:
            return "no data" if self.report["accuracy"] is None else "data from Python"
        place = data.path or data.name or ""
        if place != data.name and Path(place).exists():
            place = str(Path(place).resolve())
        return place if data.size is None else f"{place} at {data.size} pixels"

    @property
    def metric(self) -> str:
        """The name of the main metric; "none" if nothing was measured."""
        return "none" if self.report["accuracy"] is None else metric_of(self.report).name

    @property
    def dense(self) -> str:
        """A description of the dense network: architecture, FLOPs and parameters."""
        flops, params = self.report["flops"]["dense"], self.report["params"]["dense"]
        return f"{self.report['arch'] or 'module'} with {flops:,} FLOPs and {params:,} parameters"


def read_entry(path: Path) -> Entry:
    """The finished run in `path`. Raise RunError if it is not a run, not finished, or damaged."""
    run = open_run(path)
    report = run.read_report()
    profile = run.read_profile(SCHEMA)
    # Another schema defines its speedups differently, so they can't be compared.
    if profile is not None and profile["schema"] != SCHEMA:
        profile = None
    return Entry(run, run.recipe(), report, profile)


def find_runs(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The runs to compare, and unfinished runs that are skipped; each once, in order.

    A directory that is not a run stands for all runs below it. Only runs found in this way are
    skipped when unfinished. Raise RunError for a path that is not a run and contains none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        for run in _runs_at(path):
            found.setdefault(run.resolve())
    given = set(map(Path.resolve, paths))
    finished, unfinished = [], []
    for path in found:
        if path in given or Run(path).report.is_file():
            finished.append(path)
        else:
            unfinished.append(path)
    return finished, unfinished


def short_path(path: Path) -> str:
    """`path` relative to the working directory if it lies below it, unchanged otherwise."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _runs_at(path: Path) -> list[Path]:
    """The run at `path`, or all runs below it, finished or not. Raise RunError if there is none."""
    if not path.is_dir() or Run(path).recipe_file.is_file():
        return [open_run(path).path]
    recipes = path.rglob(Run(path).recipe_file.name)
    below = sorted((file.parent for file in recipes), key=_numeric_order)
    if not below:
        raise RunError(
            str(path),
            "is not a run and contains none",
            "give a directory that `slimmer prune` wrote",
        )
    return below


def _numeric_order(path: Path) -> list[str | float]:
    """A sort key that orders numbers in paths by value: lambda_m=2 before lambda_m=10."""
    parts: list[str | float] = list(re.split(r"(\d+(?:\.\d+)?)", str(path)))
    for place in range(1, len(parts), 2):
        parts[place] = float(parts[place])
    return parts
