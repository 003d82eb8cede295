"""How masks move, against the formulas by hand, and where a recipe's method ends: inside every
budget.
"""

import copy
from dataclasses import replace
from math import exp, log

import pytest
import torch
import zoo

from slimmer.costs import Cost, flops_cost
from slimmer.costs.flops import count_flops
from slimmer.criteria import magnitude_scores
from slimmer.data import Data, InMemory, load
from slimmer.errors import ModelError, RecipeError
from slimmer.graph import build_graph
from slimmer.methods import Bar, MaskConvNet, NetworkSlimming, Taylor
from slimmer.methods.bar import Barrier, barrier_of, chance, falling_budget
from slimmer.methods.maskconvnet import Target
from slimmer.methods.metric import Metric
from slimmer.methods.network_slimming import find_scales
from slimmer.models import build
from slimmer.pipeline.choose_plan import (
    choose_method,
    method_entry,
    sparsify_steps,
    target_plan,
    training_inputs,
    training_of,
)
from slimmer.pipeline.job import prepare
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import full_plan
from slimmer.recipe import read_recipe
from slimmer.recipe.method_entries import AUTO, built_in
from slimmer.tasks import classification
from slimmer.training.devices import make_engine
from slimmer.training.learner import make_learner
from slimmer.training.loop import train_
from slimmer.training.schedule import Training

# MaskConvNet


def masks_of(variables):
    """The masks of variables, by MaskConvNet's formula."""
    return (variables + 0.5).clamp(0, 1)


def told(*sparsities):
    """A measure that gives these sparsities one after the other."""
    following = iter(sparsities)
    return lambda mask: next(following)


def test_the_penalty_by_hand_for_one_and_for_two_targets():
    mask = torch.tensor(
        [1.0, 0.5, 0.0, 0.5], dtype=torch.float64
    )  # mean 1/2, variance 1/8, their ratio 1/4
    one = MaskConvNet(4, [Target(0.5, told(0.2, 0.3), 3.0, 4.0)], start=0.5, warmup=0)
    pull = 3.0 * 0.5 - 4.0 * 0.25
    assert float(one.penalty(mask - 0.5, 0)) == pytest.approx((0.5 - 0.02) * pull)
    assert float(one.penalty(mask - 0.5, 1)) == pytest.approx(
        (0.5 - (0.9 * 0.02 + 0.1 * 0.3)) * pull
    )
    assert one.state["sparsity"].tolist() == pytest.approx([0.048])
    targets = [Target(0.5, told(0.2), 3.0, 4.0), Target(0.4, told(1.0), 1.0, 0.0)]
    two = MaskConvNet(4, targets, start=0.5, warmup=0, memory=0.0)
    assert float(two.penalty(mask - 0.5, 0)) == pytest.approx(
        (0.5 - 0.2) * pull + (0.4 - 1.0) * 0.5
    )
    assert two.state["sparsity"].tolist() == pytest.approx([0.2, 1.0])


def test_the_measure_sees_the_masks_of_the_step():
    seen = []

    def measure(mask):
        seen.append((mask.tolist(), mask.requires_grad))
        return 0.0

    method = MaskConvNet(2, [Target(0.5, measure, 1.0, 1.0)], start=0.5, warmup=0)
    method.penalty(torch.tensor([-0.25, 0.5], requires_grad=True), 0)
    assert seen == [([0.25, 1.0], False)]


def test_masks_start_just_inside_one():
    assert MaskConvNet(3, [], start=0.49, warmup=0).start().tolist() == pytest.approx([0.49] * 3)


def test_nothing_pulls_while_it_warms_up():
    method = MaskConvNet(2, [Target(0.5, told(0.4), 1.0, 0.0)], start=0.5, warmup=2)
    mask = torch.tensor([0.5, 1.0])
    assert method.penalty(mask - 0.5, 0) is None
    assert method.penalty(mask - 0.5, 1) is None
    assert method.state["sparsity"].tolist() == [0.0]  # nor does the running mean move
    assert float(method.penalty(mask - 0.5, 2)) == pytest.approx((0.5 - 0.04) * 0.75)


def gradient(method, variables, step):
    (found,) = torch.autograd.grad(method.penalty(variables, step), variables)
    return found


def test_the_pull_turns_round_after_an_overshoot():
    variables = torch.tensor([0.4, 0.1, -0.2, -0.3], dtype=torch.float64, requires_grad=True)
    method = MaskConvNet(
        4, [Target(0.5, told(0.1, 0.9, 0.5), 3.0, 4.0)], start=0.5, warmup=0, memory=0.0
    )
    before, after, there = (gradient(method, variables, step) for step in range(3))
    assert torch.allclose(after, before * (0.5 - 0.9) / (0.5 - 0.1))
    assert before.abs().min() > 0
    assert there.tolist() == [0, 0, 0, 0]


