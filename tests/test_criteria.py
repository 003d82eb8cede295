"""Scores say what they claim: norms by hand and by what pruning takes away, squared gradients by finite differences."""

import copy

import pytest
import torch
import zoo
from torch import nn

from slimmer.criteria import magnitude_scores, taylor_scores
from slimmer.errors import ModelError
from slimmer.graph import build_graph
from slimmer.masks import Masked
from slimmer.plan import make_plan
from slimmer.prune import prune

# Magnitude


def test_magnitude_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2, 2))
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


@pytest.mark.parametrize("name", ["Chain", "Identity", "OptionA", "Concatenation", "Flatten", "Depthwise", "Grouped"])
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
            lost.append(whole - squares(prune(model, make_plan(graph, {group.name: keep}))) if keep else 0.0)
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


# Taylor


def batches(number=2):
    return list(zoo.images("Chain", 4 * number).split(4))


def test_a_taylor_score_is_the_squared_slope_of_the_loss_along_the_units_mask():
    """By finite differences; labels are drawn from the network's own outputs; batches add up after squaring."""
    model, graph = zoo.traced("Chain")
    drawn = torch.Generator().manual_seed(3)
    wanted = torch.zeros(graph.units, dtype=torch.float64)
    with torch.no_grad():
        for images in batches():
            labels = torch.multinomial(model(images).softmax(1).float(), 1, generator=drawn)[:, 0]

            def loss(unit, step, images=images, labels=labels):
                mask = torch.ones(graph.units, dtype=torch.float64)
                mask[unit] += step
                return float(nn.functional.cross_entropy(Masked(model, graph, mask)(images), labels))

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
    modes, before = [module.training for module in model.modules()], copy.deepcopy(model.state_dict())
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
    with pytest.raises(ModelError, match="not numbers") as error:
        taylor_scores(model, zoo.traced("Chain")[1], batches())
    assert error.value.where == "model"
