"""How far a plan changes the outputs, before anything is trained."""

from collections.abc import Callable, Sequence

import torch

from slimmer.criteria.sensitivity import change_from
from slimmer.graph import Arguments
from slimmer.models.copying import duplicate
from slimmer.pipeline.job import PruningJob
from slimmer.pruning.batch_norms import batch_statistics
from slimmer.pruning.compensate import fold_removed_, moments_of
from slimmer.pruning.masks import consumer_index, hard_mask, under_ones
from slimmer.pruning.plan import Plan
from slimmer.recipe import Recipe


def changes_by_plans(
    job: PruningJob, recipe: Recipe, images: Sequence[Arguments]
) -> Callable[[Plan], float]:
    """A function that measures how far the outputs under a plan are from the dense network's.

    The weights are compensated for the plan if the recipe asks for it, and batch norms use the
    statistics of each batch. The job's network stays as it is.
    """
    network = duplicate(job.model)
    masked = under_ones(network, job.graph)
    with batch_statistics(network), torch.no_grad():
        change = change_from(masked, images, job.task)
    moments = {}
    if recipe.method.compensate and recipe.finetune.recalibrate > 0:
        moments = moments_of(network, job.graph, images, consumer_index(job.graph))
    dense = {axis.tensor: network.get_parameter(axis.tensor).detach().clone() for axis in moments}

    def measured(plan: Plan) -> float:
        with torch.no_grad():
            for name, weight in dense.items():
                network.get_parameter(name).copy_(weight)
        fold_removed_(network, plan, moments)
        masked.variables.data.copy_(hard_mask(plan))
        with batch_statistics(network), torch.no_grad():
            return change(masked)

    return measured