def test_the_mean_pulls_all_masks_down_and_the_variance_pulls_them_apart():
    variables = torch.tensor([0.4, 0.3, -0.3, -0.4], dtype=torch.float64, requires_grad=True)
    alone = {"m": (1.0, 0.0), "v": (0.0, 1.0)}
    pulls = {
        name: gradient(
            MaskConvNet(4, [Target(0.5, told(0.0), *both)], start=0.5, warmup=0), variables, 0
        )
        for name, both in alone.items()
    }
    assert pulls["m"].tolist() == pytest.approx([0.5 / 4] * 4)
    assert (pulls["v"][:2] < 0).all()  # descent moves them up
    assert (pulls["v"][2:] > 0).all()


def test_at_the_edges_the_pull_gets_through_and_beyond_them_it_does_not():
    variables = torch.tensor([-0.5, 0.5, -0.501, 0.501, 0.0], requires_grad=True)
    pull = gradient(
        MaskConvNet(5, [Target(0.5, told(0.0), 1.0, 0.0)], start=0.5, warmup=0), variables, 0
    )
    assert (pull != 0).tolist() == [True, True, False, False, True]


def test_masks_that_are_all_dead_give_a_number():
    variables = torch.full((3,), -0.5, requires_grad=True)
    pull = gradient(
        MaskConvNet(3, [Target(0.5, told(1.0), 3.0, 4.0)], start=0.5, warmup=0, memory=0.0),
        variables,
        0,
    )
    assert pull.isfinite().all()
    assert (pull < 0).all()  # after an overshoot they come back


def test_the_variables_are_the_scores():
    variables = torch.tensor([0.6, -0.7, 0.2], requires_grad=True)
    scores = MaskConvNet(3, [], start=0.5, warmup=0).scores(variables)
    assert scores.tolist() == pytest.approx([0.6, -0.7, 0.2])
    assert (scores.dtype, scores.requires_grad) == (torch.float64, False)


PLAIN = Training(
    epochs=10,
    batch_size=8,
    lr=0.01,
    momentum=0.0,
    weight_decay=0.0,
    warmup=0.0,
    distill=0.0,
    temperature=1.0,
    seed=0,
    mask_lr=0.1,
    mask_decay=1.0,
)


def noise():
    generator = torch.Generator().manual_seed(0)
    split = InMemory(torch.rand(32, *zoo.SIZE, generator=generator), torch.arange(32) % 3)
    return Data("noise", split, split, ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, zoo.SIZE[1:])


def train_under(method, training, stop, *, variables=None, observe=lambda network: None):
    """The zoo's chain, trained under a method's masks; the masked network."""
    graph = zoo.traced("Chain")[1]
    start = method.start() if variables is None else variables
    network = Masked(zoo.make("Chain", torch.float32).train(), graph, start, method.gate)
    learner = make_learner(network, training, train_masks=method.trains_masks)
    fabric = make_engine("cpu", "32-true")
    options = {"stop": stop, "method": method, "observe": lambda event: observe(network)}
    train_(fabric, learner, network, classification(noise()), training, **options)
    return network


@pytest.mark.parametrize("decay", [1.0, 0.0])
def test_mask_decay_brings_a_dead_channel_back(decay):
    """Below -0.5 no gradient reaches a variable; what moves it is the decay alone, at the masks'
    own rate.
    """
    variables = torch.full((9,), 0.45)
    variables[2] = -0.6
    method = MaskConvNet(9, [], start=0.5, warmup=100)
    path = []
    training = replace(PLAIN, mask_decay=decay)
    train_under(
        method,
        training,
        4,
        variables=variables,
        observe=lambda net: path.append(net.variables[2].item()),
    )
    by_hand, expected = -0.6, []
    for step in range(4):
        if by_hand < -0.5:  # later the loss has a say
            rate = 0.1 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 40)).item())
            by_hand *= 1 - rate * decay
            expected.append(by_hand)
    assert path[: len(expected)] == pytest.approx(expected)
    assert (path[len(expected) - 1] > -0.5) == (decay > 0)


def test_the_penalty_moves_masks_toward_the_target():
    """Both ways: down where too much is there, up again where too little is left."""
    ends = []
    for measured in (0.0, 1.0):
        target = Target(0.5, lambda mask, found=measured: found, 3.0, 0.0)
        method = MaskConvNet(9, [target], start=0.2, warmup=0, memory=0.0)
        ends.append(train_under(method, replace(PLAIN, mask_decay=0.0), 8).mask().mean().item())
    assert ends[0] < 0.6
    assert ends[1] > 0.7


@pytest.mark.parametrize("rise", [0.0, 0.5])
def test_the_multipliers_are_the_smoothed_gap_or_the_sum_of_gaps(rise):
    mask = torch.tensor([1.0, 0.5, 0.0, 0.5], dtype=torch.float64)  # mean 1/2
    method = MaskConvNet(
        4,
        [Target(0.5, told(0.1, 0.3, 0.5, 0.4), 1.0, 0.0)],
        start=0.5,
        warmup=0,
        memory=0.5,
        rise=rise,
    )
    found = [float(method.penalty(mask - 0.5, step)) / 0.5 for step in range(4)]
    running = [0.05, 0.175, 0.3375, 0.36875]
    summed = [0.5 * 0.4, 0.5 * (0.4 + 0.2), 0.0, 0.5 * 0.1]  # begun anew where the target is met
    assert found == pytest.approx(summed if rise else [0.5 - each for each in running])
    assert method.state["multiplier"].tolist() == pytest.approx(found[-1:])


