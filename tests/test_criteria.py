"""Scores say what they claim: norms and scales by hand, losses and squared gradients by measuring
them anew.
"""

import copy
import itertools
import random
from math import inf, nan

import pytest
import torch
import zoo
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from slimmer.costs import Budget, params_cost
from slimmer.criteria import (
    bn_scale_scores,
    deal,
    filter_norm_scores,
    magnitude_scores,
    normed_groups,
    random_scores,
    sensitivity,
    sensitivity_scores,
    taylor_scores,
)
from slimmer.criteria.sensitivity import SHARES, change_from, increments
from slimmer.errors import ModelError
from slimmer.graph import build_graph
from slimmer.pruning.allocate import allocate
from slimmer.pruning.apply import prune
from slimmer.pruning.batch_norms import batch_statistics
from slimmer.pruning.masks import Masked
from slimmer.pruning.plan import make_plan
from slimmer.tasks import Task

# Magnitude


def test_magnitude_by_hand():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 0.0, -1.0]).view(3, 1, 1, 1))
        model[2].weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, -3.0, 2.0]]).view(2, 3, 1, 1))
        model[4].weight.copy_(torch.tensor([[2.0, -1.0], [0.0, 0.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 0.0, 100.0]))  # biases and norms have no say
        model[1].weight.copy_(torch.tensor([0.0, 0.0, 100.0]))
    graph = build_graph(model, (1, 1, 1))
    assert [group.name for group in graph.groups] == ["0", "2"]
    # squared norms: 9 + 1, 0 + 4 + 9, 1 + 4; then 1 + 4 + 4, 9 + 4 + 1
    assert magnitude_scores(model, graph).tolist() == pytest.approx([2 / 3, 1, 1 / 3, 1 / 2, 1])


@pytest.mark.parametrize(
    "name", ["Chain", "Identity", "OptionA", "Concatenation", "Flatten", "Depthwise", "Grouped"]
)
def test_units_are_ranked_by_the_weights_that_go_with_them(name):
    """What the network's matrices lose in squares where one unit is pruned, unit by unit."""
    model, graph = zoo.traced(name)

    def squares(network):
        return sum(float(p.detach().square().sum()) for p in network.parameters() if p.dim() > 1)

    start, whole = 0, squares(model)
    scores = magnitude_scores(model, graph)
    assert scores.shape == (graph.units,)
    for group in graph.groups:
        lost = []
        for unit in range(group.size):
            keep = [other for other in range(group.size) if other != unit]
            lost.append(
                whole - squares(prune(model, make_plan(graph, {group.name: keep}))) if keep else 0.0
            )
        order = torch.tensor(lost).argsort()
        assert scores[start : start + group.size][order].tolist() == pytest.approx(
            [(rank + 1) / group.size for rank in range(group.size)]
        )
        start += group.size


def test_equal_units_are_ranked_in_their_order():
    model = zoo.make("Chain")
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    scores = magnitude_scores(model, zoo.traced("Chain")[1])
    assert scores.tolist() == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1])


@given(st.integers(0, 1000))
def test_scores_that_are_dealt_stay_in_their_group_and_follow_the_other_order(seed):
    draw = torch.Generator().manual_seed(seed)
    graph = zoo.traced("Concatenation")[1]
    scores, order = torch.rand((2, graph.units), generator=draw, dtype=torch.float64)
    sizes = [group.size for group in graph.groups]
    for before, ranks, after in zip(
        *(each.split(sizes) for each in (scores, order, deal(scores, order, graph))), strict=True
    ):
        assert torch.equal(after.sort().values, before.sort().values)
        assert torch.equal(after.argsort(), ranks.argsort())


# Images


def batches(number=2):
    return list(zoo.images("Chain", 4 * number).split(4))


# Norms of filters


def test_filter_norms_by_hand():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 0.0, -1.0]).view(3, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([0.0, 100.0, 0.0]))  # biases have no say
        model[2].weight.copy_(torch.tensor([[1.0, -2.0, 0.0], [0.0, -3.0, 4.0]]).view(2, 3, 1, 1))
    graph = build_graph(model, (1, 1, 1))
    assert filter_norm_scores(model, graph, 1).tolist() == pytest.approx(
        [9 / 4, 0, 3 / 4, 3 / 5, 7 / 5]
    )
    euclid = [5**0.5, 5.0]
    assert filter_norm_scores(model, graph, 2)[3:].tolist() == pytest.approx(
        [2 * e / sum(euclid) for e in euclid]
    )


