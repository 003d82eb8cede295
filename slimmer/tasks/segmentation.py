"""Semantic segmentation: a class for each pixel."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from slimmer.data import Data
from slimmer.graph import logits
from slimmer.recipe.sections import Section
from slimmer.tasks.of_data import Testing, Training
from slimmer.tasks.targets import check_masks
from slimmer.tasks.task import Task

NAME = "segmentation"


class SegmentationOptions(Section):
    """The options of semantic segmentation."""

    ignore_index: int = Field(
        255, description="number of pixels without a class; the edges of cropped masks get it too"
    )


DEFAULT = SegmentationOptions()


def segmentation(data: Data, options: SegmentationOptions = DEFAULT) -> Task:
    """Cross entropy over pixels; the mean intersection over union of the classes (mIoU), and the
    share of pixels that are classified correctly.

    Raises DataError unless the labels are masks, int64 (N, H, W).
    """
    from torchmetrics.classification import (  # noqa: PLC0415 - it takes seconds to import
        MulticlassJaccardIndex,
    )

    ignored = options.ignore_index
    check_masks(data, ignored)
    return Task(
        name=NAME,
        data=data,
        train=Training(data, fill=ignored),
        test=Testing(data),
        loss=partial(loss, ignored=ignored),
        meters={"mIoU": MulticlassJaccardIndex(data.num_classes, ignore_index=ignored)},
        metrics=partial(chosen, ignored=ignored),
        higher_is_better={"pixels": True},
        logits=True,
    )


def loss(outputs: Any, batch: tuple[Tensor, Tensor], *, ignored: int = 255) -> Tensor:
    """Cross entropy of the first output (N, C, H, W) over the pixels that have a class."""
    return cross_entropy(logits(outputs).float(), batch[1], ignore_index=ignored)


def chosen(outputs: Any, batch: tuple[Tensor, Tensor], *, ignored: int = 255) -> Mapping[str, Any]:
    """The likeliest class of each pixel, and whether it is right where a pixel has a class."""
    found, masks = logits(outputs).argmax(1), batch[1]
    return {"mIoU": (found, masks), "pixels": (found == masks)[masks != ignored]}
