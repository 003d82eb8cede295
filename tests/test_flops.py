"""FLOPs of every operation that multiplies and adds: counted by hand, by fvcore and by PyTorch
alike.
"""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from slimmer.costs.agreement import agreed_counts
from slimmer.costs.contraction import einsum_of_shapes
from slimmer.costs.flops import count_conv_linear, count_flops

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
FUNCTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class Functional(nn.Module):
    """The same convolution, called as a function on the weights of a module."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        conv = self.conv
        call = FUNCTIONS[x.dim() - 2]
        return call(
            x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )


@st.composite
def convolutions(draw):
    """A convolution in any spelling, its input's size, and what its shapes say that it multiplies
    and adds.
    """
    axes, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel, sides = draw(st.integers(1, 4)), [draw(st.integers(8, 11)) for _ in range(axes)]
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shared = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    spelling = draw(st.sampled_from(("module", "function", "transposed")))
    if spelling == "transposed":
        conv = TRANSPOSED[axes](
            inputs, outputs, kernel, stride=stride, padding=draw(st.integers(0, 1)), **shared
        )
        return conv, (inputs, *sides), prod(sides) * kernel**axes * inputs * (outputs // groups)
    padding = draw(st.sampled_from((0, 1, 2, "same", "valid")))
    mode = (
        draw(st.sampled_from(("zeros", "circular", "reflect", "replicate")))
        if spelling == "module"
        else "zeros"
    )
    stride = 1 if padding == "same" else stride
    conv = CONVOLUTIONS[axes](
        inputs, outputs, kernel, stride=stride, padding=padding, padding_mode=mode, **shared
    )
    reach = dilation * (kernel - 1)
    added = {"same": reach, "valid": 0}.get(padding, 2 * padding if isinstance(padding, int) else 0)
    places = prod((side + added - reach - 1) // stride + 1 for side in sides)
    count = places * kernel**axes * (inputs // groups) * outputs
    return (Functional(conv) if spelling == "function" else conv), (inputs, *sides), count


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(convolutions())
def test_every_spelling_of_a_convolution_is_counted_as_by_hand(case):
    conv, size, count = case
    assert sum(agreed_counts(conv.eval(), size).values()) == count_flops(conv, size) == count
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        conv(torch.zeros(1, *size))
    assert counter.get_total_flops() == 2 * count


class Calling(nn.Module):
    """An operation as a network."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *x):
        return self.call(*x)


def ones(*shape):
    return torch.ones(*shape)


def attention(*shapes, **options):
    return Calling(
        lambda x: functional.scaled_dot_product_attention(
            *(ones(*shape) * x for shape in shapes), **options
        )
    )


