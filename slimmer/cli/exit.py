"""How a command ends: one message for an error or an interruption, and how to resume."""

import errno
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import Any

import click

from slimmer.cli.wrapping import wrapped
from slimmer.errors import SlimmerError, first_line, lacks_memory

# Errors of the operating system that the user can fix. Any other OSError is a bug in slimmer and
# keeps its traceback.
REFUSED = {
    errno.EACCES,
    errno.EIO,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOLCK,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
INTERRUPTED = 130
TERMINATED = 143
MORE_MEMORY = "use smaller batches or images, or a machine with more memory"
LONGEST = 200  # characters of another library's message
RUN = "slimmer.run"  # key in click's meta: the run that the command started
SWEEP = "slimmer.sweep"  # key in click's meta: the command runs a sweep


class Commands(click.Group):
    """A command group that reports errors and interruptions in one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of the commands, in the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Exit codes: 2 for errors to fix, 130 for Ctrl-C, 143 for SIGTERM."""
        try:
            with _terminating():
                return super().invoke(ctx)
        except _Terminated:
            _stop(ctx, f"stopped{_how_to_resume(ctx)}", TERMINATED)
        except KeyboardInterrupt:
            _stop(ctx, f"stopped{_how_to_resume(ctx)}", INTERRUPTED)
        except (SlimmerError, OSError, MemoryError, RuntimeError, ImportError) as error:
            message = _message(error)
            if message is None:
                raise
            if not isinstance(error, SlimmerError):
                message += _how_to_resume(ctx)
            _stop(ctx, f"Error: {message}", 2)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the same processes as Ctrl-C, children included."""


@contextmanager
def _terminating() -> Iterator[None]:
    """A block that SIGTERM stops as Ctrl-C does. No effect outside the main thread."""

    def stop(_number: int, _frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _message(error: BaseException) -> str | None:
    """The message for an error that the user can fix; None for a bug in slimmer."""
    if lacks_memory(error):
        return f"memory: {_what_ran_out(error)}\n  {MORE_MEMORY}"
    if isinstance(error, SlimmerError):
        return str(error)
    if isinstance(error, OSError) and error.errno in REFUSED:
        if error.filename:
            return f"{error.filename}: {error.strerror}"
        return str(error.strerror)
    return None


def _what_ran_out(error: BaseException) -> str:
    """Where memory ran out, and the message of the library that noticed."""
    if isinstance(error, SlimmerError):
        return f"{error.where}: {error.found[:LONGEST]}"
    if not str(error):
        return "not enough memory"
    return first_line(error)[:LONGEST]


def remembering(observe: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """`observe`, which also remembers the run, so that a message can name it."""
    meta = click.get_current_context().meta

    def see(event: dict[str, Any]) -> None:
        if event["event"] == "begun":
            meta[RUN] = event["run"]
        elif event["event"] == "sweep":
            meta[SWEEP] = True
        observe(event)

    return see


def _how_to_resume(ctx: click.Context) -> str:
    """How to resume the run or sweep; empty if none was started."""
    if SWEEP in ctx.meta:
        return "; to resume, repeat the command: finished runs are kept, the others are resumed"
    if RUN in ctx.meta:
        return f"; to resume, use `slimmer prune --resume {ctx.meta[RUN]}`"
    return ""


def _stop(ctx: click.Context, message: str, code: int) -> None:
    if sys.stderr.isatty():
        message = wrapped(message, get_terminal_size().columns, hang="    ")
    click.echo(message, err=True)
    ctx.exit(code)
