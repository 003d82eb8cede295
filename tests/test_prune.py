"""Cutting: what is left computes what the mask computes, and nothing else has changed."""

import copy
import itertools

import pytest
import torch
import zoo
from torch import nn
from zoo.counted import Columns

from slimmer.graph import build_graph
from slimmer.models.channel_pad import ChannelPad
from slimmer.pruning.apply import prune, slice_tensors
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import full_plan, make_plan
from slimmer.pruning.self_check import probe


def off(name, plans, dtype):
    """The largest difference between masked and pruned outputs, as a share of the output's
    scale.
    """
    model, graph = zoo.traced(name)
    model = model if dtype == torch.float64 else zoo.make(name, dtype)
    image = zoo.images(name, dtype=dtype)
    worst, changed = 0.0, False
    with torch.no_grad():
        dense = zoo.outputs(model(image))
        for plan in plans:
            wanted = zoo.outputs(Masked(model, graph, hard_mask(plan, dtype))(image))
            got = zoo.outputs(prune(model, plan)(image))
            worst = max(worst, float((got - wanted).abs().max() / wanted.abs().max()))
            changed = changed or not torch.equal(wanted, dense)
    return worst, changed


def test_masked_equals_pruned(pattern):
    _, graph = zoo.traced(pattern)
    worst, changed = off(pattern, zoo.random_plans(graph, 100), torch.float64)
    assert changed  # or the masks did nothing
    assert worst < 1e-10


def test_masked_equals_pruned_in_single_precision(pattern):
    _, graph = zoo.traced(pattern)
    worst, _ = off(pattern, zoo.random_plans(graph, 100), torch.float32)
    assert worst < 1e-5


def test_masked_equals_pruned_on_architectures(architecture):
    _, graph = zoo.traced(architecture)
    worst, changed = off(architecture, zoo.random_plans(graph, 3), torch.float64)
    assert changed
    assert worst < 1e-10


def test_masked_equals_pruned_on_architectures_in_single_precision(architecture):
    _, graph = zoo.traced(architecture)
    worst, _ = off(architecture, zoo.random_plans(graph, 1), torch.float32)
    assert worst < 1e-5


def test_masked_equals_pruned_in_train_mode():
    model, graph = zoo.traced("PreActivation")
    for plan in zoo.random_plans(graph, 10):
        masked = Masked(copy.deepcopy(model).train(), graph, hard_mask(plan, torch.float64))
        slim = prune(model, plan).train()
        for step in range(2):
            image = zoo.images("PreActivation") + step
            wanted, got = masked(image), slim(image)
            assert (got - wanted).abs().max() < 1e-10 * wanted.abs().max()
        # the statistics that training has moved are the masked ones, cut
        kept = slice_tensors(dict(masked.model.named_buffers()), plan)
        for name, buffer in slim.named_buffers():
            assert torch.allclose(buffer.double(), kept[name].double(), rtol=1e-10, atol=1e-12), (
                name
            )


def test_the_full_plan_is_the_identity(network):
    model, graph = zoo.traced(network)
    same = prune(model, full_plan(graph))
    assert same is not model
    assert repr(same) == repr(model)
    assert list(same.state_dict()) == list(model.state_dict())
    for name, tensor in same.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def record(model):
    attributes = {
        name: {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, (int, str, tuple, bool))
        }
        for name, module in model.named_modules()
    }
    tensors = {
        name: (id(tensor), tensor.detach().numpy().tobytes(), tensor.requires_grad)
        for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers())
    }
    return attributes, tensors


def test_the_input_is_left_untouched(pattern):
    model, graph = zoo.traced(pattern)
    model = copy.deepcopy(model).train()
    before = record(model)
    for plan in zoo.random_plans(graph, 100):
        for parameter in prune(model, plan).parameters():
            parameter.data.fill_(7)
    assert record(model) == before


def test_attributes_of_slim_modules_are_true(network):
    model, graph = zoo.traced(network)
    plans = zoo.random_plans(graph, 100 if network in zoo.PATTERNS else 1)
    assert (
        sum(true_attributes(prune(model, plan), zoo.images(network)) for plan in plans)
        or network == "Functional"
    )


def true_attributes(slim, images):
    """How many modules say of themselves what they take and make; those that say otherwise fail."""
    widths = {}

    def look(module, args, result):
        widths[module] = (args[0].shape[1], result.shape[1])
        if isinstance(module, nn.Linear):
            widths[module] = (args[0].shape[-1], result.shape[-1])

    for module in slim.modules():
        module.register_forward_hook(look if not list(module.children()) else lambda *_: None)
    slim(images)
    return sum(says_truly(module, *counts) for module, counts in widths.items())


