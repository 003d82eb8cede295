"""Data sets of the Hugging Face hub's library `datasets`, saved with save_to_disk."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slimmer.data.encoded_images import EncodedPart, encoded_data
from slimmer.data.images import Data, Wanted
from slimmer.errors import DataError, first_line

DICT = "dataset_dict.json"
_WHAT = f"a folder that DatasetDict.save_to_disk wrote, with {DICT} and the folders of its splits"
HELD = ("test", "validation", "valid", "val")


@dataclass(frozen=True)
class _Row:
    """The encoded image of a row."""

    rows: Any
    column: str
    index: int
    where: str

    def read_bytes(self) -> bytes:
        """The content of the image file. Raises ValueError if the row has none."""
        held = self.rows[self.index][self.column]
        if held is None:
            raise ValueError("the row has no image")
        if held["bytes"] is not None:
            return bytes(held["bytes"])
        return Path(held["path"]).read_bytes()

    def __str__(self) -> str:
        return f"{self.where}, row {self.index}"


class _Rows(Sequence[_Row]):
    """The encoded images of a split, which stay on disk."""

    def __init__(self, rows: Any, column: str, where: str) -> None:
        self._rows, self._column, self._where = rows, column, where

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return _Row(self._rows, self._column, range(len(self))[index], self._where)


def hugging_face(wanted: Wanted) -> Data:
    """The images and class labels of a DatasetDict on disk; it needs the package `datasets`.

    The training split is "train", the test split "test", else "validation". The image column is the
    only one of type Image, the label the only one of type ClassLabel. Raises DataError if the
    package, a split or a column is missing.
    """
    path = wanted.needed_path("huggingface", _WHAT)
    splits = _read(path)
    held = [name for name in HELD if name in splits]
    if "train" not in splits or not held:
        found = f"has the splits {', '.join(splits)}"
        right = f"it needs 'train' and one of {', '.join(HELD)}; see Dataset.train_test_split"
        raise DataError(str(path), found, right)
    train = splits["train"]
    image, label = _columns(path, train)
    parts = [_part(splits[name], image, label, f"{path}, {name}") for name in ("train", held[0])]
    return encoded_data(
        "huggingface", parts[0], parts[1], tuple(train.features[label].names), wanted
    )


def is_hugging_face(path: Path) -> bool:
    """Whether save_to_disk wrote this folder: a DatasetDict, or a single split."""
    return (path / DICT).is_file() or (path / "dataset_info.json").is_file()


def _read(path: Path) -> dict[str, Any]:
    """The splits by name."""
    try:
        package = importlib.import_module("datasets")
    except ImportError as error:
        right = "install it: pip install datasets"
        raise DataError("huggingface", f"needs the package datasets ({error})", right) from error
    try:
        found = package.load_from_disk(str(path))
    except Exception as error:  # Arrow and the library raise anything
        said = f"can't be read by datasets ({type(error).__name__}: {first_line(error)})"
        raise DataError(str(path), said, f"give {_WHAT}") from error
    if not isinstance(found, package.DatasetDict):
        right = "save a DatasetDict with 'train' and 'test', such as train_test_split returns"
        raise DataError(str(path), "contains a single split", right)
    return dict(found)


def _columns(path: Path, split: Any) -> tuple[str, str]:
    """The names of the image column and of the label column."""
    kinds = {name: type(feature).__name__ for name, feature in split.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    if len(images) != 1 or len(labels) != 1:
        listed = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        right = (
            "it needs one column of type Image and one of type ClassLabel; "
            "see cast_column, class_encode_column and remove_columns of datasets"
        )
        raise DataError(str(path), f"has the columns {listed}", right)
    return images[0], labels[0]


def _part(split: Any, image: str, label: str, where: str) -> EncodedPart:
    if image not in split.features or label not in split.features:
        found = f"has the columns {', '.join(split.features)}"
        raise DataError(where, found, f"both splits need {image} and {label}")
    labels = split.select_columns([label]).with_format("numpy")[:][label]
    kind = type(split.features[image])
    rows = split.select_columns([image]).cast_column(image, kind(decode=False))
    return EncodedPart(_Rows(rows, image, where), torch.as_tensor(labels).long())
