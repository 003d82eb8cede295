"""The channel graph: what goes together, what stays and why."""

import re

import pytest
import torch
import torch_pruning as tp
import zoo
from torch import nn

from slimmer.costs import flops_cost
from slimmer.costs.flops import count_flops
from slimmer.errors import ModelError
from slimmer.graph import build_graph
from slimmer.graph.program import export_program
from slimmer.models import build
from slimmer.models.channel_pad import ChannelPad
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import make_plan
from slimmer.pruning.self_check import probe

READ_BY_TORCH_PRUNING = (
    "Chain", "BiasOnly", "Identity", "Projection", "Concatenation", "Depthwise", "Flatten",
    "PreActivation",
    "SqueezeExcite", "cifar_vgg16_bn", "cifar_resnet20_b", "resnet18", "resnet50",
)  # fmt: skip


def found_groups(graph):
    return {
        group.name: (
            group.size,
            {
                str(part.axis): part.index
                for part in group.slices
                if not part.axis.tensor.startswith("@")
            },
        )
        for group in graph.groups
    }


def unit_of(graph, axis, position):
    """Everything that goes with one entry of an axis, as (axis, position)."""
    for group in graph.groups:
        for part in group.slices:
            for unit in range(group.size if str(part.axis) == axis else 0):
                if position in part.index[unit]:
                    return {
                        (str(other.axis), entry)
                        for other in group.slices
                        for entry in other.index[unit]
                    }
    return set()


def test_groups_are_those_of_the_drawing(pattern):
    _, graph = zoo.traced(pattern)
    assert found_groups(graph) == zoo.expected(pattern).groups


@pytest.mark.parametrize(
    ("name", "streams"),
    {
        "Chain": set(),
        "Concatenation": set(),
        "SqueezeExcite": set(),
        "Identity": {"stem"},
        "Projection": {"conv2"},
        "PreActivation": {"stem"},
        "InvertedResidual": {"stem"},
        "Chunk": {"conv2"},
        "resnet18": {"conv1", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"},
    }.items(),
)
def test_residual_streams_are_known(name, streams):
    """Channels that are added to others; not those that meet by a gate, nor what a block makes
    inside.
    """
    assert zoo.traced(name)[1].streams == streams


def test_what_stays_is_listed_with_its_reason(pattern):
    _, graph = zoo.traced(pattern)
    fixed = {row.layer: row for row in graph.fixed}
    wanted = zoo.expected(pattern).fixed
    assert {layer: (row.channels, row.of) for layer, row in fixed.items()} == {
        layer: (channels, of) for layer, (channels, of, _) in wanted.items()
    }
    assert len(fixed) == len(graph.fixed)
    for layer, (_, _, reason) in wanted.items():
        assert fixed[layer].reason.startswith(reason)


def test_reasons_name_the_operation_and_its_line(pattern):
    _, graph = zoo.traced(pattern)
    bare = ("the network's output", "a parameter shared by", "its weights are not used")
    named = set()
    for row in graph.fixed:
        if not row.reason.startswith(bare):
            found = re.search(r": aten\.[\w.]+ in \S.* \(zoo/\w+\.py:(\d+)\)$", row.reason)
            assert found, row.reason
            named.add(int(found[1]))
    assert named == zoo.fixing_lines(pattern)


SORTED = """from torch import nn


class Sorted(nn.Module):
    input_size = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.head(self.conv(x).sort(1).values)
"""


def test_reasons_name_lines_in_a_folder_that_is_called_torch(tmp_path):
    file = tmp_path / "torch" / "net.py"
    file.parent.mkdir()
    file.write_text(SORTED)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build(f"{file}:Sorted")

        def forward(self, x):
            return self.inner(x)

    graph = build_graph(Outer(), (3, 8, 8))
    reason = next(row.reason for row in graph.fixed if row.layer == "inner.conv")
    assert reason.endswith("(torch/net.py:12)")


def test_no_channel_of_a_layer_is_left_out(network):
    model, graph = zoo.traced(network)
    in_groups = {}
    for group in graph.groups:
        for part in group.slices:
            positions = [position for unit in part.index for position in unit]
            in_groups.setdefault(part.axis, []).extend(positions)
    made = {layer.name: layer.out_axis for layer in reversed(graph.layers)}
    for name, module in model.named_modules():
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            width = module.out_features if isinstance(module, nn.Linear) else module.out_channels
            pruned = in_groups.get(made.get(name), [])
            assert len(set(pruned)) == len(pruned)
            rows = [row for row in graph.fixed if row.layer == name]
            assert len(pruned) + sum(row.channels for row in rows) == width, name
            assert all(row.reason and row.of == width for row in rows)


def test_every_unit_of_a_group_takes_as_many_positions_as_the_next(network):
    model, graph = zoo.traced(network)
    sizes = dict(graph.sizes)
    for group in graph.groups:
        for part in group.slices:
            assert len(part.index) == group.size
            assert {len(unit) for unit in part.index} == {part.multiplicity}
            assert all(0 <= position < sizes[part.axis] for unit in part.index for position in unit)
    tensors = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers()),
    }
    for axis, size in graph.sizes:
        if axis.tensor in tensors:
            assert tensors[axis.tensor].shape[axis.dim] == size


