"""The command line: what it prints where, what it makes of its options, and the main job through
it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from main_job import ARCH, PYTHON, slimmer
from safetensors.numpy import load_file

from slimmer.cli import tables
from slimmer.data import evaluation_batches, load
from slimmer.pipeline import inspect_model as inspection
from slimmer.pipeline import profile_runs as run_profile
from slimmer.pipeline import stages as pipeline
from slimmer.recipe import read_recipe
from slimmer.runs.directory import Run

GOLDEN = Path(__file__).parent / "golden"
HEAVY = ("torch", "pydantic", "yaml", "rich", "numpy", "onnx", "onnxruntime", "lightning_fabric")


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        env=PYTHON,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture
def started(monkeypatch):
    """The recipes and places with which runs would be started; none is."""
    calls = []

    def start(recipe, out, observe, **_):
        calls.append((recipe, out))
        return Run(Path("runs/x")), {}

    monkeypatch.setattr(pipeline, "start", start)
    monkeypatch.setattr(tables, "show_report", lambda report: None)
    return calls


# Help


COMMANDS = [
    *("prune", "adopt", "export", "profile", "report", "inspect", "sweep", "compare", "latency"),
    "latency export",
    "latency measure",
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_the_golden_text(command):
    """Set SLIMMER_GOLDEN=write to take over a change that is meant."""
    result = slimmer(*command.split(), "--help")
    file = GOLDEN / f"help{command and '_'}{command.replace(' ', '_')}.txt"
    if os.environ.get("SLIMMER_GOLDEN") == "write":
        file.write_text(result.stdout)
    assert result.exit_code == 0
    assert result.stdout == file.read_text()


def test_every_option_has_a_help_text():
    from slimmer.cli import main

    bare = [
        f"{name} {option.opts}"
        for name, command in main.commands.items()
        for option in command.params
        if option.param_type_name == "option" and not option.help
    ]
    assert set(main.commands) == {
        "prune",
        "adopt",
        "export",
        "profile",
        "report",
        "inspect",
        "sweep",
        "compare",
        "latency",
    }
    assert not bare


def test_the_help_of_a_command_lists_every_option_once():
    from slimmer.cli import main

    for name, command in main.commands.items():
        text = slimmer(name, "--help").stdout
        for option in command.params:
            if option.param_type_name == "option":
                found = re.findall(rf"^  (?:-h, )?{option.opts[0]}\b(?!-)", text, re.MULTILINE)
                assert len(found) == 1, option.opts


def test_commands_are_listed_in_the_order_of_use():
    listed = re.findall(
        r"^  (\w+)  ", slimmer("--help").stdout.partition("Commands:")[2], re.MULTILINE
    )
    assert listed == [
        "inspect",
        "prune",
        "adopt",
        "export",
        "profile",
        "report",
        "sweep",
        "compare",
        "latency",
    ]


@pytest.mark.parametrize(
    "command", ["", "prune", "adopt", "export", "profile", "inspect", "sweep", "compare"]
)
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from slimmer.cli import main\n"
        f"main({[*command.split(), '--help']!r}, standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = python("-c", code)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr
    assert "Usage:" in result.stdout


def test_module_and_script_are_the_same_command():
    script = subprocess.run(
        [Path(sys.executable).parent / "slimmer", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    module = python("-m", "slimmer", "--version")
    assert script.stdout.split()[-1] == module.stdout.split()[-1] == "0.1.0"


# Options into a recipe


def test_options_become_settings_of_the_recipe(started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = (
        "--flops 1.8G --params 50% --round-to 8 --epochs 2 --seed 7 --device cpu --data pictures "
        "--arch resnet34"
    )
    sets = [
        "--set",
        "finetune.lr=0.01",
        "--set",
        "data.mean=[0.5, 0.5, 0.5]",
        "--set",
        "export.opset=20",
    ]
    result = slimmer("prune", "net.pth", *options.split(), "--out", "here", *sets)
    assert result.exit_code == 0, result.output
    [(recipe, out)] = started
    assert out == Path("here")
    assert recipe.model.checkpoint == str(tmp_path / "net.pth")
    assert recipe.model.arch == "resnet34"
    assert (recipe.budget.flops, recipe.budget.params, recipe.budget.round_to) == ("1.8G", "50%", 8)
    assert (recipe.finetune.epochs, recipe.finetune.lr) == (2, 0.01)
    assert (recipe.seed, recipe.device, recipe.export.opset) == (7, "cpu", 20)
    assert (recipe.data.name, recipe.data.path, recipe.data.mean) == (
        None,
        str(tmp_path / "pictures"),
        (0.5, 0.5, 0.5),
    )


def test_what_is_left_out_stays_at_the_recipes_value(started):
    slimmer("prune", "net.pth", "--flops", "0.5")
    [(recipe, out)] = started
    assert out is None
    assert recipe == read_recipe(
        None, [("model.checkpoint", str(Path("net.pth").absolute())), ("budget.flops", "0.5")]
    )


def test_the_command_line_wins_over_the_recipe_and_set_over_all(started, tmp_path):
    file = tmp_path / "recipe.yaml"
    content = {
        "seed": 3,
        "model": {"checkpoint": "from_recipe.pth"},
        "data": {"name": "cifar10", "path": "somewhere", "trust": True},
        "budget": {"flops": {"sparsity": 0.7}, "params": "11M"},
        "finetune": {"epochs": 9, "lr": 0.5},
    }
    file.write_text(yaml.safe_dump(content))
    options = ["--flops", "0.5", "--epochs", "2", "--data", "digits", "--set", "finetune.epochs=1"]
    result = slimmer("prune", "--recipe", file, *options)
    assert result.exit_code == 0, result.output
    [(recipe, _)] = started
    assert (recipe.seed, recipe.model.checkpoint, recipe.finetune.lr) == (3, "from_recipe.pth", 0.5)
    assert (recipe.budget.flops, recipe.budget.params, recipe.finetune.epochs) == ("0.5", "11M", 1)
    assert (recipe.data.name, recipe.data.path, recipe.data.trust) == (None, "digits", True)


def test_all_mistakes_of_a_recipe_are_shown_together(started, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("seed: much\nfinetune: {epoch: 3, lr: 0}\nbudgets: {flops: 0.5}\n")
    result = slimmer(
        "prune", "net.pth", "--recipe", file, "--set", "method.nmae=taylor", "--set", "device=tpu"
    )
    assert result.exit_code == 2
    for part in (
        "6 errors",
        "seed",
        "did you mean 'epochs'",
        "finetune.lr",
        "'budget'",
        "did you mean 'name'",
        "tpu",
    ):
        assert part in result.stderr
    assert not result.stdout
    assert not started


# The main job


def test_the_run_holds_every_file(main_job):
    names = {path.name for path in main_job.run.path.iterdir()}
    wanted = (
        "recipe.yaml plan.json slim.safetensors dense.safetensors events.jsonl report.json "
        "report.md report.html"
    )
    assert names >= {*wanted.split(), "dense.onnx", "slim.onnx", "export.json", "profile.json"}
    assert not [name for name in names if name.endswith(".part")]


def test_prune_prints_its_result_on_stdout_and_its_talk_on_stderr(main_job):
    report = json.loads(main_job.run.report.read_text())
    stdout, stderr = main_job.prune.stdout, main_job.prune.stderr
    assert f"{report['flops']['slim']:,}" in stdout
    assert f"{report['params']['slim']:,}" in stdout
    assert "fvcore, 1 FLOP per multiply-add" in stdout
    run = f"runs/{ARCH}-1"
    assert stdout.splitlines()[-2:] == [f"report: {run}/report.html", f"next: slimmer export {run}"]
    assert main_job.export.stdout.splitlines()[-1] == f"next: slimmer profile {run}"
    told = stderr.splitlines()
    assert told[:3] == [
        "loading PyTorch",
        "loading the network and the data",
        "tracing the network and checking its channel groups",
    ]
    assert {"measuring the dense network", "scoring the channels"} <= set(told)
    for part in ("dense:", "channels removed:", "epoch 1", "budget 50.0%", "budget 60.0%"):
        assert part in stderr
        assert part not in stdout


def test_the_result_is_inside_both_budgets(main_job):
    report = json.loads(main_job.run.report.read_text())
    assert report["flops"]["slim"] <= 0.5 * report["flops"]["dense"]
    assert report["params"]["slim"] <= 0.6 * report["params"]["dense"]


def test_the_onnx_files_tell_what_they_are(main_job):
    report = json.loads(main_job.run.report.read_text())
    told = {}
    for name in ("dense", "slim"):
        file = onnx.load(main_job.run.onnx(name))
        told[name] = {entry.key: entry.value for entry in file.metadata_props}
        assert told[name]["slimmer"] == "0.1.0"
        assert told[name]["arch"] == ARCH
        assert told[name]["recipe_hash"] == report["recipe_hash"]
        assert int(told[name]["flops"]) == report["flops"][name]
        assert int(told[name]["params"]) == report["params"][name]
        assert "multiply-add" in told[name]["flops_convention"]
    assert told["slim"]["plan_hash"] == report["plan_hash"]
    assert "50.00%" in told["slim"]["budget_flops"]
    assert "60.00%" in told["slim"]["budget_params"]


def test_the_exported_accuracy_is_what_onnx_runtime_gives(main_job):
    found = json.loads(main_job.run.exported.read_text())["networks"]["slim"]
    data = load("digits")
    session = onnxruntime.InferenceSession(
        str(main_job.run.onnx("slim")), providers=["CPUExecutionProvider"]
    )
    right = total = 0
    for images, labels in evaluation_batches(data.test, data, 500):
        [logits] = session.run(["logits"], {"input": images.numpy()})
        right += int((logits.argmax(axis=1) == labels.numpy()).sum())
        total += len(labels)
    assert found["accuracy"] == right / total
    report = json.loads(main_job.run.report.read_text())
    assert abs(found["accuracy"] - report["accuracy"]["slim"]) <= 1 / total
    assert (
        found["parity"]["test"]["top1_agreement"]
        == found["parity"]["random"]["top1_agreement"]
        == 1
    )


def test_profile_compares_slim_with_dense(main_job):
    found = json.loads(main_job.run.profile.read_text())
    assert [row["model"] for row in found["timings"]] == ["dense", "slim"]
    [compared] = found["comparisons"]
    assert (compared["model"], compared["against"], compared["batch"]) == ("slim", "dense", 1)
    assert compared["low"] <= compared["speedup"] <= compared["high"]
    assert found["conditions"]["threads"] == [1]
    assert f"{compared['speedup']:.2f} (" in main_job.profile.stdout
    flops = json.loads(main_job.run.report.read_text())["flops"]
    assert compared["promise"] == flops["dense"] / flops["slim"]
    weights = load_file(main_job.run.slim)
    assert {one["name"]: (one["width"], one["reads"]) for one in found["layers"]["slim"]} == {
        name.removesuffix(".weight"): (len(weight), weight.shape[1])
        for name, weight in weights.items()
        if weight.ndim > 1
    }
    assert (
        {one["model"] for one in found["fresh"]}
        == {one["model"] for one in found["traces"]}
        == {"dense", "slim"}
    )
    assert f"{compared['speedup']:.2f} (" in main_job.run.text.read_text()


def test_the_resolved_recipe_gives_the_same_plan_again(main_job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = slimmer("prune", "--recipe", main_job.run.recipe_file, "--out", "again", "--json")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again/plan.json").read_bytes() == main_job.run.plan.read_bytes()
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "again/report.json").read_text())
    assert report["recipe_hash"] == json.loads(main_job.run.report.read_text())["recipe_hash"]


def test_a_finished_run_is_not_done_again(main_job):
    before = main_job.run.report.stat().st_mtime_ns
    result = slimmer("prune", "--resume", main_job.run.path, "--json")
    assert result.exit_code == 0
    assert "is already finished" in result.stderr
    assert json.loads(result.stdout) == json.loads(main_job.run.report.read_text())
    assert main_job.run.report.stat().st_mtime_ns == before


def test_an_export_that_is_current_is_checked_and_not_written_again(main_job):
    before = {name: main_job.run.onnx(name).stat().st_mtime_ns for name in ("dense", "slim")}
    result = slimmer("export", main_job.run.path, "--json")
    assert result.exit_code == 0, result.output
    networks = json.loads(result.stdout)["networks"]
    assert [networks[name]["reused"] for name in before] == [True, True]
    assert {name: main_job.run.onnx(name).stat().st_mtime_ns for name in before} == before


def test_resume_takes_no_other_option(main_job):
    result = slimmer("prune", "--resume", main_job.run.path, "--flops", "0.4")
    assert result.exit_code == 2
    assert "--resume continues with the run's own recipe" in result.stderr


def test_profile_takes_files(main_job):
    files = [main_job.run.onnx(name) for name in ("slim", "dense")]
    before = main_job.run.profile.read_bytes()
    quick = "--batch 2 --threads 1 --seconds 0 --blocks 1 --precision 1 --json"
    result = slimmer("profile", *files, *quick.split())
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(row["model"], row["batch"]) for row in found["timings"]] == [("slim", 2), ("dense", 2)]
    assert main_job.run.profile.read_bytes() == before


def test_profile_takes_several_runs_and_every_setting(main_job, tmp_path):
    """The same run twice, under two names: what the second is held against is the first one's dense
    network.
    """
    copy = tmp_path / "again"
    shutil.copytree(main_job.run.path, copy)
    settings = (
        "--batch 2 --threads 1,2 --runtime onnxruntime,torch --runs 2 --seconds 0 --blocks 2 "
        "--precision 1 --json"
    )
    result = slimmer("profile", main_job.run.path, copy, *settings.split())
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    names = ["dense", f"slim {main_job.run.path.name}", "slim again"]
    assert [one["name"] for one in found["subjects"]] == names * 2
    cases = [(one["threads"], one["runtime"], one["model"]) for one in found["timings"]]
    assert cases == [
        (t, r, name) for t in (1, 2) for r in ("onnxruntime", "torch") for name in names
    ]
    assert found["conditions"]["effort"] == {"seconds": 0, "runs": 2, "blocks": 2, "precision": 1}
    assert (copy / "profile.json").read_bytes() == main_job.run.profile.read_bytes()


@pytest.mark.parametrize("unchecked", [(), ("dense.onnx", "slim.onnx")])
def test_profile_exports_first_where_that_is_not_done(main_job, monkeypatch, tmp_path, unchecked):
    """The profile itself is left out: what counts is that the export comes first and is announced.

    Files that no export lists are not trusted: one may have been stopped before it held them
    against PyTorch.
    """
    for name in ("recipe.yaml", "report.json", "slim.safetensors", "dense.safetensors", *unchecked):
        (tmp_path / name).write_bytes((main_job.run.path / name).read_bytes())
    done, profiled = [], []
    profile = json.loads(main_job.run.profile.read_text())

    def stand_in(networks, *_):
        profiled.extend(one.name for one in networks)
        return profile

    monkeypatch.setattr(run_profile, "export_run", lambda run, **_: done.append(run))
    monkeypatch.setattr(run_profile, "_profile", stand_in)
    result = slimmer("profile", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert done == [Run(tmp_path)]
    assert profiled == ["dense", "slim"]
    assert "exporting first" in result.stderr
    assert json.loads(result.stdout) == json.loads((tmp_path / "profile.json").read_text())


def test_inspect_shows_groups_ranges_and_what_is_fixed(checkpoint):
    shown = slimmer("inspect", checkpoint, "--input-size", "1,16,16")
    told = slimmer("inspect", checkpoint, "--input-size", "1,16,16", "--json")
    assert shown.exit_code == told.exit_code == 0, shown.output
    found = json.loads(told.stdout)
    assert (found["arch"], found["classes"], found["inputs"]) == (ARCH, 10, "one image of 1x16x16")
    for part in (
        f"{found['flops']['dense']:,}",
        f"{found['params']['least']:,}",
        "layer3.0.conv1",
        "network's output",
    ):
        assert part in shown.stdout
    assert not shown.stderr


def test_the_input_size_needs_three_numbers(checkpoint):
    for wrong in ("3,32", "3,32,0", "3,a,32"):
        result = slimmer("inspect", checkpoint, "--input-size", wrong)
        assert result.exit_code == 2
        assert "--input-size" in result.stderr


def test_data_from_a_file_and_no_training(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("labels.npy", np.arange(40) % 10)
    Path("mine.py").write_text(
        "import torch\n"
        "def noise():\n"
        "    images = torch.randn(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))\n"
        "    labels = torch.arange(40) % 10\n"
        "    return (images, labels), (images, labels)\n"
    )
    options = [
        "--flops",
        "0.6",
        "--epochs",
        "0",
        "--set",
        "data.trust=true",
        "--set",
        "finetune.recalibrate=1",
    ]
    result = slimmer("prune", checkpoint, "--data", "mine.py:noise", *options, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["epochs"] == 0
    assert report["flops"]["slim"] <= 0.6 * report["flops"]["dense"]
    assert Run(tmp_path / report["run"]).recipe().data.path == str(tmp_path / "mine.py:noise")


def test_no_data_at_all_works_and_says_what_it_costs(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = slimmer(
        "prune", checkpoint, "--params", "0.4", "--set", "model.input_size=[1, 16, 16]"
    )
    assert result.exit_code == 0, result.output
    assert "No data given" in result.stdout


def test_a_mistake_of_slimmers_own_keeps_its_traceback(monkeypatch, checkpoint):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(inspection, "inspect", broken)
    result = slimmer("inspect", checkpoint)
    assert isinstance(result.exception, ZeroDivisionError)
