"""Fvcore's count of a network, with handlers for what it skips: by module and operation, and in
total.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from slimmer.costs.handlers import HANDLERS
from slimmer.errors import NETWORK_FAULTS, ModelError, first_line
from slimmer.graph import Inputs, evaluating, example_inputs, place_of, tensors_in, tracing

Place = tuple[str, str]  # the path of a module, the kind of an operation

COMPUTING = (
    "aten::fft_",
    "aten::stft",
    "aten::istft",
    "aten::linalg_",
    "aten::cdist",
    "aten::matrix_",
    "aten::pairwise",
)
CHEAP = (
    "aten::linalg_vector_norm",
    "aten::linalg_norm",
    "aten::linalg_vecdot",
    "aten::linalg_cross",
)
OWN = ("aten::", "prim::", "profiler::")  # PyTorch's operations; others come from libraries


def count_by_module(model: nn.Module, inputs: Inputs) -> dict[Place, int]:
    """Fvcore's FLOPs by (module, operation), each module's own share without its children's."""
    nested = _analyse(model, inputs).by_module_and_operator()
    own: dict[Place, int] = {}
    for name, by_operator in nested.items():
        rest: Counter[str] = Counter(by_operator)
        for child in _children(name, nested):
            rest.subtract(nested[child])
        own.update({(name, operator): int(count) for operator, count in rest.items() if count})
    return own


def count_flops(model: nn.Module, inputs: Inputs) -> int:
    """Fvcore's FLOPs of one image of (C, H, W), or of one call with the given inputs, through
    `model` in eval mode.
    """
    return int(_analyse(model, inputs).total())


def uncounted(model: nn.Module, inputs: Inputs) -> list[str]:
    """The operations of a network whose FLOPs no counter knows, with the number of calls, as text.

    These are Fourier transforms, decompositions, distances, and operations of other libraries
    (deformable convolution).
    """
    skipped = _analyse(model, inputs).unsupported_ops()
    found = []
    for name in sorted(skipped):
        computes = name.startswith(COMPUTING) or not name.startswith(OWN)
        if computes and name not in CHEAP:
            found.append(f"{name} ({skipped[name]}x)")
    return found


@contextmanager
def plain_attention() -> Iterator[None]:
    """A block in which PyTorch's attention modules run as separate, countable operations."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _analyse(model: nn.Module, inputs: Inputs) -> FlopCountAnalysis:
    example = example_inputs(model, inputs, images=1)

    def counted() -> FlopCountAnalysis:
        analysis = FlopCountAnalysis(model, example).set_op_handle(**HANDLERS)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings(
            "none"
        )
        analysis.total()
        return analysis

    with (
        evaluating(model),
        plain_attention(),
        tensors_alone(model),
        tracing(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, but fvcore uses it
        try:
            return counted()
        except NETWORK_FAULTS as error:
            found = f"fvcore can't count its FLOPs, {place_of(model, counted)}: {first_line(error)}"
            right = "write this operation in a way that torch.jit.trace follows"
            raise ModelError(type(model).__name__, found, right) from error


@contextmanager
def tensors_alone(model: nn.Module) -> Iterator[None]:
    """A block in which a network returns only the tensors of its output: torch.jit can't trace
    other values.
    """
    hook = model.register_forward_hook(_tensors_of)
    try:
        yield
    finally:
        hook.remove()


def _tensors_of(_model: nn.Module, _inputs: Any, answer: Any) -> Any:
    return tuple(tensors_in(answer)) or answer


def _children(name: str, nested: Mapping[str, object]) -> list[str]:
    prefix = f"{name}." if name else ""
    children = []
    for other in nested:
        rest = other.removeprefix(prefix)
        is_inside = other.startswith(prefix) and other != name
        if is_inside and rest and "." not in rest:
            children.append(other)
    return children
