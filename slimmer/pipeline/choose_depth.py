"""Which residual branches are removed whole, before the other groups become narrower."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isfinite

import torch

from slimmer.criteria.sensitivity import change_from
from slimmer.errors import BudgetError
from slimmer.graph import Arguments
from slimmer.pipeline.change_by_plan import changes_by_plans
from slimmer.pipeline.choose_plan import whole_batches
from slimmer.pipeline.job import PruningJob
from slimmer.pruning.batch_norms import batch_statistics
from slimmer.pruning.branches import Branch
from slimmer.pruning.masks import Masked, under_ones
from slimmer.pruning.plan import Plan
from slimmer.recipe import Recipe
from slimmer.runs.events import Observe, stage

IMAGES = 256  # on which outputs are compared
FAR = 2.0  # times the least change: no more branches are tried beyond
ALIKE = 1.25  # times the least change: fewer branches with no more than that are taken instead

Find = Callable[[PruningJob], Plan]
"""The plan of a job; raises BudgetError if there is none."""


def depths(job: PruningJob, recipe: Recipe, find: Find, observe: Observe) -> list[PruningJob]:
    """The job without the branches that are removed whole, best first.

    The best number of branches is the one that changes the outputs least, together with the
    narrower layers that the budgets then need, or the smallest number that does not change them
    much more. The other jobs have more branches removed, for budgets that the first can't meet when
    it is measured.

    Branches go in the order of the least change; for each number of them, the plan that `find`
    gives is compensated and compared with the dense network on some training images, with batch
    norms using the statistics of each batch. Raises BudgetError if no number gives a plan.
    """
    if recipe.budget.depth and not job.graph.branches:
        observe({"event": "note", "text": "no residual branch of the network can be removed"})
    if not job.graph.branches or job.task is None:
        return [job]
    observe(stage("measuring what changes without residual branches"))
    images = list(whole_batches(job.task, recipe, IMAGES))
    change_by = changes_by_plans(job, recipe, images)
    jobs: list[PruningJob] = []
    changes: list[float] = []
    failed: BudgetError | None = None
    for number, gone in enumerate(_one_by_one(job, images)):
        now = replace(job, limits=replace(job.limits, gone=gone))
        try:
            plan = find(now)
        except BudgetError as error:
            failed = error
            continue
        change = change_by(plan)
        names = [group.name for group in job.graph.groups if group.name in gone]
        shown = change if isfinite(change) else None
        observe({"event": "depth", "branches": number, "groups": names, "change": shown})
        jobs.append(now)
        changes.append(change)
        if change > FAR * min(changes):
            break
    if not jobs:
        assert failed is not None
        raise failed
    enough = ALIKE * min(changes)
    best = next(place for place, change in enumerate(changes) if change <= enough)
    return jobs[best:]


def _one_by_one(job: PruningJob, images: Sequence[Arguments]) -> Iterator[Branch]:
    """The groups that are removed whole: none, then those of one branch more at each step, always
    the one whose removal changes the outputs least.

    A branch changes more the more others are gone, so only the branches that seem best are measured
    again (Minoux 1978).
    """
    gone: Branch = frozenset()
    yield gone
    masked = under_ones(job.model, job.graph)
    with batch_statistics(job.model), torch.no_grad():
        change = change_from(masked, images, job.task)
    known = dict.fromkeys(job.graph.branches, 0.0)
    while known:
        fresh: set[Branch] = set()
        while (best := min(known, key=known.__getitem__)) not in fresh:
            _mask_(masked, job, gone | best)
            with batch_statistics(job.model), torch.no_grad():
                known[best] = change(masked)
            fresh.add(best)
        gone |= best
        del known[best]
        yield gone


def _mask_(masked: Masked, job: PruningJob, gone: Branch) -> None:
    """Set the mask to zero for the groups in `gone`, and to one for all others."""
    parts = [torch.full((group.size,), float(group.name not in gone)) for group in job.graph.groups]
    masked.variables.data.copy_(torch.cat(parts))