@pytest.mark.parametrize("name", READ_BY_TORCH_PRUNING)
def test_torch_pruning_couples_the_same_channels(name):
    """Its graph is built from autograd's, ours from the exported program: for each channel the same
    set of entries.

    Compared are the entries of all weights (its groups know no running statistics and no biases of
    their own), for every channel of the tiny networks and for the first, a middle and the last
    channel of each layer of the others.
    """
    model, graph = zoo.traced(name)
    model = zoo.make(name, torch.float32)
    theirs = tp.DependencyGraph().build_dependency(model, zoo.images(name, 1, torch.float32))
    names = {module: path for path, module in model.named_modules()}
    cut_depthwise = (
        tp.prune_depthwise_conv_out_channels
    )  # a channel in is a channel out, as in a norm
    compared = 0
    for layer in graph.layers:
        module = model.get_submodule(layer.name)
        cut = (
            tp.prune_linear_out_channels
            if isinstance(module, nn.Linear)
            else tp.prune_conv_out_channels
        )
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            cut = cut_depthwise
        width = module.weight.shape[0]
        for channel in range(width) if name in zoo.PATTERNS else (0, width // 3, width - 1):
            ours = unit_of(graph, f"{layer.name}.weight[0]", channel)
            if not ours:
                continue
            wanted = set()
            for dependency, entries in theirs.get_pruning_group(module, cut, [channel]):
                if dependency.target.module not in names:
                    continue  # an operation without parameters
                both = (
                    isinstance(dependency.target.module, nn.BatchNorm2d)
                    or dependency.handler == cut_depthwise
                )
                dim = 0 if both else int(theirs.is_in_channel_pruning_fn(dependency.handler))
                wanted |= {
                    (f"{names[dependency.target.module]}.weight[{dim}]", entry) for entry in entries
                }
            assert {(axis, entry) for axis, entry in ours if ".weight[" in axis} == wanted, (
                layer.name,
                channel,
            )
            compared += 1
    assert compared >= 4


def test_option_a_ties_channel_0_to_8_to_24():
    _, graph = zoo.traced("cifar_resnet20")
    together = unit_of(graph, "conv1.weight[0]", 0)
    assert ("layer2.0.conv2.weight[0]", 8) in together
    assert ("layer3.2.conv2.weight[0]", 24) in together
    assert ("linear.weight[1]", 24) in together


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        # 9 inner widths, and the trunk's: 16 all the way, 8 + 8 more from stage 2, 16 + 16 more in
        # stage 3
        ("cifar_resnet20", [16] * 3 + [32] * 3 + [64] * 3 + [16] + [8, 8] + [16, 16]),
        ("cifar_resnet20_b", [16] * 3 + [32] * 3 + [64] * 3 + [16, 32, 64]),
        ("cifar_vgg16_bn", [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6),
        ("resnet18", [64] * 2 + [128] * 2 + [256] * 2 + [512] * 2 + [64, 128, 256, 512]),
        ("resnet50", [64] * 6 + [128] * 8 + [256] * 12 + [512] * 6 + [64, 256, 512, 1024, 2048]),
    ],
)
def test_architectures_have_the_groups_that_their_papers_draw(name, sizes):
    _, graph = zoo.traced(name)
    assert sorted(group.size for group in graph.groups) == sorted(sizes)
    assert [row.reason for row in graph.fixed] == ["the network's output"]