def test_hard_masks_are_rounded_forward_and_soft_backward():
    method = MaskConvNet(5, [Target(0.5, told(0.0), 1.0, 0.0)], start=0.5, warmup=0, hard=True)
    variables = torch.tensor([-0.6, -0.2, 0.0, 0.2, 0.6], requires_grad=True)
    for training in (True, False):
        mask = method.gate(variables, training=training)
        assert mask.tolist() == [0, 0, 1, 1, 1]
        (slope,) = torch.autograd.grad((mask * torch.arange(1.0, 6.0)).sum(), variables)
        assert slope.tolist() == [0, 2, 3, 4, 0]
    mean = (0 + 0.3 + 0.5 + 0.7 + 1) / 5  # the penalty sees the soft masks
    assert method.penalty(variables, 0).item() == pytest.approx(0.5 * mean)


def test_the_measure_sees_hard_masks_where_they_are_hard():
    seen = []
    method = MaskConvNet(
        2,
        [Target(0.5, lambda mask: seen.append(mask.tolist()) or 0.0, 1.0, 1.0)],
        start=0.5,
        warmup=0,
        hard=True,
    )
    method.penalty(torch.tensor([-0.25, 0.1]), 0)
    assert seen == [[0.0, 1.0]]


def test_a_price_weighs_the_mean():
    target = Target(0.5, told(0.0), 2.0, 0.0, price=lambda mask: torch.tensor([1.0, 3.0]))
    method = MaskConvNet(2, [target], start=0.5, warmup=0)
    variables = torch.tensor([0.0, 0.3], requires_grad=True)  # masks 0.5 and 0.8
    assert method.penalty(variables, 0).item() == pytest.approx(0.5 * 2 * (0.5 + 3 * 0.8) / 4)
    pull = gradient(
        MaskConvNet(2, [replace(target, measure=told(0.0))], start=0.5, warmup=0), variables, 0
    )
    assert pull.tolist() == pytest.approx([0.25, 0.75])


# What masks cost


def two_layers():
    """3 inputs into 4 units into 2 units into 5 outputs, one multiply-add each: 3 a + a b + 5 b; 30
    when dense.
    """

    class TwoLayers(Cost):
        name, dense = "flops", 30

        def value(self, widths):
            a, b = widths
            return 3 * a + a * b + 5 * b

    return Metric(TwoLayers(), (4, 2))


def test_a_metric_by_hand():
    metric = two_layers()
    mask = torch.tensor([0.5, 0, 0.25, 0, 1, 0])
    assert metric.cost.dense == 30
    assert metric.widths(mask).tolist() == [0.75, 1]
    assert metric.left(torch.ones(6)) == 1
    assert metric.left(mask) == pytest.approx((3 * 0.75 + 0.75 + 5) / 30)
    assert metric.sparsity(mask) == pytest.approx(
        1 - (3 * 2 + 2 * 1 + 5) / 30
    )  # what is above zero counts whole
    price = metric.price(torch.tensor([1.0, 1, 0, 0, 1, 1], requires_grad=True))
    assert price.tolist() == pytest.approx([5 / 30] * 4 + [7 / 30] * 2)  # 3 + b and a + 5
    assert (price.dtype, price.requires_grad) == (torch.float32, False)
    assert metric.price(torch.zeros(6)).tolist() == pytest.approx(
        [4 / 30] * 4 + [6 / 30] * 2
    )  # as if one were left


# Network Slimming


def test_the_scales_pull_is_their_sign_times_the_strength():
    scales = [
        torch.nn.Parameter(torch.tensor([0.5, -2.0, 0.0])),
        torch.nn.Parameter(torch.tensor([-0.1])),
    ]
    method = NetworkSlimming(4, scales, 0.25, lambda: torch.tensor([4.0, 3, 2, 1]), lambda _: [])
    penalty = method.penalty(torch.ones(4), 0)
    assert penalty.item() == pytest.approx(0.25 * 2.6)
    penalty.backward()
    assert [scale.grad.tolist() for scale in scales] == [[0.25, -0.25, 0.0], [-0.25]]
    assert method.scores(torch.zeros(4)).tolist() == [4, 3, 2, 1]
    assert method.gate(method.start(), training=True).tolist() == [1] * 4
    assert method.state == {}


