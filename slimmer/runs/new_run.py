"""The directories of new and of resumed runs, claimed for one process."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from slimmer.atomic_files import write_json, write_text, written_part
from slimmer.errors import RunError
from slimmer.recipe import Recipe
from slimmer.runs.claim import NAME as LOCK
from slimmer.runs.claim import Claim, claimed, is_marked
from slimmer.runs.directory import LATEST, Run


@contextmanager
def new_run(out: Path | None, arch: str) -> Iterator[tuple[Run, Claim]]:
    """A directory for a new run, claimed for this process: `out`, or the next free runs/ARCH-N.

    A directory is also free if it was left by a process that was killed before the directory became
    a run. If the block fails before that point, the directory is removed. Raises RunError if `out`
    is not empty, so that nothing is overwritten.
    """
    run, claim, held = _claim_new(out, arch)
    with held:
        yield run, claim


def _claim_new(out: Path | None, arch: str) -> tuple[Run, Claim, ExitStack]:
    stem = Path(arch.replace(":", "-")).name.removesuffix(".py") or "module"
    numbers = count(1)
    while True:
        path = out if out is not None else LATEST.parent / f"{stem}-{next(numbers)}"
        try:
            _check_free(path)
            with ExitStack() as stack:
                claim = stack.enter_context(claimed(path, "a run"))
                _check_free(path)  # another run may have ended in between
                _clear_beginning(path)
                return Run(path), claim, stack.pop_all()
        except RunError:
            if out is not None:
                raise


@contextmanager
def old_run(run: Run) -> Iterator[Claim]:
    """The claim on a run that is resumed; partly written files of a killed process are deleted.
    Raises RunError if another process is using the run.
    """
    with claimed(run.path, "a run") as claim:
        for file in half_written(run):
            file.unlink(missing_ok=True)
        yield claim


def half_written(run: Run) -> list[Path]:
    """The partly written files that a killed process left in the run's directory."""
    found = []
    for folder in (run.path, run.path / "figures"):
        if folder.is_dir():
            found += [file for file in folder.iterdir() if _is_own_part(run, file)]
    return found


def _is_own_part(run: Run, file: Path) -> bool:
    name = written_part(file)
    if name is None or file.is_symlink():
        return False
    if file.parent != run.path:
        return name.endswith(".png")
    if name.endswith((".onnx", ".onnx.data", ".pt2")):
        return True
    return name in [each.name for each in run.files()]


def is_beginning(path: Path) -> bool:
    """Whether a directory contains only the files of a process that was killed before the directory
    became a run.
    """
    if not path.is_dir() or not is_marked(path):
        return False
    run = Run(path)
    own = {path / LOCK, run.dense, run.measured}
    return all(file in own or _is_own_part(run, file) for file in path.iterdir())


def _check_free(path: Path) -> None:
    """Raise RunError if a directory is not empty, unless only a killed process's beginning of a run
    is in it.
    """
    if not _holds_something(path) or is_beginning(path):
        return
    if Run(path).recipe_file.exists():
        right = f"resume it with `slimmer prune --resume {path}`, or choose another --out"
        raise RunError(str(path), "is already a run", right)
    raise RunError(str(path), "exists and is not empty", "choose another --out")


def _clear_beginning(path: Path) -> None:
    """Delete all files in a new directory, except the lock."""
    for file in path.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name != LOCK:
            file.unlink()


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


@contextmanager
def all_or_nothing(run: Run) -> Iterator[None]:
    """A block that turns a new directory into a run; if it fails, the files it wrote are
    deleted.
    """
    try:
        yield
    except BaseException:
        _clear_beginning(run.path)
        raise


def write_beginning(run: Run, recipe: Recipe, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Write `measured` with the hash of the recipe, then the recipe; return what dense.json holds.

    The recipe is last: it makes the directory a run.
    """
    text = recipe.to_yaml()
    written = {**measured, "recipe_sha256": hashlib.sha256(text.encode()).hexdigest()}
    write_json(run.measured, written)
    write_text(run.recipe_file, text)
    return written
