"""benchmarks/network_coverage.py: two networks through the real script, and what it says of results
written by hand.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections import ChainMap
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from slimmer.graph import tensors_in

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "network_coverage.py"
STAGES = ("build", "graph", "check", "plan", "equal", "costs", "train", "attributes", "onnx")


@pytest.fixture(scope="module")
def coverage():
    """What the script's modules define."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        modules = map(import_module, ("coverage_names", "coverage_verdicts", "coverage_page"))
        return SimpleNamespace(**ChainMap(*map(vars, modules)))


def a_row(net="timm/resnet10t", ended="done", **changes):
    """A network that went through well, save for what `changes` says of its stages (None: not
    reached).
    """
    stages = {name: {"s": 1.0, "mb": 100} for name in STAGES}
    stages["plan"] |= {
        "dense": 1000,
        "least": 10,
        "limit": 500.0,
        "flops": 499,
        "params": 70,
        "holds": [["why", 0.1]],
    }
    stages["equal"] |= {"difference": 1e-16, "equal": True}
    stages["costs"] |= {"flops": 499, "params": 70}
    stages["attributes"] |= {"untrue": []}
    for name, change in changes.items():
        stages[name] = None if change is None else stages[name] | change
    left = {name: found for name, found in stages.items() if found is not None}
    machine = {"cpu": "some", "torch": "2", "onnxruntime": "1"}
    return {
        "net": net,
        "family": "resnet",
        "stages_asked": "all",
        "ended": ended,
        "stages": left,
    } | {"environment": machine}


@pytest.mark.parametrize(
    ("changes", "word", "why"),
    [
        ({}, "half", ""),
        ({"equal": {"equal": False, "difference": 0.25}}, "wrong", "differs from masked by 0.25"),
        ({"costs": {"flops": 501}}, "wrong", "501 FLOPs, over the limit of 500"),
        ({"costs": {"flops": 498}}, "wrong", "498 flops, 499 were planned"),
        ({"costs": {"params": 71}}, "wrong", "71 params, 70 were planned"),
        ({"plan": {"least": 600, "limit": 800.0}}, "part", "at least 60.0% remain; 10% why"),
        (
            {"plan": {"least": 1000, "error": "none"}, "equal": None},
            "failed",
            "nothing to prune: 10% why",
        ),
        ({"graph": {"error": "ValueError: no"}}, "failed", "graph: ValueError: no"),
    ],
)
def test_a_verdict_says_what_went_wrong(coverage, changes, word, why):
    got, reason = coverage.verdict(a_row(**changes))
    assert got == word
    assert why in reason


@pytest.mark.parametrize(
    ("first", "second", "word", "why"),
    [
        ({"plan": {"least": 600, "limit": 800.0}}, {}, "rewritten", ""),
        (
            {"plan": {"least": 600, "limit": 800.0}},
            {"graph": {"error": "no"}},
            "part",
            "remain; 10% why; with --rewr",
        ),
        (
            {"graph": {"error": "no"}},
            {"plan": {"least": 600, "limit": 800.0}},
            "part",
            "with --rewrite at least 60.0%",
        ),
        (
            {"graph": {"error": "no"}},
            {"equal": {"equal": False, "difference": 1.0}},
            "wrong",
            "with --rewrite pruned",
        ),
    ],
)
def test_the_second_time_counts_where_it_went_further(coverage, first, second, word, why):
    again = {key: a_row(**second)[key] for key in ("ended", "stages")}
    got, reason = coverage.verdict({**a_row(**first), "rewritten": again})
    assert got == word
    assert why in reason


def test_a_process_that_ran_out_of_time_says_in_which_stage(coverage):
    assert coverage.verdict(a_row(ended="timeout", equal=None)) == ("failed", "equal: timeout")
    late = a_row(ended="timeout", onnx=None)
    assert coverage.verdict(late)[0] == "half"
    assert list(coverage.later_failures(late)) == ["onnx: timeout"]


@pytest.mark.parametrize(
    ("ended", "stages", "word"),
    [
        (
            "done",
            {
                "prune": {},
                "run": {"flops": 0.49, "reached": True, "same_shapes": True},
                "train": {},
            },
            "ok",
        ),
        (
            "done",
            {"prune": {}, "run": {"flops": 0.9, "reached": False, "same_shapes": True}},
            "wrong",
        ),
        (
            "done",
            {"prune": {}, "run": {"flops": 0.49, "reached": True, "same_shapes": False}},
            "wrong",
        ),
        ("done", {"prune": {}, "run": {"error": "RuntimeError: shapes"}}, "wrong"),
        ("done", {"prune": {"error": "KeyError: 1"}}, "error"),
        ("exit code -9: ", {}, "error"),
        ("timeout", {}, "timeout"),
    ],
)
def test_torch_pruning_is_judged_by_the_network_it_gives_back(coverage, ended, stages, word):
    peer = {"ended": ended, "stages": {"build": {}, **stages}}
    assert coverage.peer_verdict({**a_row(), "peer": peer})[0] == word
    assert coverage.peer_verdict(a_row())[0] == "not run"