def test_scales_are_the_batch_norms_of_the_groups_and_nothing_else_moves_them():
    """One step of SGD by hand: the loss's own gradient, the penalty's sign, no weight decay."""
    model, graph = zoo.traced("Chain")
    model = copy.deepcopy(model).float()
    scales = find_scales(model, graph)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert [id(scale) for scale in scales] == [id(norm.weight) for norm in norms]
    assert len(scales) > 0
    before = [scale.detach().clone() for scale in scales]
    ends = []
    for strength in (0.0, 0.5):
        for scale, value in zip(scales, before, strict=True):
            scale.data.copy_(value)
        network = Masked(copy.deepcopy(model).train(), graph, torch.ones(graph.units))
        method = NetworkSlimming(
            graph.units, find_scales(network.model, graph), strength, lambda: None, lambda _: []
        )
        training = replace(PLAIN, weight_decay=0.3)
        learner = make_learner(network, training, train_masks=method.trains_masks)
        train_(
            make_engine("cpu", "32-true"),
            learner,
            model,
            classification(noise()),
            training,
            stop=1,
            method=method,
        )
        ends.append([scale.detach().clone() for scale in find_scales(network.model, graph)])
    for plain, pulled, value in zip(*ends, before, strict=True):
        assert torch.allclose(pulled, plain - 0.01 * 0.5 * value.sign(), atol=1e-6)
    assert any(not torch.equal(*pair) for pair in zip(ends[0], before, strict=True))


def test_a_network_without_batch_norm_is_refused():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1))
    with pytest.raises(ModelError, match="no batch norm"):
        find_scales(model, build_graph(model.eval(), (3, 4, 4)))


@pytest.mark.parametrize(("start", "resumed"), [(0.5, False), (0.5, True), (None, False)])
def test_scales_are_set_at_a_fresh_start_only(job, start, resumed):
    scales = find_scales(job.model, job.graph)
    before = [scale.detach().clone() for scale in scales]
    pairs = [("method.name", "network_slimming"), ("method.scale_start", start)]
    method = choose_method(recipe_of(*pairs), job, 3, resumed=resumed)
    wanted = [torch.full_like(each, 0.5) if start and not resumed else each for each in before]
    assert all(torch.equal(*pair) for pair in zip(scales, wanted, strict=True))
    with torch.no_grad():
        for scale in scales:
            scale.fill_(-7.0)  # scores are the magnitudes of the moment
    assert set(method.scores(torch.zeros(0)).tolist()) == {7.0}


# BAR


def by_hand(u, log_alpha):
    s = 1 / (1 + exp(-(log(u / (1 - u)) + log_alpha) / 0.667))
    return min(1.0, max(0.0, 1.2 * s - 0.1))


def barred(*barriers, **changed):
    return Bar(
        6, barriers, **{"steps": 100, "strength": 1e-4, "steepness": 10.0, "start": 0.0, **changed}
    )


def test_gates_are_drawn_while_training_and_stand_still_in_evaluation():
    variables = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    torch.manual_seed(5)
    drawn = barred().gate(variables, training=True)
    torch.manual_seed(5)
    wanted = [
        by_hand(u, v) for u, v in zip(torch.rand(5).tolist(), variables.tolist(), strict=True)
    ]
    assert drawn.tolist() == pytest.approx(wanted, abs=1e-5)
    assert barred().gate(variables, training=True).tolist() != drawn.tolist()
    still = [min(1.0, max(0.0, 1.2 / (1 + exp(-v)) - 0.1)) for v in variables.tolist()]
    assert barred().gate(variables, training=False).tolist() == pytest.approx(still, abs=1e-6)
    assert still[0] == 0
    assert still[-1] == 1


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
def test_the_chance_to_live_is_how_often_gates_are_above_zero(log_alpha):
    torch.manual_seed(0)
    gates = barred().gate(torch.full((200_000,), log_alpha), training=True)
    assert float(chance(torch.tensor(log_alpha))) == pytest.approx(
        float((gates > 0).float().mean()), abs=0.004
    )


def test_the_budget_falls_from_just_above_dense_along_a_sigmoid():
    foot = 1 / (1 + exp(5))
    for way, risen in ((0.0, foot), (0.3, 1 / (1 + exp(2))), (1.0, 1 - foot)):
        progress = (risen - foot) / (1 - 2 * foot)
        assert falling_budget(0.4, way, 10.0) == pytest.approx(
            (1 - progress) * 1.01 + progress * 0.4
        )


def test_the_barrier_has_its_pole_at_the_budget_of_the_moment():
    low = 0.5 - 1.01e-4
    assert barrier_of(low, 0.5, 0.9) == 0
    assert barrier_of(low + 0.2 * (0.9 - low), 0.5, 0.9) == pytest.approx(0.04 / 0.8)
    assert barrier_of(low + 0.99 * (0.9 - low), 0.5, 0.9) == pytest.approx(0.99**2 / 0.01)
    assert [barrier_of(cost, 0.5, 0.9) for cost in (0.9 - 1e-14, 0.9, 2.0)] == [1e10] * 3


def test_the_barriers_pull_by_hand():
    """Every gate open: the cost is 1 and the budget of step 0 is 1.01."""
    log_alpha = 1.0
    variables = torch.full((6,), log_alpha, dtype=torch.float64, requires_grad=True)
    alive = 1 / (1 + exp(-(log_alpha + 0.667 * log(11))))
    r = (1 - (0.5 - 1.01e-4)) / (1.01 - (0.5 - 1.01e-4))
    weight = 1e-6 * 1e4 * r * r / (1 - r)
    price = [(3 + 2 * alive) / 30] * 4 + [(5 + 4 * alive) / 30] * 2  # at 4 and 2 times the chance
    wanted = [weight * each * alive * (1 - alive) for each in price]
    method = barred(Barrier(two_layers(), 0.5), strength=1e-6)
    assert gradient(method, variables, 0).tolist() == pytest.approx(wanted)
    both = barred(Barrier(two_layers(), 0.5), Barrier(two_layers(), 0.5), strength=1e-6)
    assert gradient(both, variables, 0).tolist() == pytest.approx([2 * each for each in wanted])


