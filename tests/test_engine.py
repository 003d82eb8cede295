"""Devices and precision: what is asked for, and what `auto` makes of the machine."""

import pytest
import torch
from torch import nn

from slimmer.engine import make_engine
from slimmer.errors import RuntimeUnavailableError


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine without a GPU, whatever this one has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_all_is_single_precision_on_the_cpu(no_gpu, device):
    fabric = make_engine(device)
    assert fabric.device == torch.device("cpu")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
    with fabric.autocast():
        assert nn.Linear(3, 2)(torch.ones(1, 3)).dtype == torch.float32


def test_precision_is_what_was_asked_for(no_gpu):
    with make_engine("cpu", "bf16-mixed").autocast():
        assert nn.Linear(3, 2)(torch.ones(1, 3)).dtype == torch.bfloat16


def test_a_gpu_that_is_not_there_is_refused(no_gpu):
    with pytest.raises(RuntimeUnavailableError, match="PyTorch sees no GPU") as error:
        make_engine("cuda")
    assert error.value.where == "device"
