"""Masks: ones change nothing, gradients are right, folding keeps the function."""

import copy

import pytest
import torch
import zoo

from slimmer.methods import MaskConvNet
from slimmer.pruning.masks import Masked, fold_, hard_mask
from slimmer.pruning.plan import full_plan, make_plan


def soft(graph, low=0.1, high=0.9):
    drawn = torch.rand(graph.units, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return low + (high - low) * drawn


def test_a_mask_of_ones_changes_nothing(network):
    model, graph = zoo.traced(network)
    image = zoo.images(network)
    with torch.no_grad():
        masked = zoo.outputs(
            Masked(model, graph, hard_mask(full_plan(graph), torch.float64))(image)
        )
        assert torch.allclose(masked, zoo.outputs(model(image)), rtol=1e-12)


def test_every_value_of_a_mask_matters(pattern):
    """The gradient is the central difference, value by value, and no unit is without one."""
    model, graph = zoo.traced(pattern)
    image = zoo.images(pattern)
    masked = Masked(model, graph, soft(graph))
    weights = torch.linspace(0.5, 1.5, zoo.outputs(model(image)).numel(), dtype=torch.float64)

    def value():
        return (zoo.outputs(masked(image)) * weights).sum()

    (gradient,) = torch.autograd.grad(value(), masked.variables)
    with torch.no_grad():
        for unit in range(graph.units):
            ends = []
            for step in (1e-6, -1e-6):
                masked.variables[unit] += step
                ends.append(value())
                masked.variables[unit] -= step
            difference = float(ends[0] - ends[1]) / 2e-6
            assert float(gradient[unit]) == pytest.approx(difference, rel=1e-5, abs=1e-7)
    assert (gradient != 0).float().mean() > 0.7  # a unit behind a ReLU that is shut has none


def test_folding_keeps_the_function(network):
    model, graph = zoo.traced(network)
    model = copy.deepcopy(model)
    image, mask = zoo.images(network), soft(graph)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        wanted = zoo.outputs(Masked(model, graph, mask)(image))
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        fold_(model, graph, mask)
        assert torch.allclose(zoo.outputs(model(image)), wanted, rtol=1e-12)
    changed = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    touched = {part.axis for group in graph.groups for part in group.slices}
    consumers = {layer.in_axis.tensor for layer in graph.layers if layer.in_axis in touched}
    again = (
        {"again.weight"} if network == "SharedModule" else set()
    )  # the other name of one of them
    assert changed == consumers | again


def test_hard_sigmoid_passes_gradient_at_its_bounds_and_stops_it_beyond():
    model, graph = zoo.traced("Chain")
    variables = torch.full((graph.units,), 0.1, dtype=torch.float64)
    variables[:4] = torch.tensor([-0.5, 0.5, -0.6, 0.6])
    masked = Masked(model, graph, variables, MaskConvNet(graph.units, [], start=0.5, warmup=0).gate)
    assert masked.mask()[:5].tolist() == pytest.approx([0.0, 1.0, 0.0, 1.0, 0.6])
    (gradient,) = torch.autograd.grad(masked.mask().sum(), masked.variables)
    assert gradient[:5].tolist() == [1.0, 1.0, 0.0, 0.0, 1.0]


def test_training_a_masked_model_moves_mask_and_weights():
    model, graph = zoo.traced("Identity")
    masked = Masked(copy.deepcopy(model).train(), graph, soft(graph))
    before = {name: parameter.detach().clone() for name, parameter in masked.named_parameters()}
    optimizer = torch.optim.SGD(masked.parameters(), lr=0.1)
    masked(zoo.images("Identity", 4)).square().sum().backward()
    optimizer.step()
    assert all(
        not torch.equal(p, before[name])
        for name, p in masked.named_parameters()
        if name != "model.stem.bias"
    )
    assert "variables" in before


def test_a_hard_mask_holds_the_plan():
    _, graph = zoo.traced("Chain")
    mask = hard_mask(make_plan(graph, {"conv1": [0, 3], "conv2": [1]}))
    assert mask.tolist() == [1, 0, 0, 1, 0, 1, 0, 0, 0]
    assert mask.dtype == torch.float32


def test_masks_follow_the_weights_type():
    _, graph = zoo.traced("Chain")
    model = zoo.make("Chain", torch.float32)
    masked = Masked(model, graph, soft(graph))  # a float64 mask on float32 weights
    assert masked(zoo.images("Chain", dtype=torch.float32)).dtype == torch.float32