STEPS, TOKENS = (3, 1, 8), (1, 3, 8)
COUNTED = {
    "conv_tbc": (
        Calling(lambda x: torch.conv_tbc(x, ones(2, 8, 5), ones(5))),
        STEPS,
        2 * 2 * 8 * 5,
    ),
    "vector behind": (Calling(lambda x: x @ ones(8)), TOKENS, 3 * 8),
    "vector before": (Calling(lambda x: ones(3) @ x), TOKENS, 3 * 8),
    "two vectors": (Calling(lambda x: x[0, 0] @ ones(8)), TOKENS, 8),
    "a batch on the right": (Calling(lambda x: x @ ones(4, 8, 2)), TOKENS, 4 * 3 * 8 * 2),
    "mv": (Calling(lambda x: torch.mv(x[0], ones(8))), TOKENS, 3 * 8),
    "dot": (Calling(lambda x: torch.dot(x[0, 0], ones(8))), TOKENS, 8),
    "vdot": (Calling(lambda x: torch.vdot(x[0, 0], ones(8))), TOKENS, 8),
    "inner": (Calling(lambda x: torch.inner(x, ones(2, 8))), TOKENS, 3 * 2 * 8),
    "tensordot": (
        Calling(lambda x: torch.tensordot(x, ones(8, 3, 2), ([1, 2], [1, 0]))),
        TOKENS,
        3 * 8 * 2,
    ),
    "addmm": (Calling(lambda x: torch.addmm(ones(2), x[0], ones(8, 2))), TOKENS, 3 * 8 * 2),
    "addmv": (Calling(lambda x: torch.addmv(ones(3), x[0], ones(8))), TOKENS, 3 * 8),
    "addbmm": (Calling(lambda x: torch.addbmm(ones(3, 2), x, ones(1, 8, 2))), TOKENS, 3 * 8 * 2),
    "baddbmm": (
        Calling(lambda x: torch.baddbmm(ones(1, 3, 2), x, ones(1, 8, 2))),
        TOKENS,
        3 * 8 * 2,
    ),
    "multi_dot": (
        Calling(lambda x: torch.linalg.multi_dot([x[0], ones(8, 2), ones(2, 4)])),
        TOKENS,
        48 + 24,
    ),
    "multi_dot of a vector": (
        Calling(lambda x: torch.linalg.multi_dot([x[0, 0], ones(8, 2), ones(2)])),
        TOKENS,
        18,
    ),
    "bilinear": (nn.Bilinear(8, 8, 4), (ones(*TOKENS), ones(*TOKENS)), 3 * 4 * 8 * 8),
    "attention": (
        attention((1, 2, 4, 8), (1, 2, 5, 8), (1, 2, 5, 6)),
        TOKENS[:1],
        2 * 4 * 5 * (8 + 6),
    ),
    "attention, masked": (
        attention((1, 1, 3, 8), (1, 1, 3, 8), (1, 1, 3, 8), is_causal=True),
        (1,),
        3 * 3 * 16,
    ),
    "attention, shared keys": (
        attention((1, 4, 3, 8), (1, 2, 3, 8), (1, 2, 3, 8), enable_gqa=True),
        (1,),
        4 * 3 * 3 * 16,
    ),
    "attention module": (nn.MultiheadAttention(8, 2), (ones(*STEPS),) * 3, 3 * 4 * 64 + 3 * 3 * 16),
    "transformer": (
        nn.TransformerEncoderLayer(8, 2, 16),
        STEPS,
        3 * (4 * 64 + 2 * 128) + 3 * 3 * 16,
    ),
    "lstm": (nn.LSTM(8, 5, 2, bidirectional=True), STEPS, 3 * 2 * 20 * (8 + 5 + 10 + 5)),
    "lstm, projected": (nn.LSTM(8, 5, proj_size=2), STEPS, 3 * (20 * 8 + 20 * 2 + 5 * 2)),
    "gru": (nn.GRU(8, 5), (ones(*STEPS), ones(1, 1, 5)), 3 * 15 * (8 + 5)),
    "rnn": (nn.RNN(8, 5), STEPS, 3 * 5 * (8 + 5)),
    "rnn, relu": (nn.RNN(8, 5, nonlinearity="relu"), STEPS, 3 * 5 * (8 + 5)),
    "lstm cell": (nn.LSTMCell(8, 5), (8,), 20 * (8 + 5)),
    "einsum": (Calling(lambda x: torch.einsum("bij,jk->bik", x, ones(8, 2))), TOKENS, 3 * 8 * 2),
    "einsum of three": (
        Calling(lambda x: torch.einsum("bij,jk,kl->bil", x, ones(8, 2), ones(2, 5))),
        TOKENS,
        78,
    ),
    "einsum, summed before": (
        Calling(lambda x: torch.einsum("bij,jk->bk", x, ones(8, 2))),
        TOKENS,
        8 * 2,
    ),
    "einsum, any axes": (
        Calling(lambda x: torch.einsum("...j,jk->...k", x, ones(8, 2))),
        TOKENS,
        3 * 8 * 2,
    ),
    "einsum, over one": (
        Calling(lambda x: torch.einsum("bij,jk->bik", x[..., :1], ones(1, 2))),
        TOKENS,
        3 * 1 * 2,
    ),
    "einsum, large": (
        Calling(lambda x: torch.einsum("bij,jk->bik", x, ones(8, 1234))),
        TOKENS,
        3 * 8 * 1234,
    ),
    "unpooling": (
        Calling(
            lambda x: (
                nn.functional.max_unpool2d(*nn.functional.max_pool2d(x, 2, return_indices=True), 2)
                @ x
            )
        ),
        (1, 4, 4),
        4 * 4 * 4,
    ),
    "outer product": (
        Calling(
            lambda x: torch.einsum("bij,k->bijk", x, ones(2)) + torch.outer(x[0, 0], ones(8))[0, :2]
        ),
        TOKENS,
        0,
    ),
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", COUNTED)
def test_what_multiplies_and_adds_is_counted_as_by_hand(name, gradients):
    model, shape, count = COUNTED[name]
    inputs = shape if isinstance(shape[0], torch.Tensor) else (ones(*shape),)
    model.eval().requires_grad_(
        gradients
    )  # attention takes another way where nothing needs gradients
    counts = agreed_counts(model, inputs)
    assert sum(number for (_, kind), number in counts.items() if kind != "layer_norm") == count
    assert count_conv_linear(model, inputs) == 2 * count


def test_an_einsum_is_counted_along_its_path():
    shapes = [(2, 30), (30, 4), (4, 50)]
    assert einsum_of_shapes("ij,jk,kl->il", shapes) == 2 * 30 * 4 + 2 * 4 * 50
    assert einsum_of_shapes("ij,jk,kl->il", shapes, [1, 2, 0, 1]) == 30 * 4 * 50 + 2 * 30 * 50
