"""The check of a data set: its labels, and the shape of its images."""

import torch
from torch import Tensor

from slimmer.data.images import Data, Images
from slimmer.errors import DataError


def check(data: Data) -> None:
    """Raise DataError if a split is empty or has wrong labels, or if its images do not have the
    shape `input_size`.

    One image of each split is loaded for the check.
    """
    ours, theirs = data.train.labels, data.test.labels
    if (ours.dtype, ours.shape[1:]) != (theirs.dtype, theirs.shape[1:]) and len(ours):
        found = f"labels are {ours.dtype} of shape {tuple(ours.shape)}"
        other = f"give the same kind as test: {theirs.dtype} of shape {tuple(theirs.shape)}"
        raise DataError(f"{data.name}, train", found, other)
    for part, split in (("train", data.train), ("test", data.test)):
        where = f"{data.name}, {part}"
        if not len(split):
            raise DataError(where, "there are no images", "give at least one image")
        _check_labels(where, split, data.num_classes)
        image = split.load(torch.tensor([0]))[0]
        if tuple(image.shape) != data.input_size:
            right = f"mean, std and size imply (channels, height, width) = {data.input_size}"
            raise DataError(where, f"images have the shape {tuple(image.shape)}", right)


def _check_labels(where: str, split: Images, num_classes: int) -> None:
    labels = split.labels
    check_targets(where, labels, len(split))
    if labels.dim() > 1 or labels.is_floating_point():
        return  # what they may be, the task knows
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        example = f"the first is {int(labels[first])} (image {first})"
        found = f"{int(wrong.sum())} labels out of range, {example}"
        raise DataError(where, found, f"labels must be in 0..{num_classes - 1}")


def check_targets(where: str, labels: Tensor, count: int) -> None:
    """Raise DataError unless there are labels for `count` images: int64 (N,), float (N, ...) that
    are finite, or int64 (N, H, W). A task takes one of these.
    """
    numbers = labels.is_floating_point()
    fits = labels.shape[:1] == (count,)
    if not fits or not (numbers or (labels.dtype == torch.int64 and labels.dim() in (1, 3))):
        found = f"labels are {labels.dtype} of shape {tuple(labels.shape)} for {count} images"
        right = (
            "give int64 (N,) for classes, float (N, K) for several labels or numbers, "
            "or int64 (N, H, W) for masks"
        )
        raise DataError(where, found, right)
    if numbers and not labels.isfinite().all():
        raise DataError(where, "labels contain NaN or infinite values", "give finite numbers")
