"""The images of a map-style torch Dataset, read item by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from slimmer.data.augment import shifted
from slimmer.data.batches import is_map
from slimmer.data.dataset_items import RIGHT, item_of, labels_of, randomness
from slimmer.data.images import Wanted
from slimmer.data.views import fitted
from slimmer.errors import DataError, first_line

_SAMPLES = 4  # items that are looked at before anything is read


@dataclass(frozen=True)
class Items:
    """The images of a Dataset: PIL images are cropped or scaled to `size`, as those of a folder;
    tensors must have the shape (channels, *size). `random` if reading an item twice gives two
    images.
    """

    dataset: Any
    labels: Tensor
    where: str
    channels: int
    size: tuple[int, int]
    random: bool = False
    ahead: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`; see `Images.load`. Raises DataError with the index of an item
        that can't be read or has another shape.
        """
        images = [item_of(self.dataset, index, self.where)[0] for index in indices.tolist()]
        drawn = [None] * len(images) if crops is None else crops.tolist()
        made, whole = [], True
        for index, image, crop in zip(indices.tolist(), images, drawn, strict=True):
            if isinstance(image, Image.Image):
                whole = False
                if is_map(self.labels, self.size):
                    _check_whole(self.where, image, self.size)
                plain = image.convert("RGB" if self.channels == 3 else "L")
                pixels = fitted(plain, plain.size, self.size, crop)
                made.append(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
            else:
                made.append(self._of_right_shape(index, image))
        try:
            batch = torch.stack(made)
        except RuntimeError as error:
            found = f"items are of different types ({first_line(error)})"
            raise DataError(self.where, found, RIGHT) from error
        return shifted(batch, crops) if whole and crops is not None else batch

    def _of_right_shape(self, index: int, image: Tensor) -> Tensor:
        wanted = (self.channels, *self.size)
        if tuple(image.shape) != wanted:
            found = f"item {index} has the shape {tuple(image.shape)}, not {wanted}"
            raise DataError(self.where, found, "give the Dataset a transform to one size")
        return image


def is_dataset(value: Any) -> bool:
    """Whether a value is a Dataset, and not a pair of images and labels."""
    if isinstance(value, Dataset | DataLoader):
        return True
    plain = isinstance(value, tuple | list | dict | str | Tensor | np.ndarray)
    return not plain and hasattr(value, "__getitem__") and hasattr(value, "__len__")


def items_of(where: str, dataset: Any, wanted: Wanted) -> tuple[Items, tuple[str, ...]]:
    """The images of a map-style Dataset with their labels, and notes on it.

    PIL images get the size that is `wanted`, by default their own. Labels are the Dataset's
    `targets` or `labels`, if they are those of its items; otherwise every item is read once. Raises
    DataError for a stream, and for items that are not an image and a label.
    """
    if isinstance(dataset, DataLoader | IterableDataset):
        found = f"is a {type(dataset).__name__}, which has no random access"
        right = "give its map-style Dataset; batches of your own go through slimmer.Task (--task)"
        raise DataError(where, found, right)
    count = len(dataset)
    if not count:
        raise DataError(where, "there are no images", "give at least one image")
    places = torch.linspace(0, count - 1, min(_SAMPLES, count), dtype=torch.float64).round()
    samples = {int(place): item_of(dataset, int(place), where) for place in places}
    channels, size = _shape(where, [image for image, _ in samples.values()], wanted)
    random, notes = randomness(where, dataset, samples)
    labels, more = labels_of(where, dataset, samples)
    if is_map(labels, size):
        for image, _ in samples.values():
            _check_whole(where, image, size)
    return Items(dataset, labels, where, channels, size, random), (*notes, *more)


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """The names in the Dataset's `classes`, as torchvision's have; None if there are none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _shape(
    where: str, images: Sequence[Image.Image | Tensor], wanted: Wanted
) -> tuple[int, tuple[int, int]]:
    """The channels and the size (H, W) of all images."""
    first = images[0]
    if isinstance(first, Tensor):
        return first.shape[0], (first.shape[1], first.shape[2])
    grey = wanted.grey or first.mode in ("1", "L", "I;16")
    sizes = {image.size for image in images if isinstance(image, Image.Image)}
    if wanted.size is not None:
        size = wanted.size
    elif len(sizes) == 1:
        size = (first.height, first.width)
    else:
        found = f"images have different sizes, such as {sorted(sizes)[:3]} (width, height)"
        raise DataError(where, found, "give data.size, or 'size' in the mapping of train and test")
    return 1 if grey else 3, size


def _check_whole(where: str, image: Image.Image | Tensor, size: tuple[int, int]) -> None:
    """Raise DataError if an image would be scaled, when its mask is not."""
    if isinstance(image, Image.Image) and (image.height, image.width) != size:
        found = f"an image of {image.height}x{image.width} is scaled to {size[0]}x{size[1]}"
        right = "labels for each pixel are not; give images and labels of one size"
        raise DataError(where, found, right)
