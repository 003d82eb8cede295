"""Networks that take something else than one image: traced, counted, cut and loaded by example
inputs of their own.
"""

import json
import subprocess
import sys

import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import slimmer
from slimmer.cli import main
from slimmer.errors import ModelError
from slimmer.graph import example_inputs, own_inputs, shapes

SIZES = "2x3x8x8 float32 and 2x4 float32"
SOURCE = '''
import torch
from torch import nn


class Detector(nn.Module):
    """An image and facts about it in; boxes and classes out."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU()
        )
        self.row = nn.Linear(4, 24)
        self.boxes = nn.Conv2d(24, 4, 1)
        self.classes = nn.Conv2d(24, 6, 1)

    def forward(self, image, facts):
        x = self.backbone(image) * self.row(facts["row"]).sigmoid()[:, :, None, None]
        return {"boxes": self.boxes(x), "classes": self.classes(x)}


def make():
    net = Detector()
    net.example_inputs = {"image": torch.randn(2, 3, 8, 8), "facts": {"row": torch.randn(2, 4)}}
    return net


class Waves(nn.Sequential):
    def __init__(self):
        first = nn.Conv1d(1, 8, 5), nn.BatchNorm1d(8), nn.ReLU()
        super().__init__(*first, nn.Conv1d(8, 12, 5), nn.ReLU())
        self.example_inputs = torch.randn(2, 1, 40)


class Clips(nn.Sequential):
    def __init__(self):
        first = nn.Conv3d(2, 8, 3), nn.BatchNorm3d(8), nn.ReLU()
        super().__init__(*first, nn.Conv3d(8, 12, 3), nn.ReLU())
        self.example_inputs = (torch.randn(2, 2, 6, 6, 6),)
'''


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    return path


def run(*arguments):
    result = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def checkpoint(file, name):
    """The weights of the network that `name` makes in `file`, and the network."""
    namespace = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    torch.manual_seed(0)
    net = namespace[name]().eval()
    path = file.with_name("net.pth")
    torch.save(net.state_dict(), path)
    return path, net


def test_a_network_of_several_inputs_and_outputs_is_pruned_from_the_command_line(file):
    path, net = checkpoint(file, "make")
    arch = ("--arch", f"{file}:make")
    found = json.loads(run("inspect", path, *arch, "--json"))
    assert found["inputs"] == "one call with inputs of 2x3x8x8 and 2x4"
    assert found["classes"] is None
    assert {group["name"]: group["size"] for group in found["groups"]} == {
        "backbone.0": 16,
        "backbone.2": 24,
    }
    # By hand: two calls of kernel x inputs x outputs x places
    layers = {row["name"]: row["flops"] for row in found["layers"]}
    assert layers["backbone.2"] == 2 * 9 * 16 * 24 * 64
    report = json.loads(run("prune", path, *arch, "--flops", "0.5", "--out", "run", "--json"))
    assert report["flops"]["ratio"] <= 0.5
    slim = slimmer.load("run")
    with torch.no_grad():
        boxes, dense = slim(**net.example_inputs)["boxes"], net(**net.example_inputs)["boxes"]
    assert boxes.shape == dense.shape == (2, 4, 8, 8)
    assert (
        slim.backbone[2].out_channels == slim.row.out_features == report["groups"][1]["slim"] < 24
    )


def test_a_network_of_several_inputs_is_exported_as_its_example_is(file):
    path, net = checkpoint(file, "make")
    run("prune", path, "--arch", f"{file}:make", "--flops", "0.5", "--out", "run")
    found = json.loads(run("export", "run", "--torch", "--json"))["networks"]
    assert set(found) == {"dense", "slim", "slim.pt2"}
    for entry in found.values():
        assert set(entry["parity"]) == {"example", "random"}
        assert max(each["max_rel"] for each in entry["parity"].values()) < 1e-4
        assert (entry["batch"], entry["image_size"], entry["accuracy"]) == (
            "as the example's",
            SIZES,
            None,
        )
    session = onnxruntime.InferenceSession("run/slim.onnx")
    image, facts = session.get_inputs()
    assert (image.name, image.shape, facts.shape) == ("image", [2, 3, 8, 8], [2, 4])
    example = net.example_inputs
    boxes, classes = session.run(
        None, {image.name: example["image"].numpy(), facts.name: example["facts"]["row"].numpy()}
    )
    with torch.no_grad():
        expected = slimmer.load("run")(**example)
    assert torch.allclose(torch.tensor(boxes), expected["boxes"], atol=1e-5)
    assert torch.allclose(torch.tensor(classes), expected["classes"], atol=1e-5)
    assert SIZES in run("export", "run")


