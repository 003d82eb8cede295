"""The settings of training, and what they say about each step: its epoch and learning rate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, cos, pi
from typing import Any

from slimmer.recipe.optimizers import SGD
from slimmer.tasks import Task


@dataclass(frozen=True)
class Training:
    """The settings of training; `epochs` include the part under masks and the fine-tuning of the
    slim network, which share one learning-rate schedule.
    """

    epochs: float
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    warmup: float
    distill: float
    seed: int
    temperature: float | None = None
    mask_lr: float = 0.1
    mask_decay: float = 0.0
    drops: tuple[float, ...] = ()
    optimizer: str = SGD
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    clip: float | None = None
    ema: float = 0.0
    accumulate: int = 1
    compile: bool = False
    views: int | None = None

    def batches(self, task: Task) -> int:
        """The number of batches of an epoch."""
        found: int = task.train.steps(self.batch_size)
        return found

    def steps(self, task: Task) -> int:
        """The total number of training steps of the run, each with `accumulate` batches."""
        return self.steps_in(self.epochs, task)

    def steps_in(self, epochs: float, task: Task) -> int:
        """The number of training steps in a number of epochs."""
        return round(epochs * self.batches(task) / self.accumulate)

    def epoch(self, step: int, task: Task) -> float:
        """The number of epochs that are done after `step` steps."""
        return step * self.accumulate / self.batches(task)

    def end_of_epoch(self, step: int, task: Task) -> int:
        """The first step after `step` that ends an epoch."""
        per_epoch = self.batches(task)
        ended = step * self.accumulate // per_epoch + 1
        return ceil(ended * per_epoch / self.accumulate)

    def repeated_views(self, task: Task) -> int:
        """The number of views of each image that more than one epoch of the whole run shows, from
        the first view on; a part of an epoch counts as one.
        """
        if self.views is None:
            return 0
        begun = ceil(self.steps(task) * self.accumulate / self.batches(task))
        return max(0, min(self.views, begun - self.views))


def learning_rate(step: int, total: int, training: Training) -> float:
    """The learning rate: a linear warm-up over the first `warmup` of all steps, then a cosine down
    to zero at `total`, or with `drops` a division by ten at each of them.
    """
    rise = max(1, round(training.warmup * total))
    if training.drops:
        fall = 0.1 ** sum(step >= share * total for share in training.drops)
    else:
        fall = 0.5 * (1 + cos(pi * step / max(1, total)))
    return training.lr * min(1.0, (step + 1) / rise) * fall
