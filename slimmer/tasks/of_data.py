"""The batches of a ready-made task, from a data set."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from slimmer.data import Batch, Data, batches, evaluation_batches, steps
from slimmer.data.batches import held, places, view_batches
from slimmer.tasks.epochs import Epoch, processes
from slimmer.tasks.mixing import Draw, Mixed, mixed

TESTED_AT_ONCE = 500  # images


@dataclass(frozen=True, eq=False)
class Training:
    """The training images of a data set, as `Epochs`; see `slimmer.data.batches`.

    `mixup` and `cutmix` are the alphas by which augmented images are mixed; 0 turns each off.
    `fill` comes in at the edges of masks that are cropped like their images.
    """

    data: Data
    mixup: float = 0.0
    cutmix: float = 0.0
    fill: int = 0

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others, which are new ones in every epoch."""
        return bool(self.mixup or self.cutmix)

    def steps(self, batch_size: int) -> int:
        """The number of global batches of an epoch."""
        return steps(self.data.train, batch_size)

    def epoch(self, wanted: Epoch) -> Iterator[Batch] | Iterator[Mixed]:
        """The batches of an epoch: images (B, C, H, W) and labels, or mixed ones."""
        plain = self._batches(wanted)
        training = wanted.augment and wanted.shared  # scores and batch norms see whole images
        if not training or not self.mixes:
            return plain
        return self._mixed(wanted, plain)

    def places(self, wanted: Epoch) -> list[Tensor]:
        """The indices of the images in each global batch of an epoch, int64 (B,)."""
        split, size = self.data.train, wanted.batch_size
        return places(split, size, epoch=wanted.number, seed=wanted.seed, start=wanted.start)

    def in_order(self, wanted: Epoch) -> Iterator[Batch]:
        """Every image once, as it is seen in an epoch, in the order of the split: images
        (B, C, H, W) and labels. Images are not mixed, and every process gets all of them.
        """
        return view_batches(
            held(self.data.train, wanted.device),
            self.data,
            wanted.batch_size,
            view=wanted.view,
            seed=wanted.seed,
            augment=self.data.augment,
            fill=self.fill,
        )

    def _mixed(self, wanted: Epoch, plain: Iterator[Batch]) -> Iterator[Mixed]:
        for place, batch in enumerate(plain, start=wanted.start):
            draw = Draw.of(wanted.seed, wanted.number, place)
            yield mixed(batch, draw, mixup=self.mixup, cutmix=self.cutmix)

    def _batches(self, wanted: Epoch) -> Iterator[Batch]:
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
            fill=self.fill,
            view=wanted.view,
        )


@dataclass(frozen=True, eq=False)
class Testing:
    """The test images of a data set with their labels, each once."""

    data: Data

    def __iter__(self) -> Iterator[Batch]:
        """The batches, of 500 images."""
        return evaluation_batches(self.data.test, self.data, TESTED_AT_ONCE)
