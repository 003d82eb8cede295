"""Budgets on FLOPs hold: counters agree, closed forms are recounted, what nobody counts is
named.
"""

from dataclasses import replace

import pytest
import torch
import zoo
from torch import nn
from torch.nn import functional

import slimmer
from slimmer.costs import Budget, closed_form, flops_cost, params_cost
from slimmer.costs.agreement import check_agreement
from slimmer.costs.flops import count_flops, uncounted
from slimmer.errors import BudgetError, ModelError
from slimmer.graph import build_graph
from slimmer.pipeline.job import examine
from slimmer.pruning.apply import prune
from slimmer.pruning.plan import make_plan
from slimmer.pruning.slim_file import Identity


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
    with pytest.raises(
        ModelError, match=r"^1: fvcore counts 0 multiply-adds and torch.utils.flop_counter 1,728"
    ):
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
        self.convs = nn.Sequential(
            *(nn.Conv2d(inputs, 64, 3, padding=padding) for inputs in (3, 64, 64))
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.convs(x).mean((2, 3)))

    def by_hand(self, sides):
        layers = zip(self.convs, sides, strict=True)
        return (
            sum(side * side * conv.weight.numel() for conv, side in layers) + self.fc.weight.numel()
        )


@pytest.mark.parametrize(("padding", "sides"), [("same", (32, 32, 32)), ("valid", (30, 28, 26))])
def test_a_budget_on_convolutions_with_string_padding_holds(padding, sides, tmp_path):
    model = Same(padding)
    dense = model.by_hand(sides)
    assert padding == "valid" or dense == 77_267_584
    result = slimmer.prune(
        model, flops=0.5, round_to=1, input_size=(3, 32, 32), out=tmp_path / "run"
    )
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
    """A convolution with a batch norm and an activation, that can be fused as ultralytics does
    it.
    """

    def __init__(self, inputs, outputs, act):
        super().__init__()
        self.conv, self.bn, self.act = (
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            act,
        )

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
    assert (
        flops.exact([1] * len(graph.groups)) < 0.1 * flops.dense
    )  # channels and their FLOPs go together
    for plan in zoo.random_plans(graph, 3):
        slim = prune(model, plan)
        assert flops.exact(plan.widths) == count_flops(slim, zoo.SIZE)
        assert params.exact(plan.widths) == sum(
            parameter.numel() for parameter in slim.parameters()
        )
    result = slimmer.prune(model, params=0.5, input_size=zoo.SIZE, out=tmp_path / "run")
    assert result.report["flops"]["slim"] == count_flops(result.model, zoo.SIZE)


def _booked(graph, rename):
    moved = tuple(replace(each, module=rename(each.module)) for each in graph.operations)
    return replace(graph, operations=moved)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: "elsewhere",
        lambda name: "conv1" if "conv" in name else name,
        lambda name: name[::-1],
    ],
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
        return replace(found, form=replace(found.form, constant=found.form.constant + 1))

    monkeypatch.setattr("slimmer.costs.flops.flops_cost", wrong)
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
    layers = (
        5 * (4 + 4) * 9
    )  # weights of v and out that read and write the five channels, at nine places
    assert cost.dense - cost.exact(plan.widths) == layers + 5 * 9 * 9
