"""Methods that train masks or scales, composed from a recipe: their metrics, targets and first values."""

from functools import partial

import torch

from slimmer.criteria import bn_scale_scores
from slimmer.data import steps
from slimmer.errors import RecipeError
from slimmer.methods import Bar, MaskConvNet, Method, NetworkSlimming
from slimmer.methods.bar import Barrier
from slimmer.methods.maskconvnet import Target
from slimmer.methods.metric import Metric
from slimmer.methods.network_slimming import find_scales
from slimmer.pipeline.job import Task
from slimmer.recipe import Recipe
from slimmer.recipe import methods as options

DUAL_PACE = 4.0  # a multiplier reaches a gap that lasts within a quarter of the steps


def trained_method(recipe: Recipe, section: options.Masks, task: Task, stop: int, *, resumed: bool) -> Method:
    """The method that `section` describes, to be trained for `stop` steps.

    Raises RecipeError where these are none, or where its options don't fit the budgets or the steps.
    """
    if stop < 1:
        found = f"{section.sparsify:g} of {recipe.finetune.epochs:g} epochs is no step: nothing would be learnt"
        raise RecipeError("method.sparsify", found, "raise it or finetune.epochs, or take a one-shot method")
    if isinstance(section, options.MaskConvNet):
        return _maskconvnet(recipe, section, task, stop)
    if isinstance(section, options.Bar):
        return _bar(section, task, stop)
    if isinstance(section, options.NetworkSlimming):
        return _network_slimming(section, task, resumed=resumed)
    raise NotImplementedError(type(section).__name__)


def _maskconvnet(recipe: Recipe, section: options.MaskConvNet, task: Task, stop: int) -> MaskConvNet:
    """One target a budget, each with its own base multipliers."""
    assert task.data is not None
    number = len(task.budgets)
    lambdas_m = section.lambda_m * number if len(section.lambda_m) == 1 else section.lambda_m
    lambdas_v = section.lambda_v * number if len(section.lambda_v) == 1 else section.lambda_v
    warmup = round(section.warmup * steps(task.data.train, recipe.finetune.batch_size))
    if warmup >= stop:
        found = f"{warmup} steps, of {stop} under masks: the masks never move"
        raise RecipeError("method.warmup", found, "warm up for less, or raise finetune.epochs or method.sparsify")
    metrics = _metrics(task)
    targets = [
        Target(1 - budget.ratio, metric.sparsity, m, v, metric.price if section.pull == "cost" else None)
        for budget, metric, m, v in zip(task.budgets, metrics, lambdas_m, lambdas_v, strict=True)
    ]
    return MaskConvNet(
        task.graph.units,
        targets,
        start=section.mask_start,
        warmup=warmup,
        rise=DUAL_PACE / (stop - warmup) if section.controller == "dual" else 0.0,
        hard=section.forward == "hard",
    )


def _bar(section: options.Bar, task: Task, stop: int) -> Bar:
    """One barrier a budget, which falls over all steps under gates."""
    barriers = [Barrier(metric, budget.ratio) for metric, budget in zip(_metrics(task), task.budgets, strict=True)]
    return Bar(
        task.graph.units,
        barriers,
        steps=stop,
        strength=section.strength,
        steepness=section.steepness,
        start=section.gate_start,
    )


def _network_slimming(section: options.NetworkSlimming, task: Task, *, resumed: bool) -> NetworkSlimming:
    """The network's scales under their penalty; set anew at a fresh start, left to the saved state on resuming."""
    scales = find_scales(task.model, task.graph)
    if section.scale_start is not None and not resumed:
        with torch.no_grad():
            for scale in scales:
                scale.fill_(section.scale_start)
    measure = partial(bn_scale_scores, task.model, task.graph)
    return NetworkSlimming(task.graph.units, scales, section.strength, measure)


def _metrics(task: Task) -> list[Metric]:
    sizes = tuple(group.size for group in task.graph.groups)
    return [Metric(budget.cost, sizes) for budget in task.budgets]
