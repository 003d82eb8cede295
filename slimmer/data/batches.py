"""Batches whose order and random augmentation are the same for any number of processes."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from slimmer.data.augment import CROP, FLIP, PLACE, SEED, draws, flipped, shifted
from slimmer.data.images import Data, Images, InMemory, Relabelled, check_mode
from slimmer.data.processes import Preparing, Request, in_processes, prepared
from slimmer.errors import DataError

Batch = tuple[Tensor, Tensor]
HELD = 2**30  # most bytes of images to keep in a device's memory; CIFAR-10 has 154 million


def steps(split: Images, batch_size: int) -> int:
    """The number of global batches per epoch: the full ones, or one with all images if there are
    fewer than a batch.
    """
    return max(1, len(split) // batch_size)


def held(split: Images, device: torch.device) -> Images:
    """The split with its images in the memory of `device`; unchanged on a CPU, if its images are
    not in memory, or if they take more than 1 GiB.

    Its batches are then made on that device, and are bitwise equal to those of the unchanged split;
    labels stay on the CPU.

    >>> split = InMemory(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
    >>> held(split, torch.device("cpu")) is split
    True
    >>> held(split, torch.device("meta")).load(torch.tensor([1])).device
    device(type='meta')
    """
    if device.type == "cpu":
        return split
    if isinstance(split, Relabelled):
        return Relabelled(held(split.images, device), split.labels)
    if isinstance(split, InMemory) and split.images.nbytes <= HELD:
        return InMemory(split.images.to(device), split.labels)
    return split


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The indices 0..count-1, int64, in the order of an epoch.

    >>> sorted(order(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    """
    places = draws(seed, epoch, torch.arange(count), columns=PLACE + 1)[:, PLACE]
    return torch.argsort(places, stable=True)


def places(
    split: Images, batch_size: int, *, epoch: int, seed: int, start: int = 0
) -> list[Tensor]:
    """The indices of the images in each global batch of an epoch, int64 (B,), without the first
    `start` batches.

    >>> split = InMemory(torch.zeros(5, 3, 4, 4), torch.arange(5))
    >>> [len(batch) for batch in places(split, 2, epoch=0, seed=0)]
    [2, 2]
    """
    size = min(batch_size, len(split))
    indices = order(len(split), seed, epoch)
    return [indices[k * size : (k + 1) * size] for k in range(start, steps(split, batch_size))]


def batches(
    split: Images,
    data: Data,
    *,
    batch_size: int,
    epoch: int,
    seed: int,
    augment: str,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    fill: int = 0,
    view: int | None = None,
) -> Iterator[Batch]:
    """The batches of one training epoch: images, normalised float32 (B, C, H, W), and labels, int64
    (B,) or whatever the split has. Labels with the height and width of the images are cropped and
    flipped like them; what comes in at the edges is `fill`. With `view`, images are augmented as in
    the epoch of that number; their order is still that of `epoch`.

    `batch_size` is the number of images of a global batch, which the `world` processes share: each
    gets one contiguous part of it, so that together they see bitwise the same images as one process
    would. The last global batch is dropped if it is not full, unless it is the only one. The first
    `start` batches are skipped without being read. Raises DataError if the processes can't share a
    batch evenly.
    """
    check_mode(data.name, augment)
    if not 0 <= rank < world or start < 0:
        raise ValueError(f"rank {rank} of {world}, start {start}")
    size = min(batch_size, len(split))
    if size < world or batch_size % world:
        found = f"a batch of {batch_size} from {len(split)} images, for {world} processes"
        right = f"use a positive multiple of {world}, and at least one image per process"
        raise DataError(data.name, found, right)
    mine = slice(rank * size // world, (rank + 1) * size // world)
    whole = places(split, batch_size, epoch=epoch, seed=seed, start=start)
    request = partial(_request, augment=augment, seed=seed, view=epoch if view is None else view)
    return _loaded(split, data, [batch[mine] for batch in whole], request, fill)


def view_batches(
    split: Images,
    data: Data,
    batch_size: int,
    *,
    view: int,
    seed: int,
    augment: str,
    fill: int = 0,
) -> Iterator[Batch]:
    """Every image of the split once, in the split's order, augmented as in the training epoch
    `view`, in batches of `batch_size` or a few less, so that none is much smaller. See `batches`.
    """
    check_mode(data.name, augment)
    request = partial(_request, augment=augment, seed=seed, view=view)
    parts = torch.arange(len(split)).tensor_split(math.ceil(len(split) / batch_size))
    return _loaded(split, data, parts, request, fill)


def _request(part: Tensor, *, augment: str, seed: int, view: int) -> Request:
    """The request of a training batch, with the draws that its augmentation needs."""
    if augment == "none":
        return Request(part)
    numbers = draws(seed, view, part)
    crops, flips = None, None
    if "crop" in augment:
        crops = numbers[:, CROP]
    if "flip" in augment:
        flips = numbers[:, FLIP]
    return Request(part, crops, flips, seeds=(numbers[:, SEED] * 2**53).long())


def evaluation_batches(
    split: Images, data: Data, batch_size: int, *, places: Tensor | None = None
) -> Iterator[Batch]:
    """Every image of the split once, in the split's order and not augmented; the last batch may be
    smaller.

    With `places`, int64, only the images at these indices, in that order.
    """
    if batch_size < 1:
        raise DataError(data.name, f"a batch of {batch_size} images", "use at least 1")
    chosen = torch.arange(len(split)) if places is None else places
    return _loaded(split, data, torch.split(chosen, batch_size), Request)


def _loaded(
    split: Images,
    data: Data,
    parts: Sequence[Tensor],
    request: Callable[[Tensor], Request],
    fill: int = 0,
) -> Iterator[Batch]:
    """The batches of the images at the indices in `parts`, each prepared as `request` says."""
    work = Preparing(split, data.mean, data.std, request)
    processes = in_processes(split)
    if processes is not None:
        batches = prepared(work, parts, processes.workers, data.name)
    elif split.ahead == 0:
        batches = map(work, parts)
    else:
        batches = _ahead(work, parts, split.ahead)
    for part, images in zip(parts, batches, strict=True):
        labels = split.labels[part]
        if is_map(labels, data.size):
            labels = _like_images(labels, request(part), fill)
        yield images, labels


def is_map(labels: Tensor, size: tuple[int, int]) -> bool:
    """Whether labels (N, ..., H, W) have a value for each pixel of images of `size`.

    >>> is_map(torch.zeros(5, 8, 8), (8, 8)), is_map(torch.zeros(5, 8), (8, 8))
    (True, False)
    """
    return labels.dim() > 2 and tuple(labels.shape[-2:]) == size


def _like_images(labels: Tensor, request: Request, fill: int) -> Tensor:
    """The labels (B, ..., H, W), cropped and flipped as their images are."""
    flat = labels.reshape(len(labels), -1, *labels.shape[-2:])
    if request.crops is not None:
        flat = shifted(flat, request.crops, fill)
    if request.flips is not None:
        flat = flipped(flat, request.flips)
    return flat.reshape(labels.shape)


def _ahead(work: Preparing, parts: Sequence[Tensor], ahead: int) -> Iterator[Tensor]:
    """The batches in their order, of which up to `ahead` are prepared in the background."""
    waiting: deque[Future[Tensor]] = deque()
    # While one thread reads files, in further threads, the other normalises the batch before.
    with ThreadPoolExecutor(max_workers=2) as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(work, part))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
