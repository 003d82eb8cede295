"""Accuracy and batch-norm statistics, against counts and averages by hand."""

import copy

import pytest
import torch
import zoo
from torch import nn

from slimmer.pruning.batch_norms import batch_statistics, recalibrate_
from slimmer.training.evaluate import accuracy


class Wrapped(nn.Module):
    """A batch norm behind the identity, in a network that has a parameter."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.norm(x) * self.scale


class Reading(nn.Module):
    """A network whose scores are its images; in train mode it gives the opposite."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        assert not torch.is_grad_enabled()
        return x * (-self.scale if self.training else self.scale)


def test_accuracy_is_the_share_of_images_whose_highest_score_is_their_label():
    first = torch.tensor([[0.1, 0.2, 0.7], [0.9, 0.0, 0.1], [0.3, 0.4, 0.3], [5.0, -1.0, 2.0]])
    second = torch.tensor([[-3.0, -2.0, -1.0]])
    model = Reading().train()
    found = accuracy(model, [(first, torch.tensor([2, 1, 1, 0])), (second, torch.tensor([0]))])
    assert found == 3 / 5  # every image counts the same, also in a smaller batch
    assert model.training
    assert accuracy(model, [(second, torch.tensor([2]))]) == 1.0
    assert accuracy(model, []) == 0.0


def test_accuracy_leaves_the_network_as_it_is():
    model = zoo.make("Chain", torch.float32).train()
    model.bn1.eval()
    before, modes = (
        copy.deepcopy(model.state_dict()),
        [module.training for module in model.modules()],
    )
    accuracy(model, [(zoo.images("Chain", 4, torch.float32), torch.tensor([0, 1, 2, 0]))])
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def drawn(batches=3, size=5):
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 2.0, 0.1]).view(1, 3, 1, 1)
    return [
        torch.randn(size, 3, 4, 4, generator=generator) * scale + number
        for number in range(batches)
    ]


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_statistics_are_the_plain_average_over_the_batches(momentum):
    norm = nn.BatchNorm2d(3, momentum=momentum)
    norm.running_mean.fill_(100.0)
    norm.running_var.fill_(100.0)
    norm.num_batches_tracked.fill_(7)
    batches = drawn()
    recalibrate_(Wrapped(norm), batches)
    values = torch.stack(
        [batch.transpose(0, 1).flatten(1) for batch in batches]
    ).double()  # (batches, channels, rest)
    assert torch.allclose(norm.running_mean.double(), values.mean((0, 2)), rtol=1e-5, atol=1e-6)
    assert torch.allclose(norm.running_var.double(), values.var(2).mean(0), rtol=1e-5)
    assert norm.momentum == momentum
    assert norm.num_batches_tracked == 3


def test_one_batch_gives_its_own_mean_and_variance_whatever_the_order():
    norm, again = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    [batch] = drawn(1)
    recalibrate_(Wrapped(norm), [batch])
    assert torch.allclose(norm.running_mean, batch.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(norm.running_var, batch.transpose(0, 1).flatten(1).var(1), rtol=1e-5)
    recalibrate_(Wrapped(again), [batch[torch.tensor([3, 1, 4, 0, 2])]])
    assert torch.allclose(norm.running_var, again.running_var, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_only_statistics_change_and_modes_and_momentum_are_put_back(training):
    """A norm behind another sees what the first makes of the batch, as in training; dropout stays
    off.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.Dropout(0.9),
        nn.Conv2d(4, 2, 1),
        nn.BatchNorm2d(2),
    )
    model.train(training)
    model[1].train(not training)
    model[4].momentum = 0.3
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    recalibrate_(model, [batch.clone() for batch in drawn()])
    assert [module.training for module in model.modules()] == modes
    assert (model[1].momentum, model[4].momentum) == (0.1, 0.3)
    assert all(
        torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters()
    )
    with torch.no_grad():
        means = []
        for batch in drawn():
            inner = model[0](batch)
            scaled = nn.functional.batch_norm(
                inner, None, None, model[1].weight, model[1].bias, training=True
            )
            means.append(model[3](scaled).mean((0, 2, 3)))
    assert torch.allclose(model[4].running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(3, track_running_stats=False), nn.GroupNorm(1, 3), nn.Identity()]
)
def test_networks_without_statistics_are_not_run(norm):
    def unread():
        raise AssertionError
        yield

    model = Wrapped(norm)
    before = copy.deepcopy(model.state_dict())
    recalibrate_(model, unread())
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_batch_statistics_are_those_of_recalibration_on_that_batch_and_nothing_stays():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
    )
    model.double().train()
    before = copy.deepcopy(model.state_dict())
    batch = torch.randn(50, 3, 12, 12, dtype=torch.float64)
    with batch_statistics(model), torch.no_grad():
        seen = model(batch)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    recalibrate_(model, [batch])
    with torch.no_grad():
        # the running variance is the unbiased one: 50 x 100 and 50 x 64 values a channel
        assert torch.allclose(model.eval()(batch), seen, rtol=2e-3, atol=2e-3)


def test_batch_statistics_leave_norms_that_have_none_alone():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval()
    with batch_statistics(model):
        assert not model[0].training
    assert model[0].track_running_stats is False


def test_batch_statistics_are_put_back_where_the_network_fails():
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    with pytest.raises(RuntimeError), batch_statistics(model), torch.no_grad():
        model(torch.randn(2, 4, 5, 5))
    assert model[0].track_running_stats
    assert not model[0].training
