"""The clocks of a timing: wall time, CPU time, and how long threads waited for a core."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slimmer.profiling.runtimes.providers import CPU, first_choice

Clock = Callable[[], int]
_TASKS = Path("/proc/self/task")


def not_known() -> None:
    """Return None: the system does not report how long threads waited."""


@dataclass(frozen=True)
class Clocks:
    """The clocks that time a run, all in nanoseconds.

    `cpu` is the CPU time of the threads that run a network; None if CPU time does not measure the
    network. `waited` returns how long the threads of this process have waited for a core since
    they started, or None if the system does not report it.
    """

    wall: Clock
    cpu: Clock | None = None
    waited: Callable[[], int | None] = not_known


def cpu_clock(provider: str, threads: int | None) -> Clock | None:
    """The clock of the CPU time of a network on `provider`, or None if it does not measure that.

    With one thread, a network runs in the calling thread, and only that thread's time counts.
    Other processes cannot add to it, except through shared caches and core resources. With several
    threads, it is the time of the whole process, including the time that threads wait for each
    other. On a GPU, and on a provider that may use one, CPU time only measures kernel launches. On
    Windows, this clock has a resolution of 16 ms.

    >>> cpu_clock("cuda", 1) is None
    True
    """
    if first_choice(provider) != CPU or sys.platform == "win32":
        return None
    return time.thread_time_ns if threads == 1 else time.process_time_ns


def waited_for_a_core() -> int | None:
    """How many nanoseconds this process's threads were ready to run but had no core; None except
    on Linux.

    Read from /proc, because neither the standard library nor psutil has this time.

    Source: https://docs.kernel.org/scheduler/sched-stats.html (/proc/<pid>/schedstat)
    """
    total = 0
    try:
        for task in _TASKS.iterdir():
            total += int((task / "schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        # Not Linux, a kernel built without schedstat, or a thread that has just ended.
        return None
    return total
