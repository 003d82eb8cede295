"""Code that a file names: run at the user's word, remembered, and never at the file's."""

import shutil
from pathlib import Path

import pytest
import torch
from main_job import QUICK
from main_job import slimmer as command

import slimmer
from slimmer.errors import TrustError
from slimmer.models.checkpoint import save_weights
from slimmer.recipe import read_recipe
from slimmer.runs.trust import check_code, remember

NET = """
from pathlib import Path
from torch import nn
Path({mark!r}).write_text("ran")
class make(nn.Module):
    input_size = (1, 12, 12)
    def __init__(self, num_classes=10):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, num_classes)
    def forward(self, x):
        return self.head(self.two(self.one(x).relu()).relu().mean((2, 3)))
"""
DATA = """
from pathlib import Path
import torch
Path({mark!r}).write_text("ran")
def make():
    images, labels = torch.rand(40, 1, 12, 12), torch.arange(40) % 10
    return (images, labels), (images, labels)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a network and data of Python files, each of which leaves a mark when it is
    run.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET.format(mark=str(tmp_path / "net ran")))
    Path("photos.py").write_text(DATA.format(mark=str(tmp_path / "data ran")))
    return tmp_path


def forget(place):
    """As on another machine, where nobody has named this code."""
    shutil.rmtree(place / "state", ignore_errors=True)
    for mark in place.glob("* ran"):
        mark.unlink()


def ran(place):
    return sorted(mark.name for mark in place.glob("* ran"))


@pytest.fixture
def run(place):
    """A run of that network and those data, started by the user."""
    torch.manual_seed(0)
    weights = place / "weights.pth"
    spec = {}
    exec(Path("net.py").read_text(), spec)
    torch.save(spec["make"]().state_dict(), weights)
    options = ["--arch", "net.py:make", "--data", "photos.py:make", "--set", "data.trust=true"]
    done = command("prune", weights, "--flops", "0.5", "--epochs", "0.5", *options, "--out", "run")
    assert done.exit_code == 0, done.output
    return place / "run"


def test_ones_own_runs_are_not_asked_about_again(place, run):
    slimmer.load(run)
    for arguments in (
        ["export", run],
        ["inspect", run / "slim.safetensors"],
        ["prune", "--resume", run],
    ):
        done = command(*arguments)
        assert done.exit_code == 0, done.output


def calls(run):
    """Everything that reads a run's files or one of them."""
    half = ["--flops", "0.9", "--epochs", "0"]
    return {
        "load": lambda **trust: slimmer.load(run, **trust),
        "load file": lambda **trust: slimmer.load(run / "slim.safetensors", **trust),
        "export": lambda **trust: slimmer.export(run, **trust),
        "profile": lambda **trust: slimmer.profile(run, runtimes=["torch"], **quick(), **trust),
        "inspect": lambda **trust: slimmer.inspect(run, **trust),
        "prune": lambda **trust: slimmer.prune(run, flops=0.9, epochs=0, **trust),
        "export command": lambda **trust: shell("export", run, **trust),
        "profile command": lambda **trust: shell(
            "profile", run, "--runtime", "torch", *QUICK, **trust
        ),
        "inspect command": lambda **trust: shell("inspect", run / "dense.safetensors", **trust),
        "prune command": lambda **trust: shell("prune", run, *half, **trust),
        "resume command": lambda **trust: shell("prune", "--resume", unfinished(run), **trust),
    }


def quick():
    return {"batches": (1,), "threads": 1, "runs": 1, "seconds": 0.0, "blocks": 2, "precision": 1.0}


def shell(*arguments, trust_code=False):
    done = command(*arguments, *(["--trust-code"] if trust_code else []))
    if done.exit_code:
        assert done.exit_code == 2, done.output
        raise TrustError("command", done.output, "")


def unfinished(run):
    """A copy of the run, as it was killed before its end."""
    copy = run.parent / "unfinished"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    for name in ("report.json", "slim.safetensors", "plan.json"):
        (copy / name).unlink()
    return copy


@pytest.mark.parametrize("name", list(calls(Path())))
def test_code_of_somebody_elses_run_is_named_and_not_run(place, run, name):
    forget(place)
    with pytest.raises(
        TrustError, match=r"would run .*\.py and call its function 'make'"
    ) as caught:
        calls(run)[name]()
    assert not ran(place)
    assert "--trust-code" in str(caught.value)
    calls(run)[name](trust_code=True)
    assert ran(place)


def test_the_users_word_is_the_architecture_at_load_time(place, run):
    forget(place)
    model = slimmer.load(run, arch="net.py:make")
    assert model.one.out_channels < 16
    assert ran(place) == ["net ran"]


def test_data_of_a_run_that_only_its_recipe_names_are_not_run(place, run):
    """The network is the user's own, the data are not."""
    forget(place)
    remember("net.py:make")
    with pytest.raises(
        TrustError, match=r"recipe\.yaml: refers to code: continuing would run .*photos\.py"
    ):
        slimmer.export(run)
    assert ran(place) == []
    slimmer.export(run, "photos.py:make")  # the user's word


def test_a_file_that_has_changed_is_asked_about_again(place, run):
    Path("net.py").write_text(Path("net.py").read_text() + "\n# other\n")
    (place / "net ran").unlink()
    with pytest.raises(TrustError):
        slimmer.load(run)
    assert not (place / "net ran").exists()


def test_the_same_code_at_another_place_or_by_another_function_is_asked_about(place):
    remember("net.py:make")
    check_code("f", str(place / "net.py") + ":make", trusted=False)
    shutil.copy("net.py", "other.py")
    for reference in (
        "other.py:make",
        "net.py:Path",
        "net.py:os.system",
        "gone.py:make",
        "net.py",
        "/dev/zero.py:x",
    ):
        with pytest.raises(TrustError):
            check_code("f", reference, trusted=False)


@pytest.mark.parametrize(
    "arch",
    ["{net}:make", "{net}:Path", "net.py:make", "./net.py:make", "{net}", "x/../net.py:make"],
)
def test_however_a_file_names_code_it_is_not_run(place, arch):
    """Weights of anyone, with slimmer's metadata."""
    metadata = {
        "format": "slimmer-1",
        "arch": arch.format(net=place / "net.py"),
        "num_classes": "10",
    }
    save_weights(
        place / "their.safetensors",
        {"a": torch.ones(2, 2)},
        {**metadata, "input_size": "[1, 12, 12]"},
    )
    for call in (slimmer.load, slimmer.inspect, lambda path: slimmer.prune(path, flops=0.5)):
        with pytest.raises(TrustError):
            call(place / "their.safetensors")
    assert not ran(place)


def test_where_nothing_can_be_noted_the_user_is_asked(place, monkeypatch):
    Path("file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "file"))
    remember("net.py:make")
    with pytest.raises(TrustError):
        check_code("f", "net.py:make", trusted=False)


def test_a_recipe_that_the_user_names_is_the_users_word(place, run):
    forget(place)
    recipe = read_recipe(run / "recipe.yaml")
    assert recipe.model.arch == "net.py:make"
    done = command("prune", "--recipe", run / "recipe.yaml", "--out", "again")
    assert done.exit_code == 0, done.output
    slimmer.load(place / "again")