@pytest.mark.parametrize("option", [["--fp16"], ["--int8"], ["--batch", "4"], ["--dynamic-size"]])
def test_what_only_images_can_be_exported_as_is_refused_for_inputs_of_its_own(file, option):
    path, _ = checkpoint(file, "Waves")
    run("prune", path, "--arch", f"{file}:Waves", "--flops", "0.5", "--out", "run")
    before = sorted((file.parent / "run").iterdir())
    result = CliRunner().invoke(main, ["export", "run", *option])
    assert result.exit_code == 2
    assert "exactly the sizes of these inputs" in result.stderr
    assert "leave out --fp16, --int8, --batch and --dynamic-size" in result.stderr
    assert sorted((file.parent / "run").iterdir()) == before


class Sound(nn.Module):
    """Takes samples as whole numbers, and something that is called as an output of the file is."""

    def __init__(self, inputs):
        super().__init__()
        self.one, self.two, self.head = nn.Conv1d(1, 8, 3), nn.Conv1d(8, 8, 3), nn.Linear(8, 4)
        self.example_inputs = inputs

    def forward(self, sound, logits):
        x = torch.relu(self.two(torch.relu(self.one(sound.to(self.one.weight.dtype) / 100))))
        return self.head(x.mean(2)) + logits


@pytest.fixture
def sound(tmp_path):
    torch.manual_seed(0)
    net = Sound((torch.randint(-99, 99, (2, 1, 30), dtype=torch.int16), torch.randn(2, 4)))
    slimmer.prune(net, flops=0.6, out=tmp_path / "run")
    return net


def test_whole_numbers_and_a_name_that_outputs_have_are_exported(sound, tmp_path):
    found = slimmer.export(tmp_path / "run", model=sound)["networks"]["slim"]
    assert found["image_size"] == "2x1x30 int16 and 2x4 float32"
    assert found["parity"]["example"]["top1_agreement"] is None
    session = onnxruntime.InferenceSession(tmp_path / "run" / "slim.onnx")
    assert [each.name for each in session.get_inputs()] == ["sound", "logits"]
    assert [each.name for each in session.get_outputs()] == ["logits_out"]


def test_another_example_makes_another_file(sound, tmp_path):
    run = tmp_path / "run"
    slimmer.export(run, model=sound, torch=True)
    sound.example_inputs = (
        torch.randint(-99, 99, (3, 1, 40), dtype=torch.int16),
        torch.randn(3, 4),
    )
    found = slimmer.export(run, model=sound, torch=True)["networks"]
    assert not any(entry["reused"] for entry in found.values())
    assert onnxruntime.InferenceSession(run / "slim.onnx").get_inputs()[0].shape == [3, 1, 40]
    assert all(
        entry["reused"]
        for entry in slimmer.export(run, model=sound, torch=True)["networks"].values()
    )


def test_a_network_in_double_precision_is_exported_in_float32(sound, tmp_path):
    sound.double()
    found = slimmer.export(tmp_path / "run", model=sound)["networks"]["slim"]
    assert found["parity"]["random"]["max_rel"] < 1e-4


def test_a_module_without_the_example_is_refused(sound, tmp_path):
    sound.example_inputs = None
    with pytest.raises(slimmer.SlimmerError, match="needs example_inputs, and the module has none"):
        slimmer.export(tmp_path / "run", model=sound)


def test_a_network_of_inputs_of_its_own_is_not_timed(file):
    path, _ = checkpoint(file, "make")
    run("prune", path, "--arch", f"{file}:make", "--flops", "0.5", "--out", "run")
    result = CliRunner().invoke(main, ["profile", "run"])
    assert result.exit_code == 2
    assert "only networks that take one image are timed" in result.stderr


