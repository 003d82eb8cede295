"""The rewritten program: its numbers of channels follow the plan, and it is the masked network all
the same.
"""

import copy
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zoo
from main_job import slimmer
from torch import nn
from torch.nn import functional

from slimmer.costs import flops_cost, params_cost
from slimmer.costs.flops import count_flops
from slimmer.errors import ModelError, RunError
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import check_parity
from slimmer.graph import build_graph
from slimmer.models import build
from slimmer.models.checkpoint import read_metadata, save_weights
from slimmer.pruning.apply import slice_tensors
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import full_plan, make_plan
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.self_check import check_same, probe
from slimmer.pruning.slim_file import Identity, load_network, save_network
from slimmer.runs.directory import Run

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "rewrite.py"


@pytest.fixture(params=zoo.REWRITTEN)
def rewritten(request):
    """The name of a tiny network whose code holds numbers of channels."""
    return request.param


def stored_slices(graph):
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


def test_groups_are_those_of_the_drawing(rewritten):
    _, program = zoo.program(rewritten)
    assert stored_slices(program.channels) == zoo.expected_rewritten(rewritten).groups


def test_nothing_else_stays_but_the_outputs(rewritten):
    _, program = zoo.program(rewritten)
    held = {
        row.layer: row for row in program.channels.fixed if row.reason != "the network's output"
    }
    wanted = zoo.expected_rewritten(rewritten).fixed
    assert {layer: (row.channels, row.of) for layer, row in held.items()} == {
        layer: (channels, of) for layer, (channels, of, _) in wanted.items()
    }
    for layer, (_, _, reason) in wanted.items():
        assert held[layer].reason.startswith(reason)


def test_less_can_be_reached_than_without_rewriting(rewritten):
    dense, program = zoo.program(rewritten)
    size, model = zoo.size_of(rewritten), zoo.make(rewritten)
    plain = probe(model, build_graph(model, size), size)
    plain, rewrote = (
        flops_cost(network, graph, size).exact([1] * len(graph.groups))
        for network, graph in ((model, plain), (dense, program.channels))
    )
    tied = rewritten in {
        "Chunk",
        "CrossStage",
        "ShuffleUnit",
    }  # equal parts, which may now differ: one channel of each
    assert rewrote == plain if tied else rewrote < plain


def test_masked_equals_rewritten(rewritten):
    model, program = zoo.program(rewritten)
    graph, image, changed = program.channels, zoo.images(rewritten, 3), False
    with torch.no_grad():
        dense = zoo.outputs(model(image))
        for plan in zoo.random_plans(graph, 100):
            wanted = zoo.outputs(Masked(model, graph, hard_mask(plan, torch.float64))(image))
            got = zoo.outputs(program.prune(model, plan)(image))
            assert float((got - wanted).abs().max()) <= 1e-10 * max(1.0, float(wanted.abs().max()))
            changed = changed or not torch.equal(wanted, dense)
    assert changed  # or the masks did nothing


@pytest.mark.slow
def test_masked_equals_rewritten_for_every_pattern(pattern):
    """Those without numbers in the code have the same groups as ever, and one can't be
    rewritten.
    """
    if pattern == "SpectralNorm":
        with pytest.raises(ModelError, match="contains a subprogram"):
            zoo.program(pattern)
        return
    model, program = zoo.program(pattern)
    graph = program.channels
    if pattern not in zoo.REWRITTEN:
        assert graph == zoo.traced(pattern)[1]
    for plan in zoo.random_plans(graph, 20):
        check_same(model, graph, plan, zoo.size_of(pattern), program.prune)
    slim = program.prune(model, plan)
    assert flops_cost(model, graph, zoo.size_of(pattern)).exact(plan.widths) == count_flops(
        slim, zoo.size_of(pattern)
    )
    assert list(slim.state_dict()) == list(model.state_dict())


def test_costs_are_those_of_the_rewritten_program(rewritten):
    model, program = zoo.program(rewritten)
    graph, size = program.channels, zoo.size_of(rewritten)
    flops, params = flops_cost(model, graph, size), params_cost(model, graph)
    for plan in [full_plan(graph), *zoo.random_plans(graph, 4)]:
        slim = program.prune(model, plan)
        assert flops.exact(plan.widths) == count_flops(slim, size)
        assert params.exact(plan.widths) == sum(
            parameter.numel() for parameter in slim.parameters()
        )