@pytest.mark.parametrize("order", [1, 2])
def test_a_residual_sums_channel_has_the_mean_of_the_filters_that_make_it(order):
    model, graph = zoo.traced("Identity")

    def norms(weight):
        rows = [
            sum(abs(w) ** order for w in row) ** (1 / order)
            for row in weight.detach().flatten(1).tolist()
        ]
        return [row / (sum(rows) / len(rows)) for row in rows]

    wanted = [
        (a + b) / 2
        for a, b in zip(norms(model.stem.weight), norms(model.conv2.weight), strict=True)
    ]
    assert [group.name for group in graph.groups] == ["stem", "conv1"]
    assert filter_norm_scores(model, graph, order).tolist() == pytest.approx(
        [*wanted, *norms(model.conv1.weight)]
    )


def test_a_larger_filter_raises_the_score_of_its_unit_only():
    model = zoo.make("Chain")
    graph = zoo.traced("Chain")[1]
    before = filter_norm_scores(model, graph, 1)
    with torch.no_grad():
        model.conv1.weight[1] *= 3
    after = filter_norm_scores(model, graph, 1)
    assert [bool(a > b) for a, b in zip(after, before, strict=True)] == [
        unit == 1 for unit in range(graph.units)
    ]
    assert float(after[1] / after[0]) == pytest.approx(3 * float(before[1] / before[0]))
    assert torch.equal(after[4:], before[4:])


def test_a_layers_scale_and_the_weights_that_read_a_channel_have_no_say():
    model = zoo.make("Chain")
    graph = zoo.traced("Chain")[1]
    before = filter_norm_scores(model, graph, 1)
    with torch.no_grad():
        model.conv1.weight *= 10
        model.fc.weight[:, 0] *= 10
    assert torch.allclose(filter_norm_scores(model, graph, 1), before, rtol=1e-12)


# Batch-norm scales


