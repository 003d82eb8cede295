"""The nets that the compared papers prune: their size against what is printed, and each cut to half
and to a fifth.
"""

from functools import cache

import pytest
import torch
from torch import nn

from slimmer.costs import Budget, flops_cost, params_cost
from slimmer.costs.flops import count_by_module, count_conv_linear, count_flops
from slimmer.criteria import magnitude_scores
from slimmer.errors import CheckpointError
from slimmer.graph import build_graph
from slimmer.models import build, find
from slimmer.models.identify import identify
from slimmer.pruning.allocate import allocate
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import full_plan

# Each was read at the place named, but for those marked *, which are written from memory of the
# publication.
HE = "He et al. 2015, table 6, as quoted by akamaster/pytorch_resnet_cifar10"
LI = "* Li et al. 2016, table 1 (1 per multiply-add)"
CHIP = "baselines of HRank and CHIP, README (1 per multiply-add)"
CHENYAOFO = "chenyaofo/pytorch-cifar-models, README (#MAdds, convolutions and linear layers)"
SLIMMING = "Liu et al. 2017, Network Slimming, table 1"
WRN = "* Zagoruyko and Komodakis 2016, table 3"
TORCHVISION = "* torchvision's weight metadata (num_params, _ops)"

# Name, parameters and multiply-adds of convolutions and linear layers; "" where the source prints
# none.
PRINTED = [
    ("cifar_resnet20", "0.27M", "", HE),
    ("cifar_resnet32", "0.46M", "", HE),
    ("cifar_resnet44", "0.66M", "", HE),
    ("cifar_resnet56", "0.85M", "", HE),
    ("cifar_resnet110", "1.7M", "", HE),
    ("cifar_resnet56", "0.85M", "125.49M", CHIP),
    ("cifar_resnet110", "", "252.89M", CHIP),  # its 1.72M is 1,727,962 cut off, not rounded
    ("cifar_resnet56", "8.5e5", "1.25e8", LI),
    ("cifar_resnet110", "", "2.53e8", LI),
    ("cifar_resnet20_b", "0.27M", "40.81M", CHENYAOFO),
    ("cifar_resnet32_b", "0.47M", "69.12M", CHENYAOFO),
    ("cifar_resnet44_b", "0.66M", "97.44M", CHENYAOFO),
    ("cifar_resnet56_b", "0.86M", "125.75M", CHENYAOFO),
    ("cifar_vgg16_bn", "1.5e7", "3.13e8", LI),
    ("cifar_vgg19_bn", "20.04M", "", SLIMMING),
    ("cifar_preresnet164", "1.70M", "", SLIMMING),
    ("cifar_wrn40_2", "2.2M", "", WRN),
    ("cifar_wrn28_10", "36.5M", "", WRN),
    ("resnet34", "21,797,672", "3.664G", TORCHVISION),
]

# osmr/imgclsmob (pytorchcv): parameters to the last one, and "FLOPs/2", which has norms,
# activations and sums in it.
IMGCLSMOB = [
    ("cifar_resnet20_b", 272_474, 41.29e6),
    ("cifar_resnet56_b", 855_770, 127.06e6),
    ("cifar_resnet110_b", 1_730_714, 255.70e6),
    ("cifar_preresnet164", 1_703_258, 255.08e6),
    ("cifar_wrn28_10", 36_479_194, 5_246.98e6),
    ("resnet34", 21_797_672, 3_672.68e6),
]
SCALES = {"M": 1e6, "G": 1e9}


def like(count, text):
    """A count in the form and to the precision of a printed one."""
    digits = len(text.rstrip("MG").partition("e")[0].partition(".")[2])
    if "e" in text:
        return f"{count:.{digits}e}".replace("e+0", "e")
    scale = SCALES.get(text[-1])
    return f"{count / scale:.{digits}f}{text[-1]}" if scale else f"{count:,}"


@cache
def counted(name):
    """Parameters, multiply-adds of convolutions and linear layers, and everything that fvcore
    counts.
    """
    architecture = find(name)
    model, size = build(architecture), architecture.input_size
    by_module = count_by_module(model, size)
    layers = sum(count for (_, kind), count in by_module.items() if kind in ("conv", "linear"))
    assert 2 * layers == count_conv_linear(model, size)  # torch's own counter: two per multiply-add
    return params_of(model), layers, sum(by_module.values())


def params_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "parameters", "multiply_adds", "source"), PRINTED)
def test_a_net_has_the_size_that_is_printed(name, parameters, multiply_adds, source):
    found = counted(name)
    for count, text in zip(found, (parameters, multiply_adds), strict=False):
        assert not text or like(count, text) == text, source


@pytest.mark.parametrize(("name", "parameters", "everything"), IMGCLSMOB)
def test_a_net_has_the_size_that_pytorchcv_counts(name, parameters, everything):
    assert counted(name)[0] == parameters
    assert counted(name)[2] == pytest.approx(everything, rel=5e-3)


@pytest.mark.parametrize(
    ("name", "printed_parameters", "printed"),
    [("cifar_vgg16_bn", 15.25, 313.73), ("cifar_vgg19_bn", 20.57, 398.66)],
)
def test_a_vgg_is_chenyaofos_without_its_hidden_linear_layers_and_biases(
    name, printed_parameters, printed
):
    parameters, multiply_adds, _ = counted(name)
    biases = sum(
        module.out_channels for module in build(name).modules() if isinstance(module, nn.Conv2d)
    )
    assert round((parameters + biases + 2 * (512 * 512 + 512)) / 1e6, 2) == printed_parameters
    assert round((multiply_adds + 2 * 512 * 512) / 1e6, 2) == printed


