"""CIFAR-10 in the official binary layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from slimmer.data.images import Data, InMemory, Wanted
from slimmer.errors import DataError

TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
NAMES = "batches.meta.txt"
# A label byte, then 1,024 red, 1,024 green and 1,024 blue ones, row by row.
RECORD = 1 + 3 * 32 * 32
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_WHAT = f"a folder with {TRAIN[0]} to {TRAIN[-1]}, {TEST} and {NAMES} (from cifar-10-binary.tar.gz)"


def locate(path: Path) -> Path | None:
    """The folder that contains a batch of CIFAR-10: `path`, or the archive's folder inside it; None
    if there is none.
    """
    for folder in (path, path / "cifar-10-batches-bin"):
        for name in (*TRAIN, TEST):
            if (folder / name).is_file():
                return folder
    return None


def cifar10(wanted: Wanted) -> Data:
    """CIFAR-10 from a folder; mean and std are those of its training images.

    The five training files and the test file may contain any number of records. Raises DataError
    with the name of a file that is missing, is not a whole number of records, or contains a label
    above 9.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    path = wanted.needed_path("cifar10", _WHAT)
    folder = locate(path)
    if folder is None:
        found = f"there is no {TRAIN[0]}"
        for place in (path, path / "cifar-10-batches-py"):
            if (place / "data_batch_1").exists():
                found = "this is the Python version, which is pickled"
        raise DataError(str(path), found, f"give the path of {_WHAT}")
    return Data(
        name="cifar10",
        train=_split([folder / name for name in TRAIN]),
        test=_split([folder / TEST]),
        classes=_class_names(folder / NAMES),
        mean=MEAN,
        std=STD,
        size=(32, 32),
        augment="crop_flip",
    )


def _split(files: Sequence[Path]) -> InMemory:
    counts = [_count(file) for file in files]
    rows = np.empty((sum(counts), RECORD), np.uint8)
    parts = np.split(rows, np.cumsum(counts)[:-1])
    for file, part in zip(files, parts, strict=True):
        _read_(file, part)
    # The images stay a view of the records: no second copy in memory.
    images = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32))
    return InMemory(images, torch.from_numpy(rows[:, 0].astype(np.int64)))


def _count(file: Path) -> int:
    if not file.is_file():
        raise DataError(str(file), "is missing", f"CIFAR-10 is {_WHAT}")
    size = file.stat().st_size
    if size == 0 or size % RECORD:
        found = f"{size:,} bytes are not a whole number of records"
        raise DataError(str(file), found, f"a record has {RECORD:,} bytes; download the file again")
    return size // RECORD


def _read_(file: Path, rows: NDArray[np.uint8]) -> None:
    with file.open("rb") as opened:
        if opened.readinto(rows.reshape(-1).data) != rows.size:
            found, right = "became shorter while it was read", "wait until it is complete"
            raise DataError(str(file), found, right)
    wrong = np.flatnonzero(rows[:, 0] > 9)
    if len(wrong):
        found = f"{len(wrong)} labels above 9, the first is {rows[wrong[0], 0]} (record {wrong[0]})"
        right = "labels are in 0..9; the records of CIFAR-100 have another layout"
        raise DataError(str(file), found, right)


def _class_names(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise DataError(str(file), "is missing", f"CIFAR-10 is {_WHAT}")
    names = tuple(file.read_text(encoding="utf-8", errors="replace").split())
    if len(names) != 10:
        right = "give ten names, one per line"
        raise DataError(str(file), f"contains {len(names)} class names", right)
    return names