def says_truly(module, entering, leaving):
    """Whether a module says how many channels it has; that they are those."""
    match module:
        case nn.modules.conv._ConvNd():
            shape = (
                (entering, leaving // module.groups)
                if module.transposed
                else (leaving, entering // module.groups)
            )
            assert (module.in_channels, module.out_channels) == (entering, leaving)
            assert module.weight.shape[:2] == shape
        case nn.Linear():
            assert (module.in_features, module.out_features) == (entering, leaving)
            assert module.weight.shape == (leaving, entering)
        case nn.modules.batchnorm._NormBase():
            assert module.num_features == entering
        case nn.GroupNorm():
            assert (module.num_channels, entering % module.num_groups) == (entering, 0)
        case nn.LayerNorm() if module.elementwise_affine:
            assert module.weight.shape == module.normalized_shape
        case nn.PReLU():
            assert module.num_parameters == module.weight.numel()
        case ChannelPad():
            assert module.before + entering + module.after == leaving
        case _:
            return False
    return True


def test_depthwise_and_grouped_convolutions_know_their_groups():
    for name, layer, units in (
        ("Depthwise", "depthwise", 4),
        ("DepthwiseMultiplier", "depthwise", 3),
    ):
        model, graph = zoo.traced(name)
        slim = prune(model, make_plan(graph, {"stem": [0, 2]}))
        assert slim.get_submodule(layer).groups == 2 < units
    model, graph = zoo.traced("Grouped")
    slim = prune(model, make_plan(graph, {"stem": [1]}))
    assert (slim.grouped.groups, slim.grouped.in_channels, slim.grouped.out_channels) == (1, 2, 3)
    assert torch.equal(slim.grouped.weight, model.grouped.weight[3:])


def test_kept_channels_keep_their_numbers():
    model, graph = zoo.traced("Concatenation")
    slim = prune(model, make_plan(graph, {"stem": [2], "conv1": [0, 3]}))
    assert torch.equal(slim.stem.weight, model.stem.weight[[2]])
    assert torch.equal(slim.conv1.weight, model.conv1.weight[[0, 3]][:, [2]])
    assert torch.equal(slim.bn.running_var, model.bn.running_var[[2, 3, 6]])
    assert torch.equal(slim.conv2.weight, model.conv2.weight[:, [2, 3, 6]])


def test_sliced_tensors_are_those_of_the_slim_model(network):
    model, graph = zoo.traced(network)
    for plan in zoo.random_plans(graph, 100 if network in zoo.PATTERNS else 2):
        slim = prune(model, plan).state_dict()
        sliced = slice_tensors(model.state_dict(), plan)
        assert list(sliced) == list(slim)
        for name, tensor in slim.items():
            assert torch.equal(sliced[name], tensor), name


def test_slim_networks_train(pattern):
    model, graph = zoo.traced(pattern)
    slim = prune(model, zoo.random_plans(graph, 1)[0]).train()
    before = {name: parameter.detach().clone() for name, parameter in slim.named_parameters()}
    optimizer = torch.optim.SGD(slim.parameters(), lr=0.1)
    zoo.outputs(slim(zoo.images(pattern, 4))).square().sum().backward()
    optimizer.step()
    moved = [
        name
        for name, parameter in slim.named_parameters()
        if not torch.equal(parameter, before[name])
    ]
    assert moved
    assert all(parameter.isfinite().all() for parameter in slim.parameters())


def test_frozen_parameters_stay_frozen_and_modes_stay(pattern):
    model, graph = zoo.traced(pattern)
    model = copy.deepcopy(model)
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    for number, module in enumerate(model.modules()):
        module.training = number % 3 == 0
    slim = prune(model, zoo.random_plans(graph, 1)[0])
    assert [p.requires_grad for p in slim.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    assert [m.training for m in slim.modules()] == [m.training for m in model.modules()]
    assert [type(m) for m in slim.modules()] == [type(m) for m in model.modules()]


def test_a_buffer_that_is_not_saved_stays_so():
    model = zoo.make("FlatScale")
    model.register_buffer("limit", model.limit, persistent=False)
    graph = build_graph(model, zoo.SIZE)
    slim = prune(model, make_plan(graph, {"stem": [1, 3]}))
    assert slim.limit.shape == (2, 1, 1)
    assert "limit" not in slim.state_dict()


def test_pruning_in_two_steps_is_pruning_once():
    model, graph = zoo.traced("OptionA")
    once = prune(model, make_plan(graph, {"stem": [1]}))
    again = prune(prune(model, full_plan(graph)), make_plan(graph, {"stem": [1]}))
    assert torch.equal(once(zoo.images("OptionA")), again(zoo.images("OptionA")))


def test_the_self_check_has_nothing_to_say(network):
    model, graph = zoo.traced(network)
    assert probe(model, graph, zoo.size_of(network)) is graph


class CountedView(nn.Module):
    """A view that holds the number of features in the code."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc1 = nn.Linear(64, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(self.fc1(self.conv(x).view(-1, 64)))


@pytest.mark.parametrize(
    ("kind", "layer", "left"), [(Columns, "conv1", "conv2"), (CountedView, "conv", "fc1")]
)
def test_a_count_in_the_code_is_found_by_the_self_check(kind, layer, left):
    model = kind().double()
    checked = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)
    assert [group.name for group in checked.groups] == [left]
    assert layer in {row.layer for row in checked.fixed}
    plan = make_plan(checked, {left: [1, 2]})
    image = torch.randn(2, *zoo.SIZE, dtype=torch.float64)
    wanted = Masked(model, checked, hard_mask(plan, torch.float64))(image)
    assert torch.allclose(prune(model, plan)(image), wanted, rtol=1e-10)
