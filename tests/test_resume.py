"""A run that is killed goes on to the same plan and the same network."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.stages import resume, start
from slimmer.recipe import read_recipe
from slimmer.runs.directory import Run
from slimmer.runs.open_run import open_run

SCRIPT = """
import sys, torch
from pathlib import Path
from slimmer.pipeline.stages import start
from slimmer.recipe import read_recipe
torch.set_num_threads(1)
recipe, out = read_recipe(Path(sys.argv[1])), Path(sys.argv[2])
start(recipe, out, lambda event: print(event["event"], flush=True))
"""


def recipe_file(folder: Path, method: dict) -> Path:
    torch_seeded = build("cifar_resnet8", in_channels=1)
    save_weights(folder / "dense.safetensors", torch_seeded, {})
    data = {
        "model": {"checkpoint": str(folder / "dense.safetensors"), "arch": "cifar_resnet8"},
        "data": {"name": "digits", "trust": True},
        "budget": {"flops": 0.5},
        "method": method,
        "finetune": {"epochs": 3, "batch_size": 64, "save_every": 0.05, "recalibrate": 2},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def run_and_kill(command: list[str], folder: Path, environment: dict[str, str], after: int) -> None:
    """Start a run and kill it once it told of `after` steps."""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = 0
        while told < after:
            line = process.stdout.readline()
            assert line, "the run ended before it could be killed"
            told += line.strip() == "step"
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("method", "kill_after"),
    [
        ({"name": "taylor", "batches": 2}, 30),  # while the slim network trains
        # under masks
        (
            {
                "name": "maskconvnet",
                "sparsify": 0.9,
                "controller": "dual",
                "forward": "hard",
                "pull": "cost",
            },
            20,
        ),
        ({"name": "taylor", "sparsify": 0.9, "batches": 2}, 20),
        ({"name": "network_slimming", "sparsify": 0.9, "scale_start": 0.5}, 20),
        ({"name": "bar", "sparsify": 0.9}, 20),
    ],
)
def test_a_killed_run_ends_as_an_unbroken_one(
    tmp_path: Path, method: dict, kill_after: int
) -> None:
    recipe = recipe_file(tmp_path, method)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start(read_recipe(recipe), unbroken)
    command = [sys.executable, "-c", SCRIPT, str(recipe), str(broken)]
    run_and_kill(command, tmp_path, environment, kill_after)
    run = open_run(broken, finished=False)
    assert run.state.is_file()
    assert not run.slim.is_file()
    first = run.read_events()[-1]["time"]
    resume(run)
    assert run.plan.read_bytes() == Run(unbroken).plan.read_bytes()
    assert not run.state.is_file()
    ours, theirs = read_weights(run.slim), read_weights(Run(unbroken).slim)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    left = [each.read_report()["before_projection"] for each in (run, Run(unbroken))]
    assert left[0] == left[1]
    assert (left[0] is not None) == (
        "sparsify" in method and method["name"] != "network_slimming"
    )  # it has no masks
    *_, before_report, done = run.read_events()
    assert done["event"] == "done"
    assert run.read_report()["seconds"] == pytest.approx(first + before_report["time"], abs=0.1)
    report = run.report.read_bytes()
    assert resume(run)["plan_hash"]  # a finished run is not done again
    assert run.report.read_bytes() == report
