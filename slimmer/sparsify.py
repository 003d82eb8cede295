"""A recipe's method made ready: its steps, its masks, its first scores, and the exact plan that it ends with."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from slimmer.allocate import allocate
from slimmer.costs import Budget, Cost
from slimmer.criteria import magnitude_scores, taylor_scores
from slimmer.data import Data, batches, steps
from slimmer.errors import RecipeError
from slimmer.finetune import Training
from slimmer.masks import hard_mask
from slimmer.methods import MaskConvNet, Method, Taylor
from slimmer.methods.maskconvnet import Sparsity, Target
from slimmer.plan import Plan
from slimmer.prepare import Task
from slimmer.recipe import Recipe

OWN_SHARE = {"taylor": 0.0, "maskconvnet": 0.5}  # of the epochs under masks; see docs/decisions.md


def training_of(recipe: Recipe, task: Task) -> Training:
    """The recipe's training section as plain numbers; no epochs where there are no data."""
    section = recipe.finetune
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
        mask_lr=recipe.method.mask_lr,
        mask_decay=recipe.method.mask_decay,
    )


def method_name(recipe: Recipe, task: Task) -> str:
    """The method that `auto` stands for: taylor with data, magnitude without. Raises RecipeError without data."""
    name = recipe.method.name
    if name == "auto":
        return "magnitude" if task.data is None else "taylor"
    if task.data is None and name != "magnitude":
        raise RecipeError("method.name", f"{name} needs data", "give --data, or method.name=magnitude")
    return name


def sparsify_steps(recipe: Recipe, task: Task, training: Training) -> int:
    """How many steps the network is trained under masks before channels go for real: by default the method's own."""
    name = method_name(recipe, task)
    if task.data is None or name == "magnitude":
        return 0
    share = OWN_SHARE[name] if recipe.method.sparsify is None else recipe.method.sparsify
    return round(share * training.steps(task.data))


def choose_method(recipe: Recipe, task: Task, stop: int, *, resumed: bool) -> Method:
    """The recipe's method with its first scores or targets; a resumed one gets its scores from the saved state."""
    name = method_name(recipe, task)
    if name == "maskconvnet":
        return _maskconvnet(recipe, task, stop)
    if name == "magnitude":
        scores = magnitude_scores(task.model, task.graph)
    elif resumed:  # the saved state holds the scores
        scores = torch.ones(task.graph.units)
    else:
        assert task.data is not None
        images = training_images(task.data, recipe, recipe.method.batches)
        scores = taylor_scores(task.model, task.graph, images, recipe.seed)

    def project(scores: Tensor, way: float) -> Tensor:
        now = [Budget(b.cost, b.cost.dense + way * (b.limit - b.cost.dense)) for b in task.budgets]
        return hard_mask(allocate(scores, task.graph, now, task.limits))

    return Taylor(scores, project, stop)


def target_plan(task: Task, recipe: Recipe, scores: Tensor) -> Plan:
    """The exact projection: the plan inside every budget that keeps the highest scores."""
    name = method_name(recipe, task)
    return allocate(scores - scores.min(), task.graph, task.budgets, task.limits, priced=name == "taylor")


def training_images(data: Data, recipe: Recipe, number: int, *, augment: str = "none") -> Iterator[Tensor]:
    """The first `number` batches of training images."""
    size = recipe.finetune.batch_size
    of_epoch = batches(data.train, data, batch_size=size, epoch=0, seed=recipe.seed, augment=augment)
    return (images for images, _ in islice(of_epoch, number))


def _maskconvnet(recipe: Recipe, task: Task, stop: int) -> MaskConvNet:
    """One target a budget, each with its own base multipliers."""
    assert task.data is not None
    section, number = recipe.method, len(task.budgets)
    for key, values in (("lambda_m", section.lambda_m), ("lambda_v", section.lambda_v)):
        if len(values) not in (1, number) or min(values) < 0:
            found = f"{list(values)} for {number} budget{'s' * (number > 1)}"
            raise RecipeError(f"method.{key}", found, "give one value of at least 0, or one for each budget")
    lambdas_m = section.lambda_m * number if len(section.lambda_m) == 1 else section.lambda_m
    lambdas_v = section.lambda_v * number if len(section.lambda_v) == 1 else section.lambda_v
    targets = [
        Target(1 - budget.ratio, _measure(budget.cost, task), m, v)
        for budget, m, v in zip(task.budgets, lambdas_m, lambdas_v, strict=True)
    ]
    warmup = round(section.warmup * steps(task.data.train, recipe.finetune.batch_size))
    if warmup >= stop:
        found = f"{warmup} steps, of {stop} under masks: the masks never move"
        raise RecipeError("method.warmup", found, "warm up for less, or raise finetune.epochs or method.sparsify")
    return MaskConvNet(task.graph.units, targets, start=section.mask_start, warmup=warmup)


def _measure(cost: Cost, task: Task) -> Sparsity:
    """The sparsity of `cost` that the masks above zero have."""
    sizes = [group.size for group in task.graph.groups]

    def measure(mask: Tensor) -> float:
        widths = torch.stack([(part > 0).sum() for part in mask.cpu().split(sizes)])
        return 1 - float(cost(widths)) / cost.dense

    return measure
