"""Channels that have settled at zero go while masks are trained: one step, and which may go."""

import copy

import numpy as np
import pytest
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import mse_loss

from slimmer.costs import Budget, flops_cost, params_cost
from slimmer.methods import Bar, MaskConvNet, NetworkSlimming
from slimmer.pipeline.choose_plan import nonnegative
from slimmer.pruning.allocate import Limits, allocate
from slimmer.pruning.apply import prune, slice_tensors, widen_tensors
from slimmer.pruning.limits import floor_of, multiple_of
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import make_plan
from slimmer.pruning.settle import alive_plan, ranked_last, without_settled
from slimmer.training.learner import make_learner
from slimmer.training.schedule import Training
from slimmer.training.shrink import return_, shrunk

GATE = MaskConvNet(0, [], start=0.5, warmup=0)
TRAINING = Training(
    epochs=1,
    batch_size=2,
    lr=0.01,
    momentum=0.9,
    weight_decay=0.01,
    warmup=0.0,
    distill=0.0,
    seed=0,
    mask_lr=0.1,
)


def soft_variables(plan):
    """Masks of 0.3 to 0.9, and of zero where the plan removes."""
    alive = hard_mask(plan) > 0
    drawn = torch.rand(len(alive), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.where(alive, drawn * 0.6 - 0.2, torch.tensor(GATE.closed, dtype=torch.float64))


def whole_and_slim(name, plan):
    """The network under masks, and the one without what the plan removes, both in training."""
    model, graph = zoo.traced(name)
    variables = soft_variables(plan)
    whole = Masked(copy.deepcopy(model), graph, variables.clone(), GATE.gate)
    slim = Masked(
        prune(model, plan), graph, variables.clone(), GATE.gate, plan=plan, closed=GATE.closed
    )
    return whole.train(), slim.train()


def step_of(network, inputs):
    """The outputs, and the gradients by name, of one loss."""
    torch.manual_seed(0)
    outputs = zoo.outputs(network(inputs))
    network.zero_grad()
    mse_loss(outputs, torch.linspace(-1, 1, len(outputs), dtype=torch.float64)).backward()
    gradients = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            gradients[name.removeprefix("model.")] = parameter.grad
    return outputs.detach(), gradients


def test_a_step_without_the_removed_channels_is_the_step_under_masks(network):
    """In training: outputs, gradients of what stays, and running statistics."""
    model, graph = zoo.traced(network)
    (plan,) = zoo.random_plans(graph, 1)
    whole, slim = whole_and_slim(network, plan)
    inputs = zoo.images(network, 4)
    wanted, gradients = step_of(whole, inputs)
    found, ours = step_of(slim, inputs)
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-11)
    alive = hard_mask(plan) > 0
    masks = gradients.pop("variables"), ours.pop("variables")
    assert torch.allclose(masks[1][alive], masks[0][alive], rtol=1e-7, atol=1e-11)
    assert masks[1][alive].abs().sum() > 0
    theirs = slice_tensors(gradients, plan)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-7, atol=1e-11), name
    buffers = slice_tensors(dict(whole.model.named_buffers()), plan)
    for name, buffer in slim.model.named_buffers():
        assert torch.allclose(buffer.double(), buffers[name].double(), rtol=1e-9), name
    assert model is not whole.model


def test_widening_puts_every_slice_back_where_it_was(network):
    model, graph = zoo.traced(network)
    for plan in zoo.random_plans(graph, 3):
        whole = {name: tensor.detach() + 2 for name, tensor in model.named_parameters()}
        kept = slice_tensors(whole, plan)
        widened = widen_tensors(kept, plan)
        for name, tensor in whole.items():
            stays = slice_tensors({name: torch.ones_like(tensor)}, plan)
            mask = widen_tensors(stays, plan)[name]
            assert torch.equal(widened[name], tensor * mask)
            assert int(mask.sum()) == kept[name].numel()


