"""A slim network that was trained elsewhere becomes a run; the network itself is what it is held
against.
"""

import json
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from main_job import slimmer as command
from main_job import tree
from torch import nn

import slimmer
from slimmer.data import evaluation_batches, load
from slimmer.errors import CheckpointError, RunError
from slimmer.models import build
from slimmer.models.checkpoint import load_weights_, read_weights
from slimmer.training.evaluate import accuracy


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def run(checkpoint, tmp_path_factory):
    """A run without training, whose slim network is trained elsewhere."""
    place = tmp_path_factory.mktemp("finish") / "run"
    slimmer.prune(checkpoint, "digits", flops=0.5, epochs=0, out=place)
    return place


def trained_(model):
    """The network after a step of somebody's own training."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=0.01)
    model(torch.rand(8, 1, 16, 16)).square().mean().backward()
    optimizer.step()
    return model


def top1(model, data):
    return accuracy(model, evaluation_batches(data.test, data, 500))


def outputs(model):
    with torch.no_grad():
        return model.eval()(torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1)))


class Wrapped(nn.Module):
    """A module of a training framework: the network inside, and a buffer of its own."""

    def __init__(self, model):
        super().__init__()
        self.net = model


def test_a_network_that_was_trained_elsewhere_is_a_run_like_any_other(run, digits, tmp_path):
    model = trained_(slimmer.load(run))
    before = tree(run)
    finished = slimmer.finish(run, model, out=tmp_path / "mine")
    assert tree(run) == before
    assert torch.equal(outputs(slimmer.load(tmp_path / "mine")), outputs(model))
    told, first = finished.report, json.loads((run / "report.json").read_text())
    assert told["accuracy"] == {**first["accuracy"], "slim": top1(model, digits)}
    assert told["flops"] == first["flops"]
    assert told["run"] == str(tmp_path / "mine")
    assert "Fine-tuned outside slimmer" in (tmp_path / "mine" / "report.md").read_text()
    files = slimmer.export(tmp_path / "mine")["networks"]
    assert files["slim"]["accuracy"] == pytest.approx(told["accuracy"]["slim"])
    rows = slimmer.compare(tmp_path / "mine", run)["rows"]
    assert [len(row["runs"]) for row in rows] == [1, 1]  # one recipe, and not one result


def test_what_prune_returned_is_finished_without_a_directory_between(digits, tmp_path):
    torch.manual_seed(0)
    dense = build("cifar_resnet8", in_channels=1)
    pruned = slimmer.prune(dense, input_size=(1, 16, 16), flops=0.5)
    assert pruned.run is None
    trained_(pruned.model)
    finished = slimmer.finish(pruned, data=digits, out=tmp_path / "mine")
    assert torch.equal(outputs(finished.model), outputs(pruned.model))
    removed = slimmer.load(pruned.files, dense)
    wanted = {"dense": dense, "removed": removed, "slim": pruned.model}
    assert finished.report["accuracy"] == {name: top1(net, digits) for name, net in wanted.items()}
    place = pruned.files
    assert place.exists()
    del pruned
    assert not place.exists()


@pytest.mark.parametrize("form", ["plain", "lightning", "ema"])
def test_a_checkpoint_of_the_users_own_is_taken_from_the_command_line(form, run, tmp_path):
    model = trained_(slimmer.load(run))
    weights = {
        "plain": model.state_dict(),
        "lightning": {"state_dict": Wrapped(model).state_dict(), "epoch": 3},
        "ema": {"model": slimmer.load(run).state_dict(), "model_ema": model.state_dict()},
    }[form]
    torch.save(weights, tmp_path / "last.pth")
    entry = ["--entry", "model_ema"] if form == "ema" else []
    with chdir(tmp_path):
        result = command("adopt", run, "last.pth", *entry)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[-1] == "next: slimmer export runs/cifar_resnet8-1"
        found = slimmer.load()  # the latest
    assert torch.equal(outputs(found), outputs(model))


def with_nan(run):
    state = slimmer.load(run).state_dict()
    next(iter(state.values())).flatten()[0] = torch.nan
    return state


WRONG = {
    "other shapes": lambda run: build("cifar_resnet8", in_channels=1).state_dict(),
    "unexpected": lambda run: build("cifar_resnet20", in_channels=1).state_dict(),
    "contain NaN or infinity": with_nan,
}


@pytest.mark.parametrize("found", WRONG)
@pytest.mark.parametrize("as_file", [True, False])
def test_weights_of_another_network_are_refused_and_nothing_is_written(
    found, as_file, run, tmp_path
):
    state = WRONG[found](run)
    given = tmp_path / "last.pth"
    torch.save(state, given)
    if not as_file:
        given = nn.Module()
        for name, value in state.items():
            given.register_buffer(name.replace(".", "_"), value)
        given.state_dict = lambda: state
    with pytest.raises(CheckpointError, match=found):
        slimmer.finish(run, given, out=tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pth"]


def test_where_writing_fails_nothing_is_left(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slimmer.pipeline.make_report.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        slimmer.finish(run, slimmer.load(run), out=tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_directory_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        slimmer.finish(run, slimmer.load(run), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_on_data_from_python_asks_for_them(checkpoint, digits, tmp_path):
    model = build("cifar_resnet8", in_channels=1)
    load_weights_(model, read_weights(checkpoint), "checkpoint")
    slimmer.prune(model, digits, flops=0.5, epochs=0, out=tmp_path / "run", arch="cifar_resnet8")
    torch.save(slimmer.load(tmp_path / "run").state_dict(), tmp_path / "last.pth")
    result = command("adopt", tmp_path / "run", tmp_path / "last.pth", "--out", tmp_path / "mine")
    assert result.exit_code == 2
    assert "its data or task were passed from Python" in result.stderr
    with_data = ("--data", "digits", "--out", tmp_path / "mine")
    assert command("adopt", tmp_path / "run", tmp_path / "last.pth", *with_data).exit_code == 0
    assert Path(tmp_path / "mine" / "recipe.yaml").read_text().count("path: digits") == 1
    with pytest.raises(RunError, match="has no trained network"):
        slimmer.finish(tmp_path / "run")