def test_the_full_plan_is_the_identity(rewritten):
    model, program = zoo.program(rewritten)
    same = program.prune(model, full_plan(program.channels))
    assert list(same.state_dict()) == list(model.state_dict())
    assert all(
        torch.equal(tensor, model.state_dict()[name]) for name, tensor in same.state_dict().items()
    )
    for number in (1, 4):  # of images
        image = zoo.images(rewritten, number)
        assert torch.equal(zoo.outputs(same(image)), zoo.outputs(model(image)))


def test_weights_are_the_network_s_own_cut_and_by_the_same_names(rewritten):
    model, program = zoo.program(rewritten)
    for plan in zoo.random_plans(program.channels, 3):
        slim = program.prune(model, plan)
        kept = slice_tensors(model.state_dict(), plan)
        assert list(kept) == list(slim.state_dict())
        for name, tensor in slim.state_dict().items():
            assert torch.equal(kept[name], tensor), name
        assert [name for name, _ in slim.named_parameters()] == [
            name for name, _ in model.named_parameters()
        ]
        assert all(slim.get_parameter(name).is_leaf for name, _ in model.named_parameters())


def test_the_input_and_the_program_are_left_as_they_were():
    model, program = zoo.program("Modes")
    model = copy.deepcopy(model).train()
    model.bn.eval()
    model.conv2.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = zoo.random_plans(program.channels, 1)[0]
    slim = program.prune(model, plan)
    assert {name: module.training for name, module in slim.named_modules()} == {
        name: module.training for name, module in model.named_modules()
    }
    assert [p.requires_grad for p in slim.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    for tensor in slim.state_dict().values():
        tensor.fill_(7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    again = program.prune(model, plan)
    assert all(
        torch.equal(kept, again.state_dict()[name])
        for name, kept in slice_tensors(before, plan).items()
    )


def test_the_self_check_has_nothing_to_say(rewritten):
    model, program = zoo.program(rewritten)
    assert probe(model, program.channels, zoo.size_of(rewritten), program.prune) is program.channels


# Training


@pytest.mark.parametrize("name", ["Res2", "ForeignPad", "CrossStage"])
def test_masked_equals_rewritten_in_training(name):
    model, program = zoo.program(name)
    for plan in zoo.random_plans(program.channels, 5):
        masked = Masked(
            copy.deepcopy(model).train(), program.channels, hard_mask(plan, torch.float64)
        )
        slim = program.prune(model, plan).train()
        for step in range(2):
            image = zoo.images(name, 4) + step
            wanted, got = masked(image), slim(image)
            assert (got - wanted).abs().max() < 1e-10 * wanted.abs().max()
        kept = slice_tensors(
            dict(masked.model.named_buffers()), plan
        )  # the statistics that training has moved
        for buffer_name, buffer in slim.named_buffers():
            assert torch.allclose(
                buffer.double(), kept[buffer_name].double(), rtol=1e-10, atol=1e-12
            ), buffer_name


def test_training_is_the_network_s_own_with_all_that_is_drawn():
    """Dropouts and stochastic depth draw the same numbers in the same order; both kinds of batch
    norm move.
    """
    model, program = zoo.program("Modes")
    model = copy.deepcopy(model).train()
    same = program.prune(model, full_plan(program.channels))
    image = zoo.images("Modes", 6)
    outputs = []
    for network in (model, same):
        torch.manual_seed(3)
        outputs.append([network(image) for _ in range(3)])
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))
    assert not torch.equal(outputs[0][0], outputs[0][1])
    after, before = same.state_dict(), zoo.program("Modes")[0].state_dict()
    for name in (
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
        "running_mean",
        "running_var",
    ):
        assert not torch.equal(after[name], before[name]), name
        own = name.startswith(
            "bn."
        )  # the function's statistics are those of random channels, as dropped as they are
        assert torch.equal(after[name], model.state_dict()[name]) or not own


def test_in_eval_mode_nothing_is_drawn_and_nothing_moves():
    model, program = zoo.program("Modes")
    slim = program.prune(model, zoo.random_plans(program.channels, 1)[0]).train().eval()
    before = {name: tensor.clone() for name, tensor in slim.state_dict().items()}
    image = zoo.images("Modes", 6)
    assert torch.equal(slim(image), slim(image))
    assert all(torch.equal(tensor, before[name]) for name, tensor in slim.state_dict().items())


def test_modules_of_the_program_keep_a_mode_of_their_own():
    model, program = zoo.program("Modes")
    slim = program.prune(model, full_plan(program.channels)).train()
    slim.bn.eval()
    before = slim.bn.running_mean.clone()
    slim(zoo.images("Modes", 4))
    assert torch.equal(slim.bn.running_mean, before)
    assert isinstance(slim.bn, nn.BatchNorm2d)  # so that its statistics can be taken anew
    assert slim.bn.num_features == 6