def trained(learner, name, steps):
    """Some steps of the optimizer, each on other images, with the step's own rate."""
    for _ in range(steps):
        inputs = zoo.images(name, 4) * (1 + learner.step)
        step_of(learner.network, inputs)
        learner.optimizer.step()
        learner.stepped_()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ["Chain", "Identity", "Grouped", "Depthwise", "Concatenation"])
def test_training_goes_on_as_with_the_masks_held_at_zero(name, optimizer):
    """Three steps whole and three slim, and six steps whole in which the masks stay zero: the same
    weights, so the optimizer's state went along.
    """
    plan = zoo.random_plans(zoo.traced(name)[1], 1)[0]
    training = Training(**{**vars(TRAINING), "optimizer": optimizer})
    held, slim = whole_and_slim(name, plan)
    held.removed = (hard_mask(plan) == 0).nonzero().flatten()
    held._closed = GATE.closed  # the oracle: whole, with its masks held
    changing = copy.deepcopy(held)
    one = make_learner(held, training, train_masks=True)
    trained(one, name, 6)
    two = make_learner(changing, training, train_masks=True)
    trained(two, name, 3)
    # what is left of the whole network as it is now
    slim.model = prune(changing.model, plan)
    slim.variables.data.copy_(changing.variables)
    three = shrunk(two, slim, plan, training, train_masks=True)
    assert three.step == 3
    trained(three, name, 3)
    return_(three, two, plan)
    assert two.step == 6
    wanted = slice_tensors(dict(held.model.named_parameters()), plan)
    for key, tensor in slim.model.named_parameters():
        assert torch.allclose(tensor, wanted[key], rtol=1e-7, atol=1e-10), key
    back = dict(changing.model.named_parameters())
    for key, tensor in slice_tensors(back, plan).items():
        assert torch.equal(tensor, dict(slim.model.named_parameters())[key])
    assert torch.allclose(changing.variables, held.variables, rtol=1e-7, atol=1e-10)
    assert torch.equal(changing.mask() == 0, hard_mask(plan) == 0)


# Which units may go


COSTS = {}


def costs(name):
    if name not in COSTS:
        model, graph = zoo.traced(name)
        COSTS[name] = flops_cost(model, graph, zoo.size_of(name)), params_cost(model, graph)
    return COSTS[name]


def budgets_of(name, shares):
    """Budgets that leave these shares of what can be removed."""
    found = []
    for cost, share in zip(costs(name), shares, strict=False):
        least = cost.exact([1] * len(zoo.traced(name)[1].groups))
        found.append(Budget(cost, least + share * (cost.dense - least)))
    return found


def excess(plan, budgets):
    return max((each.cost.exact(plan.widths) - each.limit) / each.cost.dense for each in budgets)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    name=st.sampled_from(["Chain", "Identity", "cifar_resnet20", "resnet18"]),
    shares=st.lists(st.floats(0.3, 0.95), min_size=1, max_size=2),
    seed=st.integers(0, 50),
    share=st.floats(0, 1),
    least=st.integers(1, 3),
    round_to=st.sampled_from([None, 1, 2]),
)
def test_no_more_goes_than_the_budgets_ask_for(name, shares, seed, share, least, round_to):
    graph = zoo.traced(name)[1]
    floors = {group.name: min(least, group.size) for group in graph.groups}
    limits = Limits(round_to, floors=floors)
    budgets = budgets_of(name, shares)
    drawn = torch.Generator().manual_seed(seed)
    scores = torch.rand(graph.units, generator=drawn, dtype=torch.float64) - 0.3
    settled = torch.rand(graph.units, generator=drawn) < share
    full = make_plan(graph, {})
    least_cost = make_plan(graph, {g.name: range(floor_of(g, limits)) for g in graph.groups})
    if excess(least_cost, budgets) > 0:
        return
    plan = without_settled(full, settled, scores, graph, budgets, limits)
    assert excess(plan, budgets) >= 0  # the projection has something left to decide
    gone = hard_mask(plan) == 0
    assert not (gone & ~settled).any()
    parts = zip(
        graph.groups,
        plan.keep,
        scores.split(graph.widths),
        settled.split(graph.widths),
        strict=True,
    )
    for group, kept, values, zero in parts:
        assert len(kept) >= floor_of(group, limits)
        width, multiple = len(kept), multiple_of(group, limits)
        assert width in {group.size, floor_of(group, limits)} or width % multiple == 0
        stay = [float(values[unit]) for unit in kept if zero[unit]]
        out = [float(values[unit]) for unit in set(range(group.size)).difference(kept)]
        assert max(out, default=-1.0) <= min(stay, default=1.0)
    again = without_settled(plan, settled, scores, graph, budgets, limits)
    assert again == plan
    most = {group.name: len(kept) for group, kept in zip(graph.groups, plan.keep, strict=True)}
    within = Limits(round_to, floors=floors, most=most)
    final = allocate(nonnegative(ranked_last(scores, plan)), graph, budgets, within)
    assert not (gone & (hard_mask(final) > 0)).any()
    assert excess(final, budgets) <= 0


