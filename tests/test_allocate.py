"""Allocation: inside every budget and close below the tightest, the best-scored units kept."""

import re

import pytest
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from slimmer.costs import Budget, Cost, flops_cost, params_cost
from slimmer.costs.flops import count_flops
from slimmer.errors import BudgetError
from slimmer.graph import build_graph
from slimmer.models import build
from slimmer.pruning.allocate import Limits, allocate, check_reachable, reachable
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import hard_mask

RATIOS = ((0.3, None), (0.5, None), (0.7, None), (None, 0.4), (0.5, 0.6), (0.3, 0.5), (0.6, 0.3))
_COSTS = {}


def costs(name):
    if name not in _COSTS:
        model, graph = zoo.traced(name)
        _COSTS[name] = (flops_cost(model, graph, zoo.size_of(name)), params_cost(model, graph))
    return _COSTS[name]


def budgets(name, ratios):
    pairs = zip(costs(name), ratios, strict=True)
    return [Budget(cost, ratio * cost.dense) for cost, ratio in pairs if ratio is not None]


def drawn(graph, seed=5):
    return torch.rand(graph.units, generator=torch.Generator().manual_seed(seed))


def inside(plan, limits):
    return all(budget.cost.exact(plan.widths) <= budget.limit for budget in limits)


def gap(plan, limits):
    """How far the plan lies below the tightest budget, as a share of dense."""
    return min(
        (budget.limit - budget.cost.exact(plan.widths)) / budget.cost.dense for budget in limits
    )


def by_group(values, graph):
    return dict(
        zip(
            (g.name for g in graph.groups),
            values.split([g.size for g in graph.groups]),
            strict=True,
        )
    )


def keeps_the_best(plan, scores, graph):
    parts = by_group(scores, graph)
    for group, kept in zip(graph.groups, plan.keep, strict=True):
        gone = sorted(set(range(group.size)).difference(kept))
        if gone and parts[group.name][gone].max() > parts[group.name][list(kept)].min():
            return False
    return True


@pytest.mark.parametrize("ratios", RATIOS)
def test_inside_every_budget_and_half_a_percent_below_the_tightest(architecture, ratios):
    _, graph = zoo.traced(architecture)
    scores, limits = drawn(graph), budgets(architecture, ratios)
    plan = allocate(scores, graph, limits)
    assert inside(plan, limits)
    assert gap(plan, limits) <= 0.005
    assert keeps_the_best(plan, scores, graph)


@pytest.mark.parametrize("name", zoo.PATTERNS)
@pytest.mark.parametrize("of", [(0,), (1,), (0, 1)])
def test_every_pattern_is_inside_budgets_half_way_to_the_least(name, of):
    model, graph = zoo.traced(name)
    if not graph.groups:
        pytest.skip("nothing to prune")
    chosen = [costs(name)[kind] for kind in of]
    limits = [
        Budget(cost, (cost.dense + cost.exact([1] * len(graph.groups))) / 2) for cost in chosen
    ]
    for seed in range(3):
        plan = allocate(drawn(graph, seed), graph, limits)
        assert inside(plan, limits)
        slim = prune(model, plan)
        counts = (
            count_flops(slim, zoo.size_of(name)),
            sum(parameter.numel() for parameter in slim.parameters()),
        )
        assert [budget.cost.exact(plan.widths) for budget in limits] == [
            counts[kind] for kind in of
        ]


def test_the_pruned_network_is_inside_by_fvcores_recount():
    model, graph = zoo.traced("cifar_resnet20")
    limits = budgets("cifar_resnet20", (0.5, 0.6))
    slim = prune(model, allocate(drawn(graph), graph, limits))
    assert count_flops(slim, (3, 32, 32)) <= limits[0].limit
    assert sum(parameter.numel() for parameter in slim.parameters()) <= limits[1].limit


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize("kind", ["zero", "equal", "negative", "one huge", "tiny"])
def test_odd_scores_are_met_too(kind, priced):
    _, graph = zoo.traced("cifar_resnet20")
    scores = {
        "zero": torch.zeros(graph.units),
        "equal": torch.full((graph.units,), 3.0),
        "negative": -drawn(graph),
        "one huge": drawn(graph).index_fill(0, torch.tensor([7]), 1e12),
        "tiny": drawn(graph) * 1e-30,
    }[kind]
    limits = budgets("cifar_resnet20", (0.5, 0.6))
    plan = allocate(scores, graph, limits, priced=priced)
    assert inside(plan, limits)
    assert gap(plan, limits) <= 0.005
    assert keeps_the_best(plan, scores, graph)