def test_beyond_the_budget_the_pull_is_bounded_and_inside_it_there_is_none():
    variables = torch.full((6,), 2.0, requires_grad=True)
    method = barred(Barrier(two_layers(), 0.5))
    late = gradient(method, variables, 90)  # the budget has fallen below what is open
    assert float(late.norm()) == pytest.approx(5.0, rel=1e-5)
    assert (late > 0).all()
    few = torch.tensor([2.0, -3.0, -3.0, -3.0, 2.0, -3.0])  # a = b = 1 costs 9 of 30
    assert float(method.penalty(few, 90)) == 0


def test_log_alpha_is_the_score():
    scores = barred(start=2.5).scores(torch.tensor([0.5, -1.0], requires_grad=True))
    assert scores.tolist() == [0.5, -1.0]
    assert barred(start=2.5).start().tolist() == [2.5] * 6


def test_the_gates_end_inside_a_budget_that_falls():
    """The zoo's chain, half of its multiply-adds: by the barrier alone, without the projection."""
    model, graph = zoo.traced("Chain")
    metric = Metric(flops_cost(model, graph, zoo.SIZE), tuple(group.size for group in graph.groups))
    method = Bar(
        graph.units, [Barrier(metric, 0.5)], steps=60, strength=1e-5, steepness=10.0, start=0.0
    )
    network = train_under(method, replace(PLAIN, epochs=30, mask_decay=0.0), 60)
    assert metric.left(network.eval().mask() > 0) <= 0.5


# Taylor


def best(number):
    """A projection that keeps the `number` highest scores, and notes the share of the way that it
    is asked for.
    """

    def project(scores, way):
        project.asked.append(way)
        mask = torch.zeros_like(scores, dtype=torch.float32)
        mask[scores.topk(number).indices] = 1
        return mask

    project.asked = []
    return project


def test_masks_are_projected_now_and_then_along_the_cubic_curve():
    masks = []
    project = best(4)
    method = Taylor(torch.arange(9.0), project, 6, interval=3)
    assert method.start().tolist() == [1] * 9
    train_under(
        method, PLAIN, 8, observe=lambda network: masks.append(network.mask().detach().clone())
    )
    assert project.asked == pytest.approx(
        [1 - (5 / 6) ** 3, 1 - (2 / 6) ** 3, 1]
    )  # behind steps 1, 4 and 7
    assert [int(mask.sum()) for mask in masks] == [4] * 8
    assert all(set(mask.tolist()) == {0, 1} for mask in masks)
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[3], masks[5])


def test_with_no_steps_the_cut_is_at_once():
    project = best(2)
    method = Taylor(torch.arange(4.0), project, 0)
    variables = torch.nn.Parameter(method.start())
    method.after_backward_(variables, 0)
    assert variables.tolist() == [0, 0, 1, 1]
    assert project.asked == [1]


def test_scores_are_a_running_mean_of_squared_slopes_each_by_its_own_mean():
    given = torch.tensor([1.0, 2.0, 3.0, 2.0], dtype=torch.float64)
    method = Taylor(given, best(2), 9, memory=0.75)
    assert given.tolist() == [1, 2, 3, 2]
    given += 1
    assert method.scores(torch.zeros(4)).tolist() == pytest.approx([0.5, 1, 1.5, 1])
    variables = torch.nn.Parameter(torch.ones(4))
    variables.grad = torch.tensor([0.0, 1.0, -1.0, 2.0])  # squares of mean 3/2
    method.after_backward_(variables, 1)
    wanted = [0.375, 0.75 + 0.25 * 2 / 3, 1.125 + 0.25 * 2 / 3, 0.75 + 0.25 * 8 / 3]
    assert method.scores(variables).tolist() == pytest.approx(wanted)
    assert variables.tolist() == [1] * 4  # not yet projected
    assert method.penalty(torch.ones(4), 0) is None


def test_a_channel_that_is_missed_comes_back():
    method = Taylor(torch.tensor([3.0, 2.0, 1.0]), best(2), 9, interval=1, memory=0.5)
    variables = torch.nn.Parameter(method.start())
    path = []
    for step, slopes in enumerate(([1.0, 1.0, 0.0], [0.0, 1.0, 9.0], [0.0, 1.0, 9.0])):
        variables.grad = torch.tensor(slopes)
        method.after_backward_(variables, step)
        path.append(variables.tolist())
    assert path[0] == [1, 1, 0]
    assert path[-1][2] == 1


