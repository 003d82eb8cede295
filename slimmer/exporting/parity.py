"""Parity: how closely an exported file agrees with the network that it was made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from slimmer.errors import ExportError
from slimmer.exporting.error_text import ONNX_FILE, one_line
from slimmer.exporting.outputs import as_type, in_batches
from slimmer.exporting.torch_program import eval_copy
from slimmer.graph import shapes, tensors_in

TOLERANCE = 1e-4  # relative to an output's largest magnitude, for float32
SAME = (
    "an export that computes the same; tracing may have frozen or dropped something that the "
    "network does"
)

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[[tuple[Any, ...]], list[Array]]
"""All outputs for the arguments of one call."""


@dataclass(frozen=True)
class Parity:
    """How closely an ONNX file agrees with the network it was made from, over all outputs.

    `max_abs` is the largest absolute difference. `max_rel` is the largest difference relative to
    the largest magnitude of its output. `top1_agreement` is the share of images that both put into
    the same class, None if the outputs are not classes; `images` is their number. Both are None if
    the network does not take images.
    """

    max_abs: float
    max_rel: float
    top1_agreement: float | None
    images: int | None


def check_parity(
    model: nn.Module,
    path: Path,
    inputs: torch.Tensor,
    *,
    tolerance: float = TOLERANCE,
    batch: int | None = None,
) -> Parity:
    """The parity of the ONNX file at `path`, in ONNX Runtime on the CPU, and `model`; see
    `hold_against`.

    Inputs are converted to the type that the file takes.
    """
    return hold_against(
        model, path, inputs, of_images(call_file(path)), tolerance=tolerance, batch=batch
    )


def call_file(path: Path) -> Call:
    """A function that runs the ONNX file at `path` on the CPU and returns float32 outputs.

    The file's inputs are the tensors among the arguments, in order. Raise ExportError if the file
    can't be opened; the function raises it if the file can't be run.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, so they need not be logged
    options.intra_op_num_threads = torch.get_num_threads()
    # Spinning threads would each occupy a core while they wait.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ExportError(str(path), one_line(error), ONNX_FILE) from error
    given = session.get_inputs()

    def answer(arguments: tuple[Any, ...]) -> list[Array]:
        try:
            feed = {}
            for expected, tensor in zip(given, tensors_in(arguments), strict=True):
                feed[expected.name] = as_type(tensor.numpy(), expected.type)
            outputs: list[Array] = session.run(None, feed)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            where = f"{path} on {shapes(arguments)}"
            right = "an ONNX file that takes such inputs, with any batch size if that is open"
            raise ExportError(where, one_line(error), right) from error
        return [output.astype(np.float32) for output in outputs]

    return answer


def hold_call(
    model: nn.Module,
    path: Path,
    arguments: tuple[Any, ...],
    answer: Call,
    *,
    tolerance: float,
) -> Parity:
    """The parity of `answer` and `model` on the `arguments` of one call, for networks that do not
    take images.

    Raise ExportError as `hold_against` does.
    """
    with torch.inference_mode():
        expected = _outputs(eval_copy(model)(*arguments))
    where = f"{path} compared with PyTorch"
    absolute, relative = _differences(where, expected, answer(arguments), tolerance)
    return Parity(absolute, relative, None, None)


