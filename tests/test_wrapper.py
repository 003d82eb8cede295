"""What a package wraps around a network is refused by the name of the network, and no method of its
own is called.
"""

from typing import ClassVar

import pytest
import torch
from torch import nn

import slimmer
from slimmer.errors import ModelError
from slimmer.models.copying import set_mode_

SIZE = (3, 8, 8)


class Trainer(nn.Module):
    """What ultralytics.YOLO does: a module around the network, whose `train` trains and whose call
    predicts.
    """

    calls: ClassVar[list[str]] = []  # of all copies

    def __init__(self, network):
        super().__init__()
        self.model = network

    def __call__(self, *args):
        self.calls.append("call")

    def train(self, trainer=None, **settings):
        self.calls.append("train")

    def eval(self):
        self.calls.append("eval")


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()
    )


@pytest.mark.parametrize(
    "use", [slimmer.inspect, lambda model, **given: slimmer.prune(model, flops=0.5, **given)]
)
def test_a_wrapper_is_refused_by_the_name_of_its_network_and_never_called(use):
    wrapper = Trainer(small())
    Trainer.calls.clear()
    with pytest.raises(
        ModelError, match=r"Trainer: has no forward method\n.* inside it: model\.model$"
    ):
        use(wrapper, input_size=SIZE)
    assert Trainer.calls == []


def test_a_wrapper_is_refused_where_a_run_is_loaded(tmp_path):
    dense = small().eval()
    slimmer.prune(dense, flops=0.5, input_size=SIZE, out=tmp_path / "run")
    with pytest.raises(ModelError, match=r"model\.model"):
        slimmer.load(tmp_path / "run", Trainer(dense))


def test_what_holds_several_networks_or_deeper_ones_is_refused_too():
    with pytest.raises(ModelError, match="give the module whose forward"):
        slimmer.inspect(nn.ModuleList([small(), small()]), input_size=SIZE)
    with pytest.raises(ModelError, match=r"inside it: model\.inner\.net$"):
        slimmer.inspect(nn.ModuleDict({"inner": nn.ModuleDict({"net": small()})}), input_size=SIZE)


class Counting(nn.Sequential):
    """A part with a forward, whose `train` and `eval` mean something else."""

    def train(self, epochs=1):
        raise AssertionError("trained")

    def eval(self):
        raise AssertionError("evaluated")


class Frozen(nn.BatchNorm2d):
    """A norm that stays in eval mode, as many detectors freeze theirs."""

    def train(self, mode=True):
        return super().train(False)


def test_methods_that_a_part_redefines_are_not_called_but_for_what_stays_frozen_in_training():
    model = nn.Sequential(
        Counting(nn.Conv2d(3, 8, 3), Frozen(8)), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()
    )
    result = slimmer.prune(model, flops=0.5, input_size=SIZE)
    assert result.report["flops"]["ratio"] <= 0.5
    assert [module.training for module in model.modules()] == [True] * 7
    set_mode_(model, training=False)
    assert not any(module.training for module in model.modules())
    set_mode_(model, training=True)
    assert [module.training for module in model.modules()] == [
        True,
        True,
        True,
        False,
        True,
        True,
        True,
    ]


def test_training_leaves_a_norm_alone_that_its_train_freezes():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(
            nn.Conv2d(1, 8, 3),
            Frozen(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        ),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    )
    settings = {"data.trust": True, "finetune.recalibrate": 0, "method.stream": 0.0}
    result = slimmer.prune(model, "digits", flops=0.9, epochs=0.2, **settings)
    assert torch.equal(result.model[1].running_mean, torch.zeros_like(result.model[1].running_mean))
    assert float(result.model[4].running_mean.abs().max()) > 0
