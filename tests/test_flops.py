"""FLOPs of every operation that multiplies and adds: counted by hand, by fvcore and by PyTorch alike."""

from dataclasses import replace
from math import prod

import pytest
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import slimmer
from slimmer.costs import Budget, closed_form, flops_cost, params_cost
from slimmer.costs.agreement import agreed_counts, check_agreement
from slimmer.costs.contraction import einsum_of_shapes
from slimmer.costs.flops import count_conv_linear, count_flops, uncounted
from slimmer.errors import BudgetError, ModelError
from slimmer.graph import build_graph
from slimmer.plan import make_plan
from slimmer.prepare import examine
from slimmer.prune import prune
from slimmer.slim import Identity

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
        return call(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


@st.composite
def convolutions(draw):
    """A convolution in any spelling, its input's size, and what its shapes say that it multiplies and adds."""
    axes, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel, sides = draw(st.integers(1, 4)), [draw(st.integers(8, 11)) for _ in range(axes)]
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shared = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    spelling = draw(st.sampled_from(("module", "function", "transposed")))
    if spelling == "transposed":
        conv = TRANSPOSED[axes](inputs, outputs, kernel, stride=stride, padding=draw(st.integers(0, 1)), **shared)
        return conv, (inputs, *sides), prod(sides) * kernel**axes * inputs * (outputs // groups)
    padding = draw(st.sampled_from((0, 1, 2, "same", "valid")))
    mode = draw(st.sampled_from(("zeros", "circular", "reflect", "replicate"))) if spelling == "module" else "zeros"
    stride = 1 if padding == "same" else stride
    conv = CONVOLUTIONS[axes](inputs, outputs, kernel, stride=stride, padding=padding, padding_mode=mode, **shared)
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
        lambda x: functional.scaled_dot_product_attention(*(ones(*shape) * x for shape in shapes), **options)
    )


STEPS, TOKENS = (3, 1, 8), (1, 3, 8)
COUNTED = {
    "conv_tbc": (Calling(lambda x: torch.conv_tbc(x, ones(2, 8, 5), ones(5))), STEPS, 2 * 2 * 8 * 5),
    "vector behind": (Calling(lambda x: x @ ones(8)), TOKENS, 3 * 8),
    "vector before": (Calling(lambda x: ones(3) @ x), TOKENS, 3 * 8),
    "two vectors": (Calling(lambda x: x[0, 0] @ ones(8)), TOKENS, 8),
    "a batch on the right": (Calling(lambda x: x @ ones(4, 8, 2)), TOKENS, 4 * 3 * 8 * 2),
    "mv": (Calling(lambda x: torch.mv(x[0], ones(8))), TOKENS, 3 * 8),
    "dot": (Calling(lambda x: torch.dot(x[0, 0], ones(8))), TOKENS, 8),
    "vdot": (Calling(lambda x: torch.vdot(x[0, 0], ones(8))), TOKENS, 8),
    "inner": (Calling(lambda x: torch.inner(x, ones(2, 8))), TOKENS, 3 * 2 * 8),
    "tensordot": (Calling(lambda x: torch.tensordot(x, ones(8, 3, 2), ([1, 2], [1, 0]))), TOKENS, 3 * 8 * 2),
    "addmm": (Calling(lambda x: torch.addmm(ones(2), x[0], ones(8, 2))), TOKENS, 3 * 8 * 2),
    "addmv": (Calling(lambda x: torch.addmv(ones(3), x[0], ones(8))), TOKENS, 3 * 8),
    "addbmm": (Calling(lambda x: torch.addbmm(ones(3, 2), x, ones(1, 8, 2))), TOKENS, 3 * 8 * 2),
    "baddbmm": (Calling(lambda x: torch.baddbmm(ones(1, 3, 2), x, ones(1, 8, 2))), TOKENS, 3 * 8 * 2),
    "multi_dot": (Calling(lambda x: torch.linalg.multi_dot([x[0], ones(8, 2), ones(2, 4)])), TOKENS, 48 + 24),
    "multi_dot of a vector": (Calling(lambda x: torch.linalg.multi_dot([x[0, 0], ones(8, 2), ones(2)])), TOKENS, 18),
    "bilinear": (nn.Bilinear(8, 8, 4), (ones(*TOKENS), ones(*TOKENS)), 3 * 4 * 8 * 8),
    "attention": (attention((1, 2, 4, 8), (1, 2, 5, 8), (1, 2, 5, 6)), TOKENS[:1], 2 * 4 * 5 * (8 + 6)),
    "attention, masked": (attention((1, 1, 3, 8), (1, 1, 3, 8), (1, 1, 3, 8), is_causal=True), (1,), 3 * 3 * 16),
    "attention, shared keys": (
        attention((1, 4, 3, 8), (1, 2, 3, 8), (1, 2, 3, 8), enable_gqa=True),
        (1,),
        4 * 3 * 3 * 16,
    ),
    "attention module": (nn.MultiheadAttention(8, 2), (ones(*STEPS),) * 3, 3 * 4 * 64 + 3 * 3 * 16),
    "transformer": (nn.TransformerEncoderLayer(8, 2, 16), STEPS, 3 * (4 * 64 + 2 * 128) + 3 * 3 * 16),
    "lstm": (nn.LSTM(8, 5, 2, bidirectional=True), STEPS, 3 * 2 * 20 * (8 + 5 + 10 + 5)),
    "lstm, projected": (nn.LSTM(8, 5, proj_size=2), STEPS, 3 * (20 * 8 + 20 * 2 + 5 * 2)),
    "gru": (nn.GRU(8, 5), (ones(*STEPS), ones(1, 1, 5)), 3 * 15 * (8 + 5)),
    "rnn": (nn.RNN(8, 5), STEPS, 3 * 5 * (8 + 5)),
    "rnn, relu": (nn.RNN(8, 5, nonlinearity="relu"), STEPS, 3 * 5 * (8 + 5)),
    "lstm cell": (nn.LSTMCell(8, 5), (8,), 20 * (8 + 5)),
    "einsum": (Calling(lambda x: torch.einsum("bij,jk->bik", x, ones(8, 2))), TOKENS, 3 * 8 * 2),
    "einsum of three": (Calling(lambda x: torch.einsum("bij,jk,kl->bil", x, ones(8, 2), ones(2, 5))), TOKENS, 78),
    "einsum, summed before": (Calling(lambda x: torch.einsum("bij,jk->bk", x, ones(8, 2))), TOKENS, 8 * 2),
    "einsum, any axes": (Calling(lambda x: torch.einsum("...j,jk->...k", x, ones(8, 2))), TOKENS, 3 * 8 * 2),
    "einsum, large": (Calling(lambda x: torch.einsum("bij,jk->bik", x, ones(8, 1234))), TOKENS, 3 * 8 * 1234),
    "outer product": (
        Calling(lambda x: torch.einsum("bij,k->bijk", x, ones(2)) + torch.outer(x[0, 0], ones(8))[0, :2]),
        TOKENS,
        0,
    ),
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", COUNTED)
def test_what_multiplies_and_adds_is_counted_as_by_hand(name, gradients):
    model, shape, count = COUNTED[name]
    inputs = shape if isinstance(shape[0], torch.Tensor) else (ones(*shape),)
    model.eval().requires_grad_(gradients)  # attention takes another way where nothing needs gradients
    counts = agreed_counts(model, inputs)
    assert sum(number for (_, kind), number in counts.items() if kind != "layer_norm") == count
    assert count_conv_linear(model, inputs) == 2 * count


def test_an_einsum_is_counted_along_its_path():
    shapes = [(2, 30), (30, 4), (4, 50)]
    assert einsum_of_shapes("ij,jk,kl->il", shapes) == 2 * 30 * 4 + 2 * 4 * 50
    assert einsum_of_shapes("ij,jk,kl->il", shapes, [1, 2, 0, 1]) == 30 * 4 * 50 + 2 * 30 * 50


class Hidden(torch.autograd.Function):
    """A convolution where torch.jit's trace can't see it."""

    @staticmethod
    def forward(ctx, x, weight):
        return functional.conv2d(x, weight)


class Hiding(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 3, 3, 3))

    def forward(self, x):
        return Hidden.apply(x, self.weight)


def test_a_layer_on_which_the_counters_differ_is_refused_with_both_counts():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Hiding(), nn.Conv2d(4, 2, 1)).eval()
    with pytest.raises(ModelError, match=r"^1: fvcore counts 0 multiply-adds and torch.utils.flop_counter 1,728"):
        slimmer.inspect(model, input_size=(3, 6, 6))  # 4 x 4 places, 3 x 3 x 3 x 4 weights


