"""The calls from Python: the same work as the commands, on modules and tensors."""

import gc
import pkgutil
import subprocess
import sys
import types
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from main_job import ARCH, PYTHON, tree
from torch import nn
from torch.nn.functional import cross_entropy

import slimmer
from slimmer.data import evaluation_batches, load
from slimmer.models.checkpoint import read_weights
from slimmer.training.evaluate import accuracy

TRUST = {"data.trust": True}


class Nameless(nn.Module):
    """conv - bn - relu - conv - relu - mean - linear, an architecture that no name stands for."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        x = torch.relu(self.two(torch.relu(self.norm(self.one(x)))))
        return self.head(x.mean((2, 3)))


def pair(number=64):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(number, 1, 16, 16, generator=draw), torch.arange(number) % 10


@pytest.fixture
def dense():
    torch.manual_seed(0)
    return Nameless().train()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_the_public_list_is_exactly_what_is_there():
    assert len(slimmer.__all__) <= 15
    assert slimmer.__all__ == sorted(slimmer.__all__)
    for name in slimmer.__all__:
        assert not isinstance(getattr(slimmer, name), types.ModuleType)
    assert set(slimmer.__all__) <= set(dir(slimmer))
    assert not hasattr(slimmer, "nothing")


def test_importing_slimmer_imports_no_torch_and_shows_nothing_else():
    code = (
        "import sys, slimmer\n"
        "shown = {name for name in vars(slimmer) if not name.startswith('_')}\n"
        "print(shown - {'Any', 'ModuleType', 'TYPE_CHECKING', 'import_module', 'sys'}, 'torch' "
        "in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=PYTHON, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["set()", "False"]


def test_no_module_has_the_name_of_a_public_call():
    """Python binds a module to its package at its first import, in place of a call of the same
    name.
    """
    modules = {module.name for module in pkgutil.iter_modules(slimmer.__path__)}
    assert modules.isdisjoint(slimmer.__all__)
    assert dir(slimmer) == sorted(slimmer.__all__)


def test_prune_a_module_with_tensors(dense, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {key: each.clone() for key, each in dense.state_dict().items()}
    events = []
    result = slimmer.prune(
        dense,
        (pair(), pair()),
        flops=0.5,
        params=0.7,
        epochs=2,
        seed=1,
        observe=events.append,
        **TRUST,
    )
    assert same(dense.state_dict(), before)
    assert dense.training
    assert not result.model.training
    report = result.report
    assert report["flops"]["slim"] <= 0.5 * report["flops"]["dense"]
    assert sum(each.numel() for each in result.model.parameters()) == report["params"]["slim"]
    assert report["params"]["slim"] <= 0.7 * report["params"]["dense"]
    assert report["seed"] == 1
    assert result.plan.hash == report["plan_hash"]
    assert result.model.one.out_channels == result.plan.widths[0] < 8
    assert [event["event"] for event in events if event["event"] not in {"step", "stage"}] == [
        "dense", "begun", "removed", "epoch", "epoch", "done",
    ]  # fmt: skip
    with pytest.raises(FrozenInstanceError):
        result.model = dense


def test_nothing_stays_behind_without_out(dense, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    result = slimmer.prune(dense, flops=0.5, input_size=(1, 16, 16))
    assert list(tree(tmp_path)) != [scratch]  # for `finish`, as long as there is the result
    assert result.run is None
    assert result.report["run"] is None
    assert result.report["accuracy"] is None
    del result
    gc.collect()
    assert tree(tmp_path) == {scratch: None}


def test_a_nameless_module_is_kept_loaded_exported_and_profiled(dense, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = slimmer.prune(dense, flops=0.5, out="kept", input_size=(1, 16, 16))
    assert result.run == Path("kept")
    images = pair()[0]
    before = {key: each.clone() for key, each in dense.state_dict().items()}
    again = slimmer.load("kept", dense)
    with torch.no_grad():
        assert torch.equal(again(images), result.model(images))
    with pytest.raises(slimmer.SlimmerError, match="give the dense module"):
        slimmer.load("kept")
    found = slimmer.export("kept", model=dense)
    assert found["networks"]["slim"]["accuracy"] is None
    quick = {"batches": (1,), "threads": 1, "runs": 1, "seconds": 0, "blocks": 1}
    timed = slimmer.profile("kept", **quick)
    assert timed["comparisons"][0]["model"] == "slim"
    in_torch = slimmer.profile("kept", model=dense, runtimes=("torch",), **quick)
    assert [one["runtime"] for one in in_torch["subjects"]] == ["torch", "torch"]
    with pytest.raises(slimmer.SlimmerError, match=r"profile\.batch: is not known"):
        slimmer.profile("kept", batch=(1,))
    assert same(dense.state_dict(), before)
    session = onnxruntime.InferenceSession("kept/slim.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = result.model(images).numpy()
    np.testing.assert_allclose(session.run(None, {"input": images.numpy()})[0], wanted, atol=1e-5)


def test_a_checkpoint_and_a_data_set_by_name(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = checkpoint.read_bytes()
    result = slimmer.prune(
        checkpoint, "digits", flops="50%", epochs=0, recipe=None, **{"finetune.recalibrate": 4}
    )
    assert result.report["arch"] == ARCH
    assert result.report["flops"]["ratio"] <= 0.5
    assert checkpoint.read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_a_data_object_gives_what_its_name_gives(checkpoint):
    options = {"flops": 0.5, "epochs": 0, "finetune.recalibrate": 2, "method.batches": 2}
    named = slimmer.prune(checkpoint, "digits", **options)
    held = slimmer.prune(checkpoint, load("digits"), **options)
    assert named.report["accuracy"] == held.report["accuracy"]
    assert same(named.model.state_dict(), held.model.state_dict())


def test_load_gives_the_runs_slim_network(main_job):
    model = slimmer.load(main_job.run.path)
    assert not model.training
    assert same(model.state_dict(), read_weights(main_job.run.slim))
    data = load("digits")
    top1 = main_job.run.read_report()["accuracy"]["slim"]
    assert accuracy(model, evaluation_batches(data.test, data, 100)) == pytest.approx(
        top1, abs=1 / len(data.test)
    )
    assert same(slimmer.load(main_job.run.slim).state_dict(), model.state_dict())


def test_load_in_a_fresh_process_and_train_on(main_job):
    code = (
        "import sys, slimmer, torch\n"
        "model = slimmer.load(sys.argv[1]).train()\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)\n"
        "model(torch.zeros(2, 1, 16, 16)).sum().backward(); optimizer.step()\n"
        "print(sum(each.numel() for each in model.parameters()))\n"
    )
    arguments = [sys.executable, "-c", code, main_job.run.path]
    result = subprocess.run(arguments, env=PYTHON, capture_output=True, text=True, check=True)
    assert int(result.stdout) == main_job.run.read_report()["params"]["slim"]


def test_a_loaded_network_learns(main_job):
    model, (images, labels) = slimmer.load(main_job.run.path).train(), pair()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_inspect_a_module(dense):
    found = slimmer.inspect(dense, input_size=(1, 16, 16))
    assert found["arch"] == "Nameless"
    assert [(group["name"], group["size"]) for group in found["groups"]] == [
        ("one", 8),
        ("two", 12),
    ]
    assert found["groups"][0]["made_by"] == ["one"]
    assert found["groups"][0]["read_by"] == ["two"]
    # By hand: both convolutions at one channel each, and the head reading one channel.
    assert found["params"]["least"] == 9 + 2 + 9 + 1 + 10 + 10
    assert found["params"]["dense"] == 72 + 16 + 864 + 12 + 120 + 10
    assert found["params"]["out_of_reach"] == 10
    rows = {row["name"]: row for row in found["layers"]}
    assert {name: row["groups"] for name, row in rows.items()} == {
        "one": ["one"],
        "two": ["two"],
        "head": [],
    }
    assert rows["head"]["stays"] == [{"channels": 10, "reason": "the network's output"}]
    # By hand, bias not counted: kernel, inputs, outputs, places; then the same with one channel
    # each.
    assert rows["two"]["flops"] == 9 * 8 * 12 * 16 * 16
    assert rows["two"]["flops_least"] == 9 * 16 * 16


def test_a_module_needs_an_input_size(dense):
    with pytest.raises(slimmer.SlimmerError, match="input_size"):
        slimmer.inspect(dense)
    with pytest.raises(slimmer.SlimmerError, match="input_size"):
        slimmer.prune(dense, flops=0.5)


def test_layers_are_kept_by_the_name_that_the_option_has(dense):
    result = slimmer.prune(dense, flops=0.9, input_size=(1, 16, 16), keep=["two"])
    assert [group["name"] for group in result.report["groups"]] == ["one"]


def test_a_misspelt_setting_is_named_with_what_is_near(dense):
    with pytest.raises(slimmer.SlimmerError, match="did you mean 'seed'"):
        slimmer.prune(dense, flops=0.5, sead=1)


@pytest.mark.parametrize(
    "data", [pair(), (pair(), (1, 2)), (pair(), pair(), pair()), ((pair()[0], 3), pair()), 5]
)
def test_data_of_another_form_is_refused(dense, data):
    with pytest.raises(slimmer.SlimmerError, match="data"):
        slimmer.prune(dense, data, flops=0.5)


def test_a_run_whose_data_came_from_python_is_not_resumed_without_them(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def stop(event):
        if event["event"] == "begun":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slimmer.prune(checkpoint, load("digits"), flops=0.5, epochs=1, out="run", observe=stop)
    from slimmer.pipeline import stages as pipeline
    from slimmer.runs.directory import Run

    with pytest.raises(slimmer.SlimmerError, match="start the run again from Python"):
        pipeline.resume(Run(Path("run")))
