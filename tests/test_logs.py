"""Logs of training: the values of a run's events in each logger, whole and after a resume."""

import csv
import json
import shlex
import shutil
import sys
from contextlib import chdir
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest
from main_job import slimmer
from test_extending import blocks, install
from test_training_steps import METHODS, Stop, recipe_of, stopping_at

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.pipeline.stages import resume, start
from slimmer.recipe import read_recipe
from slimmer.recipe.loggers import BUILT_IN, GROUP
from slimmer.recipe.recipe import make_recipe
from slimmer.runs.directory import Run
from slimmer.runs.loggers import LOGGERS, check_loggers
from slimmer.training.schedule import learning_rate


def recipe(folder, *names, method="one-shot"):
    return make_recipe({**recipe_of(folder, METHODS[method]), "log": names}, "here")


def told(events):
    """The values that the events hold, by their names in logs, each with its steps."""
    found = {}
    for event in events:
        kind = event["event"]
        step = event.get("step", 0)
        if kind == "step" and step % 10 == 0:
            for name in ("loss", "lr", "images_per_s", "batch_accuracy"):
                found.setdefault(f"train/{name}", {})[step] = event[name]
        if kind == "dense":
            found["dense/top-1"] = {0: event["accuracy"]}
        if kind in {"removed", "epoch"}:
            found.setdefault("test/top-1", {})[step] = event["accuracy"]
        if kind == "removed" or (kind == "step" and step % 10 == 0 and "flops" in event):
            for name in ("flops", "params"):
                found.setdefault(f"remaining/{name}", {})[step] = event[name]
    return found


def in_csv(run):
    """The same of a CSV log."""
    found = {}
    with (run.logs / "csv" / "metrics.csv").open() as lines:
        for row in csv.DictReader(lines):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value:
                    values = found.setdefault(name, {})
                    assert step not in values, f"{name} is logged twice at step {step}"
                    values[step] = float(value)
    return found


