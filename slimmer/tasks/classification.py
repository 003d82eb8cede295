"""The classification of images."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from slimmer.data import Data
from slimmer.graph import logits, top1_hits
from slimmer.tasks.of_data import Testing, Training
from slimmer.tasks.task import MetricKind, Task

TOP1 = MetricKind("top-1", higher_is_better=True, percent=True)
NAME = "classification"


def classification(data: Data) -> Task:
    """The classification of a data set's images: cross entropy, and top-1 accuracy.

    >>> from slimmer.data import load
    >>> classification(load("digits")).main.name
    'top-1'
    """
    return Task(
        name=NAME,
        data=data,
        train=Training(data),
        test=Testing(data),
        loss=loss,
        metrics=hits,
        logits=True,
        kinds=(TOP1,),
    )


def loss(outputs: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross entropy of the first output with the labels."""
    return cross_entropy(logits(outputs).float(), batch[1])


def hits(outputs: Any, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
    """Which images are classified correctly."""
    return {TOP1.name: top1_hits(logits(outputs), batch[1])}
