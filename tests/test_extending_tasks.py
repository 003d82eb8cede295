"""A task of another package: the page's example is installed, and a recipe is run by it."""

import json
import shlex
import shutil
from contextlib import chdir

import pytest
import torch
from main_job import slimmer
from test_extending import blocks, install

from slimmer.data import load
from slimmer.models import build
from slimmer.models.checkpoint import load_weights_, read_weights
from slimmer.tasks.registry import TASKS

OWN = ("classification", "multilabel", "regression", "segmentation")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The page's example, and the registry as it is before anybody has looked up a name."""
    monkeypatch.setattr(TASKS, "_entries", {name: TASKS[name] for name in OWN})
    monkeypatch.setattr(TASKS, "_group", "slimmer.tasks")
    install("A task", tmp_path / "site", monkeypatch)


@pytest.mark.usefixtures("installed")
def test_a_recipe_is_run_by_an_installed_task(tmp_path, checkpoint):
    shutil.copy(checkpoint, tmp_path / "digits_resnet8.safetensors")
    command = shlex.split(blocks("A task", "console")[0])
    quick = ["--set", "finetune.recalibrate=1", "--set", "method.batches=2", "--out", "run"]
    with chdir(tmp_path):
        told = slimmer(*command[1:], *quick)
    assert told.exit_code == 0, told.output
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    assert found["metric"] == {"name": "distance", "higher_is_better": False, "percent": False}
    net = build("cifar_resnet8", in_channels=1)
    load_weights_(net, read_weights(checkpoint), "")
    data = load("digits")
    every = torch.arange(len(data.test.labels))
    images = (data.test.load(every) / 255 - data.mean[0]) / data.std[0]
    with torch.no_grad():
        apart = (net.eval()(images).argmax(1) - data.test.labels).abs()
    assert found["accuracy"]["dense"] == pytest.approx(float(apart.float().mean()), abs=0.02)
    assert found["trained_by"] == "ordinal"
