"""Which residual branches are removed whole, before the other groups become narrower."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from slimmer.criteria.sensitivity import change_from
from slimmer.errors import BudgetError
from slimmer.graph import Arguments
from slimmer.models.copying import duplicate
from slimmer.pipeline.choose_plan import training_inputs
from slimmer.pipeline.job import PruningJob
from slimmer.pruning.batch_norms import batch_statistics
from slimmer.pruning.branches import Branch
from slimmer.pruning.compensate import fold_removed_, moments_of
from slimmer.pruning.masks import Masked, consumer_index, hard_mask
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
    if not job.graph.branches or job.task is None:
        if recipe.budget.depth:
            observe({"event": "note", "text": "no residual branch of the network can be removed"})
        return [job]
    observe(stage("measuring what changes without residual branches"))
    images = list(training_inputs(job.task, recipe, -(-IMAGES // recipe.finetune.batch_size)))
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
        observe({"event": "depth", "branches": number, "groups": names, "change": change})
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
    masked = Masked(job.model, job.graph, torch.ones(job.graph.units)).to(_device(job))
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


def changes_by_plans(
    job: PruningJob, recipe: Recipe, images: Sequence[Arguments]
) -> Callable[[Plan], float]:
    """A function that measures how far the outputs under a plan are from the dense network's.

    The weights are compensated for the plan if the recipe asks for it, and batch norms use the
    statistics of each batch. The job's network stays as it is.
    """
    network = duplicate(job.model)
    masked = Masked(network, job.graph, torch.ones(job.graph.units)).to(_device(job))
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


def _device(job: PruningJob) -> torch.device:
    return next(job.model.parameters()).device
