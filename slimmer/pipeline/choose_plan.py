"""The pruning method of a recipe, ready to use: its steps, masks and initial scores, and the exact
plan at its end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from slimmer.costs import Budget, Cost
from slimmer.criteria import ScoreRequest, sensitivity_scores
from slimmer.errors import RecipeError
from slimmer.graph import Arguments, rows
from slimmer.methods import Method, MethodSetup, Taylor
from slimmer.methods.taylor import Project
from slimmer.pipeline.job import PruningJob
from slimmer.pruning.allocate import allocate
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan
from slimmer.recipe import Recipe
from slimmer.recipe.criteria import Criterion
from slimmer.recipe.method_entries import find_method
from slimmer.recipe.method_options import Allocation, MethodOptions
from slimmer.recipe.trained_methods import TrainedMethod
from slimmer.registry import load
from slimmer.runs.events import Observe
from slimmer.tasks import Epoch, Task
from slimmer.training.schedule import Training


def training_of(recipe: Recipe, job: PruningJob) -> Training:
    """The recipe's training section as plain numbers; 0 epochs if there is no task."""
    section, method = recipe.finetune, recipe.method
    return Training(
        epochs=section.epochs if job.task is not None else 0.0,
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
        clip=section.clip,
        ema=section.ema,
        accumulate=section.accumulate,
        compile=section.compile,
        views=recipe.data.views,
    )


def method_entry(recipe: Recipe, job: PruningJob) -> Criterion | TrainedMethod:
    """The method that the recipe names. Raises RecipeError if it needs data and there are none."""
    entry = find_method(recipe.method.name, with_data=job.task is not None)
    if job.task is None and (isinstance(entry, TrainedMethod) or entry.needs_data):
        right = "give --data, or choose method.name=magnitude"
        raise RecipeError("method.name", f"{entry.name} needs data", right)
    return entry


def sparsify_steps(recipe: Recipe, job: PruningJob, training: Training) -> int:
    """The number of training steps under masks before the channels are removed."""
    if job.task is None:
        return 0
    return round(recipe.method.share_under_masks() * training.steps(job.task))


def choose_method(
    recipe: Recipe, job: PruningJob, stop: int, *, resumed: bool, observe: Observe = lambda _: None
) -> Method:
    """The recipe's method with its initial scores or targets; for a resumed run the saved state
    holds the scores.

    `observe` receives progress events if scoring takes long.
    """
    entry = method_entry(recipe, job)
    if isinstance(entry, TrainedMethod):
        return _trained_method(entry, recipe, job, stop, resumed=resumed)
    if resumed:  # the saved state holds the scores
        return Taylor(
            torch.ones(job.graph.units, dtype=torch.float32), _projection(recipe, job), stop
        )
    scores: Tensor = load(entry.scores)(_request(recipe, job, stop))
    if recipe.method.sensitivity_batches() and not stop:
        scores = _measured(recipe, job, scores, observe)
    return Taylor(scores, _projection(recipe, job), stop)


def target_plan(job: PruningJob, recipe: Recipe, scores: Tensor, guide: Cost | None = None) -> Plan:
    """The exact projection: the plan within every budget that keeps the highest scores, or the plan
    of a method that decides the amount itself.

    `guide` prices units while they are removed, in place of the budgets' costs.
    """
    entry = method_entry(recipe, job)
    if recipe.method.own_cut() and entry.cut is not None:
        plan: Plan = load(entry.cut)(_request(recipe, job), scores)
        return plan
    return _allocate(recipe, job, nonnegative(scores), job.budgets, guide)


def nonnegative(scores: Tensor) -> Tensor:
    """The scores (units,), shifted so that none is negative."""
    return scores - scores.min().clamp(max=0)


def training_batches(
    task: Task, recipe: Recipe, number: int, *, augment: bool = False
) -> Iterator[Any]:
    """The first `number` training batches of the first epoch, all of them in every process."""
    size = recipe.finetune.batch_size
    wanted = Epoch(0, recipe.seed, size, augment=augment, shared=False)
    return islice(task.train.epoch(wanted), number)


