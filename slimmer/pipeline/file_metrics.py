"""The metrics of an exported file on a task's test batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimmer.errors import TaskError
from slimmer.exporting.outputs import Array, in_batches
from slimmer.exporting.torch_program import eval_copy
from slimmer.graph import called, refilled, rows, tensors_in
from slimmer.tasks import MetricKind, Task, accumulated


def file_metrics(
    task: Task, network: nn.Module, answer: Callable[[Array], list[Array]], batch: int | None
) -> tuple[dict[str, float], int]:
    """The task's metrics of a file, and the number of test images that it was run on.

    `answer` returns all outputs of the file for images; they get the structure of the outputs of
    `network`, which the file was made from. `batch` is the batch size that it takes, if it is
    fixed.
    """
    reference, seen = eval_copy(network), 0

    def pairs() -> Iterator[tuple[Any, Any]]:
        nonlocal seen
        form: Any = None
        for tested in task.test or ():
            images = _image(task, tested)
            if form is None:
                with torch.inference_mode():
                    form = called(reference, images)
            given = images.numpy()
            got = answer(given) if batch is None else in_batches(answer, given, batch)
            kinds = [tensor.dtype for tensor in tensors_in(form)]
            outputs = [torch.from_numpy(a).to(kind) for a, kind in zip(got, kinds, strict=True)]
            seen += rows(images)
            yield refilled(form, iter(outputs)), tested

    return accumulated(task, pairs()), seen


def have_size(task: Task, size: Sequence[int]) -> bool:
    """Whether all test images have the size that a file takes."""
    return all(tuple(_image(task, tested).shape[1:]) == tuple(size) for tested in task.test or ())


def test_images(task: Task, number: int, size: Sequence[int]) -> Iterator[Tensor]:
    """The first `number` test images of `size`, batch by batch."""
    for tested in task.test or ():
        images = _image(task, tested)
        if tuple(images.shape[1:]) != tuple(size):
            continue
        yield images[:number]
        number -= len(images)
        if number <= 0:
            return


def _image(task: Task, batch: Any) -> Tensor:
    """The images of a batch. Raises TaskError if the network takes several arguments."""
    given = task.inputs(batch)
    images = given[0] if isinstance(given, tuple) and len(given) == 1 else given
    if not isinstance(images, Tensor):
        found = f"has inputs of {len(given)} arguments"
        raise TaskError(f"{task.name}, test batch", found, "return one tensor of images")
    return images


@dataclass(frozen=True)
class Change:
    """A metric's change from float32 to int8: what is lost, and the sentence about it."""

    lost: float
    text: str


def change_of(kind: MetricKind, before: float, after: float) -> Change:
    """The change of a metric: `lost` is absolute for a share and otherwise relative, and negative
    for a gain.

    >>> change_of(MetricKind("MSE", False), 2.0, 2.5).lost
    0.25
    """
    lost = before - after if kind.higher_is_better else after - before
    said = f"{kind.name} {kind.shown(after)} compared with {kind.shown(before)} in fp32"
    if kind.percent:
        return Change(lost, f"{said} ({100 * (after - before):+.2f} points)")
    relative = lost / abs(before) if before else lost
    return Change(relative, said)
