"""Networks by name: against published counts, written-out layouts, and everything a name can get
wrong.
"""

import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, pad

from slimmer.errors import ModelError
from slimmer.models import build, find, names
from slimmer.models.channel_pad import ChannelPad
from slimmer.models.identify import infer_sizes


def fvcore_flops(model, input_size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing fvcore warns
        from fvcore.nn import FlopCountAnalysis

        count = FlopCountAnalysis(model.eval(), torch.zeros(1, *input_size))
        count.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_operator = count.by_operator()
    return sum(by_operator.values()), by_operator["conv"] + by_operator["linear"]


def params(model):
    return sum(each.numel() for each in model.parameters())


# Parameters: the README of akamaster/pytorch_resnet_cifar10 (counted on its checkpoints), table 1
# of Network Slimming (20.04M), torchvision's model pages.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cifar_resnet20", 269_722),
        ("cifar_resnet56", 853_018),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
    ],
)
def test_parameters_are_the_published_ones(name, count):
    assert params(build(name)) == count


def test_vgg19_has_the_parameters_and_flops_of_network_slimming():
    model = build("cifar_vgg19_bn")
    assert f"{params(model) / 1e6:.2f}M" == "20.04M"
    # The paper counts two operations a multiply-add, 7.97e8 in all.
    assert 2 * fvcore_flops(model, (3, 32, 32))[0] == pytest.approx(7.97e8, rel=2e-3)


# The second number is convolutions and linear alone, summed by hand for the CIFAR nets:
# sum of k*k*c_in*c_out*h*w. The first adds batch norm (2 an element) and pooling, as fvcore does.
@pytest.mark.parametrize(
    ("name", "every", "multiply_adds"),
    [
        ("cifar_resnet20_b", 41_218_688, 40_813_184),
        ("cifar_resnet20", 40_931_968, 40_551_040),
        ("cifar_resnet56", 126_554_752, 125_485_696),
        ("resnet34", 3_671_262_720, 3_663_761_408),
        ("resnet50", 4_111_512_576, 4_089_184_256),
    ],
)
def test_flops_are_the_known_ones(name, every, multiply_adds):
    architecture = find(name)
    assert fvcore_flops(build(architecture), architecture.input_size) == (every, multiply_adds)


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 44, 56, 110])
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_a_cifar_resnet_has_the_layout_of_its_public_checkpoints(depth, suffix):
    blocks = (depth - 2) // 6
    normed = {"conv1": 1, "bn1": 4, "linear": 2}
    for stage in (1, 2, 3):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            normed |= {f"{at}.conv1": 1, f"{at}.bn1": 4, f"{at}.conv2": 1, f"{at}.bn2": 4}
        if suffix and stage > 1:
            normed |= {f"layer{stage}.0.shortcut.0": 1, f"layer{stage}.0.shortcut.1": 4}
    tensors = {
        1: ["weight"],
        2: ["weight", "bias"],
        4: ["weight", "bias", "running_mean", "running_var"],
    }
    expected = {f"{layer}.{each}" for layer, count in normed.items() for each in tensors[count]}
    with torch.device("meta"):
        own = build(f"cifar_resnet{depth}{suffix}").state_dict()
    assert {key for key in own if not key.endswith("num_batches_tracked")} == expected


