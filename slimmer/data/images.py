"""What a data set is: labelled images in two splits, and how a network wants to see them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from slimmer.data.augment import MODES, shifted
from slimmer.errors import DataError

FEW = 16  # images of a split that stand for all


class Images(Protocol):
    """Labelled images of one size."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    @property
    def labels(self) -> Tensor:
        """The class of each image, int64 (N,)."""
        ...

    @property
    def ahead(self) -> int:
        """How many batches to load in the background while one is used; 0 where loading is free."""
        ...

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`, (B, C, H, W): uint8 in 0..255, or floats in the units of mean
        and std.

        With `crops`, float64 (B, 4) in [0, 1), each image is a random crop that its row decides.
        """
        ...


@dataclass(frozen=True)
class InMemory:
    """Images that are held in memory, (N, C, H, W); a random crop pads them with zeros."""

    images: Tensor
    labels: Tensor
    ahead: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`; see `Images.load`."""
        images = self.images[indices]
        return images if crops is None else shifted(images, crops)


@dataclass(frozen=True)
class Relabelled:
    """The same images with other labels, for another order of the classes."""

    images: Images
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ahead(self) -> int:
        """As the images without new labels."""
        return self.images.ahead

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`; see `Images.load`."""
        return self.images.load(indices, crops)


@dataclass(frozen=True)
class Data:
    """A data set: where it comes from, its two splits, its class names in label order, and its
    preprocessing.

    `mean` and `std` have one entry a channel, in units of 0..1; `size` is (H, W) in pixels;
    `augment` is how training images vary: "none", "crop", "flip" or "crop_flip". Raises DataError
    for numbers that can't be.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    augment: str = "none"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            found = f"mean has {len(self.mean)} numbers, std {len(self.std)}"
            raise DataError(self.name, found, "give both, one number a channel")
        if not (
            all(0 <= value <= 1 for value in self.mean)
            and all(0 < value <= 1 for value in self.std)
        ):
            found = f"mean {self.mean}, std {self.std}"
            right = "means lie in 0..1 and deviations above 0; divide figures made for pixels of 0..255 by 255"
            raise DataError(self.name, found, right)
        if min(self.size) < 1:
            raise DataError(
                self.name, f"size {self.size}", "height and width in pixels, at least 1 each"
            )
        check_mode(self.name, self.augment)
        if len(self.classes) < 2:
            found = f"{len(self.classes)} class: {', '.join(self.classes)}"
            raise DataError(self.name, found, "a classifier needs at least two classes")
        if len(set(self.classes)) < len(self.classes):
            twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
            raise DataError(
                self.name, f"class names twice: {', '.join(twice)}", "name each class once"
            )

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """What a network is fed for one image: (channels, height, width)."""
        return (len(self.mean), *self.size)


@dataclass(frozen=True)
class Wanted:
    """What a source of data is asked for; a source reads what concerns it."""

    path: Path | None = None
    size: tuple[int, int] | None = None
    augment: str | None = None
    grey: bool = False

    def needed_path(self, name: str, what: str) -> Path:
        """The path, which the source `name` can't do without. Raises DataError where there is none."""
        if self.path is None:
            raise DataError(name, "no path is given", f"give the path of {what}")
        if not self.path.is_dir():
            found = "is a file, not a folder" if self.path.exists() else "does not exist"
            raise DataError(str(self.path), found, f"give the path of {what}")
        return self.path


def check_mode(where: str, augment: str) -> None:
    """Nothing; raises DataError where `augment` is no way of varying images."""
    if augment not in MODES:
        raise DataError(where, f"augment {augment!r} is not known", f"known: {', '.join(MODES)}")


def check(data: Data) -> None:
    """Nothing; raises DataError where a split is empty or mislabelled, or its images are not of
    `input_size`.

    One image of each split is loaded.
    """
    for part, split in (("train", data.train), ("test", data.test)):
        where = f"{data.name}, {part}"
        if not len(split):
            raise DataError(where, "there are no images", "give at least one image")
        _check_labels(where, split, data.num_classes)
        image = split.load(torch.tensor([0]))[0]
        if tuple(image.shape) != data.input_size:
            right = f"(channels, height, width) would be {data.input_size}, by mean, std and size"
            raise DataError(where, f"images of shape {tuple(image.shape)}", right)


def _check_labels(where: str, split: Images, num_classes: int) -> None:
    labels = split.labels
    if labels.dtype != torch.int64 or labels.shape != (len(split),):
        found = f"labels are {labels.dtype} of shape {tuple(labels.shape)}"
        raise DataError(where, found, f"int64 of shape ({len(split)},), one for each image")
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        found = f"{int(wrong.sum())} labels out of range, the first is {int(labels[first])} (image {first})"
        raise DataError(where, found, f"labels lie in 0..{num_classes - 1}")


def fingerprint(data: Data) -> str:
    """A SHA-256 in hex by which data sets can be told apart: of all labels, and of 16 images of
    each split.

    Images are those that lie evenly spaced, the first and the last among them, as they are loaded
    for testing.
    """
    found = hashlib.sha256()
    for split in (data.train, data.test):
        some = (
            torch.linspace(0, len(split) - 1, min(FEW, len(split)), dtype=torch.float64)
            .round()
            .long()
        )
        for tensor in (split.labels, split.load(some)):
            found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def in_order(data: Data, classes: Sequence[str]) -> tuple[Images, Images]:
    """The train and test split of `data` with labels by the order of `classes`.

    Raises DataError where `classes` are not the data's own.
    """
    missing = [name for name in data.classes if name not in classes]
    foreign = [name for name in classes if name not in data.classes]
    if missing or foreign or len(classes) != len(data.classes):
        found = f"{len(classes)} classes are given, without {missing[:8]}, with {foreign[:8]}"
        right = f"the data's {data.num_classes} class names, each once, in the order of the network's outputs"
        raise DataError(f"{data.name}, classes", found, right)
    new = torch.tensor([classes.index(name) for name in data.classes])
    return Relabelled(data.train, new[data.train.labels]), Relabelled(
        data.test, new[data.test.labels]
    )
