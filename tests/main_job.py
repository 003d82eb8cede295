"""The main job on digits, done once for all tests: a small pretrained net, pruned, exported and
profiled.
"""

import os
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import cross_entropy

from slimmer.cli import main
from slimmer.data import batches, load
from slimmer.models import build
from slimmer.models.checkpoint import save_weights
from slimmer.runs.directory import Run

ARCH = "cifar_resnet8"
# Options of `slimmer profile` for the shortest measurement.
QUICK = ["--batch", "2", "--threads", "1", "--runs", "1", "--seconds", "0", "--blocks", "2"]
QUICK += ["--precision", "1"]
PYTHON = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def slimmer(*arguments, width=100):
    """What `slimmer` does with the arguments, in this process."""
    arguments = [str(each) for each in arguments]
    return CliRunner().invoke(main, arguments, prog_name="slimmer", terminal_width=width)


def tree(folder):
    """Every file below a folder with its bytes, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in Path(folder).rglob("*")}


@dataclass(frozen=True)
class MainJob:
    """What the three commands printed, and where they worked."""

    folder: Path
    run: Run
    prune: object
    export: object
    profile: object


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Weights of a net that tells digits apart well above chance, after 40 steps of training."""
    torch.manual_seed(0)
    data, model = load("digits"), build(ARCH, in_channels=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(2):
        for images, labels in batches(
            data.train, data, batch_size=72, epoch=epoch, seed=0, augment="none"
        ):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "digits_resnet8.safetensors"
    save_weights(path, model, {})
    return path


@pytest.fixture(scope="session")
def main_job(checkpoint, tmp_path_factory):
    """The main job: one epoch to half of the FLOPs and 60 % of the parameters."""
    folder = tmp_path_factory.mktemp("main_job")
    with chdir(folder):
        pruned = slimmer(
            "prune",
            checkpoint,
            "--flops",
            "0.5",
            "--params",
            "60%",
            "--data",
            "digits",
            "--epochs",
            "1",
        )
        assert pruned.exit_code == 0, pruned.output
        exported = slimmer("export", "--onnx")
        assert exported.exit_code == 0, exported.output
        quick = "--batch 1 --threads 1 --seconds 0.1 --precision 1"
        profiled = slimmer("profile", *quick.split())
        assert profiled.exit_code == 0, profiled.output
    return MainJob(folder, Run(folder / "runs" / f"{ARCH}-1"), pruned, exported, profiled)
