"""Computed weights under `--rewrite`: evaluated once, they are parameters that are masked and cut
like any other.
"""

import pytest
import torch
import zoo
from torch import nn
from torch.nn import functional
from zoo.weights import GainedConv

import slimmer
from slimmer.costs.flops import count_by_operation
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.stages import resume
from slimmer.pruning.plan import make_plan
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.self_check import check_same
from slimmer.pruning.slim_file import Identity, load_network, save_network
from slimmer.runs.directory import Run

FOLDED = ["Computed", "PositiveWeight", "Standardised", "WeightNorm", "TwiceWeighted"]


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_folded_network_computes_what_the_network_did(name, dtype, off):
    model = zoo.make(name, dtype)
    dense = read_program(model, zoo.size_of(name)).dense(model)
    for number in (1, 5):  # of images
        images = zoo.images(name, number, dtype)
        wanted, got = zoo.outputs(model(images)).detach(), zoo.outputs(dense(images)).detach()
        assert got.dtype == dtype
        assert float((got - wanted).abs().max()) <= off * float(wanted.abs().max())


@pytest.mark.parametrize(
    ("name", "gone", "new"),
    [
        ("Computed", set(), set()),
        ("Standardised", {"conv1.gain", "conv2.gain", "grouped.gain"}, set()),
        (
            "WeightNorm",
            {
                f"{layer}.parametrizations.weight.original{part}"
                for layer in ("conv2", "fc1")
                for part in (0, 1)
            },
            {"conv2.weight", "fc1.weight"},
        ),
        (
            "TwiceWeighted",
            {"down", "up", *(f"loop.parametrizations.weight.original{part}" for part in (0, 1))},
            {"loop.weight"},
        ),
    ],
)
def test_a_weight_has_its_own_name_and_what_it_came_from_is_gone(name, gone, new):
    model = zoo.make(name)
    dense = read_program(model, zoo.size_of(name)).dense(model)
    before, after = dict(model.named_parameters()), dict(dense.named_parameters())
    assert before.keys() - after.keys() == gone
    assert after.keys() - before.keys() == new
    assert sum(tensor.numel() for tensor in after.values()) <= sum(
        tensor.numel() for tensor in before.values()
    )


def test_the_values_are_those_that_the_layers_read():
    model = zoo.make("WeightNorm")
    dense = read_program(model, zoo.SIZE).dense(model)
    assert torch.equal(
        dense.conv2.weight, model.conv2.weight
    )  # as PyTorch's own parametrisation computes it
    assert torch.equal(dense.fc1.bias, model.fc1.bias)
    dense.conv2.weight.data.zero_()
    dense.fc1.bias.data.zero_()
    assert model.conv2.weight.abs().sum() > 0
    assert model.fc1.bias.abs().sum() > 0


def test_a_frozen_weight_stays_frozen():
    model = zoo.make("Standardised")
    model.conv1.weight.requires_grad_(False)  # its gain is trained
    model.conv2.weight.requires_grad_(False)
    model.conv2.gain.requires_grad_(False)
    dense = read_program(model, zoo.SIZE).dense(model)
    trained = {
        name: parameter.requires_grad
        for name, parameter in dense.named_parameters()
        if "conv" in name
    }
    assert trained == {
        "conv1.weight": True,
        "conv1.bias": True,
        "conv2.weight": False,
        "conv2.bias": True,
    }
    slim = read_program(model, zoo.SIZE).prune(
        dense, make_plan(read_program(model, zoo.SIZE).channels, {})
    )
    assert not slim.conv2.weight.requires_grad


def test_flops_of_a_program_are_told_by_layer():
    model, program = zoo.program("Standardised")
    counts = count_by_operation(model, program.channels, zoo.SIZE)
    # By hand: outputs, inputs of a group, kernel, places.
    assert counts == {
        ("conv1", "conv"): 5 * 3 * 9 * 16,
        ("conv2", "conv"): 4 * 5 * 9 * 4,
        ("grouped", "conv"): 6 * 2 * 1 * 4,
        ("fc", "linear"): 6 * 2,
    }


# What is left as it is