def test_rewritten_networks_train(rewritten):
    model, program = zoo.program(rewritten)
    slim = copy.deepcopy(program.prune(model, zoo.random_plans(program.channels, 1)[0])).train()
    before = {name: parameter.detach().clone() for name, parameter in slim.named_parameters()}
    optimizer = torch.optim.SGD(slim.parameters(), lr=0.1)
    torch.manual_seed(0)
    zoo.outputs(slim(zoo.images(rewritten, 4))).square().sum().backward()
    optimizer.step()
    assert any(
        not torch.equal(parameter, before[name]) for name, parameter in slim.named_parameters()
    )
    assert all(parameter.isfinite().all() for parameter in slim.parameters())


# Types and places


class Types(nn.Module):
    """A type that follows the network's, and one that the code names."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x)
        shift = (
            torch.arange(x.shape[0], device=x.device, dtype=torch.float32)
            .div(7)
            .to(self.fc.weight.dtype)
        )
        return self.fc((x + shift.view(-1, 1, 1, 1)).mean((2, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("traced", [torch.float32, torch.float64])
def test_the_program_follows_the_network_s_type_and_not_what_its_code_names(traced, dtype):
    model = Types().to(traced)
    program = read_program(model, zoo.SIZE)
    model = model.to(dtype)
    image = zoo.images("Chain", 3, dtype)
    same = program.prune(model, full_plan(program.channels))
    assert same(image).dtype == dtype
    assert torch.equal(same(image), model(image))


def test_numbers_made_in_the_code_are_made_where_the_network_is():
    _, program = zoo.program("ZerosBehind")
    slim = program.prune(zoo.program("ZerosBehind")[0], full_plan(program.channels)).to("meta")
    assert slim(zoo.images("ZerosBehind").to("meta")).device.type == "meta"


# Files


FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    input_size = (3, 6, 6)

    def __init__(self, num_classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(2, 3, 3, padding=1)
        self.fc = nn.Linear(7, num_classes)

    def forward(self, x):
        a, b = self.bn(self.conv1(x)).split([2, 4], 1)
        return self.fc(torch.cat([self.conv2(a), b], 1).mean((2, 3)))
"""


def test_a_file_brings_the_program_back(tmp_path):
    (tmp_path / "net.py").write_text(FACTORY)
    identity = Identity(f"{tmp_path / 'net.py'}:Net", 4, (3, 6, 6))
    dense = build(identity.arch, num_classes=4, in_channels=3).eval()
    program = read_program(dense, identity.input_size)
    plan = make_plan(program.channels, {"conv1": [1], "conv1#2": [0, 3]})
    slim = program.prune(dense, plan)
    path = tmp_path / "slim.safetensors"
    save_network(path, slim, identity, plan, {"rewrite": "true"})
    loaded = load_network(path, trust_code=True)
    image = torch.randn(3, 3, 6, 6)
    assert torch.equal(loaded(image), slim(image))
    assert loaded.conv1.weight.shape[0] == 3
    assert not loaded.training
    save_network(tmp_path / "again.safetensors", loaded, identity, plan, {"rewrite": "true"})
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_onnx_computes_the_same(tmp_path):
    model, program = zoo.program("Modes")
    slim = program.prune(model, zoo.random_plans(program.channels, 1)[0])
    export_onnx(slim, tmp_path / "slim.onnx", zoo.SIZE, metadata={})
    parity = check_parity(slim, tmp_path / "slim.onnx", zoo.images("Modes", 5))
    assert parity.max_rel < 1e-5
    assert parity.images == 5


# What can't be rewritten


