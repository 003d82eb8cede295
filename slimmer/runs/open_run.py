"""Existing runs: the one at a path, and the latest one."""

import time
from contextlib import suppress
from pathlib import Path

from slimmer.atomic_files import read_text, write_text
from slimmer.errors import RunError
from slimmer.runs.directory import LATEST, Run
from slimmer.runs.new_run import is_beginning

LONGEST_PATH = 1 << 16  # bytes
STALE = 60.0  # seconds


def open_run(path: Path | None, *, finished: bool = True) -> Run:
    """The run in `path`, or the latest one. Raises RunError if it is not a run, or if it is not
    finished and `finished` is set.
    """
    path = _read_latest() if path is None else path
    run = Run(path)
    if not path.exists():
        raise RunError(str(path), "does not exist", "give a directory that `slimmer prune` wrote")
    if is_beginning(path):
        found = "is not a run yet: it was stopped early, or is just starting"
        right = "repeat the command that started it; the directory can be used again"
        raise RunError(str(path), found, right)
    if not run.recipe_file.is_file():
        found = "is not a run: it has no recipe.yaml"
        raise RunError(str(path), found, "give a directory that `slimmer prune` wrote")
    if finished and not run.report.is_file():
        right = f"resume it with `slimmer prune --resume {path}`"
        raise RunError(str(path), "is not finished", right)
    return run


def _read_latest() -> Path:
    """The directory of the latest run. Raises RunError if there is none."""
    if not LATEST.exists():
        right = "start one with `slimmer prune`, or give the path of a run"
        raise RunError(str(LATEST.parent), "there is no run here yet", right)
    right = "delete it, and give the path of the run"
    if LATEST.is_symlink():
        raise RunError(str(LATEST), "is a symbolic link, which slimmer never writes", right)
    try:
        return Path(read_text(LATEST, LONGEST_PATH).strip())
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(str(LATEST), f"can't be read ({error})", right) from error


def mark_latest(run: Run) -> None:
    """Make `run` the default run of other commands."""
    for file in LATEST.parent.glob(f".{LATEST.name}.*.part"):
        with suppress(OSError):
            # Writing takes no time, so an old file is from a process that was killed.
            if time.time() - file.stat().st_mtime > STALE:
                file.unlink()
    write_text(LATEST, f"{run.path.resolve()}\n")
