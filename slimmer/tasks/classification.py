"""The classification of images."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from slimmer.data import Data
from slimmer.errors import TaskError
from slimmer.graph import logits, top1_hits
from slimmer.recipe.sections import Section
from slimmer.tasks.mixing import mixed_loss
from slimmer.tasks.of_data import Testing, Training
from slimmer.tasks.targets import check_classes
from slimmer.tasks.task import MetricKind, Task

TOP1 = MetricKind("top-1", higher_is_better=True, percent=True)
TOP5 = MetricKind("top-5", higher_is_better=True, percent=True)
NAME = "classification"
Alpha = Annotated[float, Field(ge=0)]


class ClassificationOptions(Section):
    """The options of the classification of images."""

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that is spread over all classes"
    )
    class_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None, description="weight of each class in the loss, in the order of the classes"
    )
    mixup: Alpha = Field(
        0.0, description="alpha of the Beta distribution of mixup's shares; 0 turns it off"
    )
    cutmix: Alpha = Field(
        0.0,
        description="alpha of the Beta distribution of CutMix's areas; 0 turns it off; with mixup, "
        "each batch gets one of the two",
    )
    top5: bool = Field(False, description="measure top-5 accuracy too")


DEFAULT = ClassificationOptions()


def classification(data: Data, options: ClassificationOptions = DEFAULT) -> Task:
    """The classification of a data set's images: cross entropy, and top-1 accuracy.

    Raises DataError unless labels are int64 (N,), and TaskError for options that do not fit the
    number of classes.

    >>> from slimmer.data import load
    >>> classification(load("digits")).main.name
    'top-1'
    """
    check_classes(data)
    weights = options.class_weights
    if weights is not None and len(weights) != data.num_classes:
        found = f"{len(weights)} weights for {data.num_classes} classes"
        raise TaskError("task.options.class_weights", found, "give one for each class")
    if options.top5 and data.num_classes < 6:
        found = f"is always right with {data.num_classes} classes"
        raise TaskError("task.options.top5", found, "leave it out")
    return Task(
        name=NAME,
        data=data,
        train=Training(data, options.mixup, options.cutmix),
        test=Testing(data),
        loss=partial(loss, smoothing=options.label_smoothing, weights=weights),
        metrics=partial(hits, top5=options.top5),
        logits=True,
        kinds=(TOP1, TOP5) if options.top5 else (TOP1,),
    )


def loss(
    outputs: Any,
    batch: tuple[Tensor, ...],
    *,
    smoothing: float = 0.0,
    weights: tuple[float, ...] | None = None,
) -> Tensor:
    """Cross entropy of the first output with the labels, or with both labels of mixed images."""
    scores = logits(outputs).float()
    per_class = None if weights is None else torch.tensor(weights, device=scores.device)

    def entropy(labels: Tensor) -> Tensor:
        return cross_entropy(scores, labels, per_class, label_smoothing=smoothing)

    return mixed_loss(entropy, batch)


def hits(outputs: Any, batch: tuple[Tensor, ...], *, top5: bool = False) -> Mapping[str, Tensor]:
    """Which images are classified correctly, and whose label is among the five likeliest."""
    scores, labels = logits(outputs), batch[1]
    found = {TOP1.name: top1_hits(scores, labels)}
    if top5:
        found[TOP5.name] = (scores.topk(5, 1).indices == labels[:, None]).any(1)
    return found