def test_without_any_slope_scores_stay_numbers():
    method = Taylor(torch.zeros(3), best(1), 9)
    variables = torch.nn.Parameter(torch.ones(3))
    variables.grad = torch.zeros(3)
    method.after_backward_(variables, 0)
    assert method.scores(variables).tolist() == [0, 0, 0]


def test_a_state_that_is_put_back_goes_on_as_before():
    method = Taylor(torch.arange(9.0), best(4), 6, interval=2)
    train_under(method, PLAIN, 3)
    resumed = Taylor(torch.ones(9), best(4), 6, interval=2)
    for name, tensor in resumed.state.items():
        tensor.copy_(method.state[name])
    ends = []
    for each in (method, resumed):
        variables = torch.nn.Parameter(torch.ones(9))
        variables.grad = torch.linspace(-1, 1, 9)
        each.after_backward_(variables, 4)
        ends.append((variables.tolist(), each.scores(variables).tolist()))
    assert ends[0] == ends[1]


# A recipe's method


SMALL = [("data.size", 16), ("finetune.epochs", 0.5), ("finetune.batch_size", 64)]
OPTIONS = {  # by method; l1, l2, magnitude and others have none of these
    "auto": [("method.batches", 2)],
    "taylor": [("method.batches", 2), ("method.sparsify", 0.3)],
    **{name: [("method.sparsify", 0.3)] for name in ("maskconvnet", "network_slimming", "bar")},
}
NAMES = [AUTO, *(entry.name for entry in built_in())]


def recipe_of(*pairs):
    options = OPTIONS.get(dict(pairs).get("method.name", "auto"), [])
    return read_recipe(
        None, [*SMALL, *options, ("budget.flops", 0.5), ("budget.params", 0.6), *pairs]
    )


@pytest.fixture(scope="module")
def prepared():
    torch.manual_seed(0)
    return prepare(
        recipe_of(), build("cifar_resnet8", in_channels=1).eval(), load("digits", size=16)
    )


@pytest.fixture
def job(prepared):
    """A job whose network may be trained."""
    return replace(prepared, model=copy.deepcopy(prepared.model))


@pytest.mark.parametrize("name", NAMES)
def test_every_method_ends_inside_both_budgets(job, name):
    """By fvcore's count and the parameters of the network that the plan gives."""
    recipe = recipe_of(("method.name", name))
    training = training_of(recipe, job)
    stop = sparsify_steps(recipe, job, training)
    assert stop == (3 if ("method.sparsify", 0.3) in OPTIONS.get(name, []) else 0)
    method = choose_method(recipe, job, stop, resumed=False)
    network = Masked(job.model, job.graph, method.start(), method.gate)
    learner = make_learner(network, training, train_masks=method.trains_masks)
    fabric = make_engine("cpu", "32-true")
    train_(fabric, learner, copy.deepcopy(job.model), job.task, training, stop=stop, method=method)
    plan = target_plan(job, recipe, method.scores(network.variables))
    slim = prune(job.model, plan)
    counted = (
        count_flops(slim, (1, 16, 16)),
        sum(parameter.numel() for parameter in slim.parameters()),
    )
    dense = (
        count_flops(job.model, (1, 16, 16)),
        sum(parameter.numel() for parameter in job.model.parameters()),
    )
    assert counted[0] <= 0.5 * dense[0]
    assert counted[1] <= 0.6 * dense[1]
    assert counted[0] > 0.45 * dense[0] or counted[1] > 0.55 * dense[1]


def test_a_resumed_run_takes_no_scores_anew(job, monkeypatch):
    monkeypatch.setattr("slimmer.criteria.taylor.taylor_scores", None)
    method = choose_method(recipe_of(("method.name", "taylor")), job, 3, resumed=True)
    assert {name: tensor.numel() for name, tensor in method.state.items()} == {
        "scores": job.graph.units
    }


def test_fisher_ranks_within_groups_are_compared_by_what_cutting_a_group_does(job):
    """How far that is, is told group by group; the ranks inside a group stay."""
    told = []
    measured = recipe_of(("method.sensitivity", 2))
    method = choose_method(measured, job, 0, resumed=False, observe=told.append)
    groups = len(job.graph.groups)
    assert told == [{"event": "scores", "done": done, "groups": groups} for done in range(groups)]
    plain = choose_method(recipe_of(), job, 0, resumed=False, observe=told.append)
    assert len(told) == groups
    found, ranks = method.scores(None), plain.scores(None)
    assert not torch.allclose(found, ranks)
    for ours, theirs in zip(
        *(each.split([g.size for g in job.graph.groups]) for each in (found, ranks)), strict=True
    ):
        assert torch.equal(ours.argsort(), theirs.argsort(stable=True))


def test_magnitudes_say_which_channels_go_and_fisher_scores_how_many(job):
    sizes = [group.size for group in job.graph.groups]
    plain, dealt = (
        choose_method(recipe_of(("method.order", order)), job, 0, resumed=False)
        .scores(None)
        .split(sizes)
        for order in ("taylor", "magnitude")
    )
    for fisher, found, norms in zip(
        plain, dealt, magnitude_scores(job.model, job.graph).split(sizes), strict=True
    ):
        torch.testing.assert_close(
            found.sort().values, fisher.sort().values
        )  # gradients twice: not to the last bit
        assert torch.equal(found.argsort(stable=True), norms.argsort(stable=True))
    assert not all(map(torch.equal, plain, dealt))
    widths = [
        target_plan(job, recipe_of(), torch.cat([part.double() for part in scores])).widths
        for scores in (plain, dealt)
    ]
    assert widths[0] == widths[1]


