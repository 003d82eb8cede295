"""Pruning twice is pruning once with the composed plan, in memory, in files and from the command
line.
"""

import random
from contextlib import chdir

import hypothesis.strategies as st
import pytest
import torch
import zoo
from hypothesis import given, settings
from main_job import slimmer as command

import slimmer
from slimmer.errors import ModelError
from slimmer.graph import build_graph
from slimmer.models import build
from slimmer.models.checkpoint import read_metadata
from slimmer.pruning.apply import prune
from slimmer.pruning.composed_plan import compose
from slimmer.pruning.plan import Plan, full_plan, make_plan
from slimmer.pruning.self_check import probe
from slimmer.pruning.slim_file import Identity, load_network, save_network


def any_plan(graph, seed):
    """A plan that keeps some units of every group."""
    dice = random.Random(seed)
    sizes = {group.name: group.size for group in graph.groups}
    return make_plan(
        graph,
        {name: dice.sample(range(size), dice.randint(1, size)) for name, size in sizes.items()},
    )


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def twice(model, inputs, seed):
    """The network pruned twice, and the two plans."""
    first = any_plan(build_graph(model, inputs), seed)
    slim = prune(model, first)
    second = any_plan(build_graph(slim, inputs), seed + 1)
    return prune(slim, second), first, second


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000))
@pytest.mark.parametrize(
    "name", ["cifar_resnet8", "cifar_resnet8_b", "cifar_preresnet20", "cifar_wrn10_1"]
)
def test_pruning_twice_is_pruning_once_with_the_composed_plan(name, seed):
    model = build(name, num_classes=3, in_channels=1).eval()
    slim, first, second = twice(model, (1, 16, 16), seed)
    composed = compose(first, second)
    again = prune(model, composed)
    assert same(again, slim)
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(images), slim(images))
    assert Plan.from_json(composed.to_json()) == composed


def test_every_pattern_of_the_zoo_composes(pattern):
    _, graph = zoo.traced(pattern)
    model, size = zoo.make(pattern), zoo.size_of(pattern)
    first = zoo.random_plans(graph, 1)[0]
    slim = prune(model, first)
    left = probe(slim, build_graph(slim, size), size)
    for second in zoo.random_plans(left, 2):
        assert same(prune(model, compose(first, second)), prune(slim, second))


def test_composed_groups_are_the_first_plans_own():
    """Of a plain network nothing is doubled: the composed plan names the same groups, narrower."""
    model = build("cifar_resnet8").eval()
    _, first, second = twice(model, (3, 32, 32), 0)
    composed = compose(first, second)
    assert composed.groups == first.groups
    assert composed.widths == second.widths


def test_the_full_plan_changes_nothing_on_either_side():
    graph = build_graph(build("cifar_resnet8").eval(), (3, 32, 32))
    plan = any_plan(graph, 3)
    slim = build_graph(prune(build("cifar_resnet8").eval(), plan), (3, 32, 32))
    assert compose(plan, full_plan(slim)) == plan
    assert compose(full_plan(graph), plan) == plan


def test_a_file_that_was_pruned_twice_loads_from_the_unpruned_architecture(tmp_path):
    model = build("cifar_resnet8", num_classes=3, in_channels=1).eval()
    slim, first, second = twice(model, (1, 16, 16), 5)
    identity = Identity("cifar_resnet8", 3, (1, 16, 16), first)
    save_network(tmp_path / "dense.safetensors", prune(model, first), identity, None, {})
    save_network(tmp_path / "slim.safetensors", slim, identity, second, {})
    assert same(load_network(tmp_path / "dense.safetensors"), prune(model, first))
    assert same(load_network(tmp_path / "slim.safetensors"), slim)


def test_a_pruned_network_is_not_rewritten(tmp_path):
    model = build("cifar_resnet8").eval()
    _, first, second = twice(model, (3, 32, 32), 5)
    with pytest.raises(
        ModelError, match="the network was pruned before and can't be rewritten now"
    ):
        Identity("cifar_resnet8", 10, (3, 32, 32), first).after(second, rewritten=True)


@pytest.mark.parametrize("what", ["run", "file"])
def test_a_run_is_pruned_on_from_the_command_line(main_job, tmp_path, what):
    """Also inspected, exported and loaded; its FLOPs go on from those that the first run left."""
    target = main_job.run.path if what == "run" else main_job.run.slim
    first = main_job.run.read_report()
    with chdir(tmp_path):
        pruned = command(
            "prune", target, "--flops", "0.6", "--epochs", "0", "--out", "again", "--json"
        )
        assert pruned.exit_code == 0, pruned.output
        seen = command("inspect", target)
        assert seen.exit_code == 0, seen.output
        assert "guess" not in seen.output
        exported = command("export", "again")
        assert exported.exit_code == 0, exported.output
    report = slimmer.inspect(tmp_path / "again")
    assert slimmer.inspect(target)["flops"]["dense"] == first["flops"]["slim"]
    assert report["flops"]["dense"] <= 0.6 * first["flops"]["slim"]
    again = slimmer.load(tmp_path / "again")
    plan = Plan.from_json(read_metadata(tmp_path / "again" / "slim.safetensors")["plan"])
    names = [name for name, _ in build("cifar_resnet8", in_channels=1).named_parameters()]
    assert [name for name, _ in again.named_parameters()] == names
    assert len(plan.groups) == len(Plan.from_json(main_job.run.plan.read_text()).groups)


def test_a_slim_module_is_pruned_on_in_python():
    dense = build("cifar_resnet8", in_channels=1)
    one = slimmer.prune(dense, flops=0.6, input_size=(1, 16, 16))
    two = slimmer.prune(one.model, flops=0.6, input_size=(1, 16, 16))
    assert two.report["flops"]["dense"] == one.report["flops"]["slim"]
    both = prune(dense, compose(one.plan, two.plan))
    assert [each.shape for each in both.parameters()] == [
        each.shape for each in two.model.parameters()
    ]
