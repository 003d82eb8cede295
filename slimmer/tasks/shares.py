"""Each process's share of the batches of a DataLoader."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Sampler

from slimmer.errors import TaskError


class Share(Sampler[list[Any]]):
    """The same part of every batch of another batch sampler: together, the processes see the
    batches that one process would.

    A batch that can't be shared evenly is cut; one with fewer images than processes is left out.
    """

    def __init__(self, whole: Any, rank: int, world: int) -> None:
        self.whole, self.rank, self.world = whole, rank, world
        self.sampler = getattr(whole, "sampler", None)

    def __iter__(self) -> Iterator[list[Any]]:
        """The indices of every batch that this process loads."""
        for batch in self.whole:
            found = part(list(batch), self.rank, self.world)
            if found:
                yield found

    def __len__(self) -> int:
        """The number of batches that every process has a part of."""
        size, images = getattr(self.whole, "batch_size", None), _length(self.sampler)
        if not isinstance(size, int) or images is None or getattr(self.whole, "drop_last", True):
            return len(self.whole)
        left = images % size
        return len(self.whole) - int(0 < left < self.world)


def part(batch: Sequence[Any], rank: int, world: int) -> list[Any]:
    """The part of a batch that belongs to process `rank` of `world`; all parts are equally long.

    >>> part([7, 8, 9, 10, 11], 1, 2)
    [9, 10]
    """
    size = len(batch) // world
    return list(batch[rank * size : (rank + 1) * size])


def shared(loader: Any, rank: int, world: int) -> Any:
    """The loader of one of several processes; another kind of loader, or one whose sampler already
    shares its images, is returned unchanged.

    Raises TaskError if the batch size is not a multiple of the number of processes.
    """
    if world == 1 or not can_be_shared(loader):
        return loader
    size = loader.batch_size
    if isinstance(size, int) and size % world:
        right = f"use a multiple of {world}: each process gets its share of a batch"
        raise TaskError(
            "the training loader", f"has batches of {size} for {world} processes", right
        )
    return DataLoader(
        loader.dataset,
        batch_sampler=Share(loader.batch_sampler, rank, world),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
    )


def can_be_shared(loader: Any) -> bool:
    """Whether a loader is a DataLoader of a dataset with indices, whose sampler does not share its
    images itself.
    """
    if not isinstance(loader, DataLoader) or loader.batch_sampler is None:
        return False
    if isinstance(loader.dataset, IterableDataset):
        return False
    return not isinstance(loader.sampler, DistributedSampler)


def is_shared(loader: Any) -> bool:
    """Whether each process gets its own share of a loader's images."""
    sampler = getattr(loader, "sampler", None)
    return can_be_shared(loader) or isinstance(sampler, DistributedSampler)


def _length(sampler: Any) -> int | None:
    try:
        return len(sampler)
    except TypeError:
        return None