def test_the_model_is_left_as_it_was():
    model = zoo.make("Chain", torch.float32)
    model.train()
    model.bn2.eval()
    model.conv1.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    build_graph(model, zoo.SIZE)
    assert model.training
    assert model.bn1.training
    assert not model.bn2.training
    assert not model.conv1.weight.requires_grad
    assert model.conv2.weight.requires_grad
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_graph_does_not_depend_on_the_numbers():
    first = build_graph(zoo.make("SqueezeExcite"), zoo.SIZE)
    second = build_graph(zoo.PATTERNS["SqueezeExcite"]().train(), zoo.SIZE)
    assert first == second


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else self.conv(-x)


def test_a_branch_on_data_is_refused_with_the_module_and_the_line():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Branching())
    line = "return self.conv(x) if x.sum() > 0 else self.conv(-x)"
    place = rf"in 1 \(test_graph.py:\d+: {re.escape(line)}\)"
    found = f"can't be traced with one call with inputs of 2x3x6x6, {place}"
    with pytest.raises(ModelError, match=found):
        build_graph(model, zoo.SIZE)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_wrong_input_size_is_refused():
    with pytest.raises(
        ModelError, match="can't be traced with one call with inputs of 2x5x6x6, in conv1"
    ):
        build_graph(zoo.make("Chain"), (5, 6, 6))


class LonePad(nn.Module):
    """Zeros that meet nothing on their way into a layer can go without any channel."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.pad = ChannelPad(2, 1, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc(self.pad(self.conv(x)).mean((2, 3)))


def test_zeros_that_meet_nothing_are_units_of_their_own():
    graph = build_graph(LonePad().double(), zoo.SIZE)
    assert found_groups(graph) == {
        "conv": (
            2,
            {
                "conv.weight[0]": ((0,), (1,)),
                "conv.bias[0]": ((0,), (1,)),
                "fc.weight[1]": ((2,), (3,)),
            },
        ),
        "pad#before": (2, {"pad#before[0]": ((0,), (1,)), "fc.weight[1]": ((0,), (1,))}),
        "pad#after": (1, {"pad#after[0]": ((0,),), "fc.weight[1]": ((4,),)}),
    }


class Shifted(nn.Module):
    """Numbers by channel that stand in the code itself: no plan cuts them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(
            (self.conv(x) - torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)).mean((2, 3))
        )


def test_numbers_that_stand_in_the_code_fix_what_they_meet():
    graph = build_graph(Shifted(), zoo.SIZE)
    assert graph.groups == ()
    assert re.match(
        r"a constant in the code: aten\.\w+ in .*test_graph\.py:\d+\)$",
        graph.fixed[0].reason,
    )


class TiedAutoencoder(nn.Module):
    """One weight read by a convolution and by an unsupported operation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv = nn.Conv2d(4, 5, 2)

    def forward(self, x):
        hidden = self.conv(self.stem(x)).mean((2, 3))
        return torch.cdist(hidden, self.conv.weight.mean((2, 3)).t().mean(0, keepdim=True))


def test_a_weight_that_an_unknown_operation_reads_stays_whole():
    graph = build_graph(TiedAutoencoder(), zoo.SIZE)
    assert graph.groups == ()
    assert {row.layer for row in graph.fixed} == {"stem", "conv"}


class TwoInputs(nn.Module):
    """An image and a row of numbers that meet in a product."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.fc1 = nn.Linear(4, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, image, row, scale=1.0):
        gate = self.fc1(row).sigmoid()[:, :, None, None]
        return self.fc2((self.conv(image) * gate * scale).mean((2, 3)))