def test_the_lowest_scores_go_first_and_what_has_gone_stays_gone():
    graph = zoo.traced("Chain")[1]
    budgets = budgets_of("Chain", [0.5])
    scores = torch.arange(graph.units, dtype=torch.float64)
    first = torch.zeros(graph.units, dtype=torch.bool)
    first[-1] = True
    one = without_settled(make_plan(graph, {}), first, scores, graph, budgets, Limits())
    assert (hard_mask(one) == 0).nonzero().flatten().tolist() == [graph.units - 1]
    everything = torch.ones(graph.units, dtype=torch.bool)
    two = without_settled(one, everything, scores, graph, budgets, Limits())
    assert hard_mask(two)[-1] == 0
    assert hard_mask(two)[0] == 0
    assert sum(two.widths) < sum(one.widths)
    assert alive_plan(graph, hard_mask(two) > 0) == two


def test_removed_units_rank_below_all_others_and_change_none():
    graph = zoo.traced("Chain")[1]
    plan = zoo.random_plans(graph, 1)[0]
    scores = torch.linspace(3, -3, graph.units)
    ranked = ranked_last(scores, plan)
    alive = hard_mask(plan) > 0
    assert torch.equal(ranked[alive], scores.double()[alive])
    assert ranked[~alive].max() < ranked[alive].min()
    assert ranked[~alive].min() == pytest.approx(float(ranked[alive].min()))


# What has settled, by method


def test_a_mask_has_settled_where_no_gradient_reaches_it():
    variables = torch.tensor([-0.7, -0.5, -0.4, 0.2])
    for hard in (False, True):
        method = MaskConvNet(4, [], start=0.5, warmup=0, hard=hard)
        assert method.settled(variables).tolist() == [True, True, False, False]
        closed = torch.full((4,), method.closed)
        assert method.gate(closed, training=True).tolist() == [0] * 4


def test_a_gate_has_settled_where_evaluation_closes_it_and_a_removed_one_is_never_drawn_open():
    method = Bar(3, [], steps=10, strength=1.0, steepness=10.0, start=0.0)
    assert method.settled(torch.tensor([-2.5, -2.3, 0.0])).tolist() == [True, False, False]
    closed = torch.full((100_000,), method.closed)
    assert not method.gate(closed, training=True).any()
    assert not method.gate(closed, training=False).any()


def test_a_scale_has_settled_below_a_thousandth_of_the_mean_and_the_penalty_follows_the_network():
    scores = torch.tensor([1e-4, 2e-3, 1.0, 3.0])
    other = [torch.nn.Parameter(torch.tensor([2.0, -1.0]))]
    method = NetworkSlimming(4, [], 0.5, lambda: scores, lambda _: other)
    assert method.settled(torch.ones(4)).tolist() == [True, False, False, False]
    method.follow_(torch.nn.Identity())
    assert method.penalty(torch.ones(4), 0).item() == 1.5
    assert method.gate(torch.full((4,), method.closed), training=True).tolist() == [0] * 4
    assert np.isfinite(method.closed)
