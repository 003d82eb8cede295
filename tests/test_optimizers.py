"""An optimizer of torch.optim by its name in a recipe: its options, its defaults, and stops on the
way.
"""

import inspect
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from torch import nn

from slimmer.cli import main
from slimmer.errors import RecipeError
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.stages import resume, start
from slimmer.recipe.optimizers import OPTIMIZERS
from slimmer.recipe.recipe import make_recipe
from slimmer.runs.directory import Run
from slimmer.training.learner import make_learner
from slimmer.training.optimizers import check_optimizer
from slimmer.training.schedule import Training

# Why each can't train a network here.
LEFT_OUT = {
    "Muon": "matrices only",
    "LBFGS": "a closure",
    "SparseAdam": "sparse gradients",
    "Rprop": "no schedule",
}
TRAINING = Training(
    epochs=1,
    batch_size=8,
    lr=0.1,
    momentum=0.9,
    weight_decay=0.01,
    warmup=0,
    distill=0,
    temperature=1,
    seed=0,
)


def finetune(**section):
    return make_recipe({"finetune": section}, "here").finetune


def test_every_optimizer_of_pytorch_is_known_or_left_out_for_a_reason():
    every = {name for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    every = {
        name for name in every if issubclass(getattr(torch.optim, name), torch.optim.Optimizer)
    } - {"Optimizer"}
    assert every - set(LEFT_OUT) == {entry.torch_class for entry in OPTIMIZERS.values()}
    assert all(
        name == entry.name == entry.torch_class.lower() for name, entry in OPTIMIZERS.items()
    )


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "sgd"])
def test_the_rates_that_are_left_out_are_pytorchs_own(name):
    own = inspect.signature(getattr(torch.optim, OPTIMIZERS[name].torch_class)).parameters
    section = finetune(optimizer=name)
    assert (section.lr, section.weight_decay) == (own["lr"].default, own["weight_decay"].default)
    named = finetune(optimizer=name, lr=0.3, weight_decay=0.25)
    assert (named.lr, named.weight_decay) == (0.3, 0.25)


