"""The classification of images that may belong to several classes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from slimmer.data import Data
from slimmer.graph import logits
from slimmer.recipe.sections import Section
from slimmer.tasks.of_data import Testing, Training
from slimmer.tasks.targets import check_several
from slimmer.tasks.task import Task

NAME = "multilabel"


class MultilabelOptions(Section):
    """The multi-label task has no options."""


def multilabel(data: Data, options: MultilabelOptions | None = None) -> Task:
    """Binary cross entropy of each class; mean average precision over classes, and F1 at 0.5.

    Raises DataError unless the labels are float (N, K) in 0..1.
    """
    from torchmetrics.classification import (  # noqa: PLC0415 - it takes seconds to import
        MultilabelAveragePrecision,
        MultilabelF1Score,
    )

    del options
    check_several(data)
    count = data.num_classes
    return Task(
        name=NAME,
        data=data,
        train=Training(data),
        test=Testing(data),
        loss=loss,
        meters={"mAP": MultilabelAveragePrecision(count), "F1": MultilabelF1Score(count)},
        metrics=chances,
    )


def loss(outputs: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The mean binary cross entropy of the first output, (N, K), with the labels."""
    scores = logits(outputs).float()
    return binary_cross_entropy_with_logits(scores, batch[1].to(scores.dtype))


def chances(outputs: Any, batch: tuple[Tensor, Tensor]) -> Mapping[str, Any]:
    """The probability of each class, and whether an image has it."""
    found = logits(outputs).float().sigmoid(), (batch[1] > HALF).int()
    return {"mAP": found, "F1": found}


HALF = 0.5  # labels above it count as true
