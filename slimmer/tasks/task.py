"""A task: what a network is trained for, by its batches, its loss and its metrics."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from slimmer.data import Data


@dataclass(frozen=True)
class MetricKind:
    """A metric: its name, its direction, and whether it is a share that is shown in percent."""

    name: str
    higher_is_better: bool
    percent: bool = False

    def shown(self, value: float) -> str:
        """A value as text.

        >>> MetricKind("top-1", True, percent=True).shown(0.5), MetricKind("MSE", False).shown(0.5)
        ('50.00%', '0.5')
        """
        return f"{value:.2%}" if self.percent else f"{value:.4g}"


def first_of(batch: Any) -> Any:
    """What the network takes of a batch: the batch itself if it is a tensor, else its first entry.

    >>> first_of((1, 2)), first_of([3, 4])
    (1, 3)
    """
    return batch if isinstance(batch, Tensor) else batch[0]


@dataclass(frozen=True, eq=False)
class Task:
    """What a network is trained and tested on.

    Attributes:
        train: batches of training data. Each `iter()` of it starts again.
        test: batches of test data, likewise; None if nothing is measured.
        loss: takes (outputs, batch) and returns a scalar; None to train by distillation only.
        meters: metrics of torchmetrics by name; the first one is the main metric.
        metrics: takes (outputs, batch) and returns, by name, the arguments of the meter's `update`,
            or for a name without a meter a tensor of values, which are averaged. By default every
            meter gets (outputs, batch[1]).
        higher_is_better: the direction of a metric whose meter does not know it, by name.
        inputs: takes a batch and returns what the network takes: a tensor, a tuple of arguments, or
            arguments by name. By default the batch itself if it is a tensor, else its first entry.
        distill: takes (outputs, the teacher's outputs) and returns a scalar. By default the mean
            squared error of every output tensor, or with `logits` what `finetune.temperature` says:
            the squared difference of the scores by default.
        logits: whether the first output is class scores (N, classes, ...).
        example_inputs: the arguments of one call; by default those of the first batch.
        calibration: batches that int8 files are calibrated on; by default those of `train`.
        steps: the number of batches of an epoch, for a loader that does not know its length.
        name: the task's name in reports.
        data: the data set that a ready-made task was made from.
        kinds: the metrics with their directions; slimmer finds them by the first test batch.
    """

    train: Any
    test: Iterable[Any] | None = None
    loss: Callable[[Any, Any], Tensor] | None = None
    meters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Callable[[Any, Any], Mapping[str, Any]] | None = None
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)
    inputs: Callable[[Any], Any] = first_of
    distill: Callable[[Any, Any], Tensor] | None = None
    logits: bool = False
    example_inputs: Any = None
    calibration: Iterable[Any] | None = None
    steps: int | None = None
    name: str = "task"
    data: Data | None = None
    kinds: tuple[MetricKind, ...] = ()

    @property
    def input_size(self) -> tuple[int, ...]:
        """The size of one image, such as (channels, height, width); empty if the network takes
        something else.
        """
        if self.data is not None:
            return self.data.input_size
        example = self.example_inputs
        if isinstance(example, Tensor) and example.is_floating_point() and example.dim() > 1:
            return tuple(example.shape[1:])
        return ()

    @property
    def main(self) -> MetricKind | None:
        """The main metric; None if nothing is measured."""
        return self.kinds[0] if self.kinds else None
