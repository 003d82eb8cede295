"""Finished runs side by side, as data: one row a recipe, runs that differ only by their seed
merged.
"""

import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slimmer.errors import RunError
from slimmer.profiling.results import SCHEMA
from slimmer.recipe import Recipe
from slimmer.recipe.costs import cost_kinds, costs_in
from slimmer.recipe.keys import differing, flat
from slimmer.reports.run_latencies import latencies
from slimmer.runs.directory import Run, open_run

STAGES = ("dense", "removed", "slim")
# They have columns of their own, or all runs of a comparison have the same.
TOLD = ("method.name", "finetune.epochs", "data.name", "data.path", "data.size")
MACHINE = ("cpu", "gpu")


@dataclass(frozen=True)
class Entry:
    """What one finished run says."""

    run: Run
    recipe: Recipe
    report: Mapping[str, Any]
    profile: Mapping[str, Any] | None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The recipe, flat and without the seed, with the method's own name for "auto"."""
        found = flat(json.loads(self.recipe.model_dump_json()))
        del found["seed"]
        return {**found, "method.name": self.report["method"]}

    @property
    def data(self) -> str:
        """The data, in words: name, path and size; the same for a name and for a path that is that
        name.
        """
        data = self.recipe.data
        if data.path is None and data.name is None:
            return "no data" if self.report["accuracy"] is None else "data from Python"
        path = data.path or data.name or ""
        place = path if path == data.name or not Path(path).exists() else str(Path(path).resolve())
        return place if data.size is None else f"{place} at {data.size} pixels"

    @property
    def dense(self) -> str:
        """The dense network, in words."""
        flops, params = self.report["flops"]["dense"], self.report["params"]["dense"]
        return f"{self.report['arch'] or 'module'} with {flops:,} FLOPs and {params:,} parameters"


def compare_runs(paths: Sequence[Path]) -> dict[str, Any]:
    """The comparison of the runs in `paths`; a directory that is no run stands for all finished
    runs below it.

    Each row is what runs with one recipe, but for the seed, have in common: every figure is a
    mapping with mean, std (of the sample, None for one run) and n. Ratios are shares of the dense
    network's cost; `miss` is the limit less what remains. Latencies are in milliseconds, as
    `slimmer profile` left them in the runs. Raises RunError for a path that is no run or not
    finished, and for runs of several networks or data.
    """
    found = list(dict.fromkeys(run.resolve() for path in paths for run in _runs_at(path)))
    unfinished = [
        path
        for path in found
        if path not in map(Path.resolve, paths) and not Run(path).report.is_file()
    ]
    entries = [read_entry(path) for path in found if path not in unfinished]
    if not entries:
        where = ", ".join(map(str, paths)) or "compare"
        raise RunError(where, "no finished run found", "give runs that `slimmer prune` finished")
    for what, kind in (("data", "different data"), ("dense", "different dense networks")):
        _check_same({entry.run.path: getattr(entry, what) for entry in entries}, kind)
    return merge(entries, [f"skipped, not finished: {_short(path)}" for path in unfinished])