def test_under_masks_the_scores_keep_their_order(job):
    methods = [
        choose_method(recipe_of(("method.order", order)), job, 3, resumed=False)
        for order in ("taylor", "magnitude")
    ]
    assert torch.equal(*(method.scores(None) for method in methods))


def test_scores_that_run_on_under_masks_are_not_compared(job):
    told = []
    method = choose_method(
        recipe_of(("method.sensitivity", 2)), job, 3, resumed=False, observe=told.append
    )
    plain = choose_method(recipe_of(), job, 3, resumed=False)
    assert told == []
    assert torch.equal(method.scores(None), plain.scores(None))


def test_taylors_masks_are_inside_the_budgets_of_the_moment(job):
    method = choose_method(recipe_of(("method.name", "taylor")), job, 3, resumed=False)
    sizes = [group.size for group in job.graph.groups]
    left = []
    for way in (0.0, 0.5, 1.0):
        mask = method._project(method.scores(None), way)
        widths = [int(part.sum()) for part in mask.split(sizes)]
        shares = [budget.cost.exact(widths) / budget.cost.dense for budget in job.budgets]
        assert all(
            share <= 1 - way * (1 - b.ratio) for share, b in zip(shares, job.budgets, strict=True)
        )
        left.append(int(mask.sum()))
    assert left[0] == job.graph.units > left[1] > left[2]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("lambda_m", [1.0, 2.0, 3.0]),
        ("lambda_v", [1.0, 2.0, 3.0]),
        ("lambda_m", []),
    ],
)
def test_multipliers_are_one_or_one_for_each_budget(key, values):
    with pytest.raises(RecipeError, match="the number of budgets is 2") as error:
        recipe_of(("method.name", "maskconvnet"), (f"method.{key}", values))
    assert f"method.{key} is {values}" in error.value.right


@pytest.mark.parametrize(("key", "values"), [("lambda_m", [-1.0]), ("lambda_v", [1.0, -0.5])])
def test_multipliers_are_not_below_zero(key, values):
    with pytest.raises(RecipeError, match="greater than or equal to 0") as error:
        recipe_of(("method.name", "maskconvnet"), (f"method.{key}", values))
    assert f"method.{key}.{len(values) - 1}: " in error.value.right


@pytest.mark.parametrize(("values", "both"), [([3.0], [3.0, 3.0]), ([3.0, 5.0], [3.0, 5.0])])
def test_each_budget_is_a_target_with_its_multipliers(job, values, both):
    pairs = [
        ("method.name", "maskconvnet"),
        ("method.lambda_m", values),
        ("method.lambda_v", [0.5]),
    ]
    recipe = recipe_of(*pairs, ("method.warmup", 0.1))
    method = choose_method(recipe, job, 12, resumed=False)
    assert [target.sparsity for target in method._targets] == pytest.approx([0.5, 0.4])
    assert [target.lambda_m for target in method._targets] == both
    assert [target.lambda_v for target in method._targets] == [0.5, 0.5]
    steps = len(job.task.data.train) // 64
    assert method._warmup == round(0.1 * steps)
    soft = torch.full((job.graph.units,), 0.01)
    assert [target.measure(soft) for target in method._targets] == pytest.approx([0, 0])


def test_a_warm_up_that_fills_the_masked_part_is_refused(job):
    recipe = recipe_of(
        ("method.name", "maskconvnet"), ("method.warmup", 0.14)
    )  # of 0.15 epochs: the same 3 steps
    with pytest.raises(RecipeError, match="the masks never move"):
        choose_method(recipe, job, 3, resumed=False)


def test_the_measured_sparsity_is_what_pruning_the_dead_channels_takes_away(job):
    method = choose_method(recipe_of(("method.name", "maskconvnet")), job, 3, resumed=False)
    plan = target_plan(
        job, recipe_of(), torch.rand(job.graph.units, generator=torch.Generator().manual_seed(0))
    )
    slim = prune(job.model, plan)
    params = [
        sum(parameter.numel() for parameter in network.parameters())
        for network in (slim, job.model)
    ]
    flops = [count_flops(network, (1, 16, 16)) for network in (slim, job.model)]
    measured = [target.measure(0.3 * hard_mask(plan)) for target in method._targets]
    assert measured == pytest.approx([1 - flops[0] / flops[1], 1 - params[0] / params[1]])
    assert plan != full_plan(job.graph)


@pytest.mark.parametrize("name", ["taylor", "maskconvnet", "network_slimming", "bar"])
def test_a_method_that_needs_data_says_so_without_any(prepared, name):
    with pytest.raises(RecipeError, match=f"{name} needs data"):
        choose_method(
            recipe_of(("method.name", name)), replace(prepared, task=None), 0, resumed=False
        )