@pytest.mark.parametrize(("depth", "factor"), [(10, 1), (16, 4), (28, 10), (40, 2)])
def test_a_wide_resnet_has_the_layout_of_its_public_checkpoints(depth, factor):
    """Keys and shapes of github.com/xternalz/WideResNet-pytorch, written out."""
    shapes = {"conv1.weight": (16, 3, 3, 3), "fc.weight": (10, 64 * factor), "fc.bias": (10,)}
    norms = {"bn1": 64 * factor}
    entering = 16
    for stage, width in ((1, 16 * factor), (2, 32 * factor), (3, 64 * factor)):
        for block in range((depth - 4) // 6):
            at = f"block{stage}.layer.{block}"
            norms |= {f"{at}.bn1": entering, f"{at}.bn2": width}
            shapes |= {
                f"{at}.conv1.weight": (width, entering, 3, 3),
                f"{at}.conv2.weight": (width, width, 3, 3),
            }
            if entering != width:
                shapes[f"{at}.convShortcut.weight"] = (width, entering, 1, 1)
            entering = width
    for norm, width in norms.items():
        shapes |= {
            f"{norm}.{each}": (width,) for each in ("weight", "bias", "running_mean", "running_var")
        }
    with torch.device("meta"):
        own = build(f"cifar_wrn{depth}_{factor}").state_dict()
    assert {
        key: tuple(own[key].shape) for key in own if not key.endswith("num_batches_tracked")
    } == shapes


def activated(weights, norm, x):
    statistics = (
        weights[f"{norm}.{each}"] for each in ("running_mean", "running_var", "weight", "bias")
    )
    return batch_norm(x, *statistics).relu()


def pre_activation(weights, x, stage, convolutions, shortcut):
    """Stage by stage as the papers draw it: BN, ReLU, convolution; the shortcut's own one reads the
    first ReLU.
    """
    x = conv2d(x, weights["conv1.weight"], padding=1)
    for number in (1, 2, 3):
        for block in range(2):
            at = f"{stage.format(number)}.{block}"
            inner = active = activated(weights, f"{at}.bn1", x)
            for k in range(1, convolutions + 1):
                weight = weights[f"{at}.conv{k}.weight"]
                # the first 3x3 convolution of the second and third stage halves the map
                first = weight.shape[-1] == 3 and (k == 1 or convolutions == 3)
                stride = 2 if number > 1 and block == 0 and first else 1
                inner = activated(weights, f"{at}.bn{k}", inner) if k > 1 else active
                inner = conv2d(inner, weight, stride=stride, padding=weight.shape[-1] // 2)
            around = weights.get(f"{at}.{shortcut}.weight")
            x = inner + (
                x if around is None else conv2d(active, around, stride=2 if number > 1 else 1)
            )
    return x


@pytest.mark.parametrize(
    ("name", "stage", "convolutions", "shortcut", "norm", "head"),
    [
        ("cifar_preresnet20", "layer{}", 3, "shortcut", "bn", "linear"),
        ("cifar_wrn16_4", "block{}.layer", 2, "convShortcut", "bn1", "fc"),
    ],
)
def test_a_pre_activation_net_computes_what_its_paper_draws(
    name, stage, convolutions, shortcut, norm, head
):
    generator = torch.Generator().manual_seed(0)
    model = build(name).double().eval()
    weights = model.state_dict()
    for tensor in weights.values():
        if tensor.dim() == 1:
            tensor.uniform_(0.2, 1.0, generator=generator)
    image = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=generator)
    x = activated(weights, norm, pre_activation(weights, image, stage, convolutions, shortcut))
    wanted = x.mean((2, 3)) @ weights[f"{head}.weight"].T + weights[f"{head}.bias"]
    with torch.no_grad():
        assert torch.allclose(model(image), wanted, rtol=1e-10)


def test_a_shortcut_without_parameters_pads_a_quarter_of_its_output_on_both_sides():
    shortcut = build("cifar_resnet8").layer3[0].shortcut
    assert (shortcut.before, shortcut.after, shortcut.stride) == (16, 16, 2)
    x = torch.arange(2 * 32 * 8 * 8.0).reshape(2, 32, 8, 8)
    padded = shortcut(x)
    assert padded.shape == (2, 64, 4, 4)
    assert torch.equal(padded, pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 16, 16), "constant", 0))
    assert torch.equal(padded[1, 16 + 5], x[1, 5, ::2, ::2])


def test_a_shortcut_reads_its_counts_when_it_runs():
    shortcut = ChannelPad(1, 1, 1)
    shortcut.before, shortcut.after = 0, 3
    assert shortcut(torch.ones(1, 2, 2, 2)).mean(dim=(0, 2, 3)).tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("name", names())