class TwoNorms(nn.Module):
    """A sum of two branches with a batch norm each, and a layer without one."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)
        self.conv2, self.bn2 = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)
        self.conv3, self.fc = nn.Conv2d(2, 3, 1), nn.Linear(3, 2)

    def forward(self, x):
        x = self.bn1(self.conv1(x)) + self.bn2(self.conv2(x))
        return self.fc(self.conv3(x).mean((2, 3)))


def test_scales_are_averaged_over_a_group_and_a_group_without_any_goes_last():
    model = TwoNorms().eval()
    with torch.no_grad():
        model.bn1.weight.copy_(torch.tensor([1.0, -2.0]))
        model.bn2.weight.copy_(torch.tensor([0.0, 4.0]))
    graph = build_graph(model, (3, 2, 2))
    assert [group.name for group in graph.groups] == ["conv1", "conv3"]
    assert bn_scale_scores(model, graph).tolist() == [0.5, 3, 3, 3, 3]
    assert normed_groups(model, graph) == {"conv1"}


@pytest.mark.parametrize("name", ["BiasOnly", "BareBatchNorm", "InstanceNorms"])
def test_without_scales_there_is_nothing_to_score(name):
    with pytest.raises(ModelError, match="no channel group of the network has a batch norm"):
        bn_scale_scores(*zoo.traced(name))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(value):
    model = zoo.make("Chain")
    with torch.no_grad():
        model.conv1.weight[0, 0, 0, 0] = value
        model.bn1.weight[0] = value
    graph = zoo.traced("Chain")[1]
    with pytest.raises(ModelError, match="NaN or infinite"):
        filter_norm_scores(model, graph, 1)
    with pytest.raises(ModelError, match="NaN or infinite"):
        bn_scale_scores(model, graph)


def test_every_pattern_of_the_zoo_has_scores(pattern):
    model, graph = zoo.traced(pattern)
    for scores in (
        filter_norm_scores(model, graph, 1),
        filter_norm_scores(model, graph, 2),
        random_scores(graph, 0),
    ):
        assert scores.dtype == torch.float64
        assert scores.shape == (graph.units,)
        assert scores.isfinite().all()
        assert (scores >= 0).all()


def test_random_scores_are_the_seeds():
    graph = zoo.traced("Chain")[1]
    first = random_scores(graph, 1)
    assert torch.equal(first, random_scores(graph, 1))
    assert len(set(first.tolist())) == graph.units
    assert not torch.equal(first, random_scores(graph, 2))


# Sensitivity


def divergence(dense, cut, images):
    """Mean Kullback-Leibler divergence by its definition; batch norms go by the batch, as where a
    cut is measured.
    """
    answers = []
    for model in (dense, cut):
        with batch_statistics(model), torch.no_grad():
            answers.append(torch.cat([model(batch).double().softmax(1) for batch in images]))
    p, q = answers
    return float((p * (p / q).log()).sum(1).mean())


def test_what_units_add_up_to_is_how_far_cutting_them_moves_the_answers():
    """Against networks that are really pruned: never more than measured, and all of it at the
    deepest cut.
    """
    model, graph = zoo.traced("Chain")
    images = batches()
    ranks = filter_norm_scores(model, graph, 1)
    scores = sensitivity_scores(model, graph, ranks, images)
    start = 0
    for group in graph.groups:
        part = slice(start, start + group.size)
        order = ranks[part].argsort().tolist()
        added = scores[part][order].cumsum(0).tolist()
        assert added == pytest.approx(
            list(itertools.accumulate(sorted(scores[part].tolist())))
        )  # least ranks first
        highest = 0.0
        for count in sorted({round(share * group.size) for share in SHARES} - {0, group.size}):
            slim = prune(model, make_plan(graph, {group.name: order[count:]}))
            highest = max(highest, divergence(model, slim, images))
            assert added[count - 1] <= highest + 1e-4
        assert added[count - 1] == pytest.approx(highest, rel=1e-3)
        assert highest > 0.005
        start += group.size


def test_a_group_that_nothing_reads_is_cut_first():
    model = zoo.make("Chain")
    with torch.no_grad():
        model.conv2.weight.zero_()  # conv1 is dead, and what follows still answers by its shifts
        model.conv1.weight *= 100
    graph = zoo.traced("Chain")[1]
    scores = sensitivity_scores(model, graph, filter_norm_scores(model, graph, 1), batches())
    assert float(scores[:4].max()) < 1e-3 * float(scores[4:].max())
    cost = params_cost(model, graph)
    budget = Budget(cost, cost.exact([1, 5]))
    assert allocate(scores, graph, [budget]).widths == [1, 5]


def test_measuring_sensitivity_leaves_the_network_as_it_is():
    model = zoo.make("Chain").train()
    before = copy.deepcopy(model.state_dict())
    graph = zoo.traced("Chain")[1]
    sensitivity_scores(model, graph, filter_norm_scores(model, graph, 1), batches())
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_increments_are_those_of_the_largest_convex_curve_below():
    """Against its definition: at each place the least of all chords over it."""
    rng = random.Random(0)
    for _ in range(50):
        counts = sorted(rng.sample(range(1, 20), rng.randint(1, 8)))
        rises = [rng.uniform(-1, 4) for _ in counts]
        found = increments(counts, rises, 20)
        tops = list(itertools.accumulate(rises, max, initial=0.0))
        points = list(zip([0, *counts], tops, strict=True))
        for k in range(counts[-1] + 1):
            chords = [
                low if left == right else low + (high - low) * (k - left) / (right - left)
                for left, low in points
                for right, high in points
                if left <= k <= right
            ]
            assert sum(found[:k]) == pytest.approx(min(chords), abs=1e-9)
        assert found == sorted(found)
        assert found[0] >= 0
        assert len(found) == 20


def test_sensitivity_of_outputs_that_are_not_numbers_is_refused():
    model = zoo.make("Chain")
    with torch.no_grad():
        model.fc.bias[0] = float("nan")
    graph = zoo.traced("Chain")[1]
    with pytest.raises(ModelError, match="NaN or infinite"):
        sensitivity_scores(model, graph, torch.ones(graph.units), batches())


class Unit(nn.Module):
    """Each image's features brought to length one, which no features at all can't be."""

    def forward(self, x):
        return x / x.norm(dim=1, keepdim=True)


def test_a_cut_that_leaves_no_numbers_costs_much_and_is_no_error():
    conv1, conv2 = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 3, 1, bias=False)
    model = nn.Sequential(
        conv1, nn.ReLU(), conv2, nn.ReLU(), nn.Flatten(), Unit(), nn.Linear(3, 2)
    ).eval()
    with torch.no_grad():
        conv1.weight.fill_(0)
        conv1.bias.fill_(1)
        conv2.weight.copy_(
            torch.tensor([9.0, -1.0, -1.0, -1.0]).view(1, 4, 1, 1).expand(3, 4, 1, 1)
        )
    graph = build_graph(model, (1, 1, 1))
    ranks = torch.arange(graph.units)
    scores = sensitivity_scores(model, graph, ranks, [torch.zeros(2, 1, 1, 1)])
    assert scores.isfinite().all()
    assert float(scores[:4].max()) > 10


# Taylor


def test_a_taylor_score_is_the_squared_slope_of_the_loss_along_the_units_mask():
    """By finite differences; labels are drawn from the network's own outputs; batches add up after
    squaring.
    """
    model, graph = zoo.traced("Chain")
    drawn = torch.Generator().manual_seed(3)
    wanted = torch.zeros(graph.units, dtype=torch.float64)
    with torch.no_grad():
        for images in batches():
            labels = torch.multinomial(model(images).softmax(1).float(), 1, generator=drawn)[:, 0]

            def loss(unit, step, images=images, labels=labels):
                mask = torch.ones(graph.units, dtype=torch.float64)
                mask[unit] += step
                return float(
                    nn.functional.cross_entropy(Masked(model, graph, mask)(images), labels)
                )

            slopes = [(loss(unit, 1e-6) - loss(unit, -1e-6)) / 2e-6 for unit in range(graph.units)]
            wanted += torch.tensor(slopes, dtype=torch.float64).square()
    scores = taylor_scores(model, graph, batches(), seed=3)
    assert scores.dtype == torch.float64
    assert float(wanted.max()) > 1e-3
    assert torch.allclose(scores, wanted, rtol=1e-3, atol=1e-9)


def test_a_unit_that_nothing_reads_scores_nothing():
    model = zoo.make("Chain")
    with torch.no_grad():
        model.conv2.weight[:, 2] = 0
        model.fc.weight[:, 1] = 0
    scores = taylor_scores(model, zoo.traced("Chain")[1], batches())
    assert scores[[2, 4 + 1]].tolist() == [0, 0]
    assert (scores[[0, 1, 3]] > 0).all()


def test_the_seed_decides_and_nothing_else():
    model, graph = zoo.traced("Chain")
    first = taylor_scores(model, graph, batches(), seed=1)
    state = torch.manual_seed(99).get_state()
    again = taylor_scores(model, graph, iter(batches()), seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, taylor_scores(model, graph, batches(), seed=2))


def test_the_network_is_left_as_it_is():
    model = zoo.make("Chain", torch.float32).train()
    model.bn2.eval()
    modes, before = (
        [module.training for module in model.modules()],
        copy.deepcopy(model.state_dict()),
    )
    graph = build_graph(model, zoo.SIZE)
    scores = taylor_scores(model, graph, [zoo.images("Chain", 4, torch.float32)])
    assert scores.max() > 0
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_numbers_are_refused(value):
    model = zoo.make("Chain")
    with torch.no_grad():
        model.fc.bias[0] = value
    with pytest.raises(ModelError, match="NaN or infinite") as error:
        taylor_scores(model, zoo.traced("Chain")[1], batches())
    assert error.value.where == "model"


def test_outputs_that_are_not_numbers_are_farther_away_than_any_others():
    def distance(outputs, wanted):
        return (outputs - wanted).square().mean()

    network = nn.Linear(3, 2)
    images = [torch.randn(4, 3), torch.randn(4, 3)]
    task = Task(train=[], distill=distance)
    with torch.no_grad():
        change = change_from(network, images, task)
        assert change(network) == 0
        network.bias += 300
        assert 1e4 < change(network) < inf
        network.bias[0] = nan
        assert change(network) == inf


@pytest.mark.parametrize(("most", "read"), [(1, 1), (33, 2), (1000, 3)])
def test_outputs_are_kept_as_far_as_memory_is_allowed(monkeypatch, most, read):
    monkeypatch.setattr(sensitivity, "MOST_BYTES", most)
    network, calls = nn.Linear(3, 2), []
    network.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        change = change_from(network, [torch.randn(4, 3) for _ in range(3)], None)
        assert len(calls) == read  # each batch has outputs of 32 bytes
        calls.clear()
        assert change(network) == 0
    assert len(calls) == read
