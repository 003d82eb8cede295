"""Image files that are decoded on loading, in several threads."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from slimmer.data.decode import ImageBytes, decoded
from slimmer.data.images import Skipped, Wanted
from slimmer.data.views import view
from slimmer.errors import DataError

T = TypeVar("T", bound=ImageBytes)


@dataclass(frozen=True)
class ImageFiles:
    """Images that are decoded on loading, in `workers` threads: by default one per core."""

    files: Sequence[ImageBytes]
    labels: Tensor
    size: tuple[int, int]
    grey: bool = False
    upright: bool = False
    workers: int | None = None
    ahead: int = 2

    def __len__(self) -> int:
        return len(self.files)

    @property
    def channels(self) -> int:
        """The number of colour channels."""
        return 1 if self.grey else 3

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`; see `Images.load`. Raises DataError with the name of a file that
        can't be read.
        """
        drawn = [None] * len(indices) if crops is None else crops.tolist()
        made = np.empty((len(indices), *self.size, self.channels), np.uint8)

        def read(place: int, index: int, crop: list[float] | None) -> None:
            file = self.files[index]
            made[place] = view(file, self.size, crop, grey=self.grey, upright=self.upright)

        tasks = (range(len(indices)), indices.tolist(), drawn)
        if len(indices) == 1:  # in a worker process, which has no use for threads
            list(map(read, *tasks))
        else:
            # Pillow lets other threads run while it decodes and resizes.
            with ThreadPoolExecutor(max_workers=threads(self.workers)) as pool:
                list(pool.map(read, *tasks))
        return torch.from_numpy(made).permute(0, 3, 1, 2)


def threads(workers: int | None) -> int:
    """The number of threads for reading files: `workers`, or one per core, at most 32."""
    if workers is not None:
        return max(1, workers)
    return min(32, cores())


def cores() -> int:
    """The number of cores that this process may use; under torchrun, its share of them."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return max(1, count // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def readable_only(
    files: Sequence[T], labels: Tensor, wanted: Wanted, where: str
) -> tuple[list[T], Tensor, tuple[Skipped, ...]]:
    """The files that can be decoded with their labels, and the others, if there are any.

    Every file is decoded once, a JPEG at an eighth of its size. Raises DataError if no file is
    left.
    """
    with ThreadPoolExecutor(max_workers=threads(wanted.workers)) as pool:
        faults = list(pool.map(_fault, files))
    kept = [place for place, fault in enumerate(faults) if fault is None]
    named = [fault for fault in faults if fault is not None]
    if not named:
        return list(files), labels, ()
    if not kept:
        raise DataError(where, "no image can be read", named[0])
    skipped = Skipped(where, tuple(named))
    return [files[place] for place in kept], labels[torch.tensor(kept)], (skipped,)


def _fault(file: ImageBytes) -> str | None:
    """What is wrong with an image file, in one line; None if it can be decoded."""
    try:
        decoded(file, "RGB", resized=lambda _width, _height: (0.5, 0.5))
    except DataError as error:
        return f"{error.where}: {error.found}"
    return None