def test_the_same_scores_give_the_same_bytes():
    _, graph = zoo.traced("cifar_resnet20")
    limits = budgets("cifar_resnet20", (0.4, 0.5))
    for scores in (drawn(graph), torch.ones(graph.units)):
        assert (
            allocate(scores, graph, limits).to_json()
            == allocate(scores.clone(), graph, limits).to_json()
        )


def test_scores_decide_what_stays():
    """Channels that are worth nothing go first, and the others stay whole where that is enough."""
    _, graph = zoo.traced("Chain")
    cost = params_cost(zoo.traced("Chain")[0], graph)
    scores = torch.cat([torch.full((4,), 1.0), torch.tensor([0.0, 5.0, 0.0, 5.0, 5.0])])
    limit = Budget(cost, cost.exact([4, 3]))
    assert allocate(scores, graph, [limit]).keep == ((0, 1, 2, 3), (1, 3, 4))


def test_a_price_keeps_more_score_inside_the_same_budget(architecture):
    _, graph = zoo.traced(architecture)
    scores, limits = drawn(graph), budgets(architecture, (0.5, None))
    kept = {
        priced: float(scores @ hard_mask(allocate(scores, graph, limits, priced=priced)))
        for priced in (True, False)
    }
    assert kept[True] > kept[False]


def test_a_guide_prices_units_while_they_are_removed():
    """Scores inside the blocks are equal: units go from stage 1 by FLOPs (32 x 32 pixels), from
    stage 3 by parameters (64 channels).
    """
    _, graph = zoo.traced("cifar_resnet20")
    flops, params = costs("cifar_resnet20")
    inner = torch.tensor([group.name.endswith(".conv1") for group in graph.groups])
    scores = torch.where(inner, 1.0, 100.0).repeat_interleave(torch.tensor(graph.widths))
    budget = Budget(flops, 0.7 * flops.dense)
    by_flops = allocate(scores, graph, [budget])
    by_params = allocate(scores, graph, [budget], guide=params)
    for plan in (by_flops, by_params):
        assert flops.exact(plan.widths) <= budget.limit
    assert params.exact(by_params.widths) < params.exact(by_flops.widths)
    unpriced = [allocate(scores, graph, [budget], priced=False, guide=g) for g in (None, params)]
    assert unpriced[0] == unpriced[1]


def test_a_budget_of_all_that_there_is_removes_nothing():
    _, graph = zoo.traced("Chain")
    plan = allocate(drawn(graph), graph, budgets("Chain", (1.0, 1.0)))
    assert plan.widths == [group.size for group in graph.groups]


def test_budgets_that_cannot_be_met_name_the_range_of_each():
    _, graph = zoo.traced("cifar_resnet20")
    limits = budgets("cifar_resnet20", (0.5, 0.001))
    ranges = [reachable(cost, graph) for cost in costs("cifar_resnet20")]
    assert ranges[0][1] == 40_931_968
    with pytest.raises(BudgetError) as caught:
        allocate(drawn(graph), graph, limits)
    message = str(caught.value)
    for (least, most), name in zip(ranges, ("flops", "params"), strict=True):
        assert f"{name} {least:,} to {most:,}" in message
    assert re.search(r"params at most \d+ \(0\.1% of dense\)", message)


def test_the_least_that_is_reachable_is_reached():
    _, graph = zoo.traced("cifar_resnet20")
    cost = costs("cifar_resnet20")[0]
    least, _ = reachable(cost, graph)
    assert allocate(drawn(graph), graph, [Budget(cost, least)]).widths == [1] * len(graph.groups)
    with pytest.raises(BudgetError):
        check_reachable([Budget(cost, least - 1)], graph)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_senseless_budgets_are_refused(limit):
    _, graph = zoo.traced("Chain")
    with pytest.raises(BudgetError):
        allocate(drawn(graph), graph, [Budget(costs("Chain")[0], limit)])


