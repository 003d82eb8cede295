"""Files that are written to a staging folder, and moved to their place once they are verified."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from slimmer.atomic_files import digest
from slimmer.exporting.onnx_file import beside, files_of, remove, sums_of

FOLDER = ".export"


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new, empty staging folder in `folder`; it is removed at the end of the block, unless the
    process is killed.

    A file is written there, listed with its checksums, and then `put` into `folder`; see
    `take_places`.
    """
    stage = folder / FOLDER
    _remove(stage)
    stage.mkdir()
    try:
        yield stage
    finally:
        _remove(stage)


def take_places(folder: Path, listed: Mapping[str, str]) -> None:
    """Recover from a killed process: move staged files that are `listed` into `folder`, and remove
    the others.

    `listed` maps file names to checksums, as `sums_of` returns them.
    """
    stage = folder / FOLDER
    for name, sums in listed.items():
        made = stage / name
        if stage.is_symlink() or not made.is_file():
            continue
        weights = beside(folder / name)
        if sums == sums_of(made):
            put(made, folder)
        elif weights.is_file() and sums == f"{digest(made)} {digest(weights)}":
            made.replace(folder / name)  # the weights have been moved already
    _remove(stage)


def put(made: Path, folder: Path) -> None:
    """Move a file and its external weights into `folder`, and replace files of the same name.

    Between the moves, the folder contains no file rather than one with other weights.
    """
    place = folder / made.name
    if beside(made).is_file() or beside(place).is_file():
        remove(place)
    for file in reversed(files_of(made)):
        file.replace(folder / file.name)


def _remove(stage: Path) -> None:
    if stage.is_symlink():
        stage.unlink()
    elif stage.exists():
        shutil.rmtree(stage)
