"""What a file answers: whole batches for a file that takes no others, and the share of right
classes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from slimmer.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
# ONNX Runtime's names of the types that are not float32.
TYPES: dict[str, Any] = {
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    **{
        f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}").type
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    "tensor(bool)": np.bool_,
}


def as_type(x: Array, name: str) -> Array:
    """`x` in the type that ONNX Runtime calls `name`; the same array where it is that already.

    >>> as_type(np.zeros(2, dtype=np.float32), "tensor(float16)").dtype
    dtype('float16')
    """
    return x.astype(TYPES.get(name, np.float32), copy=False)


def in_batches(answer: Callable[[Array], list[Array]], images: Array, batch: int) -> list[Array]:
    """All outputs for `images` (N, ...), asked in batches of exactly `batch`; the last image fills
    up the last one.

    >>> halves = lambda x: [x / 2, x.sum(axis=1)]
    >>> [part.tolist() for part in in_batches(halves, np.array([[2.0], [4.0], [6.0]]), 2)]
    [[[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0]]
    """
    filled = np.concatenate([images, np.repeat(images[-1:], -len(images) % batch, axis=0)])
    parts = [answer(filled[start : start + batch]) for start in range(0, len(filled), batch)]
    return [np.concatenate(each)[: len(images)] for each in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Judged:
    """Which images get the right class, (N,) bool, and how clearly each gets its class, (N,).

    `margin` is how far the best logit is above the second, in parts of the largest magnitude of all
    logits: a class can't change where every logit moves by less than half of it.
    """

    right: Array
    margin: Array

    @property
    def accuracy(self) -> float:
        """The share of images with the right class."""
        return int(self.right.sum()) / len(self.right)

    def unclear(self, tolerance: float) -> Array:
        """The places, int64, of images whose class may change where logits move by `tolerance` of
        the largest.
        """
        return np.flatnonzero(
            ~(self.margin > 2 * tolerance)
        )  # said this way round, since a NaN is unclear


def judged(
    answer: Callable[[Array], Array],
    batches: Iterable[tuple[Any, Any]],
    *,
    where: str,
    batch: int | None = None,
) -> Judged:
    """Which images `answer`, which gives logits (N, classes), puts into the class that labels name,
    and how clearly.

    `batches` are (images (N, C, H, W) float32, labels (N,)), tensors on the CPU or arrays; `batch`
    is the one number of images that `answer` takes, where there is one. Raises DataError where
    there is no image.
    """
    right, margins, largest = [], [], 0.0
    for images, labels in batches:
        given = np.asarray(images)
        logits = (
            answer(given) if batch is None else in_batches(lambda x: [answer(x)], given, batch)[0]
        )
        right.append(logits.argmax(axis=1) == np.asarray(labels))
        margins.append(_margins(logits))
        largest = max(largest, float(np.abs(logits).max()))
    if not right:
        raise DataError(where, "no images", "a split with at least one image")
    with np.errstate(invalid="ignore"):
        return Judged(np.concatenate(right), np.concatenate(margins) / (largest or 1.0))


def _margins(logits: Array) -> Array:
    """How far each image's best logit is above its second, (N,); infinitely far where there is one
    class.
    """
    if logits.shape[1] == 1:
        return np.full(len(logits), np.inf)
    best = np.partition(logits.astype(np.float64), -2, axis=1)
    with np.errstate(invalid="ignore"):
        return best[:, -1] - best[:, -2]
