"""A task and a network: everything that can go wrong is tried on the first batches, before anything
is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from slimmer.errors import TaskError
from slimmer.graph import called, rows, tensors_in
from slimmer.models.copying import duplicate, set_mode_
from slimmer.tasks.calls import FIX, guarded, inputs_of
from slimmer.tasks.distill import comparable
from slimmer.tasks.epochs import Epoch
from slimmer.tasks.kinds import find_kinds
from slimmer.tasks.loaders import TEST, TRAINING, structure
from slimmer.tasks.task import Task


@dataclass(frozen=True, eq=False)
class FirstBatches:
    """The first batch of each loader; `test` is None without a test loader."""

    train: Any
    test: Any


def first_batches(task: Task, note: Callable[[str], None], batch_size: int = 1) -> FirstBatches:
    """The first batches of a task's loaders, each of which is started twice.

    `batch_size` is that of the recipe, for ready-made tasks. `note` is told if a training loader
    gives other batches for the same seed. Raises TaskError if a loader is empty or gives another
    structure the second time.
    """
    again = partial(task.train.epoch, Epoch(0, 0, batch_size, shared=False))
    train = _same_twice(again, TRAINING)
    if not _equal(*train):
        note(
            f"{task.name}: the training loader gives other batches when it is started again with "
            "the same seed, so a resumed run is not the same as an unbroken one"
        )
    if task.test is None:
        return FirstBatches(train[0], None)
    test, _ = _same_twice(partial(iter, task.test), TEST)
    return FirstBatches(train[0], test)


def _same_twice(start: Callable[[], Any], where: str) -> tuple[Any, Any]:
    """The first batch of two passes. Raises TaskError if they have different structures."""
    first, again = (_first(start(), where) for _ in range(2))
    if structure(first) != structure(again):
        found = f"starts with {structure(first)}, and with {structure(again)} the second time"
        raise TaskError(where, found, "let every pass give batches of one structure")
    return first, again


def _first(batches: Any, where: str) -> Any:
    nothing = object()
    found = next(batches, nothing)
    batches.close()
    if found is nothing:
        raise TaskError(where, "is empty", "give at least one batch, also when it is started again")
    return found


def _equal(one: Any, other: Any) -> bool:
    """Whether all tensors of two batches are equal."""
    pairs = zip(tensors_in(one), tensors_in(other), strict=False)
    return all(torch.equal(*pair) for pair in pairs)


def fit_task(
    task: Task, model: nn.Module, first: FirstBatches, *, distill: float, trained: bool
) -> Task:
    """The task with its metrics known and its inputs in forward's order, tried on the first batches
    with copies of the dense network.

    `distill` is the weight of distillation, and `trained` tells whether there is fine-tuning.
    Raises TaskError for inputs that the network does not take, for a loss that is not a finite
    scalar with a gradient, for outputs that can't be distilled, and for a metric that fails.
    """
    task = replace(task, inputs=partial(inputs_of, task, model=model))
    calm = set_mode_(duplicate(model), training=False)
    for parameter in calm.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        outputs = _answer(task, calm, first.train, TRAINING)
        if task.loss is not None:
            check_loss(task, outputs, first.train, "in eval mode, as scores need it")
        if trained:
            _check_training(task, calm, outputs, first.train, distill)
    if first.test is None:
        return task
    with torch.no_grad():
        tested = _answer(task, calm, first.test, TEST)
        return replace(task, kinds=find_kinds(task, tested, first.test))


def _answer(task: Task, model: nn.Module, batch: Any, where: str) -> Any:
    given = task.inputs(batch)
    if not rows(given):
        raise TaskError(f"{where}, first batch", "holds no images", "give at least one")
    return guarded(f"the network on the first batch of {where}", partial(called, model, given))


def _check_training(task: Task, calm: nn.Module, teacher: Any, batch: Any, distill: float) -> None:
    """Raise TaskError if there is nothing to learn from, in training mode."""
    if task.loss is None and not distill:
        right = "give the task a loss, or set finetune.distill above 0"
        raise TaskError(task.name, "has no loss, and finetune.distill is 0", right)
    busy = set_mode_(duplicate(calm), training=True)
    outputs = _answer(task, busy, batch, TRAINING)
    if task.loss is not None:
        check_loss(task, outputs, batch, "in training mode")
    if not distill:
        return
    if task.distill is not None:
        own = partial(task.distill, outputs, _cut(teacher))
        apart = guarded(f"{task.name}, distill", own)
        _check_scalar(f"{task.name}, distill", apart)
    elif not task.logits and not comparable(outputs, teacher):
        found = "the outputs in training mode have no tensor of floats that the teacher's have too"
        right = "give the task a function distill(outputs, teacher_outputs), or finetune.distill=0"
        raise TaskError(f"{task.name}, distillation", found, right)


def _cut(outputs: Any) -> Any:
    return tree_map_only(Tensor, lambda x: x.detach(), outputs)


def check_loss(task: Task, outputs: Any, batch: Any, when: str) -> None:
    """Raise TaskError unless the loss is a finite scalar with a gradient."""
    where = f"{task.name}, loss of the first batch {when}"
    assert task.loss is not None
    right = FIX
    if task.data is not None:
        right = "give a network whose outputs fit the labels"
    found = guarded(where, partial(task.loss, outputs, batch), right)
    _check_scalar(where, found)
    if not found.requires_grad:
        right = "compute it from the outputs by PyTorch's functions, without detach or argmax"
        raise TaskError(where, "has no gradient", right)


def _check_scalar(where: str, found: Any) -> None:
    if not isinstance(found, Tensor):
        raise TaskError(where, f"is a {type(found).__name__}", "return a tensor of one number")
    if found.numel() != 1 or found.dim():
        shape = tuple(found.shape)
        raise TaskError(where, f"has the shape {shape}", "return one number: its mean, for example")
    if not isfinite(float(found.detach())):
        found_text = f"is {float(found.detach())} on the dense network"
        raise TaskError(where, found_text, "return a finite number, and check the batch")
