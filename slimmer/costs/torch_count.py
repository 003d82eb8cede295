"""PyTorch's own count of a network's multiply-adds (two FLOPs each), to confirm fvcore's."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from slimmer.costs.contraction import sums_over_one
from slimmer.costs.fvcore_count import plain_attention
from slimmer.errors import NETWORK_FAULTS, ModelError, first_line
from slimmer.graph import Inputs, evaluating, example_inputs, following_calls, place_of, tensors_in

Shape = Sequence[int]


def count_conv_linear(model: nn.Module, inputs: Inputs) -> int:
    """torch.utils.flop_counter's FLOPs of one image: two per multiply-add, only for convolutions
    and matrix products.
    """
    return 2 * sum(multiply_adds(model, inputs).values())


def multiply_adds(model: nn.Module, inputs: Inputs) -> Counter[str]:
    """Multiply-adds by module, counted by torch.utils.flop_counter, without those of the module's
    children.

    Raises ModelError if the network can't be run under the counter.
    """
    example = example_inputs(model, inputs, images=1)
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    counter.mod_tracker = _Whole()  # type: ignore[assignment]

    def counted() -> Counter[str]:
        with _by_module(model, counter) as own, counter, _SumsOverOne(counter):
            model(*example)
        return +own

    with evaluating(model), plain_attention(), torch.no_grad():
        try:
            return counted()
        except NETWORK_FAULTS as error:
            place = place_of(model, counted)
            found = f"torch.utils.flop_counter can't count its FLOPs, {place}: {first_line(error)}"
            raise ModelError(type(model).__name__, found, "give inputs that it accepts") from error


class _Whole:
    """Replaces PyTorch's ModuleTracker, which fails on parameters that enter a module without
    gradients.
    """

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class _SumsOverOne(TorchFunctionMode):
    """Adds the sums of an einsum over a single channel to a counter; PyTorch multiplies there and
    counts nothing.
    """

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The result of `func`, unchanged."""
        name = getattr(func, "__name__", "").partition(".")[0]
        if name == "einsum" and args and isinstance(args[0], str):
            shapes = [tensor.shape for tensor in tensors_in(args[1:])]
            counts = self._counter.flop_counts["Global"]
            counts[torch.ops.aten.einsum] += 2 * sums_over_one(args[0], shapes)
        return func(*args, **(kwargs or {}))


@contextmanager
def _by_module(model: nn.Module, counter: FlopCounterMode) -> Iterator[Counter[str]]:
    """A block in which the counts of `counter` are assigned to the running module, whenever a
    module's call begins or ends.
    """
    own: Counter[str] = Counter()
    inside = [""]

    def book() -> None:
        own[inside[-1]] += counter.get_total_flops() // 2 - own.total()

    def enter(name: str) -> None:
        book()
        inside.append(name)

    def leave() -> None:
        book()
        inside.pop()

    with following_calls(model, enter, leave):
        yield own
        book()


def _every_number(operand: int) -> Callable[..., int]:
    """The formula for a product with a vector: each element of the other operand is one
    multiply-add.
    """

    def formula(*shapes: Shape, **_: Any) -> int:
        return 2 * prod(shapes[operand])

    return formula


def _batches_added(_added: Shape, left: Shape, right: Shape, **_: Any) -> int:
    return 2 * prod(left) * right[-1]


def _trilinear(left: Shape, weight: Shape, *_: Any, **_also: Any) -> int:
    """A bilinear layer: its whole weight at every position."""
    return 2 * left[0] * prod(weight)


def _time_first_convolution(
    _entering: Shape, weight: Shape, *_: Any, out_shape: Shape, **_also: Any
) -> int:
    return 2 * out_shape[0] * out_shape[1] * prod(weight)


def _layer_of_lstm(entering: Shape, by_input: Shape, by_state: Shape, *_: Any, **_also: Any) -> int:
    """One layer in one direction: both matrices at every step of every sequence."""
    return 2 * prod(entering[:-1]) * (prod(by_input) + prod(by_state))


def _layers_on_a_gpu(entering: Shape, weights: Sequence[Shape], *_: Any, **_also: Any) -> int:
    return 2 * prod(entering[:-1]) * sum(prod(each) for each in weights if len(each) == 2)


def _attention(queries: Shape, keys: Shape, values: Shape, *_: Any, **_also: Any) -> int:
    """Queries with keys, and the result with values."""
    return 2 * prod(queries[:-1]) * keys[-2] * (keys[-1] + values[-1])


# Operations that PyTorch's counter skips. Formulas get shapes instead of tensors.
PASSED_OVER: dict[str, Callable[..., int]] = {
    "mv": _every_number(0),
    "addmv": _every_number(1),
    "dot": _every_number(0),
    "vdot": _every_number(0),
    "addbmm": _batches_added,
    "_trilinear": _trilinear,
    "conv_tbc": _time_first_convolution,
    "mkldnn_rnn_layer": _layer_of_lstm,
    "_cudnn_rnn": _layers_on_a_gpu,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
}
FORMULAS = {getattr(torch.ops.aten, name): formula for name, formula in PASSED_OVER.items()}
