"""One call of a network, whatever it takes: a tensor, or several arguments."""

from typing import Any

from torch import Tensor, device, nn
from torch.utils._pytree import tree_map_only

from slimmer.graph.nested import tensors_in

Arguments = Tensor | tuple[Any, ...]
"""What one call of a network takes: one tensor, or all arguments in forward's order."""


def called(model: nn.Module, given: Arguments) -> Any:
    """The output of `model` for `given`, whose tensors are moved to the model's device.

    >>> called(nn.Bilinear(2, 2, 3), (Tensor(5, 2), Tensor(5, 2))).shape
    torch.Size([5, 3])
    """
    place = next(model.parameters()).device
    if isinstance(given, Tensor):
        return model(given.to(place))
    return model(*moved(given, place))


def moved(value: Any, place: device) -> Any:
    """The same value, its tensors on the device `place`."""
    return tree_map_only(Tensor, lambda x: x.to(place), value)


def rows(given: Arguments) -> int:
    """The number of images in `given`: the length of its first tensor.

    >>> rows((Tensor(5, 2), Tensor(5, 3)))
    5
    """
    return len(tensors_in(given)[0])
