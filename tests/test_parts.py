"""Parts of networks that can't be traced: what they computed before, counts by hand, the whole
network run.
"""

import json
from copy import deepcopy

import pytest
import torch
from click.testing import CliRunner
from detectors import Branching, Detector, Pyramid, block, detector
from torch import nn
from torchvision_ops import detection

import slimmer
from slimmer.cli import main
from slimmer.errors import ModelError, RecipeError
from slimmer.graph import Parts, capture
from slimmer.pruning.traced_parts import scope_of

SIZE = (3, 16, 16)


def images(number=1):
    return torch.randn(number, *SIZE, generator=torch.Generator().manual_seed(1))


def conv_flops(entering, leaving, kernel, side):
    return entering * leaving * kernel * kernel * side * side


def test_a_detector_is_pruned_in_its_parts_and_stays_the_detector_that_it_is():
    dense = detector()
    before = deepcopy(dense.state_dict())
    result = slimmer.prune(dense, flops=0.5, input_size=SIZE, trace=("backbone", "head"))
    slim = result.model
    assert type(slim) is Detector
    assert list(slim.state_dict()) == list(before)
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.state_dict().items())
    for answer in slim(list(images(2))):
        assert answer["boxes"].shape == (len(answer["labels"]), 4)
        assert 0 < len(answer["scores"]) <= 5
    widths = {row["name"]: row["slim"] for row in result.report["groups"]}
    stem, deep, mid = (
        widths[name] for name in ("backbone.stem.0", "backbone.deep.0", "head.mid.0")
    )
    assert slim.backbone.deep[0].weight.shape == (deep, stem, 3, 3)
    assert slim.head.mid[0].weight.shape == (mid, 8, 3, 3)
    assert slim.backbone.out["high"].weight.shape == (
        8,
        deep,
        1,
        1,
    )  # the inputs and outputs of a part stay


def test_flops_are_those_of_the_traced_parts_and_parameters_the_whole_network_s():
    result = slimmer.prune(detector(), flops=0.5, input_size=SIZE, trace=("head",))
    head = sum(conv_flops(8, 24, 3, side) + 2 * conv_flops(24, 4, 1, side) for side in (16, 8))
    norms = 2 * 24 * (16 * 16 + 8 * 8)  # fvcore: two an element
    assert result.report["flops"]["dense"] == head + norms
    assert result.report["flops"]["ratio"] <= 0.5
    assert result.report["params"]["dense"] == sum(p.numel() for p in detector().parameters())
    assert result.report["params"]["slim"] == sum(p.numel() for p in result.model.parameters())
    own = {"dense": sum(p.numel() for p in detector().head.parameters())}
    own["slim"] = sum(p.numel() for p in result.model.head.parameters())
    assert result.report["traced"] == {"parts": ["head"], "params": own}
    outside = {
        row["layer"]
        for row in result.report["fixed"]
        if "outside the traced part head" in row["reason"]
    }
    assert outside == {
        "backbone.stem.0",
        "backbone.deep.0",
        "backbone.out.low",
        "backbone.out.high",
    }


def test_the_parts_alone_give_what_they_give_inside_the_network():
    network = detector().double()
    seen = []
    network.head.register_forward_hook(lambda *call: seen.append(call[2]))
    network(images().double())
    calls, inputs = capture(network, (images().double(),), ["head"])
    answers = Parts(network, calls)(*inputs)
    wanted = [*seen[0]["scores"], *seen[0]["boxes"]]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(answers, wanted, strict=True))
    assert [tuple(x.shape) for x in inputs] == [(1, 8, 16, 16), (1, 8, 8, 8)]


def test_names_of_parameters_in_the_parts_are_the_whole_network_s():
    network = detector()
    scope = scope_of(network, SIZE, ["backbone.deep", "head.mid"])
    named = dict(network.named_parameters())
    own = dict(scope.of(network).named_parameters())
    assert {name.rpartition(".")[0] for name in own} == {
        f"{path}.{n}" for path in scope.parts for n in "01"
    }
    assert all(parameter is named[name] for name, parameter in own.items())


def test_a_network_that_can_t_be_traced_names_the_parts_that_can():
    with pytest.raises(ModelError, match=r"--trace backbone,head ") as error:
        slimmer.prune(detector(), flops=0.5, input_size=SIZE)
    assert "can't be traced" in error.value.found


class Inside(nn.Module):
    """A detector in one module: only what lies in that module can be traced."""

    def __init__(self):
        super().__init__()
        self.net = Detector()

    def forward(self, images):
        return self.net(images)


def test_where_a_child_can_t_be_traced_its_own_children_are_named():
    with pytest.raises(ModelError, match=r"--trace net\.backbone,net\.head "):
        slimmer.prune(Inside().eval(), flops=0.5, input_size=SIZE)


def test_a_network_that_can_t_be_called_names_no_parts():
    with pytest.raises(ModelError) as error:
        slimmer.prune(detector(), flops=0.5, input_size=(5, 16, 16))
    assert "--trace" not in str(error.value)