class Auxiliary(nn.Module):
    """A second head that only training sees."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)
        self.aux = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


class Quiet(Auxiliary):
    """A head that only eval mode sees."""

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.head(x) if self.training else self.head(x) + self.aux(x)


class Noise(Auxiliary):
    """Noise that no module without parameters makes."""

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.head(x + torch.randn_like(x) if self.training else x)


class Counting(Auxiliary):
    """A number of images that the code turns into a number for good."""

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3))).reshape(len(x), 2)


class Weighted(Auxiliary):
    """Two numbers that differ in training."""

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)) * (0.5 if self.training else 1.0))


class Scaled(Auxiliary):
    """A number, kept as a tensor, that differs in training."""

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)) * torch.tensor(0.5 if self.training else 1.0))


class Guarded(Auxiliary):
    """A part without gradients."""

    def forward(self, x):
        with torch.no_grad():
            x = self.conv(x)
        return self.head(x.mean((2, 3)))


class Sign(torch.autograd.Function):
    """A sign through which gradients pass as they are."""

    @staticmethod
    def forward(_ctx, x):
        return x.sign()

    @staticmethod
    def backward(_ctx, gradient):
        return gradient


class Straight(Auxiliary):
    """A backward pass that no program of forward operations has."""

    def forward(self, x):
        return self.head(Sign.apply(self.conv(x)).mean((2, 3)))


class Choosing(Auxiliary):
    """Training looks at the numbers."""

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.head(x if not self.training or x.sum() > 0 else -x)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (Auxiliary, "in training it does more than in eval mode, which would be lost: aux\n"),
        (Quiet, "training skips aten.linear in aux"),
        (
            Noise,
            (
                "in training it does more than in eval mode, which would be lost: aten.randn_like "
                "in the top module"
            ),
        ),
        (Counting, "its program fixes the batch size"),
        (Weighted, "in training it does more than in eval mode, which would be lost: aten.mul"),
        (
            Straight,
            "has a custom backward pass (SignBackward), which its program would lose",
        ),
        (Scaled, "has constants that differ between training and eval"),
        (
            Guarded,
            "contains a subprogram (a branch on data, a block under no_grad or autocast)",
        ),
        (
            Choosing,
            (
                "can't be traced in training with one call with inputs of 2x3x6x6, in the top "
                "module (test_rewrite.py:"
            ),
        ),
    ],
)
def test_what_would_be_lost_is_refused_and_named(kind, found):
    with pytest.raises(ModelError, match=re.escape(found)) as error:
        read_program(kind(), zoo.SIZE)
    assert error.value.where == kind.__name__
    assert "--rewrite" in error.value.right


class Remembered(Auxiliary):
    """A number for each channel that no file keeps."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.randn(4, 1, 1), persistent=False)

    def forward(self, x):
        return self.head((self.conv(x) + self.shift).mean((2, 3)))


def test_a_buffer_that_is_not_saved_is_cut_with_its_channels():
    model = Remembered().eval()
    program = read_program(model, (3, 6, 6))
    plan = make_plan(program.channels, {"conv": [0, 2]})
    check_same(model, program.channels, plan, (3, 6, 6), program.prune)
    slim = program.prune(model, plan)
    assert torch.equal(slim.shift, model.shift[[0, 2]])
    assert "shift" not in slim.state_dict()


class TwoInOne(nn.Module):
    """A weight of two convolutions' rows, read under the name of the first, whose bias nothing
    reads.
    """

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        return self.head(
            functional.conv2d(x, torch.cat([self.one.weight, self.other.weight]))
            .relu()
            .mean((2, 3))
        )


def test_what_nothing_reads_is_not_cut_with_a_weight_of_more_rows():
    model = TwoInOne().eval()
    program = read_program(model, (3, 6, 6))
    dense = program.dense(model)
    cost = params_cost(dense, program.channels)
    assert cost.dense == sum(parameter.numel() for parameter in dense.parameters())
    plan = make_plan(
        program.channels, {group.name: range(1, group.size) for group in program.channels.groups}
    )
    slim = program.prune(dense, plan)
    assert (
        cost.exact(plan.widths)
        == sum(parameter.numel() for parameter in slim.parameters())
        < cost.dense
    )


def test_a_number_that_is_kept_as_a_tensor_stays():
    class Halved(Auxiliary):
        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)) * torch.tensor(0.5))

    model, x = Halved().eval(), torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(read_program(model, (3, 6, 6)).dense(model)(x), model(x))


def test_a_network_of_other_inputs_than_tensors_is_refused():
    class Named(Auxiliary):
        def forward(self, batch):
            return self.head(self.conv(batch["image"]).mean((2, 3)))

    with pytest.raises(ModelError, match="takes inputs that are not tensors"):
        read_program(Named(), ({"image": torch.zeros(2, 3, 6, 6)},))


class Stepped(nn.Module):
    """Every second channel: no bounds give the same of fewer channels, so they stay."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv2(self.conv1(x)[:, ::2]).mean((2, 3)))


def test_what_no_number_could_mend_stays_as_without_rewriting():
    program = read_program(Stepped(), zoo.SIZE)
    assert [group.name for group in program.channels.groups] == ["conv2"]
    assert program.channels == build_graph(Stepped(), zoo.SIZE)
    assert program.channels.fixed[0].reason.startswith("hard-coded channel indices: aten.slice")


class Scaled(nn.Module):
    """A size that is computed with the number of images: no label tells its share."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv1(x)
        x = functional.relu(x.reshape(x.shape[0] * 6, 4, 4)).reshape(x.shape)
        return self.fc(self.conv2(x).mean((2, 3)))


