"""The request that a criterion gets, and the scores that it returns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from slimmer.errors import ModelError
from slimmer.graph import Arguments, ChannelGraph
from slimmer.recipe.method_options import MethodOptions
from slimmer.tasks import Task

Options = TypeVar("Options", bound=MethodOptions)


def no_batches(_number: int) -> Iterable[Any]:
    """No batches: the default of requests without data."""
    return ()


@dataclass(frozen=True, eq=False)
class ScoreRequest(Generic[Options]):
    """A request to score every unit of `graph`, in the order of its groups. The scores are
    (units,), float64; units with low scores are removed first.

    `options` is the recipe's method section. `images(n)` returns what the network takes of the
    first n training batches: images (N, C, H, W), or a tuple of arguments. `batches(n)` returns
    the batches themselves, with everything that the `task`'s loss takes. Only a criterion whose
    entry says `needs_data` may call them. `under_masks` says that the network is trained under
    masks, with running scores.
    """

    model: nn.Module
    graph: ChannelGraph
    options: Options
    seed: int
    images: Callable[[int], Iterable[Arguments]]
    under_masks: bool = False
    task: Task | None = None
    batches: Callable[[int], Iterable[Any]] = no_batches


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The scores of all groups in one tensor (units,). Raises ModelError if one is NaN or
    infinite.
    """
    scores = torch.cat([*parts, torch.zeros(0, dtype=torch.float64)])
    if not scores.isfinite().all():
        raise ModelError("model", "has NaN or infinite weights", "check its checkpoint")
    return scores
