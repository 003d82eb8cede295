"""A plan that keeps a latency budget, and a job whose latency is the measured one."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from slimmer.costs import Budget, Cost
from slimmer.errors import BudgetError, RecipeError
from slimmer.latency.build import MeasuredLatency, corrected
from slimmer.latency.rounds import keep
from slimmer.pipeline.choose_depth import depths
from slimmer.pipeline.choose_plan import nonnegative, target_plan
from slimmer.pipeline.job import PruningJob
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan
from slimmer.recipe import Recipe
from slimmer.runs.events import Observe

KEY = "latency_measured"  # in dense.json and report.json


def check_processes(recipe: Recipe, processes: int) -> None:
    """Raise RecipeError for a latency budget in a run of several processes, which would disturb
    each other's measurements.
    """
    if processes > 1 and recipe.budget.latency is not None:
        found = f"can't be measured while {processes} processes run"
        right = "prune in one process, or give --flops instead"
        raise RecipeError("budget.latency", found, right)


def plan_in_time(
    job: PruningJob, recipe: Recipe, scores: Tensor, observe: Observe
) -> tuple[Plan, dict[str, Any]]:
    """The plan within every budget that keeps the highest scores, and what was measured for it:
    nothing without a latency budget.
    """
    limited = [each for each in job.budgets if isinstance(each.cost, MeasuredLatency)]
    if not limited:
        find = partial(target_plan, recipe=recipe, scores=scores)
        plan = find(depths(job, recipe, find, observe)[0])
        _tell_removed(plan, observe)
        return plan, {}
    (budget,) = limited
    flops = next(cost for cost in job.costs if cost.name == "flops")

    def search(guide: Cost | None, now: Budget, within: PruningJob) -> Plan:
        budgets = tuple(now if each is budget else each for each in within.budgets)
        return target_plan(replace(within, budgets=budgets), recipe, scores, guide)

    shifted = nonnegative(scores).detach().double().cpu()

    def score(plan: Plan) -> float:
        return float(shifted @ hard_mask(plan, torch.float64))

    # A step of a latency costs much or nothing; FLOPs lead the search past such places.
    guides = None, flops

    def on_the_fit(now: PruningJob) -> Plan:
        return max((search(guide, budget, now) for guide in guides), key=score)

    jobs = depths(job, recipe, on_the_fit, observe)
    for tries, now in enumerate(jobs, 1):
        searches = [partial(search, guide, within=now) for guide in guides]
        try:
            kept = keep(budget, searches, score, observe)
        except BudgetError:
            if tries == len(jobs):
                raise
        else:
            break
    _tell_removed(kept.plan, observe)
    return kept.plan, {KEY: kept.record}


def _tell_removed(plan: Plan, observe: Observe) -> None:
    """Tell which groups are removed whole."""
    names = [group.name for group, kept in zip(plan.groups, plan.keep, strict=True) if not kept]
    if names:
        text = f"removed whole, because that changes the outputs least: {', '.join(names)}"
        observe({"event": "note", "text": text})


def as_measured(job: PruningJob, plan: Plan, measured: Mapping[str, Any]) -> PruningJob:
    """The job whose latency is the measured one at the plan's widths."""
    record = measured.get(KEY)
    if record is None:
        return job
    costs = []
    for cost in job.costs:
        now = cost
        if isinstance(cost, MeasuredLatency):
            now = corrected(cost, plan.widths, record["ratio"] * cost.dense)
        costs.append(now)
    by_name = {cost.name: cost for cost in costs}
    budgets = tuple(Budget(by_name[each.cost.name], each.limit) for each in job.budgets)
    return replace(job, costs=tuple(costs), budgets=budgets)
