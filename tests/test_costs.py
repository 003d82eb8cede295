"""Costs: closed forms against a recount of the network that was really pruned."""

import pytest
import torch
import zoo
from fvcore.nn import parameter_count
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from slimmer.costs import Budget, flops_cost, params_cost
from slimmer.costs.flops import count_by_module, count_flops
from slimmer.errors import ModelError
from slimmer.graph import build_graph
from slimmer.pruning.apply import prune
from slimmer.pruning.plan import make_plan


def check(name, plans):
    model, graph = zoo.traced(name)
    size = zoo.size_of(name)
    flops, params = flops_cost(model, graph, size), params_cost(model, graph)
    by_widths = {
        tuple(plan.widths): plan for plan in plans
    }  # a recount depends on the widths alone
    for plan in by_widths.values():
        slim = prune(model, plan)
        assert flops.exact(plan.widths) == count_flops(slim, size)
        assert params.exact(plan.widths) == parameter_count(slim)[""]
    assert flops.dense == count_flops(model, size)
    assert params.dense == sum(parameter.numel() for parameter in model.parameters())
    return len(by_widths)


def test_costs_are_fvcores_recount(pattern):
    _, graph = zoo.traced(pattern)
    assert check(pattern, zoo.random_plans(graph, 100)) >= 2


def test_costs_of_architectures_are_fvcores_recount(architecture):
    _, graph = zoo.traced(architecture)
    assert check(architecture, zoo.random_plans(graph, 2)) == 2


@pytest.mark.slow
def test_costs_of_architectures_are_fvcores_recount_on_a_hundred_plans(architecture):
    _, graph = zoo.traced(architecture)
    assert check(architecture, zoo.random_plans(graph, 100)) == 100


LAYERS = (
    "conv",
    "linear",
    "matmul",
    "bmm",
    "mm",
    "addmm",
    "tensordot",
    "einsum",
    "scaled_dot_product_attention",
)

# Attention of several heads, and einsums over one channel: PyTorch's counter skips them.
UNSEEN = {
    "EinsumWeight": lambda slim: over_one(slim.mix, 16) + over_one(slim.first, 16),
    "Heads": lambda slim: over_one(slim.into, slim.into.shape[2]),
    "FusedHeads": lambda slim: (
        2 * 9 * 9 * (2 + 2)
    ),  # heads, queries, keys, widths of keys and values
    "OwnMaps": lambda slim: slim.stem.out_channels * 6 * 6 * (6 + 6),
}


def over_one(weight, positions):
    """The multiply-adds of an einsum with a weight that reads one channel: PyTorch multiplies
    without adding there.
    """
    entering = 0 if weight.dim() == 3 else 1
    return weight.shape[1 - entering] * positions if weight.shape[entering] == 1 else 0


def test_convolutions_and_linear_layers_are_half_of_torchs_count(network):
    """PyTorch counts two for a multiply-add, and neither norms nor pooling: fvcore's count of those
    is set aside.
    """
    model, graph = zoo.traced(network)
    size = zoo.size_of(network)
    slim = prune(model, zoo.random_plans(graph, 1)[0])
    counts = count_by_module(slim, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        slim(zoo.images(network, 1))
    ours = sum(count for (_, kind), count in counts.items() if kind in LAYERS)
    unseen = UNSEEN.get(network, lambda _: 0)(slim)
    assert 2 * ours == counter.get_total_flops() + 2 * unseen
    assert sum(counts.values()) == count_flops(slim, size)


def test_published_counts():
    for name, total, layers, parameters in (
        ("cifar_resnet20", 40_931_968, 40_551_040, 269_722),  # 0.27M parameters in the paper
        ("cifar_resnet20_b", 41_218_688, 40_813_184, 272_474),
    ):
        model, graph = zoo.traced(name)
        assert flops_cost(model, graph, (3, 32, 32)).dense == total
        counts = count_by_module(model, (3, 32, 32))
        assert sum(n for (_, kind), n in counts.items() if kind in LAYERS) == layers
        assert params_cost(model, graph).dense == parameters


def test_gradients_agree(network):
    model, graph = zoo.traced(network)
    full = torch.tensor([float(group.size) for group in graph.groups], dtype=torch.float64)
    widths = (
        full
        * torch.rand(len(full), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ).clamp(min=1)
    for cost in (flops_cost(model, graph, zoo.size_of(network)), params_cost(model, graph)):
        variable = widths.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cost.value(variable), variable)
        assert torch.allclose(gradient, cost.marginal(widths), rtol=1e-12)
        for group in range(
            len(full)
        ):  # a cost is at most quadratic in one width: central differences are exact
            step = torch.zeros_like(widths)
            step[group] = 0.5
            difference = cost.value(widths + step) - cost.value(widths - step)
            assert float(gradient[group]) == pytest.approx(float(difference), rel=1e-9)
            assert gradient[group] > 0


def test_costs_take_no_notice_of_mode_or_type():
    model = zoo.make("Chain", torch.float32).train()
    graph = build_graph(model, zoo.SIZE)
    statistics = model.bn1.running_mean.clone()
    assert flops_cost(model, graph, zoo.SIZE).dense == count_flops(zoo.make("Chain"), zoo.SIZE)
    assert model.training
    assert torch.equal(model.bn1.running_mean, statistics)


def test_a_budget_knows_its_share():
    model, graph = zoo.traced("Chain")
    cost = params_cost(model, graph)
    assert Budget(cost, 0.25 * cost.dense).ratio == 0.25


class Untraced(nn.Module):
    """A layer that torch.jit, which fvcore counts by, can't trace."""

    def forward(self, x):
        assert not torch.jit.is_tracing(), "not here"
        return x * 2


class HoldsUntraced(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.back = Untraced()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.back(self.conv(x)).mean((2, 3)))


def test_what_can_not_be_counted_is_named_with_its_module_and_line():
    with pytest.raises(ModelError, match="fvcore can't count its FLOPs, in back") as error:
        count_flops(HoldsUntraced(), zoo.SIZE)
    assert "test_costs.py:" in error.value.found
    assert "not here" in error.value.found


class Instance(nn.Module):
    """The same norm twice in one module, with a scale and without, of which fvcore counts another
    number of FLOPs.
    """

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.scale, self.shift = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))
        for name in ("first", "second"):
            self.register_buffer(f"{name}_mean", torch.zeros(8))
            self.register_buffer(f"{name}_var", torch.ones(8))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.norm(self.first(x), "first", self.scale, self.shift).relu()
        return self.head(self.norm(self.second(x), "second").abs().mean((2, 3)))

    def norm(self, x, _name, scale=None, shift=None):
        return nn.functional.instance_norm(x, weight=scale, bias=shift)


class Batch(Instance):
    def norm(self, x, name, scale=None, shift=None):
        mean, var = getattr(self, f"{name}_mean"), getattr(self, f"{name}_var")
        return nn.functional.batch_norm(x, mean, var, scale, shift)


@pytest.mark.parametrize("kind", [Instance, Batch])
def test_norms_with_a_scale_and_without_are_told_apart(kind):
    model = kind().eval()
    graph = build_graph(model, zoo.SIZE)
    cost = flops_cost(model, graph, zoo.SIZE)
    assert cost.dense == count_flops(model, zoo.SIZE)
    plan = make_plan(graph, {"first": range(3), "second": range(5)})
    assert cost.exact(plan.widths) == count_flops(prune(model, plan), zoo.SIZE)