class Net(nn.Module):
    """conv1 -> conv2d(a weight that is computed) -> fc, after the mean."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3, bias=False)
        self.fc = nn.Linear(5, 2)
        self.small = nn.Parameter(torch.randn(5, 1, 3, 3))
        self.register_buffer("kernel", torch.rand(5, 4, 3, 3))
        self.register_buffer("seen", torch.ones(5))
        self.register_buffer("spread", torch.ones(5))

    def weight(self):
        return self.conv2.weight.exp()

    def forward(self, x):
        x = functional.conv2d(self.conv1(x).relu(), self.weight())
        return self.fc(x.mean((2, 3)))


class Dropped(Net):
    """Weights that are dropped in training."""

    def weight(self):
        return functional.dropout(self.conv2.weight.exp(), 0.5, self.training)


class Drawn(Net):
    """Weights with noise."""

    def weight(self):
        return self.conv2.weight + torch.rand_like(self.conv2.weight)


class Counted(Net):
    """Weights normalised by statistics that move."""

    def weight(self):
        rows = self.conv2.weight.flatten(1).t()
        return (
            functional.batch_norm(rows, self.seen, self.spread, training=True)
            .t()
            .reshape(5, 4, 3, 3)
        )


class ReadElsewhere(Net):
    """Weights that something else reads as well."""

    def forward(self, x):
        return super().forward(x) * self.conv2.weight.mean()


class OfBuffers(Net):
    """Weights that no parameter makes."""

    def weight(self):
        return self.kernel / self.kernel.sum((1, 2, 3), keepdim=True)


class Repeated(Net):
    """Weights that are fewer than they seem."""

    def weight(self):
        return self.small.tanh().repeat(1, 4, 1, 1)


class Turned(Net):
    """Weights that are only moved and scaled, which labels follow."""

    def weight(self):
        return self.conv2.weight.flip(2) * 0.5


@pytest.mark.parametrize(
    "kind", [Dropped, Drawn, Counted, ReadElsewhere, OfBuffers, Repeated, Turned]
)
def test_other_weights_stay_as_they_are(kind):
    model = kind().double().eval()
    program = read_program(model, zoo.SIZE)
    assert program.folding.reads == {}
    assert program.dense(model) is model
    held = {row.layer: row.reason for row in program.channels.fixed}
    assert ("conv1" in held) == (kind is not Turned)


def test_the_same_network_is_folded_without_what_forbids_it():
    model = Net().eval()
    program = read_program(model, zoo.SIZE)
    assert program.folding.reads == {"conv2.weight": {"conv2.weight"}}
    assert [group.name for group in program.channels.groups] == ["conv1", "conv2"]


def test_a_weight_that_two_layers_read_is_one_parameter():
    class Given(nn.Conv2d):
        def forward(self, x, weight):
            return functional.conv2d(x, weight, self.bias)

    class Both(Net):
        def __init__(self):
            super().__init__()
            self.again, self.conv2 = Given(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            weight = self.weight()
            return self.fc(
                self.again(functional.conv2d(self.conv1(x), weight), weight).mean((2, 3))
            )

    model = Both().double().eval()
    program = read_program(model, zoo.SIZE)
    assert program.folding.reads == {"conv2.weight": {"conv2.weight"}}
    for plan in zoo.random_plans(program.channels, 5):
        check_same(program.dense(model), program.channels, plan, zoo.SIZE, program.prune)


def test_the_type_is_asked_of_a_parameter_that_is_still_there():
    class Asking(Net):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, bias=False))
            self.conv2, self.small = nn.Conv2d(4, 5, 3, bias=False), None

        def forward(self, x):
            return super().forward(x + torch.ones(1, 3, 6, 6, dtype=x.dtype, device=x.device))

    model = Asking()
    assert next(model.named_parameters())[0] == "conv1.parametrizations.weight.original0"
    dense = read_program(model, zoo.SIZE).dense(model)
    images = zoo.images("Chain", 3)
    assert torch.allclose(dense.double()(images), model.double()(images), rtol=1e-5)


# Files and the whole job


FACTORY = """
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

