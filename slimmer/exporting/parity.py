"""How near an exported file comes to the network that it was made from."""

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

TOLERANCE = 1e-4  # of an output's largest magnitude, for float32
# An fp16 number has 11 bits, so what a deep network sums up is off by some thousandths. What int8
# costs differs from network to network: its accuracy is the judge, and only an answer that is no
# number fails here.
TOLERANCES = {"fp32": TOLERANCE, "torch": TOLERANCE, "fp16": 2e-2, "int8": 1e9}

SAME = "an export that computes the same; the network may do something that tracing fixes or leaves out"

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[[tuple[Any, ...]], list[Array]]
"""All outputs for the arguments of one call."""


@dataclass(frozen=True)
class Parity:
    """How near an ONNX file comes to the network it was made from, over all outputs.

    `max_rel` is the largest difference over the largest magnitude of its output; `top1_agreement`
    is the share of images for which both name the same class. Both are None where a call takes
    something else than images.
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
    """How near the ONNX file at `path`, in ONNX Runtime on the CPU, comes to `model`; see
    `hold_against`.

    Images go in, and answers come out, in the type that the file asks for.
    """
    return hold_against(
        model, path, inputs, of_images(call_file(path)), tolerance=tolerance, batch=batch
    )


def call_file(path: Path) -> Call:
    """What runs the ONNX file at `path` on the CPU, outputs in float32. Raises ExportError.

    Its inputs are the tensors among the arguments, in their order.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed too
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # waiting threads would burn a core each
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no base
        raise ExportError(str(path), one_line(error), ONNX_FILE) from error
    given = session.get_inputs()

    def answer(arguments: tuple[Any, ...]) -> list[Array]:
        try:
            tensors = tensors_in(arguments)
            feed = {
                one.name: as_type(each.numpy(), one.type)
                for one, each in zip(given, tensors, strict=True)
            }
            outputs: list[Array] = session.run(None, feed)
        except Exception as error:  # ONNX Runtime's errors share no base
            where = f"{path} on {shapes(arguments)}"
            raise ExportError(
                where,
                one_line(error),
                "an ONNX file that takes such inputs, and any batch where that is open",
            ) from error
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
    """How near `answer` comes to `model` on one call's `arguments`: for networks with inputs of
    their own.

    Raises ExportError as `hold_against` does.
    """
    with torch.inference_mode():
        expected = _outputs(eval_copy(model)(*arguments))
    return Parity(
        *_differences(f"{path} against PyTorch", expected, answer(arguments), tolerance), None, None
    )


def hold_against(
    model: nn.Module,
    path: Path,
    inputs: torch.Tensor,
    answer: Callable[[Array], list[Array]],
    *,
    tolerance: float,
    batch: int | None = None,
) -> Parity:
    """How near `answer`, all outputs of the file at `path`, comes to `model` in eval mode, float32.

    `inputs` are images (N, C, H, W). The first alone and all of them together are run, so that a
    fixed batch is noticed; where `batch` says that it is fixed, they are run in such batches. An
    output may differ by `tolerance` times its largest magnitude in PyTorch. Raises ExportError
    where it differs by more or is no number, where a class differs though PyTorch's two best are
    further apart than that, and where the file can't be run.
    """
    images = inputs.detach().to("cpu", torch.float32)
    if len(images) == 1:  # one image more, since a fixed batch of one must be noticed too
        images = images.repeat(2, 1, 1, 1)
    reference = eval_copy(model)
    checked = []
    for some in (images[:1], images):
        with torch.inference_mode():
            expected = _outputs(reference(some))
        got = answer(some.numpy()) if batch is None else in_batches(answer, some.numpy(), batch)
        where = f"{path} against PyTorch, batch of {len(some)}"
        checked.append(
            (
                *_differences(where, expected, got, tolerance),
                _agreement(where, expected, got, tolerance),
            )
        )
    absolute, relative, agreement = zip(*checked, strict=True)
    return Parity(max(absolute), max(relative), min(agreement), len(inputs))


def of_images(call: Call) -> Callable[[Array], list[Array]]:
    """The call that takes one batch of images."""
    return lambda images: call((torch.from_numpy(images),))


def call_program(path: Path, program: nn.Module) -> Call:
    """What runs `program`, as `load_program` read it from `path`, outputs in float32. Raises
    ExportError.
    """

    def answer(arguments: tuple[Any, ...]) -> list[Array]:
        try:
            with torch.inference_mode():
                return [output.astype(np.float32) for output in _outputs(program(*arguments))]
        except Exception as error:  # the program's own checks raise many kinds
            where = f"{path} on {shapes(arguments)}"
            raise ExportError(
                where,
                one_line(error),
                "a program that takes such inputs, and any batch where that is open",
            ) from error

    return answer


def _outputs(value: Any) -> list[Array]:
    """The tensors of a network's answer, in the order in which ONNX has them."""
    return [tensor.numpy() for tensor in tensors_in(value)]


def _differences(
    where: str, expected: Sequence[Array], got: Sequence[Array], tolerance: float
) -> tuple[float, float]:
    """The largest difference over all outputs, and over the largest magnitude of its output. Raises
    ExportError.
    """
    shapes = [a.shape for a in expected], [b.shape for b in got]
    if shapes[0] != shapes[1]:
        raise ExportError(where, f"outputs of shapes {shapes[1]} in place of {shapes[0]}", SAME)
    absolute = relative = 0.0
    for index, (a, b) in enumerate(zip(expected, got, strict=True)):
        difference, scale = float(np.abs(a - b).max(initial=0)), float(np.abs(a).max(initial=0))
        if not difference <= tolerance * scale:  # said this way round, since a NaN must fail
            found = (
                f"output {index} differs by {difference:.3g}; its largest magnitude is {scale:.3g}"
            )
            raise ExportError(where, found, SAME)
        absolute = max(absolute, difference)
        relative = max(relative, difference / scale if scale else 0.0)
    return absolute, relative


def _agreement(
    where: str, expected: Sequence[Array], got: Sequence[Array], tolerance: float
) -> float:
    """The share of images that get the same class. Raises ExportError where one with a clear class
    gets another.
    """
    logits, answers = (outputs[0].reshape(len(outputs[0]), -1) for outputs in (expected, got))
    differ = logits.argmax(axis=1) != answers.argmax(axis=1)
    if logits.shape[1] > 1:
        best = np.sort(logits, axis=1)
        wrong = differ & (best[:, -1] - best[:, -2] > tolerance * np.abs(logits).max())
        if wrong.any():
            raise ExportError(
                where, f"{int(wrong.sum())} images with a clear class get another", SAME
            )
    return 1 - float(differ.mean())
