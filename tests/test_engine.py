"""Devices and precision: what is asked for, and what `auto` makes of the machine."""

import pytest
import torch
from torch import nn

from slimmer import engine
from slimmer.engine import make_engine, place_
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


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_on_a_gpu_is_bf16_where_it_has_it(monkeypatch, supported, precision):
    asked = {}

    class Recorder:
        def __init__(self, **settings):
            asked.update(settings)

        def launch(self):
            asked["launched"] = True

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    monkeypatch.setattr(engine, "Fabric", Recorder)
    make_engine("auto")
    assert (asked["accelerator"], asked["precision"], asked["launched"]) == ("cuda", precision, True)


def test_weights_of_2d_convolutions_are_placed_channels_last_and_compute_the_same(no_gpu):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(6, 2))
    images = torch.randn(2, 4, 5, 5)
    before = network(images)
    placed = place_(make_engine("cpu"), network)
    weights = [placed[index].weight for index in (0, 1)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert not any(weight.is_contiguous() for weight in weights)
    torch.testing.assert_close(placed(images), before)
