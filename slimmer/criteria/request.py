"""What a criterion is asked, and how it answers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph
from slimmer.recipe.methods import MethodOptions

Options = TypeVar("Options", bound=MethodOptions)


@dataclass(frozen=True, eq=False)
class ScoreRequest(Generic[Options]):
    """Score every unit of `graph`, in the order of its groups: the answer is (units,), float64,
    higher stays longer.

    `options` is the recipe's method section. `images(n)` gives the first n batches of training
    images (N, C, H, W); only a criterion whose entry says `needs_data` may call it. `under_masks`
    tells that training goes on under masks, where the scores are running ones.
    """

    model: nn.Module
    graph: ChannelGraph
    options: Options
    seed: int
    images: Callable[[int], Iterable[Tensor]]
    under_masks: bool = False


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The scores of all groups in one tensor (units,). Raises ModelError where one is not a finite
    number.
    """
    scores = torch.cat([*parts, torch.zeros(0, dtype=torch.float64)])
    if not scores.isfinite().all():
        raise ModelError("model", "has NaN or infinite weights", "check its checkpoint")
    return scores