def partition(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries that can be compared with each other, by network and data, in the order in which
    they came.
    """
    parts: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        parts.setdefault((entry.data, entry.dense), []).append(entry)
    return list(parts.values())


def read_entry(path: Path) -> Entry:
    """What the run in `path` says. Raises RunError where it is none, is not finished, or is
    damaged.
    """
    run = open_run(path)
    report = run.read_report()
    profile = run.read_profile(SCHEMA)
    if profile is not None and profile["schema"] != SCHEMA:  # its speed-ups are of another kind
        profile = None
    return Entry(run, run.recipe(), report, profile)


def merge(entries: Sequence[Entry], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The comparison of entries of one network and one kind of data."""
    rows: dict[str, list[Entry]] = {}
    for entry in entries:
        rows.setdefault(json.dumps(entry.settings, sort_keys=True), []).append(entry)
    groups = list(rows.values())
    report = entries[0].report
    dense: dict[str, int] = {}
    conventions: dict[str, str] = {}
    for entry in entries:
        for kind in costs_in(entry.report):
            dense.setdefault(kind.name, entry.report[kind.name]["dense"])
            conventions.setdefault(kind.name, entry.report[kind.name].get("convention", ""))
    machines = {
        tuple((entry.report.get("environment") or {}).get(key) for key in MACHINE)
        for entry in entries
    }
    return {
        "format": 1,
        "slimmer": version("slimmer"),
        "arch": report["arch"],
        "inputs": report["inputs"],
        "data": entries[0].data,
        "dense": dense,
        "conventions": conventions,
        "rows": [_row(group, _telling(group[0], groups)) for group in groups],
        "notes": [
            *notes,
            *_repeated(groups),
            *(
                ["the runs come from different machines: do not compare their seconds"]
                if len(machines) > 1
                else []
            ),
        ],
    }


def _runs_at(path: Path) -> list[Path]:
    """The run at `path`, or all below it, whether finished or not. Raises RunError where there is
    none.
    """
    if not path.is_dir() or Run(path).recipe_file.is_file():
        return [open_run(path).path]
    below = sorted((file.parent for file in path.rglob(Run(path).recipe_file.name)), key=_by_number)
    if not below:
        raise RunError(
            str(path),
            "is not a run and contains none",
            "give a directory that `slimmer prune` wrote",
        )
    return below


def _by_number(path: Path) -> list[str | float]:
    """What sorts paths as people do: lambda_m=2 before lambda_m=10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", str(path))
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]


def _check_same(found: Mapping[Path, str], what: str) -> None:
    """Raise RunError where not all runs have the same."""
    by_value: dict[str, list[Path]] = {}
    for path, value in found.items():
        by_value.setdefault(value, []).append(path)
    if len(by_value) == 1:
        return
    listed = []
    for value, paths in by_value.items():
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        listed.append(f"{value}: {', '.join(map(_short, paths[:3]))}{more}")
    raise RunError(
        "compare", f"the runs have {what}", "\n  ".join(["compare runs of one kind:", *listed])
    )


def _row(group: Sequence[Entry], telling: Mapping[str, Any]) -> dict[str, Any]:
    reports = [entry.report for entry in group]
    accuracy: dict[str, Any] | None = None
    if reports[0]["accuracy"] is not None:
        accuracy = {
            stage: _stat([report["accuracy"][stage] for report in reports]) for stage in STAGES
        }
        if group[
            0
        ].recipe.model.scratch:  # the network before any training is nothing to be compared with
            accuracy["dense"] = None
    return {
        "method": reports[0]["method"],
        "settings": telling,
        "runs": [_short(entry.run.path) for entry in group],
        "seeds": [report["seed"] for report in reports],
        **{
            kind.name: _cost(kind.name, reports, group[0].settings.get(f"budget.{kind.name}"))
            for kind in costs_in(*reports)
        },
        "masks_left": _masks_left(reports),
        "accuracy": accuracy,
        "epochs": reports[0]["epochs"],
        "seconds": _stat([report["seconds"] for report in reports]),
        "latency": _latency(group),
    }


def _masks_left(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What masks left of each cost before the exact projection, where the runs had any."""
    left = [report.get("before_projection") for report in reports]
    if not all(left):
        return None
    return {
        kind.name: _stat([each[kind.name] for each in left if each and kind.name in each])
        for kind in costs_in(*(each for each in left if each))
    }


def _cost(
    name: str, reports: Sequence[Mapping[str, Any]], budget: str | float | None
) -> dict[str, Any]:
    costs = [report[name] for report in reports if name in report]
    limit = costs[0]["limit_ratio"]
    return {
        "budget": budget,
        "limit_ratio": limit,
        "ratio": _stat([cost["ratio"] for cost in costs]),
        "sparsity": _stat([cost["sparsity"] for cost in costs]),
        "miss": None if limit is None else _stat([limit - cost["ratio"] for cost in costs]),
    }


def _latency(group: Sequence[Entry]) -> dict[str, Any]:
    """Latencies and speedup by place, over the runs that were profiled there."""
    found = latencies([entry.profile for entry in group if entry.profile])
    return {
        place: {key: _stat(values) for key, values in figures.items()}
        for place, figures in found.items()
    }


def _telling(entry: Entry, groups: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    """The settings that tell an entry's row from the others; of a method's options those it has in
    several values.
    """
    alike = [
        group[0].settings for group in groups if group[0].report["method"] == entry.report["method"]
    ]
    own = [key for key in differing(alike) if key.startswith("method.")]
    others = [
        key
        for key in differing(group[0].settings for group in groups)
        if not key.startswith("method.")
    ]
    told = {*TOLD, *(f"budget.{kind.name}" for kind in cost_kinds())}
    return {key: entry.settings.get(key) for key in [*own, *others] if key not in told}


def _repeated(groups: Sequence[Sequence[Entry]]) -> list[str]:
    """A sentence for each seed that a row holds more than once, as such runs are no sample of
    seeds.
    """
    return [
        f"seed {seed} occurs {number} times in one row: {', '.join(_short(e.run.path) for e in group)}"
        for group in groups
        for seed, number in Counter(entry.report["seed"] for entry in group).items()
        if number > 1
    ]


def _stat(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation of the sample (None for one value), and how many there are."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": std, "n": len(values)}


def _short(path: Path) -> str:
    """The path from here where it lies below, else as it is."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
