"""The context that all stages of a run share."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from slimmer.graph import Arguments, example_inputs
from slimmer.models.copying import duplicate, set_mode_
from slimmer.pipeline.choose_plan import (
    training_inputs,
    training_of,
)
from slimmer.pipeline.job import PruningJob
from slimmer.pipeline.saved_state import SavedState
from slimmer.pruning.plan import Plan
from slimmer.recipe import Recipe
from slimmer.runs.claim import Claim
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.logs import Logs
from slimmer.tasks.classification import TOP1
from slimmer.training.answers import Teacher, make_teacher
from slimmer.training.devices import place_, synchronised_
from slimmer.training.schedule import Training


@dataclass(frozen=True, eq=False)
class Context:
    """The engine, recipe, job and saved state of one run."""

    fabric: Fabric
    recipe: Recipe
    job: PruningJob
    training: Training
    saved: SavedState
    tell: Observe


def make_context(
    fabric: Fabric, run: Run, claim: Claim | None, recipe: Recipe, job: PruningJob, observe: Observe
) -> Context:
    """The context of a run, with the network on its training device and batch norms synchronised if
    the recipe requests it.
    """
    if recipe.finetune.sync_batch_norm:
        job = replace(job, model=synchronised_(fabric, job.model))
    place_(fabric, job.model, example_call(job))
    saved = SavedState(fabric, run, recipe.finetune.save_every)
    tell = _teller(run, claim, observe)
    main = None if job.task is None else job.task.main
    if main is not None and main != TOP1:  # observers take top-1 for granted
        tell({"event": "metric", "metric": asdict(main)})
    return Context(fabric, recipe, job, training_of(recipe, job), saved, tell)


def dense_teacher(context: Context) -> Teacher:
    """A frozen copy of the dense network as the teacher of its own pruned forms."""
    job = context.job
    network = set_mode_(duplicate(job.model), training=False).requires_grad_(requires_grad=False)
    if job.task is None:
        return Teacher(network)
    return make_teacher(context.fabric, network, job.task, context.training, context.tell)


def with_logs(
    held: ExitStack, run: Run, recipe: Recipe, job: PruningJob, observe: Observe
) -> Observe:
    """An observer that also sends events to the recipe's loggers, which are open until `held`
    ends.
    """
    if not recipe.log:
        return observe
    main = None if job.task is None else job.task.main
    logs = Logs(recipe.log, run.logs, run.path.name, main.name if main else "accuracy")
    held.callback(logs.close, "failed")  # does nothing after the end of the run

    def tell(event: dict[str, Any]) -> None:
        observe(event)
        logs(event)

    return tell


def _teller(run: Run, claim: Claim | None, observe: Observe) -> Observe:
    """A function that passes events to the caller and records them in the run's event log, of
    training steps only every tenth, and of the teacher's answers only the last of a pass.

    Only the first process does so, which has the claim. It raises RunError if the run's directory
    was removed.
    """
    began = time.monotonic()

    def tell(event: dict[str, Any]) -> None:
        if claim is None:
            return
        claim.check()
        observe(event)
        if _is_recorded(event):
            kept = {key: value for key, value in event.items() if key != "report"}
            run.record({"time": round(time.monotonic() - began, 3), **kept})

    return tell


def _is_recorded(event: dict[str, Any]) -> bool:
    if event["event"] == "step":
        return bool(event["step"] % 10 == 0)
    if event["event"] == "answers":
        return bool(event["done"] == event["images"])
    return event["event"] not in {"dense", "metric", "stage"}


def example_call(job: PruningJob) -> tuple[Any, ...]:
    """The arguments of one call of the job's network."""
    return example_inputs(job.model, job.identity.inputs(job.given), images=2)


def slim_network(context: Context, plan: Plan) -> nn.Module:
    """The slim network on the training device."""
    return place_(
        context.fabric, context.job.cut(context.job.model, plan), example_call(context.job)
    )


def as_trained(context: Context, number: int) -> Iterator[Arguments]:
    """Batches of training inputs, augmented as in training (docs/decisions.md, 8)."""
    assert context.job.task is not None
    return training_inputs(context.job.task, context.recipe, number, augment=True)


def remaining(job: PruningJob, alive: Tensor) -> dict[str, float]:
    """The share of each cost that remains, relative to dense; `alive` (units,) is true for the
    units that are kept.
    """
    sizes = [group.size for group in job.graph.groups]
    widths = torch.stack([part.sum() for part in alive.split(sizes)])
    return {cost.name: cost.share(float(cost.value(widths))) for cost in job.costs}