@pytest.mark.parametrize("name", ["Waves", "Clips"])
def test_sounds_and_clips_are_pruned_by_an_example(file, name):
    path, net = checkpoint(file, name)
    report = json.loads(
        run("prune", path, "--arch", f"{file}:{name}", "--flops", "0.5", "--out", "run", "--json")
    )
    assert report["flops"]["ratio"] <= 0.5
    slim = slimmer.load("run")
    example = (
        net.example_inputs
        if isinstance(net.example_inputs, torch.Tensor)
        else net.example_inputs[0]
    )
    assert slim(example).shape == net(example).shape
    assert slim[0].out_channels < 8


def test_only_the_part_that_is_asked_for_is_pruned(file):
    path, _ = checkpoint(file, "make")
    arch = ("--arch", f"{file}:make")
    found = json.loads(run("inspect", path, *arch, "--only", "backbone.0", "--json"))
    assert [group["name"] for group in found["groups"]] == ["backbone.0"]
    reasons = {row["name"]: [each["reason"] for each in row["stays"]] for row in found["layers"]}
    assert reasons["backbone.2"] == reasons["row"] == ["not selected by 'backbone.0'"]
    assert "not selected by 'backbone.0'" in run("inspect", path, *arch, "--only", "backbone.0")


def test_an_example_that_is_none_is_refused():
    net = nn.Conv2d(1, 2, 1)
    assert own_inputs(net) is None
    for wrong in ("image", 3, (), {}):
        net.example_inputs = wrong
        with pytest.raises(ModelError, match="give a tensor, a tuple of tensors, or a dictionary"):
            own_inputs(net)


def test_an_example_without_content_is_refused():
    net = nn.Conv2d(1, 2, 1)
    net.example_inputs = {"input": torch.zeros(0, 1, 8, 8)}
    with pytest.raises(ModelError, match="contain an empty tensor, 0x1x8x8"):
        own_inputs(net)


def test_a_call_with_too_few_inputs_is_told_before_it_is_traced():
    net = nn.Bilinear(3, 3, 2)
    with pytest.raises(ModelError, match=r"does not take a single image: .*'input2'") as error:
        example_inputs(net, (3, 8, 8), images=2)
    assert "example_inputs" in error.value.right
    with pytest.raises(ModelError, match=r"1 example_inputs: .*'input2'"):
        example_inputs(net, (torch.zeros(2, 3),), images=2)


def test_pytorchs_own_logs_of_a_failing_trace_are_not_shown(file):
    source = (
        file.read_text()
        + """

class Wrong(Detector):
    example_inputs = (torch.zeros(2, 3, 8, 8), {"row": torch.zeros(5, 4)})


class Choice(nn.Sequential):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


def choice():
    net = Choice(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1))
    net.example_inputs = torch.zeros(2, 3, 8, 8)
    return net
"""
    )
    file.write_text(source)
    for name in ("Wrong", "choice"):
        path, _ = checkpoint(file, name)
        ran = subprocess.run(
            [sys.executable, "-m", "slimmer", "inspect", path, "--arch", f"{file}:{name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stdout) == (2, "")
        assert len(ran.stderr.splitlines()) == 2, ran.stderr
        assert "can't be traced" in ran.stderr


def test_shapes_of_what_is_nested_are_told():
    row = torch.zeros(2, 4)
    assert (
        shapes((row, {"a": row, "b": [row[0], None]}))
        == "one call with inputs of 2x4 and 2x4 and 4"
    )
    assert shapes({"a": row}) == "one call with inputs of 2x4"


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, image, *, shift=None, **rest):
        return self.conv(image) + (0 if shift is None else shift) + sum(rest.values())


@pytest.mark.parametrize("name", ["shift", "other"])
def test_an_input_that_is_taken_by_name_alone_is_refused_and_not_left_out(name):
    image = torch.randn(2, 3, 4, 4)
    with pytest.raises(
        ModelError, match=f"takes '{name}' as keyword-only arguments, which would not be traced"
    ):
        example_inputs(ByName(), {"image": image, name: image[:, :1]}, 2)
    assert len(example_inputs(ByName(), {"image": image}, 2)) == 1
