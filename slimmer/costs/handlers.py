"""Handlers for operations that fvcore does not count, or counts wrong; one FLOP per multiply-add.

A handler gets the inputs and outputs of an operation in a torch.jit trace and returns its FLOPs.
Products without a sum (outer or element-wise products) are not multiply-adds and count nothing, as
in fvcore.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from slimmer.costs.contraction import chain_of_products, einsum_of_shapes

Handle = Callable[[Sequence[Any], Sequence[Any]], Any]


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> Counter[str]:
    """A convolution whose padding is a string: the positions of the output times the whole weight
    (out, in/groups, ...).
    """
    batch, _, *places = _shape(outputs[0])
    return Counter(conv=batch * prod(places) * prod(_shape(inputs[1])))


def _time_first_convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> Counter[str]:
    """`torch.conv_tbc`: an output of (time, batch, channels), a weight of (kernel, in, out)."""
    time, batch, _ = _shape(outputs[0])
    return Counter(conv=time * batch * prod(_shape(inputs[1])))


def _product(first: int) -> Handle:
    """Matrix products of any ranks: each output is a sum over the last axis of the left side, which
    is argument `first`.
    """

    def handle(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return prod(_shape(outputs[0])) * _shape(inputs[first])[-1]

    return handle


def _batches_added(inputs: Sequence[Any], _outputs: Sequence[Any]) -> int:
    """`torch.addbmm`: the sum of the products of all pairs of matrices (b, n, m) and (b, m, p)."""
    return prod(_shape(inputs[1])) * _shape(inputs[2])[-1]


def _inner(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """`torch.inner`: sums over the last axis of both; a plain product if one is a scalar."""
    left, right = _shape(inputs[0]), _shape(inputs[1])
    return prod(_shape(outputs[0])) * left[-1] if left and right else 0


def _tensordot(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """`torch.tensordot`: sums over the given axes of the left side."""
    left = _shape(inputs[0])
    axes: list[int] = [axis.toIValue() for axis in inputs[2].node().inputs()]
    return prod(_shape(outputs[0])) * prod(left[axis] for axis in axes)


def _bilinear(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """A bilinear layer: the whole weight (out, left, right) at every position."""
    return prod(_shape(outputs[0])[:-1]) * prod(_shape(inputs[2]))


def _attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Scaled dot product attention: (..., queries, keys) sums over the keys' width, then sums over
    the keys for the values' width.
    """
    keys, width = _shape(inputs[1])[-2:]
    *heads, queries, wide = _shape(outputs[0])
    return prod(heads) * queries * keys * (width + wide)


def _recurrent(inputs: Sequence[Any], _outputs: Sequence[Any]) -> int:
    """An LSTM, GRU or RNN: every matrix of its weights at every step of every sequence."""
    *steps, _ = _shape(inputs[0])
    # the weights are the last list; the states may be a list before them
    weights = [shapes for shapes in map(_shapes, inputs[1:4]) if shapes][-1]
    return prod(steps) * sum(prod(shape) for shape in weights if len(shape) == 2)


def _einsum(inputs: Sequence[Any], _outputs: Sequence[Any]) -> Counter[str]:
    path = inputs[2].toIValue() if len(inputs) > 2 else None
    return Counter(einsum=einsum_of_shapes(inputs[0].toIValue(), _shapes(inputs[1]), path))


def _chain(inputs: Sequence[Any], _outputs: Sequence[Any]) -> int:
    """A product of several matrices, in the order that needs the fewest multiply-adds."""
    return chain_of_products(_shapes(inputs[0]))


def _shape(value: Any) -> list[int]:
    """The shape of a traced tensor. Raises ValueError if the trace does not contain it."""
    if not value.isCompleteTensor():
        raise ValueError(f"the shape of {value.debugName()} is not known")
    return list(value.type().sizes())


def _shapes(listed: Any) -> list[list[int]]:
    """The shapes of a traced list of tensors; none for anything else."""
    node = listed.node()
    if node.kind() != "prim::ListConstruct":
        return []
    return [_shape(value) for value in node.inputs()]


HANDLERS: dict[str, Handle] = {
    "aten::_convolution_mode": _convolution,
    "aten::conv_tbc": _time_first_convolution,
    **dict.fromkeys(
        ("aten::matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::dot", "aten::vdot"),
        _product(0),
    ),
    **dict.fromkeys(("aten::addmm", "aten::addmv", "aten::baddbmm"), _product(1)),
    "aten::addbmm": _batches_added,
    "aten::inner": _inner,
    "aten::tensordot": _tensordot,
    "aten::bilinear": _bilinear,
    "aten::einsum": _einsum,
    "aten::chain_matmul": _chain,
    "aten::linalg_multi_dot": _chain,
    "aten::scaled_dot_product_attention": _attention,
    **dict.fromkeys(("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"), _recurrent),
}
MULTIPLY_ADDS = frozenset({"conv", "linear", *(name.removeprefix("aten::") for name in HANDLERS)})
