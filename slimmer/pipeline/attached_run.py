"""The work behind `slimmer.attach`: the job of a network that somebody else trains, plans within a
falling budget, and the run that it becomes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimmer.atomic_files import digest, write_text
from slimmer.costs import Budget
from slimmer.errors import CheckpointError, RecipeError
from slimmer.models.checkpoint.weights import check_finite
from slimmer.models.copying import duplicate, set_mode_
from slimmer.models.identify import by_own_names
from slimmer.models.match import compare
from slimmer.pipeline.job import PruningJob, prepare
from slimmer.pipeline.make_report import make_report, write_results
from slimmer.pruning.allocate import allocate
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan, full_plan
from slimmer.pruning.slim_file import save_network
from slimmer.pruning.traced_parts import check_scope
from slimmer.recipe import Recipe
from slimmer.recipe.criteria import Taylor
from slimmer.reports.page import write_page
from slimmer.runs.events import Observe
from slimmer.runs.new_run import all_or_nothing, new_run, write_beginning

OF_OWN_TRAINING = ("sparsify", "sensitivity", "search", "batches", "order")  # of the method


@dataclass(frozen=True, eq=False)
class AttachedJob:
    """A recipe and its job, whose network is a copy of the dense one on the CPU."""

    recipe: Recipe
    job: PruningJob

    def plan(self, scores: Tensor, way: float = 1.0) -> Plan:
        """The plan that keeps the highest `scores` (units,) at the share `way`, 0 to 1, of the way
        from dense to the budgets.
        """
        job, how = self.job, self.recipe.method.allocation()
        now = [Budget(b.cost, b.cost.dense + way * (b.limit - b.cost.dense)) for b in job.budgets]
        limits = replace(job.limits, even=how.even, stream=how.stream)
        return allocate(scores, job.graph, now, limits, priced=how.priced)

    def project(self, scores: Tensor, way: float) -> Tensor:
        """The mask (units,) of `plan`."""
        return hard_mask(self.plan(scores, way))

    def gap(self, remaining: Mapping[str, float]) -> str:
        """What remains of each budgeted cost, next to its budget, as text."""
        parts = []
        for budget in self.job.budgets:
            name = budget.cost.name
            share = remaining[name]
            parts.append(f"{name} are at {share:.1%} of dense, the budget is {budget.ratio:.1%}")
        return " and ".join(parts)

    def described(self) -> dict[str, str]:
        """What a state of the masks belongs to, by name."""
        weights = hashlib.sha256()
        for tensor in self.job.given.state_dict().values():
            weights.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
        return {
            "network": full_plan(self.job.graph).hash,
            "recipe": self.recipe.hash(),
            "set of weights before training": weights.hexdigest()[:16],
        }


def attached_job(recipe: Recipe, dense: nn.Module, observe: Observe) -> AttachedJob:
    """The job of pruning `dense` while somebody else trains it.

    Raises SlimmerError if the recipe asks for what only slimmer's own training does, or if the
    network and the budgets don't fit together.
    """
    if not isinstance(recipe.method, Taylor):
        found = f"is {recipe.method.name}, but slimmer.attach scores channels by Taylor"
        raise RecipeError("method.name", found, "leave it out, or use slimmer.prune")
    if recipe.model.rewrite:
        found = "returns another network, but masks act in yours"
        raise RecipeError("model.rewrite", found, "leave it out, or use slimmer.prune")
    for name in OF_OWN_TRAINING:
        value, default = getattr(recipe.method, name), Taylor.model_fields[name].default
        if value != default:
            found = f"is {value}, which slimmer.attach does not use: it scores under masks"
            raise RecipeError(f"method.{name}", found, "leave it out, or use slimmer.prune")
    return AttachedJob(recipe, prepare(recipe, dense, observe=observe))


def trained_network(dense: nn.Module, trained: nn.Module) -> nn.Module:
    """A copy of `dense` with the weights of `trained`, which may be wrapped.

    Raises CheckpointError if they are not weights of this network, or not finite.
    """
    where = type(trained).__name__
    state = trained.state_dict()
    check_finite(where, state)
    weights = by_own_names(dense, state, where, sized=True).weights
    difference = compare(dense.state_dict(), weights)
    if difference:
        found = f"does not have the weights of the attached network:\n{difference}"
        raise CheckpointError(where, found, "give the network itself or a copy, such as its EMA")
    network = duplicate(dense)
    network.load_state_dict(dict(weights), strict=False)
    return network


def attached_run(
    attached: AttachedJob, plan: Plan, network: nn.Module, out: Path, told: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The slim network that `plan` leaves of the trained `network`, and the report of its run in
    `out`, a new or empty directory.

    `told` are entries of the report. Raises ModelError if the slim network does not match the
    masked one; nothing is written then.
    """
    job, recipe = attached.job, attached.recipe
    check_scope(network, job.graph, plan, job.scope, job.cut)
    slim = set_mode_(job.cut(network, plan), training=False)
    measured: dict[str, Any] = {cost.name: cost.dense for cost in job.costs}
    measured |= {"accuracy_dense": None, "accuracy_removed": None}
    with new_run(out, job.identity.arch) as (run, _), all_or_nothing(run):
        report = make_report(run, recipe, job, plan, slim, {**measured, "accuracy_slim": None})
        save_network(run.dense, job.given, job.identity, None, {})
        write_text(run.plan, plan.to_json())
        report = write_results(run, recipe, job, plan, slim, {**report, **told})
        write_beginning(run, recipe, {**measured, "dense_sha256": digest(run.dense)})
        write_page(run)
    return slim, report
