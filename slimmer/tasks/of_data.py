"""The batches of a ready-made task, from a data set."""

from collections.abc import Iterator
from dataclasses import dataclass

from slimmer.data import Batch, Data, batches, evaluation_batches, steps
from slimmer.data.batches import held
from slimmer.tasks.epochs import Epoch, processes

TESTED_AT_ONCE = 500  # images


@dataclass(frozen=True, eq=False)
class Training:
    """The training images of a data set, as `Epochs`; see `slimmer.data.batches`."""

    data: Data

    def steps(self, batch_size: int) -> int:
        """The number of global batches of an epoch."""
        return steps(self.data.train, batch_size)

    def epoch(self, wanted: Epoch) -> Iterator[Batch]:
        """The batches of an epoch: images (B, C, H, W) and labels."""
        rank, world = processes() if wanted.shared else (0, 1)
        return batches(
            held(self.data.train, wanted.device),
            self.data,
            batch_size=wanted.batch_size,
            epoch=wanted.number,
            seed=wanted.seed,
            augment=self.data.augment if wanted.augment else "none",
            rank=rank,
            world=world,
            start=wanted.start,
        )


@dataclass(frozen=True, eq=False)
class Testing:
    """The test images of a data set with their labels, each once."""

    data: Data

    def __iter__(self) -> Iterator[Batch]:
        """The batches, of 500 images."""
        return evaluation_batches(self.data.test, self.data, TESTED_AT_ONCE)
