"""Files that are made in a folder of their own, and join the others only when they are known to be
right.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from slimmer.atomic_files import digest
from slimmer.exporting.onnx_file import beside, files_of, remove, sums_of

FOLDER = ".export"


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new, empty folder in `folder` to make files in; it is gone when the block ends, unless its
    process is killed.

    A file is made there, listed with its sums, and then `put` into `folder`; see `take_places`.
    """
    stage = folder / FOLDER
    _remove(stage)
    stage.mkdir()
    try:
        yield stage
    finally:
        _remove(stage)


def take_places(folder: Path, listed: Mapping[str, str]) -> None:
    """Go on where a process was killed: the files left that are `listed` go into `folder`, the
    others are removed.

    `listed` are their sums, as `sums_of` gives them, by name.
    """
    stage = folder / FOLDER
    for name, sums in listed.items():
        made = stage / name
        if stage.is_symlink() or not made.is_file():
            continue
        weights = beside(folder / name)
        if sums == sums_of(made):
            put(made, folder)
        elif (
            weights.is_file() and sums == f"{digest(made)} {digest(weights)}"
        ):  # they are in their place already
            made.replace(folder / name)
    _remove(stage)


def put(made: Path, folder: Path) -> None:
    """Move a file, with the weights beside it, into `folder`, in place of what has its name there.

    Between the moves there is no file there, rather than one with another's weights.
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