def test_sgd_stays_the_default_with_its_rates():
    section = finetune()
    assert (section.optimizer, section.optimizer_options) == ("sgd", {})
    assert (section.lr, section.momentum, section.weight_decay) == (0.02, 0.9, 1e-4)
    optimizer = make_learner(nn.Linear(2, 2), TRAINING).optimizer
    assert type(optimizer) is torch.optim.SGD
    weights, vectors = optimizer.param_groups
    assert (weights["momentum"], weights["nesterov"], weights["dampening"]) == (0.9, True, 0)
    assert (weights["weight_decay"], vectors["weight_decay"]) == (0.01, 0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_class_gets_rates_and_options_and_vectors_have_no_decay(name):
    options = {"foreach": False}
    training = Training(**{**vars(TRAINING), "optimizer": name, "optimizer_options": options})
    optimizer = make_learner(nn.Linear(2, 2), training).optimizer
    assert type(optimizer) is getattr(torch.optim, OPTIMIZERS[name].torch_class)
    weights, vectors = optimizer.param_groups
    assert weights["foreach"] is vectors["foreach"] is False
    assert (weights["lr"], vectors["lr"]) == (0.1, 0.1)
    assert (weights["weight_decay"], vectors["weight_decay"]) == (0.01, 0)


def test_a_resolved_recipe_says_the_optimizer_and_is_read_to_the_same():
    recipe = make_recipe(
        {"finetune": {"optimizer": "adamw", "optimizer_options": {"betas": [0.9, 0.95]}}}, "here"
    )
    assert recipe.finetune.optimizer_options == {"betas": (0.9, 0.95)}
    assert make_recipe(recipe.model_dump(), "again") == recipe
    assert (
        "  optimizer: adamw\n  optimizer_options:\n    betas:\n    - 0.9\n    - 0.95\n"
        in recipe.to_yaml()
    )


def test_the_example_of_the_page_on_recipes_is_read():
    page = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
    shown = page.partition("## Optimizer")[2].partition("```yaml\n")[2].partition("```")[0]
    section = make_recipe(yaml.safe_load(shown), "docs/recipes.md").finetune
    assert (section.optimizer, section.lr) == ("adamw", 0.002)
    check_optimizer(section.optimizer, section.optimizer_options, momentum=section.momentum)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"optimizer": "adamv"}, "'adamv' is not known; did you mean 'adam'"),
        ({"optimizer": "adadelt"}, "did you mean 'adadelta'"),
        ({"optimizer": "muon"}, "'muon' is not known"),
        ({"optimizer": 3}, "finetune.optimizer: Input should be a valid string"),
        ({"optimizer": "adamw", "optimizer_options": {"lr": 0.1}}, "use finetune.lr instead"),
        ({"optimizer_options": {"momentum": 0.1}}, "use finetune.momentum instead"),
        (
            {"optimizer": "adamw", "momentum": 0.5},
            "finetune.momentum applies to sgd, but the optimizer is adamw",
        ),
    ],
)
def test_a_recipe_refuses_what_no_optimizer_is_or_takes_elsewhere(section, message):
    with pytest.raises(RecipeError, match=message):
        finetune(**section)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["optimizer=adamw", "optimizer_options.beta=0.9"],
            "did you mean 'betas'? known: amsgrad, betas, eps",
        ),
        (
            ["optimizer=adamw", "optimizer_options.betas=[2.0, 0.9]"],
            "Invalid beta parameter at index 0: 2.0",
        ),
        (["optimizer=adamw", "optimizer_options.betas=[0.9]"], "adamw rejects {'betas': (0.9,)}"),
        (
            ["optimizer=rmsprop", "optimizer_options.maximize=true"],
            "rmsprop has no option 'maximize'",
        ),
        (
            ["momentum=0.0", "optimizer_options.nesterov=true"],
            "Nesterov momentum requires a momentum",
        ),
    ],
)
def test_options_are_refused_before_anything_is_trained_or_written(tmp_path, settings, message):
    save_weights(tmp_path / "dense.safetensors", build("cifar_resnet8", in_channels=1), {})
    sets = [part for setting in settings for part in ("--set", f"finetune.{setting}")]
    command = [
        "prune",
        str(tmp_path / "dense.safetensors"),
        "--arch",
        "cifar_resnet8",
        "--data",
        "digits",
    ]
    told = CliRunner().invoke(
        main, [*command, "--flops", "0.5", "--out", str(tmp_path / "run"), *sets]
    )
    assert told.exit_code == 2
    assert message in " ".join(told.output.split())
    assert not (tmp_path / "run").exists()


class Stop(Exception):  # noqa: N818 - a test's own way out
    """Raised by the observer in the midst of a run."""


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
@pytest.mark.parametrize("stopped", [8, 20])  # under masks and after the cut at step 12
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, optimizer, stopped):
    save_weights(tmp_path / "dense.safetensors", build("cifar_resnet8", in_channels=1), {})
    data = {
        "model": {"checkpoint": str(tmp_path / "dense.safetensors"), "arch": "cifar_resnet8"},
        "data": {"name": "digits", "trust": True},
        "budget": {"flops": 0.5},
        "method": {"name": "maskconvnet", "sparsify": 0.5},
        "finetune": {
            "epochs": 1,
            "batch_size": 60,
            "save_every": 1e-6,
            "recalibrate": 1,
            "optimizer": optimizer,
        },
    }
    recipe = make_recipe(data, "here")
    whole, _ = start(recipe, tmp_path / "whole")
    steps = []

    def observe(event):
        if event["event"] == "step":
            steps.append(event["step"])
            if event["step"] == stopped:
                raise Stop

    with pytest.raises(Stop):
        start(recipe, tmp_path / "parts", observe)
    parts = Run(tmp_path / "parts")
    assert parts.plan.is_file() == (stopped == 20)
    kept = {
        name.split(".")[1] for name in read_weights(parts.state) if name.startswith("optimizer.")
    }
    assert (
        kept
        == {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "rmsprop": {"step", "square_avg"}}[
            optimizer
        ]
    )
    resume(parts)
    assert parts.plan.read_bytes() == whole.plan.read_bytes()
    ours, theirs = read_weights(parts.slim), read_weights(whole.slim)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert steps[-1] == stopped
