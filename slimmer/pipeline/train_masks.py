"""Training under masks, with the channels removed whose masks have settled at zero."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from slimmer.methods import Method, Settling
from slimmer.pipeline.choose_plan import sparsify_steps
from slimmer.pipeline.run_context import Context, remaining, slim_network
from slimmer.pipeline.saved_state import Stand, fitting
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan, full_plan
from slimmer.pruning.settle import alive_plan, without_settled
from slimmer.runs.directory import Run
from slimmer.training.answers import Teacher
from slimmer.training.learner import Learner, make_learner
from slimmer.training.loop import train_
from slimmer.training.mask_events import mask_event
from slimmer.training.shrink import return_, shrunk

MASK_EVENTS = 50  # events with mask values during training
ALIVE, ZERO = "settle.alive", "settle.zero"  # tensors of the saved state


@dataclass(frozen=True, eq=False)
class UnderMasks:
    """A network under masks in training.

    `plan` keeps the units that have not been removed; `zero` (units,) is true for those that the
    method counted as removed when that was last asked.
    """

    learner: Learner
    network: Masked
    plan: Plan
    zero: Tensor

    def state(self) -> dict[str, Tensor]:
        """What a resumed run must know of the removed units, to be saved."""
        return {ALIVE: hard_mask(self.plan) > 0, ZERO: self.zero}


def whole_network(context: Context, method: Method) -> UnderMasks:
    """The whole network under the method's initial masks."""
    job = context.job
    network = Masked(job.model, job.graph, method.start(), method.gate)
    learner = make_learner(
        context.fabric.to_device(network), context.training, train_masks=method.trains_masks
    )
    nothing = torch.zeros(job.graph.units, dtype=torch.bool)
    return UnderMasks(learner, network, full_plan(job.graph), nothing)


def restored(
    run: Run, context: Context, method: Method, whole: UnderMasks, stand: Stand
) -> UnderMasks:
    """The network under masks as it was saved. Raises RunError if the state does not fit."""
    now, tensors = whole, stand.tensors
    with fitting(run):
        if f"method.{ALIVE}" in tensors:
            plan = alive_plan(context.job.graph, tensors[f"method.{ALIVE}"])
            now = _without_removed(context, method, whole, plan)
            now = replace(now, zero=tensors[f"method.{ZERO}"])
        now.learner.restore_(tensors, stand.step)
        for name, tensor in method.state.items():
            tensor.copy_(tensors[f"method.{name}"])
    return now


def train_masks_(
    context: Context, method: Method, teacher: Teacher, whole: UnderMasks, now: UnderMasks
) -> UnderMasks:
    """Train from `now` to the end of training under masks, and return the network that is left;
    `whole` gets its weights and optimizer state.
    """
    stop = sparsify_steps(context.recipe, context.job, context.training)
    every = _settle_steps(context) or max(1, stop)
    while now.learner.step < stop:
        step = now.learner.step
        if step and step % every == 0:
            now = _settled(context, cast("Settling", method), whole, now)
        _train(context, method, teacher, now, min(stop, step - step % every + every), stop)
    _bring_back_(whole, now)
    return now


def _train(
    context: Context, method: Method, teacher: Teacher, now: UnderMasks, until: int, stop: int
) -> None:
    """Train up to step `until`; training under masks ends at `stop`."""
    job, network = context.job, now.network
    assert job.task is not None
    removed = now.state() if _settle_steps(context) else {}
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
        now.learner,
        teacher.network,
        job.task,
        context.training,
        stop=until,
        method=method,
        answers=teacher.answers,
        observe=tell,
        save=partial(context.saved.maybe, "masks", now.learner, {**method.state, **removed}),
    )


def _settle_steps(context: Context) -> int:
    """The number of steps between two removals of settled units; 0 if they are not removed."""
    epochs, task = context.recipe.method.settle_epochs(), context.job.task
    if epochs is None or task is None:
        return 0
    return max(1, context.training.steps_in(epochs, task))


def _settled(context: Context, method: Settling, whole: UnderMasks, now: UnderMasks) -> UnderMasks:
    """The network without the units that count as removed for the second time in a row."""
    job, step = context.job, now.learner.step
    _bring_back_(whole, now)
    variables = whole.network.variables
    zero, scores = method.settled(variables).cpu(), method.scores(variables)
    twice = zero & now.zero
    plan = without_settled(now.plan, twice, scores, job.graph, job.budgets, job.limits)
    if plan != now.plan:
        units = sum(now.plan.widths) - sum(plan.widths)
        now = _without_removed(context, method, whole, plan)
        assert job.task is not None
        when = {"step": step, "epoch": context.training.epoch(step, job.task)}
        left = remaining(job, hard_mask(plan) > 0)
        context.tell({"event": "settled", **when, "units": units, **left})
    return replace(now, zero=zero)


def _without_removed(context: Context, method: Method, whole: UnderMasks, plan: Plan) -> UnderMasks:
    """`whole` without the units that `plan` removes, with what is left of the optimizer's state."""
    if plan == whole.plan:
        return whole
    settling = cast("Settling", method)
    variables = whole.network.variables.detach().clone()
    network = Masked(
        slim_network(context, plan),
        context.job.graph,
        variables,
        method.gate,
        plan=plan,
        closed=settling.closed,
    )
    context.fabric.to_device(network)
    learner = shrunk(
        whole.learner, network, plan, context.training, train_masks=method.trains_masks
    )
    settling.follow_(network.model)
    return UnderMasks(learner, network, plan, whole.zero)


def _bring_back_(whole: UnderMasks, now: UnderMasks) -> None:
    """Bring the whole network to where the network that is trained is."""
    if now.learner is not whole.learner:
        return_(now.learner, whole.learner, now.plan)
