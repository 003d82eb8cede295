"""The training loop of a masked or a slim network, with labels and knowledge distillation."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, repeat
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from slimmer.errors import TrainingError
from slimmer.graph import called, rows
from slimmer.methods import Method
from slimmer.models.copying import set_mode_
from slimmer.pruning.masks import Masked
from slimmer.runs.events import Observe
from slimmer.tasks import Epoch, Task, distance
from slimmer.tasks.calls import loss_of
from slimmer.tasks.measure import share_right
from slimmer.training.answers import Answers
from slimmer.training.learner import Learner
from slimmer.training.schedule import Training, learning_rate
from slimmer.training.steps import backward_, clip_, compiled, compiler_errors

Fetched = tuple[Any, Tensor | None]
"""A batch, and the teacher's answers to it, (B, ...); None if they are not remembered."""


def train_(
    fabric: Fabric,
    learner: Learner,
    teacher: nn.Module,
    task: Task,
    training: Training,
    *,
    stop: int,
    method: Method | None = None,
    answers: Answers | None = None,
    observe: Observe = lambda _: None,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train `learner` from its own step up to step `stop`, under the masks of `method` if it is
    given.

    The teacher is not run for batches to which `answers` has its answers. `observe` receives an
    event for each step; `save` is called after each step and itself decides whether to save. Raises
    TrainingError if the loss is no longer finite.
    """
    total = training.steps(task)
    made = compiled(learner.network) if training.compile else learner.network
    network, optimizer = fabric.setup(made, learner.optimizer)
    set_mode_(network, training=True)
    masked = learner.network if isinstance(learner.network, Masked) else None
    weights = learner.network if masked is None else masked.model
    loss_on = partial(_loss, fabric, network, teacher, task, training)
    stream = _stream(fabric, task, training, learner.step, stop, answers)
    began, seen = time.perf_counter(), 0
    while learner.step < stop:
        step = learner.step
        rate = learning_rate(step, total, training)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["pace"]
        parts = list(islice(stream, training.accumulate))
        # A seed for each step makes a resumed run repeat its dropout.
        torch.manual_seed(training.seed + step)
        network.zero_grad()
        penalty = None
        if masked is not None and method is not None:
            penalty = partial(method.penalty, masked.variables, step)
        with compiler_errors(compiling=training.compile):
            value, top1 = backward_(fabric, parts, loss_on, penalty)
        if masked is not None and method is not None:
            method.after_backward_(masked.variables, step)
        if training.clip is not None:
            clip_(fabric, learner.optimizer, weights, training.clip)
        optimizer.step()
        learner.stepped_()
        images = sum(rows(task.inputs(part)) for part, _ in parts)
        seen += images * fabric.world_size
        if not value < float("inf"):
            raise TrainingError(f"step {step}", f"the loss is {value}", "lower finetune.lr")
        where = {"step": learner.step, "steps": total, "epoch": training.epoch(step + 1, task)}
        pace = seen / (time.perf_counter() - began)
        found = {"loss": value, "lr": rate, "batch_accuracy": top1, "images_per_s": pace}
        observe({"event": "step", **where, **found})
        save()


def _loss(
    fabric: Fabric,
    network: nn.Module,
    teacher: nn.Module,
    task: Task,
    training: Training,
    fetched: Fetched,
) -> tuple[Tensor, float | None]:
    """The loss of a batch, and the share of its images that are classified right, if the task
    classifies images.
    """
    batch, target = (fabric.to_device(each) for each in fetched)
    given = task.inputs(batch)
    if training.distill and target is None:
        with torch.no_grad(), fabric.autocast():
            target = called(teacher, given)
    outputs = called(network, given)
    return objective(task, outputs, batch, target, training), share_right(task, outputs, batch)


def objective(
    task: Task, outputs: Any, batch: Any, target: Any | None, training: Training
) -> Tensor:
    """The task's loss, mixed with the distance from the outputs of the teacher, `target`, if there
    are any; the distance alone if the task has no loss.
    """
    if target is None:
        return loss_of(task, outputs, batch)
    apart = distance(task, outputs, target, training.temperature)
    if task.loss is None:
        return apart
    return (1 - training.distill) * loss_of(task, outputs, batch) + training.distill * apart


def _stream(
    fabric: Fabric,
    task: Task,
    training: Training,
    start: int,
    stop: int,
    answers: Answers | None,
) -> Iterator[Fetched]:
    """This process's share of the batches of steps `start` to `stop`, with the teacher's answers
    that are remembered.
    """
    start, stop = start * training.accumulate, stop * training.accumulate
    while start < stop:
        epoch, skipped = divmod(start, training.batches(task))
        wanted = Epoch(
            epoch,
            training.seed,
            training.batch_size,
            start=skipped,
            device=fabric.device,
            views=training.views,
        )
        known = repeat(None) if answers is None else answers.of(wanted)
        for fetched in zip(task.train.epoch(wanted), known, strict=False):
            if start == stop:
                return
            yield fetched
            start += 1
