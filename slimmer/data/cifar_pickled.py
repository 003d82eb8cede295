"""CIFAR's Python layout, which torchvision downloads: pickled dicts with an array of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slimmer.data.images import InMemory
from slimmer.data.plain_pickle import PickledArray, read_plain
from slimmer.errors import DataError

_AGAIN = "download the file again"


@dataclass(frozen=True)
class PickledFiles:
    """The names of the files, and the keys of labels and class names in them."""

    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str

    @property
    def files(self) -> tuple[str, ...]:
        """All files; the class names are in the last."""
        return (*self.train, self.test, self.meta)

    def read(self, files: Sequence[Path], classes: int) -> InMemory:
        """The images and labels of the files. Raises DataError with the name of a file that is
        damaged, or contains a label beyond the classes.
        """
        return _images(files, self, classes)

    def class_names(self, file: Path) -> tuple[str, ...]:
        """The class names in a file; no code in it is run."""
        return _names(file, self.names)


def _images(files: Sequence[Path], layout: PickledFiles, classes: int) -> InMemory:
    images, labels = [], []
    for file in files:
        held = _entries(file, ("data", layout.labels))
        pixels = _pixels(file, held["data"])
        images.append(pixels)
        labels.append(_labels(file, held[layout.labels], len(pixels), classes))
    rows = np.concatenate(images).reshape(-1, 3, 32, 32)
    return InMemory(torch.from_numpy(rows), torch.cat(labels))


def _entries(file: Path, keys: Sequence[str]) -> dict[str, Any]:
    """The entries of the pickled dict, by name; Python 2 wrote names as bytes."""
    held = read_plain(file)
    if not isinstance(held, dict):
        raise DataError(str(file), f"contains a {type(held).__name__}, not a dict", _AGAIN)
    named = {_text(key): value for key, value in held.items()}
    missing = [key for key in keys if key not in named]
    if missing:
        found = f"has no entry {missing[0]!r}; it has {', '.join(sorted(named))[:200]}"
        raise DataError(str(file), found, _AGAIN)
    return named


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _pixels(file: Path, value: Any) -> np.ndarray:
    if not isinstance(value, PickledArray):
        raise DataError(str(file), f"'data' is a {type(value).__name__}, not an array", _AGAIN)
    try:
        pixels = value.uint8()
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(str(file), f"contains {error}", _AGAIN) from error
    if pixels.ndim != 2 or pixels.shape[1] != 3072 or not len(pixels):
        found = f"images are of shape {pixels.shape}"
        raise DataError(str(file), found, "they must be of shape (N, 3072)")
    return pixels


def _labels(file: Path, value: Any, count: int, classes: int) -> torch.Tensor:
    whole = isinstance(value, list) and all(type(label) is int for label in value)
    if not whole or len(value) != count:
        found = f"the labels are not a list of {count} whole numbers"
        raise DataError(str(file), found, _AGAIN)
    if min(value) < 0 or max(value) >= classes:
        found = f"labels are {min(value)} to {max(value)}"
        raise DataError(str(file), found, f"labels are in 0..{classes - 1}")
    return torch.tensor(value, dtype=torch.int64)


def _names(file: Path, key: str) -> tuple[str, ...]:
    names = _entries(file, (key,))[key]
    if not isinstance(names, list):
        raise DataError(str(file), f"{key} is a {type(names).__name__}, not a list", _AGAIN)
    return tuple(_text(name) for name in names)