def test_no_difference_between_the_counters_is_too_small():
    counts = {("a", "conv"): 100, ("a", "batch_norm"): 7, ("b", "linear"): 50}
    check_agreement("Net", counts, {"a": 100, "b": 50})
    for seen in ({"a": 100, "b": 51}, {"a": 100}, {"a": 107, "b": 50}, {"a": 100, "b": 50, "c": 1}):
        with pytest.raises(ModelError, match="multiply-adds"):
            check_agreement("Net", counts, seen)


class Same(nn.Module):
    """Three convolutions whose padding is a word."""

    def __init__(self, padding):
        super().__init__()
        self.convs = nn.Sequential(*(nn.Conv2d(inputs, 64, 3, padding=padding) for inputs in (3, 64, 64)))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.convs(x).mean((2, 3)))

    def by_hand(self, sides):
        layers = zip(self.convs, sides, strict=True)
        return sum(side * side * conv.weight.numel() for conv, side in layers) + self.fc.weight.numel()


@pytest.mark.parametrize(("padding", "sides"), [("same", (32, 32, 32)), ("valid", (30, 28, 26))])
def test_a_budget_on_convolutions_with_string_padding_holds(padding, sides, tmp_path):
    model = Same(padding)
    dense = model.by_hand(sides)
    assert padding == "valid" or dense == 77_267_584
    result = slimmer.prune(model, flops=0.5, round_to=1, input_size=(3, 32, 32), out=tmp_path / "run")
    left = result.model.by_hand(sides)
    assert (result.report["flops"]["dense"], result.report["flops"]["slim"]) == (dense, left)
    assert 0.495 * dense < left <= 0.5 * dense


