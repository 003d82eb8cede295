"""The event log of a run: reading it, and the time that it shows."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from slimmer.atomic_files import parse_json, read_bytes
from slimmer.errors import RunError
from slimmer.runs.schemas import is_event


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events in a file, in the order in which they were recorded; empty if there is no file.

    A process that is killed may leave its last line incomplete, and the process that resumes
    appends after it. So a line that is not a complete event is skipped, wherever it is. Raises
    RunError for a file that can't be read.
    """
    if not path.exists():
        return []
    try:
        lines = read_bytes(path).splitlines()
    except OSError as error:
        right = "delete it: it is only used to draw figures"
        raise RunError(str(path), f"can't be read ({error.strerror})", right) from error
    events = []
    for line in lines:
        with suppress(ValueError):
            event = parse_json(line)
            if is_event(event):
                events.append(event)
    return events


def worked(events: Sequence[Mapping[str, Any]]) -> float:
    """The seconds that a run took: the times of the last event before each resume and of the last
    event, added up. Time starts at zero again when a run is resumed.

    >>> began, step = {"event": "begun", "time": 0.5}, {"event": "step", "time": 3.0}
    >>> worked([began, step, {"event": "resumed", "time": 4.0}])
    7.0
    """
    ends = [before["time"] for before, after in pairwise(events) if after["event"] == "resumed"]
    return float(sum(ends) + sum(event["time"] for event in events[-1:]))
