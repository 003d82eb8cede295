"""Other widths within the same budgets: what is tried, what is taken, and what stays as it was."""

from contextlib import suppress
from math import isfinite

import pytest
import torch
from interrupted import Stopped
from torch.utils.data import DataLoader, TensorDataset

from slimmer.errors import TrainingError
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline import search_widths as searching
from slimmer.pipeline.choose_plan import whole_batches
from slimmer.pipeline.stages import resume, start
from slimmer.pruning.plan import read_plan
from slimmer.recipe.recipe import make_recipe
from slimmer.runs.directory import Run
from slimmer.runs.schemas.events import is_event
from slimmer.tasks import Task
from slimmer.tasks.read_task import read_task

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
    trained = searching._trained

    def first_is_best(*given):
        after = trained(*given)
        return [searching.replace(one, change=float(place)) for place, one in enumerate(after)]

    monkeypatch.setattr(searching, "_trained", first_is_best)
    ours = run_of(recipe_of(tmp_path), tmp_path / "run")[0]
    monkeypatch.undo()
    theirs = run_of(recipe_of(tmp_path, search=0), tmp_path / "plain")[0]
    assert read_plan(ours.plan).hash == read_plan(theirs.plan).hash
    weights = read_weights(theirs.slim)
    for name, tensor in read_weights(ours.slim).items():
        assert torch.equal(tensor, weights[name])


def test_finalists_are_compensated_and_trained_before_they_are_compared(tmp_path, monkeypatch):
    begins, steps, moved = [], [], []
    train_, compensate_ = searching.train_, searching.compensate_

    def watched(fabric, learner, teacher, task, training, *, stop):
        before = [weight.detach().clone() for weight in learner.network.parameters()]
        train_(fabric, learner, teacher, task, training, stop=stop)
        pairs = zip(before, learner.network.parameters(), strict=True)
        moved.append(all(not torch.equal(old, new) for old, new in pairs))
        steps.append(learner.step)

    def compensated(network, graph, plan, images):
        begins.append(plan)
        compensate_(network, graph, plan, images)

    monkeypatch.setattr(searching, "train_", watched)
    monkeypatch.setattr(searching, "compensate_", compensated)
    run_of(recipe_of(tmp_path), tmp_path / "run")
    assert len(set(begins)) == len(begins) == 3
    assert steps == [2, 2, 2]  # STEPS, for each of FINALISTS
    assert all(moved)


def test_without_training_the_removal_alone_decides(tmp_path, monkeypatch):
    tried = []
    searched = searching._tried

    def kept(*given):
        tried.extend(searched(*given))
        return list(tried)

    monkeypatch.setattr(searching, "_tried", kept)
    run, report, told = run_of(recipe_of(tmp_path, epochs=0), tmp_path / "run")
    assert not any(event["trained"] for event in told)
    assert report["flops"]["ratio"] <= 0.6
    best = min(tried, key=lambda one: one.change)
    assert best is not tried[0]  # else the scores alone would give this plan
    assert read_plan(run.plan).keep == best.plan.keep


def test_finalists_that_diverge_come_last_and_the_run_goes_on(tmp_path, monkeypatch):
    train_, calls = searching.train_, []

    def failing(*given, **named):
        calls.append(given)
        if len(calls) < 3:
            raise TrainingError("step 1", "the loss is inf", "lower finetune.lr")
        train_(*given, **named)

    finals, trained = [], searching._trained

    def watched(*given):
        finals.extend(trained(*given))
        return list(finals)

    monkeypatch.setattr(searching, "train_", failing)
    monkeypatch.setattr(searching, "_trained", watched)
    run, _, told = run_of(recipe_of(tmp_path), tmp_path / "run")
    assert [isfinite(one.change) for one in finals] == [False, False, True]
    assert read_plan(run.plan).keep == finals[2].plan.keep
    assert [event["change"] for event in told if event["trained"]][:2] == [None, None]
    assert all(is_event({"time": 0.0, **event}) for event in told)


def test_a_single_plan_is_not_trained(tmp_path):
    _, _, told = run_of(recipe_of(tmp_path, even=1.0, stream=1.0, search=1), tmp_path / "run")
    assert [event["trained"] for event in told] == [False, False]
    assert len({event["change"] for event in told}) == 1


@pytest.mark.parametrize(("batch", "read"), [(4, 16), (32, 2), (100, 1)])
def test_plans_are_compared_on_that_many_images_of_a_loader(batch, read):
    loader = DataLoader(TensorDataset(torch.randn(100, 1, 8, 8)), batch)
    task = read_task(Task(train=loader, inputs=lambda fetched: fetched[0]), "task")
    recipe = make_recipe({"budget": {"flops": 0.5}, "finetune": {"batch_size": 7}}, "here")
    assert len(list(whole_batches(task, recipe, 64))) == read


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
