"""The training loop of a masked or a slim network, with labels and knowledge distillation."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import cos, pi
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
from slimmer.recipe.optimizers import SGD
from slimmer.runs.events import Observe
from slimmer.training.optimizer_state import restore_, state_of
from slimmer.training.optimizers import make_optimizer


@dataclass(frozen=True)
class Training:
    """The settings of training; `epochs` include the part under masks and the fine-tuning of the
    slim network, which share one learning-rate schedule.
    """

    epochs: float
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    warmup: float
    distill: float
    temperature: float
    seed: int
    mask_lr: float = 0.1
    mask_decay: float = 0.0
    drops: tuple[float, ...] = ()
    optimizer: str = SGD
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)

    def steps(self, data: Data) -> int:
        """The total number of training steps of the run."""
        return round(self.epochs * steps(data.train, self.batch_size))


@dataclass
class Learner:
    """The state that training changes: the network, its optimizer and the step."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers and the optimizer's state by name, to be saved."""
        found = {}
        for name, tensor in self.network.state_dict().items():
            found[f"network.{name}"] = tensor.detach()
        for place, tensor in state_of(self.optimizer, self.network).items():
            found[f"optimizer.{place}"] = tensor
        return found

    def restore_(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Restore the tensors that `state` returned at `step`."""
        self.network.load_state_dict(_below("network.", tensors))
        restore_(self.optimizer, self.network, _below("optimizer.", tensors))
        self.step = step


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by the rest of their names."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in names}


def make_learner(network: nn.Module, training: Training, *, train_masks: bool = False) -> Learner:
    """The network with its optimizer.

    Vectors have no weight decay; mask variables, if they are trained, have their own learning rate.
    """
    masks = network.variables if isinstance(network, Masked) else None
    trained = [p for p in network.parameters() if p.requires_grad and p is not masks]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.dim() > 1], "pace": 1.0},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0, "pace": 1.0},
    ]
    if masks is not None and train_masks:
        pace = training.mask_lr / training.lr
        groups.append({"params": [masks], "weight_decay": training.mask_decay, "pace": pace})
    optimizer = make_optimizer(
        groups,
        training.optimizer,
        training.optimizer_options,
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    return Learner(network, optimizer)


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
    total, per_epoch = training.steps(data), steps(data.train, training.batch_size)
    network, optimizer = fabric.setup(learner.network, learner.optimizer)
    set_mode_(network, training=True)
    masked = learner.network if isinstance(learner.network, Masked) else None
    began, seen = time.perf_counter(), 0
    for images, labels in _stream(fabric, data, training, learner.step, stop):
        step = learner.step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total, training) * group["pace"]
        # A seed for each step makes a resumed run repeat its dropout.
        torch.manual_seed(training.seed + step)
        images, labels = fabric.to_device(images), fabric.to_device(labels)  # noqa: PLW2901
        with torch.no_grad(), fabric.autocast():
            target = logits(teacher(images)) if training.distill else None
        answer = logits(network(images))
        loss = objective(answer, labels, target, training)
        task = loss.detach()
        if masked is not None and method is not None:
            penalty = method.penalty(masked.variables, step)
            loss = loss if penalty is None else loss + penalty
        network.zero_grad()
        fabric.backward(loss)
        if masked is not None and method is not None:
            method.after_backward_(masked.variables, step)
        optimizer.step()
        learner.step, seen = step + 1, seen + len(labels) * fabric.world_size
        value = float(task)
        if not value < float("inf"):
            raise TrainingError(f"step {step}", f"the loss is {value}", "lower finetune.lr")
        observe(
            {
                "event": "step",
                "step": learner.step,
                "steps": total,
                "epoch": learner.step / per_epoch,
                "loss": value,
                "batch_accuracy": float(top1_hits(answer, labels).float().mean()),
                "images_per_s": seen / (time.perf_counter() - began),
            }
        )
        save()


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


def learning_rate(step: int, total: int, training: Training) -> float:
    """The learning rate: a linear warm-up over the first `warmup` of all steps, then a cosine down
    to zero at `total`, or with `drops` a division by ten at each of them.
    """
    rise = max(1, round(training.warmup * total))
    if training.drops:
        fall = 0.1 ** sum(step >= share * total for share in training.drops)
    else:
        fall = 0.5 * (1 + cos(pi * step / max(1, total)))
    return training.lr * min(1.0, (step + 1) / rise) * fall


def _stream(
    fabric: Fabric, data: Data, training: Training, start: int, stop: int
) -> Iterator[Batch]:
    """This process's share of the batches of steps `start` to `stop`."""
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