def test_what_labels_miss_the_self_check_finds():
    model = Scaled().double()
    program = read_program(model, zoo.SIZE)
    checked = probe(model, program.channels, zoo.SIZE, program.prune)
    assert [group.name for group in checked.groups] == ["conv2"]
    [row] = [row for row in checked.fixed if row.layer == "conv1"]
    assert row.reason.startswith("the code depends on the number of channels; when pruned: ")
    plan = make_plan(checked, {"conv2": [1, 2]})
    check_same(model, checked, plan, zoo.SIZE, program.prune)


def test_a_plan_of_another_network_is_refused():
    _, other = zoo.program("Res2")
    model, program = zoo.program("Swapped")
    plan = make_plan(other.channels, {"conv1#3": [0]})
    with pytest.raises(RunError, match="which the program does not have"):
        program.prune(model, plan)


# The whole job


def test_a_module_is_pruned_trained_kept_and_loaded(tmp_path):
    from slimmer import inspect, load, prune

    namespace = {}
    exec(
        FACTORY.replace("Conv2d(3, 6, 3)", "Conv2d(1, 6, 3)").replace(
            "num_classes=4", "num_classes=10"
        ),
        namespace,
    )
    torch.manual_seed(0)
    dense = namespace["Net"]()
    options = {"data.trust": True, "rewrite": True, "finetune.recalibrate": 2, "method.batches": 2}
    result = prune(dense, "digits", flops=0.5, epochs=0.1, out=tmp_path / "run", **options)
    assert type(result.model).__mro__[1] is torch.fx.GraphModule
    assert result.report["flops"]["ratio"] <= 0.5
    loaded = load(tmp_path / "run", dense)
    assert type(loaded).__mro__[1] is torch.fx.GraphModule
    image = torch.randn(2, 1, 16, 16)
    assert torch.equal(loaded(image), result.model(image))
    assert (
        inspect(dense, input_size=(1, 16, 16), rewrite=True)["flops"]["least"]
        < (inspect(dense, input_size=(1, 16, 16))["flops"]["least"])
    )
    assert json.loads((tmp_path / "run" / "report.json").read_text())["fixed"] == [
        {"layer": "fc", "channels": 10, "of": 10, "reason": "the network's output"}
    ]


def test_the_commands_take_the_option(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(FACTORY)
    torch.manual_seed(0)
    save_weights(tmp_path / "net.safetensors", build(f"{tmp_path / 'net.py'}:Net"), {})
    monkeypatch.chdir(tmp_path)
    given = ["net.safetensors", "--arch", "net.py:Net", "--json"]
    found = {
        option: json.loads(slimmer("inspect", *given, *option).stdout)
        for option in ((), ("--rewrite",))
    }
    held = {
        option: {row["name"] for row in of["layers"] if row["stays"]}
        for option, of in found.items()
    }
    assert held == {(): {"conv1", "fc"}, ("--rewrite",): {"fc"}}
    report = json.loads(
        slimmer("prune", *given, "--rewrite", "--flops", "0.5", "--out", "run").stdout
    )
    assert {row["layer"] for row in report["fixed"]} == held["--rewrite",]
    assert Run(Path("run")).recipe().model.rewrite
    assert read_metadata(Path("run/slim.safetensors"))["rewrite"] == "true"
    assert load_network(Path("run/slim.safetensors")).conv1.weight.shape[0] < 6


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "name",
    ["res2net50_26w_4s", "cspdarknet53", "dpn68", "fasternet_t0", "mambaout_femto", "nf_regnet_b0"],
)
def test_networks_of_timm_whose_code_splits_by_numbers_or_computes_weights(name, tmp_path):
    for package in ("torchvision", "timm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    command = [sys.executable, str(SCRIPT), "--networks", name, "--out", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, capture_output=True)
    [row] = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["least"]["with"] < 0.15 * row["least"]["without"]
    assert (row["folded"] > 0) == (name == "nf_regnet_b0")
    assert row["folded_is_off_by"] < 1e-5
    assert row["loads"]
    assert row["onnx_is_off_by"] < 1e-4
    assert 0.495 < row["half"] <= 0.5
    assert row["recount_is_exact"]
    assert row["trains"]