class Telling(nn.Module):
    """A network that says more than tensors."""

    def __init__(self, tell):
        super().__init__()
        self.body = zoo.make("Chain", torch.float32)
        self.tell = tell

    def forward(self, x):
        return self.tell(self.body(x))


TOLD = {
    "a dictionary": lambda y: {"out": y, "n": 3},
    "a tuple": lambda y: (y, 0.5),
    "text and nothing": lambda y: (y, "logits", None, True),
    "a nest": lambda y: {"out": [y, {"scale": 2.0}], "sizes": (3, 4)},
}


@pytest.mark.parametrize("name", TOLD)
def test_outputs_may_hold_plain_numbers(name, tmp_path):
    model = Telling(TOLD[name])
    assert count_flops(model, zoo.SIZE) == count_flops(model.body, zoo.SIZE)
    result = slimmer.prune(model, flops=0.5, input_size=zoo.SIZE, out=tmp_path / "run")
    assert result.report["flops"]["slim"] == count_flops(result.model.body, zoo.SIZE)


class Unit(nn.Module):
    """A convolution with a batch norm and an activation, that can be fused as ultralytics does it."""

    def __init__(self, inputs, outputs, act):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), act

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))

    def forward_fuse(self, x):
        return self.act(self.conv(x))

    def fuse(self):
        del self.bn
        self.forward = self.forward_fuse


class Stack(nn.Module):
    def __init__(self, act, norm=None):
        super().__init__()
        self.first, self.second = Unit(3, 8, act), Unit(8, 8, act)
        self.rest = nn.Sequential(Unit(8, 8, act), Unit(8, 6, act))
        self.head = nn.Linear(6, 2)
        if norm is not None:
            self.first.bn = self.second.bn = self.rest[0].bn = norm

    def forward(self, x):
        return self.head(self.rest(self.second(self.first(x))).mean((2, 3)))


