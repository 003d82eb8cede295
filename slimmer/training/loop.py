"""The training loop of a masked or a slim network, with labels and knowledge distillation."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from slimmer.data import Batch, Data, batches, steps
from slimmer.data.batches import held
from slimmer.errors import TrainingError
from slimmer.graph import logits, top1_hits
from slimmer.methods import Method
from slimmer.models.copying import set_mode_
from slimmer.pruning.masks import Masked
from slimmer.runs.events import Observe
from slimmer.training.learner import Learner
from slimmer.training.schedule import Training, learning_rate
from slimmer.training.steps import backward_, clip_, compiled, compiler_errors


def train_(
    fabric: Fabric,
    learner: Learner,
    teacher: nn.Module,
    data: Data,
    training: Training,
    *,
    stop: int,
    method: Method | None = None,
    observe: Observe = lambda _: None,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train `learner` from its own step up to step `stop`, under the masks of `method` if it is
    given.

    `observe` receives an event for each step; `save` is called after each step and itself decides
    whether to save. Raises TrainingError if the loss is no longer finite.
    """
    total = training.steps(data)
    made = compiled(learner.network) if training.compile else learner.network
    network, optimizer = fabric.setup(made, learner.optimizer)
    set_mode_(network, training=True)
    masked = learner.network if isinstance(learner.network, Masked) else None
    weights = learner.network if masked is None else masked.model
    loss_of = partial(_loss, fabric, network, teacher, training)
    stream = _stream(fabric, data, training, learner.step, stop)
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
            value, top1 = backward_(fabric, parts, loss_of, penalty)
        if masked is not None and method is not None:
            method.after_backward_(masked.variables, step)
        if training.clip is not None:
            clip_(fabric, learner.optimizer, weights, training.clip)
        optimizer.step()
        if learner.average is not None:
            learner.average.update_(learner.network)
        learner.step = step + 1
        seen += sum(len(labels) for _, labels in parts) * fabric.world_size
        if not value < float("inf"):
            raise TrainingError(f"step {step}", f"the loss is {value}", "lower finetune.lr")
        observe(
            {
                "event": "step",
                "step": learner.step,
                "steps": total,
                "epoch": training.epoch(learner.step, data),
                "loss": value,
                "lr": rate,
                "batch_accuracy": top1,
                "images_per_s": seen / (time.perf_counter() - began),
            }
        )
        save()


def _loss(
    fabric: Fabric,
    network: Callable[[Tensor], Any],
    teacher: nn.Module,
    training: Training,
    batch: Batch,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, and the share of its images that are classified right."""
    images, labels = fabric.to_device(batch[0]), fabric.to_device(batch[1])
    with torch.no_grad(), fabric.autocast():
        target = logits(teacher(images)) if training.distill else None
    answer = logits(network(images))
    return objective(answer, labels, target, training), top1_hits(answer, labels).float().mean()


def objective(answer: Tensor, labels: Tensor, target: Tensor | None, training: Training) -> Tensor:
    """The loss: cross entropy with the labels, mixed with the KL divergence from the softened
    outputs of the teacher.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network (2015), including the factor
    T^2.
    """
    answer = answer.float()
    task = cross_entropy(answer, labels)
    if target is None:
        return task
    soft = log_softmax(answer / training.temperature, 1)
    wanted = log_softmax(target.float() / training.temperature, 1)
    distance = (
        kl_div(soft, wanted, log_target=True, reduction="batchmean") * training.temperature**2
    )
    return (1 - training.distill) * task + training.distill * distance


def _stream(
    fabric: Fabric, data: Data, training: Training, start: int, stop: int
) -> Iterator[Batch]:
    """This process's share of the batches of steps `start` to `stop`."""
    start, stop = start * training.accumulate, stop * training.accumulate
    per_epoch = steps(data.train, training.batch_size)
    split = held(data.train, fabric.device)
    while start < stop:
        epoch, skipped = divmod(start, per_epoch)
        of_epoch = batches(
            split,
            data,
            batch_size=training.batch_size,
            epoch=epoch,
            seed=training.seed,
            augment=data.augment,
            rank=fabric.global_rank,
            world=fabric.world_size,
            start=skipped,
        )
        for batch in of_epoch:
            if start == stop:
                return
            yield batch
            start += 1
