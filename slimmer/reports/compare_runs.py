"""A comparison of finished runs, as data.

Each recipe has one row; runs that differ only in their seed share it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slimmer.errors import RunError, first_few
from slimmer.recipe.costs import costs_in
from slimmer.reports.comparison_rows import make_row, telling_settings
from slimmer.reports.finished_runs import Entry, find_runs, read_entry, short_path
from slimmer.reports.rows import column

MACHINE = ("cpu", "gpu")
SHOWN = 3  # runs that an error lists of each kind


def compare_runs(paths: Sequence[Path]) -> dict[str, Any]:
    """The comparison of the runs in `paths`; a directory that is not a run stands for all finished
    runs below it.

    A row holds the runs of one recipe, whatever their seeds. Every figure is a mapping with mean,
    std (sample standard deviation, None for a single run) and n. Ratios are shares of the dense
    network's cost; `miss` is the limit minus what remains. Latencies are in milliseconds, as
    `slimmer profile` stored them in the runs. Raise RunError for a path that is not a run or not
    finished, and for runs with different networks or data.
    """
    found, unfinished = find_runs(paths)
    entries = list(map(read_entry, found))
    if not entries:
        where = ", ".join(map(str, paths)) or "compare"
        raise RunError(where, "no finished run found", "give runs that `slimmer prune` finished")
    _check_same({entry.run.path: entry.data for entry in entries}, "different data")
    _check_same({entry.run.path: entry.dense for entry in entries}, "different dense networks")
    _check_same({entry.run.path: entry.metric for entry in entries}, "different metrics")
    return merge(entries, [f"skipped, not finished: {short_path(path)}" for path in unfinished])


def partition(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries grouped by network, data and metric, so that each group can be compared, in
    order.
    """
    parts: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        parts.setdefault((entry.data, entry.dense, entry.metric), []).append(entry)
    return list(parts.values())


def merge(entries: Sequence[Entry], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The comparison of entries with one network and one kind of data."""
    by_settings: dict[str, list[Entry]] = {}
    for entry in entries:
        by_settings.setdefault(json.dumps(entry.settings, sort_keys=True), []).append(entry)
    groups = list(by_settings.values())
    dense: dict[str, int] = {}
    conventions: dict[str, str] = {}
    machines = set()
    for entry in entries:
        for kind in costs_in(entry.report):
            dense.setdefault(kind.name, entry.report[kind.name]["dense"])
            conventions.setdefault(kind.name, entry.report[kind.name].get("convention", ""))
        machine = entry.report.get("environment") or {}
        machines.add(tuple(map(machine.get, MACHINE)))
    found = [*notes, *_repeated_seeds(groups)]
    if len(machines) > 1:
        found.append("the runs come from different machines: do not compare their seconds")
    return {
        "format": 1,
        "slimmer": version("slimmer"),
        "arch": entries[0].report["arch"],
        "inputs": entries[0].report["inputs"],
        "data": entries[0].data,
        "dense": dense,
        "conventions": conventions,
        "rows": [make_row(group, telling_settings(group[0], groups)) for group in groups],
        "notes": found,
    }


def _check_same(found: Mapping[Path, str], what: str) -> None:
    """Raise RunError if not all runs have the same value; `what` describes the difference."""
    by_value: dict[str, list[Path]] = {}
    for path, value in found.items():
        by_value.setdefault(value, []).append(path)
    if len(by_value) == 1:
        return
    lines = ["compare runs of one kind:"]
    for value, paths in by_value.items():
        lines.append(f"{value}: {first_few(list(map(short_path, paths)), SHOWN)}")
    raise RunError("compare", f"the runs have {what}", "\n  ".join(lines))


def _repeated_seeds(groups: Sequence[Sequence[Entry]]) -> list[str]:
    """A note for each seed that a row contains more than once.

    Such runs are not independent samples over seeds.
    """
    notes = []
    for group in groups:
        runs = ", ".join(short_path(entry.run.path) for entry in group)
        seeds = column((entry.report for entry in group), "seed")
        for seed, number in Counter(seeds).items():
            if number > 1:
                notes.append(f"seed {seed} occurs {number} times in one row: {runs}")
    return notes
