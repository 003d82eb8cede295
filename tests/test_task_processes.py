"""A user's task in two processes under torchrun: each loads its share of what one process would."""

import os
import subprocess
import sys
from pathlib import Path

import drawn_tasks
import pytest
import torch
import yaml
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from slimmer.errors import TaskError
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.runs.directory import Run
from slimmer.tasks.shares import Share, shared

SCRIPT = """
import sys, torch
from pathlib import Path
from slimmer.pipeline.stages import start
from slimmer.recipe import read_recipe
torch.set_num_threads(1)
start(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]))
"""

TASK = """
import sys
sys.path.insert(0, {folder!r})
from torch import nn
from drawn_tasks import Means

def net():
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU()]
    made = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    made.input_size = (1, 16, 16)
    return made

def make():
    return Means()
"""


@pytest.mark.slow
def test_two_processes_share_the_batches_of_one(tmp_path):
    file = tmp_path / "means.py"
    file.write_text(TASK.format(folder=str(Path(drawn_tasks.__file__).parent)))
    scope: dict = {}
    exec(file.read_text(), scope)
    torch.manual_seed(0)
    save_weights(tmp_path / "dense.safetensors", scope["net"](), {})
    recipe = {
        "model": {"checkpoint": str(tmp_path / "dense.safetensors"), "arch": f"{file}:net"},
        "task": {"name": f"{file}:make"},
        "budget": {"flops": 0.5},
        "method": {"sparsify": 0.5, "batches": 2},
        "finetune": {"epochs": 2, "lr": 0.01, "recalibrate": 2},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "job.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    job = [str(tmp_path / "job.py"), str(tmp_path / "recipe.yaml")]
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in ([*job, "one"], [*two, *job, "two"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert one.plan.read_bytes() == two.plan.read_bytes()
    ours, theirs = read_weights(one.slim), read_weights(two.slim)
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).abs().max() <= 1e-4 * tensor.abs().max()
    both = [run.read_report()["accuracy"]["slim"] for run in (one, two)]
    assert both[0] == pytest.approx(both[1], rel=1e-4)


def test_the_shares_of_all_processes_are_the_whole_batch():
    sampler = RandomSampler(range(22), generator=torch.Generator())
    whole = BatchSampler(sampler, 6, drop_last=False)
    parts = []
    for rank in range(3):
        sampler.generator.manual_seed(5)
        parts.append(list(Share(whole, rank, 3)))
    sampler.generator.manual_seed(5)
    for batch, mine in zip(whole, zip(*parts, strict=True), strict=True):
        joined = [index for part in mine for index in part]
        assert joined == batch[: len(joined)]
        assert len(joined) == len(batch) // 3 * 3
    assert [len(Share(whole, 0, world)) for world in (1, 3, 5)] == [4, 4, 3]  # four are left over


def test_a_batch_size_that_can_not_be_shared_is_refused():
    loader = DataLoader(TensorDataset(torch.zeros(9, 2)), 3)
    with pytest.raises(TaskError, match=r"batches of 3 for 2 processes\n.*multiple of 2"):
        shared(loader, 0, 2)


def test_other_loaders_are_left_as_they_are():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(8))

    for loader in ([torch.zeros(2)], DataLoader(Stream(), 2), DataLoader(range(8), None)):
        assert shared(loader, 0, 2) is loader
    own = torch.utils.data.DistributedSampler(range(8), 2, 0)
    loader = DataLoader(range(8), 2, sampler=own)
    assert shared(loader, 0, 2) is loader
