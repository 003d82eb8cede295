"""What training changes: a network, its optimizer, the average of its weights, and the step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimmer.pruning.masks import Masked
from slimmer.training.averaging import Average
from slimmer.training.optimizer_state import restore_, state_of
from slimmer.training.optimizers import make_optimizer
from slimmer.training.schedule import Training


@dataclass
class Learner:
    """The state that training changes: the network, its optimizer, the average of its weights if
    there is one, and the step.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    average: Average | None = None

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and kept: the averaged one as soon as it exists."""
        if self.average is not None and self.average.updates:
            return self.average.network
        return self.network

    def stepped_(self) -> None:
        """Count a step of the optimizer; update what follows the weights."""
        if isinstance(self.network, Masked):
            self.network.hold_()
        if self.average is not None:
            self.average.update_(self.network)
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers, the optimizer's state and averages by name, to be saved."""
        found = {}
        for name, tensor in self.network.state_dict().items():
            found[f"network.{name}"] = tensor.detach()
        for place, tensor in state_of(self.optimizer, self.network).items():
            found[f"optimizer.{place}"] = tensor
        if self.average is not None:
            for name, tensor in self.average.state().items():
                found[f"average.{name}"] = tensor
        return found

    def restore_(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Restore the tensors that `state` returned at `step`."""
        self.network.load_state_dict(below("network.", tensors))
        restore_(self.optimizer, self.network, below("optimizer.", tensors))
        if self.average is not None:
            self.average.restore_(below("average.", tensors))
        self.step = step


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by the rest of their names."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in names}


def make_learner(network: nn.Module, training: Training, *, train_masks: bool = False) -> Learner:
    """The network with its optimizer.

    Vectors have no weight decay; mask variables, if they are trained, have their own learning rate.
    Weights are averaged in the slim network only, not under masks.
    """
    masks = network.variables if isinstance(network, Masked) else None
    trained = [p for p in network.parameters() if p.requires_grad and p is not masks]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.dim() > 1], "pace": 1.0},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0, "pace": 1.0},
    ]
    if masks is not None and train_masks:
        pace = training.mask_lr / training.lr
        groups.append({"params": [masks], "weight_decay": training.mask_decay, "pace": pace})
    optimizer = make_optimizer(
        groups,
        training.optimizer,
        training.optimizer_options,
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    average = None
    if training.ema and masks is None:
        average = Average(network, training.ema)
    return Learner(network, optimizer, average=average)
