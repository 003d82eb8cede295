"""Data sets: labelled images in two splits, with their preprocessing."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from slimmer.data.augment import MODES, shifted
from slimmer.errors import DataError, first_few, number

SHOWN = 5  # names of skipped files
FEW = 16  # images of a split that go into its fingerprint


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
        """The number of batches to load in the background while one is used; 0 if loading costs
        nothing.
        """
        ...

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`, (B, C, H, W): uint8 in 0..255, or floats in the units of mean
        and std.

        With `crops`, float64 (B, 4) in [0, 1), each image is the random crop that its row
        specifies.
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
        """The same as for the images without new labels."""
        return self.images.ahead

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`; see `Images.load`."""
        return self.images.load(indices, crops)


@dataclass(frozen=True)
class Skipped:
    """Image files of one split that were left out because they can't be read: a line for each file
    with its name and its fault. `where` names the data and the split.
    """

    where: str
    faults: tuple[str, ...]

    @property
    def note(self) -> str:
        """The number of files and the first of them, for the user."""
        shown = first_few(self.faults, SHOWN, "; ")
        many = number(len(self.faults), "broken image")
        return f"{self.where}: {many} skipped (data.skip_broken): {shown}"

    def for_report(self) -> dict[str, Any]:
        """The number of files and the first of them, for report.json."""
        return {
            "data": self.where,
            "images": len(self.faults),
            "first": list(self.faults[:SHOWN]),
        }


@dataclass(frozen=True)
class Data:
    """A data set: its name, its two splits, its class names in label order, and its preprocessing.

    `mean` and `std` have one entry per channel, in units of 0..1; `size` is (H, W) in pixels;
    `augment` is the augmentation of training images: "none", "crop", "flip" or "crop_flip". `notes`
    are remarks for the user; `skipped` are the image files that were left out. Raises DataError for
    impossible values.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    augment: str = "none"
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            found = f"mean has {len(self.mean)} numbers, std {len(self.std)}"
            raise DataError(self.name, found, "give both, with one number per channel")
        means_fit = all(0 <= value <= 1 for value in self.mean)
        if not means_fit or not all(0 < value <= 1 for value in self.std):
            found = f"mean {self.mean}, std {self.std}"
            right = (
                "means must be in 0..1, and standard deviations above 0 and at most 1; "
                "divide values for pixels of 0..255 by 255"
            )
            raise DataError(self.name, found, right)
        if min(self.size) < 1:
            right = "give height and width in pixels, at least 1 each"
            raise DataError(self.name, f"size {self.size}", right)
        check_mode(self.name, self.augment)
        if len(self.classes) < 2 and not self.train.labels.is_floating_point():
            found = f"{len(self.classes)} class: {', '.join(self.classes)}"
            raise DataError(self.name, found, "a classifier needs at least two classes")
        twice = sorted(name for name, count in Counter(self.classes).items() if count > 1)
        if twice:
            found = f"duplicate class names: {', '.join(twice)}"
            raise DataError(self.name, found, "name each class once")

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """The shape of a network's input for one image: (channels, height, width)."""
        return (len(self.mean), *self.size)


@dataclass(frozen=True)
class Wanted:
    """A request to a data source; a source ignores fields that it does not use.

    `labels` is the file with the labels of a flat test folder; `workers` are the threads or
    processes that read images; `skip_broken` leaves out images that can't be read;
    `exif_rotation` applies the rotation in EXIF data.
    """

    path: Path | None = None
    size: tuple[int, int] | None = None
    augment: str | None = None
    grey: bool = False
    labels: Path | None = None
    workers: int | None = None
    skip_broken: bool = False
    exif_rotation: bool = False

    def needed_path(self, name: str, what: str) -> Path:
        """The path that the source `name` needs. Raises DataError if it is missing or not a
        folder.
        """
        if self.path is None:
            raise DataError(name, "no path given", f"give the path of {what}")
        if not self.path.is_dir():
            found = "is a file, not a folder" if self.path.exists() else "does not exist"
            raise DataError(str(self.path), found, f"give the path of {what}")
        return self.path


def check_mode(where: str, augment: str) -> None:
    """Raise DataError if `augment` is not a known augmentation."""
    if augment not in MODES:
        raise DataError(where, f"augment {augment!r} is not known", f"known: {', '.join(MODES)}")


def fingerprint(data: Data) -> str:
    """A SHA-256 in hex that identifies a data set: of all labels, and of 16 images of each split.

    The images are evenly spaced, include the first and the last, and are loaded without
    augmentation.
    """
    found = hashlib.sha256()
    for split in (data.train, data.test):
        count = min(FEW, len(split))
        places = torch.linspace(0, len(split) - 1, count, dtype=torch.float64).round().long()
        for tensor in (split.labels, split.load(places)):
            found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def in_order(data: Data, classes: Sequence[str]) -> tuple[Images, Images]:
    """The train and test split of `data`, labelled in the order of `classes`.

    Labels other than int64 (N,) only get the new names. Raises DataError if `classes` are not the
    data's own.
    """
    if data.train.labels.is_floating_point() or data.train.labels.dim() > 1:
        if len(classes) != data.num_classes:
            found = f"{len(classes)} names for {data.num_classes} outputs"
            raise DataError(f"{data.name}, classes", found, "name each output once")
        return data.train, data.test
    missing = [name for name in data.classes if name not in classes]
    foreign = [name for name in classes if name not in data.classes]
    if missing or foreign or len(classes) != len(data.classes):
        found = f"{len(classes)} names: {missing[:8]} are missing, {foreign[:8]} are unknown"
        right = (
            f"give the data's {data.num_classes} class names, each once, "
            "in the order of the network's outputs"
        )
        raise DataError(f"{data.name}, classes", found, right)
    new = torch.tensor([classes.index(name) for name in data.classes])
    train = Relabelled(data.train, new[data.train.labels])
    return train, Relabelled(data.test, new[data.test.labels])
