"""Commands that run as parallel processes, with their output on stderr as it arrives."""

import os
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from slimmer.profiling.runtimes.gpu import gpu_count

GRACE = 10.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Happening:
    """An event of the command `name`: it started (both None), it `said` a line, or it ended with
    the exit `code`.
    """

    name: str
    said: str | None = None
    code: int | None = None


@dataclass(frozen=True)
class _Child:
    """A running process and its slot."""

    name: str
    slot: int
    process: subprocess.Popen[bytes]


def side_by_side(
    commands: Mapping[str, Sequence[str]], jobs: int, keep: Sequence[int] = ()
) -> Generator[Happening, None, None]:
    """The events while the named commands run in their order, at most `jobs` at a time.

    Each process gets its share of the CPU cores, and a different GPU if there are several. The
    processes keep the file descriptors in `keep` open. If the iterator is closed before its end,
    they are stopped.

    >>> hello = {"hello": ["sh", "-c", "echo hello >&2"]}
    >>> [(each.said, each.code) for each in side_by_side(hello, 1)]
    [(None, None), ('hello', None), (None, 0)]
    """
    waiting = list(commands.items())
    free = list(range(jobs))
    running: list[_Child] = []
    # A thread for each process, because Windows can't wait for several pipes at once.
    heard: SimpleQueue[tuple[_Child, str | None]] = SimpleQueue()
    try:
        while waiting or running:
            while waiting and free:
                name, command = waiting.pop(0)
                slot = free.pop(0)
                process = _start(command, {**os.environ, **share(slot, jobs)}, keep)
                child = _Child(name, slot, process)
                running.append(child)
                Thread(target=_listen, args=(child, heard), daemon=True).start()
                yield Happening(name)
            child, line = heard.get()
            if line is not None:
                yield Happening(child.name, said=line)
                continue
            running.remove(child)
            free.append(child.slot)
            yield Happening(child.name, code=child.process.wait())
    finally:
        _stop([child.process for child in running])


def share(slot: int, jobs: int) -> dict[str, str]:
    """The environment variables that give one of `jobs` processes its share of the machine; slots
    are numbered from 0.
    """
    if jobs == 1:
        return {}
    threads = max(1, _cores() // jobs)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit):
        threads = min(threads, int(limit))
    found = {"OMP_NUM_THREADS": str(threads)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = visible.split(",")
    else:
        gpus = [str(number) for number in range(gpu_count())]
    if len(gpus) > 1:
        found["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return found


def _cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(
    command: Sequence[str], environment: Mapping[str, str], keep: Sequence[int]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - no shell, and the commands are slimmer's own
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=keep if os.name == "posix" else (),  # Windows has no such files
    )


def _listen(child: _Child, heard: "SimpleQueue[tuple[_Child, str | None]]") -> None:
    """Put the lines of a process's stderr into `heard`, and None when it is closed."""
    assert child.process.stderr is not None
    with child.process.stderr as lines:
        for line in lines:
            heard.put((child, line.decode(errors="replace").rstrip()))
    heard.put((child, None))


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop processes with SIGTERM, and after GRACE seconds with SIGKILL; processes that run behind
    a shell ignore Ctrl-C.

    A terminal sends Ctrl-C to all processes, so each first has a second to end by itself: a second
    signal would interrupt its cleanup. Their stderr is read until they have ended, because a
    process can't end cleanly without it.
    """
    for patience, end in ((1.0, subprocess.Popen.terminate), (GRACE, subprocess.Popen.kill)):
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        for process in processes:
            if process.poll() is None:
                end(process)
    for process in processes:
        process.wait()
