"""Whatever an optimizer of PyTorch's remembers goes on after a stop, and goes along when channels
go.
"""

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn.functional import cross_entropy

from slimmer.costs.params import params_cost
from slimmer.graph import build_graph
from slimmer.pruning.apply import prune
from slimmer.pruning.plan import make_plan
from slimmer.training.optimizer_state import restore_, sliced_state, state_of

MAKE = {
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam with amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "Adadelta": torch.optim.Adadelta,
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.01),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
}


def net():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers, nn.Linear(5 * 16, 3))


def step(network, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((4, 1, 8, 8), generator=generator)
    optimizer.zero_grad()
    cross_entropy(network(images), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()


def groups(network):
    """Two parameter groups that are not in the order of the names."""
    parameters = list(network.parameters())
    return [{"params": parameters[1::2]}, {"params": parameters[::2], "lr": 0.02}]


@pytest.mark.parametrize("name", MAKE)
def test_a_run_in_two_parts_is_a_run_in_one(name):
    whole = net()
    optimizer = MAKE[name](groups(whole))
    for seed in range(3):
        step(whole, optimizer, seed)
    state = load(
        save({key: each.clone() for key, each in state_of(optimizer, whole).items()})
    )  # through a file
    second = copy.deepcopy(whole)
    again = MAKE[name](groups(second))
    restore_(again, second, state)
    for seed in range(3, 6):
        step(whole, optimizer, seed)
        step(second, again, seed)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True)
    )
    if name != "SGD":  # which remembers nothing: without its state a run goes elsewhere
        assert state


@pytest.mark.parametrize("name", [name for name in MAKE if name != "Adafactor"])
def test_state_goes_with_its_channels(name):
    network = net()
    graph = build_graph(network, (1, 8, 8))
    assert params_cost(network, graph).dense
    optimizer = MAKE[name](groups(network))
    step(network, optimizer, 0)
    by_name = {group.name: group for group in graph.groups}
    plan = make_plan(graph, {next(iter(by_name)): [0, 2, 5]})
    slim = prune(network, plan)
    after = MAKE[name](groups(slim))
    restore_(after, slim, sliced_state(optimizer, network, plan))
    keep = torch.tensor([0, 2, 5])
    for before, now, dim in (
        (network[0].weight, slim[0].weight, 0),
        (network[3].weight, slim[3].weight, 1),
    ):
        for key, value in optimizer.state[before].items():
            same = after.state[now][key]
            if isinstance(value, torch.Tensor) and value.dim():
                assert torch.equal(same, value.index_select(dim, keep))
            else:
                assert same == value
    step(slim, after, 1)  # and it goes on


def test_a_state_that_can_not_be_sliced_begins_anew():
    network = net()
    graph = build_graph(network, (1, 8, 8))
    optimizer = MAKE["Adafactor"](groups(network))
    step(network, optimizer, 0)
    plan = make_plan(graph, {graph.groups[0].name: [0, 2, 5]})
    kept = sliced_state(optimizer, network, plan)
    assert {place.partition(".")[2] for place in kept}.isdisjoint(
        {"0.weight", "3.weight", "6.weight"}
    )
    slim = prune(network, plan)
    after = MAKE["Adafactor"](groups(slim))
    restore_(after, slim, kept)
    step(slim, after, 1)


def test_an_optimizer_that_remembers_something_else_is_refused():
    network = net()
    optimizer = MAKE["SGD"](groups(network))
    optimizer.state[network[0].weight]["history"] = [torch.zeros(1)]
    with pytest.raises(TypeError, match=r"SGD keeps a list as history of 0\.weight"):
        state_of(optimizer, network)
