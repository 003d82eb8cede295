"""Other widths within the same budgets: what is tried, what is taken, and what stays as it was."""

from contextlib import suppress

import pytest
import torch
from interrupted import Stopped

from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline import search_widths as searching
from slimmer.pipeline.stages import resume, start
from slimmer.pruning.plan import read_plan
from slimmer.recipe.recipe import make_recipe
from slimmer.runs.directory import Run
from slimmer.runs.schemas.events import is_event

PLANS = 6


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(searching, "IMAGES", 64)
    monkeypatch.setattr(searching, "STEPS", 2)
    monkeypatch.setattr(searching, "FINALISTS", 3)


def recipe_of(folder, *, search=PLANS, epochs=0.2, **method):
    weights = folder / "dense.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_weights(weights, build("cifar_resnet8", in_channels=1), {})
    settings = {
        "model": {"checkpoint": str(weights), "arch": "cifar_resnet8"},
        "data": {"name": "digits", "trust": True, "size": 8},
        "budget": {"flops": 0.6, "params": 0.7},
        "method": {"name": "taylor", "batches": 2, "search": search, **method},
        "finetune": {"epochs": epochs, "batch_size": 32, "recalibrate": 2},
    }
    return make_recipe(settings, "here")


def run_of(recipe, folder):
    """A run, its report, and the events of its search."""
    told = []
    run, report = start(recipe, folder, told.append, latest=False)
    return run, report, [event for event in told if event["event"] == "search"]


def test_the_plan_that_is_taken_changed_the_outputs_least(tmp_path, monkeypatch):
    finals = []
    trained = searching._trained

    def watched(*given):
        finals.append((given[3], trained(*given)))
        return finals[-1][1]

    monkeypatch.setattr(searching, "_trained", watched)
    run, report, told = run_of(recipe_of(tmp_path), tmp_path / "run")
    ((before, after),) = finals
    best = min(after, key=lambda one: one.change)
    assert read_plan(run.plan).keep == best.plan.keep
    assert report["flops"]["ratio"] <= 0.6
    assert report["params"]["ratio"] <= 0.7
    plain = run_of(recipe_of(tmp_path, search=0), tmp_path / "plain")[0]
    assert before[0].plan.keep == read_plan(plain.plan).keep  # the first plan is that of the scores
    assert len({one.plan for one in before}) == len(before) == 3
    assert all(is_event({"time": 0.0, **event}) for event in told)
    tried = [event for event in told if not event["trained"]]
    assert [event["done"] for event in tried] == list(range(PLANS + 1))
    falling = [event["change"] for event in tried]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == min(one.change for one in before)


def test_every_plan_is_within_the_budgets_and_ranks_units_as_the_scores_do(tmp_path, monkeypatch):
    seen, scores = [], []
    target = searching.target_plan
    searched = searching._tried

    def watched(job, recipe, scaled):
        plan = target(job, recipe, scaled)
        seen.append((job, plan))
        return plan

    def kept(context, given, images):
        scores.append(given)
        return searched(context, given, images)

    monkeypatch.setattr(searching, "target_plan", watched)
    monkeypatch.setattr(searching, "_tried", kept)
    run_of(recipe_of(tmp_path, search=20), tmp_path / "run")
    assert len({plan for _, plan in seen}) > 3
    for job, plan in seen:
        for budget in job.budgets:
            assert budget.cost.exact(plan.widths) <= budget.limit
        for part, units in zip(scores[0].split(job.graph.widths), plan.keep, strict=True):
            best = torch.sort(part, stable=True).indices[len(part) - len(units) :]
            assert set(units) == set(best.tolist())


def test_the_network_is_left_as_it_was_and_a_search_without_gain_changes_nothing(
    tmp_path, monkeypatch
):
    def first_is_best(_, __, ___, finalists, ____):
        return [searching.replace(one, change=float(place)) for place, one in enumerate(finalists)]

    monkeypatch.setattr(searching, "_trained", first_is_best)
    ours = run_of(recipe_of(tmp_path), tmp_path / "run")[0]
    monkeypatch.undo()
    theirs = run_of(recipe_of(tmp_path, search=0), tmp_path / "plain")[0]
    assert read_plan(ours.plan).hash == read_plan(theirs.plan).hash
    weights = read_weights(theirs.slim)
    for name, tensor in read_weights(ours.slim).items():
        assert torch.equal(tensor, weights[name])


def test_without_training_the_removal_alone_decides(tmp_path):
    run, report, told = run_of(recipe_of(tmp_path, epochs=0), tmp_path / "run")
    assert not any(event["trained"] for event in told)
    assert report["flops"]["ratio"] <= 0.6
    assert run.plan.exists()


@pytest.mark.parametrize("trained", [False, True])
def test_a_run_that_is_killed_in_its_search_ends_as_an_unbroken_one(tmp_path, trained):
    recipe = recipe_of(tmp_path)
    whole = run_of(recipe, tmp_path / "whole")[0]

    def stop(event):
        if event["event"] == "search" and event["trained"] == trained and event["done"] == 2:
            raise Stopped

    with suppress(Stopped):
        start(recipe, tmp_path / "broken", stop, latest=False)
    broken = Run(tmp_path / "broken")
    assert not broken.plan.exists()
    resume(broken)
    assert broken.plan.read_bytes() == whole.plan.read_bytes()
    assert broken.slim.read_bytes() == whole.slim.read_bytes()
