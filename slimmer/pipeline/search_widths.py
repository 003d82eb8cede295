"""Other widths within the same budgets: plans near the one that the scores give are tried, and the
best one is taken.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from slimmer.criteria.sensitivity import change_from
from slimmer.errors import TrainingError
from slimmer.graph import Arguments, evaluating
from slimmer.models.copying import duplicate
from slimmer.pipeline.change_by_plan import changes_by_plans
from slimmer.pipeline.choose_plan import nonnegative, target_plan, whole_batches
from slimmer.pipeline.run_context import Context, as_trained, slim_network
from slimmer.pruning.batch_norms import recalibrate_
from slimmer.pruning.compensate import compensate_
from slimmer.pruning.plan import Plan
from slimmer.runs.events import stage
from slimmer.tasks import Task
from slimmer.training.answers import Teacher
from slimmer.training.devices import precision_state, restore_precision_
from slimmer.training.learner import make_learner
from slimmer.training.loop import train_

IMAGES = 1024  # on which outputs are compared
FINALISTS = 8  # plans that are trained
STEPS = 60  # for which they are
BATCHES = 12  # for their compensation and recalibration, at most
SPREAD = 0.7  # standard deviation of the logarithm of a factor's change
FAVOUR = 0.6  # how much better plans are preferred as the origin of the next one


@dataclass(frozen=True)
class Candidate:
    """A plan, the logarithms of the factors on each group's scores that give it, (groups,), and how
    far it changes the outputs.
    """

    factors: tuple[float, ...]
    plan: Plan
    change: float


def search_widths(context: Context, teacher: Teacher, scores: Tensor) -> Tensor:
    """The scores (units,), float64, those of each group scaled by a factor, so that their plan is
    the best of those that were tried; the order of the units in a group stays.

    Each plan comes from a good one of those before by other factors on two to four groups. Plans
    are compared by how far the outputs are from the dense network's: all of them right after the
    removal, then the best ones, and the one of the scores as they are, after some steps of
    training. What is least changed by the removal alone is not what trains on best.

    Source: successive halving (Jamieson and Talwalkar, Non-stochastic Best Arm Identification and
    Hyperparameter Optimization, 2016), in two rounds, over plans that evolve.
    """
    task = context.job.task
    assert task is not None
    context.tell(stage("searching for better widths"))
    scores = nonnegative(scores).detach().double().cpu()
    images = list(whole_batches(task, context.recipe, IMAGES))
    first, *others = _tried(context, scores, images)
    others.sort(key=lambda one: one.change)
    finalists = [first, *others[: FINALISTS - 1]]
    if others and context.training.steps(task):
        finalists = _trained(context, teacher, task, finalists, images)
    best = min(finalists, key=lambda one: one.change)
    return _scaled(scores, best.factors, context.job.graph.widths)


def _tried(context: Context, scores: Tensor, images: Sequence[Arguments]) -> list[Candidate]:
    """The plan of the scores, and the different ones that were found from it, in the order in which
    they were found.
    """
    job, recipe = context.job, context.recipe
    change_by = changes_by_plans(job, recipe, images)
    draw = random.Random(recipe.seed)  # noqa: S311 - not for secrets
    found: dict[Plan, Candidate] = {}
    factors = (0.0,) * len(job.graph.groups)
    number = recipe.method.plans_to_try()
    for done in range(number + 1):
        plan = target_plan(job, recipe, _scaled(scores, factors, job.graph.widths))
        if plan not in found:
            change = context.fabric.broadcast(change_by(plan))
            found[plan] = Candidate(factors, plan, change)
        best_first = sorted(found.values(), key=lambda one: one.change)
        context.tell(_event(done, number, best_first[0].change, trained=False))
        origin = best_first[min(len(found) - 1, int(draw.expovariate(FAVOUR)))]
        factors = _changed(origin.factors, draw)
    return list(found.values())


def _changed(factors: Sequence[float], draw: random.Random) -> tuple[float, ...]:
    """The factors, with two to four of them changed."""
    now = list(factors)
    number = min(len(now), draw.choice((2, 3, 4)))
    for group in draw.sample(range(len(now)), number):
        now[group] += draw.gauss(0, SPREAD)
    return tuple(now)


def _scaled(scores: Tensor, factors: Sequence[float], sizes: Sequence[int]) -> Tensor:
    parts = scores.split(list(sizes))
    return torch.cat([part * exp(factor) for part, factor in zip(parts, factors, strict=True)])


def _trained(
    context: Context,
    teacher: Teacher,
    task: Task,
    finalists: Sequence[Candidate],
    images: Sequence[Arguments],
) -> list[Candidate]:
    """The same plans, with how far they change the outputs after some steps of training."""
    with torch.no_grad():
        change = change_from(teacher.network, images, task)
    found: list[Candidate] = []
    for one in finalists:
        network = _compensated(context, one.plan)
        after = _after_steps(context, teacher, task, network, change)
        found.append(replace(one, change=context.fabric.broadcast(after)))
        least = min(each.change for each in found)
        context.tell(_event(len(found), len(finalists), least, trained=True))
    return found


def _compensated(context: Context, plan: Plan) -> nn.Module:
    """The slim network of a plan before training; the job's network stays as it is."""
    job, section = context.job, context.recipe.finetune
    number = min(BATCHES, section.recalibrate)
    network = duplicate(job.model)
    if number and context.recipe.method.compensate:
        compensate_(network, job.graph, plan, as_trained(context, number))
    slim = slim_network(replace(context, job=replace(job, model=network)), plan)
    if number:
        recalibrate_(slim, as_trained(context, number))
    return slim


def _after_steps(
    context: Context,
    teacher: Teacher,
    task: Task,
    network: nn.Module,
    change: Callable[[nn.Module], float],
) -> float:
    """What `change` measures after the network was trained for some steps; infinity if its loss was
    no longer finite.

    Raises TrainingError for such a loss if several processes train: it may be that of one of them.
    """
    steps = min(STEPS, context.training.steps(task))
    epochs = steps * context.training.accumulate / context.training.batches(task)
    short = replace(context.training, epochs=epochs, ema=0.0, views=None, compile=False)
    learner = make_learner(network, short)
    scaling = precision_state(context.fabric)
    try:
        train_(context.fabric, learner, teacher.network, task, short, stop=steps)
    except TrainingError:
        if context.fabric.world_size > 1:
            raise
        return inf
    finally:
        restore_precision_(context.fabric, scaling)
    with evaluating(network), torch.no_grad():
        return change(network)


def _event(done: int, plans: int, change: float, *, trained: bool) -> dict[str, Any]:
    counts = {"trained": trained, "done": done, "plans": plans}
    return {"event": "search", **counts, "change": change if isfinite(change) else None}
