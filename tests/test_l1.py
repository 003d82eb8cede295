"""L1 filter pruning, one-shot criteria and cuts as published: widths by hand, printed sizes, whole
runs on digits.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
import zoo
from main_job import slimmer, tree
from torch import nn

from slimmer.atomic_files import read_json
from slimmer.costs.flops import count_conv_linear
from slimmer.criteria import filter_norm_scores
from slimmer.errors import BudgetError, ModelError, RecipeError
from slimmer.graph import build_graph
from slimmer.models import build, find
from slimmer.pipeline.choose_plan import choose_method, target_plan
from slimmer.pipeline.job import prepare
from slimmer.pipeline.stages import start
from slimmer.pruning.apply import prune
from slimmer.pruning.plan import full_plan
from slimmer.pruning.published_cuts import cut_by_ratios, cut_by_share, shares_of_groups
from slimmer.recipe import read_recipe

PUBLISHED = sorted((Path(__file__).parents[1] / "recipes" / "published").glob("*.yaml"))


def ascending(graph):
    """Scores by place: 0, 1, 2, ..."""
    return torch.arange(graph.units, dtype=torch.float64)


# Shares of layers


@pytest.mark.parametrize(
    ("size", "share", "width"),
    [
        (16, 0.1, 14),
        (32, 0.1, 28),
        (64, 0.1, 57),
        (16, 0.6, 6),
        (10, 0.9, 1),
        (10, 0.7, 3),
        (5, 0.0, 5),
        (5, 1.0, 1),
    ],
)
def test_what_stays_is_rounded_down_but_never_nothing(size, share, width):
    model = nn.Sequential(nn.Conv2d(1, size, 1), nn.ReLU(), nn.Flatten(), nn.Linear(size, 2))
    graph = build_graph(model, (1, 1, 1))
    (kept,) = cut_by_ratios(ascending(graph), graph, {"0": share}).keep
    assert kept == tuple(range(size - width, size))


@pytest.mark.parametrize(
    ("ratios", "widths"),
    [
        ({}, [4, 5]),
        ({"conv1": 0.5}, [2, 5]),
        ({"conv?": 0.5}, [2, 2]),
        ({"conv?": 0.5, "conv1": 0.0}, [4, 2]),
        ({"conv1": 0.0, "conv?": 0.5}, [2, 2]),
        ({"*": 0.25}, [3, 3]),
    ],
)
def test_later_patterns_win_and_what_is_not_named_stays_whole(ratios, widths):
    graph = zoo.traced("Chain")[1]
    assert cut_by_ratios(ascending(graph), graph, ratios).widths == widths


def test_a_layer_stands_for_the_whole_group_that_its_output_is_part_of():
    graph = zoo.traced("Identity")[1]
    assert shares_of_groups(graph, {"conv2": 0.5}) == {"stem": 0.5}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("layer9.*", "matches no layer"), ("fc", "matches only layers that can't be pruned")],
)
def test_a_pattern_that_cuts_nothing_is_refused(pattern, found):
    with pytest.raises(ModelError, match=found) as error:
        cut_by_ratios(torch.zeros(9), zoo.traced("Chain")[1], {"conv1": 0.5, pattern: 0.5})
    assert error.value.where == f"method.ratios {pattern!r}"


# One threshold


@pytest.mark.parametrize(
    ("share", "keep"),
    [
        (0.0, ((0, 1, 2, 3), (0, 1, 2, 3, 4))),
        (0.01, ((0, 1, 2, 3), (1, 2, 3, 4))),  # the unit at the threshold goes: 1 of 9
        (0.4, ((0, 2, 3), (4,))),  # int(3.6) = 3: thr = 4, which two units have
        (0.7, ((2, 3), (4,))),  # 6: thr = 7; the second group keeps its best in any case
        (1.0, ((3,), (4,))),
    ],
)
def test_units_stay_above_the_threshold(share, keep):
    scores = torch.tensor([7.0, 4, 8, 9, 1, 2, 3, 4, 6], dtype=torch.float64)
    graph = zoo.traced("Chain")[1]
    assert cut_by_share(scores, graph, share, {"conv1", "conv2"}).keep == keep


def test_groups_that_the_threshold_is_not_for_stay_whole_and_are_not_counted():
    scores = torch.tensor([7.0, 4, 8, 9, 0, 0, 0, 0, 0], dtype=torch.float64)
    graph = zoo.traced("Chain")[1]
    assert cut_by_share(scores, graph, 0.5, {"conv1"}).keep == ((3,), (0, 1, 2, 3, 4))
    assert cut_by_share(scores, graph, 0.5, set()) == full_plan(graph)


# Published recipes

# Li et al. 2016, table 1: FLOPs and parameters pruned, in percent.
LI = {
    "l1_vgg16_a": (34.2, 64.0),
    "l1_resnet56_a": (10.4, 9.4),
    "l1_resnet56_b": (27.6, 13.7),
    "l1_resnet110_a": (15.9, 2.3),
    "l1_resnet110_b": (38.6, 32.4),
    "l1_resnet34_a": (15.5, 7.6),
    "l1_resnet34_b": (24.2, 10.8),
    "l1_resnet34_c": (7.5, 7.2),
}
SLIMMING = ["network_slimming_preresnet164", "network_slimming_vgg19"]


@cache
def dense(arch):
    model = build(arch).eval()
    return model, build_graph(model, find(arch).input_size)


def counted(model, arch):
    """Multiply-adds and parameters as the paper counts them.

    Its ResNet-34 of 3.64e9 and 2.16e7 has no projection shortcuts and no last layer in the first
    figure, and no shortcuts in the second; its VGG-16 has a linear layer of 512 units (with batch
    norm) behind the convolutions.
    """
    flops = count_conv_linear(model, find(arch).input_size) // 2
    params = sum(parameter.numel() for parameter in model.parameters())
    if arch == "resnet34":
        flops -= 512 * 1000
        for side, stage in ((28, model.layer2), (14, model.layer3), (7, model.layer4)):
            shortcut = stage[0].downsample[0].weight.numel()
            flops, params = flops - shortcut * side**2, params - shortcut
    if arch == "cifar_vgg16_bn":
        width = model.classifier.in_features
        hidden = width * 512
        flops, params = (
            flops + hidden + (512 - width) * 10,
            params + hidden + 3 * 512 + (512 - width) * 10,
        )
    return flops, params


def test_the_paper_counts_as_it_is_counted_here():
    assert [f"{count:.2e}" for count in counted(dense("resnet34")[0], "resnet34")] == [
        "3.64e+09",
        "2.16e+07",
    ]
    assert [f"{count:.2e}" for count in counted(dense("cifar_resnet56")[0], "cifar_resnet56")] == [
        "1.25e+08",
        "8.53e+05",
    ]
    assert f"{counted(dense('cifar_vgg16_bn')[0], 'cifar_vgg16_bn')[0]:.2e}" == "3.13e+08"


@pytest.mark.parametrize("name", LI)
def test_a_published_cut_takes_what_the_paper_prints(name):
    recipe = read_recipe(next(file for file in PUBLISHED if file.stem == name))
    arch = recipe.model.arch
    model, graph = dense(arch)
    slim = prune(
        model, cut_by_ratios(filter_norm_scores(model, graph, 1), graph, recipe.method.ratios)
    )
    removed = [
        100 * (1 - b / a) for a, b in zip(counted(model, arch), counted(slim, arch), strict=True)
    ]
    assert removed == pytest.approx(LI[name], abs=0.1)


def test_vgg_16_a_has_the_widths_that_are_printed():
    recipe = read_recipe(next(file for file in PUBLISHED if file.stem == "l1_vgg16_a"))
    model, graph = dense("cifar_vgg16_bn")
    widths = cut_by_ratios(filter_norm_scores(model, graph, 1), graph, recipe.method.ratios).widths
    assert widths == [32, 64, 128, 128, *[256] * 9]


@pytest.mark.parametrize("name", [*LI, *SLIMMING])
def test_a_published_recipe_names_its_cut_and_no_budget(name):
    recipe = read_recipe(next(file for file in PUBLISHED if file.stem == name))
    assert not recipe.budget.amounts()
    assert getattr(recipe.method, "ratios", None) or recipe.method.ratio
    assert recipe.finetune.distill == 0
    assert recipe.finetune.recalibrate == 0


# Runs

DIGITS = [("data.name", "digits"), ("finetune.epochs", 0), ("finetune.recalibrate", 2)]


def recipe_of(checkpoint, *settings):
    return read_recipe(None, [("model.checkpoint", str(checkpoint)), *DIGITS, *settings])


def test_a_run_with_published_ratios_ends_with_them_and_names_no_budget(checkpoint, tmp_path):
    ratios = "{layer*.0.conv1: 0.5, layer3.0.conv1: 0.0}"
    options = [
        "--set",
        "method.name=l1",
        "--set",
        f"method.ratios={ratios}",
        "--data",
        "digits",
        "--epochs",
        "0.2",
    ]
    done = slimmer("prune", checkpoint, *options, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    report = read_json(tmp_path / "run" / "report.json")
    slim = {row["name"]: row["slim"] for row in report["groups"] if row["slim"] != row["dense"]}
    assert slim == {"layer1.0.conv1": 8, "layer2.0.conv1": 16}
    assert report["flops"]["limit"] is None
    assert report["flops"]["ratio"] < 1
    assert report["accuracy"]["slim"] > 0.3
    assert "| none |" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert slimmer("compare", tmp_path / "run").exit_code == 0


def test_network_slimming_with_its_own_ratio_removes_one_more_than_the_share(checkpoint, tmp_path):
    settings = [
        ("method.name", "network_slimming"),
        ("method.ratio", 0.3),
        ("finetune.epochs", 0.2),
    ]
    _, report = start(recipe_of(checkpoint, *settings), tmp_path / "run", latest=False)
    total = sum(row["dense"] for row in report["groups"])
    assert total - sum(row["slim"] for row in report["groups"]) == int(0.3 * total) + 1
    assert report["params"]["limit"] is None


@pytest.mark.parametrize("name", ["l1", "l2", "bn_scale", "random"])
def test_a_one_shot_criterion_ends_inside_the_budget(name, checkpoint, tmp_path):
    recipe = recipe_of(
        checkpoint, ("method.name", name), ("method.priced", False), ("budget.flops", 0.5)
    )
    _, report = start(recipe, tmp_path / "run", latest=False)
    assert 0.49 < report["flops"]["ratio"] <= 0.5
    assert report["method"] == name


def planned(job, *settings):
    """The plan that a recipe's one-shot method makes of a job."""
    recipe = read_recipe(None, settings)
    return target_plan(
        job, recipe, choose_method(recipe, job, 0, resumed=False).scores(torch.zeros(0))
    )