@pytest.mark.parametrize("name", ["maskconvnet", "network_slimming", "bar"])
def test_masks_that_are_never_trained_are_refused(job, name):
    with pytest.raises(
        RecipeError, match=r"method.sparsify: the masks would not be trained.*found 0"
    ):
        recipe_of(("method.name", name), ("method.sparsify", 0))
    recipe = recipe_of(("method.name", name), ("finetune.epochs", 0))
    with pytest.raises(
        RecipeError, match=r"0.3 of 0 epochs is less than one step: nothing would be learnt"
    ):
        choose_method(
            recipe, job, sparsify_steps(recipe, job, training_of(recipe, job)), resumed=False
        )
    assert recipe_of(("method.name", "taylor"), ("method.sparsify", 0)).method.sparsify == 0


@pytest.mark.parametrize("name", ["network_slimming", "bar"])
def test_a_negative_strength_is_refused(name):
    with pytest.raises(
        RecipeError, match=r"method.strength: .*greater than or equal to 0.*found -1"
    ):
        recipe_of(("method.name", name), ("method.strength", -1.0))


@pytest.mark.parametrize(
    ("pairs", "rise"), [([], 0.0), ([("method.controller", "dual")], 4 / (12 - 2))]
)
def test_maskconvnets_options_reach_it(job, pairs, rise):
    chosen = [("method.forward", "hard"), ("method.pull", "cost"), ("method.warmup", 0.1)]
    method = choose_method(
        recipe_of(("method.name", "maskconvnet"), *chosen, *pairs), job, 12, resumed=False
    )
    assert method._rise == pytest.approx(rise)
    variables = torch.full((job.graph.units,), 0.3)
    assert set(method.gate(variables, training=True).tolist()) == {1.0}
    widths = torch.tensor([float(group.size) for group in job.graph.groups], requires_grad=True)
    (slope,) = torch.autograd.grad(job.budgets[0].cost.value(widths), widths)
    sizes = torch.tensor([group.size for group in job.graph.groups])
    found, wanted = (
        method._targets[0].price(torch.ones(job.graph.units)),
        slope.repeat_interleave(sizes),
    )
    assert torch.allclose(found / found.sum(), (wanted / wanted.sum()).float())


def test_bars_options_reach_it(job):
    chosen = [("method.gate_start", 1.5), ("method.strength", 2e-5), ("method.steepness", 4.0)]
    method = choose_method(recipe_of(("method.name", "bar"), *chosen), job, 12, resumed=False)
    assert set(method.start().tolist()) == {1.5}
    assert (method._steps, method._strength, method._steepness) == (12, pytest.approx(0.2), 4.0)
    assert [barrier.limit for barrier in method._barriers] == pytest.approx([0.5, 0.6], abs=1e-4)


def test_auto_is_taylor_with_data_and_magnitude_without(prepared):
    recipe, bare = recipe_of(), replace(prepared, task=None)
    assert recipe.method.name == "auto"
    assert (method_entry(recipe, prepared).name, method_entry(recipe, bare).name) == (
        "taylor",
        "magnitude",
    )
    assert method_entry(recipe_of(("method.name", "magnitude")), bare).name == "magnitude"
    training = training_of(recipe, bare)
    assert (training.epochs, sparsify_steps(recipe, bare, training)) == (0.0, 0)
    wanted = magnitude_scores(bare.model, bare.graph)
    scores = choose_method(recipe, bare, 0, resumed=False).scores(torch.zeros(0))
    assert torch.allclose(scores / scores.max(), wanted)


def test_the_share_under_masks_is_the_methods_own_unless_it_is_named(prepared):
    found = {}
    for name in ("taylor", "maskconvnet", "network_slimming", "bar", "magnitude"):
        for share in (None,) if name == "magnitude" else (None, 0.2):
            named = [] if share is None else [("method.sparsify", share)]
            pairs = [
                *SMALL,
                ("budget.flops", 0.5),
                ("finetune.epochs", 10),
                ("method.name", name),
                *named,
            ]
            recipe = read_recipe(None, pairs)
            found[name, share] = sparsify_steps(recipe, prepared, training_of(recipe, prepared))
    steps = 10 * (len(prepared.task.data.train) // 64)
    assert found == {
        ("taylor", None): 0,
        ("taylor", 0.2): steps / 5,
        ("maskconvnet", None): steps / 2,
        ("maskconvnet", 0.2): steps / 5,
        ("network_slimming", None): steps / 2,
        ("network_slimming", 0.2): steps / 5,
        ("bar", None): steps / 2,
        ("bar", 0.2): steps / 5,
        ("magnitude", None): 0,
    }


def test_training_images_are_the_first_batches_as_they_are(prepared):
    found = list(training_inputs(prepared.task, recipe_of(), 3))
    assert [tuple(images.shape) for images in found] == [(64, 1, 16, 16)] * 3
    again = list(training_inputs(prepared.task, recipe_of(), 100))
    assert len(again) == len(prepared.task.data.train) // 64
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=False))
