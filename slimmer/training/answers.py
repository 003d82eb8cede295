"""The teacher with its answers to the views of training images that come again."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from slimmer.graph import called
from slimmer.runs.events import Observe
from slimmer.tasks import Epoch, Task
from slimmer.training.schedule import Training

MOST_BYTES = 2**31  # of remembered answers: CIFAR-10 has 2 million per view


class Answers:
    """The teacher's answers to all views of the training images that come again, in the memory of
    the CPU; a class because it remembers them.

    The teacher answers all images of a view in one pass before the first epoch that shows it, in
    the order of the split and in batches of the recipe's size. The answers therefore do not depend
    on the step at which they are needed, and a resumed run repeats them bit by bit.
    """

    def __init__(
        self,
        fabric: Fabric,
        teacher: nn.Module,
        task: Task,
        training: Training,
        observe: Observe,
    ) -> None:
        """`teacher` is in eval mode; `observe` receives an event for each batch of a pass."""
        self._fabric, self._teacher, self._task = fabric, teacher, task
        self._views, self._repeated = training.views, training.repeated_views(task)
        self._observe = observe
        self._held: dict[int, Tensor] = {}

    def of(self, wanted: Epoch) -> Iterator[Tensor | None]:
        """The answers to each batch of an epoch, (B, ...); None for each if its view comes only
        once.
        """
        if wanted.view >= self._repeated:
            return repeat(None)
        if wanted.view not in self._held:
            self._held[wanted.view] = self._pass(wanted)
        held = self._held[wanted.view]
        return (held[places] for places in self._task.train.places(wanted))

    def _pass(self, wanted: Epoch) -> Tensor:
        """The answers to all images in one view, (N, ...)."""
        images, done = len(self._task.train.data.train), 0
        # A teacher that draws numbers draws the same ones in a resumed run.
        torch.manual_seed(wanted.seed + wanted.view)
        found = []
        for batch in self._task.train.in_order(wanted):
            found.append(_answer(self._fabric, self._teacher, self._task, batch).cpu())
            done += len(found[-1])
            place = {"view": wanted.view, "views": self._views}
            self._observe({"event": "answers", **place, "done": done, "images": images})
        return torch.cat(found)


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network in eval mode, from whose outputs another one learns, and its answers that are
    remembered; None if it is run in every step.
    """

    network: nn.Module
    answers: Answers | None = None


def make_teacher(
    fabric: Fabric, network: nn.Module, task: Task, training: Training, observe: Observe
) -> Teacher:
    """The teacher `network`, which is in eval mode, with answers to the views that come again.

    If its answers can't be remembered, `observe` receives a note that says why, and the network is
    run in every step. Whether they are remembered depends on the whole run only, not on the step at
    which it was resumed.
    """
    repeated = training.repeated_views(task)
    if not repeated or not training.distill:
        return Teacher(network)
    obstacle = _obstacle(fabric, network, task, training)
    if obstacle is None:
        return Teacher(network, Answers(fabric, network, task, training, observe))
    text = f"data.views: the dense network is run in every step, because {obstacle}"
    observe({"event": "note", "text": text})
    return Teacher(network)


def _obstacle(fabric: Fabric, network: nn.Module, task: Task, training: Training) -> str | None:
    """Why the answers to the views that come again can't be remembered; None if they can."""
    if fabric.world_size > 1:
        return "several processes train together"
    if task.train.mixes:
        return "mixup and CutMix mix other images in every epoch"
    seen = Epoch(0, training.seed, training.batch_size, views=training.views)
    first, again = (next(iter(task.train.in_order(seen))) for _ in range(2))
    if not torch.equal(first[0], again[0]):
        return "the images are changed by a random generator that slimmer can't seed"
    answer = _answer(fabric, network, task, first)
    if not isinstance(answer, Tensor) or answer.shape[:1] != first[0].shape[:1]:
        return "its output is not one tensor with a row for each image"
    size = answer[0].nbytes * len(task.train.data.train) * training.repeated_views(task)
    if size > MOST_BYTES:
        return f"its answers take {size / 2**30:.3g} GiB, more than {MOST_BYTES / 2**30:.3g}"
    return None


@torch.no_grad()
def _answer(fabric: Fabric, network: nn.Module, task: Task, fetched: Any) -> Any:
    """The network's output for a batch, in the precision of training."""
    batch = fabric.to_device(fetched)
    with fabric.autocast():
        return called(network, task.inputs(batch))