def limits_of(graph, least, round_to=1):
    return Limits(round_to, floors={group.name: least for group in graph.groups})


@pytest.mark.parametrize(
    ("least", "round_to", "name"),
    [(5, 1, "cifar_resnet20"), (1, 4, "cifar_resnet20"), (3, 8, "resnet18"), (20, 16, "resnet18")],
)
def test_floors_and_multiples_hold_inside_the_budget(least, round_to, name):
    _, graph = zoo.traced(name)
    limits = limits_of(graph, least, round_to)
    bounds = budgets(name, (0.5, 0.6))
    plan = allocate(drawn(graph), graph, bounds, limits)
    assert inside(plan, bounds)
    assert gap(plan, bounds) < 0.02
    for group, width in zip(graph.groups, plan.widths, strict=True):
        assert width == group.size or width % limits.round_to == 0
        assert width >= min(group.size, least)


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18"])
def test_unasked_wide_groups_have_multiples_of_8_and_no_budget_is_out_of_reach(name):
    _, graph = zoo.traced(name)
    bounds = budgets(name, (0.5, 0.6))
    plan = allocate(drawn(graph), graph, bounds, Limits(None))
    assert inside(plan, bounds)
    assert gap(plan, bounds) < 0.01
    pruned = [
        (group.size, width)
        for group, width in zip(graph.groups, plan.widths, strict=True)
        if width < group.size
    ]
    assert all(width % 8 == 0 for size, width in pruned if size >= 64)
    assert any(width % 8 for size, width in pruned) == (name == "cifar_resnet20")
    assert [reachable(bound.cost, graph, Limits(None)) for bound in bounds] == [
        reachable(bound.cost, graph) for bound in bounds
    ]
    least = [Budget(bounds[0].cost, reachable(bounds[0].cost, graph)[0])]
    assert inside(allocate(drawn(graph), graph, least, Limits(None)), least)


def test_a_floor_of_one_group_holds_inside_the_budget():
    _, graph = zoo.traced("cifar_resnet20")
    bounds = budgets("cifar_resnet20", (0.5, 0.6))
    free = allocate(drawn(graph), graph, bounds)
    cut = min(
        range(len(free.widths)), key=lambda index: free.widths[index] / graph.groups[index].size
    )
    held = graph.groups[cut]
    plan = allocate(drawn(graph), graph, bounds, Limits(floors={held.name: held.size}))
    assert free.widths[cut] < held.size
    assert plan.widths[cut] == held.size
    assert inside(plan, bounds)
    assert gap(plan, bounds) < 0.005


def even_cut(graph, bounds):
    """The widths of the least cut that takes the same share of every group and meets the
    budgets.
    """
    for thousandth in range(1000, 0, -1):
        widths = [max(1, int(thousandth / 1000 * group.size)) for group in graph.groups]
        if all(bound.cost.exact(widths) <= bound.limit for bound in bounds):
            return widths
    raise AssertionError("no even cut meets the budgets")


