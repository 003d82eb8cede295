"""Random chains of patterns: the slim network is the masked one, and costs what was said."""

import random

import pytest
import torch
import zoo
import zoo_generated
from fvcore.nn import parameter_count
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimmer.costs import flops_cost, params_cost
from slimmer.costs.flops import count_flops
from slimmer.graph import build_graph, tensors_in
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import Masked, hard_mask

NUMBER = st.integers(0, 5)
ROWS = st.lists(
    st.tuples(st.sampled_from(zoo_generated.BLOCKS), NUMBER, NUMBER, NUMBER), min_size=1, max_size=5
)
QUIET = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def check(rows, flat, asked=False):
    """Two random plans of one network: outputs in double precision, FLOPs and parameters to the
    unit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = zoo_generated.Generated(rows, flat, asked).double().eval()
        given = [torch.randn(2, *zoo_generated.SIZE, dtype=torch.float64)]
        given += [torch.randn(2, zoo_generated.ASKED, dtype=torch.float64)] if asked else []
    inputs = tuple(given) if asked else zoo_generated.SIZE
    graph = build_graph(model, inputs)
    flops, params = flops_cost(model, graph, inputs), params_cost(model, graph)
    assert flops.dense == count_flops(model, inputs)
    for plan in zoo.random_plans(graph, 2):
        slim = prune(model, plan)
        with torch.no_grad():
            masked = Masked(model, graph, hard_mask(plan, torch.float64))
            pairs = zip(tensors_in(slim(*given)), tensors_in(masked(*given)), strict=True)
        for got, wanted in pairs:
            assert got.shape == wanted.shape
            assert (got - wanted).abs().max() <= 1e-10 * wanted.abs().max().clamp_min(1)
        assert params.exact(plan.widths) == parameter_count(slim)[""]
    assert flops.exact(plan.widths) == count_flops(slim, inputs)
    return graph


@settings(max_examples=40, **QUIET)
@given(rows=ROWS, flat=st.booleans(), asked=st.booleans())
def test_random_networks_are_pruned_right(rows, flat, asked):
    check(rows, flat, asked)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=500, **QUIET)
@given(rows=ROWS, flat=st.booleans(), asked=st.booleans())
def test_five_hundred_random_networks_are_pruned_right(rows, flat, asked):
    check(rows, flat, asked)


@pytest.mark.parametrize("kind", zoo_generated.BLOCKS)
def test_every_block_is_right_between_convolutions(kind):
    numbers = random.Random(kind.__name__)
    conv = (zoo_generated.Conv, 4, 1, 5)
    for _ in range(2):
        graph = check([conv, (kind, *(numbers.randint(0, 5) for _ in range(3))), conv], flat=False)
        assert any(group.size > 1 for group in graph.groups)
