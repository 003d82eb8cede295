"""Outputs of exported files: batches of a fixed size, data types, and top-1 accuracy."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from slimmer.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
# ONNX Runtime's names of all types except float32.
TYPES: dict[str, Any] = {
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}


def as_type(x: Array, name: str) -> Array:
    """`x` in the type that ONNX Runtime calls `name`; the same array if it has that type already.

    >>> as_type(np.zeros(2, dtype=np.float32), "tensor(float16)").dtype
    dtype('float16')
    """
    return x.astype(TYPES.get(name, np.float32), copy=False)


def in_batches(answer: Callable[[Array], list[Array]], images: Array, batch: int) -> list[Array]:
    """All outputs for `images` (N, …), computed in batches of exactly `batch`; the last image is
    repeated to fill the last batch.

    >>> halves = lambda x: [x / 2, x.sum(axis=1)]
    >>> [part.tolist() for part in in_batches(halves, np.array([[2.0], [4.0], [6.0]]), 2)]
    [[[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0]]
    """
    filled = np.concatenate([images, np.repeat(images[-1:], -len(images) % batch, axis=0)])
    parts = [answer(filled[start : start + batch]) for start in range(0, len(filled), batch)]
    return [np.concatenate(each)[: len(images)] for each in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Judged:
    """Which images are classified correctly, (N,) bool, and by what margin, (N,).

    `margin` is the difference between the two largest logits, relative to the largest magnitude of
    all logits. If every logit changes by less than half of it, the class can't change.
    """

    right: Array
    margin: Array

    @property
    def accuracy(self) -> float:
        """The share of images that are classified correctly, 0 to 1."""
        return int(self.right.sum()) / len(self.right)

    def unclear(self, tolerance: float) -> Array:
        """The indices, int64, of images whose class may change if logits change by `tolerance`,
        relative to the largest magnitude.
        """
        # Not `margin <= …`, because a NaN must be unclear.
        return np.flatnonzero(~(self.margin > 2 * tolerance))


def judged(
    answer: Callable[[Array], Array],
    batches: Iterable[tuple[Any, Any]],
    *,
    where: str,
    batch: int | None = None,
) -> Judged:
    """Which images `answer`, a function that returns logits (N, classes), classifies correctly, and
    by what margin.

    `batches` are (images (N, C, H, W) float32, labels (N,)), tensors on the CPU or arrays; `batch`
    is the batch size that `answer` takes, if it is fixed. Raise DataError if there is no image.
    """
    from slimmer.graph import top1_hits  # noqa: PLC0415 - files are timed without PyTorch

    right, margins, largest = [], [], 0.0
    for images, labels in batches:
        given = np.asarray(images)
        if batch is None:
            logits = answer(given)
        else:
            [logits] = in_batches(lambda x: [answer(x)], given, batch)
        right.append(top1_hits(logits, np.asarray(labels)))
        margins.append(_margins(logits))
        largest = max(largest, float(np.abs(logits).max()))
    if not right:
        raise DataError(where, "no images", "a split with at least one image")
    with np.errstate(invalid="ignore"):
        return Judged(np.concatenate(right), np.concatenate(margins) / (largest or 1.0))


def _margins(logits: Array) -> Array:
    """The difference between each image's two largest logits, (N,); infinite with one class."""
    if logits.shape[1] == 1:
        return np.full(len(logits), np.inf)
    best = np.partition(logits.astype(np.float64), -2, axis=1)
    with np.errstate(invalid="ignore"):
        return best[:, -1] - best[:, -2]
