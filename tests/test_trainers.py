"""The scripts of docs/trainers.md run as they are printed; their runs are inside the budget, and
hold the networks that the trainers left.
"""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from main_job import PYTHON

import slimmer
from slimmer.models import build

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
# Before anything of torchvision: its own operators where they fit the installed torch.
START = (
    "import runpy, sys; sys.path.insert(0, sys.argv[1])\n"
    "from torchvision_here import import_torchvision; import_torchvision()\n"
)
SCRIPT = f"{START}runpy.run_path('script.py', run_name='__main__')\n"
COMMAND = f"{START}del sys.argv[1]; runpy.run_module('slimmer', run_name='__main__')\n"
PLAIN = [
    "PyTorch: prune, then train",
    "PyTorch: prune while you train",
    "Prune, train, prune again",
]
PACKAGES = {
    "Lightning": ("lightning", ("mine", "gradual")),
    "timm": ("timm", ("mine",)),
    "ultralytics": ("ultralytics", ("mine", "gradual")),
    "Hugging Face Trainer": ("transformers", ("mine", "gradual")),
}


def scripts(heading):
    """The scripts under a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def run_scripts(heading, folder, monkeypatch):
    """The names that the scripts under a heading leave, run one after the other."""
    monkeypatch.chdir(folder)
    names = {"__name__": "__main__"}
    for script in scripts(heading):
        exec(compile(script, f"docs/trainers.md, {heading}", "exec"), names)
    return names


def inside_half(run):
    told = json.loads((run / "report.json").read_text())
    assert 0.47 < told["flops"]["ratio"] <= 0.5
    assert told["fine_tuned_outside"]


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_every_script_of_the_page_is_tested():
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert headings == [*PLAIN, *PACKAGES]
    assert sum(len(scripts(heading)) for heading in headings) == PAGE.count("```python")


def test_prune_then_train(tmp_path, monkeypatch):
    names = run_scripts(PLAIN[0], tmp_path, monkeypatch)
    inside_half(tmp_path / "runs" / "mine")
    assert same(slimmer.load("runs/mine", names["dense"]), names["model"])


def test_prune_while_training_and_resume(tmp_path, monkeypatch):
    """The resumed loop stands where the first one did."""
    names = run_scripts(PLAIN[1], tmp_path, monkeypatch)
    inside_half(tmp_path / "runs" / "gradual")
    assert same(slimmer.load("runs/gradual", build("cifar_resnet20")), names["result"].model)
    assert names["pruned"].left == 0
    assert names["pruned"].plan == names["result"].plan
    momentum = names["optimizer_slim"].state_dict()["state"]
    shapes = [tuple(each["momentum_buffer"].shape) for each in momentum.values()]
    assert shapes == [tuple(each.shape) for each in names["result"].model.parameters()]


def test_prune_train_and_prune_again(tmp_path, monkeypatch):
    names = run_scripts(PLAIN[2], tmp_path, monkeypatch)
    flops = names["finished"].report["flops"]["slim"]
    dense = slimmer.inspect(build("cifar_resnet20"), input_size=(3, 32, 32))["flops"]["dense"]
    assert 0.8**3 - 0.03 < flops / dense <= 0.8**3


@pytest.mark.slow
@pytest.mark.parametrize("heading", PACKAGES)
def test_the_scripts_of_other_packages(heading, tmp_path):
    package, runs = PACKAGES[heading]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if package == "transformers" and find_spec("accelerate") is None:
        pytest.skip("accelerate, which transformers' Trainer needs, is not installed")
    (script,) = scripts(heading)
    (tmp_path / "script.py").write_text(script)
    run_in(tmp_path, SCRIPT)
    for name in runs:
        inside_half(tmp_path / "runs" / name)
    said = re.search(r"# or: slimmer (adopt .*)", script)
    if said is not None:
        run_in(tmp_path, COMMAND, *said[1].split(), "--out", "adopted")
        inside_half(tmp_path / "adopted")


def run_in(folder, code, *arguments):
    own = {"YOLO_CONFIG_DIR": str(folder), "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "benchmarks"), *arguments],
        cwd=folder,
        env={**os.environ, **PYTHON, **own, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
