"""How a command ends: one message where the user, the machine or Ctrl-C stops it, and how to go on."""

import errno
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from slimmer.errors import SlimmerError, first_line, lacks_memory

# What the machine refuses and the user can mend; any other OSError is a mistake of slimmer's and
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
LONGEST = 200  # characters of another library's message
RUN = "slimmer.run"  # the run that a command has begun, in click's meta
SWEEP = "slimmer.sweep"  # whether it is a sweep


class Commands(click.Group):
    """A group whose commands end in one message where the user, the machine or Ctrl-C stops them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit code 2 for what the user can mend, 130 for Ctrl-C, 143 for SIGTERM."""
        try:
            with _terminating():
                return super().invoke(ctx)
        except _Terminated:
            _stop(ctx, f"stopped{_go_on(ctx)}", TERMINATED)
        except KeyboardInterrupt:
            _stop(ctx, f"stopped{_go_on(ctx)}", INTERRUPTED)
        except (SlimmerError, OSError, MemoryError, RuntimeError, ImportError) as error:
            message = _mendable(error)
            if message is None:
                raise
            _stop(
                ctx, f"Error: {message}{'' if isinstance(error, SlimmerError) else _go_on(ctx)}", 2
            )


class _Terminated(KeyboardInterrupt):
    """SIGTERM: it ends what Ctrl-C ends, children too."""


@contextmanager
def _terminating() -> Iterator[None]:
    """A block that SIGTERM stops as Ctrl-C does; only the main thread can say so."""

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


def _mendable(error: BaseException) -> str | None:
    """What to say of an error that the user can mend; None of one that is a mistake of slimmer's."""
    if lacks_memory(error):
        place = f"{error.where}: " if isinstance(error, SlimmerError) else ""
        found = first_line(error)[:LONGEST] if str(error) else "there is not enough"
        if isinstance(error, SlimmerError):
            found = error.found[:LONGEST]
        return f"memory: {place}{found}\n  take smaller batches or images, or a machine with more memory"
    if isinstance(error, SlimmerError):
        return str(error)
    if isinstance(error, OSError) and error.errno in REFUSED:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return None


def remembering(observe: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """`observe`, which also notes the run, so that a message can name it."""
    meta = click.get_current_context().meta

    def see(event: dict[str, Any]) -> None:
        if event["event"] == "begun":
            meta[RUN] = event["run"]
        elif event["event"] == "sweep":
            meta[SWEEP] = True
        observe(event)

    return see


def _go_on(ctx: click.Context) -> str:
    """How to go on, where a run or a sweep was begun."""
    if SWEEP in ctx.meta:
        return "; go on with the same command: what is finished stays, and what was begun goes on"
    return f"; go on with `slimmer prune --resume {ctx.meta[RUN]}`" if RUN in ctx.meta else ""


def _stop(ctx: click.Context, message: str, code: int) -> None:
    click.echo(message, err=True)
    ctx.exit(code)
