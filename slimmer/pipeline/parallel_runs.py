"""Commands run as processes beside each other, and what they say on stderr as it comes."""

import os
import selectors
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from slimmer.profiling.runtimes.gpu import gpu_count

GRACE = 10.0  # seconds that a process has to end after it was told to


@dataclass(frozen=True)
class Happening:
    """What became of the command `name`: it began, it said a line, or it ended with an exit code."""

    name: str
    said: str | None = None
    code: int | None = None


@dataclass
class _Child:
    """A running process, the slot that it takes, and the bytes of the line that it has not ended
    yet.
    """

    name: str
    slot: int
    process: subprocess.Popen[bytes]
    rest: bytes = b""


def side_by_side(
    commands: Mapping[str, Sequence[str]], jobs: int, keep: Sequence[int] = ()
) -> Generator[Happening, None, None]:
    """What happens while the named commands run in their order, at most `jobs` at a time.

    Each has its share of the processor's cores, and a GPU of its own where there are several. The
    processes keep the file descriptors in `keep` open. When the iterator is closed before its end,
    they are stopped.

    >>> [(each.said, each.code) for each in side_by_side({"hello": ["sh", "-c", "echo hello >&2"]}, 1)]
    [(None, None), ('hello', None), (None, 0)]
    """
    waiting = list(commands.items())
    free = list(range(jobs))
    running: list[_Child] = []
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and free:
                    name, command = waiting.pop(0)
                    slot = free.pop(0)
                    running.append(
                        _Child(
                            name, slot, _start(command, {**os.environ, **share(slot, jobs)}, keep)
                        )
                    )
                    selector.register(_stderr(running[-1]), selectors.EVENT_READ, running[-1])
                    yield Happening(name)
                for key, _ in selector.select():
                    child: _Child = key.data
                    chunk = os.read(key.fd, 1 << 16)
                    for line in _lines(child, chunk):
                        yield Happening(child.name, said=line)
                    if not chunk:
                        selector.unregister(key.fileobj)
                        running.remove(child)
                        free.append(child.slot)
                        yield Happening(child.name, code=_end(child))
        finally:
            _stop([child.process for child in running])


def share(slot: int, jobs: int) -> dict[str, str]:
    """The environment variables that give one of `jobs` processes its share of the machine, from
    slot 0 on.
    """
    if jobs == 1:
        return {}
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    threads = max(1, cores // jobs)
    named = os.environ.get("OMP_NUM_THREADS", "")
    found = {
        "OMP_NUM_THREADS": str(
            min(threads, int(named)) if named.isdecimal() and int(named) else threads
        )
    }
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = visible.split(",")
    else:
        gpus = [str(number) for number in range(gpu_count())]
    return found | ({"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if len(gpus) > 1 else {})


def _start(
    command: Sequence[str], environment: Mapping[str, str], keep: Sequence[int]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - no shell, and the commands are slimmer's own
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=keep,
    )


def _stderr(child: _Child) -> int:
    assert child.process.stderr is not None
    return child.process.stderr.fileno()


def _lines(child: _Child, chunk: bytes) -> list[str]:
    """The lines that `chunk` ends; an empty chunk is the end of the last one."""
    *lines, child.rest = (child.rest + chunk).split(b"\n")
    if not chunk and child.rest:
        lines.append(child.rest)
    return [line.decode(errors="replace").rstrip() for line in lines]


def _end(child: _Child) -> int:
    """The exit code of a process that has closed its stderr."""
    assert child.process.stderr is not None
    child.process.stderr.close()
    return child.process.wait()


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes as SIGTERM does, and by force what does not end: Ctrl-C is ignored by what runs
    behind a shell.

    A terminal sends Ctrl-C to all of them, so each has a second to end by itself: twice would cut
    short what a process does at its end. Their stderr stays open until then, since a process can't
    end well without it.
    """
    for patience, number in ((1.0, signal.SIGTERM), (GRACE, signal.SIGKILL)):
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)
    for process in processes:
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