class Net(nn.Module):
    input_size = (1, 16, 16)

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = weight_norm(nn.Conv2d(1, 6, 3))
        self.bn = nn.BatchNorm2d(6)
        self.conv2 = weight_norm(nn.Conv2d(6, 8, 3))
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.conv2(self.bn(self.conv1(x)).relu()).relu().mean((2, 3)))
"""


def test_a_file_brings_the_folded_program_back(tmp_path):
    (tmp_path / "net.py").write_text(FACTORY)
    identity = Identity(f"{tmp_path / 'net.py'}:Net", 10, (1, 16, 16))
    model = build(identity.arch).eval()
    program = read_program(model, identity.input_size)
    plan = make_plan(program.channels, {"conv1": [1, 4], "conv2": [0, 3, 5]})
    slim = program.prune(program.dense(model), plan)
    assert slim.conv2.weight.shape == (3, 2, 3, 3)
    path = tmp_path / "slim.safetensors"
    save_network(path, slim, identity, plan, {"rewrite": "true"})
    loaded = load_network(path, trust_code=True)
    images = torch.randn(3, 1, 16, 16)
    assert torch.equal(loaded(images), slim(images))
    save_network(tmp_path / "again.safetensors", loaded, identity, plan, {"rewrite": "true"})
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_network_is_pruned_trained_resumed_and_exported(tmp_path):
    (tmp_path / "net.py").write_text(FACTORY)
    torch.manual_seed(0)
    model = build(f"{tmp_path / 'net.py'}:Net")
    save_weights(tmp_path / "net.safetensors", model, {})
    options = {
        "data.trust": True,
        "finetune.recalibrate": 2,
        "method.batches": 2,
        "arch": f"{tmp_path / 'net.py'}:Net",
    }
    result = slimmer.prune(
        tmp_path / "net.safetensors",
        "digits",
        flops=0.5,
        epochs=0.1,
        rewrite=True,
        out=tmp_path / "run",
        **options,
    )
    assert result.report["flops"]["ratio"] <= 0.5
    # By hand: kernel, inputs, outputs, places; 2 an element for batch norm; the parameters without
    # the norms' lengths.
    assert (
        result.report["flops"]["dense"]
        == 9 * 6 * 14**2 + 2 * 6 * 14**2 + 9 * 6 * 8 * 12**2 + 8 * 10
    )
    assert result.report["params"]["dense"] == 9 * 6 + 6 + 12 + 9 * 6 * 8 + 8 + 90
    run = Run(tmp_path / "run")
    assert (
        read_weights(run.dense).keys() == model.state_dict().keys()
    )  # the dense network is still the given one
    assert {"conv1.weight", "conv2.weight"} < read_weights(run.slim).keys()
    images = torch.randn(2, 1, 16, 16)
    assert torch.equal(slimmer.load(run.path)(images), result.model(images))
    exported = slimmer.export(run.path)
    assert set(exported["networks"]) == {"dense", "slim"}
    plan, weights = run.plan.read_bytes(), run.slim.read_bytes()
    run.report.unlink()
    resume(run)  # from its start, since the state of a finished run is gone
    assert run.plan.read_bytes() == plan
    assert run.slim.read_bytes() == weights


def test_a_network_with_inputs_of_its_own_is_pruned_without_data():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = GainedConv(2, 6, 3)
            self.conv2 = GainedConv(6, 4, 3)
            self.fc = nn.Linear(4 + 3, 2)
            self.example_inputs = {"x": torch.zeros(2, 2, 8, 8), "y": torch.zeros(2, 3)}

        def forward(self, x, y):
            return self.fc(torch.cat([self.conv2(self.conv1(x).relu()).mean((2, 3)), y], 1))

    torch.manual_seed(0)
    result = slimmer.prune(Two(), flops=0.5, rewrite=True)
    assert result.report["flops"]["ratio"] <= 0.5
    assert result.report["inputs"] == "one call with inputs of 2x2x8x8 and 2x3"


def test_inspect_tells_what_each_layer_costs_and_holds():
    torch.manual_seed(0)
    model = nn.Sequential(
        GainedConv(3, 5, 3), nn.ReLU(), GainedConv(5, 4, 3), nn.Flatten(), nn.Linear(16, 2)
    )
    found = slimmer.inspect(model, input_size=(3, 6, 6), rewrite=True)
    assert found["arch"] == "Sequential"
    assert {
        row["name"]: (row["flops"], row["flops_least"], row["groups"]) for row in found["layers"]
    } == {
        "0": (5 * 3 * 9 * 16, 3 * 9 * 16, ["0"]),
        "2": (4 * 5 * 9 * 4, 9 * 4, ["2"]),
        "4": (32, 8, []),
    }
    plain = slimmer.inspect(model, input_size=(3, 6, 6))
    assert {row["name"]: row["groups"] for row in plain["layers"]} == {"0": [], "2": ["2"], "4": []}


def test_inspect_says_that_channels_of_a_single_unit_stay():
    class Around(
        nn.Module
    ):  # each channel is added to its neighbour, so that none can go without all others
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 6, 1), nn.Linear(6, 2)

        def forward(self, x):
            x = self.conv(x)
            return self.fc((x + torch.cat([x[:, 1:], x[:, :1]], 1)).mean((2, 3)))

    found = slimmer.inspect(Around(), input_size=(3, 6, 6), rewrite=True)
    [group] = found["groups"]
    assert group["size"] == 1
    stays = {"channels": 6, "reason": "the only unit of conv; every group keeps at least one"}
    assert {row["name"]: row["stays"] for row in found["layers"]}["conv"] == [stays]
    assert {row["module"]: row["reasons"] for row in found["held"]}["conv"] == [stays["reason"]]
