"""A recipe's method made ready: its steps, its masks, its first scores, and the exact plan that it ends with."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from slimmer.costs import Budget
from slimmer.criteria import (
    bn_scale_scores,
    deal,
    filter_norm_scores,
    magnitude_scores,
    normed_groups,
    random_scores,
    sensitivity_scores,
    taylor_scores,
)
from slimmer.data import Data, batches
from slimmer.errors import RecipeError
from slimmer.methods import Method, Taylor
from slimmer.methods.taylor import Project
from slimmer.pipeline.build_method import trained_method
from slimmer.pipeline.job import Task
from slimmer.pruning.allocate import allocate
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan
from slimmer.pruning.published_cuts import cut_by_ratios, cut_by_share
from slimmer.recipe import Recipe
from slimmer.recipe import methods as options
from slimmer.runs.events import Observe
from slimmer.training.loop import Training

NEED_NO_DATA = {"magnitude", "l1", "l2", "bn_scale", "random"}


def training_of(recipe: Recipe, task: Task) -> Training:
    """The recipe's training section as plain numbers; no epochs where there are no data."""
    section, method = recipe.finetune, recipe.method
    return Training(
        epochs=section.epochs if task.data is not None else 0.0,
        batch_size=section.batch_size,
        lr=section.lr,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        warmup=section.warmup,
        distill=section.distill,
        temperature=section.temperature,
        seed=recipe.seed,
        mask_lr=getattr(method, "mask_lr", 0.0),
        mask_decay=getattr(method, "mask_decay", 0.0),
        drops=section.drops,
        optimizer=section.optimizer,
        optimizer_options=section.optimizer_options,
    )


def method_name(recipe: Recipe, task: Task) -> str:
    """The method that `auto` stands for: taylor with data, magnitude without. Raises RecipeError without data."""
    name = recipe.method.name
    if name == "auto":
        return "magnitude" if task.data is None else "taylor"
    if task.data is None and name not in NEED_NO_DATA:
        raise RecipeError("method.name", f"{name} needs data", "give --data, or method.name=magnitude")
    return name


def sparsify_steps(recipe: Recipe, task: Task, training: Training) -> int:
    """How many steps the network is trained under masks before channels go for real."""
    if task.data is None or not isinstance(recipe.method, options.Taylor | options.Masks):
        return 0
    return round(recipe.method.sparsify * training.steps(task.data))


def choose_method(recipe: Recipe, task: Task, stop: int, *, resumed: bool, observe: Observe = lambda _: None) -> Method:
    """The recipe's method with its first scores or targets; a resumed one gets its scores from the saved state.

    `observe` hears how far the scores are, where that takes long.
    """
    section, _ = recipe.method, method_name(recipe, task)
    if isinstance(section, options.Masks):
        return trained_method(recipe, section, task, stop, resumed=resumed)
    if isinstance(section, options.Taylor) and resumed:  # the saved state holds the scores
        return Taylor(torch.ones(task.graph.units, dtype=torch.float32), _projection(recipe, task), stop)
    return Taylor(_compared(recipe, task, _scores(recipe, task), stop, observe), _projection(recipe, task), stop)


def check_method(recipe: Recipe, task: Task) -> None:
    """Raise RecipeError where the method's options don't fit the data, the budgets or the steps; nothing is changed."""
    method_name(recipe, task)
    if isinstance(recipe.method, options.Masks):
        stop = sparsify_steps(recipe, task, training_of(recipe, task))
        trained_method(recipe, recipe.method, task, stop, resumed=True)  # as if resumed: the weights stay


def target_plan(task: Task, recipe: Recipe, scores: Tensor) -> Plan:
    """The exact projection: the plan inside every budget that keeps the highest scores, or the method's own cut."""
    section = recipe.method
    if isinstance(section, options.L1) and section.ratios is not None:
        return cut_by_ratios(scores, task.graph, section.ratios)
    if isinstance(section, options.NetworkSlimming) and section.ratio is not None:
        return cut_by_share(scores, task.graph, section.ratio, normed_groups(task.model, task.graph))
    return _allocate(recipe, task, scores - scores.min().clamp(max=0), task.budgets)


def training_images(data: Data, recipe: Recipe, number: int, *, augment: str = "none") -> Iterator[Tensor]:
    """The first `number` batches of training images."""
    size = recipe.finetune.batch_size
    of_epoch = batches(data.train, data, batch_size=size, epoch=0, seed=recipe.seed, augment=augment)
    return (images for images, _ in islice(of_epoch, number))


def _allocate(recipe: Recipe, task: Task, scores: Tensor, budgets: Sequence[Budget]) -> Plan:
    section = recipe.method
    ranks = method_name(recipe, task) == "magnitude"
    if isinstance(section, options.OneShot) and not ranks:
        limits = replace(task.limits, even=section.even, stream=section.stream)
    else:
        limits = task.limits
    return allocate(scores, task.graph, budgets, limits, priced=not ranks and getattr(section, "priced", False))


def _projection(recipe: Recipe, task: Task) -> Project:
    """Scores and a share of the way into the mask of that moment."""

    def project(scores: Tensor, way: float) -> Tensor:
        now = [Budget(b.cost, b.cost.dense + way * (b.limit - b.cost.dense)) for b in task.budgets]
        return hard_mask(_allocate(recipe, task, scores, now))

    return project


def _scores(recipe: Recipe, task: Task) -> Tensor:
    """The scores (units,) that a one-shot method begins and ends with."""
    name = method_name(recipe, task)
    if name == "magnitude":
        return magnitude_scores(task.model, task.graph)
    if isinstance(recipe.method, options.Taylor):
        assert task.data is not None
        images = training_images(task.data, recipe, recipe.method.batches)
        return taylor_scores(task.model, task.graph, images, recipe.seed)
    if name == "bn_scale":
        return bn_scale_scores(task.model, task.graph)
    if name == "random":
        return random_scores(task.graph, recipe.seed)
    return filter_norm_scores(task.model, task.graph, {"l1": 1, "l2": 2}[name])


def _compared(recipe: Recipe, task: Task, scores: Tensor, stop: int, observe: Observe) -> Tensor:
    """The scores, in another order or on each group's measured curve where asked for, and no masks make them run on."""
    section = recipe.method
    if stop:
        return scores
    if isinstance(section, options.Taylor) and section.order == "magnitude":
        scores = deal(scores, magnitude_scores(task.model, task.graph), task.graph)
    number = section.sensitivity if isinstance(section, options.Measured) else 0
    if not number:
        return scores
    assert task.data is not None
    images = list(training_images(task.data, recipe, number))
    groups = len(task.graph.groups)

    def tell(done: int) -> None:
        observe({"event": "scores", "done": done, "groups": groups})

    return sensitivity_scores(task.model, task.graph, scores, images, tell)
