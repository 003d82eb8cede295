"""From the dense network to the slim one: masks, the plan within the budgets, channel removal."""

from dataclasses import replace
from typing import Any

from slimmer.methods import Method
from slimmer.models.copying import set_mode_
from slimmer.pipeline.choose_plan import (
    choose_method,
    sparsify_steps,
)
from slimmer.pipeline.latency_plan import plan_in_time
from slimmer.pipeline.run_context import Context, as_trained, remaining, slim_network
from slimmer.pipeline.saved_state import Stand
from slimmer.pipeline.search_widths import search_widths
from slimmer.pipeline.train_masks import UnderMasks, restored, train_masks_, whole_network
from slimmer.pruning.batch_norms import recalibrate_
from slimmer.pruning.compensate import compensate_
from slimmer.pruning.masks import fold_
from slimmer.pruning.plan import Plan
from slimmer.pruning.settle import ranked_last
from slimmer.pruning.traced_parts import check_scope
from slimmer.runs.directory import Run
from slimmer.runs.events import stage
from slimmer.training.answers import Teacher
from slimmer.training.learner import Learner, make_learner
from slimmer.training.optimizer_state import restore_, sliced_state


def remove_channels(
    run: Run, context: Context, teacher: Teacher, stand: Stand
) -> tuple[Plan, Learner, dict[str, Any]]:
    """Train under masks towards the budgets, project exactly into them, and remove the channels.

    Returns the plan, the slim network with its optimizer state and recalibrated batch norms, and
    what was measured on the way: the share of each cost that the masks alone left (None without
    masks), and the latency of the plan if it has a budget.
    """
    stop = sparsify_steps(context.recipe, context.job, context.training)
    context.tell(stage("scoring the channels"))
    resumed = bool(stand.tensors)
    method = choose_method(context.recipe, context.job, stop, resumed=resumed, observe=context.tell)
    whole = whole_network(context, method)
    now = restored(run, context, method, whole, stand) if resumed else whole
    now = train_masks_(context, method, teacher, whole, now)
    return _project(context, method, teacher, whole, now.plan)


def _project(
    context: Context, method: Method, teacher: Teacher, whole: UnderMasks, left: Plan
) -> tuple[Plan, Learner, dict[str, Any]]:
    """The plan, the slim network and what the masks left, from the network under its masks; the
    plan keeps only units that are in `left`.
    """
    job, network, learner = context.job, whole.network, whole.learner
    scores = method.scores(network.variables)
    settled = left != whole.plan
    if settled:
        scores = ranked_last(scores, left)
        most = {group.name: len(kept) for group, kept in zip(left.groups, left.keep, strict=True)}
        job = replace(job, limits=replace(job.limits, most=most))
    if context.recipe.method.plans_to_try():
        scores = search_widths(replace(context, job=job), teacher, scores)
    plan, found = plan_in_time(job, context.recipe, scores, context.tell)
    set_mode_(network, training=False)
    trained = sparsify_steps(context.recipe, job, context.training) > 0
    before = remaining(job, network.mask().cpu() > 0) if trained and method.has_masks else None
    if method.trains_masks or settled:
        fold_(job.model, job.graph, network.mask())
    number = context.recipe.finetune.recalibrate if job.task is not None else 0
    if number and context.recipe.method.compensate:
        compensate_(job.model, job.graph, plan, as_trained(context, number))
    check_scope(job.model, job.graph, plan, job.scope, job.cut)
    slim = make_learner(slim_network(context, plan), context.training)
    remembered = sliced_state(learner.optimizer, network.model, plan)
    restore_(slim.optimizer, slim.network, remembered)
    slim.step = learner.step
    if number:
        recalibrate_(slim.network, as_trained(context, number))
    return plan, slim, {"before_projection": before, **found}
