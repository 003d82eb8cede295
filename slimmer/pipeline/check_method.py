"""Whether the options of a recipe's method can be followed, before anything is written."""

import torch

from slimmer.errors import RecipeError
from slimmer.graph import called, evaluating, tensors_in
from slimmer.models.copying import duplicate
from slimmer.pipeline.choose_plan import (
    choose_method,
    method_entry,
    sparsify_steps,
    target_plan,
    training_of,
)
from slimmer.pipeline.job import PruningJob
from slimmer.pipeline.run_context import example_call
from slimmer.pruning.apply import slice_tensors, widen_tensors
from slimmer.pruning.plan import make_plan
from slimmer.recipe import Recipe
from slimmer.recipe.trained_methods import TrainedMethod


def check_method(recipe: Recipe, job: PruningJob) -> None:
    """Raise RecipeError if the method's options don't fit the network, the data, the budgets or the
    number of steps; nothing is changed.
    """
    if isinstance(method_entry(recipe, job), TrainedMethod):
        stop = sparsify_steps(recipe, job, training_of(recipe, job))
        choose_method(recipe, job, stop, resumed=True)  # as resumed, the weights are not changed
    if recipe.method.own_cut():
        target_plan(job, recipe, torch.ones(job.graph.units, dtype=torch.float64))
    if recipe.method.plans_to_try():
        _check_search(recipe, job)
    if recipe.method.settle_epochs() is not None:
        _check_settle(job)


def _check_search(recipe: Recipe, job: PruningJob) -> None:
    """Raise RecipeError if plans can't be compared, or if something else chooses among them too."""
    if job.task is None:
        right = "give --data or --task, or method.search=0"
        raise RecipeError("method.search", "needs data", right)
    if recipe.budget.latency is not None:
        found = "does not measure the latency of the plans that it tries"
        raise RecipeError("method.search", found, "give --flops or --params, not a latency")
    if recipe.budget.depth:
        found = "tries other widths, but budget.depth removes whole branches first"
        raise RecipeError("method.search", found, "leave out one of them")


def _check_settle(job: PruningJob) -> None:
    """Raise RecipeError if the network computes no numbers with zeros where channels were removed:
    when they come back, under a mask of zero, their weights are zeros (weight norm divides by
    their length).
    """
    kept = {group.name: range(max(1, group.size - 1)) for group in job.graph.groups}
    plan = make_plan(job.graph, kept)
    network = duplicate(job.model)
    kept_only = slice_tensors(network.state_dict(), plan)
    network.load_state_dict(widen_tensors(kept_only, plan))
    with evaluating(network), torch.no_grad():
        outputs = tensors_in(called(network, example_call(job)))
    if not all(output.isfinite().all() for output in outputs):
        found = "the network computes NaN where the weights of a channel are zero"
        raise RecipeError("method.settle", found, "leave it out, or give --rewrite")
