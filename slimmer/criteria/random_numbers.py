"""Random scores: the baseline of all criteria."""

import torch
from torch import Tensor

from slimmer.criteria.request import ScoreRequest
from slimmer.graph import ChannelGraph
from slimmer.recipe.method_options import MethodOptions


def random(request: ScoreRequest[MethodOptions]) -> Tensor:
    """Random numbers from the recipe's seed, see `random_scores`."""
    return random_scores(request.graph, request.seed)


def random_scores(graph: ChannelGraph, seed: int) -> Tensor:
    """Uniform random numbers in [0, 1) from `seed`, (units,), float64: the baseline of all
    criteria.
    """
    return torch.rand(
        graph.units, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