def test_every_network_takes_other_classes_and_channels(name):
    architecture = find(name)
    model = build(name, num_classes=7, in_channels=1).eval()
    side = 16 if architecture.input_size[1] == 32 else 64
    with torch.no_grad():
        logits = model(torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 7)
    assert bool(logits.isfinite().all())
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", ["cifar_resnet8", "resnet18"])
def test_weights_are_random_and_follow_the_seed(name):
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(build(name).conv1.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_resnet_computes_what_torchvisions_does():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"torchvision can't be imported: {error}")
    for name in ("resnet18", "resnet34", "resnet50"):
        theirs, ours = torchvision.models.get_model(name, weights=None).eval(), build(name).eval()
        ours.load_state_dict(theirs.state_dict())
        x = torch.rand(2, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(ours(x), theirs(x))


def test_a_name_that_is_not_known_gets_the_nearest():
    with pytest.raises(ModelError, match="'cifar_resnet_20' is not known") as caught:
        find("cifar_resnet_20")
    assert "did you mean 'cifar_resnet20'" in caught.value.right
    assert "torchvision/NAME, timm/NAME" in caught.value.right


# Packages: small stand-ins with the same calls, so that the tests need neither package.

TORCHVISION = """
from types import SimpleNamespace
from torch import nn
def list_models(module):
    return {models: ["tiny", "bare"], segmentation: ["parts", "fine"]}[module]
def get_model_weights(name):
    if name == "bare":
        return SimpleNamespace()
    size = {"resize_size": 520} if name in ("parts", "fine") else {"crop_size": 96}
    return SimpleNamespace(DEFAULT=SimpleNamespace(transforms=SimpleNamespace(keywords=size)))
def get_model(name, *, weights, num_classes, **options):
    assert weights is None
    plain = {"weights_backbone": None}
    wanted = {"parts": {**plain, "aux_loss": True}, "fine": plain}
    assert options.keys() == wanted.get(name, {}).keys()
    heads = [nn.Linear(4, num_classes) for _ in range(1 + options.get("aux_loss", False))]
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), *heads)
def parts(*, weights=None, aux_loss=None, weights_backbone="downloaded"): ...
def fine(*, weights=None, weights_backbone="downloaded"): ...
class Namespace(SimpleNamespace):
    __hash__ = object.__hash__
segmentation = Namespace()
models = Namespace(
    list_models=list_models, get_model_weights=get_model_weights, get_model=get_model,
    segmentation=segmentation,
    get_model_builder=lambda name: globals()[name])
"""
TIMM = """
from types import SimpleNamespace
from torch import nn
def list_models():
    return ["tiny"]
def get_pretrained_cfg(name):
    return SimpleNamespace(input_size=(3, 160, 160), num_classes=21)
def create_model(name, *, pretrained, num_classes, in_chans):
    assert pretrained is False
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    def install(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(sys.modules, name, None)  # the stand-in is forgotten after the test
        del sys.modules[name]

    return install


def test_torchvisions_classifiers_go_by_name(package):
    package("torchvision", TORCHVISION)
    assert find("torchvision/tiny").input_size == (3, 96, 96)
    assert find("torchvision/bare").input_size == (3, 224, 224)
    assert build("torchvision/tiny")[-1].out_features == 1000
    assert build("torchvision/tiny", num_classes=5)[-1].out_features == 5
    with pytest.raises(ModelError, match="1 input channels were requested"):
        build("torchvision/tiny", in_channels=1)
    with pytest.raises(ModelError, match=r"no network 'tinny'\n.*did you mean tiny\?"):
        find("torchvision/tinny")


@pytest.mark.parametrize("name", ["parts", "fine"])
def test_torchvisions_segmentation_nets_go_by_name_and_download_nothing(package, name):
    package("torchvision", TORCHVISION)
    assert find(f"torchvision/{name}").input_size == (3, 520, 520)
    assert build(f"torchvision/{name}")[-1].out_features == 21
    for form in (name, "parts+aux")[: 1 + (name == "parts")]:
        weights = build(f"torchvision/{form}", num_classes=5).state_dict()
        found = infer_sizes(f"torchvision/{name}", weights)
        assert (found.arch.name, found.num_classes) == (f"torchvision/{form}", 5)
    with pytest.raises(ModelError, match=r"no network 'fine\+aux'"):
        find("torchvision/fine+aux")


def test_timms_classifiers_go_by_name_with_or_without_a_tag(package):
    package("timm", TIMM)
    assert find("timm/tiny.a1_in1k").input_size == (3, 160, 160)
    model = build("timm/tiny", in_channels=1)
    assert (model[0].in_channels, model[-1].out_features) == (1, 21)
    with pytest.raises(ModelError, match="timm has no network 'huge'"):
        find("timm/huge")


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_a_package_that_is_not_there_is_said_with_how_to_get_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ModelError, match=f"{name} is not installed\n.*pip install 'slimmer\\[{name}\\]'"
    ):
        find(f"{name}/resnet18")


def test_a_package_that_can_not_be_imported_says_why(package):
    package("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    with pytest.raises(ModelError, match="importing torchvision fails: operator torchvision::nms"):
        find("torchvision/resnet18")


# The user's own files.

NET = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Size:
    width: int = 4

def plain():
    return nn.Sequential(nn.Conv2d(1, Size().width, 3), nn.Flatten(), nn.Linear(4, 6))

def sized(num_classes=5, in_channels=2):
    net = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.Linear(4, num_classes))
    net.input_size = [in_channels, 24, 20]
    return net

def anything(**sizes):
    return sized(**sizes)

def needs(depth):
    return sized()

def fails():
    raise ValueError("no such depth")

def wrong_size():
    net = plain()
    net.input_size = (3, 32)
    return net

def no_net():
    return {"a": 1}

def no_convolution():
    return nn.ReLU()

number = 3
"""


@pytest.fixture
def net_file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def test_a_file_names_a_network(net_file):
    plain = find(f"{net_file}:plain")
    assert (plain.input_size, plain.num_classes) == ((1, 224, 224), 6)
    assert isinstance(build(plain, num_classes=3), nn.Sequential)  # its signature takes no sizes
    assert build(plain, num_classes=3)[-1].out_features == 6


@pytest.mark.parametrize("factory", ["sized", "anything"])
def test_a_files_factory_gets_the_sizes_that_it_takes(net_file, factory):
    architecture = find(f"{net_file}:{factory}")
    assert (architecture.input_size, architecture.num_classes) == ((2, 24, 20), 5)
    model = build(architecture, num_classes=9, in_channels=3)
    assert (model[0].in_channels, model[-1].out_features) == (3, 9)


def test_asking_for_a_files_network_leaves_the_random_numbers_alone(net_file):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    find(f"{net_file}:plain")
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        ("", "the function is missing"),
        (":", "the function is missing"),
        (":plane", "the file has no 'plane'\n.*did you mean 'plain'"),
        (":number", "'number' is a int"),
        (":needs", "the factory raises TypeError: needs.. missing 1 required"),
        (":fails", "the factory raises ValueError: no such depth"),
        (":no_net", "the factory returns a dict"),
        (":wrong_size", r"its input_size is \(3, 32\)"),
        (":no_convolution", "its network has no convolution"),
    ],
)
def test_what_a_file_does_not_give_is_said(net_file, tail, found):
    with pytest.raises(ModelError, match=found) as caught:
        find(f"{net_file}{tail}")
    assert caught.value.where == f"{net_file}{tail}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f(:", "SyntaxError"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere"),
    ],
)
def test_a_file_that_can_not_be_imported_says_why(tmp_path, text, found):
    path = tmp_path / "net.py"
    path.write_text(text)
    with pytest.raises(ModelError, match=f"importing .*net.py raises {found}"):
        find(f"{path}:f")
    assert str(path) not in sys.modules


def test_a_file_that_is_not_there_is_said():
    with pytest.raises(ModelError, match=r"the file nowhere.net\.py does not exist"):
        find(f"{Path('nowhere') / 'net.py'}:make")
