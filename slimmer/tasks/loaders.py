"""The batches of a user's loader, epoch by epoch."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Tensor

from slimmer.errors import SlimmerError, TaskError
from slimmer.tasks.epochs import Epoch, processes
from slimmer.tasks.randomness import Randomness, seed_, seed_of
from slimmer.tasks.shares import shared

TRAINING, TEST = "the training loader", "the test loader"
SIGNAL_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class LoaderEpochs:
    """A user's loader as `Epochs`; it has its own batch size.

    `length` is the number of batches of an epoch in one process.
    """

    loader: Any
    length: int

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch; `batch_size` is not used."""
        del batch_size
        rank, world = processes()
        mine = shared(self.loader, rank, world)
        return self.length if mine is self.loader else min(self.length, len(mine))

    def epoch(self, wanted: Epoch) -> Iterator[Any]:
        """The batches of an epoch, from the loader's own order and augmentation.

        Raises TaskError if the loader fails, ends too early, or changes the structure of its
        batches.
        """
        rank, world = processes() if wanted.shared else (0, 1)
        mine = shared(self.loader, rank, world)
        length = self.length if mine is self.loader else min(self.length, len(mine))
        seed = seed_of(wanted.seed, wanted.number)
        randomness = Randomness(seed)
        with randomness:
            seed_(self.loader, seed, wanted.number)
        found = fetched(mine, TRAINING, randomness)
        first = None
        for place, batch in zip(range(length), found, strict=False):
            kind = structure(batch)
            first = kind if first is None else first
            if kind != first:
                where = f"{TRAINING}, batch {place + 1}"
                raise TaskError(where, f"is {kind}, but the first is {first}", "give equal batches")
            if place >= wanted.start:
                yield batch
            if place + 1 == length:
                return
        given = 0 if first is None else place + 1
        found_text = f"ends after {given} of {length} batches"
        raise TaskError(TRAINING, found_text, "let its length, or the task's steps, say how many")


@dataclass(frozen=True, eq=False)
class LoaderTests:
    """A user's test loader; every pass starts with the same seed."""

    loader: Any

    def __iter__(self) -> Iterator[Any]:
        """Its batches. Raises TaskError if the loader fails or is empty."""
        randomness = Randomness(0)
        with randomness:
            seed_(self.loader, 0, 0)
        empty = True
        for batch in fetched(self.loader, TEST, randomness):
            empty = False
            yield batch
        if empty:
            raise TaskError(
                TEST, "is empty", "give at least one batch, and let each pass start anew"
            )


def fetched(loader: Iterable[Any], where: str, randomness: Randomness) -> Iterator[Any]:
    """The batches of a loader, each drawn with its own randomness.

    Raises TaskError, with the number of the batch, for whatever the loader raises.
    """
    iterator: Iterator[Any] | None = None
    try:
        for number in count(1):
            try:
                with randomness:
                    iterator = iter(loader) if iterator is None else iterator
                    batch = next(iterator)
            except StopIteration:
                return
            except SlimmerError:
                raise
            except Exception as error:
                raise _failure(error, f"{where}, batch {number}") from error
            yield batch
    finally:
        if not getattr(loader, "persistent_workers", False):
            _end_workers(iterator)


def _failure(error: Exception, where: str) -> TaskError:
    """The error for whatever a loader raised."""
    if _worker_died(error):
        with suppress(RuntimeError):  # PyTorch raises it again at the signal of the dead process
            time.sleep(SIGNAL_SECONDS)
        right = (
            "often memory or shared memory (/dev/shm) ran out: use fewer workers; "
            "with num_workers=0 the data set's own error is seen"
        )
        return TaskError(where, "a worker process died", right)
    found = f"fails with {type(error).__name__}: {last_line(error)}"
    right = "fix the data set or its transforms; with num_workers=0 the error is shorter"
    return TaskError(where, found, right)


def _worker_died(error: BaseException) -> bool:
    """Whether an error of a DataLoader means that a worker ended, instead of raising an error."""
    if "Caught" in str(error):
        return False
    return isinstance(error, EOFError | ConnectionError) or "exited unexpectedly" in str(error)


def _end_workers(iterator: Any) -> None:
    """End the workers of a DataLoader's iterator.

    A worker may have died while it read ahead. PyTorch's handler of that signal raises an error
    wherever the program is then, as long as the workers are not ended; here it is of no interest.
    """
    end = getattr(iterator, "_shutdown_workers", None)
    if end is not None:
        with suppress(RuntimeError):
            end()


def last_line(error: BaseException) -> str:
    """The last line of an error's message: that of a worker process starts with its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def structure(batch: Any) -> str:
    """The structure of a batch in words: the types of its entries, without sizes.

    >>> import torch
    >>> structure((torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)))
    'a tuple of float32 (4 dimensions) and int64 (1 dimension)'
    """
    if isinstance(batch, Mapping):
        entries = [f"{key!r}: {_entry(value)}" for key, value in batch.items()]
        return f"a mapping of {' and '.join(entries)}"
    if isinstance(batch, list | tuple):
        return f"a {type(batch).__name__} of {' and '.join(map(_entry, batch))}"
    return _entry(batch)


def _entry(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    noun = "dimension" if value.dim() == 1 else "dimensions"
    return f"{str(value.dtype).removeprefix('torch.')} ({value.dim()} {noun})"