def training_inputs(
    task: Task, recipe: Recipe, number: int, *, augment: bool = False
) -> Iterator[Arguments]:
    """What the network takes of the first `number` training batches."""
    return map(task.inputs, training_batches(task, recipe, number, augment=augment))


def whole_batches(task: Task, recipe: Recipe, images: int) -> Iterator[Arguments]:
    """What the network takes of the first training batches, until they hold at least that many
    images or an epoch ends.
    """
    held = 0
    for given in training_inputs(task, recipe, images):
        yield given
        held += rows(given)
        if held >= images:
            return


def _request(recipe: Recipe, job: PruningJob, stop: int = 0) -> ScoreRequest[MethodOptions]:
    """The request that the recipe's criterion answers with scores."""

    def batches(number: int) -> Iterator[Any]:
        if job.task is None:
            raise RecipeError("method.name", f"{recipe.method.name} needs images", "give --data")
        return training_batches(job.task, recipe, number)

    def images(number: int) -> Iterator[Arguments]:
        if job.task is None:
            raise RecipeError("method.name", f"{recipe.method.name} needs images", "give --data")
        return training_inputs(job.task, recipe, number)

    return ScoreRequest(
        job.model,
        job.graph,
        recipe.method,
        recipe.seed,
        images,
        under_masks=stop > 0,
        task=job.task,
        batches=batches,
    )


def _setup(
    recipe: Recipe, job: PruningJob, stop: int, *, resumed: bool
) -> MethodSetup[MethodOptions]:
    """The arguments from which the recipe's trained method is built."""
    assert job.task is not None
    per_epoch = training_of(recipe, job).end_of_epoch(0, job.task)
    return MethodSetup(job.model, job.graph, job.budgets, recipe.method, stop, per_epoch, resumed)


def _trained_method(
    entry: TrainedMethod, recipe: Recipe, job: PruningJob, stop: int, *, resumed: bool
) -> Method:
    """The method, to be trained for `stop` steps. Raises RecipeError if `stop` is 0."""
    if stop < 1:
        share, epochs = recipe.method.share_under_masks(), recipe.finetune.epochs
        found = f"{share:g} of {epochs:g} epochs is less than one step: nothing would be learnt"
        right = "raise it or finetune.epochs, or choose a one-shot method"
        raise RecipeError("method.sparsify", found, right)
    method: Method = load(entry.build)(_setup(recipe, job, stop, resumed=resumed))
    return method


def _allocate(
    recipe: Recipe,
    job: PruningJob,
    scores: Tensor,
    budgets: Sequence[Budget],
    guide: Cost | None = None,
) -> Plan:
    entry = method_entry(recipe, job)
    ranks = isinstance(entry, Criterion) and entry.ranks
    how = Allocation() if ranks else recipe.method.allocation()
    limits = replace(job.limits, even=how.even, stream=how.stream)
    return allocate(scores, job.graph, budgets, limits, priced=how.priced, guide=guide)


def _projection(recipe: Recipe, job: PruningJob) -> Project:
    """The function that projects scores into the mask for an intermediate budget."""

    def project(scores: Tensor, way: float) -> Tensor:
        """The mask (units,) at the share `way`, 0 to 1, of the way from dense to the budgets."""
        now = [Budget(b.cost, b.cost.dense + way * (b.limit - b.cost.dense)) for b in job.budgets]
        return hard_mask(_allocate(recipe, job, scores, now))

    return project


def _measured(recipe: Recipe, job: PruningJob, scores: Tensor, observe: Observe) -> Tensor:
    """The scores, rescaled by the measured sensitivity curve of each group."""
    assert job.task is not None
    images = list(training_inputs(job.task, recipe, recipe.method.sensitivity_batches()))
    groups = len(job.graph.groups)

    def tell(done: int) -> None:
        observe({"event": "scores", "done": done, "groups": groups})

    return sensitivity_scores(job.model, job.graph, scores, images, tell, job.task)
