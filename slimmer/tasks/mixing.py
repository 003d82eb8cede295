"""Mixup and CutMix: training images that are mixed in pairs, by draws of the seed and the step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slimmer.data import Batch

Mixed = tuple[Tensor, Tensor, Tensor, Tensor]
"""Images, their labels, the labels of those mixed into them, and the share of the former."""


@dataclass(frozen=True)
class Draw:
    """The random numbers of one batch: `generator` is seeded by the run's seed, the epoch and the
    batch's place, so that a resumed run mixes the same images.
    """

    generator: np.random.Generator

    @staticmethod
    def of(seed: int, epoch: int, place: int) -> "Draw":
        """The numbers of the batch at `place` of an epoch, equal in all processes."""
        key = [seed % 2**64, epoch, place]
        return Draw(np.random.Generator(np.random.Philox(np.random.SeedSequence(key))))

    def share(self, alpha: float) -> float:
        """A share of Beta(alpha, alpha)."""
        return float(self.generator.beta(alpha, alpha))

    def below(self, number: int) -> int:
        """A whole number from 0 to `number` - 1."""
        return int(self.generator.integers(number))


def mixed(batch: Batch, draw: Draw, *, mixup: float, cutmix: float) -> Mixed:
    """A batch in which every image is mixed with the one before it, the first with the last.

    `mixup` and `cutmix` are the alphas; if both are above 0, one of the two is drawn.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization (2018); Yun et al., CutMix
    (2019).
    """
    images, labels = batch
    others, other_labels = images.roll(1, 0), labels.roll(1, 0)
    cuts = cutmix > 0 and (mixup == 0 or draw.below(2) == 1)
    if cuts:
        images, share = _pasted(images, others, draw, draw.share(cutmix))
    else:
        share = draw.share(mixup)
        images = share * images + (1 - share) * others
    return images, labels, other_labels, torch.tensor(share, dtype=torch.float32)


def _pasted(images: Tensor, others: Tensor, draw: Draw, share: float) -> tuple[Tensor, float]:
    """The images with a rectangle of `others`, and the share of the area that is left of them."""
    height, width = images.shape[2:]
    rows, columns = (round(side * (1 - share) ** 0.5) for side in (height, width))
    top, left = draw.below(height) - rows // 2, draw.below(width) - columns // 2
    first, last = max(0, top), min(height, top + rows)
    start, end = max(0, left), min(width, left + columns)
    images = images.clone()
    images[:, :, first:last, start:end] = others[:, :, first:last, start:end]
    return images, 1 - max(0, last - first) * max(0, end - start) / (height * width)


def mixed_loss(loss: Callable[[Tensor], Tensor], batch: tuple[Tensor, ...]) -> Tensor:
    """The loss of the labels; for a mixed batch the sum of both losses by their shares."""
    if len(batch) == 2:
        return loss(batch[1])
    _, labels, others, share = batch
    return share * loss(labels) + (1 - share) * loss(others)
