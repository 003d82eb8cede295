"""The items of a torch Dataset: reading one, the labels of all, and whether they are random."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from slimmer.data.processes import own_random_state, seed_all
from slimmer.errors import DataError, first_line

Item = tuple[Image.Image | Tensor, Any]
RIGHT = "an item must be (image, label): a PIL image or a tensor (C, H, W), uint8 or float"
_READINGS = 3  # of each sampled item, to notice a transform that does nothing at times


def item_of(dataset: Any, index: int, where: str) -> Item:
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
        raise DataError(where, f"item {index} is a {type(item).__name__}", RIGHT)
    image, label = item
    if isinstance(image, Image.Image):
        return image, label
    if not isinstance(image, Tensor) or image.ndim != 3:
        shape = f" of shape {tuple(image.shape)}" if hasattr(image, "shape") else ""
        found = f"the image of item {index} is a {type(image).__name__}{shape}"
        raise DataError(where, found, RIGHT)
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise DataError(where, f"the image of item {index} is {image.dtype}", RIGHT)
    return image.as_subclass(Tensor), label


def randomness(where: str, dataset: Any, samples: Mapping[int, Item]) -> tuple[bool, list[str]]:
    """Whether the items that were sampled differ when they are read again, and a note on that.

    Raises DataError if their labels differ, since labels are read once.
    """
    random = False
    for place, (image, label) in samples.items():
        for _ in range(_READINGS):
            other, other_label = item_of(dataset, place, where)
            random = random or not _same(image, other)
            if not _same_label(label, other_label):
                found = f"the label of item {place} differs between two readings"
                right = (
                    "labels are read once; leave out the random transform and set data.augment, "
                    "or write a task with your DataLoader (--task)"
                )
                raise DataError(where, found, right)
    if not random:
        return False, []
    note = f"{where}: its own transform is random"
    if all(
        _same(_seeded(dataset, place, where), _seeded(dataset, place, where)) for place in samples
    ):
        return True, [f"{note}; it is seeded by the run's seed, the epoch and the image"]
    return True, [f"{note}, with a generator of its own: a resumed run sees other images"]


def _seeded(dataset: Any, place: int, where: str) -> Image.Image | Tensor:
    """The image of an item, read with the random state of a seed."""
    with own_random_state():
        seed_all(place)
        return item_of(dataset, place, where)[0]


def _same(first: Image.Image | Tensor, second: Image.Image | Tensor) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return bool(first == second)


def _same_label(first: Any, second: Any) -> bool:
    one, other = _number(first), _number(second)
    if one is None or other is None:  # named where all labels are made one tensor
        return True
    return one.shape == other.shape and bool((one == other).all())


def labels_of(where: str, dataset: Any, samples: Mapping[int, Item]) -> tuple[Tensor, list[str]]:
    """The labels that a Dataset stores, if they are those of the sampled items; else those of all
    items, and a note that each was read.
    """
    notes = []
    labels = _stored_labels(dataset, samples)
    if labels is None:
        every = [item_of(dataset, index, where)[1] for index in range(len(dataset))]
        labels = _as_tensor(where, every)
        notes.append(f"{where}: every item was read once for its label; `targets` would avoid it")
    if not labels.is_floating_point():
        labels = labels.long()
    return labels, notes


def _stored_labels(dataset: Any, samples: Mapping[int, Item]) -> Tensor | None:
    """The labels that the Dataset stores, if those of the sampled items are the same."""
    stored = _stored(dataset)
    if stored is None or len(stored) != len(dataset):
        return None
    for place, (_, label) in samples.items():
        if _number(label) is None or not _same_label(label, stored[place]):
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
