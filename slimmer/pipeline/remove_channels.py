"""From the dense network to the slim one: masks, the plan within the budgets, channel removal."""

from functools import partial
from typing import Any

from slimmer.methods import Method
from slimmer.models.copying import set_mode_
from slimmer.pipeline.choose_plan import (
    choose_method,
    sparsify_steps,
)
from slimmer.pipeline.latency_plan import plan_in_time
from slimmer.pipeline.run_context import Context, as_trained, remaining, slim_network
from slimmer.pipeline.saved_state import Stand, fitting
from slimmer.pruning.batch_norms import recalibrate_
from slimmer.pruning.compensate import compensate_
from slimmer.pruning.masks import Masked, fold_
from slimmer.pruning.plan import Plan
from slimmer.pruning.traced_parts import check_scope
from slimmer.runs.directory import Run
from slimmer.runs.events import stage
from slimmer.training.answers import Teacher
from slimmer.training.learner import Learner, make_learner
from slimmer.training.loop import train_
from slimmer.training.mask_events import mask_event
from slimmer.training.optimizer_state import restore_, sliced_state

MASK_EVENTS = 50  # events with mask values during training


def remove_channels(
    run: Run, context: Context, teacher: Teacher, stand: Stand
) -> tuple[Plan, Learner, dict[str, Any]]:
    """Train under masks towards the budgets, project exactly into them, and remove the channels.

    Returns the plan, the slim network with its optimizer state and recalibrated batch norms, and
    what was measured on the way: the share of each cost that the masks alone left (None without
    masks), and the latency of the plan if it has a budget.
    """
    job = context.job
    stop = sparsify_steps(context.recipe, job, context.training)
    context.tell(stage("scoring the channels"))
    method = choose_method(
        context.recipe, job, stop, resumed=bool(stand.tensors), observe=context.tell
    )
    network = Masked(job.model, job.graph, method.start(), method.gate)
    learner = make_learner(
        context.fabric.to_device(network), context.training, train_masks=method.trains_masks
    )
    if stand.tensors:
        with fitting(run):
            learner.restore_(stand.tensors, stand.step)
            for name, tensor in method.state.items():
                tensor.copy_(stand.tensors[f"method.{name}"])
    if job.task is not None and learner.step < stop:
        keep = partial(context.saved.maybe, "masks", learner, method.state)
        often = max(1, stop // MASK_EVENTS)

        def tell(event: dict[str, Any]) -> None:
            mask = method.gate(network.variables.detach(), training=False)
            context.tell({**event, **remaining(job, mask.cpu() > 0)})
            due = event["step"] % often == 0 or event["step"] == stop
            if method.has_masks and due:
                when = {"step": event["step"], "epoch": event["epoch"]}
                values = mask_event(mask, [group.size for group in job.graph.groups])
                context.tell({"event": "masks", **when, **values})

        train_(
            context.fabric,
            learner,
            teacher.network,
            job.task,
            context.training,
            stop=stop,
            method=method,
            answers=teacher.answers,
            observe=tell,
            save=keep,
        )
    return _project(context, method, learner, network)


def _project(
    context: Context, method: Method, learner: Learner, network: Masked
) -> tuple[Plan, Learner, dict[str, Any]]:
    """The plan, the slim network and what the masks left, from the network under its masks."""
    job = context.job
    scores = method.scores(network.variables)
    plan, found = plan_in_time(job, context.recipe, scores, context.tell)
    set_mode_(network, training=False)
    trained = sparsify_steps(context.recipe, job, context.training) > 0
    before = remaining(job, network.mask().cpu() > 0) if trained and method.has_masks else None
    if method.trains_masks:
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
