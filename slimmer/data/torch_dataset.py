"""The images of a map-style torch Dataset, read item by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

from slimmer.data.augment import shifted
from slimmer.data.images import Wanted
from slimmer.data.processes import own_random_state, seed_all
from slimmer.data.views import fitted
from slimmer.errors import DataError, first_line

_SAMPLES = 4  # items that are looked at before anything is read
_RIGHT = "an item must be (image, label): a PIL image or a tensor (C, H, W), uint8 or float"


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
                plain = image.convert("RGB" if self.channels == 3 else "L")
                pixels = fitted(plain, plain.size, self.size, crop)
                made.append(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
            else:
                made.append(self._of_right_shape(index, image))
        try:
            batch = torch.stack(made)
        except RuntimeError as error:
            found = f"items are of different types ({first_line(error)})"
            raise DataError(self.where, found, _RIGHT) from error
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
    random, notes = _randomness(where, dataset, list(samples))
    labels = _stored_labels(dataset, samples)
    if labels is None:
        every = [item_of(dataset, index, where)[1] for index in range(count)]
        labels = _as_tensor(where, every)
        notes.append(f"{where}: every item was read once for its label; `targets` would avoid it")
    if not labels.is_floating_point():
        labels = labels.long()
    return Items(dataset, labels, where, channels, size, random), tuple(notes)


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """The names in the Dataset's `classes`, as torchvision's have; None if there are none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def item_of(dataset: Any, index: int, where: str) -> tuple[Image.Image | Tensor, Any]:
    """The image and the label of an item. Raises DataError if it is something else, or if reading
    it fails.
    """
    try:
        item = dataset[index]
    except DataError:
        raise
    except Exception as error:  # the user's code raises anything
        found = f"item {index} failed with {type(error).__name__}: {first_line(error)}"
        raise DataError(where, found, "fix the Dataset, or the file that it reads") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(where, f"item {index} is a {type(item).__name__}", _RIGHT)
    image, label = item
    if isinstance(image, Image.Image):
        return image, label
    if not isinstance(image, Tensor) or image.ndim != 3:
        shape = f" of shape {tuple(image.shape)}" if hasattr(image, "shape") else ""
        found = f"the image of item {index} is a {type(image).__name__}{shape}"
        raise DataError(where, found, _RIGHT)
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise DataError(where, f"the image of item {index} is {image.dtype}", _RIGHT)
    return image.as_subclass(Tensor), label


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


def _randomness(where: str, dataset: Any, places: Sequence[int]) -> tuple[bool, list[str]]:
    """Whether the items at `places` differ between two readings, and a note on that."""

    def read(place: int) -> Image.Image | Tensor:
        return item_of(dataset, place, where)[0]

    def read_again(place: int) -> Image.Image | Tensor:
        with own_random_state():
            seed_all(place)
            return read(place)

    if all(_same(read(place), read(place)) for place in places):
        return False, []
    note = f"{where}: its own transform is random"
    if all(_same(read_again(place), read_again(place)) for place in places):
        return True, [f"{note}; it is seeded by the run's seed, the epoch and the image"]
    return True, [f"{note}, with a generator of its own: a resumed run sees other images"]


def _same(first: Image.Image | Tensor, second: Image.Image | Tensor) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return bool(first == second)


def _stored_labels(dataset: Any, samples: dict[int, tuple[Any, Any]]) -> Tensor | None:
    """The labels that the Dataset stores, if those of the sampled items are the same."""
    stored = _stored(dataset)
    if stored is None or len(stored) != len(dataset):
        return None
    for place, (_, label) in samples.items():
        found = _number(label)
        if found is None or found.shape != stored[place].shape or (found != stored[place]).any():
            return None
    return stored


def _stored(dataset: Any) -> Tensor | None:
    """The labels in `targets` or `labels` of a Dataset, also of a part or a chain of some."""
    if isinstance(dataset, Subset):
        whole = _stored(dataset.dataset)
        return None if whole is None else whole[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [_stored(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    for name in ("targets", "labels"):
        held = getattr(dataset, name, None)
        if isinstance(held, Tensor | np.ndarray | list | tuple) and len(held):
            found = _number(held)
            if found is not None:
                return found
    return None


def _number(value: Any) -> Tensor | None:
    """A tensor of one label or of many; None for anything but numbers."""
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _as_tensor(where: str, labels: Sequence[Any]) -> Tensor:
    try:
        return torch.stack([torch.as_tensor(label) for label in labels])
    except (TypeError, ValueError, RuntimeError) as error:
        found = f"labels can't be one tensor ({first_line(error)})"
        raise DataError(
            where, found, "a label must be a number, or a tensor of one shape"
        ) from error