def test_training_is_judged_apart_for_both(coverage):
    row = a_row(train={"error": "RuntimeError: shapes"})
    run = {"flops": 0.49, "reached": True, "same_shapes": True}
    row["peer"] = {
        "ended": "done",
        "stages": {"build": {}, "prune": {}, "run": run, "train": {"error": "KeyError: 1"}},
    }
    assert coverage.verdict(row) == ("half", "")
    assert list(coverage.later_failures(row)) == ["train: RuntimeError: shapes"]
    assert coverage.peer_verdict(row) == ("ok", "train: KeyError: 1")


def test_the_table_counts_every_network_once(coverage):
    rows = [
        a_row(),
        a_row("torchvision/alexnet", equal={"equal": False, "difference": 1.0}),
        a_row("timm/coat_tiny", graph={"error": "KeyError: 17 in a.b (x.py:3)"}),
    ]
    text = "\n".join(coverage.markdown(rows))
    assert "| timm, convnets | 1 | 1 | 0 | 0 | 0 | 0 | 1 |" in text
    assert "| timm, hybrids | 1 | 0 | 0 | 0 | 0 | 1 | 0 |" in text
    assert "| torchvision | 1 | 0 | 0 | 0 | 1 | 0 | 0 |" in text
    assert "- torchvision/alexnet: pruned differs from masked by 1" in text
    assert "- 1: graph: KeyError: N (x.py:N)" in text


def test_the_list_is_as_long_and_as_wide_as_it_says(coverage):
    names = [*coverage.CONVNETS, *coverage.HYBRIDS]
    assert len(names) >= 250
    assert len(set(names)) == len(names)


def test_other_packages_networks_are_told_one_by_one(coverage):
    rows = [a_row("smp/unet"), a_row("peers/lenet", plan={"least": 600, "limit": 800.0})]
    lines = list(coverage.markdown([*rows, a_row()]))
    assert "| peers/lenet | part | 49.9% | 9.0 | at least 60.0% remain; 10% why |" in lines
    assert "| smp/unet | half | 49.9% | 9.0 |  |" in lines
    assert not any(line.startswith("| timm/resnet10t |") for line in lines)


@pytest.fixture(scope="module")
def peers():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        return import_module("peer_networks").NETWORKS


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_peers_networks_run_in_eval_and_in_training(peers):
    images = torch.randn(2, 3, 32, 32)
    assert len(peers) >= 20
    for name, make in peers.items():
        network = make()
        for training in (False, True):
            assert tensors_in(network.train(training)(images))[0].shape[0] == 2, name


@pytest.fixture
def packages():
    for package in ("torchvision", "timm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.mark.slow
def test_every_name_is_a_network_of_timm(coverage, packages):
    listing = """
from torchvision_here import import_torchvision
import_torchvision()
import timm
print(*(f"{name}={timm.model_entrypoint(name).__module__}" for name in timm.list_models()))
"""
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run(
        [sys.executable, "-c", listing], check=True, capture_output=True, text=True, env=env
    )
    modules = dict(entry.split("=") for entry in done.stdout.split())
    assert len({modules[name] for name in (*coverage.CONVNETS, *coverage.HYBRIDS)}) >= 60


@pytest.mark.slow
def test_two_networks_go_through_the_script(tmp_path, packages):
    out = tmp_path / "rows.jsonl"
    nets = "torchvision/squeezenet1_1,timm/test_resnet"
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--names", nets, "--stages", "graph"]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["net"] for row in rows] == nets.split(",")
    for row in rows:
        stages = row["stages"]
        assert list(stages) == list(STAGES[:-1])
        assert stages["equal"]["difference"] <= 1e-10
        assert stages["equal"]["moved"] > 1e-3  # the comparison had something to see
        assert stages["costs"]["flops"] == stages["plan"]["flops"] <= 0.5 * stages["plan"]["dense"]
    assert "| torchvision | 1 | 1 |" in done.stdout
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert again.stderr == ""  # what is there is passed over
    assert again.stdout == done.stdout
