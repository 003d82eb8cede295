"""How a command ends: one message where the user, the machine or Ctrl-C stops it, and how to go on."""

import errno
from collections.abc import Callable
from typing import Any

import click

from slimmer.errors import SlimmerError

# What the machine refuses and the user can mend; any other OSError is a mistake of slimmer's and keeps its traceback.
REFUSED = {
    errno.EACCES,
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
RUN = "slimmer.run"  # the run that a command has begun, in click's meta
SWEEP = "slimmer.sweep"  # whether it is a sweep


class Commands(click.Group):
    """A group whose commands end in one message where the user, the machine or Ctrl-C stops them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit code 2 for what the user can mend, 130 for Ctrl-C."""
        try:
            return super().invoke(ctx)
        except SlimmerError as error:
            _stop(ctx, f"Error: {error}", error.exit_code)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            place = f"{error.filename}: " if error.filename else ""
            _stop(ctx, f"Error: {place}{error.strerror}{_go_on(ctx)}", SlimmerError.exit_code)
        except MemoryError as error:
            message = f"Error: memory: {error or 'there is not enough'}\n  take smaller batches{_go_on(ctx)}"
            _stop(ctx, message, SlimmerError.exit_code)
        except KeyboardInterrupt:
            _stop(ctx, f"stopped{_go_on(ctx)}", INTERRUPTED)


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