def test_network_slimming_counts_two_per_multiply_add_and_a_little_more():
    """Its 7.97e8 and 4.99e8 are above twice our convolutions and linear layers, by less than 1
    %.
    """
    for name, printed in (("cifar_vgg19_bn", 7.97e8), ("cifar_preresnet164", 4.99e8)):
        assert 1 < printed / (2 * counted(name)[1]) < 1.01
    of_a_hundred_classes = params_of(build("cifar_preresnet164", num_classes=100))
    assert like(of_a_hundred_classes, "1.73M") == "1.73M"  # * table 1 again


def test_li_counts_resnet34_without_its_projections():
    """3.64e9 multiply-adds and 2.16e7 parameters, from memory of table 1; He et al. 2015 print
    3.6e9 in their own.
    """
    projections = [(64, 128, 28), (128, 256, 14), (256, 512, 7)]
    parameters, multiply_adds, _ = counted("resnet34")
    without = multiply_adds - sum(
        entering * leaving * side**2 for entering, leaving, side in projections
    )
    assert like(without, "3.64e9") == "3.64e9"
    without = parameters - sum(
        entering * leaving + 2 * leaving for entering, leaving, _ in projections
    )
    assert like(without, "2.16e7") == "2.16e7"


# Pruned, each with the invariants. Smaller images cost less and change nothing about channels.

SMALL = (3, 16, 16)
QUICK = [
    "cifar_resnet20",
    "cifar_resnet20_b",
    "cifar_preresnet11",
    "cifar_wrn10_1",
    "cifar_vgg16_bn",
]
LONG = [
    *(f"cifar_resnet{depth}{suffix}" for suffix in ("", "_b") for depth in (32, 44, 56, 110)),
    "cifar_vgg19_bn", "cifar_preresnet164", "cifar_wrn28_10", "resnet34",
]  # fmt: skip


def alive(name):
    """A net in float64 whose norms scale, shift and have statistics of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(name).double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                for tensor in (module.running_var, module.weight.data, module.bias.data):
                    tensor.uniform_(0.5, 1.0)
    return model


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]
)
def test_a_net_is_cut_to_half_and_to_a_fifth_of_its_flops(name):
    model = alive(name)
    size = SMALL if name.startswith("cifar") else (3, 64, 64)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    graph = build_graph(model, size)
    flops, params = flops_cost(model, graph, size), params_cost(model, graph)
    assert flops.dense == count_flops(model, size)
    scores = magnitude_scores(model, graph)
    images = torch.randn(2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        dense = model(images)
        assert torch.equal(prune(model, full_plan(graph))(images), dense)
        for share in (0.5, 0.2):
            plan = allocate(scores, graph, [Budget(flops, share * flops.dense)])
            slim = prune(model, plan)
            remaining = count_flops(slim, size)
            assert flops.exact(plan.widths) == remaining
            assert params.exact(plan.widths) == params_of(slim)
            assert (share - 0.005) * flops.dense <= remaining <= share * flops.dense
            assert min(plan.widths) >= 1
            wanted = Masked(model, graph, hard_mask(plan, torch.float64))(images)
            assert (slim(images) - wanted).abs().max() < 1e-10 * wanted.abs().max()
            assert (
                wanted - dense
            ).abs().max() > 1e-3 * dense.abs().max()  # or the masks did nothing
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


# The pre-activation nets: which channels go together, and whose weights are not theirs.


@pytest.mark.parametrize(("name", "stage", "last"), [
    ("cifar_preresnet20", "layer{}", "conv3"),
    ("cifar_wrn16_4", "block{}.layer", "conv2"),
])  # fmt: skip
def test_the_stream_of_a_pre_activation_net_is_one_group_a_stage(name, stage, last):
    model = build(name)
    graph = build_graph(model, SMALL)
    assert [row.layer for row in graph.fixed] == [next(reversed(dict(model.named_children())))]
    makers = {layer.out_axis: layer.name for layer in graph.layers}
    found = {
        frozenset(makers[part.axis] for part in group.slices if part.axis in makers)
        for group in graph.groups
    }
    expected = {frozenset({"conv1"})}
    for at in (stage.format(number) for number in (1, 2, 3)):
        convs = [
            key
            for key, module in model.named_modules()
            if key.startswith(at) and isinstance(module, nn.Conv2d)
        ]
        stream = {key for key in convs if key.endswith((last, "hortcut"))}
        assert len(stream) == 3  # two blocks and the shortcut of the first
        expected |= {frozenset(stream), *(frozenset({key}) for key in convs if key not in stream)}
    assert found == expected


def test_a_preresnet_of_network_slimming_is_not_taken_for_ours():
    """Its shortcuts read what is not activated yet: the same shapes, another function."""
    names = {"linear": "fc", "shortcut": "downsample.0"}
    weights = build("cifar_preresnet20").state_dict()
    for own, theirs in names.items():
        weights = {key.replace(own, theirs): tensor for key, tensor in weights.items()}
    with pytest.raises(CheckpointError, match="the nearest is cifar_preresnet20"):
        identify(weights, "preresnet20.pth")
