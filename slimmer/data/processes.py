"""Batches that worker processes prepare, each image with a random state of its own."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slimmer.data.augment import flipped, normalised
from slimmer.data.images import Images, Relabelled
from slimmer.errors import DataError, first_line

AT_ONCE = 64  # images that a process sends together: more would fill the shared memory


@dataclass(frozen=True)
class InProcesses:
    """Images that `workers` processes read, or the main process if there are none.

    `transforms` changes one image (C, H, W) in training. Before an image is read, the random
    generators of Python, NumPy and PyTorch are set to a seed that depends on only the run's seed,
    the epoch and the image, so that random transforms are the same in a resumed run.
    """

    images: Images
    workers: int
    transforms: Callable[[Tensor], Tensor] | None = None
    ahead: int = 0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor:
        """Those of the images."""
        return self.images.labels

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`, without `transforms`; see `Images.load`."""
        with own_random_state():
            return _one_by_one(self.images, indices, crops, indices, None)


@dataclass(frozen=True)
class Request:
    """A batch to prepare: the indices of its images (B,), the draws of their crops (B, 4) and flips
    (B,), and the seeds (B,) of their other random changes; None where they are not changed.
    """

    indices: Tensor
    crops: Tensor | None = None
    flips: Tensor | None = None
    seeds: Tensor | None = None


@dataclass(frozen=True)
class Preparing:
    """The work on a batch: read, change and normalise its images as `request` says."""

    images: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]
    request: Callable[[Tensor], Request]

    def __call__(self, part: Tensor) -> Tensor:
        """The images at the indices in `part`, float32 (B, C, H, W)."""
        request = self.request(part)
        found = in_processes(self.images)
        if found is None:
            images = self.images.load(request.indices, request.crops)
        else:
            seeds, transforms = request.seeds, found.transforms
            if seeds is None:
                seeds, transforms = request.indices, None
            images = _one_by_one(found.images, request.indices, request.crops, seeds, transforms)
        if request.flips is not None:
            images = flipped(images, request.flips)
        return normalised(images, self.mean, self.std)


def in_processes(images: Images) -> InProcesses | None:
    """The images that processes read, if these do; the labels of `images` may be others."""
    if isinstance(images, Relabelled):
        return in_processes(images.images)
    if isinstance(images, InProcesses):
        return images
    return None


def prepared(
    work: Preparing, parts: Sequence[Tensor], workers: int, where: str
) -> Iterator[Tensor]:
    """The batches of the images at the indices in `parts`, in their order, prepared in `workers`
    processes, or in this one without changing its random state.

    Raises DataError for an image that can't be read, or if a process ends.
    """
    if workers == 0:
        for part in parts:
            with own_random_state():
                batch = work(part)
            yield batch
        return
    pieces: list[Tensor] = []
    for part in parts:
        pieces += part.split(AT_ONCE)
    loader: DataLoader[Any] = DataLoader(
        _Batches(work, pieces),
        batch_size=None,
        num_workers=workers,
        collate_fn=_same,
        generator=torch.Generator(),  # so that none is drawn from the global one
    )
    made = _received(iter(loader), where)
    for part in parts:
        whole = [next(made) for _ in part.split(AT_ONCE)]
        yield whole[0] if len(whole) == 1 else torch.cat(whole)


def _received(batches: Iterator[Any], where: str) -> Iterator[Tensor]:
    """What the processes send. Raises DataError if they send an error, or end."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:  # DataLoader says so when a process was killed
            found = f"a worker process ended ({first_line(error)})"
            right = "use fewer with data.workers if memory ran out; 0 reads in the main process"
            raise DataError(where, found, right) from error
        if isinstance(batch, tuple):
            raise DataError(*batch)
        yield batch


class _Batches(Dataset[Any]):
    """A Dataset whose items are batches; an error is returned as its three texts, since DataLoader
    can't send it.
    """

    def __init__(self, work: Preparing, parts: Sequence[Tensor]) -> None:
        self.work, self.parts = work, parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> Tensor | tuple[str, str, str]:
        try:
            return self.work(self.parts[place])
        except DataError as error:
            return error.where, error.found, error.right


def _same(batch: Any) -> Any:
    return batch


def _one_by_one(
    images: Images,
    indices: Tensor,
    crops: Tensor | None,
    seeds: Tensor,
    transforms: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """The images at `indices`, each read and transformed with the random state of its seed."""
    made = []
    for place, seed in enumerate(seeds.tolist()):
        seed_all(seed)
        one = slice(place, place + 1)
        crop = None
        if crops is not None:
            crop = crops[one]
        image = images.load(indices[one], crop)[0]
        if transforms is not None:
            image = _changed(image, transforms, int(indices[place]))
        made.append(image)
    return torch.stack(made)


def _changed(image: Tensor, transforms: Callable[[Tensor], Tensor], index: int) -> Tensor:
    try:
        return transforms(image)
    except Exception as error:  # torchvision raises anything
        found = f"failed on image {index} with {type(error).__name__}: {first_line(error)}"
        raise DataError("data.transforms", found, "leave out the transform that fails") from error


def seed_all(seed: int) -> None:
    """Set the random generators of PyTorch's CPU, NumPy and Python."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that users' transforms draw from
    random.seed(seed)


@contextmanager
def own_random_state() -> Iterator[None]:
    """A block after which the random generators have the state that they had before."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - as above
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
