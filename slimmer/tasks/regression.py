"""Numbers that are computed from images."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from slimmer.data import Data
from slimmer.graph import logits
from slimmer.recipe.sections import Section
from slimmer.tasks.of_data import Testing, Training
from slimmer.tasks.targets import check_numbers
from slimmer.tasks.task import Task

NAME = "regression"


class RegressionOptions(Section):
    """The options of regression."""

    loss: Literal["mse", "l1"] = Field(
        "mse", description="mean squared (mse) or mean absolute error (l1), also the main metric"
    )


DEFAULT = RegressionOptions()


def regression(data: Data, options: RegressionOptions = DEFAULT) -> Task:
    """The mean squared or absolute error of the first output; the metrics are both, and lower is
    better.

    Raises DataError unless the labels are floats.
    """
    check_numbers(data)
    return Task(
        name=NAME,
        data=data,
        train=Training(data),
        test=Testing(data),
        loss=partial(loss, kind=options.loss),
        metrics=partial(errors, kind=options.loss),
        higher_is_better={"MSE": False, "MAE": False},
    )


def loss(outputs: Any, batch: tuple[Tensor, Tensor], *, kind: str = "mse") -> Tensor:
    """The mean error over all numbers."""
    found, wanted = pair(outputs, batch)
    return l1_loss(found, wanted) if kind == "l1" else mse_loss(found, wanted)


def errors(
    outputs: Any, batch: tuple[Tensor, Tensor], *, kind: str = "mse"
) -> Mapping[str, Tensor]:
    """The squared and absolute error of every number, that of the loss first."""
    found, wanted = pair(outputs, batch)
    apart = found - wanted
    both = {"MSE": apart.square(), "MAE": apart.abs()}
    return dict(reversed(both.items())) if kind == "l1" else both


def pair(outputs: Any, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The first output in the shape of the labels, and the labels. Raises ValueError if they do not
    have the same number of numbers.
    """
    found, wanted = logits(outputs).float(), batch[1]
    if found.numel() != wanted.numel():
        raise ValueError(f"outputs are {tuple(found.shape)}, labels {tuple(wanted.shape)}")
    return found.reshape(wanted.shape), wanted.float()