class Listed(nn.Module):
    """Its layers lie in a list that is not called itself; one of them is called three times."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([block(3, 8), block(8, 8)])
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, images):
        x = self.layers[0](images)
        for _ in range(3 if float(x.detach().mean()) < 1e9 else 4):
            x = self.layers[1](x)
        return self.last(x)


def test_a_list_of_layers_is_traced_call_by_call():
    torch.manual_seed(0)
    network = Listed().eval()
    calls, _ = capture(network, (images(),), ["layers"])
    assert [call.path for call in calls] == ["layers.0", "layers.1", "layers.1", "layers.1"]
    with pytest.raises(
        ModelError, match="no channel of the network can be pruned"
    ):  # all of them leave a part
        slimmer.prune(network, flops=0.5, input_size=SIZE, trace=("layers",))


class Peeking(nn.Module):
    """Reads what a part stores, and mixes its channels outside, where nothing is traced."""

    def __init__(self):
        super().__init__()
        self.part = Storing()
        self.other = block(3, 4)

    def forward(self, images):
        answer = self.part(images)
        if float(answer.detach().mean()) > 1e9:
            return answer
        return answer + self.part.seen.mean()


class Storing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = block(3, 16)
        self.second = block(16, 12)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, images):
        self.seen = self.first(images)
        return self.last(self.second(self.seen))


def test_what_a_part_stores_for_the_rest_of_the_network_stays_whole():
    torch.manual_seed(0)
    result = slimmer.prune(Peeking().eval(), flops=0.7, input_size=SIZE, trace=("part",))
    assert [row["name"] for row in result.report["groups"]] == ["part.second.0"]
    held = next(row for row in result.report["fixed"] if row["layer"] == "part.first.0")
    assert "the whole network's outputs differ" in held["reason"]


class Reading(Peeking):
    """Reads a weight of a part from outside."""

    def forward(self, images):
        answer = self.part(images)
        if float(answer.detach().mean()) > 1e9:
            return answer
        return answer + self.part.first[0].weight.sum()


def test_weights_that_the_rest_of_the_network_reads_stay_whole():
    torch.manual_seed(0)
    result = slimmer.prune(Reading().eval(), flops=0.7, input_size=SIZE, trace=("part",))
    assert [row["name"] for row in result.report["groups"]] == ["part.second.0"]
    assert result.model(images()).shape == (1, 4, 16, 16)


class Opaque(nn.Module):
    """A part whose answer is an object of its own."""

    def __init__(self):
        super().__init__()
        self.part = Wrapping()

    def forward(self, images):
        answer = self.part(images).tensor
        return answer if float(answer.detach().mean()) < 1e9 else -answer


class Wrapping(Storing):
    def forward(self, images):
        answer = Held()
        answer.tensor = super().forward(images)
        return answer


class Held:
    tensor = None


def test_a_part_whose_answer_can_t_be_followed_is_refused():
    with pytest.raises(ModelError, match="part returns a Held, whose contents can't be traced"):
        slimmer.prune(Opaque().eval(), flops=0.7, input_size=SIZE, trace=("part",))


def shared():
    network = Peeking()
    network.other = nn.Sequential(network.part.first, nn.Conv2d(16, 4, 1))
    return network.eval()


class Sparing(nn.Module):
    """Gives its head what is certain, which is nothing."""

    def __init__(self):
        super().__init__()
        self.head = Storing()

    def forward(self, images):
        return self.head(images[images.mean((1, 2, 3)) > 1e9])


@pytest.mark.parametrize(
    ("network", "trace", "message"),
    [
        (detector, ("backbon",), "no module of that name\n  did you mean 'backbone'?"),
        (detector, ("head.mod",), "did you mean 'head.mid'?"),
        (Peeking, ("other",), "neither it nor a module in it is called"),
        (
            shared,
            ("part",),
            "part.first.0.weight is shared with other.0.0.weight, which is not traced",
        ),
        (Sparing, ("head",), "head gets an empty tensor, 0x3x16x16"),
    ],
)
def test_parts_that_can_t_be_taken_are_refused_by_name(network, trace, message):
    with pytest.raises(ModelError) as error:
        slimmer.prune(network().eval(), flops=0.5, input_size=SIZE, trace=trace)
    assert message in str(error.value)


def test_parts_and_rewrite_exclude_each_other():
    with pytest.raises(RecipeError, match=r"model\.rewrite"):
        slimmer.prune(detector(), flops=0.5, input_size=SIZE, trace=("head",), rewrite=True)


def test_inspect_looks_at_the_parts_alone():
    found = slimmer.inspect(detector(), input_size=SIZE, trace=["head"])
    assert [row["name"] for row in found["groups"]] == ["head.mid.0"]
    assert "the traced part head in one image of 3x16x16" in found["inputs"]


def test_a_classifier_with_a_branch_is_trained_as_a_whole():
    torch.manual_seed(0)
    settings = {"data.trust": True, "finetune.batch_size": 64}
    result = slimmer.prune(
        Branching(), "digits", flops=0.5, epochs=0.1, trace=("body",), **settings
    )
    assert result.report["flops"]["ratio"] <= 0.5
    assert type(result.model) is Branching
    assert result.model(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """A detector pruned from the command line: the run, and what was printed."""
    folder = tmp_path_factory.mktemp("detector")
    torch.save(detector().state_dict(), folder / "detector.pth")
    options = [
        "--arch",
        f"{__file__.replace('test_parts', 'detectors')}:detector",
        "--trace",
        "backbone,head",
    ]
    run = folder / "run"
    done = CliRunner().invoke(
        main, ["prune", str(folder / "detector.pth"), "--flops", "0.5", "--out", str(run), *options]
    )
    assert done.exit_code == 0, done.output
    return run, done.output


def test_a_run_in_parts_is_loaded_into_the_given_module_and_by_its_architecture(a_run):
    run, _ = a_run
    for slim in (slimmer.load(run, model=detector()), slimmer.load(run)):
        assert (
            sum(p.numel() for p in slim.parameters())
            == json.loads((run / "report.json").read_text())["params"]["slim"]
        )
        assert len(slim(list(images(3)))) == 3


def test_report_and_console_say_whose_flops_and_parameters_they_are(a_run):
    run, printed = a_run
    for text in (" ".join((run / "report.md").read_text().split()), " ".join(printed.split())):
        assert "FLOPs cover only the traced parts backbone and head" in text
        assert "Parameters are those of the whole network" in text


def test_a_run_in_parts_that_was_stopped_ends_with_the_same_plan(a_run):
    run, _ = a_run
    before = (run / "plan.json").read_bytes()
    for name in ("report.json", "plan.json", "slim.safetensors"):
        (run / name).unlink()
    done = CliRunner().invoke(main, ["prune", "--resume", str(run)])
    assert done.exit_code == 0, done.output
    assert (run / "plan.json").read_bytes() == before


def test_a_run_in_parts_is_not_exported_and_says_why(a_run):
    run, _ = a_run
    done = CliRunner().invoke(main, ["export", str(run)])
    assert done.exit_code == 2
    assert "backbone and head" in " ".join(done.output.split())


def test_a_pyramid_alone_can_be_traced_without_parts():
    result = slimmer.prune(Pyramid().eval(), flops=0.5, input_size=SIZE)
    assert result.report["traced"] is None


FEW = {
    "box_nms_thresh": 0.5,
    "rpn_pre_nms_top_n_test": 20,
    "rpn_post_nms_top_n_test": 10,
    "box_score_thresh": 0.0,
}
TWO_STAGES = ("backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "trace"),
    [
        ("ssdlite320_mobilenet_v3_large", {}, ("backbone", "head")),
        (
            "retinanet_resnet50_fpn",
            {"min_size": 64, "max_size": 64, "topk_candidates": 20},
            ("backbone", "head"),
        ),
        (
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            {"min_size": 64, "max_size": 64, **FEW},
            TWO_STAGES,
        ),
    ],
)
def test_torchvision_s_detectors_are_slimmed_whole(name, options, trace):
    torch.manual_seed(0)
    dense = getattr(detection(), name)(
        weights=None, weights_backbone=None, num_classes=5, **options
    ).eval()
    result = slimmer.prune(dense, flops=0.5, input_size=(3, 64, 64), trace=trace)
    assert 0.49 < result.report["flops"]["ratio"] <= 0.5
    assert type(result.model) is type(dense)
    assert list(result.model.state_dict()) == list(dense.state_dict())
    with torch.no_grad():
        answers = result.model([torch.randn(3, 64, 64), torch.randn(3, 48, 64)])
    assert len(answers) == 2
    for answer in answers:
        number = len(answer["scores"])
        assert (answer["boxes"].shape, answer["labels"].shape) == ((number, 4), (number,))


class Wordy(nn.Module):
    """Can't be traced, and says so on pages."""

    def forward(self, images):
        raise ValueError("word " * 10_000)


def test_the_reason_why_a_network_can_t_be_traced_is_no_page():
    with pytest.raises(ModelError, match="word word") as error:
        slimmer.prune(nn.Sequential(nn.Conv2d(3, 4, 1), Wordy()), flops=0.5, input_size=SIZE)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "given", [([torch.zeros(SIZE), torch.zeros(SIZE)],), {"images": [torch.zeros(SIZE)]}]
)
def test_images_of_the_network_s_own_may_come_in_a_list(given):
    dense = detector()
    dense.example_inputs = given
    result = slimmer.prune(dense, flops=0.5, trace=("backbone", "head"))
    number = len(given[0] if isinstance(given, tuple) else given["images"])
    one = slimmer.prune(detector(), flops=0.5, input_size=SIZE, trace=("backbone", "head"))
    assert result.report["flops"]["dense"] == number * one.report["flops"]["dense"]


def test_within_the_traced_parts_patterns_choose_as_ever(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model: {trace: [backbone, head], only: [backbone], keep: [backbone.stem]}\n",
        encoding="utf-8",
    )
    result = slimmer.prune(detector(), flops=0.8, input_size=SIZE, recipe=recipe)
    assert [row["name"] for row in result.report["groups"]] == ["backbone.deep.0"]
