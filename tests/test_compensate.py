"""What a removed channel said is handed to those that stay."""

import pytest
import torch
from torch import nn

from slimmer.graph import Axis, build_graph
from slimmer.models.copying import duplicate
from slimmer.pruning.apply import prune
from slimmer.pruning.compensate import compensate_, fold_removed_, moments_of
from slimmer.pruning.masks import consumer_index
from slimmer.pruning.plan import make_plan


class Copies(nn.Module):
    """conv (4 channels, the last a copy of the first) -> relu -> conv: without the copy nothing is
    lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 3, 3, padding=1)
        with torch.no_grad():
            self.first.weight[3] = self.first.weight[0]
            self.first.bias[3] = self.first.bias[0]

    def forward(self, x):
        return self.second(self.first(x).relu())


class CopiesTurned(Copies):
    """The same in front of a transposed convolution, whose weight has its inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.ConvTranspose2d(4, 3, 3, padding=1)


def setting(seed=0, kind=Copies):
    torch.manual_seed(seed)
    model = kind().eval()
    graph = build_graph(model, (2, 8, 8))
    images = [torch.randn(16, 2, 8, 8) for _ in range(4)]
    return model, graph, images


def error(model, plan, wanted, images):
    with torch.no_grad():
        return float((prune(model, plan)(images) - wanted).square().mean())


class CopiesCalled(Copies):
    """The same with its second convolution called as a function, as a traced program calls them
    all.
    """

    def forward(self, x):
        x = self.first(x).relu()
        return torch.ops.aten.conv2d.default(
            x, self.second.weight, self.second.bias, [1, 1], [1, 1]
        )


@pytest.mark.parametrize("kind", [Copies, CopiesTurned, CopiesCalled])
def test_a_copied_channel_goes_without_loss(kind):
    model, graph, images = setting(kind=kind)
    plan = make_plan(graph, {"first": [0, 1, 2]})
    wanted = model(images[0]).detach()
    before = error(model, plan, wanted, images[0])
    compensate_(model, graph, plan, images)
    after = error(model, plan, wanted, images[0])
    assert after < 1e-4 * before


def test_only_weights_that_read_kept_channels_change():
    model, graph, images = setting()
    plan = make_plan(graph, {"first": [0, 2, 3]})
    old = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compensate_(model, graph, plan, images)
    for name, tensor in model.state_dict().items():
        if name == "second.weight":
            gone = plan.removed()[Axis("second.weight", 1)]
            assert (tensor[:, gone] == old[name][:, gone]).all()
            assert not torch.equal(tensor, old[name])
        else:
            assert torch.equal(tensor, old[name])


def test_the_full_plan_changes_nothing():
    model, graph, images = setting()
    old = model.second.weight.clone()
    compensate_(model, graph, make_plan(graph, {}), images)
    assert torch.equal(model.second.weight, old)


def test_it_lowers_the_error_of_a_plan_on_unseen_images():
    model, graph, images = setting(seed=3)
    with torch.no_grad():
        model.first.weight[3] += 0.05 * torch.randn_like(model.first.weight[3])
    plan = make_plan(graph, {"first": [0, 1, 2]})
    unseen = torch.randn(16, 2, 8, 8)
    wanted = model(unseen).detach()
    before = error(model, plan, wanted, unseen)
    compensate_(model, graph, plan, images)
    assert error(model, plan, wanted, unseen) < 0.5 * before


def test_one_kept_channel_and_linear_readers_work():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2)
    ).eval()
    graph = build_graph(model, (1, 8, 8))
    plan = make_plan(graph, {"0": [1]})
    images = [torch.randn(200, 1, 8, 8) for _ in range(2)]
    wanted = model(images[0]).detach()
    before = error(model, plan, wanted, images[0])
    compensate_(model, graph, plan, images)
    assert error(model, plan, wanted, images[0]) < before


@pytest.mark.parametrize("kind", [Copies, CopiesTurned, CopiesCalled])
def test_moments_that_are_taken_once_serve_every_plan(kind):
    model, graph, images = setting(kind=kind)
    moments = moments_of(model, graph, images, consumer_index(graph))
    for kept in ([0, 1, 2], [1, 3], [0, 1, 2]):
        plan = make_plan(graph, {"first": kept})
        ours, theirs = duplicate(model), duplicate(model)
        fold_removed_(ours, plan, moments)
        compensate_(theirs, graph, plan, images)
        assert torch.equal(ours.second.weight, theirs.second.weight)
        assert not torch.equal(ours.second.weight, model.second.weight)