@pytest.mark.parametrize("named", [False, True])
def test_networks_of_several_inputs_take_examples_in_order_or_by_name(named):
    model = TwoInputs().double().eval()
    image, row = torch.randn(2, 3, 6, 6), torch.randn(2, 4)
    inputs = {"row": row, "image": image} if named else (image, row)
    graph = build_graph(model, inputs)
    assert found_groups(graph) == {
        "fc1": (5, {axis: tuple((unit,) for unit in range(5)) for axis in (
            "conv.weight[0]", "conv.bias[0]", "fc1.weight[0]", "fc1.bias[0]", "fc2.weight[1]"
        )}),
    }  # fmt: skip
    plan = make_plan(graph, {"fc1": [1, 3, 4]})
    slim = prune(model, plan)
    masked = Masked(model, graph, hard_mask(plan, torch.float64))
    wanted = masked(image.double(), row.double())
    assert torch.allclose(slim(image.double(), row.double()), wanted, rtol=1e-12)
    assert flops_cost(model, graph, inputs).exact([3]) == count_flops(slim, inputs)
    assert probe(model, graph, inputs) is graph


def test_inputs_that_the_network_does_not_take_are_refused():
    with pytest.raises(ModelError, match="its forward does not take the inputs 'picture'"):
        build_graph(TwoInputs(), {"picture": torch.zeros(1, 3, 6, 6)})


class AuxiliaryHead(nn.Module):
    """A second head behind the first convolution, in training only."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 5, 3)
        self.two = nn.Conv2d(5, 6, 3)
        self.fc = nn.Linear(6, 2)
        self.side = nn.Conv2d(5, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.fc2 = nn.Linear(4, 2)

    def forward(self, x):
        first = self.one(x).relu()
        logits = self.fc(self.two(first).mean((2, 3)))
        return (
            (logits, self.fc2(self.norm(self.side(first)).mean((2, 3))))
            if self.training
            else logits
        )


def test_layers_that_only_training_runs_are_cut_with_the_rest():
    torch.manual_seed(0)
    model = AuxiliaryHead().double().eval()
    graph = build_graph(model, zoo.SIZE)
    groups = {name: set(axes) for name, (_, axes) in found_groups(graph).items()}
    assert groups == {
        "one": {"one.weight[0]", "one.bias[0]", "two.weight[1]", "side.weight[1]"},
        "two": {"two.weight[0]", "two.bias[0]", "fc.weight[1]"},
        "side": {
            *("side.weight[0]", "side.bias[0]", "norm.weight[0]", "norm.bias[0]"),
            *("norm.running_mean[0]", "norm.running_var[0]", "fc2.weight[1]"),
        },
    }
    assert {row.layer for row in graph.fixed} == {"fc", "fc2"}
    assert int(model.norm.num_batches_tracked) == 0  # looked at, and not trained
    assert not model.training
    plan = make_plan(graph, {"one": [0, 2], "two": [1], "side": [0, 3]})
    slim = prune(model, plan)
    image = torch.randn(2, *zoo.SIZE, dtype=torch.float64)
    masked = Masked(model, graph, hard_mask(plan, torch.float64))
    assert torch.allclose(slim(image), masked(image), rtol=1e-12)
    for ours, theirs in zip(slim.train()(image), masked.train()(image), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)
    cost = flops_cost(model, graph, zoo.SIZE)
    assert cost.exact(plan.widths) == count_flops(slim.eval(), zoo.SIZE)


class GroupedAuxiliaryHead(nn.Module):
    """A second head in training, whose groups of a convolution are added, so that each loses the
    same channels.
    """

    def __init__(self):
        super().__init__()
        self.one, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 2)
        self.side, self.fc2 = nn.Conv2d(6, 8, 1, groups=2), nn.Linear(4, 2)

    def forward(self, x):
        first = self.one(x).relu()
        logits = self.fc(first.mean((2, 3)))
        if not self.training:
            return logits
        return logits, self.fc2(self.side(first).mean((2, 3)).view(-1, 2, 4).sum(1))


def test_the_program_of_training_is_traced_once_however_often_it_is_walked(monkeypatch):
    traced = []

    def export(*args, training=False, **kwargs):
        traced.append(training)
        return export_program(*args, training=training, **kwargs)

    monkeypatch.setattr("slimmer.graph.trace.export_program", export)
    graph = build_graph(GroupedAuxiliaryHead().eval(), zoo.SIZE)
    assert traced == [False, True]
    assert {group.name: group.size for group in graph.groups} == {"one": 3, "side": 4}


class Frozen(nn.Module):
    """A stem that runs without gradients."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        with torch.no_grad():
            x = self.stem(x).relu()
        return self.fc(self.conv(x).mean((2, 3)))