def fused(which):
    model = Stack(nn.SiLU())
    for unit in which(model):
        unit.fuse()
    return model.eval()


FUSED = {
    "all": lambda: fused(lambda model: [model.first, model.second, *model.rest]),
    "one": lambda: fused(lambda model: [model.second]),
    "inner": lambda: fused(lambda model: [*model.rest]),
    "one norm for several": lambda: Stack(nn.SiLU(), nn.BatchNorm2d(8)).eval(),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_networks_cost_what_is_recounted(name, tmp_path):
    model = FUSED[name]()
    graph = build_graph(model, zoo.SIZE)
    flops, params = flops_cost(model, graph, zoo.SIZE), params_cost(model, graph)
    assert flops.exact([1] * len(graph.groups)) < 0.1 * flops.dense  # channels and their FLOPs go together
    for plan in zoo.random_plans(graph, 3):
        slim = prune(model, plan)
        assert flops.exact(plan.widths) == count_flops(slim, zoo.SIZE)
        assert params.exact(plan.widths) == sum(parameter.numel() for parameter in slim.parameters())
    result = slimmer.prune(model, params=0.5, input_size=zoo.SIZE, out=tmp_path / "run")
    assert result.report["flops"]["slim"] == count_flops(result.model, zoo.SIZE)


def _booked(graph, rename):
    moved = tuple(replace(each, module=rename(each.module)) for each in graph.operations)
    return replace(graph, operations=moved)


@pytest.mark.parametrize(
    "rename",
    [lambda name: "elsewhere", lambda name: "conv1" if "conv" in name else name, lambda name: name[::-1]],
    ids=["to one place", "to another's place", "to places of their own"],
)
def test_operations_whose_module_is_taken_for_another_cost_what_is_recounted(rename):
    model, graph = zoo.traced("Chain")
    cost = flops_cost(model, _booked(graph, rename), zoo.SIZE)
    assert cost.dense == count_flops(model, zoo.SIZE)
    for plan in zoo.random_plans(graph, 3):
        assert cost.exact(plan.widths) == count_flops(prune(model, plan), zoo.SIZE)


def test_a_cost_that_does_not_fit_the_slim_network_is_found_before_training(monkeypatch):
    def wrong(model, graph, inputs):
        found = flops_cost(model, graph, inputs)
        return type(found)(**{**vars(found), "constant": found.constant + 1})

    monkeypatch.setattr("slimmer.prepare.flops_cost", wrong)
    with pytest.raises(ModelError, match=r"flops were planned, [\d,]+ counted"):
        examine(zoo.make("Chain", torch.float32), Identity("", 2, zoo.SIZE))


def test_no_budget_is_set_on_a_cost_of_zero():
    _, graph = zoo.traced("Chain")
    with pytest.raises(BudgetError, match=r"budget.flops: the dense network has 0 flops"):
        Budget(closed_form("flops", graph, []), 0.5)


def test_a_network_that_costs_nothing_is_inspected():
    found = slimmer.inspect(nn.Sequential(nn.ReLU(), nn.Flatten()), input_size=(3, 4, 4))
    assert (found["flops"]["dense"], found["flops"]["least_ratio"]) == (0, 1.0)


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft2(x).abs()


def test_what_nobody_counts_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Spectrum(), nn.Conv2d(4, 2, 1)).eval()
    assert uncounted(model, zoo.SIZE) == ["aten::fft_rfft2 (1x)"]
    assert slimmer.inspect(model, input_size=zoo.SIZE)["uncounted"] == ["aten::fft_rfft2 (1x)"]
    assert uncounted(zoo.make("Chain", torch.float32), zoo.SIZE) == []


def test_heads_and_values_of_attention_are_priced():
    model, graph = zoo.traced("ScaledDot")
    cost = flops_cost(model, graph, zoo.SIZE)
    plan = make_plan(graph, {"v": [0]})
    layers = 5 * (4 + 4) * 9  # weights of v and out that read and write the five channels, at nine places
    assert cost.dense - cost.exact(plan.widths) == layers + 5 * 9 * 9
