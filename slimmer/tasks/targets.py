"""The labels that each ready-made task takes."""

import torch
from torch import Tensor

from slimmer.data import Data, InMemory
from slimmer.data.batches import is_map
from slimmer.errors import DataError


def _splits(data: Data) -> list[tuple[str, Tensor]]:
    return [(f"{data.name}, train", data.train.labels), (f"{data.name}, test", data.test.labels)]


def _refused(where: str, labels: Tensor, right: str) -> DataError:
    found = f"labels are {labels.dtype} of shape {tuple(labels.shape)}"
    return DataError(where, found, right)


def check_classes(data: Data) -> None:
    """Raise DataError unless labels are the numbers of classes, int64 (N,)."""
    for where, labels in _splits(data):
        if labels.dtype != torch.int64 or labels.dim() != 1:
            right = (
                "labels must be int64 (N,), one class for each image; for others set task.name to "
                "multilabel, regression or segmentation"
            )
            raise _refused(where, labels, right)


def check_several(data: Data) -> None:
    """Raise DataError unless labels are 0 or 1 for each class, float (N, K)."""
    for where, labels in _splits(data):
        shape = (len(labels), data.num_classes)
        if not labels.is_floating_point() or tuple(labels.shape) != shape:
            raise _refused(where, labels, f"give float {shape} of zeros and ones")
        if ((labels < 0) | (labels > 1)).any():
            found = f"labels are between {float(labels.min()):g} and {float(labels.max()):g}"
            raise DataError(where, found, "give 1 for a class that an image has, else 0")


def check_numbers(data: Data) -> None:
    """Raise DataError unless labels are numbers, float (N, ...)."""
    for where, labels in _splits(data):
        if not labels.is_floating_point():
            raise _refused(where, labels, "give float numbers, (N,) or (N, K)")


def check_masks(data: Data, ignore_index: int) -> None:
    """Raise DataError unless labels are masks, int64 (N, H, W), of known classes or of
    `ignore_index`, and unless crops of images and masks are the same.
    """
    for where, labels in _splits(data):
        if labels.dtype != torch.int64 or labels.dim() != 3 or not is_map(labels, data.size):
            right = f"give int64 (N, {data.size[0]}, {data.size[1]}), a class for each pixel"
            raise _refused(where, labels, right)
        wrong = ((labels < 0) | (labels >= data.num_classes)) & (labels != ignore_index)
        if wrong.any():
            found = f"masks contain the class {int(labels[wrong][0])}"
            right = f"give classes in 0..{data.num_classes - 1}, or ignore_index {ignore_index}"
            raise DataError(where, found, right)
    if "crop" in data.augment and not isinstance(data.train, InMemory):
        found = f"augment is {data.augment!r}, but the images are read one by one"
        raise DataError(data.name, found, "give tensors, or data.augment none or flip")
    if data.augment == "transforms":
        found = "augment is 'transforms', which would not change the masks"
        raise DataError(data.name, found, "choose none, crop, flip or crop_flip")