def test_a_part_without_gradients_is_walked_like_any_other():
    assert [(group.name, group.size) for group in build_graph(Frozen(), zoo.SIZE).groups] == [
        ("stem", 4),
        ("conv", 5),
    ]


class Island(Frozen):
    """A convolution that runs in float32 in any case, behind one under autocast."""

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            x = self.stem(x.float()).relu()
        return self.fc(self.conv(x).mean((2, 3)))


def test_a_part_under_autocast_is_walked_like_any_other():
    model = Island()
    graph = build_graph(model, zoo.SIZE)
    assert [(group.name, group.size) for group in graph.groups] == [("stem", 4), ("conv", 5)]
    plan = make_plan(graph, {"stem": [1, 2], "conv": [0, 3, 4]})
    assert flops_cost(model, graph, zoo.SIZE).exact(plan.widths) == count_flops(
        prune(model, plan), zoo.SIZE
    )


class Noting(Frozen):
    """Code that keeps activations on the module, also in a list, and fills where a mask says."""

    def __init__(self):
        super().__init__()
        self.several = []

    def forward(self, x):
        self.features = self.stem(x)
        self.several[:] = [self.features]
        return self.fc(self.conv(self.features.masked_fill(self.features > 6, 6.0)).mean((2, 3)))


def test_what_a_module_notes_on_itself_is_gone_behind_the_trace():
    model = Noting()
    graph = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)
    assert [(group.name, group.size) for group in graph.groups] == [("stem", 4), ("conv", 5)]
    assert (hasattr(model, "features"), model.several) == (False, [])
    model(torch.randn(2, *zoo.SIZE))
    count_flops(model, zoo.SIZE)
    slim = prune(model, make_plan(graph, {"stem": [0, 3]}))
    assert slim(torch.randn(2, *zoo.SIZE)).shape == (2, 2)
    assert model.features.shape[1] == 4
    assert model.features.grad_fn is not None


def test_a_module_that_is_compiled_by_torchscript_is_named():
    model = Frozen()
    model.conv = torch.jit.script(nn.Sequential(nn.Conv2d(4, 5, 3)))
    with pytest.raises(ModelError, match="give conv as Python code: it is compiled by TorchScript"):
        build_graph(model, zoo.SIZE)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_hooks_that_compute_weights_are_no_obstacle():
    """PyTorch can't copy such modules where gradients are on:
    https://github.com/pytorch/pytorch/pull/103001
    """
    model = Frozen()
    model.conv = nn.utils.weight_norm(model.conv)
    graph = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)
    assert "conv" in [group.name for group in graph.groups]
    slim = prune(model, make_plan(graph, {"conv": [0, 2]}))
    assert slim(torch.randn(2, *zoo.SIZE)).shape == (2, 2)
    assert model(torch.randn(2, *zoo.SIZE)).shape == (2, 2)


class Undecided(nn.Module):
    """A head for training alone, where a branch on numbers stands in the way of the trace."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)
        self.aux = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.fc(x) if not self.training or x.sum() > 0 else self.aux(x)


def test_a_layer_of_training_alone_that_can_not_be_traced_says_so():
    [row] = [row for row in build_graph(Undecided(), zoo.SIZE).fixed if row.layer == "aux"]
    assert "training may use them, but the network can't be traced in training" in row.reason
    assert "test_graph.py:" in row.reason
