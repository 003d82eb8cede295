"""The exponential moving average (EMA) of a network's weights."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from slimmer.models.copying import duplicate

_UPDATES = "updates"


class Average:
    """A copy of a network whose weights are the moving average of those of the trained network.

    Running statistics of batch norms are averaged like weights, as in torchvision's and timm's
    training scripts; integer buffers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = duplicate(network).requires_grad_(requires_grad=False)
        self.updates = 0
        self._decay = decay

    def update_(self, network: nn.Module) -> None:
        """Move the average towards the weights of `network`, after an optimizer step."""
        average = get_ema_multi_avg_fn(decay_at(self.updates, self._decay))
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        with torch.no_grad():
            for kept, trained in zip(_tensors(self.network), _tensors(network), strict=True):
                if kept.is_floating_point() and self.updates:
                    ours.append(kept)
                    theirs.append(trained.detach())
                else:
                    kept.copy_(trained)
            if ours:
                average(ours, theirs, self.updates)
        self.updates += 1

    def state(self) -> dict[str, Tensor]:
        """The averaged tensors by name, and the number of updates, to be saved."""
        found = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        found[_UPDATES] = torch.tensor(self.updates)
        return found

    def restore_(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.updates = int(tensors[_UPDATES])
        prefix = "network."
        weights = {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                weights[name.removeprefix(prefix)] = tensor
        self.network.load_state_dict(weights)


def decay_at(updates: int, decay: float) -> float:
    """The decay after a number of updates. It rises to `decay`, so that a short training does not
    keep its first weights.

    Source: num_updates of tf.train.ExponentialMovingAverage.

    >>> decay_at(0, 0.999), decay_at(90, 0.999), decay_at(10**6, 0.999)
    (0.1, 0.91, 0.999)
    """
    return min(decay, (1 + updates) / (10 + updates))


def _tensors(network: nn.Module) -> chain[Tensor]:
    """The parameters and buffers, each tensor once."""
    return chain(network.parameters(), network.buffers())