def hold_against(
    model: nn.Module,
    path: Path,
    inputs: torch.Tensor,
    answer: Callable[[Array], list[Array]],
    *,
    tolerance: float,
    batch: int | None = None,
    classes: bool = True,
) -> Parity:
    """The parity of `answer`, which returns all outputs of the file at `path`, and `model` in eval
    mode and float32.

    `inputs` are images (N, C, H, W). The first image alone and all images together are run, so that
    an unintended fixed batch size is noticed; if `batch` is given, they are run in batches of that
    size. An output may differ by `tolerance` times its largest magnitude in PyTorch. Raise
    ExportError if it differs by more or is NaN, and if the file can't be run. If the first output
    is scores of `classes` (N, classes, ...), raise it also if a class differs although PyTorch's
    two largest logits are further apart than that.
    """
    images = inputs.detach().to("cpu", torch.float32)
    if len(images) == 1:  # two images, because a fixed batch size of 1 must be noticed too
        images = images.repeat(2, 1, 1, 1)
    reference = eval_copy(model)
    absolute, relative, agreement = 0.0, 0.0, 1.0
    for some in (images[:1], images):
        with torch.inference_mode():
            expected = _outputs(reference(some))
        if batch is None:
            got = answer(some.numpy())
        else:
            got = in_batches(answer, some.numpy(), batch)
        where = f"{path} compared with PyTorch, batch of {len(some)}"
        largest, largest_relative = _differences(where, expected, got, tolerance)
        absolute, relative = max(absolute, largest), max(relative, largest_relative)
        if classes:
            agreement = min(agreement, _agreement(where, expected, got, tolerance))
    return Parity(absolute, relative, agreement if classes else None, len(inputs))


def of_images(call: Call) -> Callable[[Array], list[Array]]:
    """`call` as a function of one batch of images."""
    return lambda images: call((torch.from_numpy(images),))


def call_program(path: Path, program: nn.Module) -> Call:
    """A function that runs `program`, which `load_program` read from `path`, and returns float32
    outputs. It raises ExportError if the program can't be run.
    """

    def answer(arguments: tuple[Any, ...]) -> list[Array]:
        try:
            with torch.inference_mode():
                return [output.astype(np.float32) for output in _outputs(program(*arguments))]
        except Exception as error:  # the program's own checks raise many kinds of errors
            where = f"{path} on {shapes(arguments)}"
            right = "a program that takes such inputs, with any batch size if that is open"
            raise ExportError(where, one_line(error), right) from error

    return answer


def _outputs(value: Any) -> list[Array]:
    """The tensors in a network's return value, in the order of the ONNX outputs."""
    return [tensor.numpy() for tensor in tensors_in(value)]


def _differences(
    where: str, expected: Sequence[Array], got: Sequence[Array], tolerance: float
) -> tuple[float, float]:
    """The largest absolute difference, and the largest relative to the magnitude of its output.

    Raise ExportError if shapes differ, or values by more than `tolerance`.
    """
    right, wrong = [a.shape for a in expected], [b.shape for b in got]
    if right != wrong:
        raise ExportError(where, f"outputs of shapes {wrong} instead of {right}", SAME)
    absolute = relative = 0.0
    for index, (a, b) in enumerate(zip(expected, got, strict=True)):
        difference, scale = float(np.abs(a - b).max(initial=0)), float(np.abs(a).max(initial=0))
        if not difference <= tolerance * scale:  # not `difference > …`, because a NaN must fail
            found = (
                f"output {index} differs by {difference:.3g}; its largest magnitude is {scale:.3g}"
            )
            raise ExportError(where, found, SAME)
        absolute = max(absolute, difference)
        if scale:
            relative = max(relative, difference / scale)
    return absolute, relative


def _agreement(
    where: str, expected: Sequence[Array], got: Sequence[Array], tolerance: float
) -> float:
    """The share of images that get the same class. Raise ExportError if the class of an image with
    a clear margin differs.
    """
    logits, answers = _rows(expected[0]), _rows(got[0])
    differ = logits.argmax(axis=1) != answers.argmax(axis=1)
    if logits.shape[1] > 1:
        best = np.sort(logits, axis=1)
        wrong = differ & (best[:, -1] - best[:, -2] > tolerance * np.abs(logits).max())
        if wrong.any():
            raise ExportError(
                where, f"{int(wrong.sum())} images with a clear class get another class", SAME
            )
    return 1 - float(differ.mean())


def _rows(scores: Array) -> Array:
    """The scores (N, classes, ...) as (N * positions, classes)."""
    by_class = np.moveaxis(scores.reshape(len(scores), -1, *scores.shape[2:]), 1, -1)
    return by_class.reshape(-1, by_class.shape[-1])