def test_options_reach_the_criterion(checkpoint):
    job = prepare(
        recipe_of(checkpoint, ("method.name", "l1"), ("budget.flops", 0.5), ("data.size", 8))
    )
    sensitive = (("method.sensitivity", 1),)
    plans = {
        planned(job, ("method.name", "random")),
        planned(job, ("method.name", "random"), ("seed", 0)),
        planned(job, ("method.name", "random"), ("seed", 1)),
        planned(job, ("method.name", "l1")),
        planned(job, ("method.name", "l1"), ("method.priced", True)),
        planned(job, ("method.name", "l1"), *sensitive),
    }
    assert len(plans) == 5
    assert all(0.45 < job.costs[0].exact(plan.widths) / job.costs[0].dense <= 0.5 for plan in plans)


# Bad input


@pytest.mark.parametrize(
    ("settings", "error", "found"),
    [
        (
            {"method.ratios": {"conv1": 0.5}, "budget.flops": 0.5},
            RecipeError,
            "give one of them: a budget, or",
        ),
        (
            {"method.ratios": {"conv1": 0.5}, "budget.round_to": 8},
            RecipeError,
            "give one of them: a budget, or",
        ),
        ({"method.ratios": {"layer9": 0.5}}, ModelError, "matches no layer"),
        ({"method.sensitivity": 2, "budget.flops": 0.5}, RecipeError, "needs data"),
        ({}, BudgetError, "no budget given"),
    ],
)
def test_a_recipe_that_does_not_say_one_cut_is_refused_with_nothing_written(
    settings, error, found, tmp_path
):
    recipe = read_recipe(
        None, [("method.name", "l1"), ("model.input_size", list(zoo.SIZE)), *settings.items()]
    )
    with pytest.raises(error, match=found):
        start(recipe, tmp_path / "run", model=zoo.make("Chain", torch.float32), latest=False)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"method.ratios": {"conv1": 1.5}}, "less than or equal to 1"),
        ({"method.ratios": {"conv1": -0.1}}, "greater than or equal to 0"),
        ({"method.ratios": {"conv1": 0.5}, "method.sensitivity": 2}, "give only one"),
        ({"method.ratio": 0.5}, "belongs to network_slimming"),
    ],
)
def test_a_cut_that_makes_no_sense_is_refused_as_it_is_read(settings, found):
    with pytest.raises(RecipeError, match=found):
        read_recipe(None, [("method.name", "l1"), *settings.items()])


def test_a_networks_own_cut_needs_no_budget():
    pairs = [
        ("method.name", "l1"),
        ("method.ratios", {"conv1": 0.5}),
        ("model.input_size", list(zoo.SIZE)),
    ]
    assert prepare(read_recipe(None, pairs), zoo.make("Chain", torch.float32)).budgets == ()
