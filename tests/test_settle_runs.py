"""Runs whose settled channels go while masks are trained: budgets, resuming, the network that is
trained.
"""

from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
import torch
from interrupted import Stopped, stopped_at
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.flop_counter import FlopCounterMode

from slimmer.errors import RecipeError
from slimmer.models import build
from slimmer.models.checkpoint import read_metadata, read_weights, save_weights
from slimmer.pipeline import train_masks
from slimmer.pipeline.stages import resume, start
from slimmer.recipe.recipe import make_recipe
from slimmer.runs.directory import Run
from slimmer.runs.schemas.events import is_event

EVERY = 4  # steps between removals: 0.17 of 24
METHODS = {
    "maskconvnet": {"mask_lr": 0.5, "controller": "dual", "pull": "cost"},
    "bar": {"mask_lr": 1.0, "strength": 1e-4},
    "network_slimming": {"strength": 1e-9},
}


def recipe_of(folder, name, *, budget=None, settle=0.17, **tuned):
    weights = folder / "dense.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        network = build("cifar_resnet8", in_channels=1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # what Network Slimming finds settled
                module.weight.data[::3] = 1e-6
        save_weights(weights, network, {})
    method = {"name": name, "sparsify": 0.75, "compensate": True, **METHODS[name]}
    # a rate at which the scales that are almost zero stay so
    rate = {"lr": 1e-6} if name == "network_slimming" else {}
    common = {"epochs": 2, "batch_size": 60, "save_every": 1e-6, "recalibrate": 1, **rate}
    settings = {
        "model": {"checkpoint": str(weights), "arch": "cifar_resnet8"},
        "data": {"name": "digits", "trust": True, "size": 8},
        "budget": {"flops": 0.6} if budget is None else budget,
        "method": {**method, "settle": settle},
        "finetune": {**common, **tuned},
    }
    return make_recipe(settings, "here")


def settled(told):
    return [event for event in told if event["event"] == "settled"]


def whole_run(recipe, folder):
    """A run in one part, and its events."""
    told = []
    return start(recipe, folder / "whole", told.append)[0], told


def assert_same_end(run, whole):
    assert run.plan.read_bytes() == whole.plan.read_bytes()
    ours, theirs = read_weights(run.slim), read_weights(whole.slim)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    left = [each.read_report()["before_projection"] for each in (run, whole)]
    assert left[0] == left[1]


slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "saved"),  # the last step in the state, from a removal on
    [
        slow("maskconvnet", -1),
        ("maskconvnet", 0),
        slow("maskconvnet", 1),
        slow("bar", -1),
        slow("bar", 0),
        ("bar", 1),
        slow("network_slimming", -1),
        ("network_slimming", 0),
        slow("network_slimming", 1),
    ],
)
def test_a_run_that_is_killed_around_a_removal_ends_as_an_unbroken_one(tmp_path, name, saved):
    recipe = recipe_of(tmp_path, name, weight_decay=1e-2)
    whole, told = whole_run(recipe, tmp_path)
    removals = [event["step"] for event in settled(told)]
    assert removals
    assert all(step % EVERY == 0 for step in removals)
    run = stopped_at(recipe, tmp_path / "stopped", removals[-1] + saved + 1)
    assert read_metadata(run.state)["step"] == str(removals[-1] + saved)
    resume(run)
    assert_same_end(run, whole)


@pytest.mark.parametrize("name", ["maskconvnet", slow("bar"), slow("network_slimming")])
def test_a_run_that_is_killed_before_its_channels_are_removed_ends_as_an_unbroken_one(
    tmp_path, name, monkeypatch
):
    recipe = recipe_of(tmp_path, name)
    whole, _ = whole_run(recipe, tmp_path)

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch, suppress(Stopped):
        patch.setattr("slimmer.pipeline.remove_channels._project", stop)
        start(recipe, tmp_path / "stopped", latest=False)
    run = Run(tmp_path / "stopped")
    assert read_metadata(run.state)["stage"] == "masks"
    resume(run)
    assert_same_end(run, whole)


