"""The stages of coverage_child.py: the time, the memory and the error of each."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slimmer.exporting.error_text import one_line


class StoppedError(Exception):
    """A stage failed that the later ones need."""


@contextmanager
def stage(events: Path, name: str, *, needed: bool = False) -> Iterator[dict[str, Any]]:
    """What the stage finds; written to `events` with its time, memory and error. StoppedError where
    it was `needed`.
    """
    found: dict[str, Any] = {}
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="ascii"
    )  # starts the peak of the resident memory anew
    began = time.perf_counter()
    try:
        yield found
    except Exception as error:  # noqa: BLE001 - whatever a library or the network's own code raises is the result
        found["error"] = one_line(error)
    row = {"stage": name, "s": round(time.perf_counter() - began, 3), "mb": _peak_mb(), **found}
    with events.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
    if needed and "error" in found:
        raise StoppedError


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
