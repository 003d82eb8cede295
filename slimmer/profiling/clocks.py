"""The clocks of a timing: wall time, CPU time where that says something, and how long threads
waited for a core.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slimmer.profiling.runtimes.providers import CPU, first_choice

Clock = Callable[[], int]
_TASKS = Path("/proc/self/task")


def not_known() -> None:
    """What a system says that does not tell how long threads waited."""


@dataclass(frozen=True)
class Clocks:
    """What a run is timed with, all in nanoseconds.

    `cpu` is the CPU time of what runs a network, None where that says nothing of it. `waited` is
    how long the threads of this process have waited for a core since they began, None where the
    system does not tell.
    """

    wall: Clock
    cpu: Clock | None = None
    waited: Callable[[], int | None] = not_known


def cpu_clock(provider: str, threads: int | None) -> Clock | None:
    """The clock of the CPU time that a network takes on `provider`; None where it says nothing.

    On one thread a network runs in the thread that calls it, and only that thread's time counts:
    other work on the machine can't enter, but for caches and cores that share their parts. On
    several threads it is the time of the whole process, what threads spend waiting for one another
    included. On a GPU, and on a provider that may use one, the CPU's time is that of launching; on
    Windows this clock moves in steps of 16 ms.

    >>> cpu_clock("cuda", 1) is None
    True
    """
    if first_choice(provider) != CPU or sys.platform == "win32":
        return None
    return time.thread_time_ns if threads == 1 else time.process_time_ns


def waited_for_a_core() -> int | None:
    """How many nanoseconds this process's threads have been ready to run without a core; None but
    on Linux.

    Source: https://docs.kernel.org/scheduler/sched-stats.html (/proc/<pid>/schedstat)
    """
    total = 0
    try:
        for task in _TASKS.iterdir():
            total += int((task / "schedstat").read_text(encoding="ascii").split()[1])
    except (
        OSError,
        ValueError,
        IndexError,
    ):  # not Linux, built without it, or a thread that has just ended
        return None
    return total