@pytest.mark.parametrize("ratios", [(0.5, None), (0.2, None), (0.3, 0.5)])
def test_no_group_falls_far_below_an_even_cut(ratios):
    """Scores that would empty every second group."""
    _, graph = zoo.traced("cifar_resnet20")
    bounds = budgets("cifar_resnet20", ratios)
    parts = [
        torch.full((group.size,), 1e-6 if number % 2 else 1.0)
        for number, group in enumerate(graph.groups)
    ]
    free = allocate(torch.cat(parts), graph, bounds).widths
    held = allocate(torch.cat(parts), graph, bounds, Limits(even=0.5))
    least = [width // 2 for width in even_cut(graph, bounds)]
    assert any(width < floor for width, floor in zip(free, least, strict=True))
    assert all(width >= floor for width, floor in zip(held.widths, least, strict=True))
    assert inside(held, bounds)
    assert gap(held, bounds) < 0.005


def stream_widths(plan, graph):
    return [
        (width, group.size)
        for width, group in zip(plan.widths, graph.groups, strict=True)
        if group.name in graph.streams
    ]


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18"])
def test_streams_stay_where_the_budget_lets_them(name):
    """Though their scores are the least."""
    _, graph = zoo.traced(name)
    scores = torch.cat(
        [torch.full((g.size,), 1e-6 if g.name in graph.streams else 1.0) for g in graph.groups]
    )
    limits = budgets(name, (0.7, None))
    free, held = (allocate(scores, graph, limits, Limits(stream=share)) for share in (0.0, 1.0))
    assert any(width < size for width, size in stream_widths(free, graph))
    assert all(width == size for width, size in stream_widths(held, graph))
    assert inside(held, limits)


@pytest.mark.parametrize("ratios", [(0.1, None), (None, 0.1), (0.1, 0.2)])
def test_streams_are_cut_where_the_others_would_fall_below_half_of_the_even_cut(ratios):
    _, graph = zoo.traced("cifar_resnet20")
    limits = budgets("cifar_resnet20", ratios)
    plan = allocate(drawn(graph), graph, limits, Limits(stream=1.0, even=1.0))
    even = dict(zip([group.name for group in graph.groups], even_cut(graph, limits), strict=True))
    widths = dict(zip([group.name for group in graph.groups], plan.widths, strict=True))
    assert all(even[name] < widths[name] < graph.group(name).size for name in graph.streams)
    assert all(widths[name] >= even[name] // 2 for name in even)
    assert inside(plan, limits)
    assert gap(plan, limits) < 0.005


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18", "Identity"])
def test_streams_give_way_to_the_least_budget_that_there_is(name):
    _, graph = zoo.traced(name)
    cost = costs(name)[0]
    least, _ = reachable(cost, graph)
    plan = allocate(drawn(graph), graph, [Budget(cost, least)], Limits(stream=1.0, even=1.0))
    assert cost.exact(plan.widths) == least


def test_streams_give_way_to_a_tighter_plan():
    """With multiples of 8 in so small a network, whole streams would leave more than a percent of
    the FLOPs unused.
    """
    model = build("cifar_resnet8").eval()
    graph = build_graph(model, (3, 32, 32))
    cost = flops_cost(model, graph, (3, 32, 32))
    limits = [Budget(cost, 0.5 * cost.dense)]
    free, held = (
        allocate(drawn(graph), graph, limits, Limits(round_to=8, stream=share))
        for share in (0.0, 1.0)
    )
    assert gap(free, limits) < 0.005
    assert held.widths == free.widths


def test_streams_keep_multiples():
    _, graph = zoo.traced("resnet18")
    limits = budgets("resnet18", (0.3, None))
    plan = allocate(drawn(graph), graph, limits, Limits(round_to=8, stream=0.7))
    assert all(width % 8 == 0 and 0.5 * size < width for width, size in stream_widths(plan, graph))


def test_wholly_even_is_the_even_cut():
    _, graph = zoo.traced("resnet18")
    bounds = budgets("resnet18", (0.5, None))
    plan = allocate(drawn(graph), graph, bounds, Limits(even=1.0))
    cut = even_cut(graph, bounds)
    assert all(width >= even for width, even in zip(plan.widths, cut, strict=True))
    assert sum(plan.widths) - sum(cut) < 0.02 * sum(cut)


def test_a_gap_that_no_single_trade_closes():
    """All but one group are whole, and one unit more of that one costs more than any other unit."""
    _, graph = zoo.traced("cifar_resnet20")
    bounds = budgets("cifar_resnet20", (0.7, None))
    stream = graph.groups[0]
    scores = torch.cat([torch.zeros(stream.size), torch.ones(graph.units - stream.size)])
    plan = allocate(scores, graph, bounds, priced=False)
    assert inside(plan, bounds)
    assert gap(plan, bounds) < 0.005


def test_a_floor_narrows_what_is_reachable():
    _, graph = zoo.traced("resnet18")
    cost = costs("resnet18")[1]
    least = [
        reachable(cost, graph, limits_of(graph, *sizes))[0]
        for sizes in ((1,), (5,), (5, 8), (17, 16))
    ]
    assert least == sorted(least)
    assert len(set(least)) == 4
    with pytest.raises(BudgetError, match=re.escape(f"{least[2]:,} to {cost.dense:,}")):
        allocate(drawn(graph), graph, [Budget(cost, least[2] - 1)], limits_of(graph, 5, 8))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.sampled_from(["Chain", "Identity", "OptionA", "Concatenation", "SqueezeExcite", "Grouped"]),
    st.data(),
)
def test_any_scores_any_budgets(name, data):
    _, graph = zoo.traced(name)
    number = st.floats(-1e6, 1e6, allow_nan=False, width=32)
    scores = torch.tensor(data.draw(st.lists(number, min_size=graph.units, max_size=graph.units)))
    ratios = data.draw(st.tuples(st.floats(0.2, 1.0), st.floats(0.2, 1.0)))
    limits = budgets(name, ratios)
    least, round_to = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    sizes = limits_of(graph, least, round_to)
    try:
        plan = allocate(scores, graph, limits, sizes)
    except BudgetError:
        floors = [reachable(budget.cost, graph, sizes)[0] for budget in limits]
        assert any(floor > budget.limit for floor, budget in zip(floors, limits, strict=True))
        return
    assert inside(plan, limits)
    assert keeps_the_best(plan, scores, graph)
    for group, width in zip(graph.groups, plan.widths, strict=True):
        assert width == group.size or (width % round_to == 0 and width >= least)
        # nothing more fits: one step wider breaks a budget
        step = width - width % round_to + round_to
        wider = [
            min(step, group.size) if other is group else kept
            for other, kept in zip(graph.groups, plan.widths, strict=True)
        ]
        assert width == group.size or any(
            budget.cost.exact(wider) > budget.limit for budget in limits
        )


class Memory(Cost):
    """The largest two groups' widths added up: no sum of products, and flat in all other groups."""

    name = "memory"

    def __init__(self, graph):
        self.dense = sum(sorted(group.size for group in graph.groups)[-2:])

    def value(self, widths):
        return widths.topk(2).values.sum()


class Steps(Cost):
    """A table: what each group costs at its width, in steps of four units; its slope is 0 nearly
    everywhere.
    """

    name = "steps"

    def __init__(self, graph):
        self.sizes = [group.size for group in graph.groups]
        self.dense = sum(self.paid(size) for size in self.sizes)

    def paid(self, width):
        return 10 * -(-int(width) // 4)

    def value(self, widths):
        return torch.tensor(float(sum(map(self.paid, widths.tolist()))), dtype=torch.float64)

    def marginal(self, widths):
        return (
            torch.tensor([self.paid(width + 4) - self.paid(width) for width in widths.tolist()]) / 4
        )


@pytest.mark.parametrize("kind", [Memory, Steps])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_any_cost_of_the_protocol_can_be_a_budget_alone_and_beside_another(kind, share):
    graph, scores = zoo.traced("cifar_resnet20")[1], drawn(zoo.traced("cifar_resnet20")[1])
    cost = kind(graph)
    alone = allocate(scores, graph, [Budget(cost, share * cost.dense)])
    assert cost.exact(alone.widths) <= share * cost.dense
    wider = [
        min(width + 1, group.size) for width, group in zip(alone.widths, graph.groups, strict=True)
    ]
    assert cost.exact(wider) > share * cost.dense or wider == alone.widths  # nothing is given away
    flops = costs("cifar_resnet20")[0]
    both = allocate(
        scores, graph, [Budget(cost, share * cost.dense), Budget(flops, 0.4 * flops.dense)]
    )
    assert cost.exact(both.widths) <= share * cost.dense
    assert flops.exact(both.widths) <= 0.4 * flops.dense


def test_groups_that_a_cost_does_not_charge_for_stay_whole():
    graph = zoo.traced("cifar_resnet20")[1]
    cost = Memory(graph)
    plan = allocate(drawn(graph), graph, [Budget(cost, 0.75 * cost.dense)])
    free = 0.375 * cost.dense  # what each of the two largest may have, where they are alike
    assert all(
        width == group.size
        for width, group in zip(plan.widths, graph.groups, strict=True)
        if group.size < free
    )


def test_the_closed_form_on_arrays_is_the_one_on_tensors():
    widths = torch.tensor(
        [float(group.size // 2 + 1) for group in zoo.traced("cifar_resnet20")[1].groups]
    ).double()
    for cost in costs("cifar_resnet20"):
        arrays = cost.arrays()
        assert (
            arrays.value(widths.numpy())
            == float(cost.value(widths))
            == cost.exact(widths.int().tolist())
        )
        assert arrays.marginal(widths.numpy()).tolist() == cost.marginal(widths).tolist()
