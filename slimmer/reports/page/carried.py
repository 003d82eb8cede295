"""The data that the page carries, for other programs to read out of it."""

from collections.abc import Mapping
from typing import Any

from slimmer.reports.page.run_files import RunFiles

MOST_EVENTS = 300  # of a kind; more are left out evenly
HEAVY = ("windows_ms", "block_medians_ms")  # of a timing: long, and only needed for statistics


def carried(files: RunFiles) -> dict[str, Any]:
    """The contents of the run's files. Of long event logs every n-th event of a kind is kept, and
    timings are without their blocks; the files next to the page have everything.
    """
    return {
        "report": files.report,
        "recipe": files.recipe.model_dump(mode="json"),
        "export": files.exported,
        "profile": _light(files.profile),
        "events": _thinned(files),
    }


def _light(profile: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if profile is None:
        return None
    return {**profile, "timings": [_without_blocks(row) for row in profile["timings"]]}


def _without_blocks(timing: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in timing.items() if key not in HEAVY}


def _thinned(files: RunFiles) -> list[Mapping[str, Any]]:
    """The events, at most about MOST_EVENTS of each kind."""
    numbers: dict[str, int] = {}
    for event in files.events:
        numbers[event["event"]] = numbers.get(event["event"], 0) + 1
    seen: dict[str, int] = {}
    found = []
    for event in files.events:
        kind = event["event"]
        every = -(-numbers[kind] // MOST_EVENTS)
        last = seen.get(kind, 0) == numbers[kind] - 1
        if seen.get(kind, 0) % every == 0 or last:
            found.append(event)
        seen[kind] = seen.get(kind, 0) + 1
    return found
