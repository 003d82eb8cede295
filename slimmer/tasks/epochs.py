"""The batches of training, epoch by epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.distributed import get_rank, get_world_size, is_available, is_initialized

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Epoch:
    """The request for the batches of one epoch.

    `seed` and `number` decide on the order and on everything else that is random. `batch_size` is
    that of the recipe, over all processes; a user's loader has its own. The first `start` batches
    are skipped. With `augment=False` images are not augmented if that can be turned off. `shared`
    is true if each process gets its share of every batch, and false if each gets all of it. After
    `views` epochs the random views of ready-made tasks' images repeat, but not their order.
    """

    number: int
    seed: int
    batch_size: int
    start: int = 0
    augment: bool = True
    shared: bool = True
    device: torch.device = CPU
    views: int | None = None

    @property
    def view(self) -> int:
        """The number of the epoch whose random views of the images are seen: its own by default.

        >>> Epoch(7, seed=0, batch_size=128, views=3).view, Epoch(7, seed=0, batch_size=128).view
        (1, 7)
        """
        return self.number if self.views is None else self.number % self.views


class Epochs(Protocol):
    """Batches of training, which are the same for one seed and epoch."""

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch."""
        ...

    def epoch(self, wanted: Epoch) -> Iterator[Any]:
        """The batches of an epoch."""
        ...


def processes() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if is_available() and is_initialized():
        return get_rank(), get_world_size()
    return 0, 1