def in_tensorboard(run):
    """The same of a TensorBoard log, as TensorBoard reads it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(run.logs / "tensorboard")).Reload()
    found = {}
    for name in log.Tags()["scalars"]:
        events = log.Scalars(name)
        found[name] = {event.step: event.value for event in events}
        assert len(found[name]) == len(events)
    return found


READERS = {"csv": in_csv, "tensorboard": in_tensorboard}
needs = pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")


@pytest.mark.parametrize(
    ("name", "method"), [("csv", "taylor"), pytest.param("tensorboard", "one-shot", marks=needs)]
)
def test_a_log_holds_the_values_of_the_events(tmp_path, name, method):
    events = []
    run, report = start(recipe(tmp_path, name, method=method), tmp_path / "run", events.append)
    found, wanted = READERS[name](run), told(events)
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert found[key] == pytest.approx(values, rel=1e-6), key
    assert {"test/top-1", "train/loss", "train/lr", "remaining/flops"} <= found.keys()
    assert list(found["test/top-1"].values())[-1] == pytest.approx(report["accuracy"]["slim"])
    total = events[-2]["step"]
    settings = SimpleNamespace(lr=0.02, warmup=0.03, drops=())
    for step, rate in found["train/lr"].items():
        assert rate == pytest.approx(learning_rate(step - 1, total, settings), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "stopped"),  # of 46 steps, 23 an epoch
    [
        ("csv", 16),
        pytest.param("csv", 38, marks=pytest.mark.slow),
        pytest.param("tensorboard", 16, marks=[needs, pytest.mark.slow]),
        pytest.param("tensorboard", 38, marks=needs),
    ],
)
def test_a_resumed_run_appends_to_its_log_and_repeats_nothing(tmp_path, name, stopped):
    """The state is saved before the last steps, so that these are taken and logged twice."""
    made = recipe(tmp_path, name)
    whole, _ = start(made, tmp_path / "whole")
    slow = recipe_of(tmp_path, METHODS["one-shot"], save_every=1e6)
    seldom = make_recipe({**slow, "log": (name,)}, "here")
    with pytest.raises(Stop):
        start(seldom, tmp_path / "parts", stopping_at(stopped, []))
    parts = Run(tmp_path / "parts")
    first = READERS[name](parts)
    assert max(first["train/loss"]) == stopped // 10 * 10
    resume(parts)
    ours, theirs = READERS[name](parts), READERS[name](whole)
    for values in (ours, theirs):
        del values["train/images_per_s"]
    assert ours == theirs


class FakeRun:
    """What wandb.init returns, as far as the logger uses it."""

    def __init__(self, **options):
        self.options, self.logged, self.ended = options, [], None
        self.name, self.id = options["name"], options["id"]

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self, exit_code):
        self.ended = exit_code


@pytest.fixture
def fake_wandb(monkeypatch):
    """A stand-in for the package; returns the runs that were begun."""
    runs = []

    def init(**options):
        runs.append(FakeRun(**options))
        return runs[-1]

    module = ModuleType("wandb")
    module.init = init
    module.__spec__ = SimpleNamespace(name="wandb")
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return runs


def test_weights_and_biases_gets_the_same_values_offline(tmp_path, fake_wandb):
    events = []
    run, _ = start(recipe(tmp_path, "wandb"), tmp_path / "run", events.append)
    (made,) = fake_wandb
    found = {}
    for step, values in made.logged:
        for name, value in values.items():
            found.setdefault(name, {})[step] = value
    assert found == told(events)
    assert made.ended == 0
    assert (made.options["mode"], made.options["name"]) == ("offline", "run")
    assert made.options["dir"] == str(run.logs / "wandb")


def test_a_resumed_run_is_the_same_run_of_weights_and_biases(tmp_path, fake_wandb, monkeypatch):
    made = recipe(tmp_path, "wandb")
    with pytest.raises(Stop):
        start(made, tmp_path / "parts", stopping_at(12, []))
    assert fake_wandb[0].ended == 1
    monkeypatch.setenv("WANDB_MODE", "online")
    resume(Run(tmp_path / "parts"))
    first, second = fake_wandb
    assert first.id == second.id
    assert (second.options["mode"], second.options["resume"]) == ("online", "allow")
    start(made, tmp_path / "other")
    assert fake_wandb[2].id != first.id


@pytest.mark.slow
def test_weights_and_biases_itself(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run, _ = start(recipe(tmp_path, "wandb"), tmp_path / "run")
    (file,) = (run.logs / "wandb").glob("wandb/offline-run-*/run-*.wandb")
    assert b"train/loss" in file.read_bytes()


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_told_before_anything_is_written(tmp_path, monkeypatch, name):
    monkeypatch.setattr("slimmer.runs.loggers.find_spec", lambda module: None)
    with pytest.raises(RuntimeUnavailableError) as error:
        start(recipe(tmp_path, name), tmp_path / "run")
    assert error.value.where == f"logger {name}"
    assert error.value.right == f"pip install 'slimmer[{name}]'"
    assert not (tmp_path / "run").exists()
    check_loggers(["csv"])


def test_the_command_line_names_loggers():
    resolved = read_recipe(None, [("log", ["csv", "tensorboard"])])
    assert resolved.log == ("csv", "tensorboard")
    with pytest.raises(RecipeError, match="did you mean 'tensorboard'"):
        read_recipe(None, [("log", ["tensorbord"])])
    result = slimmer("prune", "nothing.pth", "--log", "csv", "--log", "tensorbord")
    assert result.exit_code == 2
    assert "did you mean 'tensorboard'" in result.output


def test_the_names_that_a_recipe_knows_are_those_of_the_registry():
    assert tuple(LOGGERS)[: len(BUILT_IN)] == tuple(BUILT_IN)
    assert all(name == entry.name for name, entry in LOGGERS.items())


def test_an_installed_logger_gets_the_values(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(LOGGERS, "_entries", {name: LOGGERS[name] for name in BUILT_IN})
    monkeypatch.setattr(LOGGERS, "_group", GROUP)
    install("A logger", tmp_path / "site", monkeypatch)
    shutil.copy(checkpoint, tmp_path / "digits_resnet8.safetensors")
    (line,) = blocks("A logger", "console")
    with chdir(tmp_path):
        result = slimmer(*shlex.split(line)[1:], "--out", "run")
    assert result.exit_code == 0, result.output
    run = Run(tmp_path / "run")
    lines = (run.logs / "json-lines" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["train/loss"] for line in lines if "train/loss" in line]
    recorded = [event["loss"] for event in run.read_events() if event["event"] == "step"]
    assert losses == recorded
    assert losses


def test_a_run_without_loggers_has_no_logs(tmp_path):
    run, _ = start(recipe(tmp_path), tmp_path / "run")
    assert not run.logs.exists()
