"""CIFAR's binary layout: files of records without a header."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from slimmer.data.images import InMemory
from slimmer.errors import DataError

# 1,024 red, 1,024 green and 1,024 blue bytes, row by row, after the labels.
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class BinaryFiles:
    """The names of the files, and the bytes of labels in each record, the last of which counts."""

    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int

    @property
    def files(self) -> tuple[str, ...]:
        """All files; the class names are the last."""
        return (*self.train, self.test, self.names)

    @property
    def record(self) -> int:
        """The bytes of a record."""
        return self.label_bytes + PIXELS

    def read(self, files: Sequence[Path], classes: int) -> InMemory:
        """The images and labels of the files. Raises DataError with the name of a file that is
        damaged, or contains a label beyond the classes.
        """
        return _images(files, self, classes)

    def class_names(self, file: Path) -> tuple[str, ...]:
        """The class names in a file."""
        return tuple(file.read_text(encoding="utf-8", errors="replace").split())


def _images(files: Sequence[Path], layout: BinaryFiles, classes: int) -> InMemory:
    counts = [_count(file, layout.record) for file in files]
    rows = np.empty((sum(counts), layout.record), np.uint8)
    parts = np.split(rows, np.cumsum(counts)[:-1])
    for file, part in zip(files, parts, strict=True):
        _read_(file, part, layout, classes)
    # The images stay a view of the records: no second copy in memory.
    images = torch.from_numpy(rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32))
    labels = rows[:, layout.label_bytes - 1].astype(np.int64)
    return InMemory(images, torch.from_numpy(labels))


def _count(file: Path, record: int) -> int:
    size = file.stat().st_size
    if size == 0 or size % record:
        found = f"{size:,} bytes are not a whole number of records"
        raise DataError(str(file), found, f"a record has {record:,} bytes; download the file again")
    return size // record


def _read_(file: Path, rows: NDArray[np.uint8], layout: BinaryFiles, classes: int) -> None:
    with file.open("rb") as opened:
        if opened.readinto(rows.reshape(-1).data) != rows.size:
            found, right = "became shorter while it was read", "wait until it is complete"
            raise DataError(str(file), found, right)
    labels = rows[:, layout.label_bytes - 1]
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        first = f"the first is {labels[wrong[0]]} (record {wrong[0]})"
        found = f"{len(wrong)} labels above {classes - 1}, {first}"
        right = f"labels are in 0..{classes - 1}; CIFAR-10 and CIFAR-100 have different records"
        raise DataError(str(file), found, right)