def test_without_the_units_that_were_zero_a_resumed_run_ends_elsewhere(tmp_path, monkeypatch):
    """So that the test above can fail."""
    recipe = recipe_of(tmp_path, "maskconvnet")
    whole, told = whole_run(recipe, tmp_path)
    run = stopped_at(recipe, tmp_path / "stopped", settled(told)[0]["step"])
    restored = train_masks.restored

    def forgetful(*given):
        now = restored(*given)
        now.zero.zero_()
        return now

    monkeypatch.setattr("slimmer.pipeline.remove_channels.restored", forgetful)
    resume(run)
    ours, theirs = read_weights(run.slim), read_weights(whole.slim)
    assert not all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    ("name", "budget"),
    [
        ("maskconvnet", {"flops": 0.6, "params": 0.7}),
        ("bar", {"flops": 0.55}),
        ("network_slimming", {"params": 0.6}),
    ],
)
def test_the_budgets_are_met_exactly_and_nothing_comes_back(tmp_path, name, budget):
    told = []
    run, report = start(
        recipe_of(tmp_path, name, budget=budget, epochs=1.2), tmp_path / "run", told.append
    )
    gaps = [limit - report[cost]["ratio"] for cost, limit in budget.items()]
    assert min(gaps) >= 0
    assert min(gaps) <= 0.005
    gone = settled(told)
    assert gone
    assert max(gone[-1][cost] - limit for cost, limit in budget.items()) >= 0
    assert all(is_event({"time": 0.1, **event}) for event in gone)
    kept = [event for event in run.read_events() if event["event"] == "settled"]
    assert [event["units"] for event in kept] == [event["units"] for event in gone]


def test_the_network_that_is_trained_has_the_flops_that_are_told(tmp_path, monkeypatch):
    counts, told = [], []
    train_ = train_masks.train_

    def counted(fabric, learner, *given, **options):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            learner.network.model.eval()(torch.zeros(1, 1, 8, 8))
        counts.append(counter.get_total_flops() / 2)
        train_(fabric, learner, *given, **options)

    monkeypatch.setattr(train_masks, "train_", counted)
    start(recipe_of(tmp_path, "maskconvnet"), tmp_path / "run", told.append)
    dense = next(event["flops"] for event in told if event["event"] == "dense")
    wanted = [dense]
    for step in range(EVERY, EVERY * len(counts), EVERY):
        now = [event["flops"] * dense for event in settled(told) if event["step"] == step]
        wanted += now or wanted[-1:]
    shares = [count / counts[0] for count in counts]
    told_shares = [value / dense for value in wanted]
    assert shares == pytest.approx(told_shares, abs=0.02)  # the told ones include batch norms
    assert all(later <= earlier for earlier, later in pairwise(counts))
    assert counts[-1] < 0.8 * counts[0]


def test_without_the_option_no_channel_goes_early_and_the_state_has_no_word_of_it(tmp_path):
    recipe = recipe_of(tmp_path, "maskconvnet", settle=None)
    run = stopped_at(recipe, tmp_path / "run", 14)
    assert not [key for key in read_weights(run.state) if "settle" in key]
    told = []
    resume(run, told.append)
    assert settled(told) == []
    assert run.report.is_file()


def test_a_state_of_before_the_option_goes_on(tmp_path):
    run = stopped_at(recipe_of(tmp_path, "maskconvnet"), tmp_path / "run", 3)
    saved = read_weights(run.state)
    old = {key: value for key, value in saved.items() if "settle" not in key}
    assert len(old) == len(saved) - 2
    save_weights(run.state, old, read_metadata(run.state))
    told = []
    resume(run, told.append)
    assert settled(told)


def test_a_network_that_divides_by_the_length_of_its_weights_is_refused(tmp_path):
    middle = weight_norm(nn.Conv2d(8, 16, 3, padding=1))
    last = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), middle, nn.ReLU(), *last)
    recipe = recipe_of(tmp_path, "maskconvnet")
    with pytest.raises(RecipeError, match="NaN where the weights of a channel are zero"):
        start(recipe, tmp_path / "run", model=network, latest=False)
    assert not (tmp_path / "run").exists()
