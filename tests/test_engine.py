"""Devices and precision: what is asked for, and what `auto` makes of the machine."""

import copy

import onnxruntime
import pytest
import torch
from by_hand import assert_slim_is_masked
from torch import nn
from torch.nn import functional

import slimmer
from slimmer.errors import RuntimeUnavailableError
from slimmer.training import devices as engine
from slimmer.training.devices import make_engine, place_


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
    with pytest.raises(RuntimeUnavailableError, match="PyTorch finds no GPU") as error:
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
    assert (asked["accelerator"], asked["precision"], asked["launched"]) == (
        "cuda",
        precision,
        True,
    )


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


class Viewed(nn.Module):
    """LeNet's way: `view` on a map larger than 1x1, which can't follow where channels lie last in
    memory.
    """

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 12, 3, padding=1)
        self.two = nn.Conv2d(12, 16, 3, padding=1)
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x):
        x = functional.max_pool2d(self.one(x).relu(), 2)
        x = functional.max_pool2d(self.two(x).relu(), 2)
        return self.head(x.view(x.size(0), -1))


class ViewedInTraining(Viewed):
    """The auxiliary answer, which training alone computes, is what can't follow."""

    def forward(self, x):
        x = functional.max_pool2d(self.two(functional.max_pool2d(self.one(x).relu(), 2)).relu(), 2)
        answer = self.head(x.flatten(1))
        return answer + 0 * x.view(x.size(0), -1).sum() if self.training else answer


@pytest.mark.parametrize("kind", [Viewed, ViewedInTraining])
def test_a_network_that_can_not_follow_channels_last_keeps_its_layout_and_values(no_gpu, kind):
    torch.manual_seed(0)
    network, images, drawn = kind(), torch.randn(2, 3, 16, 16), torch.get_rng_state()
    before = network(images)
    place_(make_engine("cpu"), network, (images,))
    assert network.one.weight.is_contiguous()
    assert torch.equal(network(images), before)
    assert network.training
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("kind", [Viewed, ViewedInTraining])
def test_it_is_pruned_without_data(kind):
    torch.manual_seed(0)
    dense = kind()
    assert_slim_is_masked(
        slimmer.prune(dense, flops=0.5, input_size=(3, 16, 16)), dense, torch.randn(2, 3, 16, 16)
    )


@pytest.mark.parametrize("kind", [Viewed, ViewedInTraining])
def test_it_is_trained_and_exported_with_data(tmp_path, kind):
    torch.manual_seed(0)
    dense = kind()
    data = (torch.randn(64, 3, 16, 16), torch.arange(64) % 10)
    given = dense.one.weight.clone()
    result = slimmer.prune(
        dense, (data, data), flops=0.5, epochs=1, out=tmp_path / "run", **{"data.trust": True}
    )
    assert result.report["flops"]["ratio"] <= 0.5
    assert torch.equal(dense.one.weight, given)
    slimmer.export(result.run, (data, data), model=dense)
    session = onnxruntime.InferenceSession(tmp_path / "run" / "slim.onnx")
    [answer] = session.run(None, {"input": data[0][:4].numpy()})
    torch.testing.assert_close(
        torch.from_numpy(answer), result.model(data[0][:4]).detach(), rtol=1e-4, atol=1e-5
    )


def test_a_network_whose_channels_lie_last_comes_back_so_and_another_does_not(no_gpu):
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.Flatten(), nn.Linear(16 * 16, 4)
    )
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    results = [slimmer.prune(net, flops=0.5, input_size=(3, 8, 8)).model for net in (plain, last)]
    for index in (0, 2):
        ordinary, placed = (result[index].weight for result in results)
        assert ordinary.is_contiguous()
        assert not placed.is_contiguous()
        assert placed.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(ordinary, placed)


@pytest.mark.parametrize("rewrite", [False, True])
def test_volumes_too_come_back_as_they_lay(rewrite):
    dense = nn.Sequential(nn.Conv3d(2, 8, 3), nn.ReLU(), nn.Conv3d(8, 4, 3)).to(
        memory_format=torch.channels_last_3d
    )
    dense.example_inputs = torch.randn(2, 2, 6, 6, 6)
    slim = slimmer.prune(dense, flops=0.5, rewrite=rewrite).model
    weights = [parameter for parameter in slim.parameters() if parameter.dim() == 5]
    assert len(weights) == 2
    assert all(weight.is_contiguous(memory_format=torch.channels_last_3d) for weight in weights)
    assert not any(weight.is_contiguous() for weight in weights)
