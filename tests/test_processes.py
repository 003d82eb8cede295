"""Two processes under torchrun hold the same plan, and together do what one process does."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from slimmer.errors import RuntimeUnavailableError
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.runs.directory import Run
from slimmer.training.devices import synchronised_

SCRIPT = """
import sys, os, torch
from pathlib import Path
from slimmer.pipeline.stages import start
from slimmer.recipe import read_recipe
torch.set_num_threads(1)
run, report = start(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]))
Path(sys.argv[2] + f".plan{os.environ.get('RANK', 0)}").write_text(report["plan_hash"])
"""

FACTORY = """
from torch import nn

def plain():
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 7 * 7, 10))
    net.input_size = (1, 16, 16)
    return net

def normed():
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 7 * 7, 10))
    net.input_size = (1, 16, 16)
    return net
"""

SCORES = {"sparsify": 0.3, "batches": 4}
SETTLING = {"name": "maskconvnet", "sparsify": 0.7, "settle": 0.1, "mask_lr": 1.0, "mask_start": 0}
STEPS = {"accumulate": 2, "clip": 0.5, "ema": 0.9}
TOLERANCE = 1e-4  # of the largest weight: sums over a batch are taken in another order


@pytest.mark.parametrize(
    ("factory", "tuned", "method"),
    [
        ("plain", {}, SCORES),
        pytest.param("normed", {}, SCORES, marks=pytest.mark.slow),
        pytest.param("plain", STEPS, SCORES, marks=pytest.mark.slow),
        pytest.param("plain", STEPS, SETTLING, marks=pytest.mark.slow),
    ],
)
def test_two_processes_equal_one(tmp_path: Path, factory: str, tuned: dict, method: dict) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    scope: dict = {}
    exec(FACTORY, scope)
    torch.manual_seed(0)
    save_weights(tmp_path / "dense.safetensors", scope[factory](), {})
    recipe = {
        "model": {
            "checkpoint": str(tmp_path / "dense.safetensors"),
            "arch": f"{tmp_path / 'net.py'}:{factory}",
        },
        "data": {"name": "digits", "trust": True},
        "budget": {"flops": 0.5},
        "method": method,
        "finetune": {"epochs": 1, "batch_size": 64, "lr": 0.01, **tuned},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "job.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    job = [str(tmp_path / "job.py"), str(tmp_path / "recipe.yaml")]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    for command in ([sys.executable, *job, "one"], [*torchrun, *job, "two"]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    settled = [
        [event for event in Run(tmp_path / name).read_events() if event["event"] == "settled"]
        for name in ("one", "two")
    ]
    assert [len(events) for events in settled] == [len(settled[0])] * 2
    assert bool(settled[0]) == ("settle" in method)
    plans = [(tmp_path / f"two.plan{rank}").read_text() for rank in (0, 1)]
    assert plans[0] == plans[1]
    one, two = (read_weights(Run(tmp_path / name).slim) for name in ("one", "two"))
    if factory == "plain":  # batch norm takes its statistics from each process's own half
        assert Run(tmp_path / "one").plan.read_bytes() == Run(tmp_path / "two").plan.read_bytes()
        for name, tensor in one.items():
            assert (tensor - two[name]).abs().max() <= TOLERANCE * tensor.abs().max()


def test_synchronised_batch_norm_on_the_cpu_is_refused_in_one_message_and_one_process_needs_none(
    tmp_path,
) -> None:
    """PyTorch has none there; each process normalises by its own images, and the README says so."""
    two = SimpleNamespace(world_size=2, device=torch.device("cpu"))
    with pytest.raises(RuntimeUnavailableError, match="no synchronised batch norm for the CPU"):
        synchronised_(two, torch.nn.BatchNorm2d(3))
    norm = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    assert synchronised_(SimpleNamespace(world_size=1, device=two.device), norm) is norm
    gpus = SimpleNamespace(world_size=2, device=torch.device("cuda"))
    assert isinstance(synchronised_(gpus, norm)[0], torch.nn.SyncBatchNorm)
    distributed = torch.distributed
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    try:
        with pytest.raises(
            ValueError, match="expected input tensor to be on GPU"
        ):  # should this pass one day, allow it
            torch.nn.SyncBatchNorm(3)(torch.zeros(4, 3, 2, 2))
    finally:
        distributed.destroy_process_group()
